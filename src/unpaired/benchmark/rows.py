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
    "Selection",
    "Task",
    "Work",
    "cost",
    "fitting",
]

Task = Literal["train", "translate"]
EngineName = Literal["torch", "jax"]
Precision = Literal["fp32", "bf16"]

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
        given = {
            "image_size": self.size,
            "load_size": self.size,
            "batch_size": self.batch_size,
            "precision": precision,
            "bands_a": 3,
            "bands_b": 3,
        }
        recipe = preset(self.preset, given)
        return dataclasses.replace(
            recipe, start="identity" if recipe.start == "auto" else recipe.start
        )

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
    """Who computes it: an engine or the plain reference, and the arithmetic of its convolutions.

    "product" multiplies large matrices, for the ceiling of the machine.
    """

    engine: Literal["plain", "product", "torch", "jax"]
    precision: Precision = "fp32"

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


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
    precisions: tuple[Precision, ...] = ()

    def __post_init__(self) -> None:
        for flag, given, known in (
            ("--engine", self.engines, get_args(EngineName)),
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
_START, _REACHED = 5.0, 0.3
_COMPILED: Mapping[Task, float] = {"train": 25.0, "translate": 6.0}


def cost(work: Work, contestant: Contestant, ceilings: Mapping[Precision, float]) -> float:
    """Seconds that a row is expected to take at the fewest rounds.

    `ceilings` has the operations a second of a matrix product by precision.
    """
    once = work.flops / (_REACHED * ceilings[contestant.precision])
    compiled = _COMPILED[work.task] if contestant.engine == "jax" else 0.0
    return _START + compiled + 2 * once + FEWEST * max(TURN, once)


def fitting(
    works: Sequence[Work],
    contestants: Sequence[Contestant],
    ceilings: Mapping[Precision, float],
    seconds: float,
) -> tuple[dict[Work, list[Contestant]], list[str]]:
    """The rows that fit into the time, and a line about the others if there are any.

    Works are in the order of their importance; a work of JAX's comes after the next three of
    PyTorch's. The first row is taken in any case.
    """
    ranked = sorted(
        ((rank + (3.5 if each.engine == "jax" else 0), work, each)
         for rank, work in enumerate(works) for each in contestants),
        key=lambda row: row[0],
    )  # fmt: skip
    taken: dict[Work, list[Contestant]] = {}
    spent = wanted = 0.0
    late = list[str]()
    for _, work, contestant in ranked:
        price = cost(work, contestant, ceilings)
        alone = 0.0 if work in taken else cost(work, PLAIN, ceilings)
        wanted += price + (0.0 if contestant != contestants[0] else cost(work, PLAIN, ceilings))
        if taken and spent + price + alone > seconds:
            late.append(f"{work} ({contestant})")
            continue
        spent += price + alone
        taken.setdefault(work, []).append(contestant)
    ordered = {
        work: [c for c in contestants if c in taken[work]] for work in works if work in taken
    }
    if not late:
        return ordered, []
    minutes = math.ceil(wanted / 60)
    line = f"for lack of time, {len(late)} rows (--minutes {minutes} has time for all of them): "
    return ordered, [line + "; ".join(late)]
