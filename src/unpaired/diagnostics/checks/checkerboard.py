"""Checkerboard artefacts: a fine regular pattern, typical of transposed convolution."""

import numpy as np

from unpaired.diagnostics.evidence import Evidence
from unpaired.diagnostics.finding import Finding, finding, unchecked
from unpaired.diagnostics.probe import LEVEL
from unpaired.engines.seam import Images

__all__ = ["LIMIT", "NAME", "TILE", "check"]

NAME = "checkerboard"
LIMIT = 2.0  # trainings with transposed convolution have 2.6 to 4.8, with resize .4 to 1.4
TILE = 16


def check(seen: Evidence) -> Finding:
    """Measures the peak of the spectrum at periods of 2 and 4 pixels, of outputs over real images.

    The plain definition, energy at Nyquist of outputs over that of real images, fires on all that
    is grainy or sharp, and texture masks what the eye sees in the sky. A checkerboard is a peak,
    though: more energy at a period of 2 or 4 (a stride of 2, once or twice: Odena, Dumoulin, Olah,
    "Deconvolution and Checkerboard Artifacts", 2016) than next to it. See `_peak`. It is compared
    with that of the real images, or with 1, the peak of white noise, if that is more.
    """
    if min(seen.outputs.generated.shape[1:3]) < TILE:
        return unchecked(NAME, seen.where, f"the images are under {TILE} pixels")
    value = _peak(seen.outputs.generated) / max(_peak(seen.real_target), 1.0)
    good = f"no pattern of 2 or 4 pixels in translations to {seen.target}"
    bad = f"a fine regular pattern, like a chessboard, covers translations to {seen.target}"
    advice = "start again with --upsample resize"
    return finding(NAME, seen.where, value, LIMIT, value > LIMIT, good, bad, advice)


def _peak(images: Images) -> float:
    """Height of the spectrum at periods of 2 and 4 pixels over its surroundings; 1: white noise.

    Of tiles of 16 x 16 under a Hann window, powers are summed to a profile along y and one along
    x. At a period of 2 it is the power over the mean of that at 16/6 and 16/5 pixels, at 4 over
    the geometric mean of those at 8 and 16/6. The median over the tiles of a band is taken, as
    artefacts show in smooth parts and texture hides them; the largest of all is the result.
    The power of rounding to 8 bits is added everywhere as a floor.
    """
    count, height, width, bands = images.shape
    rows, columns = height // TILE, width // TILE
    cut = images[:, : rows * TILE, : columns * TILE]
    tiles = cut.reshape(count, rows, TILE, columns, TILE, bands)
    tiles = tiles.transpose(5, 0, 1, 3, 2, 4).reshape(bands, -1, TILE, TILE)
    tiles = tiles - tiles.mean((2, 3), keepdims=True)
    window = np.hanning(TILE + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.fft2(tiles * np.outer(window, window))) ** 2
    floor = TILE * np.sum(window**2) ** 2 * LEVEL**2 / 12
    found = []
    for axis in (2, 3):
        along = power.sum(axis) + floor
        two, four = along[..., 8], along[..., 4]
        found.append(np.median(2 * two / (along[..., 5] + along[..., 6]), axis=1))
        found.append(np.median(four / np.sqrt(along[..., 2] * along[..., 6]), axis=1))
    return float(np.max(found))
