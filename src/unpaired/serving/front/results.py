"""What clients get of a job: a translation, or a zip file of all, packed while it is sent."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse

from unpaired.serving.front.jobs import ClientJob, JobImage
from unpaired.serving.front.problems import HttpProblem

__all__ = ["image_response", "zip_response"]

_MEDIA = {
    ".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp",
    ".tif": "image/tiff", ".tiff": "image/tiff", ".avif": "image/avif", ".jp2": "image/jp2",
}  # fmt: skip
_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
_SMALL = 2**20  # bytes of a result that is sent at once
_PART = 2**18  # bytes of a larger one that are sent at a time
_CHUNK = 2**16  # bytes that are packed at a time


def image_response(entry: JobImage, after: BackgroundTask | None = None) -> Response:
    """The translation of an image; `after` is done when it has been sent.

    Raises:
        HttpProblem: it failed, or has not ended.
    """
    if entry.problem:
        raise entry.problem
    if entry.state != "done":
        raise HttpProblem(409, f"this image is {entry.state}")
    headers = {"X-Model": _safe(entry.job.model)}
    if entry.warning:
        headers["X-Warning"] = entry.warning.encode("ascii", "replace").decode()
    media, path = _MEDIA[entry.suffix], entry.result
    if path.stat().st_size > _SMALL:
        headers["Content-Length"] = str(path.stat().st_size)
        parts = _parts(open(path, "rb"))  # noqa: SIM115
        return StreamingResponse(parts, media_type=media, headers=headers, background=after)
    return Response(path.read_bytes(), media_type=media, headers=headers, background=after)


def zip_response(job: ClientJob) -> Response:
    """A zip file of the translations of a job that has ended; errors.txt lists what failed."""
    headers = {"Content-Disposition": f'attachment; filename="{_safe(job.to)}.zip"'}
    return StreamingResponse(_pack(job), media_type="application/zip", headers=headers)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_PART):
            yield part


class _Outlet(io.RawIOBase):
    """What `zipfile` writes to; the bytes are taken away as they come."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        chunk = bytes(data)  # type: ignore[call-overload]
        self.written += chunk
        return len(chunk)

    def take(self) -> bytes:
        chunk = bytes(self.written)
        self.written.clear()
        return chunk


def _pack(job: ClientJob) -> Iterator[bytes]:
    """A zip file of the results of a job, in parts; what failed is listed in errors.txt."""
    outlet = _Outlet()
    used: set[str] = set()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for entry in job.entries:
            if entry.state != "done":
                continue
            name = zipfile.ZipInfo(_unused(entry, used))
            with open(entry.result, "rb") as file, archive.open(name, "w") as packed:
                while chunk := file.read(_CHUNK):
                    packed.write(chunk)
                    yield outlet.take()
        lines = [
            f"{entry.name}: {entry.problem.detail if entry.problem else entry.state}\n"
            for entry in job.entries
            if entry.state != "done"
        ]
        if lines:
            archive.writestr(zipfile.ZipInfo(_free("errors.txt", used)), "".join(lines))
    yield outlet.take()


def _unused(entry: JobImage, used: set[str]) -> str:
    """The name of an entry with the suffix of its result, made unlike those before it."""
    path = PurePosixPath(entry.name)
    same = path.suffix.lower() == entry.suffix or {path.suffix.lower(), entry.suffix} <= _JPEG
    return _free(entry.name if same else str(path.with_suffix(entry.suffix)), used)


def _free(name: str, used: set[str]) -> str:
    path, number = PurePosixPath(name), 1
    while name.lower() in used:
        number += 1
        name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    used.add(name.lower())
    return name


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
