"""Networks that cannot fit into the memory, or cannot be those of a file, are never built."""

import dataclasses

import numpy as np
import pytest

from conftest import SMALL
from unpaired.config import Runtime
from unpaired.engines import choice
from unpaired.engines.choice import (
    make_engine,
    make_translator,
    require_memory,
    settle_precision,
)
from unpaired.engines.processes import Alone, Place
from unpaired.engines.seam import initial_state, require_filled
from unpaired.errors import CheckpointError, ConfigError, TooLarge
from unpaired.presets import PRESETS, preset

CPU = Runtime(device="cpu", threads=1)
BANDS = {"bands_a": 3, "bands_b": 3}
HUGE = [{"width": 4096}, {"blocks": 1000, "width": 1024}, {"discriminator_width": 4096},
        {"batch_size": 65_536, "pool_size": 0}, {"pool_size": 65_536}]  # fmt: skip


@pytest.fixture
def free(monkeypatch):
    """Sets the memory that is free, in GB."""
    return lambda amount: monkeypatch.setattr(choice, "free", lambda: int(amount * 1e9))


@pytest.mark.parametrize("values", HUGE)
def test_a_training_beyond_the_memory_is_one_line_at_once(free, monkeypatch, values):
    free(32)
    monkeypatch.setattr(choice, "_classes", lambda framework: pytest.fail("it was built"))
    recipe = preset("paper", BANDS | values)
    for check in (require_memory, lambda recipe: make_engine(recipe, CPU)):
        with pytest.raises(TooLarge) as error:
            check(recipe)
        line = str(error.value)
        assert line.startswith("a training of --width ")
        assert "GB of memory and 32.0 GB are free: give smaller ones" in line
        assert all(f"--{name.replace('_', '-')} {value}" in line for name, value in values.items()
                   if name != "discriminator_width")  # fmt: skip


def test_networks_beyond_the_memory_do_not_translate(free, monkeypatch):
    free(32)
    monkeypatch.setattr(choice, "_classes", lambda framework: pytest.fail("it was built"))
    with pytest.raises(TooLarge, match="the networks of --width 4096"):
        make_translator(preset("paper", BANDS | {"width": 4096}), CPU)


def test_presets_fit_into_two_gigabytes(free):
    free(2)
    for name in PRESETS:
        require_memory(preset(name, BANDS))


def test_the_activations_of_a_batch_count_on_a_cpu(free, monkeypatch):
    class OnHost:
        memory = "host"

        def __init__(self, recipe, runtime, processes):
            pass

    monkeypatch.setattr(choice, "_classes", lambda framework: (OnHost, OnHost))
    free(8)
    recipe = preset("paper", BANDS | {"batch_size": 1000, "pool_size": 0, "image_size": 128})
    with pytest.raises(TooLarge, match="a step of "):
        make_engine(recipe, CPU)
    assert make_engine(recipe, dataclasses.replace(CPU, engine="jax")).memory == "host"


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_the_estimate_is_at_least_what_a_state_holds(name, free):
    pytest.importorskip(name, reason=f"the {name} engine is not installed")
    recipe = preset("tiny", SMALL | BANDS | {"width": 16})
    engine = make_engine(recipe, dataclasses.replace(CPU, engine=name))
    state = initial_state(engine.state(), recipe)
    held = sum(array.nbytes for array in state.values())
    free(2.9 * held / 1e9)
    with pytest.raises(TooLarge):
        require_memory(recipe)
    free(4 * held / 1e9)
    require_memory(recipe)
    require_filled(recipe, state, whole=True)


def needed(recipe, free, *place, **how):
    """Bytes that `require_memory` asks for, to 1 %."""
    low, high = 0.0, 1e12
    while high - low > 0.01 * high:
        middle = (low + high) / 2
        free(middle / 1e9)
        try:
            require_memory(recipe, *place, **how)
            high = middle
        except TooLarge:
            low = middle
    return high


