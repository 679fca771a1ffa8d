"""The images that a report shows: some at random, and the worst."""

import numpy as np

from unpaired.directions import Direction, reverse
from unpaired.evaluation.baselines import Candidate
from unpaired.evaluation.testset import TestSet
from unpaired.features.seam import FeatureNetwork
from unpaired.images.image import from_signed, to_signed
from unpaired.metrics.distributions import least_like
from unpaired.metrics.image_set import to_rgb
from unpaired.metrics.metric import Measurement
from unpaired.report.report import Example
from unpaired.streams import EXAMPLES, stream
from unpaired.translation.model import Model

__all__ = ["choose_examples"]

RANDOM, WORST = 6, 4  # images of each choice


def choose_examples(
    model: Model,
    tests: TestSet,
    direction: Direction,
    candidate: Candidate,
    measured: Measurement,
    network: FeatureNetwork | None,
    seed: int,
    *,
    alone: bool,
) -> dict[str, list[Example]]:
    """Examples of a model's translations, `candidate`, by how they were chosen.

    At random; and, if the model is `alone` in its report, the worst by PSNR, or where no truth is
    known by the features of `network`. Each has its cycle where the model translates both ways.
    """
    count = len(candidate.images)
    drawn = stream(seed, EXAMPLES, 0).permutation(count)[:RANDOM]
    choices = {"at random" if alone else f"{candidate.name}, at random": sorted(drawn.tolist())}
    psnrs = measured.per_image.get("psnr")
    if alone and psnrs is not None:
        choices["the worst, by PSNR"] = np.argsort(psnrs, kind="stable")[:WORST].tolist()
    elif alone and network:
        real = tests.reference(direction).features(network)
        worst = least_like(candidate.images.features(network), real, WORST)
        choices["the least like real ones, by the features"] = worst.tolist()
    sources, truth = tests.sources(direction), tests.reference(direction)

    def example(index: int, captioned: bool) -> Example:
        generated = np.asarray(candidate.images.samples[index])
        cycle = None
        if reverse(direction) in model.directions:
            (signed,) = model.translator.translate(to_signed(generated[None]), reverse(direction))
            cycle = to_rgb(from_signed(signed, 8 if sources.samples.dtype == np.uint8 else 16))
        return Example(
            name=sources.names[index],
            source=to_rgb(np.asarray(sources.samples[index])),
            generated=to_rgb(generated),
            cycle=cycle,
            truth=to_rgb(np.asarray(truth.samples[index])) if tests.paired else None,
            caption=f"{psnrs[index]:.2f} dB" if captioned and psnrs is not None else "",
        )

    return {
        title: [example(index, captioned="PSNR" in title) for index in indices]
        for title, indices in choices.items()
    }
