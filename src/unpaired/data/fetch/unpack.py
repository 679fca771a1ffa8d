"""Unpacking of an untrusted zip file.

Writes nothing outside the folder, nothing but regular files, and no more than the limits allow,
whatever the archive claims about itself.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from unicodedata import normalize

from unpaired.data.fetch.download import LIMITS, Limits, require_space
from unpaired.errors import DataError, quoted
from unpaired.storage import explain_os_error

__all__ = ["unpack"]

Parts = tuple[str, ...]
"""The path of an entry, folder by folder."""

_CLUTTER = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})
_SPLITS = frozenset({"traina", "trainb", "testa", "testb", "train", "test"})
_LISTING = 32 << 20  # bytes of an archive's list of entries, which is read as a whole
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""The exceptions that `zipfile` is known to raise on damaged files."""


def unpack(archive: Path, folder: Path, *, limits: Limits = LIMITS) -> None:
    """Unpacks the zip file `archive` into the new folder `folder`.

    A single folder around all files is omitted, and so are the files that macOS and Windows add.
    All names are examined before anything is written; sizes are counted while writing. After a
    failure, `folder` may hold some of the files: the caller removes it.

    Raises:
        DataError: not a zip file, damaged, encrypted, over a limit; or an entry that is not a
            regular file, leads out of the folder, or occurs twice (in any letter case).
        RunError: the disk is full or cannot be written.
    """
    with _Archive(archive) as packed:
        try:
            opened = zipfile.ZipFile(packed)
        except _DAMAGE as error:
            raise DataError(f"{archive.name} is not a complete zip file") from error
        members = _members(archive, opened.infolist(), limits)
        ceiling = min(limits.unpacked_bytes, int(limits.ratio * archive.stat().st_size))
        announced = sum(info.file_size for info in members.values())
        _require_below(ceiling, announced, archive)
        written = 0
        try:
            folder.mkdir()
            require_space(folder, announced)
            for parts, info in members.items():
                target = folder.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    for block in _blocks(archive, opened, info):
                        written += len(block)
                        _require_below(ceiling, written, archive)
                        file.write(block)
        except OSError as error:
            raise explain_os_error(error, folder) from error


class _Archive(io.FileIO):
    """The bytes of an archive. Its list of entries, which `zipfile` reads at once, is bounded."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LISTING:
            raise _rejection(Path(str(self.name)), f"its list of entries has {size} bytes")
        return super().read(-1 if size is None else size)


def _require_below(ceiling: int, size: int, archive: Path) -> None:
    if size > ceiling:
        reason = f"it unpacks to more than {ceiling} bytes, too many for its size or the limit"
        raise _rejection(archive, reason)


def _blocks(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with opened.open(info) as source:
            while block := source.read(1 << 16):
                yield block
    except _DAMAGE as error:
        raise DataError(f"{archive.name} is damaged at {quoted(info.orig_filename)}") from error


def _members(
    archive: Path, infos: list[zipfile.ZipInfo], limits: Limits
) -> dict[Parts, zipfile.ZipInfo]:
    """Returns the files to write, by their path in the folder."""
    if len(infos) > limits.entries:
        raise _rejection(archive, f"{len(infos)} entries are over the limit of {limits.entries}")
    members: dict[Parts, zipfile.ZipInfo] = {}
    for info in infos:
        parts = tuple(p for p in info.orig_filename.split("/") if p not in ("", "."))
        fault = _fault(info, parts) or ("occurs twice" if parts in members else None)
        if fault is not None:
            raise _rejection(archive, f"its entry {quoted(info.orig_filename)} {fault}")
        if not info.orig_filename.endswith("/") and _CLUTTER.isdisjoint(parts):
            members[parts] = info
    tops = {parts[0] for parts in members}
    if len(tops) == 1 and not any(
        len(parts) == 1 or parts[0].casefold() in _SPLITS for parts in members
    ):
        members = {parts[1:]: info for parts, info in members.items()}
    _require_distinct(archive, members, limits.entries)
    return members


def _fault(info: zipfile.ZipInfo, parts: Parts) -> str | None:
    """Returns the reason not to write an entry, if there is one."""
    name = info.orig_filename
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if name.startswith("/") or ".." in parts or re.search(r"[\\:]", name):
        return "leads out of the folder"
    if re.search(r"[\x00-\x1f\x7f]", name) or (not parts and not name.endswith("/")):
        return "has no valid name"
    lengths = [len(part.encode()) for part in parts]
    if len(parts) > 16 or sum(lengths) > 1000 or any(length > 255 for length in lengths):
        return "has too long a name"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in an unusual way"
    return None


def _require_distinct(archive: Path, members: Iterable[Parts], most: int) -> None:
    """Rejects names that are equal on file systems that ignore case, and more than `most` names."""
    spellings: dict[Parts, Parts] = {}
    files: set[Parts] = set()
    folders: set[Parts] = set()
    for parts in members:
        folded = tuple(normalize("NFC", part).casefold() for part in parts)
        folders.update(folded[:depth] for depth in range(1, len(parts)))
        files.add(folded)
        if len(spellings) > most:
            raise _rejection(archive, f"files and folders are over the limit of {most}")
        for depth in range(1, len(parts) + 1):
            other = spellings.setdefault(folded[:depth], parts[:depth])
            if other != parts[:depth]:
                one, two = quoted("/".join(other)), quoted("/".join(parts[:depth]))
                raise _rejection(archive, f"{one} and {two} are the same name on some file systems")
    for both in files & folders:
        name = quoted("/".join(spellings[both]))
        raise _rejection(archive, f"{name} is both a file and a folder")


def _rejection(archive: Path, why: str) -> DataError:
    return DataError(f"{archive.name} is rejected: {why}")
