"""Which rows a request means, which fit into the time, and what is rejected."""

import pytest

from unpaired.benchmark.rows import (
    DEFAULT_WORKS,
    FEWEST,
    PLAIN,
    Contestant,
    Selection,
    Work,
    cost,
    fitting,
)
from unpaired.errors import ConfigError

TORCH, BF16, JAX = Contestant("torch"), Contestant("torch", "bf16"), Contestant("jax")
CEILINGS = {"fp32": 1e11, "bf16": 2e11}
SMALL, LARGE = Work("train", "small", 64, 1), Work("train", "paper", 256, 16)


def test_nothing_asked_is_the_default_list():
    assert Selection().works() == DEFAULT_WORKS
    assert Selection(engines=("torch",), precisions=("bf16",)).default
    assert not Selection(sizes=(64,)).default


def test_what_is_asked_is_every_combination():
    works = Selection(("train",), ("paper", "tiny"), (64, 32), (1, 4)).works()
    assert len(works) == 8
    assert works[0] == Work("train", "paper", 64, 1)
    works = Selection(sizes=(128, 128)).works()
    assert {(w.task, w.preset, w.size, w.batch_size) for w in works} == {
        (task, preset, 128, 1) for task in ("train", "translate") for preset in ("paper", "small")
    }
    assert len(works) == 4


@pytest.mark.parametrize(("given", "told"), [
    ({"tasks": ("sleep",)}, "--only 'sleep'"),
    ({"presets": ("huge",)}, "--preset 'huge'"),
    ({"sizes": (66,)}, "--size is 66: it must be a multiple of 4"),
    ({"sizes": (4,)}, "--size is 4: it must be at least 8"),
    ({"sizes": (10**30,)}, "--size"),
    ({"sizes": (8,), "presets": ("paper",)}, "image-size 8 is too small for a discriminator"),
    ({"batch_sizes": (0,)}, "--batch-size is 0"),
])  # fmt: skip
def test_impossible_works_are_rejected(given, told):
    with pytest.raises(ConfigError, match=told):
        Selection(**given).works()


@pytest.mark.parametrize("given", [
    {"engines": ("keras",)}, {"precisions": ("fp16",)}, {"runtimes": ("tensorrt",)},
])  # fmt: skip
def test_unknown_names_are_rejected(given):
    ((value,),) = given.values()
    with pytest.raises(ConfigError, match=f"{value}.*choose of"):
        Selection(**given)


def test_recipes_of_works_can_be_built():
    """The start is settled, colour is known, and a training is as long as that of 2017."""
    for work in DEFAULT_WORKS:
        for precision in ("fp32", "bf16"):
            recipe = work.recipe(precision)
            assert recipe.settled_start in ("noise", "residual")
            assert (recipe.image_size, recipe.batch_size) == (work.size, work.batch_size)
            assert (recipe.precision, recipe.bands_a, recipe.bands_b) == (precision, 3, 3)
            assert recipe.steps > 1000


def test_runtimes_translate_only():
    assert Contestant("onnx").computes(Work("translate", "tiny", 32, 1))
    assert not Contestant("onnx").computes(SMALL)
    assert TORCH.computes(SMALL)


# ---- time ---------------------------------------------------------------------------------


def test_cost_grows_with_the_work_and_falls_with_the_ceiling():
    assert cost(LARGE, TORCH, CEILINGS) > cost(SMALL, TORCH, CEILINGS)
    assert cost(LARGE, BF16, CEILINGS) < cost(LARGE, TORCH, CEILINGS)
    assert cost(SMALL, JAX, CEILINGS) > cost(SMALL, TORCH, CEILINGS)
    slower = cost(LARGE, TORCH, {"fp32": 5e10}) - cost(LARGE, TORCH, {"fp32": 1e11})
    assert slower > FEWEST * LARGE.flops / 1e11


def test_with_time_for_all_nothing_is_omitted():
    chosen = {SMALL: [TORCH, JAX], LARGE: [TORCH]}
    assert fitting(chosen, CEILINGS, 1e6) == (chosen, [])


def test_what_does_not_fit_is_omitted_and_told():
    tiny = Work("train", "tiny", 32, 2)
    chosen = {SMALL: [TORCH, BF16, JAX], LARGE: [TORCH], tiny: [TORCH]}
    enough = sum(cost(SMALL, each, CEILINGS) for each in (PLAIN, TORCH, BF16))
    enough += sum(cost(tiny, each, CEILINGS) for each in (PLAIN, TORCH))
    kept, (line,) = fitting(chosen, CEILINGS, enough + 1)
    assert kept == {SMALL: [TORCH, BF16], tiny: [TORCH]}
    assert line.startswith("2 of 5 rows for lack of time (--minutes ")
    assert line.endswith("all of training step, paper, 256 px, batch 16")


def test_the_minutes_told_are_enough():
    chosen = {SMALL: [TORCH, JAX], LARGE: [TORCH, BF16]}
    _, (line,) = fitting(chosen, CEILINGS, 1.0)
    minutes = int(line.split("--minutes ")[1].split(" ")[0])
    assert fitting(chosen, CEILINGS, 60.0 * minutes) == (chosen, [])


def test_the_first_row_is_measured_in_any_case():
    kept, _ = fitting({LARGE: [TORCH, BF16]}, CEILINGS, 0.0)
    assert kept == {LARGE: [BF16]}
