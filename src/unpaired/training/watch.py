"""Evaluation during a training: failure checks, the best checkpoint, early stopping.

An evaluation is a deterministic function of the networks, the data and the state of the earlier
ones (`Remembered`), which is saved in the checkpoints: a resumed run reports and keeps the same.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unpaired.checkpoint import read_header
from unpaired.config import MOST_STEPS, Config, Recipe
from unpaired.console import counted, log
from unpaired.data.batches import load_whole
from unpaired.data.crops import DomainReader
from unpaired.data.layout.domains import DataSet, Folder
from unpaired.diagnostics.detect import detect
from unpaired.diagnostics.finding import Finding
from unpaired.diagnostics.history import EVALUATIONS, History
from unpaired.diagnostics.probe import take_probe
from unpaired.directions import DOMAINS, Domain
from unpaired.engines.seam import Engine, Images
from unpaired.errors import CheckpointError, Diverged, shown
from unpaired.training.journal import Journal
from unpaired.training.validation import Validated, Validation

__all__ = ["ProbeImages", "Remembered", "Watch", "choose_probe_images"]

PROBED = 8  # images of each domain
BEFORE = 25  # lines of metrics.jsonl before the last evaluation, to know the usual losses by


@dataclass(frozen=True)
class Remembered:
    """The state of the evaluations so far.

    `best` is the lowest criterion of the evaluations that moved (see `validation`), `best_step` its
    step and `measure` what it was measured with; `waited` counts the evaluations since then, none
    before one moved. `fallback` is true if none did: then the best is the last evaluation. `firing`
    are the findings that fired in the last evaluation, so that each is reported once. `stopped` is
    true if the training stopped early.
    """

    history: History = field(default_factory=History)
    firing: tuple[str, ...] = ()
    best: float | None = None
    best_step: int | None = None
    measure: str = ""
    waited: int = 0
    stopped: bool = False
    fallback: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain data, for the header of a checkpoint."""
        return asdict(self) | {"history": self.history.to_dict()}

    @classmethod
    def from_pending(cls, pending: Mapping[str, Any]) -> "Remembered":
        """Reads a checkpoint's `pending`, which may be older than evaluations.

        Raises:
            CheckpointError: it is not what `to_dict` returned.
        """
        table = pending.get("evaluations")
        if table is None:
            return cls()
        try:
            table = _LATER | table
            found = {name: table[name] for name in _REMEMBERED}
            if table.keys() != found.keys() or not all(
                valid(found[name]) for name, valid in _REMEMBERED.items()
            ):
                raise TypeError
            history = History.from_dict(found["history"])
        except (TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                "the newest checkpoint is damaged: what it has of evaluations is none; move it "
                "away to resume from the one before"
            ) from error
        return cls(**found | {"history": history, "firing": tuple(found["firing"])})

    def for_measure(self, measure: str) -> "Remembered":
        """The state for a criterion of `measure`: the best by another one does not count."""
        if self.best is None or self.measure == measure:
            return self
        log.info(f"choosing the best again by {measure}: so far it was chosen by {self.measure}")
        return replace(self, best=None, best_step=None, waited=0)


def _is_number(value: object) -> bool:
    return type(value) is float or _is_count(value)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST_STEPS


def _is_history(value: Any) -> bool:
    return isinstance(value, dict) and all(
        name.startswith("accuracy_")
        and isinstance(past, list)
        and len(past) <= EVALUATIONS
        and all(map(_is_number, past))
        for name, past in value.items()
    )


# The values that a checkpoint has of `Remembered`, and what each may be.
_REMEMBERED: Mapping[str, Callable[[Any], bool]] = {
    "history": _is_history,
    "firing": lambda keys: isinstance(keys, list) and all(type(key) is str for key in keys),
    "best": lambda value: value is None or _is_number(value),
    "best_step": lambda value: value is None or _is_count(value),
    "measure": lambda value: type(value) is str,
    "waited": _is_count,
    "stopped": lambda value: type(value) is bool,
    "fallback": lambda value: type(value) is bool,
}
_LATER: Mapping[str, Any] = {"fallback": False}  # what checkpoints of earlier versions lack


@dataclass(frozen=True)
class ProbeImages:
    """Fixed images for the checks, by domain, (n, side, side, bands) in [-1, 1], and their names.

    `train` are training images to compare them with; empty for a domain whose `real` are such.
    """

    real: Mapping[Domain, Images]
    train: Mapping[Domain, Images]
    files: Mapping[Domain, Sequence[str]]

    @property
    def held_out(self) -> bool:
        """Whether the images of both domains are held out from the training."""
        return len(self.train) == len(DOMAINS)


