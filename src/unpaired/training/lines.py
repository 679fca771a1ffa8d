"""What a training says at its start and at its end."""

import shlex
from pathlib import Path

from unpaired.config import Recipe
from unpaired.console import counted, log
from unpaired.data.layout.domains import DataSet, Folder
from unpaired.engines.seam import Engine
from unpaired.training.run import Start
from unpaired.training.watch import Remembered

__all__ = ["announcement", "ending_of", "log_end"]


def announcement(
    start: Start, engine: Engine, data: DataSet, part: tuple[Folder, Folder] | None
) -> str:
    """The first line: the steps, the images and how they are computed."""
    recipe = start.config.recipe
    begin = f"resuming at step {start.step}" if start.step else "starting"
    aside = f" ({len(part[0])} and {len(part[1])} set aside)" if part else ""
    return (
        f"{begin}: {counted(recipe.steps, 'step')} of preset {recipe.preset}, "
        f"{counted(len(data.train_a), 'image')} of {recipe.name_a}, "
        f"{len(data.train_b):,} of {recipe.name_b}{aside}, {recipe.precision}, {engine.signature()}"
    )


def log_end(folder: Path, recipe: Recipe, remembered: Remembered) -> None:
    """Logs the command that translates, and the best checkpoint."""
    where, name = shlex.quote(str(folder)), shlex.quote(recipe.name_b)
    log.info(f"finished: unpaired translate {where} IMAGES --to {name} --out FOLDER")
    if remembered.best_step:
        best = shlex.quote(str(folder / "best.safetensors"))
        if remembered.fallback:
            log.warning(
                "no evaluation changed the images enough to be the best (change in metrics.jsonl): "
                f"{best} is the last one, of step {remembered.best_step}"
            )
            return
        log.info(
            f"best on the validation part: {best}, of step {remembered.best_step} "
            f"({remembered.best:.4g}; {remembered.measure})"
        )


def ending_of(step: int, remembered: Remembered) -> str:
    """How a finished run ended."""
    chosen = remembered.best_step and not remembered.fallback
    best = f", best at step {remembered.best_step}" if chosen else ""
    return (f"stopped early at step {step}" if remembered.stopped else counted(step, "step")) + best
