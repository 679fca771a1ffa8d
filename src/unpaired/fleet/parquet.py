"""The manifest of a Ray job in Parquet: a part for each batch, put together at the end of the job.

A part is written by the actor that did the batch, so nothing of it is lost with the driver.
"""

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from unpaired.errors import RunError
from unpaired.fleet.manifest import ManifestRow, latest, rows_of
from unpaired.fleet.places import Place

__all__ = ["decode", "encode", "merge", "read_manifest"]

_READERS = 32
_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("output", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("sha256_in", pa.string()),
        ("sha256_out", pa.string()),
        ("size_in", pa.int64()),
        ("size_out", pa.int64()),
        ("model", pa.string()),
        ("seconds", pa.float64()),
        ("finished", pa.float64()),
    ]
)


def encode(rows: Iterable[ManifestRow]) -> bytes:
    """Rows as a Parquet file."""
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA)
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def decode(content: bytes, name: str) -> list[ManifestRow]:
    """The rows of a Parquet file.

    Raises:
        RunError: it is none.
    """
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise RunError(f"{name} is no manifest: choose another destination") from error
    return list(rows_of(table.to_pylist()))


def read_manifest(place: Place, name: str, parts: Iterable[str]) -> dict[str, ManifestRow]:
    """One row a name, of the manifest `name` and of its `parts`.

    Raises:
        RunError: one of them is damaged, or cannot be read.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        read = pool.map(partial(_rows_in, place), [name, *parts])
        return latest(row for rows in read for row in rows)


def merge(place: Place, name: str, parts: Iterable[str]) -> None:
    """Writes the manifest of itself and its parts, one row a name, sorted; removes the parts.

    A kill between the two leaves rows twice, of which the next merge takes one.

    Raises:
        RunError: it cannot be written.
    """
    parts = list(parts)
    rows = read_manifest(place, name, parts)
    place.write(name, encode(rows[key] for key in sorted(rows)))
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(place.remove, parts))


def _rows_in(place: Place, name: str) -> list[ManifestRow]:
    content = place.read(name)
    return [] if content is None else decode(content, f"{place}/{name}")
