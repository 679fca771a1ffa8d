"""The folder in which a translation writes its files until they are whole.

It is inside `out`, so that a whole file is renamed into place, and each process has its own and
holds the lock in it. A folder whose lock nobody holds was left by a killed process, and the next
translation into the same `out` removes it.
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from unpaired.errors import RunError
from unpaired.storage import explain_os_error, sweep

__all__ = ["scratch_folder"]

_PREFIX = ".translating-"
_AGE = 3600.0  # seconds after which nobody can still be writing what has no lock
_NO_LOCKS = (NotImplementedError, OSError)  # of a file system without them


@contextmanager
def scratch_folder(out: Path, targets: Iterable[Path]) -> Iterator[Path]:
    """Creates a scratch folder in `out`, which is removed at the end, and sweeps what is left.

    Leftovers of earlier translations are swept from `out` and from the folders of `targets`, the
    files to be written: what has a lock that nobody holds, or what has none and is an hour old.

    Raises:
        RunError: the system does not let it write.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _sweep(out, {out, *(target.parent for target in targets)})
        folder, lock = _create(out)
    except OSError as error:
        raise explain_os_error(error, out) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # Windows keeps a file that is open


def _create(out: Path) -> tuple[Path, FileLock]:
    """Creates a folder and takes its lock, unless the file system has no locks."""
    for _ in range(10):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=out))
        lock = _lock_of(folder)
        try:
            lock.acquire()
        except Timeout:  # another process took it first, to sweep
            continue
        except _NO_LOCKS:
            (folder / ".lock").unlink(missing_ok=True)
            return folder, lock
        if (folder / ".lock").exists():
            return folder, lock
        lock.release()
    raise RunError(f"{out}: other processes keep removing the scratch folder: try again")


def _sweep(out: Path, folders: Iterable[Path]) -> None:
    for folder in out.glob(f"{_PREFIX}*"):
        if folder.is_symlink() or not re.fullmatch(r"\.translating-\w{8}", folder.name):
            continue
        lock = _lock_of(folder)
        with suppress(Timeout, *_NO_LOCKS):
            # Killed before it had its lock, or after it gave it back; a process that is about to
            # take the lock makes the folder again.
            with suppress(OSError):
                folder.rmdir()  # only if it is empty
                continue
            if (folder / ".lock").exists():
                lock.acquire()
            if lock.is_locked or time.time() - folder.stat().st_mtime >= _AGE:
                shutil.rmtree(folder, ignore_errors=True)
        lock.release()
    for folder in out.glob(".trial-*"):  # of earlier versions, with trial images of one pixel
        named = re.fullmatch(r"\.trial-\w{8}", folder.name) and not folder.is_symlink()
        with suppress(OSError):
            own = named and all("pixel" in path.name for path in folder.iterdir())
            if own and time.time() - folder.stat().st_mtime >= _AGE:
                shutil.rmtree(folder, ignore_errors=True)
    sweep(*folders, age=_AGE)


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder / ".lock", timeout=0)
