"""The images that a report shows: some at random, the worst, the least changed."""

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

RANDOM, WORST, LEAST = 6, 4, 4  # images of each choice


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
    known by the features of `network`, and the least changed. Those at random come in the order of
    their change, the largest first; beside other models in the order of the test set, as each model
    shows the same. Each has its cycle where the model translates both ways.
    """
    count = len(candidate.images)
    drawn = stream(seed, EXAMPLES, 0).permutation(count)[:RANDOM]
    changes, psnrs = measured.per_image["change"], measured.per_image.get("psnr")
    drawn = drawn[np.argsort(-changes[drawn], kind="stable")] if alone else np.sort(drawn)
    choices = {"at random" if alone else f"{candidate.name}, at random": drawn.tolist()}
    if alone and psnrs is not None:
        choices["the worst, by PSNR"] = np.argsort(psnrs, kind="stable")[:WORST].tolist()
    elif alone and network:
        real = tests.reference(direction).features(network)
        worst = least_like(candidate.images.features(network), real, WORST)
        choices["the least like real ones, by the features"] = worst.tolist()
    if alone and psnrs is None:
        choices["the least changed"] = np.argsort(changes, kind="stable")[:LEAST].tolist()
    sources, truth = tests.sources(direction), tests.reference(direction)

    def caption(index: int, title: str) -> str:
        quality = [f"{psnrs[index]:.2f} dB"] if psnrs is not None and "PSNR" in title else []
        return ", ".join([*quality, f"change {changes[index]:.1f}"])

    def example(index: int, title: str) -> Example:
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
            caption=caption(index, title),
        )

    return {
        title: [example(index, title) for index in indices] for title, indices in choices.items()
    }
