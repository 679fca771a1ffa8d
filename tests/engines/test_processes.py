"""Several processes equal one: states after steps, resumed on other numbers; and what must differ.

All processes are forked of one program (several.py), since imports take the longest.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import several
from unpaired.engines.processes import Alone, Place, find_place
from unpaired.errors import ConfigError

BOUND = 1e-10
PROGRAM = Path(several.__file__)


def difference(one, other):
    """The largest difference of two arrays, over the largest element."""
    return float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-300))


class States:
    """What the processes of the scenarios wrote to a folder."""

    def __init__(self, folder):
        self.folder = folder

    def of(self, name, rank):
        told = json.loads((self.folder / f"{name}.{rank}.json").read_text())
        state = dict(np.load(self.folder / f"{name}.{rank}.npz"))
        return state | {f"loss.{k}": np.array(v) for k, v in told["losses"].items()}, told["lanes"]

    def apart(self, one, name, *, losses=True):
        """The largest difference between two scenarios over all arrays of all processes."""
        whole, _ = self.of(one, 0)
        worst = {}
        for rank in range(several.SCENARIOS[name][0]):
            state, lanes = self.of(name, rank)
            assert state.keys() == whole.keys()
            for array, value in state.items():
                expected = whole[array]
                if array.startswith("pool_") and rank:
                    expected = expected[slice(*lanes)]
                if losses or not array.startswith("loss."):
                    worst[array] = max(worst.get(array, 0.0), difference(expected, value))
        return max(worst.values())


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    pytest.importorskip("torch", reason="the torch engine is not installed")
    folder = tmp_path_factory.mktemp("states")
    done = subprocess.run(
        [sys.executable, PROGRAM, "steps", folder], capture_output=True, text=True, timeout=600
    )
    assert done.stdout.splitlines()[-1:] == ["[0, 0, 0, 0]"], done.stderr
    return States(folder)


@pytest.mark.parametrize("name", ["two", "four"])
def test_several_processes_equal_one(states, name):
    assert states.apart("one", name) < BOUND


def test_parts_of_a_share_equal_one_batch(states):
    assert states.apart("few", "parts") < BOUND


def test_the_scenario_swaps_images_of_the_pool():
    """Otherwise the plan of the pool could be anything."""
    plans = [several.batch_of(several.RECIPE, step, slice(0, 4)) for step in range(several.STEPS)]
    assert sum(plan.pool_a.swap.sum() for plan in plans) > 20
    assert several.RECIPE.rate_factor(several.STEPS - 1) < 0.2


def test_another_number_of_processes_continues(states):
    assert states.apart("one", "then of four", losses=False) < BOUND


def relative(one, other):
    """The norm of the difference of two arrays, over that of the second."""
    one, other = one.ravel().astype(float), other.ravel().astype(float)
    return np.linalg.norm(one - other) / max(np.linalg.norm(other), 1e-300)


@pytest.mark.parametrize("name", ["single of two", "single of four"])
def test_a_step_in_single_precision(states, name):
    """Moments are gradients, sums of many numbers, which round otherwise in another order.

    One process that takes its batch in parts differs from itself as much. The measure for them is
    therefore how far this rounding takes one process from float64: no difference may exceed it,
    nor 1e-5.
    """
    exact, _ = states.of("exact", 0)
    whole, _ = states.of("single", 0)
    state, _ = states.of(name, 0)
    assert whole["generator_ab.head.weight"].dtype == np.float32
    moments = [array for array in whole if array.startswith("moment")]
    rounding = max(relative(whole[array], exact[array]) for array in moments)
    assert rounding < 2e-5
    for array, value in whole.items():
        bound = min(rounding, 1e-5) if array in moments else 1e-6
        assert relative(state[array], value) <= bound, array


def test_gaps_are_weighed_over_the_whole_batch(states):
    assert states.apart("few", "gaps") > 1e-3
    assert states.apart("gaps", "gaps of two") < BOUND
    assert states.apart("gaps", "gaps apart") > 1e-6


def test_uneven_shares_are_weighed_by_their_images(states):
    assert states.apart("few", "uneven") < BOUND


@pytest.mark.parametrize(
    "name",
    ["no exchange", "sum for mean", "pool plan of its own", "ema not shared", "uneven, averaged"],
)
def test_what_is_wrong_is_seen(states, name):
    assert states.apart("few", name) > 1e-6


def test_a_state_that_is_not_equal_in_all_is_not_collected(states):
    for name, (count, *_) in several.SCENARIOS.items():
        told = [json.loads((states.folder / f"{name}.{r}.json").read_text()) for r in range(count)]
        unequal = name in ("no exchange", "ema not shared")
        assert [each["unequal"] for each in told] == [unequal] * count, name


# ---- the place of a process ---------------------------------------------------------------


def test_a_place_is_read_from_the_environment():
    named = {"RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "a", "MASTER_PORT": "99"}
    assert find_place(named | {"LOCAL_RANK": "1"}) == Place(3, 8, 1, "a", 99)
    assert find_place(named).local_rank == 3
    assert find_place(named | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).held
    for alone in ({}, {"WORLD_SIZE": "1"}, named | {"WORLD_SIZE": "1"}):
        assert find_place(alone) == Place()
    assert Alone().sum([1.5, 2]) == [1.5, 2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"RANK": ""}, "RANK is not"),
        ({"RANK": "8"}, "RANK is '8'"),
        ({"RANK": "-1"}, "RANK is '-1'"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT is '70000'"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not"),
    ],
)
def test_a_place_that_cannot_be_is_rejected(changed, message):
    named = {"RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "a", "MASTER_PORT": "99"}
    with pytest.raises(ConfigError, match=message):
        find_place(named | changed)
