"""The configuration: the schedule against its formula, TOML, bounds and errors."""

import dataclasses
import math
from itertools import pairwise
from typing import Literal, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unpaired.cli.main import main
from unpaired.config import (
    Config,
    DomainFacts,
    Recipe,
    Runtime,
    check,
    choices_of,
    differences,
    drop_quiet,
    option,
    override,
)
from unpaired.errors import ConfigError
from unpaired.evaluation.options import OptionKeywords, Options
from unpaired.presets import preset


def rejection(**values):
    """The one line that rejects a recipe with these values."""
    with pytest.raises(ConfigError) as error:
        preset("paper", values)
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- values made of others ----------------------------------------------------------------


def test_identity_weight_is_times_the_cycle_weight_and_off_where_bands_differ():
    assert preset("paper").identity_weight == 5.0
    assert preset("paper", {"cycle": 4.0, "identity": 0.25}).identity_weight == 1.0
    assert preset("paper", {"bands_a": 1, "bands_b": 3}).identity_weight == 0.0


def test_a_generator_starts_from_noise_where_bands_differ():
    """As soon as both are known; grey that is read as RGB is RGB."""
    asked = preset("paper", {"start": "identity"})
    assert asked.start == preset("paper", {"start": "identity", "bands_a": 3}).start == "identity"
    assert override(asked, {"bands_a": 3, "bands_b": 3}, "the data").start == "identity"
    unequal = override(asked, {"bands_a": 3, "bands_b": 1}, "the data")
    assert unequal == preset("paper", {"bands_a": 3, "bands_b": 1})
    assert differences(unequal, override(unequal, {"start": "identity"}, "the flags")) == []


def test_domains_are_facts_by_letter_and_a_recipe_is_hashable():
    recipe = preset("paper", {"name_a": "day", "bands_b": 4, "depth_b": 16})
    assert recipe.domains == {"a": DomainFacts("day", 0, 0), "b": DomainFacts("b", 4, 16)}
    assert list(recipe.domains) == ["a", "b"]
    assert hash(recipe) == hash(override(recipe, {}, "the recipe"))


# ---- schedule -----------------------------------------------------------------------------


@pytest.mark.parametrize("epoch_steps", [1, 7, 1231])
def test_schedule_of_200_epochs_is_that_of_the_authors(epoch_steps):
    recipe = preset("paper", {"steps": 200 * epoch_steps, "epoch_steps": epoch_steps})
    for epoch in range(1, 201):
        expected = 1 - max(0, epoch + 1 - 100) / 101
        first = (epoch - 1) * epoch_steps
        last = epoch * epoch_steps - 1
        assert recipe.rate_factor(first) == recipe.rate_factor(last) == expected
    # where it begins to fall, and where it ends
    assert recipe.rate_factor(99 * epoch_steps - 1) == 1
    assert recipe.rate_factor(99 * epoch_steps) == 100 / 101
    assert recipe.rate_factor(200 * epoch_steps - 1) == 0


def test_schedule_of_a_few_epochs_by_hand():
    recipe = preset("paper", {"steps": 10, "epoch_steps": 2})  # 5 epochs: 3 constant, 2 fall
    factors = [recipe.rate_factor(step) for step in range(10)]
    assert factors == [1, 1, 1, 1, *[1 - 1 / 3] * 2, *[1 - 2 / 3] * 2, 0, 0]


def test_one_epoch_is_constant():
    recipe = preset("paper", {"steps": 3, "epoch_steps": 4})
    assert [recipe.rate_factor(step) for step in range(3)] == [1, 1, 1]


