"""`unpaired demo`."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from unpaired.cli.flags import shown
from unpaired.presets import PRESETS

__all__ = ["demo"]


def demo(
    out: Annotated[Path, arg(help="the folder for the run and its page")] = Path("runs/demo"),
    seed: Annotated[int, arg(help="seed of the training")] = 0,
    steps: Annotated[
        int | None, shown("training steps", "INT", f"(default: {PRESETS['tiny'].steps})")
    ] = None,
    engine: Annotated[
        Literal["torch", "jax"], arg(help="framework that trains and translates")
    ] = "torch",
) -> None:
    """Draw summer and winter scenes, learn to translate them, and report the scores."""
    from unpaired.demo import demo as run

    run(out, seed=seed, steps=steps, runtime={"engine": engine})
