"""The runtime: what does not decide the result of a training, and may change at every start."""

from dataclasses import dataclass
from typing import Literal

from unpaired.config.fields import MOST_IMAGES, MOST_PATH, MOST_STEPS, MOST_THREADS, check, option
from unpaired.errors import ConfigError, quoted

__all__ = ["DEFAULT_MAX_PIXELS", "DEVICES", "THREADS", "TRACKERS", "Runtime"]

DEFAULT_MAX_PIXELS = 178_956_970
"""Larger images are rejected before they are decoded. Pillow's own limit: RGB of 512 MiB."""

TRACKERS = ("mlflow", "wandb")
DEVICES = "auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1 or mps"
THREADS = "CPU threads for computing (0: one per core)"


@dataclass(frozen=True)
class Runtime:
    """Everything that does not decide the weights after a step, and may change at every start.

    Two runs are equal bit for bit on the same machine, engine and number of threads.

    Raises:
        ConfigError: a value is out of its range.
    """

    engine: Literal["torch", "jax"] = option("torch", "framework that trains and translates")
    device: str = option("auto", DEVICES, metavar="DEVICE")
    threads: int = option(0, THREADS, at_most=MOST_THREADS)
    workers: int = option(2, "threads that load images", at_least=1, at_most=MOST_THREADS)
    accumulate: int = option(
        1,
        "parts that a batch is computed in, one after another, to save memory",
        at_least=1,
        at_most=MOST_IMAGES,
    )
    activation_checkpointing: bool = option(
        False, "compute the generators' activations again in the backward pass, to save memory"
    )
    compile: Literal["auto", "off", "blocks", "full"] = option(
        "auto",
        "what torch.compile compiles of the generators: their residual blocks, all, or nothing "
        "(auto: the blocks on CUDA from 2000 steps on; JAX always compiles all)",
    )
    # Losses between two lines are in the header of a checkpoint, which is not to grow without end.
    log_every: int = option(50, "steps between lines of metrics.jsonl", at_least=1, at_most=100_000)
    sample_every: int = option(
        500, "steps between sample grids (0: only at the end)", at_most=MOST_STEPS
    )
    checkpoint_every: int = option(500, "steps between checkpoints", at_least=1, at_most=MOST_STEPS)
    report: Literal["end", "evaluations", "none"] = option(
        "end", "write the report page at the end, at every evaluation too, or never"
    )
    keep: int = option(3, "checkpoints to keep; older ones are removed", at_least=1, at_most=10**6)
    evaluate_every: int = option(
        1000, "steps between evaluations (0: only at the end)", at_most=MOST_STEPS
    )
    features: str = option(
        "",
        "feature weights for KID, which then chooses the best checkpoint",
        metavar="FILE",
        shown="(default: choose it without weights)",
        longest=MOST_PATH,
    )
    patience: int = option(
        0, "evaluations without improvement until training ends (0: never)", at_most=MOST_STEPS
    )
    tensorboard: bool = option(False, "write TensorBoard event files too (extra: track)")
    track: str = option(
        "",
        "trackers to tell too, one or both with a comma between (extras: mlflow, wandb)",
        metavar="mlflow,wandb",
        shown="(default: none)",
    )

    def __post_init__(self) -> None:
        check(self)
        for name in self.trackers:
            if name not in TRACKERS:
                raise ConfigError(f"--track {quoted(name)}: choose of {', '.join(TRACKERS)}")

    @property
    def trackers(self) -> tuple[str, ...]:
        """The names in `track`, each once."""
        names = (name.strip() for name in self.track.split(","))
        return tuple(dict.fromkeys(name for name in names if name))