def test_linear_schedule_in_closed_form():
    recipe = preset("paper", {"schedule": "linear", "steps": 20})
    expected = [1.0] * 11 + [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert [recipe.rate_factor(step) for step in range(20)] == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(
    steps=st.integers(1, 300),
    epoch_steps=st.integers(1, 50),
    schedule=st.sampled_from(["epochs", "linear"]),
)
def test_rates_begin_whole_never_rise_and_stay_within_0_and_1(steps, epoch_steps, schedule):
    recipe = preset(
        "paper", {"steps": steps, "epoch_steps": epoch_steps, "schedule": schedule, "pool_size": 0}
    )
    factors = [recipe.rate_factor(step) for step in range(steps)]
    assert factors[0] == 1 or (schedule == "epochs" and steps <= 2 * epoch_steps)
    assert all(0 <= later <= earlier <= 1 for earlier, later in pairwise(factors))


# ---- TOML ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(
    name_a=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])),
    name_b=st.text("\"\\\ue001\U000e0001\U0001f600é#'[]"),
    cycle=st.floats(0, 1e6),
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**63),
    flip=st.booleans(),
    threads=st.integers(0, 64),
    tensorboard=st.booleans(),
)
def test_config_comes_back_from_toml(name_a, name_b, cycle, rate, seed, flip, threads, tensorboard):
    values = {
        "name_a": "1" + name_a, "name_b": "2" + name_b, "cycle": cycle,
        "learning_rate": rate, "seed": seed, "flip": flip,
    }  # fmt: skip
    config = Config(preset("small", values), Runtime(threads=threads, tensorboard=tensorboard))
    assert Config.from_toml(config.to_toml(), "config.toml") == config


# As the version of November 2026 wrote it, shortened.
OLD_TOML = """\
[recipe]
preset = "small"  # the preset this recipe began with
load_size = 72  # side in pixels that images are resized to before the crop
validation = 0.1  # share of the training images set aside to choose the best checkpoint (0: none)
upsample = "resize"  # how generators go up: transposed or resize convolution (no checkerboards)
schedule = "linear"  # fall of the rates over the second half: by epochs (2017) or at every step
depth_a = 16  # bits a sample of domain a, 8 or 16 (0: as its images have)

[runtime]
threads = 1  # threads of the arithmetic on a CPU (0: as many as cores)
"""


def test_a_file_of_the_version_before_loads():
    config = Config.from_toml(OLD_TOML.replace("72", "286"), "config.toml")
    assert (config.recipe.preset, config.recipe.depth_a) == ("small", 16)
    assert (config.recipe.schedule, config.recipe.start) == ("linear", "noise")
    assert config.runtime == Runtime(threads=1)


def test_toml_is_complete_and_explains_itself():
    lines = Config(Recipe(), Runtime()).to_toml().splitlines()
    for table in (Recipe, Runtime):
        for item in dataclasses.fields(table):
            (line,) = [line for line in lines if line.startswith(f"{item.name} = ")]
            assert line.endswith(f"  # {item.metadata['help']}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[recipe\n", "run.toml is not valid TOML: "),
        ("[recipes]\n", "run.toml has an unknown table or value 'recipes'"),
        ("seed = 1\n", "run.toml has an unknown table or value 'seed'"),
        ("[recipe]\nimagesize = 8\n", "unknown key 'imagesize' in run.toml: did you mean 'image_"),
        ("[runtime]\nlog_evry = 8\n", "unknown key 'log_evry' in run.toml: did you mean 'log_ev"),
        ("[runtime]\nseed = 8\n", "unknown key 'seed' in run.toml"),
        ("[recipe]\nxyzzy = 8\n", "unknown key 'xyzzy' in run.toml, which has preset, load_size,"),
        ("[recipe]\nseed = '8'\n", "seed in run.toml is '8': it must be of type int"),
        ("[recipe]\nseed = true\n", "seed in run.toml is True: it must be of type int"),
        ("[recipe]\nseed = 8.0\n", "seed in run.toml is 8.0: it must be of type int"),
        ("[recipe]\nflip = 1\n", "flip in run.toml is 1: it must be of type bool"),
        ("[recipe]\ncycle = true\n", "cycle in run.toml is True: it must be of type float"),
        ("[recipe]\nname_a = 1\n", "name_a in run.toml is 1: it must be of type str"),
        ("[recipe]\nupsample = 1\n", "--upsample is 1: choose one of transposed, resize"),
        ("[runtime]\nengine = 'caffe'\n", "--engine is 'caffe': choose one of torch, jax"),
    ],
)
def test_a_wrong_file_is_one_line(text, told):
    with pytest.raises(ConfigError) as error:
        Config.from_toml(text, "run.toml")
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


