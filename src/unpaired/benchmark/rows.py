"""The rows of a benchmark: what is computed, by whom, which are asked for, and what they cost."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from unpaired.benchmark.flops import step_flops, translation_flops
from unpaired.config import MOST_IMAGES, MOST_PIXELS, Recipe, require_within
from unpaired.engines.architecture import SMALLEST_SIDE, STRIDE
from unpaired.errors import ConfigError, quoted
from unpaired.presets import PRESETS, preset

__all__ = [
    "DEFAULT_WORKS",
    "FEWEST",
    "PLAIN",
    "TASKS",
    "TURN",
    "Contestant",
    "EngineName",
    "Precision",
    "RuntimeName",
    "Selection",
    "Task",
    "Work",
    "cost",
    "fitting",
]

Task = Literal["train", "translate"]
EngineName = Literal["torch", "jax"]
RuntimeName = Literal["engine", "onnx", "openvino"]
Precision = Literal["fp32", "bf16"]

_STEPS = 200_000  # of a preset that trains for epochs: 200 of 1,000 images, as in 2017

TASKS: Mapping[Task, str] = {"train": "training step", "translate": "translation"}

FEWEST = 3  # rounds of a work
TURN = 0.25  # seconds of a turn at least: short work is repeated within it


@dataclass(frozen=True)
class Work:
    """What is computed again and again: a training step, or the translation of a batch.

    `size` is the side of the square images in pixels, `batch_size` their number (of each domain).

    Raises:
        ConfigError: no such task or preset, or a size or batch that its networks cannot take.
    """

    task: Task
    preset: str
    size: int
    batch_size: int

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"--only {quoted(self.task)} is no task: give train or translate")
        if self.preset not in PRESETS:
            known = ", ".join(PRESETS)
            raise ConfigError(f"--preset {quoted(self.preset)} is no preset: choose of {known}")
        require_within("--size", self.size, SMALLEST_SIDE, MOST_PIXELS)
        require_within("--batch-size", self.batch_size, 1, MOST_IMAGES)
        if self.size % STRIDE:
            raise ConfigError(f"--size is {self.size}: it must be a multiple of {STRIDE}")
        self.recipe("fp32")

    def __str__(self) -> str:
        return f"{TASKS[self.task]}, {self.preset}, {self.size} px, batch {self.batch_size}"

    def recipe(self, precision: Precision) -> Recipe:
        """The recipe, with colour images and the start that photographs get."""
        given: dict[str, object] = {
            "image_size": self.size,
            "load_size": self.size,
            "batch_size": self.batch_size,
            "precision": precision,
            "bands_a": 3,
            "bands_b": 3,
        }
        if not PRESETS[self.preset].steps:
            given["steps"] = _STEPS
        recipe = preset(self.preset, given)
        start = "residual" if recipe.start == "auto" else recipe.start
        return dataclasses.replace(recipe, start=start)

    @property
    def flops(self) -> int:
        """Floating-point operations of it."""
        count = step_flops if self.task == "train" else translation_flops
        return count(self.recipe("fp32"))

    @property
    def images(self) -> int:
        """Images that it handles: those of both domains in a training step."""
        return self.batch_size * (2 if self.task == "train" else 1)


@dataclass(frozen=True)
class Contestant:
    """Who computes it, and the arithmetic of its convolutions.

    An engine, a runtime that executes exported generators, the "plain" reference, or a "product" of
    large matrices, which is the ceiling of the machine.
    """

    engine: Literal["plain", "product", "torch", "jax", "onnx", "openvino"]
    precision: Precision = "fp32"

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"

    def computes(self, work: Work) -> bool:
        """Whether it can: runtimes translate only."""
        return work.task == "translate" or self.engine not in ("onnx", "openvino")


PLAIN = Contestant("plain")

# The default rows, the most telling first: those that fit into the time are measured.
DEFAULT_WORKS = (
    Work("train", "small", 64, 1),
    Work("translate", "paper", 256, 1),
    Work("train", "paper", 128, 1),
    Work("translate", "paper", 64, 8),
    Work("train", "small", 64, 8),
    Work("translate", "paper", 128, 1),
    Work("train", "paper", 64, 1),
    Work("translate", "small", 64, 8),
    Work("train", "paper", 256, 1),
    Work("train", "paper", 128, 4),
    Work("train", "modern", 256, 1),
    Work("translate", "paper", 256, 8),
    Work("train", "paper", 256, 16),
    Work("train", "tiny", 32, 2),
)


@dataclass(frozen=True)
class Selection:
    """The rows that a user asks for; what is empty was not asked for.

    Tasks, presets, sizes and batch sizes select works: none of them, the default works; else every
    combination of them, with both tasks, presets `paper` and `small`, and sizes and batch sizes of
    the default where nothing is given.
    """

    tasks: tuple[Task, ...] = ()
    presets: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    engines: tuple[EngineName, ...] = ()
    runtimes: tuple[RuntimeName, ...] = ()
    precisions: tuple[Precision, ...] = ()

    def __post_init__(self) -> None:
        for flag, given, known in (
            ("--engine", self.engines, get_args(EngineName)),
            ("--runtime", self.runtimes, get_args(RuntimeName)),
            ("--precision", self.precisions, get_args(Precision)),
        ):
            for value in given:
                if value not in known:
                    raise ConfigError(f"{flag} {quoted(value)}: choose of {', '.join(known)}")

    @property
    def default(self) -> bool:
        """Whether no work was asked for, so that those are taken which fit into the time."""
        return not (self.tasks or self.presets or self.sizes or self.batch_sizes)

    def works(self) -> tuple[Work, ...]:
        """The works selected, each once.

        Raises:
            ConfigError: one of them is impossible.
        """
        if self.default:
            return DEFAULT_WORKS
        chosen = product(
            self.tasks or TASKS,
            self.presets or ("paper", "small"),
            self.sizes or (64, 128, 256),
            self.batch_sizes or (1,),
        )
        return tuple(dict.fromkeys(Work(*each) for each in chosen))


# ---- time ---------------------------------------------------------------------------------

# Expected before anything is known but the ceiling: seconds until a process has its framework and
# its networks, those that JAX compiles, and the share of the ceiling that convolutions reach.
_START, _REACHED = 5.0, 0.5
_COMPILED: Mapping[Task, float] = {"train": 25.0, "translate": 6.0}

# Works of PyTorch's that come before one of another in the default rows.
_LATER = {"jax": 3.5, "onnx": 1.5, "openvino": 1.5}


def cost(work: Work, contestant: Contestant, ceilings: Mapping[Precision, float]) -> float:
    """Seconds that a row is expected to take at the fewest rounds.

    `ceilings` has the operations a second of a matrix product by precision.
    """
    once = work.flops / (_REACHED * ceilings[contestant.precision])
    compiled = _COMPILED[work.task] if contestant.engine == "jax" else 0.0
    return _START + compiled + 2 * once + FEWEST * max(TURN, once)


def fitting(
    chosen: Mapping[Work, Sequence[Contestant]],
    ceilings: Mapping[Precision, float],
    seconds: float,
) -> tuple[dict[Work, list[Contestant]], list[str]]:
    """The rows that fit into the time, and a line about the others if there are any.

    Works are in the order of their importance, and bf16 comes first. The first row is taken in any
    case.
    """
    ranked = [
        (rank + _LATER.get(each.engine, 0.0), work, each)
        for rank, (work, contestants) in enumerate(chosen.items())
        for each in contestants
    ]
    taken: dict[Work, list[Contestant]] = {}
    spent, late = 0.0, list[Work]()
    for _, work, contestant in sorted(ranked, key=lambda row: (row[0], row[2].precision)):
        price = cost(work, contestant, ceilings)
        if work not in taken:
            price += cost(work, PLAIN, ceilings)
        if taken and spent + price > seconds:
            late.append(work)
        else:
            spent += price
            taken.setdefault(work, []).append(contestant)
    kept = {
        work: [each for each in contestants if each in taken[work]]
        for work, contestants in chosen.items()
        if work in taken
    }
    if not late:
        return kept, []
    whole = sum(
        cost(work, each, ceilings)
        for work, contestants in chosen.items()
        for each in (PLAIN, *contestants)
    )
    line = (
        f"{len(late)} of {len(ranked)} rows for lack of time (--minutes {math.ceil(whole / 60)} "
        "has time for all)"
    )
    missing = [str(work) for work in chosen if work not in kept]
    return kept, [f"{line}, among them all of " + "; ".join(missing) if missing else line]