def test_of_several_processes_each_counts_its_lanes(free, monkeypatch):
    """Pools of 5 GB beside small networks: of 8 processes 1/8, and whole copies in the first."""
    recipe = preset("tiny", SMALL | BANDS | {"batch_size": 64, "pool_size": 50,
                             "load_size": 256, "image_size": 256})  # fmt: skip
    pool = 4 * 64 * 50 * 256**2 * 6
    first = needed(recipe, free, 8)
    other = needed(recipe, free, 8, collects=False)
    assert needed(recipe, free) == pytest.approx(3 * pool, rel=0.03)
    assert first == pytest.approx((2 + 1 / 8) * pool, rel=0.03)
    assert other == pytest.approx(3 / 8 * pool, rel=0.05)

    class OfSeveral(Alone):
        memory = "device"

        def __init__(self, rank):
            self.place = Place(rank, 8)

    monkeypatch.setattr(choice, "_classes", lambda name: (lambda recipe, runtime, by: by, None))
    free((first + other) / 2e9)
    make_engine(recipe, CPU, OfSeveral(1))
    for rank, name in ((0, "torch"), (0, "jax"), (1, "jax")):
        with pytest.raises(TooLarge):
            make_engine(recipe, dataclasses.replace(CPU, engine=name), OfSeveral(rank))


@pytest.mark.parametrize(("values", "whole"), [
    ({"width": 4096}, False), ({"blocks": 1000}, False), ({"discriminator_width": 4096}, True),
])  # fmt: skip
def test_a_recipe_that_its_file_cannot_fill_is_rejected_unbuilt(values, whole):
    recipe, arrays = preset("paper", BANDS | values), {"x": np.zeros(1000)}
    with pytest.raises(CheckpointError, match="does not fit the recipe: its networks have"):
        require_filled(recipe, arrays, whole=whole)
    require_filled(preset("tiny", BANDS), {}, whole=whole)  # few: each name is looked at later


@pytest.mark.parametrize("engine", ["torch", "jax"])
@pytest.mark.parametrize(
    ("instructions", "gain", "expected"),
    [
        ({"avx2"}, 9.0, "fp32"),
        ({"avx512_bf16", "avx2"}, 2.0, "bf16"),
        ({"avx512_bf16", "avx2"}, 0.5, "fp32"),  # as measured on a Xeon without AMX
        ({"bf16", "asimd"}, 1.3, "bf16"),
    ],
)
def test_automatic_precision_is_bf16_where_the_processor_is_faster_in_it(
    monkeypatch, caplog, engine, instructions, gain, expected
):
    device = pytest.importorskip(f"unpaired.engines.{engine}.device")
    monkeypatch.setattr(choice, "instructions", lambda: frozenset(instructions))
    monkeypatch.setattr(device, "bf16_gain", lambda: gain)
    recipe = preset("small", BANDS | {"start": "identity"})
    with caplog.at_level("INFO"):
        settled = settle_precision(recipe, dataclasses.replace(CPU, engine=engine))
    assert settled == dataclasses.replace(recipe, precision=expected)
    assert f"precision {expected}: " in caplog.text


@pytest.mark.parametrize("engine", ["torch", "jax"])
def test_the_gain_of_bf16_is_measured(engine):
    device = pytest.importorskip(f"unpaired.engines.{engine}.device")
    assert 0.001 < device.bf16_gain(turns=2) < 1000


def test_a_precision_that_was_given_stays(monkeypatch):
    monkeypatch.setattr(choice, "instructions", lambda: pytest.fail("it was looked up"))
    for given in ("fp32", "bf16", "fp64"):
        recipe = preset("small", {"precision": given})
        assert settle_precision(recipe, CPU) is recipe


def test_no_network_is_made_of_an_automatic_precision():
    with pytest.raises(ConfigError, match="--precision auto is for new runs"):
        make_engine(preset("small", BANDS | {"start": "identity"}), CPU)
