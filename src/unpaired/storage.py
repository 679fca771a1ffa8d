"""Files: only regular ones opened; atomic writes; JSON lines; locks of run folders."""

import contextlib
import errno
import json
import math
import os
import re
import secrets
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from unpaired.errors import RunError

__all__ = [
    "atomic_path",
    "exclusive",
    "explain_os_error",
    "json_number",
    "open_regular",
    "read_json_lines",
    "read_regular",
    "sweep",
    "uninterrupted",
    "write_text",
]


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading, without waiting for anything.

    A pipe would be waited for, and a device such as /dev/zero never ends.

    Raises:
        OSError: no such file, no permission, a folder, or anything that is not a regular file;
            its `strerror` says which.
    """
    try:
        handle = os.open(path, os.O_RDONLY | _AT_ONCE)
    except ValueError as error:  # a zero byte, or characters that no file system name can have
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from error
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, _NOT_REGULAR, str(path)) from error
        raise
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    raise OSError(errno.EINVAL, _NOT_REGULAR, str(path))


def read_regular(path: Path, most: int) -> bytes:
    """Reads a small regular file, which has at most `most` bytes. Raises as `open_regular`."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return content


_NOT_REGULAR = "not a regular file (a pipe, a socket or a device)"
_MOST_LINE = 100_000  # bytes
_AT_ONCE = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))


def explain_os_error(error: OSError, path: Path) -> RunError:
    """Returns a one-line error for a failure of the operating system to write `path`."""
    reasons = {
        errno.ENOSPC: "the disk is full: free some space and start again",
        errno.EFBIG: "the file is larger than the limit set here (ulimit -f): raise it",
        errno.EDQUOT: "the disk quota is used up: free some space and start again",
        errno.EACCES: "permission denied: choose a folder you can write to",
        errno.EPERM: "permission denied: choose a folder you can write to",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOTDIR: "a part of it is a file (expected a folder): choose another name",
        errno.EEXIST: "a part of it is a file (expected a folder): choose another name",
    }
    reason = reasons.get(error.errno or 0, str(error.strerror or error))
    return RunError(f"cannot write {path}: {reason}")


@contextmanager
def atomic_path(path: Path, *, scratch: Path | None = None, sync: bool = True) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced and renamed into place.

    With `scratch`, a folder, the temporary path is in it, if that is on the same file system.
    Without `sync` it is only renamed: for files that need not outlive the machine.

    Whatever fails or is killed in between, `path` holds either its old content or its new one.
    The temporary name keeps the suffix of `path`, since writers choose a format by it.

    Raises:
        RunError: the system cannot write (full disk, no permission, ...).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = path.parent
        if scratch is not None and os.stat(scratch).st_dev == os.stat(folder).st_dev:
            folder = scratch
        temporary = folder / f".{path.stem[:50]}-{secrets.token_hex(4)}.tmp{path.suffix}"
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise explain_os_error(error, path) from error
    try:
        yield temporary
        if sync:
            _sync(temporary)
        os.replace(temporary, path)
        if sync:
            _sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise explain_os_error(error, path) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds SIGINT and SIGTERM back until the end, so that files renamed together stay together.

    Only the main thread receives signals; in another thread this does nothing.
    """
    came: list[int] = []
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
        and threading.current_thread() is threading.main_thread()
    }
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came[:1]:
            signal.raise_signal(late)


def sweep(*folders: Path, age: float = 0.0) -> None:
    """Removes the temporary files that killed writers left directly in these folders.

    Only for folders to which no other process writes: hold their lock; or with an `age` in seconds,
    so that files are spared that may be written at this moment.
    """
    for folder in folders:
        for path in folder.glob(".*.tmp*"):
            named = re.fullmatch(r"\..+-[0-9a-f]{8}\.tmp(\.\w+)?", path.name)
            with contextlib.suppress(FileNotFoundError):  # its writer was faster
                if named and path.is_file() and time.time() - path.stat().st_mtime >= age:
                    path.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of one JSON object a line, such as metrics.jsonl, oldest first.

    Lines that are not a whole JSON object are skipped: a process that writes the file at this
    moment, or was killed while writing, leaves its last line incomplete. So are lines that nest
    without end or are longer than any that is written here. A file that is missing or cannot be
    read has no lines.
    """
    lines = []
    try:
        with open_regular(path) as file:
            for written in file.read().split(b"\n"):
                with contextlib.suppress(ValueError, RecursionError):
                    if len(written) <= _MOST_LINE:
                        text = written.decode("utf-8", "replace")
                        lines.append(json.loads(text, parse_int=_whole))
    except OSError:
        return []
    return [line for line in lines if isinstance(line, dict)]


def _whole(digits: str) -> float:
    """A whole number of JSON; one beyond all counts as a float, which is infinite if need be."""
    return int(digits) if len(digits) <= 18 else float(digits)


def json_number(number: float) -> float | str | None:
    """A number for strict JSON: NaN becomes None, infinity "Infinity" or "-Infinity"."""
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"


@contextmanager
def exclusive(folder: Path, name: str = "", *, wait: bool = False) -> Iterator[None]:
    """Holds the lock of `folder`, or of `name` in it: one process each. It dies with its process.

    Raises:
        RunError: another process holds it and `wait` is false, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / (f".{name}.lock" if name else ".lock"), timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout as error:
        advice = " to finish" if name else ", or choose another --out"
        raise RunError(
            f"{folder / name} is in use by another process: wait for it{advice}"
        ) from error
    except OSError as error:
        raise explain_os_error(error, folder) from error
    try:
        yield
    finally:
        lock.release()


def _sync(path: Path) -> None:
    """Syncs a file or a folder to the disk (folders cannot be synced on Windows)."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
