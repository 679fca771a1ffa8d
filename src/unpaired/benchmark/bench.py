"""`unpaired bench`: engines against the plain reference, in turns, on random images.

A round is one turn of the reference, of each contestant of the same work, and of the matrix
products that are the ceiling. So a drift of the machine meets all alike: times of one round are
compared with each other, never with those of another.
"""

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

from unpaired.benchmark import machine
from unpaired.benchmark.result import Benchmark, Row, Spread
from unpaired.benchmark.rows import (
    FEWEST,
    PLAIN,
    TURN,
    Contestant,
    EngineName,
    Precision,
    RuntimeName,
    Selection,
    Task,
    Work,
    cost,
    fitting,
)
from unpaired.benchmark.worker import Answer, Worker
from unpaired.config import Runtime, require_within
from unpaired.console import counted, duration, log, progress
from unpaired.errors import ConfigError, MissingExtra, RunError

__all__ = ["Clock", "bench"]

Clock = Literal["wall", "processor"]
_KEYS: Mapping[Clock, str] = {"wall": "seconds", "processor": "processor"}
_CLOCKS: Mapping[Clock, str] = {"wall": "wall", "processor": "time of the processor alone"}

MOST = 25  # rounds of a work
_FASTER = 1.1  # bf16 is measured by default where its product is that much faster than fp32's
_NEEDS = {
    "torch": ("torch",),
    "jax": ("jax", "equinox", "optax"),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
}


def bench(
    *,
    tasks: Sequence[Task] = (),
    presets: Sequence[str] = (),
    sizes: Sequence[int] = (),
    batch_sizes: Sequence[int] = (),
    engines: Sequence[EngineName] = (),
    runtimes: Sequence[RuntimeName] = (),
    precisions: Sequence[Precision] = (),
    device: str = "auto",
    threads: int = 0,
    minutes: float = 3.0,
    clock: Clock = "wall",
) -> Benchmark:
    """Times training steps and translations beside the plain reference (benchmark/plain.py).

    It needs no data, no model and no network. Without `tasks`, `presets`, `sizes` and `batch_sizes`
    a default list is measured, as far as it fits into `minutes`; with any of them, every
    combination, however long it takes: `minutes` then decides the number of rounds, 3 at least.
    `engines`, `runtimes` and `precisions` are those that the machine has where none is given, bf16
    only where its matrix product is the faster one. `device` and `threads` are as in `Runtime`.
    Times are those of the wall `clock`, which other work on the machine makes longer; or those of
    the "processor", which with one thread on a CPU are what a machine without other work takes.

    Raises:
        ConfigError: an impossible value, a device that is not available, or processor time of
            several threads, which counts their waiting for each other.
        MissingExtra: PyTorch, in which the reference is written, is not installed.
        RunError: the ceiling cannot be measured.
    """
    require_within("--minutes", minutes, 0.0, 100_000)
    selection = Selection(
        tuple(tasks), tuple(presets), tuple(sizes), tuple(batch_sizes),
        tuple(engines), tuple(runtimes), tuple(precisions),
    )  # fmt: skip
    works, runtime = selection.works(), Runtime(device=device, threads=threads)
    if clock == "processor" and (threads != 1 or device not in ("auto", "cpu")):
        raise ConfigError("--clock processor times one thread of a CPU: give --threads 1, too")
    if not _installed("torch"):
        raise MissingExtra("torch", "torch", "the plain reference of a benchmark")
    end, busy = time.monotonic() + 60 * minutes, machine.load()
    if busy > machine.cores() / 2 and clock == "wall":
        log.warning(
            "the machine is busy (%.1f running processes): times will vary; --clock processor "
            "--threads 1 measures one thread nevertheless",
            busy,
        )
    with ExitStack() as stack:
        ceilings = _ceilings(stack, selection, runtime, clock)
        found = ceilings.measured
        offered, omitted = _offered(selection, found, ceilings.runtime.device)
        chosen = {work: [each for each in offered if each.computes(work)] for work in works}
        chosen = {work: contestants for work, contestants in chosen.items() if contestants}
        if selection.default:
            chosen, late = fitting(chosen, found, end - time.monotonic())
            omitted += late
        measured = _measured(chosen, ceilings, end)
    facts = _facts(ceilings, busy)
    spreads = {str(name): Spread.of(rates) for name, rates in ceilings.rates.items()}
    return Benchmark(measured, facts, spreads, omitted)


# ---- what can be measured here ------------------------------------------------------------


