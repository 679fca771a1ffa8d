"""Data sets that have a name: `seasons`, which is made here, and those of the CycleGAN paper.

They live in one folder, the data home: `$UNPAIRED_DATA` where it is set, else `unpaired` in the
cache folder of the platform (`$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`,
`%LOCALAPPDATA%`).
Nothing is ever downloaded but by `fetch`.
"""

import difflib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from unpaired.data.download import (
    LIMITS,
    Limits,
    Progress,
    Unavailable,
    download,
    forget,
    sha256_of,
)
from unpaired.data.paper import PAPER, Counts, Entry
from unpaired.data.unpack import unpack
from unpaired.errors import DataError
from unpaired.images.image import SUFFIXES
from unpaired.seasons.dataset import NAMED, write_seasons
from unpaired.storage import explain_os_error, write_text

__all__ = [
    "Counts",
    "Entry",
    "Fetched",
    "data_home",
    "entries",
    "entry",
    "fetch",
    "listing",
    "obtain",
    "resolve",
]


_NOTE = ".fetched.json"
"""Beside the images of a fetched data set: what zip file they came in."""


@dataclass(frozen=True)
class Fetched:
    """A data set that is here. What its zip file was is unknown where it was unpacked by hand."""

    folder: Path
    counts: Counts
    sha256: str | None
    bytes: int | None


_SEASONS = tuple(
    Entry(
        name=name,
        description=f"landscapes made here, with known truth, {spec.level}",
        name_a="summer",
        name_b="winter",
        pixels=spec.size,
        counts=Counts(spec.train, spec.train, spec.test, spec.test),
    )
    for name, spec in NAMED.items()
)


def entries() -> tuple[Entry, ...]:
    """All data sets that have a name."""
    return _SEASONS + PAPER


def entry(name: str) -> Entry:
    """The data set of that name.

    Raises:
        DataError: there is none; the nearest name is said.
    """
    for known in entries():
        if known.name == name:
            return known
    raise DataError(
        f"there is no data set {name!r}{_did_you_mean(name)}: `unpaired data list` shows them all"
    )


def data_home() -> Path:
    """The folder of the named data sets; it need not exist yet.

    Raises:
        DataError: `$UNPAIRED_DATA` is not set and there is no home folder.
    """
    if chosen := os.environ.get("UNPAIRED_DATA"):
        return Path(os.path.expanduser(chosen))
    try:
        if sys.platform == "win32":
            caches = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            caches = Path.home() / "Library" / "Caches"
        else:
            caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise DataError(
            "there is no home folder: set UNPAIRED_DATA to a folder for data"
        ) from error
    return Path(caches) / "unpaired"