def choose_probe_images(
    data: DataSet, part: tuple[Folder, Folder] | None, recipe: Recipe, max_pixels: int
) -> ProbeImages | None:
    """Reads up to 8 images of each domain, spread evenly over its folder.

    The folder is the first with at least 2 images of: the validation part, the test set, the
    training images. Returns None if a domain has no such folder.

    Raises:
        ImageError: an image can no longer be read.
    """
    part_a, part_b = part or (None, None)
    folders: dict[Domain, tuple[Folder | None, Folder | None, Folder]] = {
        "a": (part_a, data.test_a, data.train_a),
        "b": (part_b, data.test_b, data.train_b),
    }
    real: dict[Domain, Images] = {}
    train: dict[Domain, Images] = {}
    files: dict[Domain, Sequence[str]] = {}

    def read(folder: Folder, domain: Domain) -> tuple[Images, list[str]]:
        count = min(PROBED, len(folder))
        indices = [int(index) for index in np.linspace(0, len(folder) - 1, count).round()]
        reader = DomainReader.of(recipe, domain, max_pixels)
        images = load_whole(folder, indices, reader, recipe.image_size)
        return images, [shown(f"{folder.root.name}/{folder.names[i]}") for i in indices]

    for domain, candidates in folders.items():
        chosen = next((folder for folder in candidates if folder and len(folder) > 1), None)
        if chosen is None:
            return None
        real[domain], files[domain] = read(chosen, domain)
        if chosen is not candidates[-1]:
            train[domain], _ = read(candidates[-1], domain)
    return ProbeImages(real, train, files)


@dataclass
class Watch:
    """Evaluates a training at intervals.

    Attributes:
        probe_images: for the checks; None: there are no checks.
        validation: None if no validation part is set aside: then there is no best checkpoint.
        write_best: writes `best.safetensors` for the step it is given.
        remembered: the state of the evaluations so far.
    """

    folder: Path
    config: Config
    engine: Engine
    probe_images: ProbeImages | None
    validation: Validation | None
    write_best: Callable[[int], None]
    remembered: Remembered

    def evaluate(self, step: int, journal: Journal) -> bool:
        """Evaluates the networks after `step` steps; returns whether the training is to stop.

        Writes the best checkpoint, if this is it, and then the line of metrics.jsonl; the next
        checkpoint is to contain `remembered`.

        Raises:
            Diverged: the networks generate NaN or infinity.
            ImageError: a validation image can no longer be read.
            RunError: a file cannot be written.
        """
        before = self.remembered
        findings, history = self._check(step, journal)
        _require_finite(findings, step, self.folder)
        fired = {_key(finding): finding for finding in findings if finding.fired}
        now = replace(before, history=history, firing=tuple(fired))
        facts: dict[str, object] = {}
        if self.validation:
            validated = self.validation.evaluate(self.engine)
            facts["validation"] = validated.to_dict()
            log.info(validated.told(step))
            now = self._compare_with_best(now, validated, step)
        journal.record(step, **facts, findings=[finding.to_dict() for finding in findings])
        for key, finding in fired.items():
            if key not in before.firing:
                problem = f"{finding.name} ({finding.where}): {finding.message}"
                log.warning(f"warning at step {step}, {problem}; {finding.advice}")
        patience = self.config.runtime.patience
        if 0 < patience <= now.waited and step < self.config.recipe.steps:
            now = replace(now, stopped=True)
            evaluations = counted(now.waited, "evaluation")
            log.info(f"stopping early at step {step}: no improvement in {evaluations}")
        self.remembered = now
        return now.stopped

    def _check(self, step: int, journal: Journal) -> tuple[list[Finding], History]:
        history = self.remembered.history
        beginning = not any(history.accuracies.values()) and step < self.config.recipe.steps
        if self.probe_images is None:
            return [], history
        recipe, images = self.config.recipe, self.probe_images
        probe = take_probe(
            self.engine, images.real, images.train, judge=self.engine.judge, seed=recipe.seed
        )
        history = history.after(probe)
        names = {domain: recipe.domains[domain].name for domain in DOMAINS}
        lines = _recent(journal.lines())
        findings = detect(
            probe,
            history,
            names,
            files=images.files,
            lines=lines,
            start=recipe.settled_start,
            beginning=beginning,
        )
        return findings, history

    def _compare_with_best(self, now: Remembered, validated: Validated, step: int) -> Remembered:
        """The state after a criterion; writes the best checkpoint if this is it.

        An evaluation that left the images as they are is the best only if it is the last one and
        none before it moved; until one has, nothing is waited for.
        """
        if now.fallback or not self._best_is_valid(now, step):
            now = replace(now, best=None, best_step=None, waited=0, fallback=False)
        if now.best is None:
            if not validated.moved and step < self.config.recipe.steps:
                return now
        elif not (validated.moved and validated.criterion < now.best):
            return replace(now, waited=now.waited + 1)
        self.write_best(step)
        return replace(
            now,
            best=validated.criterion,
            best_step=step,
            measure=validated.measure,
            waited=0,
            fallback=not validated.moved,
        )

    def _best_is_valid(self, now: Remembered, step: int) -> bool:
        """Whether the file of the best exists, or this run will write it again.

        A killed run may have written that of a later step than its checkpoint: the resumed run
        will reach it again. If the file was removed or damaged, the best is chosen again.
        """
        with contextlib.suppress(CheckpointError):
            written = read_header(self.folder / "best.safetensors").step
            return written == now.best_step or written > step
        return False


def _recent(lines: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
    """The lines since the last evaluation, and some before: an explosion is reported once."""
    evaluated = [index for index, line in enumerate(lines) if "findings" in line]
    return lines[max(evaluated[-1] - BEFORE, 0) :] if evaluated else lines


def _key(finding: Finding) -> str:
    return f"{finding.name}: {finding.where}"


def _require_finite(findings: Sequence[Finding], step: int, folder: Path) -> None:
    for finding in findings:
        if finding.fired and finding.name == "divergence" and finding.value == math.inf:
            raise Diverged(
                f"{finding.message} at step {step}, which was not saved; the checkpoints in "
                f"{folder / 'checkpoints'} are good: {finding.advice}"
            )
