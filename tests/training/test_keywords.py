"""The keywords of `unpaired.train`: their types, their sorting, and those that are wrong."""

import inspect
from typing import get_type_hints

import pytest

from conftest import QUICK, SMALL
from unpaired import train
from unpaired.config import Recipe, Runtime
from unpaired.errors import ConfigError
from unpaired.training.keywords import (
    OWN,
    RecipeKeywords,
    RuntimeKeywords,
    TrainKeywords,
    sort_keywords,
)


def test_keywords_are_the_fields_that_a_user_may_set():
    fields = get_type_hints(Recipe)
    settled = [f"{n}_{d}" for n in ("dtype", "band_names", "units", "nodata", "resolution")
               for d in "ab"]  # fmt: skip
    settled += ["epoch_steps", "data_fingerprint", "init_fingerprint"]
    for name in ("preset", "select_a", "select_b", *settled):
        del fields[name]
    fields |= {"bands_a": int | str, "bands_b": int | str}
    assert get_type_hints(RecipeKeywords) == fields
    assert get_type_hints(RuntimeKeywords) == get_type_hints(Runtime)
    assert get_type_hints(TrainKeywords) == fields | get_type_hints(Runtime)


def test_own_parameters_of_train():
    named = inspect.signature(train).parameters.values()
    own = [each.name for each in named if each.kind is each.KEYWORD_ONLY]
    assert [name for name in own if name not in ("recipe", "runtime")] == list(OWN)


def test_train_with_keywords_and_mappings(fake_engine, data, tmp_path):
    run = train(data, out=tmp_path / "run", preset="tiny", **SMALL | QUICK)
    for name, value in (SMALL | QUICK).items():
        table = run.config.recipe if hasattr(run.config.recipe, name) else run.config.runtime
        assert getattr(table, name) == value
    again = train(
        data, out=tmp_path / "again", preset="tiny", recipe=SMALL, runtime=QUICK, name_a="day"
    )
    assert again.config.recipe.name_a == "day"
    assert again.config.recipe.width == SMALL["width"]
    assert again.config.runtime == run.config.runtime


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("imagesize", "image_size"),
        ("thread", "threads"),
        ("skip_unreadible", "skip_unreadable"),
        ("epoch", "epochs"),
    ],
)
def test_an_unknown_keyword_gives_the_nearest_known_one(name, near, tmp_path):
    with pytest.raises(ConfigError) as error:
        train("nowhere", out=tmp_path / "run", **{name: 1})
    told = f"unknown key {name!r} in the keywords of train: did you mean {near!r}?"
    assert str(error.value) == told


@pytest.mark.parametrize("name", ["epoch_steps", "data_fingerprint"])
def test_values_that_the_data_settles_are_no_keywords(name):
    with pytest.raises(ConfigError, match=f"unknown key '{name}' in the keywords of train"):
        sort_keywords({name: 1})


def test_a_value_given_twice():
    with pytest.raises(ConfigError, match="seed is given twice"):
        sort_keywords({"seed": 1}, recipe={"seed": 1})
    with pytest.raises(ConfigError, match="threads is given twice"):
        sort_keywords({"threads": 1}, runtime={"threads": 2})


def test_mappings_are_not_changed():
    recipe, runtime = {"seed": 1}, {"keep": 2}
    assert sort_keywords({"width": 3, "threads": 4}, recipe, runtime) == (
        {"seed": 1, "width": 3},
        {"keep": 2, "threads": 4},
    )
    assert (recipe, runtime) == ({"seed": 1}, {"keep": 2})


def test_quiet_is_accepted_and_has_no_effect(fake_engine, data, tmp_path):
    with pytest.warns(DeprecationWarning, match="quiet has no effect: ") as caught:
        run = train(data, out=tmp_path / "run", preset="tiny", **SMALL | QUICK, quiet=True)
    assert run.step == SMALL["steps"]
    assert caught[0].filename == __file__
