"""Mode collapse: outputs that hardly differ from each other."""

import numpy as np

from unpaired.diagnostics.evidence import FLAT, Evidence
from unpaired.diagnostics.finding import Finding, finding
from unpaired.diagnostics.probe import LEVEL
from unpaired.engines.seam import Images

__all__ = ["LIMIT", "NAME", "check"]

NAME = "collapse"
# Eight against eight other images of one domain (photographs, emojis, facades, scenes): the ratio
# of their spreads is over .72 in 99 of 100 draws.
LIMIT = 0.5
GRID = 8


def check(seen: Evidence) -> Finding:
    """Measures the spread of the outputs over that of real images.

    Spread is the standard deviation over the images, on a grid of 8 x 8 means, so that texture
    does not count as variety, nor blur as the lack of it. It is compared with the domain that has
    less of it, source or target: outputs may keep the variety of their sources, and night has less
    of it than day. Networks that are barely trained (before some 100 steps) fire it too.
    """
    least = min(_spread(seen.real), _spread(seen.real_target))
    value = _spread(seen.outputs.generated) / max(least, FLAT * LEVEL)
    share = f"{value:.0%} of the variety of real images"
    good = f"translations to {seen.target} have {share}"
    bad = f"translations to {seen.target} are too similar to each other: they have {share}"
    advice = "train on more images, or start again with a lower --discriminator-rate"
    return finding(NAME, seen.where, value, LIMIT, value < LIMIT, good, bad, advice)


def _spread(images: Images) -> float:
    """Standard deviation over the images, root mean square over a grid of 8 x 8 means."""
    count, height, width, bands = images.shape
    rows, columns = height // GRID, width // GRID
    cut = images[:, : rows * GRID, : columns * GRID]
    means = cut.reshape(count, GRID, rows, GRID, columns, bands).mean((2, 4), dtype=np.float64)
    return float(np.sqrt(means.var(0, ddof=1).mean()))
