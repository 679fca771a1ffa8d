"""Zip files of images that clients send: unpacked within limits."""

import io
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from unpaired.serving.front.jobs import ClientJob
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.limits import MEGABYTE, ServeLimits

__all__ = ["is_zip", "label", "unpack", "unpacked_bytes"]

_CHUNK = 2**16
_MOST_DIRECTORY = 2**20  # bytes of the list of a zip file
_LONGEST_NAME = 200


def is_zip(start: bytes) -> bool:
    """Whether a file begins as a zip file does."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def label(name: str) -> str:
    """A name as it may stand in a zip file and in messages: a relative path of printable parts.

    >>> label("../../etc/passwd"), label("C:\\\\photos\\\\a.jpg"), label("")
    ('etc/passwd', 'C_/photos/a.jpg', 'image')
    """
    printable = "".join(c if c.isprintable() and c not in ':*?"<>|' else "_" for c in name)
    parts = [part for part in re.split(r"[/\\]+", printable) if part.strip(". ")]
    return "/".join(parts)[-_LONGEST_NAME:].strip("/") or "image"


def unpacked_bytes(path: Path, limits: ServeLimits) -> int:
    """The bytes that the images of a zip file take at most, by its list.

    Raises:
        HttpProblem: no zip file, or over a limit.
    """
    try:
        _require_short_list(path)
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            _require_within(members, limits)
            return sum(item.file_size for item in members)
    except _DAMAGE as error:
        raise HttpProblem(422, "the zip file is damaged: pack it again") from error


def unpack(path: Path, job: ClientJob) -> None:
    """Adds the images of a zip file to a job, after `unpacked_bytes`.

    Folders and hidden files are skipped. A file that is damaged or encrypted fails alone.

    Raises:
        HttpProblem: it is damaged, or there are no images.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for number, item in enumerate(_members(archive)):
                target = job.folder / f"{number}-source"
                name = label(item.filename)
                try:
                    _extract(archive, item, target)
                except (
                    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
                    ValueError, OSError,
                ):  # fmt: skip
                    target.unlink(missing_ok=True)
                    job.add_failed(
                        name,
                        HttpProblem(422, "damaged, encrypted or packed in a way not read here"),
                    )
                else:
                    job.add(name, target)
    except _DAMAGE as error:
        raise HttpProblem(422, "the zip file is damaged: pack it again") from error
    if not job.entries:
        raise HttpProblem(422, "the zip file has no images")


_DAMAGE = (zipfile.BadZipFile, struct.error, OSError, ValueError, NotImplementedError)


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [item for item in archive.infolist() if not _skipped(item.filename)]


def _require_short_list(path: Path) -> None:
    """Requires that the list at the end of a zip file is short, before it is read whole."""
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - 2**16 - 22, 0))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or len(end) < at + 22:
        raise zipfile.BadZipFile("no list")
    (length,) = struct.unpack("<I", end[at + 12 : at + 16])
    if length > _MOST_DIRECTORY:
        raise HttpProblem(413, "the list of the zip file is too long: pack fewer files")


def _require_within(members: list[zipfile.ZipInfo], limits: ServeLimits) -> None:
    if len(members) > (most := limits.zip_images):
        raise HttpProblem(
            413,
            f"the zip file has {len(members):,} files, {most} are accepted: send several",
            limit=("zip_images", most),
        )
    total = sum(item.file_size for item in members)
    if total > (most := limits.zip_size * MEGABYTE):
        raise HttpProblem(
            413,
            f"the zip file unpacks to {total:,} bytes, {most:,} are accepted: send several",
            limit=("zip_bytes", most),
        )
    for item in members:
        if item.file_size > limits.max_body * MEGABYTE:
            raise HttpProblem(
                413,
                f"{label(item.filename)}: more than {limits.max_body * MEGABYTE:,} bytes: send a"
                " smaller one",
                limit=("body_bytes", limits.max_body * MEGABYTE),
            )
        if item.file_size > limits.zip_ratio * max(item.compress_size, 1) + 2**16:
            raise HttpProblem(
                413,
                f"{label(item.filename)}: grows more than {limits.zip_ratio} times when it is"
                " unpacked: send it as it is",
                limit=("zip_ratio", limits.zip_ratio),
            )


def _skipped(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.endswith("/") or any(p.startswith(".") or p == "__MACOSX" for p in parts)


def _extract(archive: zipfile.ZipFile, item: zipfile.ZipInfo, target: Path) -> None:
    """Unpacks one file; never more than the bytes that its entry declares."""
    if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError
    with archive.open(item) as packed, open(target, "wb") as file:
        while chunk := packed.read(_CHUNK):
            file.write(chunk)
