"""A hidden cycle: the generated image carries its source as a faint pattern."""

import math

import numpy as np

from unpaired.diagnostics.evidence import Evidence
from unpaired.diagnostics.finding import Finding, finding, unchecked
from unpaired.diagnostics.probe import LEVEL, NOISE, cycle_error

__all__ = ["LIMIT", "NAME", "check"]

NAME = "hidden cycle"
# Chu, Zhmoginov, Sandler, "CycleGAN, a Master of Steganography", 2017 (arXiv 1712.02950): what is
# hidden does not withstand noise. Healthy trainings stay within 1.00 to 1.03.
LIMIT = 1.5
LEAST_GAIN, MOST_GAIN = 1.5, 5.0  # of noise, by an honest translation back


def check(seen: Evidence) -> Finding:
    """Measures the cycle error under noise over that of an honest translation back under noise.

    The plain quotient, noisy error over clean error, fires on every good translation back: it has
    almost no clean error and passes the noise on unchanged (the identity has an infinite quotient).
    So the denominator is sqrt(clean^2 + passed on^2), where an honest translation amplifies the
    noise by the ratio of the images' contrast before to that after, within 1.5 (as undoing a change
    of gamma needs) and 5. Where the clean error is large, as in most trainings, both agree.
    """
    x, outputs = seen.real, seen.outputs
    if outputs.cycle is None or outputs.noisy_cycle is None:
        return unchecked(NAME, seen.where, "a model of one direction cannot translate back")
    clean, noisy = cycle_error(x, outputs.cycle), cycle_error(x, outputs.noisy_cycle)
    before, after = (float(np.median(i.std((1, 2, 3)))) for i in (x, outputs.generated))
    gain = min(max(before / max(after, LEVEL), LEAST_GAIN), MOST_GAIN)
    value = noisy / math.hypot(clean, gain * NOISE * math.sqrt(2 / math.pi))
    errors = f"{clean:.1f} levels of 255, {noisy:.1f} under slight noise"
    good = f"translated back, {seen.source} has an error of {errors}"
    bad = f"{seen.source} is hidden in {seen.target} as a faint pattern: {good}"
    advice = "start again with a lower --cycle"
    return finding(NAME, seen.where, value, LIMIT, value > LIMIT, good, bad, advice)
