"""A list of images in one body: multipart/form-data, as `curl -F image=@a.png -F image=@b.png`.

The parts are written to files while they come; nothing of a part but its head is held in memory.
"""

import logging
from typing import BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from unpaired.serving.front.jobs import ClientJob
from unpaired.serving.front.problems import HttpProblem
from unpaired.serving.front.store import Store
from unpaired.serving.front.uploads.archive import is_zip, label
from unpaired.serving.front.uploads.body import Allowance, receive
from unpaired.serving.limits import MEGABYTE, ServeLimits

__all__ = ["FORM", "receive_list"]

FORM = "multipart/form-data"
_FIELD = "image"
_LONGEST_BOUNDARY = 70  # characters, by RFC 2046
_MOST_HEADERS, _LONGEST_HEADER = 8, 4096  # of a part; bytes of a line
_PLAIN = ("", "binary", "8bit", "7bit")  # transfer encodings that change nothing

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it warns of clients


async def receive_list(
    request: Request, job: ClientJob, store: Store, limits: ServeLimits, allowed: Allowance
) -> None:
    """Adds the images of a list to a job, and counts them as the job's.

    Each part is one image: its field is `image`, its file name a label that may stand twice. An
    image that is a zip file fails alone.

    Raises:
        HttpProblem: 400, 408, 413 as `receive`; 413 for too many images or one that is too large;
            422 for a list that is damaged, cut off, empty, or has other fields; 503 where the store
            has no room.
        Gone: the client has hung up.
    """
    parts = _Parts(job, store, limits)
    try:
        parser = MultipartParser(
            _boundary(request.headers.get("content-type", "")),
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.add_to_name,
                "on_header_value": parts.add_to_value,
                "on_header_end": parts.end_header,
                "on_headers_finished": parts.open,
                "on_part_data": parts.write,
                "on_part_end": parts.close,
                "on_end": parts.end,
            },
            max_header_count=_MOST_HEADERS,
            max_header_size=_LONGEST_HEADER,
        )
        async for chunk in receive(request, allowed):
            parser.write(chunk)
    except FormParserError as error:
        raise _damaged("its parts are not as its Content-Type and RFC 7578 say") from error
    finally:
        parts.abandon()
    if not parts.ended:
        raise _damaged("it is cut off")
    if not job.entries:
        raise HttpProblem(422, "the list has no images")


class _Parts:
    """What the parser calls: heads into file names, contents into files."""

    def __init__(self, job: ClientJob, store: Store, limits: ServeLimits) -> None:
        self.job, self.store, self.limits = job, store, limits
        self.ended = False
        self._file: BinaryIO | None = None
        self.begin()

    def begin(self) -> None:
        """A part begins."""
        self._head: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""

    def add_to_name(self, data: bytes, start: int, end: int) -> None:
        """A part of the name of a line of the head."""
        self._name += data[start:end]

    def add_to_value(self, data: bytes, start: int, end: int) -> None:
        """A part of its value."""
        self._value += data[start:end]

    def end_header(self) -> None:
        """The line of the head is whole."""
        name = self._name.lower()
        if name in self._head:
            raise _damaged("a part has a line of its head twice")
        self._head[name] = self._value
        self._name, self._value = b"", b""

    def open(self) -> None:
        """The head is whole: an image begins."""
        limit = self.limits.zip_images
        if len(self.job.entries) >= limit:
            raise HttpProblem(
                413,
                f"the list has more than {limit} images: send several",
                limit=("zip_images", limit),
            )
        self._label = self._labelled()
        self._path = self.job.folder / f"{len(self.job.entries)}-source"
        self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115
        self._bytes, self._start = 0, b""

    def write(self, data: bytes, start: int, end: int) -> None:
        """A part of the image."""
        assert self._file
        self._bytes += end - start
        most = self.limits.max_body * MEGABYTE
        if self._bytes > most:
            raise HttpProblem(
                413,
                f"{self._label}: more than {most:,} bytes: send a smaller one",
                limit=("body_bytes", most),
            )
        self.store.take(self.job, end - start)
        if len(self._start) < 4:
            self._start += data[start : min(end, start + 4)]
        self._file.write(memoryview(data)[start:end])

    def close(self) -> None:
        """The image is whole."""
        self.abandon()
        if is_zip(self._start):
            self.store.take(self.job, -self._bytes)
            self._path.unlink()
            problem = HttpProblem(415, "a zip file: send it alone, as the whole body")
            self.job.add_failed(self._label, problem)
        else:
            self.job.add(self._label, self._path)

    def end(self) -> None:
        """The list is whole."""
        self.ended = True

    def abandon(self) -> None:
        """Closes the file that is open, if there is one."""
        if self._file:
            self._file.close()
            self._file = None

    def _labelled(self) -> str:
        """The label of the image that the head announces."""
        kind, options = _options(self._head.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise _damaged("a part has no Content-Disposition: form-data; name=...")
        if (field := options[b"name"]) != _FIELD.encode():
            raise HttpProblem(
                422,
                f"the field {label(_text(field))} is not known: send images as {_FIELD}, and what "
                "else there is in the address, as ?to=DOMAIN",
            )
        if b"filename" not in options:
            raise HttpProblem(
                422, f"a part without a file name: send files, as with curl -F {_FIELD}=@photo.jpg"
            )
        if _options(self._head.get(b"content-type", b""))[0].startswith(b"multipart/"):
            raise HttpProblem(422, f"a list in a list: send each image as an {_FIELD} of its own")
        encoding = self._head.get(b"content-transfer-encoding", b"").decode("latin-1")
        if encoding.strip().lower() not in _PLAIN:
            raise HttpProblem(422, "an encoded part: send the bytes of images as they are")
        return label(_text(options[b"filename"]))


def _boundary(header: str) -> bytes:
    """What separates the parts, as the Content-Type of a request says.

    Raises:
        HttpProblem: it says nothing of it, or too much.
    """
    boundary = parse_options_header(header)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise _damaged(f"its Content-Type has no boundary of 1 to {_LONGEST_BOUNDARY} characters")
    return boundary


def _options(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    return parse_options_header(value.decode("latin-1"))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _damaged(why: str) -> HttpProblem:
    return HttpProblem(422, f"the list of images is damaged: {why}")