# ---- values out of range ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("load_size", 7),
        ("image_size", 4),
        ("width", 0),
        ("blocks", -1),
        ("discriminator_width", 0),
        ("discriminator_layers", 0),
        ("validation", -0.1),
        ("validation", 0.6),
        ("validation", math.nan),
        ("cycle", -0.1),
        ("cycle", math.nan),
        ("identity", -1.0),
        ("identity", math.inf),
        ("pool_size", -1),
        ("batch_size", 0),
        ("steps", -1),
        ("learning_rate", -1e-9),
        ("learning_rate", math.inf),
        ("discriminator_rate", math.nan),
        ("beta1", 1.0),
        ("beta1", -0.5),
        ("beta2", math.nan),
        ("ema", 1.0),
        ("seed", -1),
        ("bands_a", -1),
        ("bands_b", -1),
        ("depth_a", 12),
        ("depth_b", 24),
        ("epoch_steps", -1),
        ("upsample", "bilinear"),
        ("schedule", "cosine"),
        ("start", "input"),
        ("precision", "fp16"),
        ("image_size", 250),  # no multiple of 4
    ],
)
def test_out_of_range_names_the_flag_and_the_value(name, value):
    flag = "--" + name.replace("_", "-")
    assert rejection(**{name: value}).startswith((f"{flag} is {value}: ", f"{flag} is {value!r}: "))


def test_the_crop_must_fit_into_the_image():
    assert rejection(load_size=100).startswith("--load-size 100 is under --image-size 256: ")


@pytest.mark.parametrize(("layers", "smallest"), [(1, 8), (2, 12), (3, 24), (5, 96)])
def test_the_crop_must_fit_the_discriminator(layers, smallest):
    values = {"discriminator_layers": layers, "load_size": smallest, "image_size": smallest}
    assert preset("paper", values).image_size == smallest
    if smallest > 8:
        told = rejection(**values | {"image_size": smallest - 4})
        assert told.startswith(f"--image-size {smallest - 4} is too small for a discriminator of ")
        assert f"at least {smallest}" in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", -1),
        ("workers", 0),
        ("log_every", 0),
        ("sample_every", -1),
        ("checkpoint_every", 0),
        ("keep", 0),
        ("evaluate_every", -1),
        ("patience", -1),
        ("engine", "caffe"),
    ],
)
def test_runtime_out_of_range_names_the_flag(name, value):
    with pytest.raises(ConfigError) as error:
        override(Runtime(), {name: value}, "the runtime")
    flag = "--" + name.replace("_", "-")
    assert str(error.value).startswith((f"{flag} is {value}: ", f"{flag} is {value!r}: "))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"), [("image_size", 10), ("image_size", 4), ("limit", -1), ("seed", -1)]
)
def test_options_out_of_range_name_the_flag(name, value):
    with pytest.raises(ConfigError) as error:
        Options(**{name: value})
    flag = "--" + name.replace("_", "-")
    assert str(error.value).startswith(f"{flag} is {value}: it must be ")


@dataclasses.dataclass
class Brush:
    hairs: float = option(8, "hairs", at_least=2, at_most=64, multiple_of=2)
    wet: float = option(0.5, "wetness", below=1)
    colours: int = option(1, "colours", choices=(1, 3))
    shape: Literal["flat", "round"] = option("flat", "shape")
    length: int | None = option(None, "length", at_least=1)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"hairs": 1}, "--hairs is 1: it must be at least 2"),
        ({"hairs": 66}, "--hairs is 66: it must be at most 64"),
        ({"hairs": 7}, "--hairs is 7: it must be a multiple of 2"),
        ({"hairs": math.nan}, "--hairs is nan: it must be a number"),
        ({"wet": 1.0}, "--wet is 1.0: it must be below 1"),
        ({"wet": -1.0}, "--wet is -1.0: it must be at least 0"),
        ({"colours": 2}, "--colours is 2: choose one of 1, 3"),
        ({"shape": "fan"}, "--shape is 'fan': choose one of flat, round"),
        ({"length": 0}, "--length is 0: it must be at least 1"),
    ],
)
def test_bounds_stand_with_their_fields(values, told):
    check(Brush())
    with pytest.raises(ConfigError) as error:
        check(Brush(**values))
    assert str(error.value) == told