def resolve(
    data: str | Path,
    *,
    home: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder meant by `data`: a folder, or a name of the catalogue (see `obtain`).

    Where it is both, the folder wins: `obtain` takes names alone.

    Raises:
        DataError: it is neither, or a data set that is not here yet.
    """
    text = os.fspath(data)
    folder = Path(os.path.expanduser(text))
    if text and os.path.isdir(folder):
        return folder
    if os.path.isfile(folder):
        raise DataError(f"{folder} is a file: give the folder that holds the images")
    if any(text == known.name for known in entries()):
        return obtain(text, home=home, progress=progress)
    raise DataError(
        f"{text!r} is neither a folder nor a data set{_did_you_mean(text)}: "
        f"`unpaired data list` shows the data sets"
    )


def obtain(
    name: str,
    *,
    home: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder of a named data set; `seasons` is made where it is not there yet.

    A second process that asks for the same `seasons` waits until the first has made it.

    Args:
        name: a name of the catalogue.
        home: the data home, if not the usual one.
        progress: called with scenes done and scenes in all while `seasons` is made.

    Raises:
        DataError: no such name, damaged, or not fetched yet.
        RunError: the system refuses to write.
    """
    known = entry(name)
    home = home or data_home()
    folder = home / name
    if known.url is not None:
        if not folder.exists():
            raise DataError(f"{name} is not in {home}: get it with `unpaired data fetch {name}`")
        return _inspect(known, folder).folder
    with nullcontext() if folder.exists() else _lock(home, name, wait=True):
        spec = NAMED[name]
        write_seasons(
            folder,
            size=spec.size,
            train=spec.train,
            test=spec.test,
            level=spec.level,
            progress=progress,
        )
    return folder


def fetch(
    name: str,
    *,
    home: Path | None = None,
    url: str | None = None,
    progress: Progress | None = None,
    limits: Limits = LIMITS,
) -> Fetched:
    """Downloads, verifies and unpacks a named data set; one that is here is returned at once.

    The folder is there whole or not at all. A download that breaks off is kept beside it as
    `NAME.zip.part`, and the next call goes on with it; one that proves bad is removed.

    Args:
        name: a name of the catalogue.
        home: the data home, if not the usual one.
        url: another address. Its zip file may be packed otherwise, so of size, SHA-256 and image
            counts only the counts are verified.
        progress: called with bytes here and bytes in all (none where unknown).
        limits: what is too large, and how long to insist.

    Raises:
        DataError: no such name; made and not fetched; no network, no such file; not the file that
            is known, not a sound zip file; damaged where it was here already; being fetched by
            another process.
        RunError: the disk is full or refuses to be written.
    """
    known = entry(name)
    addresses = (url,) if url else (known.url, *known.mirrors) if known.url else ()
    if not addresses:
        raise DataError(f"{name} is not fetched but made: run `unpaired data make {name}`")
    home = home or data_home()
    folder = home / name
    part = home / f"{name}.zip.part"
    if folder.exists():
        return _inspect(known, folder)
    with _lock(home, name, wait=False):
        if folder.exists():
            return _inspect(known, folder)
        source = _download_from_any(addresses, part, None if url else known.bytes, limits, progress)
        try:
            fetched = _install(known, source, part, folder, verify=url is None, limits=limits)
        except DataError as error:
            forget(part)
            raise DataError(f"cannot use {source}: {error}") from error
        forget(part)
    return fetched


def listing(home: Path | None = None) -> str:
    """A table of the catalogue for people, a line a data set, and where the data home is."""
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
    lines = [
        f"{name:<{widths[0]}}  {images:<{widths[1]}}  {pixels:>{widths[2]}}  "
        f"{size:>{widths[3]}}  {state:<{widths[4]}}  {what}"
        for name, images, pixels, size, state, what in rows
    ]
    return "\n".join([*lines, "", f"Data home: {home} (set UNPAIRED_DATA for another one)"])


def _state(known: Entry, home: Path) -> str:
    folder = home / known.name
    if folder.exists():
        try:
            _inspect(known, folder)
        except DataError:
            return "damaged"
        return "fetched" if known.url else "made here"
    part = home / f"{known.name}.zip.part"
    if part.exists():
        return f"{part.stat().st_size / 1e6:.1f} MB fetched"
    return "not fetched" if known.url else "made when needed"


def _download_from_any(
    addresses: tuple[str, ...],
    part: Path,
    expected: int | None,
    limits: Limits,
    progress: Progress | None,
) -> str:
    """Brings the file to `part` from the first address that gives it; returns that address."""
    failures = []
    for address in addresses:
        try:
            download(address, part, expected=expected, limits=limits, progress=progress)
        except Unavailable as error:
            failures.append(str(error).removeprefix("cannot fetch "))
        else:
            return address
    raise Unavailable(f"cannot fetch {'; nor '.join(failures)}")


def _install(
    known: Entry, source: str, archive: Path, folder: Path, *, verify: bool, limits: Limits
) -> Fetched:
    """Verifies and unpacks; the folder appears at the very end, by a rename."""
    unpacking = folder.with_name(f".{folder.name}.unpacking")
    try:
        sha256, size = sha256_of(archive), archive.stat().st_size
        if verify and known.sha256 not in (None, sha256):
            raise DataError(
                f"it has SHA-256 {sha256} where {known.sha256} is known: if you trust it, run "
                f"`unpaired data fetch {known.name} --url {source}`"
            )
        shutil.rmtree(unpacking, ignore_errors=True)
        unpack(archive, unpacking, limits=limits)
        counts = _count(unpacking)
        if wrong := _wrong(counts, known, unpacking):
            raise DataError(f"it is not {known.name} as it is known: {wrong}")
        note = {"url": source, "sha256": sha256, "bytes": size}
        write_text(unpacking / _NOTE, json.dumps(note, indent=1))
        unpacking.rename(folder)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
    return Fetched(folder, counts, sha256, size)


def _inspect(known: Entry, folder: Path) -> Fetched:
    """What a folder of the data home holds.

    Raises:
        DataError: not as many images as there were, or as are known.
    """
    counts = _count(folder)
    if wrong := _wrong(counts, known, folder):
        get = "fetch" if known.url else "make"
        raise DataError(
            f"{folder} is damaged: {wrong}; remove it and run `unpaired data {get} {known.name}`"
        )
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        return Fetched(folder, counts, str(note["sha256"]), int(note["bytes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Fetched(folder, counts, None, None)


def _count(folder: Path) -> Counts:
    return Counts(*(_images_in(folder / split) for split in ("trainA", "trainB", "testA", "testB")))


def _images_in(folder: Path, pattern: str = "*") -> int:
    """Images directly in a folder; none where there is no such folder."""
    return sum(
        path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        for path in folder.glob(pattern)
    )


def _wrong(counts: Counts, known: Entry, folder: Path) -> str | None:
    """What is wrong with the images of a data set, if anything is."""
    if known.counts is None:
        return None if _images_in(folder, "**/*") else "it holds no image"
    if counts != known.counts:
        return f"it holds {counts} images where {known.counts} are known"
    return None


def _did_you_mean(name: str) -> str:
    names = [known.name for known in entries()]
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f", did you mean {near[0]}" if near else ""


@contextmanager
def _lock(home: Path, name: str, *, wait: bool) -> Iterator[None]:
    """One process a data set; a lock dies with its process."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / f".{name}.lock", timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout as error:
        raise DataError(
            f"{name} is being fetched into {home} by another process: wait for it"
        ) from error
    except OSError as error:
        raise explain_os_error(error, home) from error
    try:
        yield
    finally:
        lock.release()
