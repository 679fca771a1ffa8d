"""The arrays that a stage leaves to the next: in memory, or in files read and written in pieces.

Files are not mapped: mapped pages would count as memory of the process. Rows are stored in a ring:
a stage that replaces an array by another writes it a little before the place it reads from, so
that no second array is needed, and a piece that is written again after a kill finds its input
unharmed.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unpaired.engines.tiles import Region, Span
from unpaired.errors import RunError
from unpaired.storage import explain_os_error

__all__ = ["ScratchArray"]


class ScratchArray:
    """An array (rows, columns, channels), read and written by regions.

    `folder` is where its file is, or None for memory; `spare` rows are added for `shift`.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        dtype: DTypeLike,
        folder: Path | None,
        *,
        spare: int = 0,
    ) -> None:
        self.name, self.shape, self.folder = name, shape, folder
        self.slots = shape[0] + spare
        self.origin = self.written_origin = 0
        self.memory: NDArray[Any] | None = None
        self.handle: int | None = None
        self.path: Path | None = None
        self._open(np.dtype(dtype))

    @staticmethod
    def bytes_of(shape: tuple[int, int, int], dtype: DTypeLike, spare: int = 0) -> int:
        """The bytes that such an array takes."""
        return (shape[0] + spare) * shape[1] * shape[2] * np.dtype(dtype).itemsize

    def shift(self, rows: int) -> None:
        """From now on writes go `rows` rows before the place that is read; see `settle`."""
        self.written_origin = (self.origin - rows) % self.slots

    def settle(self) -> None:
        """What was written is read from now on."""
        self.origin = self.written_origin

    def read(self, region: Region) -> NDArray[Any]:
        """Reads (height, width, channels); what was never written is 0."""
        result = np.empty((*region.shape, self.shape[2]), self.dtype)
        for at, slot in self._runs(region, self.origin):
            part = result[at[0] : at[1]]
            if self.memory is not None:
                part[:] = self.memory[slot : slot + len(part), slice(*region.columns)]
            else:
                self._transfer(part, slot, region.columns, os.preadv)
        return result

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Writes (height, width, channels).

        Raises:
            RunError: the system does not let it write.
        """
        values = np.ascontiguousarray(values, self.dtype)
        for at, slot in self._runs(region, self.written_origin):
            part = values[at[0] : at[1]]
            if self.memory is not None:
                self.memory[slot : slot + len(part), slice(*region.columns)] = part
            else:
                self._transfer(part, slot, region.columns, os.pwritev)

    def widen(self) -> Callable[[], None]:
        """Replaces half precision by single precision, what is stored included.

        The old file is removed by the function that is returned.
        """
        narrow, handle, path = self.memory, self.handle, self.path
        self._open(np.dtype(np.float32))
        row = self.shape[1] * self.shape[2]
        for slot in range(0, self.slots, 64):
            rows = min(64, self.slots - slot)
            if narrow is not None and self.memory is not None:
                self.memory[slot : slot + rows] = narrow[slot : slot + rows]
            elif handle is not None:
                part = np.empty((rows, self.shape[1], self.shape[2]), np.float16)
                _whole(part, handle, slot * row * part.itemsize, os.preadv, self.name)
                self._transfer(part.astype(np.float32), slot, (0, self.shape[1]), os.pwritev)

        def remove() -> None:
            if handle is not None and path is not None:
                os.close(handle)
                path.unlink()

        return remove

    def close(self) -> None:
        """Closes the file, which stays, or frees the memory."""
        self.memory = None
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    def remove(self) -> None:
        """Closes and removes it."""
        self.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _open(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.memory, self.handle, self.path = None, None, None
        if self.folder is None:
            self.memory = np.zeros((self.slots, *self.shape[1:]), dtype)
            return
        self.path = self.folder / f"{self.name}.{dtype.name}"
        size = self.slots * self.shape[1] * self.shape[2] * dtype.itemsize
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            self.handle = os.open(self.path, flags, 0o666)
            if os.fstat(self.handle).st_size != size:
                os.ftruncate(self.handle, 0)
                if hasattr(os, "posix_fallocate"):  # a full disk is found now and not later
                    os.posix_fallocate(self.handle, 0, size)
                else:
                    os.ftruncate(self.handle, size)
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def _runs(self, region: Region, origin: int) -> Iterator[tuple[Span, int]]:
        """Rows of a region that are stored one after another: their span in it, the first slot."""
        height = region.shape[0]
        slot = (origin + region.rows[0]) % self.slots
        first = min(height, self.slots - slot)
        yield (0, first), slot
        if first < height:
            yield (first, height), 0

    def _transfer(self, part: NDArray[Any], slot: int, columns: Span, call: Any) -> None:
        assert self.handle is not None
        each = self.shape[2] * self.dtype.itemsize
        row = self.shape[1] * each
        place = slot * row + columns[0] * each
        if columns == (0, self.shape[1]):
            _whole(part, self.handle, place, call, self.name)
            return
        for index, line in enumerate(part):
            _whole(line, self.handle, place + index * row, call, self.name)


def _whole(part: NDArray[Any], handle: int, place: int, call: Any, name: str) -> None:
    """Reads or writes all of a contiguous array; the system may take several calls."""
    view = memoryview(part.view(np.uint8)).cast("B")  # type: ignore[arg-type]
    while view:
        try:
            done = call(handle, [view], place)
        except OSError as error:
            raise explain_os_error(error, Path(f"scratch of {name}")) from error
        if not done:
            raise RunError(f"the scratch file of {name} is shorter than it was: start again")
        view, place = view[done:], place + done
