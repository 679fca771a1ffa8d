"""The record of a training for its users: metrics.jsonl, sample grids, TensorBoard, trackers."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from unpaired.config import Recipe
from unpaired.data.batches import load_whole
from unpaired.data.crops import DomainReader
from unpaired.data.layout.domains import DataSet, Folder
from unpaired.directions import Domain
from unpaired.engines.seam import Engine, Images, Losses
from unpaired.errors import CheckpointError, Diverged, MissingExtra, RunError, reason_of
from unpaired.images.grid import draw_grid
from unpaired.storage import (
    atomic_path,
    explain_os_error,
    open_regular,
    read_json_lines,
    write_text,
)
from unpaired.training.trackers.tracked import Tracked

__all__ = ["Journal", "require_finite", "sample_images", "write_samples"]

SAMPLES = 4  # images of each domain in a sample grid

# The fields of a line that differ between equal runs.
TIMES = ("seconds", "pictures_per_second", "loading_share")

Item = TypeVar("Item")


class Journal:
    """An open metrics.jsonl, with a line of mean losses every few steps.

    Losses stay unconverted until a line is due, so that the loop does not wait for the device.
    Losses that a checkpoint finds unwritten go into its header (`pending`), so that a resumed run
    writes the same lines. Other lines (`record`) hold evaluations and extensions.

    Args:
        folder: the run folder.
        recipe: of the run; gives the learning rates.
        step: the steps done; lines of later steps, written before a kill, are removed.
        pending: what `pending` returned for the checkpoint that is resumed from, else empty.
        tensorboard: write TensorBoard event files, too.
        tracked: the trackers that are told, too; whoever opened them closes them.

    Raises:
        MissingExtra: TensorBoard is not installed.
        RunError: a file cannot be written.
        CheckpointError: `pending` is not what `pending` returns.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        step: int,
        pending: Mapping[str, Any],
        *,
        tensorboard: bool,
        tracked: Tracked | None = None,
    ) -> None:
        self.path = folder / "metrics.jsonl"
        self.recipe = recipe
        self.waiting: list[Losses] = list(_unwritten(pending))
        self.began = self.last = time.monotonic()
        self.since = 0
        self.awaited = self.awaited_before = 0.0  # seconds, since the last line and before it
        self.board = _board(folder) if tensorboard else None
        self.tracked = tracked or Tracked()
        _truncate(self.path, step)
        try:
            self.file = self.path.open("ab", buffering=0)  # closing has nothing left to write
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def timed(self, batches: Iterator[Item]) -> Iterator[Item]:
        """The batches; how long each was waited for is part of the next line."""
        while True:
            began = time.monotonic()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.awaited += time.monotonic() - began
            yield batch

    def loading(self) -> tuple[float, float]:
        """The share of the time of all lines so far spent waiting for batches, and its seconds."""
        return self.awaited_before / max(self.last - self.began, 1e-9), self.awaited_before

    def note(self, losses: Losses) -> None:
        """Adds the losses of one step."""
        self.waiting.append(losses)
        self.since += 1

    def means(self) -> dict[str, float]:
        """The mean losses since the last line; waits for the device."""
        self.waiting = [_floats(losses) for losses in self.waiting]
        names = self.waiting[0] if self.waiting else {}
        return {
            name: float(np.mean([float(x[name]) for x in self.waiting if name in x]))
            for name in names
        }

    def write(self, step: int, means: Mapping[str, float]) -> None:
        """Writes the line of `step` and starts a new mean."""
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
            "loading_share": round(self.awaited / max(now - self.last, 1e-9), 3),
        }
        self._append(line)
        numbers = {name: value for name, value in line.items() if name != "step"}
        self.tracked.numbers(step, numbers)
        if self.board:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, step)
        self.waiting, self.last, self.since = [], now, 0
        self.awaited, self.awaited_before = 0.0, self.awaited_before + self.awaited

    def record(self, step: int, **facts: object) -> None:
        """Writes a line without losses, such as an evaluation."""
        self._append({"step": step, **facts})
        self.tracked.numbers(step, facts)

    def lines(self) -> list[dict[str, Any]]:
        """All lines written so far, oldest first."""
        return read_json_lines(self.path)

    def pending(self, evaluations: Mapping[str, object] | None = None) -> dict[str, Any]:
        """The unwritten losses and the state of the evaluations, for a checkpoint's header."""
        self.means()
        losses = {"losses": self.waiting}
        return losses | {"evaluations": evaluations} if evaluations else losses

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


