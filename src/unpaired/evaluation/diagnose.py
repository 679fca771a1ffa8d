"""What the networks of a finished model show: cycle and identity errors, and the checks."""

from collections.abc import Mapping

import numpy as np

from unpaired.console import progress
from unpaired.diagnostics.detect import detect
from unpaired.diagnostics.finding import Finding
from unpaired.diagnostics.history import History
from unpaired.diagnostics.probe import Judge, reconstruction_errors, take_probe
from unpaired.directions import DOMAINS, Direction, source_of, target_of
from unpaired.evaluation.run_folder import journal_of, judge_of
from unpaired.evaluation.testset import TestSet
from unpaired.images.image import to_signed
from unpaired.metrics.image_set import ImageSet
from unpaired.metrics.metric import Value
from unpaired.translation.model import Model

__all__ = ["CYCLED", "cycle_errors", "diagnose"]

CYCLED = 64  # images of each domain, at most, whose cycle is measured
PROBED = 8  # images of each domain that the checks look at
BATCH, BATCH_PIXELS = 8, 2**19  # images of a probe, and their pixels


def cycle_errors(
    model: Model, tests: TestSet, seed: int
) -> Mapping[Direction, Mapping[str, Value]]:
    """Values of the metrics `CYCLES` for each direction of a model, by their keys."""
    a, b = tests.test["a"], tests.test["b"]
    count = min(CYCLED, len(a), len(b))
    batch = max(2, min(BATCH, BATCH_PIXELS // a.side**2))
    # Parts of at least `batch`, if there are so many: a single image is no probe.
    parts = np.array_split(np.arange(count), max(1, count // batch))
    errors: dict[str, list[float]] = {}
    with progress("measuring cycles", count) as meter:
        for part in parts:
            probe = take_probe(
                model.translator,
                {domain: _signed(tests.test[domain], part) for domain in DOMAINS},
                directions=model.directions,
                identity=a.bands == b.bands,
                seed=seed,
            )
            for name, error in reconstruction_errors(probe).items():
                errors.setdefault(name, []).extend([error] * len(part))
            meter.advance(len(part))
    means = {name: Value(float(np.mean(each))) for name, each in errors.items()}

    def of(direction: Direction) -> dict[str, Value]:
        source, target = source_of(direction), target_of(direction)
        names = {
            "cycle": f"cycle_{source}",
            "noisy_cycle": f"noisy_cycle_{source}",
            "identity": f"identity_{target}",
        }
        return {key: means[name] for key, name in names.items() if name in means}

    return {direction: of(direction) for direction in model.directions}


def diagnose(model: Model, tests: TestSet, seed: int, judge: Judge | None) -> list[Finding]:
    """Runs the checks on a finished model.

    `judge` are its discriminators; None: they are looked for in the run folder.
    """
    side = tests.test["a"].side
    first = slice(max(2, min(PROBED, BATCH_PIXELS // side**2)))
    # Training images that stand in for a test set cannot be told from themselves.
    train = tests.train if tests.held_out else {}
    probe = take_probe(
        model.translator,
        {domain: _signed(tests.test[domain], first) for domain in DOMAINS},
        {domain: _signed(images, first) for domain, images in train.items()},
        judge=judge or judge_of(model),
        directions=model.directions,
        seed=seed,
    )
    lines, recipe = journal_of(model.path), model.config.recipe
    evaluations = sum("findings" in line for line in lines)
    return detect(
        probe,
        History().after(probe),
        {"a": model.name_a, "b": model.name_b},
        files={domain: tests.test[domain].names[first] for domain in DOMAINS},
        lines=lines,
        start=recipe.settled_start,
        beginning=evaluations == 1 and model.step < recipe.steps,
    )


def _signed(images: ImageSet, part: slice | np.ndarray) -> np.ndarray:
    return to_signed(np.asarray(images.samples[part]))
