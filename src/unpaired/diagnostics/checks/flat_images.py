"""Flat images, of nearly no variance: instance norm amplifies them to noise."""

from collections.abc import Sequence

import numpy as np

from unpaired.diagnostics import evidence
from unpaired.diagnostics.finding import Finding, finding, unchecked
from unpaired.diagnostics.probe import LEVEL
from unpaired.engines.seam import Images

__all__ = ["NAME", "check"]

NAME = "flat chips"
FLAT, FLAT_SHARE = 1.0, 0.1  # level, standard deviation; share of the domain's median


def check(domain: str, real: Images, files: Sequence[str]) -> Finding:
    """Counts the flat images of a domain; `files` are their names, as far as they are known.

    An image is flat where its standard deviation, in its strongest band, is under one level of 255
    and under a tenth of the domain's median: 16-bit rasters may use a small part of their range
    throughout. Under a tenth of a level it is flat in any case.
    """
    if not np.isfinite(real).all():
        return unchecked(NAME, domain, "there are NaN or infinite values")
    deviation = real.std((1, 2), dtype=np.float64).max(-1) / LEVEL
    limit = max(min(FLAT, FLAT_SHARE * float(np.median(deviation))), evidence.FLAT)
    flat = np.flatnonzero(deviation < limit).tolist()
    listed = ", ".join(files[i] if i < len(files) else f"image {i + 1}" for i in flat)
    good = f"no image of {domain} has a single colour"
    bad = (
        f"{len(flat)} of {len(real)} images of {domain} have a single colour, from which the "
        f"networks can only generate noise: {listed}"
    )
    advice = "remove such images from the data"
    return finding(NAME, domain, float(len(flat)), 0.0, len(flat) > 0, good, bad, advice)