# ---- differences, help --------------------------------------------------------------------


# ---- nothing is without end ---------------------------------------------------------------


@pytest.mark.parametrize("table", [Recipe, Runtime, Options])
def test_every_field_has_a_bound(table):
    for item in dataclasses.fields(table):
        kinds = {item.type, *get_args(item.type)}
        if kinds & {int, float} and not choices_of(item):
            assert item.metadata["at_most"] or item.metadata["below"], item.name
        elif str in kinds and not choices_of(item):
            assert item.metadata["longest"] <= 8192


@pytest.mark.parametrize("value", [10**18, 10**400, 1e308, "x" * 10**6])
@pytest.mark.parametrize("table", [Recipe, Runtime])
def test_absurd_values_are_one_short_line(table, value):
    for item in dataclasses.fields(table):
        if (item.name, value) == ("seed", 10**18):
            continue
        with pytest.raises(ConfigError) as error:
            override(table(), {item.name: value}, "config.toml")
        assert len(str(error.value)) <= 400
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "recipe = 3", "[[runtime]]", "[recipe]\nwidth = 1" + "0" * 5000, "[recipe]\nwidth = 1e308",
        "x = " + "[" * 10**5, "[recipe]\nname_a = '" + "x" * 10**6, "[runtime]\nthreads = 100000",
        "runtime.threads = 0x" + "f" * 5000, "[runtime]\nworkers = [0x" + "f" * 5000 + "]",
        "[recipe" + ".a" * 20_000 + "]", "[recipe]\nwidth" + ".a" * 2000 + " = 3", "\0",
        "[runtime]\nkeep = 1e400", "\"\\u0000\\n\" = 3", "[recipe]\n'" + "y" * 1000 + "' = 3",
        "[runtime]\nfeatures = '" + "f" * 5000 + "'", "[recipe]\nseed = 1979-05-27",
        "[recipe]\ndiscriminator_layers = 100000000000", "[runtime]\nengine = [[[[[[[1]]]]]]]",
    ],
)  # fmt: skip
def test_files_of_nonsense_are_one_short_line(text):
    with pytest.raises(ConfigError) as error:
        Config.from_toml(text, "config.toml")
    assert len(str(error.value)) <= 400
    assert str(error.value).isprintable()


def test_differences_name_flags_in_order():
    assert differences(Recipe(), Recipe()) == []
    other = preset("paper", {"seed": 3, "image_size": 128, "upsample": "resize"})
    assert differences(Recipe(), other) == [
        "--load-size 286 -> 143",
        "--image-size 256 -> 128",
        "--upsample transposed -> resize",
        "--seed 0 -> 3",
    ]


OF_DATA = {"epoch_steps", "data_fingerprint", "init_fingerprint", "select_a", "select_b"}
OF_DATA |= {
    f"{fact}_{domain}"
    for fact in ("dtype", "band_names", "units", "nodata", "resolution")
    for domain in "ab"
}


@pytest.mark.parametrize(
    ("verb", "tables"), [("train", (Recipe, Runtime)), ("evaluate", (Options,))]
)
def test_every_value_has_a_flag_and_its_explanation(verb, tables, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit) as exit:
        main([verb, "--help"])
    assert exit.value.code == 0
    told = capsys.readouterr().out
    words = set(told.split())
    for table in tables:
        for item in dataclasses.fields(table):
            assert item.metadata["help"].strip(), item.name
            flag = "--" + item.name.replace("_", "-")
            if item.default is True:
                flag = flag.replace("--", "--no-")
            if item.name in OF_DATA:  # nobody but the data settles them
                assert flag not in words
            else:
                assert flag in words
                assert item.name == "preset" or item.metadata["help"] in told


def test_keywords_of_an_evaluation_are_its_options():
    assert get_type_hints(OptionKeywords) == get_type_hints(Options)


def test_quiet_is_dropped_and_the_caller_warned():
    def evaluate(**options):
        return drop_quiet(options)

    assert evaluate(limit=3) == {"limit": 3}
    with pytest.warns(DeprecationWarning, match="quiet has no effect: ") as caught:
        assert evaluate(limit=3, quiet=True) == {"limit": 3}
    assert caught[0].filename == __file__
