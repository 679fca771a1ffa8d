"""Where images come from and results go: a folder, or any URL that fsspec knows (extra `cloud`).

A file appears whole or not at all: in a folder by a rename, in an object store by one PUT. What
fails for a moment (timeouts, 503, short reads) is tried again.
"""

import contextlib
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from unpaired.console import log
from unpaired.data.layout.folder import walk
from unpaired.errors import ConfigError, DataError, ImageError, MissingExtra, RunError, reason_of
from unpaired.storage import atomic_path, explain_os_error, read_regular

__all__ = ["LocalPlace", "Place", "RemotePlace", "is_url", "open_place"]

T = TypeVar("T")

ATTEMPTS = 5
PAUSE = 0.5  # seconds before the second attempt; it doubles
_IN_A_ROW = 20  # files that could not be read or stored, after which the rest is not tried
_MOST_SMALL = 2**32  # bytes of a manifest
# Nobody is helped by another attempt.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError)
# File systems where a file that is being written is visible: it gets its name by a rename.
_RENAMING = {"sftp", "ssh", "smb", "ftp", "hdfs", "arrow_hdfs", "webhdfs", "dbfs"}


def is_url(text: str) -> bool:
    """Whether a place is given by a URL, and not by the path of a folder.

    >>> is_url("s3://bucket/photos"), is_url("photos/2026")
    (True, False)
    """
    return "://" in text


@dataclass(frozen=True)
class LocalPlace:
    """A folder. Its files are read and written where they are."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def sizes(self) -> dict[str, int | None]:
        """All files by relative name, with their bytes; none where there is no such folder.

        Raises:
            DataError: a folder below cannot be read.
        """

        def fail(error: OSError) -> None:
            if not (isinstance(error, FileNotFoundError) and Path(error.filename) == self.root):
                raise DataError(f"{error.filename}: {reason_of(error)}") from error

        found: dict[str, int | None] = {}
        for folder, files, _, _ in walk(self.root, fail):
            for name in files:
                path = folder / name
                try:
                    size = path.stat().st_size
                except OSError:  # a broken link: reading it says so
                    size = None
                found[path.relative_to(self.root).as_posix()] = size
        return found

    def fetch(self, name: str, size: int | None, scratch: Path) -> Path:
        """The file of that name itself."""
        return self.root / name

    def drop(self, fetched: Path) -> None:
        """Keeps the file: it is no copy."""

    def read(self, name: str) -> bytes | None:
        """A small file; None where there is none.

        Raises:
            RunError: it cannot be read.
        """
        try:
            return read_regular(self.root / name, _MOST_SMALL)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"cannot read {self.root / name}: {reason_of(error)}") from error

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file, atomically.

        Raises:
            RunError: the system does not let it write.
        """
        with atomic_path(self.root / name) as temporary:
            temporary.write_bytes(content)

    def remove(self, name: str) -> None:
        """Removes a file, if there is one, and its folder once that is empty.

        Raises:
            RunError: the system does not let it.
        """
        path = self.root / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise explain_os_error(error, path) from error
        if path.parent != self.root:
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # only if it is empty


