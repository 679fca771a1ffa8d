"""Samples that Pillow would cut: 16-bit colour and any number of bands, through rasterio."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unpaired.errors import MissingExtra
from unpaired.images.header import Format

__all__ = ["read_samples", "write_samples"]

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_lock = threading.Lock()


def read_samples(path: str | Path, format: Format) -> Samples:
    """All samples of a file as stored, (height, width, bands), transparency among them.

    Raises:
        MissingExtra: rasterio is not installed.
        OSError: rasterio cannot read the file.
    """
    rasterio = _import_rasterio(f"reading {path}, which has 16-bit colour or many bands,")
    with _without_georeferencing(rasterio):
        # Absolute, since rasterio takes names such as "s3:y.tif" for addresses.
        dataset = rasterio.open(Path(path).absolute(), driver=_driver(format))
    with dataset:
        samples: Samples = np.moveaxis(dataset.read(), 0, 2)
        return samples


def write_samples(path: Path, samples: Samples, format: Format, alpha: bool) -> None:
    """Writes (height, width, bands); `alpha` says that the last band is transparency.

    Raises:
        MissingExtra: rasterio is not installed.
        OSError: rasterio cannot write the file.
    """
    rasterio = _import_rasterio("writing 16-bit colour or many bands")
    height, width, bands = samples.shape
    options = {}
    if format == "TIFF":
        options = {
            "compress": "deflate",
            "predictor": 2,
            "photometric": "RGB" if bands - alpha == 3 else "MINISBLACK",
            "alpha": "NO",
            "bigtiff": "IF_SAFER",
        }
    with (
        _without_georeferencing(rasterio),
        rasterio.open(
            path.absolute(),
            "w",
            driver=_driver(format),
            width=width,
            height=height,
            count=bands,
            dtype=samples.dtype,
            **options,
        ) as dataset,
    ):
        if alpha and format == "TIFF":  # the option "alpha" would mark the first extra band
            dataset.colorinterp = [
                *dataset.colorinterp[:-1],
                rasterio.enums.ColorInterp.alpha,
            ]
        dataset.write(np.moveaxis(samples, 2, 0))


def _driver(format: Format) -> str:
    return "GTiff" if format == "TIFF" else "PNG"


def _import_rasterio(purpose: str) -> Any:
    try:
        import rasterio
        import rasterio.enums
        import rasterio.errors
    except ImportError as error:
        raise MissingExtra("rasterio", "geo", purpose) from error
    return rasterio


@contextmanager
def _without_georeferencing(rasterio: Any) -> Iterator[None]:
    """Silences the warning that an image has no place on Earth.

    Under a lock, since the filters of warnings belong to the process and not to a thread.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield
