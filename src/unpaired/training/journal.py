"""What a training writes for people: metrics.jsonl, sample grids, TensorBoard, progress."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unpaired.config import Recipe
from unpaired.engines.seam import Engine, Images, Losses
from unpaired.errors import Diverged, MissingExtra
from unpaired.images.grid import draw_grid
from unpaired.storage import atomic_path, explain_os_error, write_text

__all__ = ["Journal", "require_finite", "write_samples"]

TIMES = ("seconds", "pictures_per_second")  # the fields of a line that differ between equal runs


class Journal:
    """The lines of metrics.jsonl: means of the losses since the line before.

    Losses wait unconverted until a line is due, so that no device is waited for before. What
    waits when a checkpoint is written goes into it (`pending`), so that a resumed run writes the
    same lines. Lines that are not of losses (`record`) tell of evaluations and of extensions.
    """

    def __init__(self, folder: Path, recipe: Recipe, step: int, pending: str, *, tensorboard: bool):
        self.path = folder / "metrics.jsonl"
        self.recipe = recipe
        self.waiting: list[Losses] = json.loads(pending).get("losses", [])
        self.began = self.last = time.monotonic()
        self.since = 0
        self.board = _board(folder) if tensorboard else None
        self._cut_back(step)
        try:
            self.file = self.path.open("ab", buffering=0)  # nothing is left to fail at closing
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def note(self, losses: Losses) -> None:
        """Takes the losses of one step."""
        self.waiting.append(losses)
        self.since += 1

    def means(self) -> dict[str, float]:
        """Means of what waits; it is converted, so the device is waited for."""
        self.waiting = [_floats(losses) for losses in self.waiting]
        names = self.waiting[0] if self.waiting else {}
        return {name: float(np.mean([float(x[name]) for x in self.waiting])) for name in names}

    def write(self, step: int, means: Mapping[str, float]) -> None:
        """Writes the line of `step` and begins a new mean."""
        now = time.monotonic()
        rate = self.since * 2 * self.recipe.batch_size / max(now - self.last, 1e-9)
        factor = self.recipe.rate_factor(step - 1)
        line = {
            "step": step,
            **means,
            "learning_rate": self.recipe.learning_rate * factor,
            "discriminator_rate": self.recipe.discriminator_rate * factor,
            "seconds": round(now - self.began, 3),
            "pictures_per_second": round(rate, 2),
        }
        self._append(line)
        if self.board:
            for name, value in line.items():
                if name != "step":
                    self.board.add_scalar(name, value, step)
        self.waiting, self.last, self.since = [], now, 0

    def record(self, step: int, **facts: object) -> None:
        """Writes a line that is not of losses, such as a change of the recipe."""
        self._append({"step": step, **facts})

    def lines(self) -> list[dict[str, Any]]:
        """All lines written so far, oldest first."""
        text = self.path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def pending(self, evaluations: Mapping[str, object] | None = None) -> str:
        """What waits, and what `evaluations` leave behind, for the checkpoint's header."""
        self.means()
        left = {"evaluations": evaluations} if evaluations else {}
        return json.dumps({"losses": self.waiting} | left)

    def close(self) -> None:
        """Closes the files."""
        self.file.close()
        if self.board:
            self.board.flush()
            self.board.close()

    def _append(self, line: Mapping[str, object]) -> None:
        try:
            self.file.write((json.dumps(line) + "\n").encode())
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def _cut_back(self, step: int) -> None:
        """Keeps the whole lines up to `step`; a killed run may have written more, or half one."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        if kept != lines:
            write_text(self.path, "".join(line + "\n" for line in kept))


def require_finite(means: Mapping[str, float], step: int, last_good: Path | None) -> None:
    """Stops the training where a loss is NaN or infinite.

    Raises:
        Diverged: with the step, the loss and the checkpoint that stands.
    """
    for name, value in means.items():
        if not math.isfinite(value):
            raise Diverged(
                f"the loss {name} is {value} at step {step}: nothing of this was saved, "
                f"the last good checkpoint is {last_good}; "
                "start anew with a lower --learning-rate or --precision fp32"
            )


def write_samples(
    path: Path, engine: Engine, recipe: Recipe, images: tuple[Images, Images]
) -> None:
    """Writes a grid of fixed images: real | fake | cycle, for both directions side by side."""
    a, b = images
    fake_b, fake_a = engine.translate(a, "ab"), engine.translate(b, "ba")
    cycle_a, cycle_b = engine.translate(fake_b, "ba"), engine.translate(fake_a, "ab")
    names = (recipe.name_a, recipe.name_b)
    columns = [
        (f"real {names[0]}", a),
        (f"fake {names[1]}", fake_b),
        (f"cycle {names[0]}", cycle_a),
        (f"real {names[1]}", b),
        (f"fake {names[0]}", fake_a),
        (f"cycle {names[1]}", cycle_b),
    ]
    with atomic_path(path) as temporary:
        sheet = draw_grid(columns, cell=max(128, recipe.image_size), halves=True)
        sheet.save(temporary, format="PNG")


def _floats(losses: Losses) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}


def _step_of(line: str) -> float:
    """The step of a line; infinity where the line is not whole."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _board(folder: Path) -> Any:
    try:
        from tensorboard.summary import Writer
    except ModuleNotFoundError as error:
        raise MissingExtra("tensorboard", "track", "--tensorboard") from error
    return Writer(str(folder / "tensorboard"))