@dataclass
class Ceilings:
    """The matrix products by their precision, and the operations a second of all their turns."""

    products: Mapping[Precision, Worker]
    runtime: Runtime
    told: Answer
    clock: Clock
    rates: dict[Precision, list[float]] = field(default_factory=dict)
    measured: dict[Precision, float] = field(default_factory=dict)
    """The fastest turn of each precision until now, by the wall clock."""

    def turn(self, precision: Precision) -> float:
        """The operations a second of one turn of a precision's product."""
        answer = self.products[precision].turn(1)
        rate: float = answer["flops"] / answer[_KEYS[self.clock]]
        self.rates.setdefault(precision, []).append(rate)
        known = self.measured.get(precision, 0.0)
        self.measured[precision] = max(known, answer["flops"] / answer["seconds"])
        return rate


def _ceilings(stack: ExitStack, selection: Selection, runtime: Runtime, clock: Clock) -> Ceilings:
    """The products of the precisions that count, warm; fp32 is the reference's."""
    wanted: list[Precision] = ["fp32"]
    if "bf16" in (selection.precisions or ("bf16",)):
        wanted.append("bf16")
    products = {
        each: stack.enter_context(Worker(None, Contestant("product", each), runtime))
        for each in wanted
    }
    for product in products.values():
        product.imported()
    told, *_ = [product.begin() for product in products.values()]
    settled = replace(runtime, device=told["device"], threads=told["threads"])
    ceilings = Ceilings(products, settled, told, clock)
    for _ in range(FEWEST):
        for precision in wanted:
            ceilings.turn(precision)
    return ceilings


def _offered(
    selection: Selection, ceilings: Mapping[Precision, float], device: str
) -> tuple[list[Contestant], list[str]]:
    """The contestants that this machine has of those selected, and why it lacks others."""
    wanted = [*(selection.engines or ("torch", "jax"))]
    if selection.runtimes and "engine" not in selection.runtimes and not selection.engines:
        wanted = []
    runtimes = selection.runtimes or (() if selection.engines else ("onnx", "openvino"))
    offered, omitted = list[Contestant](), list[str]()
    slow = "bf16" in ceilings and ceilings["bf16"] < _FASTER * ceilings["fp32"]
    for name in (*wanted, *(each for each in runtimes if each != "engine")):
        if not _installed(name):
            omitted.append(f"{name} is not installed: pip install 'unpaired[{name}]'")
        elif name in ("onnx", "openvino") and device != "cpu":
            omitted.append(f"{name} computes on the CPU: --device cpu measures it")
        else:
            for precision in selection.precisions or ("fp32", "bf16"):
                if precision == "bf16" and (name == "onnx" or (slow and not selection.precisions)):
                    continue
                offered.append(Contestant(name, precision))
    if slow and not selection.precisions:
        share = ceilings["bf16"] / ceilings["fp32"]
        omitted.append(
            f"bf16: its matrix product is {share:.2f} times as fast as that of fp32 on this "
            "machine (--precision bf16 measures it)"
        )
    return offered, omitted


def _installed(name: str) -> bool:
    return all(find_spec(package) for package in _NEEDS[name])


def _facts(ceilings: Ceilings, busy: float) -> dict[str, str]:
    """Where and how it was measured, by names that people read."""
    told = ceilings.told
    facts = {
        "date": date.today().isoformat(),
        "processor": machine.processor(),
        "device": " ".join(filter(None, (told["device"], told["gpu"]))),
        "threads": f"{told['threads']} of {machine.cores()} cores",
        "load before": f"{busy:.1f} running processes on average in the minute before the start",
        "clock": _CLOCKS[ceilings.clock],
        "RAM": f"{machine.memory() / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": f"unpaired {version('unpaired')}, torch {told['torch']}",
    }
    for package in ("jax", "onnxruntime", "openvino"):
        if find_spec(package):
            facts["versions"] += f", {package} {version(package)}"
    return facts


# ---- the rounds ---------------------------------------------------------------------------


@dataclass
class Runner:
    """A contestant in its rounds: `seconds` of one time of its work, a value for each round."""

    contestant: Contestant
    worker: Worker
    clock: Clock
    seconds: list[float] = field(default_factory=list)
    first: float = math.nan
    repeats: int = 1
    expected: float = 0.0  # seconds of a turn
    memory: int = 0
    free: int = 0
    method: str = ""
    problem: str = ""

    def start(self) -> None:
        """Waits until its framework is imported, so that it disturbs nobody's first time."""
        try:
            self.worker.imported()
        except RunError as error:
            self.problem = str(error)

    def warm(self) -> None:
        """Has it compute its work for the first times, which are not counted."""
        if self.problem:
            return
        try:
            began = self.worker.begin()
            self.first, self.method = began["seconds"], began["method"]
            once = self.worker.turn(1)
        except RunError as error:
            self.problem = str(error)
            return
        self.repeats = max(1, math.ceil(TURN / max(once["seconds"], 1e-6)))
        self.expected = self.repeats * once["seconds"]
        self.memory, self.free = once["peak"], once["free"]

    def turn(self) -> None:
        """One more round; nothing is asked of what has failed."""
        if self.problem:
            return
        try:
            answer = self.worker.turn(self.repeats)
        except RunError as error:
            self.problem = str(error)
            return
        self.seconds.append(answer[_KEYS[self.clock]])
        self.memory = max(self.memory, answer["peak"])


