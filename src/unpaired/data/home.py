"""The data home: the folder of the named data sets on this machine.

It is `$UNPAIRED_DATA` if that is set, else `unpaired` in the user's cache folder (`~/.cache`,
`~/Library/Caches` or `$XDG_CACHE_HOME`; `%LOCALAPPDATA%`). Nothing here accesses the network;
`fetch.py` alone does.
"""

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from unpaired.data.catalogue import Counts, Entry, entries, entry
from unpaired.errors import DataError
from unpaired.images.formats import SUFFIXES
from unpaired.seasons.dataset import NAMED, write_seasons
from unpaired.storage import exclusive

__all__ = ["NOTE", "Installed", "data_home", "inspect", "listing", "mismatch", "obtain"]

NOTE = ".fetched.json"
"""File of a fetched data set that records the zip file it came from."""


@dataclass(frozen=True)
class Installed:
    """A data set on this machine. Its zip file is unknown if it was unpacked by hand."""

    folder: Path
    counts: Counts
    sha256: str | None
    bytes: int | None


def data_home() -> Path:
    """Returns the folder of the named data sets; it need not exist yet.

    Raises:
        DataError: `$UNPAIRED_DATA` is not set and the user has no home folder.
    """
    if chosen := os.environ.get("UNPAIRED_DATA"):
        return Path(os.path.expanduser(chosen))
    try:  # without a home folder, old versions of platformdirs return a path below "~"
        cache = platformdirs.user_cache_path("unpaired", appauthor=False, opinion=False)
        return cache.expanduser()
    except RuntimeError as error:
        raise DataError(
            "there is no home folder: set UNPAIRED_DATA to a folder for data"
        ) from error


def obtain(name: str, *, home: Path | None = None) -> Path:
    """Returns the folder of a named data set; a `seasons` data set is drawn if it is missing.

    A second process that asks for the same `seasons` waits until the first has drawn it.

    Args:
        name: a name of the catalogue.
        home: the data home, if not the usual one.

    Raises:
        DataError: no such name; damaged; not fetched yet.
        RunError: the folder cannot be written.
    """
    known = entry(name)
    home = home or data_home()
    folder = home / name
    if known.url is not None:
        if not folder.exists():
            raise DataError(
                f"{name} is not in {home}: download it with `unpaired data fetch {name}`"
            )
        return inspect(known, folder).folder
    with nullcontext() if folder.exists() else exclusive(home, name, wait=True):
        write_seasons(folder, NAMED[name])
    return folder


def inspect(known: Entry, folder: Path) -> Installed:
    """Returns what a folder of the data home holds.

    Raises:
        DataError: the numbers of images differ from those of the catalogue.
    """
    if wrong := mismatch(known, folder):
        verb = "fetch" if known.url else "make"
        raise DataError(
            f"{folder} is damaged: {wrong}; remove it and run `unpaired data {verb} {known.name}`"
        )
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return Installed(folder, _count(folder), str(note["sha256"]), int(note["bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Installed(folder, _count(folder), None, None)


def mismatch(known: Entry, folder: Path) -> str | None:
    """Explains how the numbers of images in `folder` differ from the catalogue's, if they do."""
    if known.counts is None:
        return None if _images_in(folder, "**/*") else "it holds no images"
    counts = _count(folder)
    if counts != known.counts:
        return f"it holds {counts} images, not {known.counts}"
    return None


def _count(folder: Path) -> Counts:
    return Counts(*(_images_in(folder / split) for split in ("trainA", "trainB", "testA", "testB")))


def _images_in(folder: Path, pattern: str = "*") -> int:
    """Counts the images directly in a folder; 0 if it is missing."""
    return sum(
        path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        for path in folder.glob(pattern)
    )


def listing(home: Path | None = None) -> str:
    """Returns the catalogue as a table, one line for each data set, and the data home."""
    home = home or data_home()
    rows = [("name", "images", "px", "zip", "state", "a | b")]
    for known in entries():
        rows.append(
            (
                known.name,
                str(known.counts or ""),
                str(known.pixels or ""),
                f"{known.bytes / 1e6:.0f} MB" if known.bytes else "",
                _state(known, home),
                f"{known.name_a} | {known.name_b}: {known.description}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "{:<{}}  {:<{}}  {:>{}}  {:>{}}  {:<{}}  {:<{}}"
    lines = [
        form.format(*(item for cell in zip(row, widths, strict=True) for item in cell)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", f"Data home: {home} (set UNPAIRED_DATA to change it)"])


def _state(known: Entry, home: Path) -> str:
    folder = home / known.name
    if folder.exists():
        if mismatch(known, folder):
            return "damaged"
        return "fetched" if known.url else "made"
    part = home / f"{known.name}.zip.part"
    if part.exists():
        return f"{part.stat().st_size / 1e6:.1f} MB fetched"
    return "not fetched" if known.url else "made when needed"
