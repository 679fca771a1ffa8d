"""Translates files and whole folders in three stages that work at the same time.

While the network translates one handful of images, the next is decoded and the last one written
by threads (Pillow works outside the interpreter's lock), so memory stays the same however many
there are. One bad image, or one bad name, does not stop the others; a full disk stops all.
"""

import errno
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from unpaired.directions import Direction
from unpaired.errors import ConfigError, ImageError, RunError, UnpairedError
from unpaired.images.image import (
    DEFAULT_MAX_PIXELS,
    Image,
    from_signed,
    read_header,
    read_image,
    write_image,
)
from unpaired.storage import explain_os_error
from unpaired.translation.jobs import Failure, Job, plan
from unpaired.translation.model import Model
from unpaired.translation.sizes import require_working_size

__all__ = ["Summary", "translate_files"]

_THREADS = 4
_HANDFUL_PIXELS = 2**20  # a larger image comes alone: all of a handful is lost if interrupted


@dataclass
class Summary:
    """What became of the inputs: the files written, and the failures with their reasons."""

    done: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def translate_files(
    model: Model,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    to: str,
    working_size: int | None = None,
    format: str | None = None,
    overwrite: bool = False,
    batch_size: int = 8,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Translates files, folders and patterns of names into the folder `out`.

    Names, relative paths and file formats are kept, the formats unless `format` ("png", "jpg",
    "webp", "tiff", "bmp") is given; see `jobs.plan` for what is found and what is refused. Nothing
    is written outside `out`, and every file appears whole or not at all, also when interrupted.
    An existing file is replaced only with `overwrite`; without it, its image fails.

    `to` and `working_size` are as for `Model.translate`; up to `batch_size` images of one size
    are translated at once. `progress` is told (finished, total) after every handful.

    Raises:
        ConfigError: no such domain or format, a working size under 8, or a file format that
            cannot hold the results.
        DataError: no image among the inputs, or targets that collide; nothing was written.
        MissingExtra: the results need rasterio to be written, and it is not installed.
        RunError: the system refuses to write (full disk, no permission); what is written stays.
            A name that is too long for the file system fails its image alone.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size is {batch_size}: it must be at least 1")
    require_working_size(working_size)
    direction = model.direction(to)
    jobs, failed = plan(inputs, Path(out), format=format, overwrite=overwrite)
    total = len(jobs) + len(failed)
    _try_writing(Path(out), jobs, *model.result_kind(direction))
    stages = _Stages(model, direction, working_size, max_pixels, Summary(failed=failed))
    decoding: list[tuple[Job, Future[Image]]] = []
    writing: list[tuple[Job, Future[None]]] = []
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="images")
    try:
        # Two more rounds at the end, for what is still on its way.
        for handful in chain(stages.handfuls(jobs, batch_size), ([], [])):
            upcoming = [(job, pool.submit(stages.decode, job)) for job in handful]
            translated = stages.translate(decoding)
            stages.finish(writing)
            writing = [
                (job, pool.submit(write_image, job.target, image)) for job, image in translated
            ]
            decoding = upcoming
            if progress:
                progress(len(stages.summary.done) + len(stages.summary.failed), total)
    finally:
        for _, waiting in decoding:
            waiting.cancel()
        pool.shutdown()  # what is being written is written whole
    return stages.summary


@dataclass(frozen=True)
class _Stages:
    """What an image goes through; where it fails, `summary` is told and the others go on."""

    model: Model
    direction: Direction
    working_size: int | None
    max_pixels: int
    summary: Summary

    def handfuls(self, jobs: Sequence[Job], batch_size: int) -> Iterator[list[Job]]:
        """The images that can be translated by what their headers say, a few at a time."""
        handful: list[Job] = []
        pixels = 0
        for job in jobs:
            try:
                header = read_header(job.source)
                self.model.check(
                    self.direction,
                    (header.height, header.width),
                    header.bands,
                    working_size=self.working_size,
                    name=str(job.source),
                )
            except ImageError as error:
                self._fail(job, error)
                continue
            pixels += header.width * header.height
            if handful and (len(handful) == batch_size or pixels > _HANDFUL_PIXELS):
                yield handful
                handful, pixels = [], header.width * header.height
            handful.append(job)
        yield handful

    def decode(self, job: Job) -> Image:
        """Called in a thread."""
        return read_image(job.source, max_pixels=self.max_pixels)

    def translate(self, decoding: Sequence[tuple[Job, Future[Image]]]) -> list[tuple[Job, Image]]:
        """The translations of all that decode well."""
        decoded: list[tuple[Job, Image]] = []
        for job, decoding_image in decoding:
            try:
                decoded.append((job, decoding_image.result()))
            except UnpairedError as error:
                self._fail(job, error)
        try:
            return self._translate(decoded)
        except ImageError:
            translated: list[tuple[Job, Image]] = []
            for job, image in decoded:  # again one by one, to tell which it is
                try:
                    translated += self._translate([(job, image)])
                except ImageError as error:
                    self._fail(job, error)
            return translated

    def _translate(self, decoded: Sequence[tuple[Job, Image]]) -> list[tuple[Job, Image]]:
        images = self.model.translate_many(
            [image for _, image in decoded],
            self.direction,
            working_size=self.working_size,
            batch_size=max(len(decoded), 1),
        )
        return [(job, image) for (job, _), image in zip(decoded, images, strict=True)]

    def finish(self, writing: Sequence[tuple[Job, Future[None]]]) -> None:
        """Waits for the files being written.

        Raises:
            RunError: the system refuses to write, and no other image would fare better.
        """
        for job, written in writing:
            try:
                written.result()
                self.summary.done.append(job.target)
            except UnpairedError as error:
                if isinstance(error, RunError) and not _of_its_name(error):
                    raise
                self._fail(job, error)

    def _fail(self, job: Job, error: UnpairedError) -> None:
        reason = str(error)
        for known in (job.source, job.target):
            reason = reason.removeprefix(f"{known}: ")
        self.summary.failed.append((job.source, reason))


def _of_its_name(error: RunError) -> bool:
    """Whether the system refuses a file for its long name, which others need not have."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG


def _try_writing(out: Path, jobs: Sequence[Job], bands: int, depth: Literal[8, 16]) -> None:
    """Writes one pixel of the kind of the results to `out`, in each of the formats needed.

    So a format that cannot hold them, a missing package, a full disk or a folder that may not be
    written are known before the work and not after it.
    """
    pixel = Image(from_signed(np.zeros((1, 1, bands)), depth))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=out) as trial:
            for suffix in {job.target.suffix.lower(): job for job in jobs}:
                try:
                    write_image(Path(trial, f"pixel{suffix}"), pixel)
                except ImageError as error:
                    raise ConfigError(
                        f"a {suffix} file cannot hold the results, which have {bands} bands of "
                        f"{depth} bits: ask for --format tiff"
                    ) from error
    except OSError as error:
        raise explain_os_error(error, out) from error