def _measured(
    chosen: Mapping[Work, Sequence[Contestant]], ceilings: Ceilings, end: float
) -> list[Row]:
    """The rows of all works, each given its part of the time until `end`."""
    found = ceilings.measured
    costs = [sum(cost(w, each, found) for each in (PLAIN, *c)) for w, c in chosen.items()]
    total, rows = sum(map(len, chosen.values())), list[Row]()
    about = duration(max(sum(costs), end - time.monotonic()))
    log.info("%s beside the plain reference, about %s", counted(total, "row"), about)
    with progress("rows", total, unit="rows") as bar:
        for index, (work, contestants) in enumerate(chosen.items()):
            later, now = sum(costs[index + 1 :]), time.monotonic()
            seconds = max(0.0, end - now) * costs[index] / sum(costs[index:])

            def tell(left: float, done: int = bar.done, later: float = later) -> None:
                bar.update(done, left=max(left + later, end - time.monotonic()))

            rows += _rows(work, contestants, ceilings, now + seconds, tell)
            bar.advance(len(contestants))
    return rows


def _rows(
    work: Work,
    contestants: Sequence[Contestant],
    ceilings: Ceilings,
    until: float,
    tell: Callable[[float], None],
) -> list[Row]:
    """The reference and its contestants; fewer of them at once where memory is short."""
    with ExitStack() as stack:
        plain = _runner(stack, work, PLAIN, ceilings)
        plain.start()
        plain.warm()
        if plain.problem:
            return [Row(work, PLAIN, problem=plain.problem)]
        room = max(1, int(plain.free / (1.5 * max(plain.memory, 1))))
        rates: list[float] = []
        rows: list[Row] = []
        for start in range(0, len(contestants), room):
            group, left = contestants[start : start + room], len(contestants) - start
            now = time.monotonic()
            share = now + max(0.0, until - now) * len(group) / left
            rows += _group(work, plain, group, ceilings, rates, share, tell)
    reference = Row(
        work, PLAIN, plain.seconds, plain.seconds, rates, plain.first, plain.memory,
        problem=plain.problem,
    )  # fmt: skip
    return [reference, *rows]


def _group(
    work: Work,
    plain: Runner,
    contestants: Sequence[Contestant],
    ceilings: Ceilings,
    rates: list[float],
    until: float,
    tell: Callable[[float], None],
) -> list[Row]:
    """Some contestants in turn with the reference, whose ceilings are added to `rates`."""
    with ExitStack() as stack:
        runners = [_runner(stack, work, each, ceilings) for each in contestants]
        for runner in runners:
            runner.start()
        for number, runner in enumerate(runners, start=1):
            runner.warm()
            turns = (1 + len(runners)) * max(plain.expected, runner.expected)
            tell(max(until - time.monotonic(), (len(runners) - number) * turns + FEWEST * turns))
        before = len(plain.seconds)
        precisions = dict.fromkeys(["fp32", *(each.precision for each in contestants)])
        reached: dict[Precision, list[float]] = {precision: [] for precision in precisions}
        left = FEWEST
        while left > 0 and not plain.problem:
            began = time.monotonic()
            for runner in (plain, *runners):
                runner.turn()
            for precision, values in reached.items():
                values.append(ceilings.turn(precision))
            number = len(reached["fp32"])
            each = time.monotonic() - began
            left = max(int((until - time.monotonic()) / each), FEWEST - number)
            left = min(left, MOST - number)
            tell(left * each)
    rates += reached["fp32"]
    reference = plain.seconds[before:]
    return [
        Row(
            work, runner.contestant, runner.seconds, reference,
            reached[runner.contestant.precision],
            runner.first, runner.memory, runner.method, runner.problem or plain.problem,
        )
        for runner in runners
    ]  # fmt: skip


def _runner(stack: ExitStack, work: Work, contestant: Contestant, ceilings: Ceilings) -> Runner:
    """A contestant whose process has begun to import its framework."""
    engine: EngineName = "jax" if contestant.engine == "jax" else "torch"
    runtime = replace(ceilings.runtime, engine=engine)
    worker = stack.enter_context(Worker(work, contestant, runtime))
    return Runner(contestant, worker, ceilings.clock)
