"""Rounds: who takes turns with whom, what is compared, and what follows a failure."""

import json
import math
import time

import pytest

import unpaired
from unpaired.benchmark import bench as bench_module
from unpaired.benchmark.result import Row, Spread
from unpaired.benchmark.rows import Contestant, Work
from unpaired.errors import ConfigError, MissingExtra, RunError

ASKED = {"tasks": ["train"], "presets": ["tiny"], "sizes": [32], "minutes": 0.0}


SECONDS = {
    "plain fp32": 2.0,
    "torch fp32": 1.0,
    "torch bf16": 0.5,
    "jax fp32": 4.0,
    "jax bf16": 3.0,
}
PRODUCTS = {"fp32": 1e11, "bf16": 2e11}


class FakeWorker:
    """A worker that says how long it took; the machine is `drift` times slower every round.

    `log` has every turn in its order, `failing` the contestants that fail: at their beginning or
    in the turn of that number, `alive` those that have not ended.
    """

    log, failing, alive = (), (), ()  # of each test its own

    drift = 1.0
    held = 1_000
    free = 1_000_000

    def __init__(self, work, contestant, runtime):
        self.work, self.contestant, self.runtime = work, contestant, runtime
        self.turns = 0

    def __enter__(self):
        self.alive.add(self)
        return self

    def __exit__(self, *error):
        self.alive.discard(self)

    def imported(self):
        self._fail("import")

    def begin(self):
        self._fail("begin")
        told = {"device": "cpu", "threads": 3, "gpu": "", "torch": "2.0"}
        return {"seconds": 9.0, "method": ""} | ({} if self.work else told)

    def turn(self, repeats):
        self.turns += 1
        self._fail(self.turns)
        self.log.append((str(self.contestant), self.work, repeats))
        slower = self.drift**self.turns
        if self.work is None:
            rate = PRODUCTS[self.contestant.precision] / slower
            times = {"seconds": 0.1, "processor": 0.05}
            return times | {"flops": 0.1 * rate, "peak": 0, "free": self.free}
        seconds = SECONDS[str(self.contestant)] * slower
        times = {"seconds": seconds, "processor": seconds**2 / 8}
        return times | {"peak": self.held + self.turns, "free": self.free, "flops": 0}

    def _fail(self, moment):
        if self.failing.get(str(self.contestant)) == moment:
            raise RunError("no room")


@pytest.fixture
def workers(monkeypatch):
    """A class of fake workers of its own for a test; the clock of rounds is real."""

    class Workers(FakeWorker):
        log, failing, alive = [], {}, set()

    monkeypatch.setattr(bench_module, "Worker", Workers)
    absent = ("onnx", "onnxruntime", "openvino")
    monkeypatch.setattr(bench_module, "find_spec", lambda package: package not in absent)
    yield Workers
    assert not Workers.alive


def test_reference_and_contestants_take_turns(workers):
    unpaired.bench(**ASKED, engines=["torch"])
    counted = [name for name, work, _ in workers.log if work][3:]  # each was warmed by one
    assert counted == ["plain fp32", "torch fp32", "torch bf16"] * 3
    whole = [name for name, _, _ in workers.log][6 + 3 :]
    each = ["plain fp32", "torch fp32", "torch bf16", "product fp32", "product bf16"]
    assert whole == each * 3


def test_ratios_and_shares_are_those_of_a_round(workers):
    """A machine that gets slower changes times, not ratios and shares."""
    workers.drift = 1.5
    result = unpaired.bench(**ASKED, engines=["torch"])
    plain, fp32, bf16 = result.rows
    assert bf16.ratio == Spread(4.0, 4.0, 4.0)
    assert fp32.ratio == Spread(2.0, 2.0, 2.0)
    assert plain.ratio == Spread(1.0, 1.0, 1.0)
    assert bf16.time.high > 1.5 * bf16.time.low
    flops = Work("train", "tiny", 32, 1).flops
    # The products had two more turns before these rounds than the contestants had.
    assert bf16.share.median == pytest.approx(flops / 0.5 / 2e11 * 1.5**2, rel=1e-5)
    assert fp32.share.median == pytest.approx(flops / 1.0 / 1e11 * 1.5**2, rel=1e-5)
    assert result.best(bf16.work) is bf16