@dataclass(frozen=True, eq=False)
class RemotePlace:
    """The files below a URL; `fs` is a file system of fsspec, `root` the path in it."""

    url: str
    fs: Any
    root: str
    renaming: bool = False
    _failures: list[str] = field(default_factory=list, repr=False)

    def __str__(self) -> str:
        return self.url

    def sizes(self) -> dict[str, int | None]:
        """All files by relative name, with their bytes where the store says so.

        Raises:
            RunError: it cannot be listed.
        """
        self.fs.invalidate_cache()
        start = len(self.root.strip("/"))
        sizes: dict[str, Any] = {}
        for facts in self._listed():
            if facts.get("type", "file") == "file":
                sizes[facts["name"].lstrip("/")[start:].lstrip("/")] = facts.get("size")
        return {n: s if isinstance(s, int) else None for n, s in sizes.items() if n}

    def fetch(self, name: str, size: int | None, scratch: Path) -> Path:
        """A copy of the file in the folder `scratch`; `size` are the bytes that it has.

        Raises:
            ImageError: it cannot be read whole.
            RunError: neither could many before it.
        """
        target = scratch / f"{secrets.token_hex(8)}{Path(name).suffix}"

        def get() -> None:
            self.fs.get_file(self._path(name), str(target))
            held = target.stat().st_size
            if size is not None and held != size:
                raise OSError(f"a short read: {held:,} of {size:,} bytes")

        try:
            self._tried("read", name, get)
        except (RunError, *_FINAL) as error:
            target.unlink(missing_ok=True)
            if not isinstance(error, FileNotFoundError):
                self._count(name, error)
            reason = error if isinstance(error, RunError) else reason_of(error)
            raise ImageError(f"{name}: {reason}") from error
        self._failures.clear()
        return target

    def drop(self, fetched: Path) -> None:
        """Removes what `fetch` gave."""
        fetched.unlink(missing_ok=True)

    def put(self, made: Path, name: str) -> None:
        """Stores a file under a name.

        Raises:
            ImageError: it could not be stored, which others may be.
            RunError: it was not permitted, or none of many could be stored.
        """
        path = self._path(name)
        temporary = f"{path}.{secrets.token_hex(4)}.tmp" if self.renaming else path

        def send() -> None:
            if self.renaming:
                self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.fs.put_file(str(made), temporary)
            if self.renaming:
                self.fs.mv(temporary, path)

        try:
            self._tried("write", name, send)
        except _FINAL as error:
            raise RunError(f"cannot write {self.url}/{name}: {reason_of(error)}") from error
        except RunError as error:
            self._count(name, error)
            raise ImageError(f"{name}: {error}") from error
        self._failures.clear()

    def read(self, name: str) -> bytes | None:
        """A small file; None where there is none.

        Raises:
            RunError: it cannot be read.
        """

        path = self._path(name)

        def get() -> bytes:
            content: bytes = self.fs.cat_file(path)
            if isinstance(size, int) and size != len(content):
                raise OSError(f"a short read: {len(content):,} of {size:,} bytes")
            return content

        self.fs.invalidate_cache()
        try:
            size = self._tried("read", name, lambda: self.fs.info(path).get("size"))
            return self._tried("read", name, get)
        except FileNotFoundError:
            return None
        except _FINAL as error:
            raise RunError(f"cannot read {self.url}/{name}: {reason_of(error)}") from error

    def write(self, name: str, content: bytes) -> None:
        """Stores a small file in one PUT.

        Raises:
            RunError: it cannot be stored.
        """
        try:
            self._tried("write", name, lambda: self.fs.pipe_file(self._path(name), content))
        except _FINAL as error:
            raise RunError(f"cannot write {self.url}/{name}: {reason_of(error)}") from error

    def remove(self, name: str) -> None:
        """Removes a file, if there is one.

        Raises:
            RunError: it cannot be removed.
        """
        try:
            self._tried("remove", name, lambda: self.fs.rm_file(self._path(name)))
        except FileNotFoundError:
            pass
        except _FINAL as error:
            raise RunError(f"cannot remove {self.url}/{name}: {reason_of(error)}") from error

    def _count(self, name: str, error: Exception) -> None:
        """Counts a file that could not be read or stored.

        Raises:
            RunError: it is one of many in a row.
        """
        self._failures.append(name)
        if len(self._failures) >= _IN_A_ROW:
            reason = error if isinstance(error, RunError) else f"{name}: {reason_of(error)}"
            raise RunError(f"{self.url} failed {_IN_A_ROW} times in a row: {reason}") from error

    def _listed(self) -> Iterator[Mapping[str, Any]]:
        """What fsspec says of each file below. Object stores list all at once, by their prefix.

        Others are listed folder by folder: `find` would omit one that cannot be listed.
        """
        if _finds_by_prefix(self.fs):
            try:
                found = self._tried("list", "", lambda: self.fs.find(self.root, detail=True))
            except FileNotFoundError:
                return
            yield from found.values()
            return
        folders = [self.root]
        while folders:
            folder = folders.pop()
            try:
                found = self._tried("list", "", lambda f=folder: self.fs.ls(f, detail=True))  # type: ignore[misc]
            except FileNotFoundError:
                if folder == self.root:
                    return
                raise
            for facts in found:
                if facts.get("type") == "directory":
                    folders.append(facts["name"])
                else:
                    yield facts

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def _tried(self, verb: str, name: str, call: Callable[[], T]) -> T:
        """Calls until it succeeds, at most ATTEMPTS times, with longer and longer pauses.

        Raises:
            RunError: the last attempt failed, too.
            OSError, ValueError: one of _FINAL, at once.
        """
        place = f"{self.url}/{name}" if name else self.url
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except _FINAL:
                raise
            except Exception as error:  # each file system has its own
                if attempt == ATTEMPTS:
                    raise RunError(
                        f"cannot {verb} {place}: {reason_of(error)} ({ATTEMPTS} attempts)"
                    ) from error
                log.debug("%s: %s, attempt %d", place, reason_of(error), attempt)
                time.sleep(PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        raise AssertionError


Place: TypeAlias = LocalPlace | RemotePlace


def _finds_by_prefix(fs: Any) -> bool:
    """Whether a file system has its own `find`, as object stores do."""
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    kind = type(fs)
    if isinstance(fs, AsyncFileSystem):
        return bool(kind._find is not AsyncFileSystem._find)
    return bool(kind.find is not AbstractFileSystem.find)


def open_place(text: str | os.PathLike[str]) -> Place:
    """The place that a path or a URL names. `file://` is a folder, too.

    Credentials and endpoints come from the environment, as fsspec and its file systems read them
    (`AWS_PROFILE`, `FSSPEC_S3_ENDPOINT_URL`).

    Raises:
        ConfigError: no such kind of URL, or one whose file system is not installed.
        MissingExtra: fsspec is not installed.
    """
    text = os.fspath(text)
    if not is_url(text):
        return LocalPlace(Path(text))
    try:
        import fsspec
        from fsspec.implementations.local import LocalFileSystem
    except ModuleNotFoundError as error:
        raise MissingExtra("fsspec", "cloud", f"{text}") from error
    protocol = text.split("://", 1)[0]
    try:
        fs, root = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise ConfigError(f"{text}: {reason_of(error)}") from error
    except ValueError as error:
        raise ConfigError(f"{text} cannot be used: {reason_of(error)}") from error
    if isinstance(fs, LocalFileSystem):
        return LocalPlace(Path(root))
    return RemotePlace(text.rstrip("/"), fs, root, protocol in _RENAMING)
