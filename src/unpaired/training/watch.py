"""What is looked at while a training goes on: the detectors, the best checkpoint, an early end.

An evaluation is a deterministic function of the networks, the data and what earlier ones left
behind, and that (`Remembered`) travels in the checkpoints: a resumed run sees, says and keeps the
same.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unpaired.checkpoint import read_header
from unpaired.config import Config, Recipe
from unpaired.console import counted
from unpaired.data.batches import load_whole
from unpaired.data.domains import DataSet, Folder
from unpaired.diagnostics.detectors import Finding, detect
from unpaired.diagnostics.probe import History, take_probe
from unpaired.engines.seam import Engine, Images
from unpaired.errors import CheckpointError, Diverged
from unpaired.training.journal import Journal
from unpaired.training.validation import Validated, Validation

__all__ = ["Probed", "Remembered", "Watch", "choose_probe"]

PROBED = 8  # images of each domain
BEFORE = 25  # lines of metrics.jsonl before the last evaluation, to know what was usual by


@dataclass(frozen=True)
class Remembered:
    """What the evaluations so far leave behind.

    `best` is the lowest criterion, `best_step` its step and `measure` what it was measured with;
    `waited` counts the evaluations since then. `firing` are the findings of the last evaluation
    that fired, so that they are not said again. `stopped` is set where the training ended early.
    """

    history: History = field(default_factory=History)
    firing: tuple[str, ...] = ()
    best: float | None = None
    best_step: int | None = None
    measure: str = ""
    waited: int = 0
    stopped: bool = False

    def to_json(self) -> dict[str, object]:
        """As it stands in the header of a checkpoint."""
        return dataclasses.asdict(self) | {"history": json.loads(self.history.to_json())}

    @classmethod
    def from_pending(cls, pending: str) -> "Remembered":
        """Out of a checkpoint's `pending`; nothing, where it was written before there was any."""
        table: dict[str, Any] | None = json.loads(pending).get("evaluations")
        if table is None:
            return cls()
        history = History.from_json(json.dumps(table["history"]))
        return cls(**table | {"history": history, "firing": tuple(table["firing"])})


@dataclass(frozen=True)
class Probed:
    """The fixed images that the detectors look at, (N, H, W, bands) in [-1, 1], and their names.

    `train_*` are training images to hold them against; None where they are such themselves.
    """

    real_a: Images
    real_b: Images
    train_a: Images | None
    train_b: Images | None
    files: tuple[Sequence[str], Sequence[str]]
    held_out: bool


def choose_probe(
    data: DataSet, part: tuple[Folder, Folder] | None, recipe: Recipe, max_pixels: int
) -> Probed | None:
    """8 images of each domain, evenly from the folder: of the validation part, else of the test
    set, else of the training images; what has fewer than 2 is passed over, and None is left where
    all have.

    Raises:
        ImageError: an image can no longer be read.
    """

    def some(folder: Folder, bands: int) -> tuple[Images, list[str]]:
        indices = [
            int(index)
            for index in np.linspace(0, len(folder) - 1, min(PROBED, len(folder))).round()
        ]
        side = recipe.image_size
        images = load_whole(folder, indices, bands=bands, side=side, max_pixels=max_pixels)
        return images, [f"{folder.root.name}/{folder.names[index]}" for index in indices]

    chosen: list[tuple[Images, Images | None, list[str]]] = []
    for train, aside, test, bands in (
        (data.train_a, part and part[0], data.test_a, recipe.bands_a),
        (data.train_b, part and part[1], data.test_b, recipe.bands_b),
    ):
        enough = [folder for folder in (aside, test, train) if folder and len(folder) > 1]
        if not enough:
            return None
        real, files = some(enough[0], bands)
        chosen.append((real, None if enough[0] is train else some(train, bands)[0], files))
    (real_a, train_a, files_a), (real_b, train_b, files_b) = chosen
    held_out = train_a is not None and train_b is not None
    return Probed(real_a, real_b, train_a, train_b, (files_a, files_b), held_out)