def test_short_work_is_repeated_within_a_turn(workers, monkeypatch):
    monkeypatch.setitem(SECONDS, "torch fp32", 0.01)
    result = unpaired.bench(**ASKED, engines=["torch"], precisions=["fp32"])
    repeats = {name: many for name, work, many in workers.log if work}
    assert repeats == {"plain fp32": 1, "torch fp32": 25}
    assert result.rows[1].images_per_second == pytest.approx(2 / 0.01)


def test_more_minutes_are_more_rounds(workers, monkeypatch):
    now = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: next(now) / 1.0)
    few = unpaired.bench(**ASKED, engines=["torch"])
    many = unpaired.bench(**ASKED | {"minutes": 1.0}, engines=["torch"])
    most = unpaired.bench(**ASKED | {"minutes": 1e4}, engines=["torch"])
    assert len(few.rows[0].seconds) == 3
    assert 3 < len(many.rows[0].seconds) < 25
    assert len(most.rows[0].seconds) == 25


@pytest.mark.parametrize("moment", ["import", "begin", 1, 2, 4])
def test_a_contestant_that_fails_ends_nothing_else(workers, moment):
    workers.failing = {"torch bf16": moment}
    result = unpaired.bench(**ASKED, engines=["torch", "jax"], precisions=["fp32", "bf16"])
    failed = {str(row.contestant): row.problem for row in result.rows if row.problem}
    assert failed == {"torch bf16": "no room"}
    assert [str(r.contestant) for r in result.rows][:2] == ["plain fp32", "torch fp32"]
    assert result.rows[1].ratio.median == 2.0


@pytest.mark.parametrize("moment", ["import", "begin", 3])
def test_without_a_reference_there_is_no_row(workers, moment):
    workers.failing = {"plain fp32": moment}
    result = unpaired.bench(**ASKED, engines=["torch"], precisions=["fp32"])
    assert {row.problem for row in result.rows} == {"no room"}
    assert result.best(result.rows[0].work) is None


def test_where_memory_is_short_fewer_run_at_once(workers, monkeypatch):
    workers.held, workers.free = 1000, 1700
    at_once = []
    usual = workers.turn

    def turn(self, repeats):
        at_once.append(sum(each.work is not None for each in self.alive))
        return usual(self, repeats)

    monkeypatch.setattr(workers, "turn", turn)
    result = unpaired.bench(**ASKED, engines=["torch"])
    assert max(at_once) == 2  # the reference and one beside it
    assert [row.ratio.median for row in result.rows] == [1.0, 2.0, 4.0]
    assert [len(row.seconds) for row in result.rows] == [6, 3, 3]


def test_memory_is_the_most_of_all_turns(workers):
    result = unpaired.bench(**ASKED, engines=["torch"], precisions=["fp32"])
    assert [row.memory for row in result.rows] == [1004, 1004]


def test_all_compute_with_the_threads_and_the_device_that_the_ceiling_found(workers, monkeypatch):
    seen = []
    usual = workers.__init__

    def init(self, work, contestant, runtime):
        seen.append((contestant.engine, runtime.engine, runtime.threads, runtime.device))
        usual(self, work, contestant, runtime)

    monkeypatch.setattr(workers, "__init__", init)
    unpaired.bench(**ASKED, engines=["torch", "jax"], precisions=["fp32"], threads=2)
    assert seen == [
        ("product", "torch", 2, "auto"),
        ("plain", "torch", 3, "cpu"), ("torch", "torch", 3, "cpu"), ("jax", "jax", 3, "cpu"),
    ]  # fmt: skip


