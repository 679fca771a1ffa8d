"""Images that Pillow would cut or cannot decode: 16-bit colour, many bands, rare compressions."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unpaired.errors import ImageError, MissingExtra
from unpaired.images.header import ImageHeader, decoding
from unpaired.images.image import Image, is_mask, upright

__all__ = [
    "QUIET",
    "has_rasterio",
    "import_rasterio",
    "read_raster",
    "without_georeferencing",
    "write_raster",
]

_lock = threading.Lock()
# What codecs warn of goes past rasterio, and in threads of GDAL's own past these options too.
QUIET = {"CPL_LOG": os.devnull, "GDAL_NUM_THREADS": "1"}


def read_raster(path: str | Path, header: ImageHeader, driver: str) -> Image:
    """Reads the image that `header` describes, by rasterio's driver of that name.

    A band that is only marked as transparency, and is no mask, becomes a band of the image.

    Raises:
        MissingExtra: rasterio is not installed.
        ImageError: damaged, or another image than its header describes.
    """
    what = f"is compressed by {header.codec}" if header.codec else "has 16-bit colour or many bands"
    rasterio = import_rasterio(f"reading {path}, which {what},")
    with without_georeferencing(rasterio), decoding(), rasterio.Env(**QUIET):
        # Absolute, since rasterio takes names such as "s3:y.tif" for addresses.
        dataset = rasterio.open(Path(path).absolute(), driver=driver)
    bands = header.bands
    expected = (bands + header.alpha, header.height, header.width, {f"uint{header.depth}"})
    # GDAL would keep the blocks of all bands in memory, too.
    with rasterio.Env(GDAL_CACHEMAX=2**25, **QUIET), dataset:
        if (dataset.count, *dataset.shape, set(dataset.dtypes)) != expected:
            raise ImageError("damaged or cut off (its headers disagree on its size)")
        alpha = _samples(dataset, [bands + 1])[:, :, 0] if header.alpha else None
        if alpha is not None and header.marked and not is_mask(alpha):
            alpha, bands = None, bands + 1
        if alpha is not None and header.premultiplied and _is_soft(alpha):
            raise ImageError("soft transparency that its colours are multiplied by: save it as RGB")
        if alpha is not None and header.depth == 16:
            alpha = _in_8_bits(alpha)
        pixels = _samples(dataset, range(1, bands + 1))
    if header.white_is_zero:
        np.invert(pixels, out=pixels)
    return upright(pixels, alpha, header.orientation)


def _samples(dataset: Any, bands: Sequence[int]) -> NDArray[Any]:
    """Samples (height, width, bands), read in strips: at once they would take twice the memory."""
    height, width = dataset.shape
    samples = np.empty((height, width, len(bands)), dataset.dtypes[0])
    for rows in _strips(height, width, dataset.block_shapes[0][0]):
        window = ((rows.start, min(rows.stop, height)), (0, width))
        with decoding():
            strip = dataset.read(list(bands), window=window)
        samples[rows] = np.moveaxis(strip, 0, 2)
    return samples


def _strips(height: int, width: int, block: int = 1) -> Iterator[slice]:
    """Rows of some million pixels at a time, whole blocks."""
    rows = max(2**22 // width // block, 1) * block
    return (slice(top, top + rows) for top in range(0, height, rows))


def _is_soft(alpha: NDArray[Any]) -> bool:
    full = np.iinfo(alpha.dtype).max
    return any(((a != 0) & (a != full)).any() for a in (alpha[r] for r in _strips(*alpha.shape)))


def _in_8_bits(alpha: NDArray[Any]) -> NDArray[np.uint8]:
    """16 bits rounded to 8: 65535 is 257 * 255."""
    small = np.empty(alpha.shape, np.uint8)
    for rows in _strips(*alpha.shape):
        small[rows] = np.rint(alpha[rows] / 257)
    return small


def write_raster(path: Path, image: Image, driver: str) -> None:
    """Writes an image by rasterio's driver of that name; transparency is the last band.

    Raises:
        MissingExtra: rasterio is not installed.
        OSError: rasterio cannot write the file.
    """
    rasterio = import_rasterio("writing 16-bit colour or many bands")
    samples = image.samples
    height, width, count = samples.shape
    options = {}
    if driver == "GTiff":
        photometric = "RGB" if image.bands == 3 else "MINISBLACK"
        options = {"compress": "deflate", "predictor": 2, "photometric": photometric}
        options |= {"alpha": "NO", "bigtiff": "IF_SAFER"}
    if driver == "JP2OpenJPEG":
        options = {"quality": "100", "reversible": "YES"}
    with (
        without_georeferencing(rasterio),
        rasterio.open(
            path.absolute(),
            "w",
            driver=driver,
            width=width,
            height=height,
            count=count,
            dtype=samples.dtype,
            **options,
        ) as dataset,
    ):
        if image.alpha is not None and driver != "PNG":
            # Of GeoTIFF the option "alpha" would mark the first extra band.
            kinds = rasterio.enums.ColorInterp
            colours = [kinds.gray] if image.bands == 1 else [kinds.red, kinds.green, kinds.blue]
            given = dataset.colorinterp[:-1] if driver == "GTiff" else colours
            dataset.colorinterp = [*given, kinds.alpha]
        dataset.write(np.moveaxis(samples, 2, 0))


def has_rasterio() -> bool:
    """Whether rasterio is installed."""
    try:
        import_rasterio("")
    except MissingExtra:
        return False
    return True


def import_rasterio(purpose: str) -> Any:
    """Imports rasterio at its first use.

    Raises:
        MissingExtra: it is not installed; `purpose` is the subject of the message.
    """
    try:
        import rasterio
        import rasterio.control
        import rasterio.enums
        import rasterio.errors
        import rasterio.io
        import rasterio.rpc
        import rasterio.shutil
    except ImportError as error:
        raise MissingExtra("rasterio", "geo", purpose) from error
    if not (logger := logging.getLogger("rasterio")).handlers:
        logger.addHandler(logging.NullHandler())  # else Python prints what GDAL logs
    return rasterio


@contextmanager
def without_georeferencing(rasterio: Any) -> Iterator[None]:
    """Silences the warning that an image is not georeferenced.

    Under a lock, since warning filters belong to the process and not to a thread.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield
