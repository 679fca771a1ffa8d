"""What became of each image: one row an input, as JSON lines. The last row of a name counts."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, BinaryIO, Literal

from unpaired.errors import RunError
from unpaired.fleet.places import LocalPlace, Place
from unpaired.storage import exclusive, explain_os_error

__all__ = ["Manifest", "ManifestRow", "latest", "missing", "open_manifest", "rows_of"]

_PUT_EVERY = 30.0  # seconds between two PUTs of a manifest in an object store, at least
_PUT_SHARE = 20  # a PUT may take one in so many seconds: of a long manifest it takes a while


@dataclass(frozen=True)
class ManifestRow:
    """What became of an input.

    Attributes:
        name: of the input, relative to the source.
        output: the name of its result, relative to the destination; empty if it failed.
        status: whether it was translated.
        error: the reason why it failed, in one line.
        sha256_in, sha256_out: of the two files, in hexadecimal.
        size_in, size_out: their bytes.
        model: the SHA-256 of the model's file.
        seconds: what reading, translating and writing it took.
        finished: when, in seconds since 1970.
    """

    name: str
    output: str
    status: Literal["done", "failed"]
    error: str
    sha256_in: str
    sha256_out: str
    size_in: int
    size_out: int
    model: str
    seconds: float
    finished: float


_TYPES: Mapping[str, type] = {
    item.name: item.type if isinstance(item.type, type) else str for item in fields(ManifestRow)
}


def rows_of(tables: Iterable[Mapping[str, Any]]) -> Iterator[ManifestRow]:
    """The rows that plain data hold; what is none is omitted: a killed writer leaves half a line.

    >>> [row.name for row in rows_of([{"name": "half"}])]
    []
    """
    for table in tables:
        values = {name: table.get(name) for name in _TYPES}
        whole = all(
            isinstance(values[name], (int, float) if kind is float else kind)
            for name, kind in _TYPES.items()
        )
        if whole and values["status"] in ("done", "failed"):
            yield ManifestRow(**values)  # type: ignore[arg-type]


def latest(rows: Iterable[ManifestRow]) -> dict[str, ManifestRow]:
    """One row a name: one that is done rather than one that failed, else the latest."""
    best: dict[str, ManifestRow] = {}
    for row in rows:
        other = best.get(row.name)
        rank = row.status == "done", row.finished
        if other is None or rank >= (other.status == "done", other.finished):
            best[row.name] = row
    return best


def missing(row: ManifestRow | None, size_in: int | None, size_out: int | None, model: str) -> bool:
    """Whether an input is still to be translated.

    `size_in` and `size_out` are the bytes that the input and its result have now (None: not known,
    for a result: there is none).
    """
    if row is None or row.status != "done" or row.model != model:
        return True
    return row.size_out != size_out or size_in not in (None, row.size_in)


@dataclass(eq=False)
class Manifest:
    """An open manifest: rows that are added are kept, also when the process is killed.

    In a folder each row is appended at once; in an object store the whole is stored again from time
    to time, so a kill loses the rows of the last half minute, and their images are done again.
    """

    place: Place
    name: str
    rows: dict[str, ManifestRow]
    _file: BinaryIO | None = field(default=None, repr=False)
    _lines: list[bytes] = field(default_factory=list, repr=False)
    _next: float = field(default_factory=lambda: time.monotonic() + _PUT_EVERY, repr=False)

    def __str__(self) -> str:
        return f"{self.place}/{self.name}"

    def add(self, row: ManifestRow) -> None:
        """Adds a row.

        Raises:
            RunError: it cannot be written.
        """
        self.rows[row.name] = row
        line = _line(row)
        if self._file is not None:
            try:
                self._file.write(line)
                self._file.flush()
            except OSError as error:
                assert isinstance(self.place, LocalPlace)
                raise explain_os_error(error, self.place.root / self.name) from error
            return
        self._lines.append(line)
        if (began := time.monotonic()) >= self._next:
            self.place.write(self.name, b"".join(self._lines))
            took = time.monotonic() - began
            self._next = time.monotonic() + max(_PUT_EVERY, _PUT_SHARE * took)

    def settle(self) -> None:
        """Writes it with one row a name, sorted.

        Raises:
            RunError: it cannot be written.
        """
        self.place.write(self.name, b"".join(_line(self.rows[name]) for name in sorted(self.rows)))


@contextmanager
def open_manifest(place: Place, name: str) -> Iterator[Manifest]:
    """Opens a manifest for one process alone; at the end it has one row a name, sorted.

    Raises:
        RunError: another process has it, or it cannot be read or written.
    """
    if isinstance(place, LocalPlace):
        with exclusive(place.root, name):
            manifest = _read(place, name)
            path = place.root / name
            try:
                file = open(path, "ab")  # noqa: SIM115
            except OSError as error:
                raise explain_os_error(error, path) from error
            with file:
                if file.tell() and not path.read_bytes().endswith(b"\n"):
                    file.write(b"\n")  # of a killed writer
                manifest._file = file
                yield manifest
            manifest.settle()
        return
    manifest = _read(place, name)
    try:
        yield manifest
    finally:
        manifest.settle()


def _read(place: Place, name: str) -> Manifest:
    content = place.read(name) or b""
    tables = []
    for line in content.split(b"\n"):
        try:
            table = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(table, dict):
            tables.append(table)
    rows: dict[str, ManifestRow] = {}
    for row in rows_of(tables):
        rows[row.name] = row
    if content.strip() and not rows:
        raise RunError(f"{place}/{name} is no manifest: choose another --manifest")
    manifest = Manifest(place, name, rows)
    if not isinstance(place, LocalPlace):
        manifest._lines = [_line(row) for row in rows.values()]
    return manifest


def _line(row: ManifestRow) -> bytes:
    return json.dumps(asdict(row)).encode() + b"\n"
