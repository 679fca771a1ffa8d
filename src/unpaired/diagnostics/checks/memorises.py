"""A discriminator that memorises its training images."""

import math

import numpy as np

from unpaired.diagnostics.evidence import NO_DISCRIMINATOR, Evidence
from unpaired.diagnostics.finding import Finding, finding, unchecked

__all__ = ["LIMIT", "NAME", "check"]

NAME = "discriminator memorises"
# Karras et al., "Training Generative Adversarial Networks with Limited Data", 2020 (arXiv
# 2006.06676), r_v of equation 1: 0 is no overfitting, 1 is complete overfitting.
LIMIT = 0.5
LEAST_MARGIN = 0.2


def check(seen: Evidence) -> Finding:
    """Measures (training - held-out) / (training - generated) of its mean scores, 0 to 1.

    Two standard errors (over images) are subtracted from the numerator, since a dozen images differ
    by chance, and the denominator is at least .2, since all three scores are alike where nothing is
    told apart.
    """
    scores = seen.outputs.scores
    if scores is None:
        return unchecked(NAME, seen.target, NO_DISCRIMINATOR)
    if scores.train is None or len(scores.train) < 2:
        return unchecked(NAME, seen.target, "2 training images are needed")
    train, held_out, generated = (
        patches.mean((1, 2), dtype=np.float64)
        for patches in (scores.train, scores.held_out, scores.generated)
    )
    error = math.hypot(*(s.std(ddof=1) / math.sqrt(len(s)) for s in (train, held_out)))
    means = train.mean(), held_out.mean(), generated.mean()
    value = float((means[0] - means[1] - 2 * error) / max(means[0] - means[2], LEAST_MARGIN))
    judge = f"the discriminator of {seen.target}"
    scored = "{:.2f} to training images, {:.2f} to held-out ones, {:.2f} to generated ones"
    good = f"{judge} gives {scored.format(*means)}"
    bad = f"{judge} has memorised its training images: it gives {scored.format(*means)}"
    advice = "train on more images, or start again with a lower --discriminator-rate"
    return finding(NAME, seen.target, value, LIMIT, value > LIMIT, good, bad, advice)
