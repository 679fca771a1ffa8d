"""Colour inversion, a known way out of the cycle loss: two negatives restore the image."""

import numpy as np

from unpaired.diagnostics.evidence import FLAT, Evidence
from unpaired.diagnostics.finding import Finding, finding, unchecked
from unpaired.diagnostics.probe import LEVEL
from unpaired.images.image import luminance

__all__ = ["LIMIT", "NAME", "check"]

NAME = "colour inversion"
LIMIT = -0.3


def check(seen: Evidence) -> Finding:
    """Measures the correlation of luminance before and after, median over the images.

    Images without structure before or after have no correlation and are omitted.
    """
    x, y = luminance(seen.real), luminance(seen.outputs.generated)
    structured = np.minimum(x.std((1, 2)), y.std((1, 2))) > FLAT * LEVEL
    if not structured.any():
        return unchecked(NAME, seen.where, "the images have no structure to compare")
    pairs = zip(x[structured], y[structured], strict=True)
    value = float(np.median([np.corrcoef(p.ravel(), q.ravel())[0, 1] for p, q in pairs]))
    good = f"light parts stay light in translations to {seen.target}"
    bad = f"light parts of {seen.source} come out dark in {seen.target}, as in a negative"
    advice = (
        "start again with another --seed; where both domains have the same bands, with a higher "
        "--identity too"
    )
    return finding(NAME, seen.where, value, LIMIT, value < LIMIT, good, bad, advice)
