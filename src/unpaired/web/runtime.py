"""The files of onnxruntime-web that a page takes along: pinned, verified, and kept once fetched."""

import hashlib
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

from unpaired.data.fetch.download import Limits, download, forget, sha256_of
from unpaired.data.home import data_home
from unpaired.errors import DataError
from unpaired.storage import exclusive, explain_os_error, read_regular

__all__ = ["FILES", "VERSION", "cache_folder", "fetch_runtime", "read_runtime"]

VERSION = "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES: Mapping[str, str] = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
"""SHA-256 of each file that a page needs, all in the folder `dist` of the npm package."""

_LIMITS = Limits(download_bytes=100 << 20)
_MOST_BYTES = 64 << 20  # of one file
_OFFLINE = (
    "give its files by --runtime-files DIR: the folder `dist` of what "
    f"`npm pack onnxruntime-web@{VERSION}` fetches"
)


def cache_folder() -> Path:
    """The folder that keeps the files once fetched, in the data home; it need not exist yet.

    Raises:
        DataError: the user has no home folder and `$UNPAIRED_DATA` is not set.
    """
    return data_home() / f"onnxruntime-web-{VERSION}"


def read_runtime(folder: Path) -> dict[str, bytes]:
    """The files by name, from a folder that has them.

    Raises:
        DataError: one is missing, or not that of the pinned version.
    """
    found = {}
    for name, sha256 in FILES.items():
        path = folder / name
        try:
            content = read_regular(path, _MOST_BYTES)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {_OFFLINE}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"{path} is not that of onnxruntime-web {VERSION}: {_OFFLINE}")
        found[name] = content
    return found


def fetch_runtime(*, url: str = URL, sha256: str = SHA256) -> dict[str, bytes]:
    """The files by name: those kept on this machine, else out of the npm package, verified.

    Raises:
        DataError: no network, or a package that is not the pinned one.
        RunError: the disk is full or cannot be written, or another process is fetching it.
    """
    folder = cache_folder()
    if folder.is_dir():
        return read_runtime(folder)
    with exclusive(folder.parent, folder.name, wait=True):
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.tgz.part")
            try:
                download(url, part, limits=_LIMITS)
            except DataError as error:
                raise DataError(f"{error}; or {_OFFLINE}") from error
            try:
                _unpack(part, folder, url, sha256)
            finally:
                forget(part)
    return read_runtime(folder)


def _unpack(package: Path, folder: Path, url: str, sha256: str) -> None:
    """Writes the files of a verified package; the folder appears at the end."""
    if (found := sha256_of(package)) != sha256:
        raise DataError(f"{url} has the SHA-256 {found}, not {sha256}: {_OFFLINE}")
    unpacking = folder.with_name(f".{folder.name}.unpacking")
    try:
        shutil.rmtree(unpacking, ignore_errors=True)
        unpacking.mkdir()
        with tarfile.open(package) as archive:
            for name in FILES:
                member = archive.extractfile(f"package/dist/{name}")
                if member is None:
                    raise KeyError(name)
                (unpacking / name).write_bytes(member.read(_MOST_BYTES))
        read_runtime(unpacking)
        unpacking.rename(folder)
    except (tarfile.TarError, KeyError) as error:
        raise DataError(f"{url} is damaged: {_OFFLINE}") from error
    except OSError as error:
        raise explain_os_error(error, folder) from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