class Watch:
    """Evaluates a training as it goes on.

    Args:
        probed: for the detectors; None: there are none.
        validation: None where nothing was set aside: there is no best checkpoint then.
        write_best: writes `best.safetensors` for the step it is given.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        engine: Engine,
        probed: Probed | None,
        validation: Validation | None,
        remembered: Remembered,
        write_best: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.config = config
        self.engine = engine
        self.probed = probed
        self.validation = validation
        self.remembered = remembered
        self._write_best = write_best
        self._say = say
        measure = validation.measure if validation else ""
        if validation and remembered.best is not None and remembered.measure != measure:
            say(f"the best is chosen anew, by {measure}: so far it was by {remembered.measure}")
            self.remembered = replace(remembered, best=None, best_step=None, waited=0)
        if probed and not probed.held_out:
            say(
                "no image is held out (no validation part, no test set): warnings rest on "
                "training images, and none comes where a discriminator learns them by heart"
            )

    def evaluate(self, step: int, journal: Journal) -> bool:
        """Looks at the networks after `step` steps; whether the training is to end here.

        The best so far is written first, then the line of metrics.jsonl, and then this is part of
        what goes into the next checkpoint.

        Raises:
            Diverged: the networks make NaN or infinity.
            ImageError: a validation image can no longer be read.
            RunError: the system refuses to write.
        """
        findings, history = self._detect(journal)
        _require_finite(findings, step, self.folder)
        now = replace(self.remembered, history=history, firing=tuple(map(_key, _fired(findings))))
        facts: dict[str, object] = {}
        if self.validation:
            validated = self.validation.take(self.engine)
            facts["validation"] = validated.to_json()
            now = self._hold_against_best(now, validated, step)
        journal.record(step, **facts, findings=[_plain(finding) for finding in findings])
        for finding in _fired(findings):
            if _key(finding) not in self.remembered.firing:
                told = f"{finding.name} ({finding.where}): {finding.message}"
                self._say(f"warning at step {step}, {told}; {finding.advice}")
        patience = self.config.runtime.patience
        if 0 < patience <= now.waited and step < self.config.recipe.steps:
            now = replace(now, stopped=True)
            since = counted(now.waited, "evaluation")
            self._say(f"stopping early at step {step}: none better in {since}")
        self.remembered = now
        return now.stopped

    def _detect(self, journal: Journal) -> tuple[list[Finding], History]:
        if self.probed is None:
            return [], self.remembered.history
        recipe, probed = self.config.recipe, self.probed
        probe = take_probe(
            self.engine,
            probed.real_a,
            probed.real_b,
            probed.train_a,
            probed.train_b,
            judge=self.engine.judge,
            seed=recipe.seed,
        )
        history = self.remembered.history.after(probe)
        names = (recipe.name_a, recipe.name_b)
        lines = _recent(journal.lines())
        return detect(probe, history, names, files=probed.files, lines=lines), history

    def _hold_against_best(self, now: Remembered, validated: Validated, step: int) -> Remembered:
        """What is remembered after a criterion; writes the best where this is it."""
        best = now.best if self._best_stands(now, step) else None
        if best is not None and not validated.criterion < best:
            return replace(now, waited=now.waited + 1)
        self._write_best(step)
        return replace(
            now, best=validated.criterion, best_step=step, measure=validated.measure, waited=0
        )

    def _best_stands(self, now: Remembered, step: int) -> bool:
        """Whether the file of the best is there, or will be made again before it is asked for.

        A run that was killed may have written one of a later step than its checkpoint: it gets
        there again. One that was removed or damaged is lost, and the best is chosen anew.
        """
        with contextlib.suppress(CheckpointError):
            there = read_header(self.folder / "best.safetensors").step
            return there == now.best_step or there > step
        return False


def _recent(lines: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
    """The lines since the last evaluation, and some before: what exploded once is told once."""
    evaluated = [index for index, line in enumerate(lines) if "findings" in line]
    return lines[max(evaluated[-1] - BEFORE, 0) :] if evaluated else lines


def _fired(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.fired]


def _key(finding: Finding) -> str:
    return f"{finding.name}: {finding.where}"


def _plain(finding: Finding) -> Mapping[str, object]:
    """As strict JSON can hold it: NaN as null, infinity as a string."""
    row = dataclasses.asdict(finding)
    for name in ("value", "limit"):
        if not math.isfinite(row[name]):
            row[name] = None if math.isnan(row[name]) else "Infinity"
    return row


def _require_finite(findings: Sequence[Finding], step: int, folder: Path) -> None:
    for finding in findings:
        if finding.fired and finding.name == "divergence" and finding.value == math.inf:
            raise Diverged(
                f"{finding.message} at step {step}: nothing of this was saved, the checkpoints in "
                f"{folder / 'checkpoints'} stand; {finding.advice}"
            )
