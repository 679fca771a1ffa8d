"""All methods of a report measured alike: models, baselines, and real images as a floor."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from unpaired.console import progress
from unpaired.directions import Direction, target_of
from unpaired.evaluation.baselines import BASELINES, Candidate, baselines_of
from unpaired.evaluation.diagnose import cycle_errors
from unpaired.evaluation.examples import choose_examples
from unpaired.evaluation.testset import TestSet
from unpaired.features.seam import FeatureNetwork
from unpaired.images.disk_array import disk_array
from unpaired.images.image import Image, from_signed, to_signed
from unpaired.metrics.image_set import ImageSet
from unpaired.metrics.metric import Measurement, Metric, Value, measure
from unpaired.report.report import Example, Method, MethodKind
from unpaired.translation.model import Model

__all__ = ["FLOOR", "measure_methods", "translate_set"]

BATCH = 8  # images translated at once
FLOOR = "real training images"

Examples = dict[Direction, dict[str, list[Example]]]


def measure_methods(
    models: Mapping[str, Model],
    tests: TestSet,
    directions: Sequence[Direction],
    metrics: Sequence[Metric],
    network: FeatureNetwork | None,
    seed: int,
) -> tuple[list[Method], Examples]:
    """Measures models, baselines and floors in all directions, and chooses examples of the models.

    Args:
        models: by the names that they have in the report.
        metrics: what `metrics_for` chose.
        network: chooses the worst examples where no truth is known; None: there is none.
        seed: of random examples and of the noise of cycles.
    """
    values: dict[str, dict[Direction, Mapping[str, Value]]] = {}
    rows: dict[str, tuple[MethodKind, str]] = {}
    examples: Examples = {direction: {} for direction in directions}
    cycles = {name: cycle_errors(model, tests, seed) for name, model in models.items()}
    alone = len(models) == 1
    total = len(directions) * (len(models) + len(BASELINES) + 1)
    with progress("measuring", total, unit="methods") as meter:
        for direction in directions:
            for candidate in _candidates(models, tests, direction):
                measured = _measure(candidate, tests, direction, metrics)
                found = dict(measured.values)
                if model := models.get(candidate.name):
                    found |= cycles[candidate.name][direction]
                    examples[direction] |= choose_examples(
                        model, tests, direction, candidate, measured, network, seed, alone=alone
                    )
                rows[candidate.name] = (candidate.kind, candidate.note)
                values.setdefault(candidate.name, {})[direction] = found
                meter.advance()
    methods = [Method(name, kind, values[name], note) for name, (kind, note) in rows.items()]
    return methods, examples


def _candidates(
    models: Mapping[str, Model], tests: TestSet, direction: Direction
) -> Iterator[Candidate]:
    for name, model in models.items():
        yield Candidate(name, "model", "", translate_set(model, tests, direction))
    yield from baselines_of(tests, direction)
    floor = tests.floor(direction)
    if floor is not None:
        note = "in place of translations: how far real images are from other real ones"
        yield Candidate(FLOOR, "floor", note, floor)


def translate_set(model: Model, tests: TestSet, direction: Direction) -> ImageSet:
    """The model's translations of the test images."""
    sources, target = tests.sources(direction), tests.reference(direction)
    shape = (*sources.samples.shape[:3], target.bands)
    samples = disk_array(shape, target.samples.dtype)
    name = model.config.recipe.domains[target_of(direction)].name
    with progress(f"translating to {name}", len(sources)) as meter:
        for start in range(0, len(sources), BATCH):
            part = np.asarray(sources.samples[start : start + BATCH])
            if sources.scaling or target.scaling:  # samples are no values of the domain
                signed = model.translator.translate(to_signed(part), direction)
                bits: Literal[8, 16] = 8 if target.samples.dtype == np.uint8 else 16
                samples[start : start + len(part)] = from_signed(signed, bits)
            else:
                images = [Image(image) for image in part]
                generated = model.translate_many(images, direction, batch_size=BATCH)
                samples[start : start + len(part)] = [image.pixels for image in generated]
            meter.advance(len(part))
    return ImageSet(samples, sources.names, target.scaling, valid=sources.valid)


def _measure(
    candidate: Candidate, tests: TestSet, direction: Direction, metrics: Sequence[Metric]
) -> Measurement:
    """Measures a candidate; a floor has no sources and no truth, and no FID if its n differs."""
    if candidate.kind == "floor":
        fewer = len(candidate.images) < len(tests.sources(direction))
        metrics = [m for m in metrics if m.kind == "set" and not (fewer and m.key == "fid")]
    sources = tests.sources(direction)
    return measure(candidate.images, tests.reference(direction), metrics, sources)
