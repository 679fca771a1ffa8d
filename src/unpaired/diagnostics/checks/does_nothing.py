"""A generator that does nothing: outputs that are almost their sources."""

import numpy as np

from unpaired.diagnostics.evidence import FLAT, NO_DISCRIMINATOR, Evidence
from unpaired.diagnostics.finding import Finding, finding, unchecked
from unpaired.diagnostics.probe import cycle_error
from unpaired.images.image import luminance

__all__ = ["LIMIT", "NAME", "check"]

NAME = "does nothing"
LIMIT = 0.05
"""Trainings from noise have .32 to .47. On photographs of two seasons trainings from the image have
.07 to .15 (5 to 10 levels) while their KID falls to a third: little, but not nothing."""
REJECTED = 0.8  # of all pairs of a real and a generated image, told apart


def check(seen: Evidence) -> Finding:
    """Measures the change by the translation over the difference of unpaired images.

    A small change alone is no fault where the domains differ little: in addition, the discriminator
    has to tell generated images from held-out real ones, in four of five pairs of one and the other
    (by mean score: the area under the ROC curve, which does not depend on where its scores lie).

    Generators that start from the image change nothing at first by design, so that the check does
    not fire in the first evaluation of such a training.
    """
    scores = seen.outputs.scores
    if scores is None:
        return unchecked(NAME, seen.where, NO_DISCRIMINATOR)
    x, y, generated = seen.real, seen.real_target, seen.outputs.generated
    if x.shape[-1] != y.shape[-1]:
        x, y, generated = (luminance(images) for images in (x, y, generated))
    apart = np.mean([cycle_error(image[None], y) for image in x])
    change = cycle_error(x, generated)
    value = change / max(float(apart), FLAT)
    real, judged = (s.mean((1, 2)) for s in (scores.held_out, scores.generated))
    told_apart = float(np.mean(real[:, None] > judged[None, :]))
    added = seen.start != "noise"
    early = added and seen.beginning
    fired = value < LIMIT and told_apart >= REJECTED and not early
    good = f"translations to {seen.target} change images by {change:.0f} levels of 255"
    if early and value < LIMIT:
        good += f", little yet, as at the beginning of --start {seen.start}"
    bad = (
        f"translations to {seen.target} are almost the same as the images of {seen.source} "
        f"({change:.1f} levels of 255 apart), and the discriminator sees that"
    )
    advice = "start again with a lower --identity or a lower --cycle"
    if added:
        advice += ", or with --start noise if the domains differ in nearly everything"
    return finding(NAME, seen.where, value, LIMIT, fired, good, bad, advice)