def test_bf16_is_measured_where_its_product_is_faster(workers, monkeypatch):
    monkeypatch.setitem(PRODUCTS, "bf16", 1.05e11)
    result = unpaired.bench(**ASKED, engines=["torch"])
    assert [str(row.contestant) for row in result.rows] == ["plain fp32", "torch fp32"]
    (line,) = result.omitted
    assert "1.05 times" in line
    asked = unpaired.bench(**ASKED, engines=["torch"], precisions=["bf16"])
    assert [str(row.contestant) for row in asked.rows] == ["plain fp32", "torch bf16"]
    assert asked.omitted == []


def test_what_is_not_installed_is_told(workers):
    result = unpaired.bench(**ASKED | {"tasks": ["translate"]}, runtimes=["onnx", "engine"],
                            precisions=["fp32"])  # fmt: skip
    assert [str(r.contestant) for r in result.rows] == ["plain fp32", "torch fp32", "jax fp32"]
    assert result.omitted == ["onnx is not installed: pip install 'unpaired[onnx]'"]


def test_without_pytorch_there_is_no_reference(workers, monkeypatch):
    monkeypatch.setattr(bench_module, "find_spec", lambda package: None)
    with pytest.raises(MissingExtra, match="reference of a benchmark needs torch"):
        unpaired.bench()


@pytest.mark.parametrize("minutes", [-1.0, math.nan, math.inf, 1e300])
def test_minutes_without_sense_are_rejected(workers, minutes):
    with pytest.raises(ConfigError, match="--minutes"):
        unpaired.bench(minutes=minutes)
    assert workers.log == []


def test_the_default_rows_fit_into_the_time(workers):
    result = unpaired.bench(engines=["torch"], precisions=["fp32"], minutes=0.5)
    assert 1 <= len(result.works) < 14
    assert any("for lack of time" in line for line in result.omitted)


def test_processor_time_counts_where_it_is_asked_for(workers):
    result = unpaired.bench(**ASKED, engines=["torch"], threads=1, clock="processor")
    assert [row.ratio.median for row in result.rows] == [1.0, 4.0, 16.0]
    assert result.ceilings["fp32"].median == 2e11
    assert result.machine["clock"] == "time of the processor alone"
    for several in ({}, {"threads": 2}, {"threads": 1, "device": "cuda"}):
        with pytest.raises(ConfigError, match="--threads 1"):
            unpaired.bench(**ASKED, clock="processor", **several)


@pytest.mark.parametrize(("load", "warned"), [(0.1, False), (5000.0, True)])
def test_a_busy_machine_is_told(workers, monkeypatch, shown, load, warned):
    monkeypatch.setattr(bench_module.machine, "load", lambda: load)
    result = unpaired.bench(**ASKED, engines=["torch"], precisions=["fp32"])
    assert ("the machine is busy" in shown()) == warned
    assert result.machine["load before"].startswith(f"{load:.1f} ")


# ---- results ------------------------------------------------------------------------------


def test_numbers_by_hand():
    """Ratios of rounds, not of medians; the share of the round's own ceiling."""
    work = Work("translate", "tiny", 32, 2)
    row = Row(work, Contestant("torch"), (1.0, 2.0, 4.0), (3.0, 4.0, 4.0), (1e9, 2e9, 1e9))
    assert row.ratio.median == 2.0
    assert (row.ratio.low, row.ratio.high) == (1.2, 2.8)
    assert row.time.median == 2.0
    assert row.images_per_second == 1.0
    shares = sorted(work.flops / x for x in (1e9, 4e9, 4e9))
    assert row.share.median == pytest.approx(shares[1], rel=1e-5)


def test_json_has_the_rounds_from_which_all_follows(workers):
    workers.failing = {"jax fp32": "begin"}
    result = unpaired.bench(**ASKED, precisions=["fp32"])
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    plain, torch, jax = told["rows"]
    assert jax["problem"] == "no room"
    assert torch["rounds"] == {
        "seconds": [1.0] * 3, "plain_seconds": [2.0] * 3, "ceiling_flops_per_second": [1e11] * 3,
    }  # fmt: skip
    assert torch["times_plain"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert plain["engine"] == "plain"
    assert set(told["ceilings"]) == {"fp32"}
    assert told["machine"]["threads"].startswith("3 of ")
