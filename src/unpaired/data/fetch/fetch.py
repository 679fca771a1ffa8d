"""Fetching a named data set: download, verification, unpacking. Nothing else downloads one."""

import json
import shutil
from pathlib import Path

from unpaired.data.catalogue import Entry, entry
from unpaired.data.fetch.download import LIMITS, Limits, Unavailable, download, forget, sha256_of
from unpaired.data.fetch.unpack import unpack
from unpaired.data.home import NOTE, Installed, data_home, inspect, mismatch
from unpaired.errors import DataError
from unpaired.storage import exclusive, explain_os_error, write_text

__all__ = ["fetch"]


def fetch(
    name: str, *, home: Path | None = None, url: str | None = None, limits: Limits = LIMITS
) -> Installed:
    """Downloads, verifies and unpacks a named data set, unless it is here already.

    The folder appears only when it is complete. An interrupted download is kept beside it as
    `NAME.zip.part` and resumed by the next call; one that fails verification is removed.

    Args:
        name: a name of the catalogue.
        home: the data home, if not the usual one.
        url: another address. Its zip file may be packed differently, so the numbers of images are
            verified, but neither size nor SHA-256.
        limits: sizes that are rejected, time-out and number of attempts.

    Raises:
        DataError: no such name; a data set that is drawn, not fetched; no network; no such file;
            a file of another SHA-256; not an intact zip file; a damaged folder from before.
        RunError: the disk is full or cannot be written, or another process is fetching it.
    """
    known = entry(name)
    addresses = (url,) if url else (known.url, *known.mirrors) if known.url else ()
    if not addresses:
        raise DataError(f"{name} is drawn, not fetched: run `unpaired data make {name}`")
    home = home or data_home()
    folder = home / name
    part = home / f"{name}.zip.part"
    if folder.exists():
        return inspect(known, folder)
    with exclusive(home, name):
        if folder.exists():
            return inspect(known, folder)
        source = _download_from_any(addresses, part, None if url else known.bytes, limits)
        try:
            _install(known, source, part, folder, verify=url is None, limits=limits)
        except DataError as error:
            forget(part)
            raise DataError(f"cannot use {source}: {error}") from error
        forget(part)
    return inspect(known, folder)


def _download_from_any(
    addresses: tuple[str, ...], part: Path, expected: int | None, limits: Limits
) -> str:
    """Downloads the file to `part` from the first address that has it; returns that address."""
    failures = []
    for address in addresses:
        try:
            download(address, part, expected=expected, limits=limits)
        except Unavailable as error:
            failures.append(str(error).removeprefix("cannot fetch "))
        else:
            return address
    raise Unavailable(f"cannot fetch {'; nor '.join(failures)}")


def _install(
    known: Entry, source: str, archive: Path, folder: Path, *, verify: bool, limits: Limits
) -> None:
    """Verifies and unpacks; the folder appears at the very end, by a rename."""
    unpacking = folder.with_name(f".{folder.name}.unpacking")
    try:
        sha256, size = sha256_of(archive), archive.stat().st_size
        if verify and known.sha256 not in (None, sha256):
            raise DataError(
                f"its SHA-256 is {sha256}, not {known.sha256}: if you trust it, run "
                f"`unpaired data fetch {known.name} --url {source}`"
            )
        shutil.rmtree(unpacking, ignore_errors=True)
        unpack(archive, unpacking, limits=limits)
        if wrong := mismatch(known, unpacking):
            raise DataError(f"it is not the known {known.name}: {wrong}")
        note = {"url": source, "sha256": sha256, "bytes": size}
        write_text(unpacking / NOTE, json.dumps(note, indent=1))
        unpacking.rename(folder)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