def require_finite(means: Mapping[str, float], step: int, last_good: Path | None) -> None:
    """Stops the training if a loss is NaN or infinite.

    Raises:
        Diverged: names the step, the loss and the last good checkpoint.
    """
    for name, value in means.items():
        if not math.isfinite(value):
            raise Diverged(
                f"the loss {name} is {value} at step {step}, which was not saved; "
                f"the last good checkpoint is {last_good}: "
                "start again with a lower --learning-rate or --precision fp32"
            )


def sample_images(data: DataSet, recipe: Recipe, max_pixels: int) -> tuple[Images, Images]:
    """The first images of each test set (or training set), whole, resized to the crop."""

    def load(domain: Domain, folder: Folder) -> Images:
        indices = range(min(SAMPLES, len(folder)))
        reader = DomainReader.of(recipe, domain, max_pixels)
        return load_whole(folder, indices, reader, recipe.image_size)

    a, b = load("a", data.test_a or data.train_a), load("b", data.test_b or data.train_b)
    rows = min(len(a), len(b))
    return a[:rows], b[:rows]


def write_samples(
    path: Path, engine: Engine, recipe: Recipe, images: tuple[Images, Images]
) -> None:
    """Writes a grid of fixed images: real | generated | cycle, both directions side by side."""
    a, b = images
    fake_b, fake_a = engine.translate(a, "ab"), engine.translate(b, "ba")
    cycle_a, cycle_b = engine.translate(fake_b, "ba"), engine.translate(fake_a, "ab")
    name_a, name_b = recipe.name_a, recipe.name_b
    columns = [
        (f"real {name_a}", a),
        (f"generated {name_b}", fake_b),
        (f"cycle {name_a}", cycle_a),
        (f"real {name_b}", b),
        (f"generated {name_a}", fake_a),
        (f"cycle {name_b}", cycle_b),
    ]
    with atomic_path(path) as temporary:
        sheet = draw_grid(columns, cell=max(128, recipe.image_size), halves=True)
        sheet.save(temporary, format="PNG")


def _floats(losses: Losses) -> dict[str, float]:
    return {name: float(value) for name, value in losses.items()}


def _unwritten(pending: Mapping[str, Any]) -> list[dict[str, float]]:
    """The losses of the steps that are not in metrics.jsonl yet.

    Raises:
        CheckpointError: they are no losses.
    """
    steps = pending.get("losses", [])
    if not isinstance(steps, list) or not all(
        isinstance(losses, dict)
        and all(type(loss) is float or _is_count(loss) for loss in losses.values())
        for losses in steps
    ):
        raise CheckpointError(
            "the newest checkpoint is damaged: what it has of losses is none; move it away to "
            "resume from the one before"
        )
    return steps


def _is_count(value: object) -> bool:
    return type(value) is int and abs(value) < 2**63


def _truncate(path: Path, step: int) -> None:
    """Removes lines after `step`, and partial ones, which a killed run may have written."""
    try:
        with open_regular(path) as file:
            before = file.read()
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"cannot read {path}: {reason_of(error)}: move it away") from error
    kept = [line for line in read_json_lines(path) if _is_up_to(step, line.get("step"))]
    text = "".join(json.dumps(line) + "\n" for line in kept)
    if text.encode() != before:
        write_text(path, text)


def _is_up_to(last: int, step: object) -> bool:
    return isinstance(step, int | float) and step <= last


def _board(folder: Path) -> Any:
    try:
        from tensorboard.summary import Writer
    except ModuleNotFoundError as error:
        raise MissingExtra("tensorboard", "track", "--tensorboard") from error
    return Writer(str(folder / "tensorboard"))
