"""Translates files and whole folders in three stages that work at the same time.

While the network translates one group of images, threads decode the next and write the last
(Pillow releases the interpreter's lock), so memory stays the same however many there are. One bad
image, or one bad name, does not stop the others; a full disk stops all.
"""

import errno
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from unpaired.config import DEFAULT_MAX_PIXELS, MOST_IMAGES, MOST_STEPS, require_within
from unpaired.console import counted, log, progress
from unpaired.directions import Direction, source_of, target_of
from unpaired.errors import ConfigError, ImageError, RunError, UnpairedError, shown
from unpaired.images.formats import SUFFIXES, Reading, needs_scene, read_image, write_image
from unpaired.images.image import Image
from unpaired.translation.detail import Detail, require_detail
from unpaired.translation.fit import Area, Fit
from unpaired.translation.jobs import Failure, Job, plan
from unpaired.translation.model import Model
from unpaired.translation.scratch import scratch_folder
from unpaired.translation.sizes import Sizes
from unpaired.translation.streaming.images import FileToStream, is_streamed, stream_file

__all__ = ["Summary", "name_too_long", "translate_files", "try_writing"]

_THREADS = 4
_GROUP_PIXELS = 2**20  # a larger image comes alone: an interrupt loses a whole group
_WAITED, _LONG = 0.1, 10.0  # a share of the time, and seconds, from which waiting is told


@dataclass
class Summary:
    """The files that were written, and the inputs that failed with their reasons."""

    done: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)
    """Of a dry run, what each input would take."""


def translate_files(
    model: Model,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    to: str,
    working_size: int | None = None,
    detail: Detail | None = None,
    format: str | None = None,
    overwrite: bool = False,
    batch_size: int = 8,
    reading: Reading | None = None,
    area: Area | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Summary:
    """Translates files, folders and patterns of names into the folder `out`.

    Names, relative paths and file formats are kept, the formats unless `format` ("png", "jpg",
    "webp", "tiff", "bmp", "avif", "jp2") is given; GIF and PNM become PNG. See `jobs.plan` for what
    is found and what is rejected. Nothing is written outside `out`, and every file appears whole or
    not at all, also when interrupted or killed; what a killed translation left half written is
    removed by the next into the same `out`.
    An existing file is replaced only with `overwrite`; without it, its image fails.

    `to`, `working_size` and `detail` are as for `Model.translate`; up to `batch_size`
    images of one size are translated at once. The files are read as `reading` says, or as those of
    the training; of rasters, with `area`, that part.

    Raises:
        ConfigError: no such domain or format, a working size under 8, detail to keep where bands
            differ, or a file format that cannot hold the results.
        DataError: no image among the inputs, or targets that collide; nothing was written.
        MissingExtra: writing the results needs rasterio, and it is not installed.
        RunError: the system does not let it write (full disk, no permission); files that are
            written stay. A name that is too long for the file system fails its image alone.
    """
    require_within("--batch-size", batch_size, 1, MOST_IMAGES)
    require_within("--max-pixels", max_pixels, 0, MOST_STEPS)
    Sizes.of((1, 1), working_size)  # rejects a working size before any work
    direction = model.direction(to)
    domains = model.config.recipe.domains
    require_detail(detail, domains[source_of(direction)], domains[target_of(direction)])
    if model.streaming.always and model.streamer(direction, working_size, detail) is None:
        raise ConfigError(
            "--norm-stats, --save-norm-stats, --tile and --dry-run are for images streamed at "
            "their own size by an engine: not with --working-size, --detail or an ONNX runtime"
        )
    jobs, failed = plan(inputs, Path(out), format=format, overwrite=overwrite)
    if model.streaming.save_norm_stats is not None and len(jobs) != 1:
        raise ConfigError(f"--save-norm-stats is for one image, and {len(jobs):,} are given")
    with scratch_folder(Path(out), (job.target for job in jobs)) as scratch:
        try_writing(scratch, jobs, model.blank(direction))
        reading = reading or model.reading(direction)
        summary = Summary(failed=failed)
        stages = _Stages(model, direction, working_size, detail, reading, scratch, summary, area)
        _translate(stages, jobs, batch_size, max_pixels)
    if stages.unplaced:
        log.warning(
            f"{counted(len(stages.unplaced), 'image')} had georeferencing (CRS, transform, nodata, "
            "tags of GDAL) that is not in the output: to copy it, run `rio edit-info --like INPUT "
            "--all OUTPUT` for each"
        )
    for line, paths in stages.warnings.items():
        first = shown(paths[0]) + (f" and {len(paths) - 1:,} more" if len(paths) > 1 else "")
        log.warning(f"{first}: {line}")
    return stages.summary


def _translate(stages: "_Stages", jobs: Sequence[Job], batch_size: int, max_pixels: int) -> None:
    """Runs the three stages until all of `jobs` are done or have failed."""
    done, failed = stages.summary.done, stages.summary.failed
    decoding: list[tuple[Job, Future[Image]]] = []
    writing: list[tuple[Job, Future[None]]] = []
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="images")
    read = partial(stages.read, max_pixels=max_pixels)
    write = partial(write_image, scratch=stages.scratch)
    began = time.perf_counter()
    try:
        with progress("images", len(jobs) + len(failed), first=len(failed)) as shown:
            # Two more rounds at the end, for the groups that are still being processed.
            for group in chain(stages.groups(jobs, batch_size, max_pixels), ([], [])):
                upcoming = [(job, pool.submit(read, job)) for job in group]
                translated = stages.translate(decoding)
                stages.finish(writing)
                writing = [
                    (job, pool.submit(write, job.target, image)) for job, image in translated
                ]
                decoding = upcoming
                if done:  # before the first, nothing is known about the rate
                    shown.update(len(done) + len(failed))
    finally:
        for _, waiting in decoding:
            waiting.cancel()
        pool.shutdown()  # files that are being written are finished
    _tell_waiting(stages.seconds, time.perf_counter() - began)


def _tell_waiting(seconds: Mapping[str, float], total: float) -> None:
    """Says how busy the network was, and what it waited for, of `total` seconds."""
    if not seconds:
        return
    shares = {name: each / total for name, each in seconds.items()}
    network = shares.pop("the network", 0.0)
    waited = [f"{share:.0%} for {name}" for name, share in shares.items()]
    line = f"the network was busy {network:.0%} of the time and waited {' and '.join(waited)}"
    much = total >= _LONG and max(shares.values(), default=0.0) > _WAITED
    log.log(logging.INFO if much else logging.DEBUG, line)


@dataclass(frozen=True)
class _Stages:
    """The stages of an image; one that fails goes into `summary`, and the others continue."""

    model: Model
    direction: Direction
    working_size: int | None
    detail: Detail | None
    reading: Reading
    scratch: Path
    summary: Summary
    area: Area | None = None
    fits: dict[Path, Fit] = field(default_factory=dict)
    """How the files of the next groups are read."""
    warnings: dict[str, list[Path]] = field(default_factory=dict)
    """What files have other than the training, and which."""
    unplaced: set[Path] = field(default_factory=set)
    """Sources whose georeferencing is not in the output."""
    seconds: dict[str, float] = field(default_factory=dict)
    """The time that passed in the network, and in waiting for the others."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time that passes inside to `seconds`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + passed

    def groups(self, jobs: Sequence[Job], batch_size: int, max_pixels: int) -> Iterator[list[Job]]:
        """The images that can be translated by what their headers say, a few at a time.

        Those that do not fit into memory at once are streamed, one by one, when it is their turn.
        """
        group: list[Job] = []
        pixels = 0
        for job in jobs:
            try:
                found = self.model.check_file(
                    job.source,
                    self.direction,
                    self.working_size,
                    self.reading,
                    self.area,
                    self.detail,
                )
            except ImageError as error:
                self._fail(job, error)
                continue
            header = found.header
            kept = SUFFIXES[job.target.suffix.lower()].driver == "GTiff" and needs_scene(header)
            if header.georeferenced and not (header.is_raster and kept):
                self.unplaced.add(job.source)
            for line in found.warnings:
                self.warnings.setdefault(line, []).append(job.source)
            if self._streamed(job, found, max_pixels):
                continue
            self.fits[job.source] = found
            pixels += header.width * header.height
            if group and (len(group) == batch_size or pixels > _GROUP_PIXELS):
                yield group
                group, pixels = [], header.width * header.height
            group.append(job)
        yield group

    def _streamed(self, job: Job, found: Fit, max_pixels: int) -> bool:
        """Streams an image that has to be; whether it was one."""
        streamer = self.model.streamer(self.direction, self.working_size, self.detail)
        size = found.header.height, found.header.width
        if streamer is None or not is_streamed(streamer, size):
            return False
        file = FileToStream(job.source, job.target, found.reading, found.window, max_pixels)
        try:
            if line := stream_file(streamer, file, self.scratch):
                self.summary.planned.append(line)
            else:
                self.summary.done.append(job.target)
        except UnpairedError as error:
            every = isinstance(error, ConfigError | RunError) and not name_too_long(error)
            if every:
                raise
            self._fail(job, error)
        return True

    def read(self, job: Job, *, max_pixels: int) -> Image:
        """Reads the image of a job of `groups`."""
        found = self.fits.pop(job.source)
        bands = self.model.config.recipe.domains[source_of(self.direction)].bands
        return read_image(
            job.source,
            reading=found.reading,
            max_pixels=max_pixels,
            bands=bands,
            window=found.window,
        )

    def translate(self, decoding: Sequence[tuple[Job, Future[Image]]]) -> list[tuple[Job, Image]]:
        """Translates the images that could be decoded."""
        decoded: list[tuple[Job, Image]] = []
        for job, decoding_image in decoding:
            try:
                with self.timed("decoding"):
                    decoded.append((job, decoding_image.result()))
            except UnpairedError as error:
                self._fail(job, error)
        try:
            return self._translate(decoded)
        except ImageError:
            translated: list[tuple[Job, Image]] = []
            for job, image in decoded:  # again one by one, to find which it is
                try:
                    translated += self._translate([(job, image)])
                except ImageError as error:
                    self._fail(job, error)
            return translated

    def _translate(self, decoded: Sequence[tuple[Job, Image]]) -> list[tuple[Job, Image]]:
        with self.timed("the network"):
            images = self.model.translate_many(
                [image for _, image in decoded],
                self.direction,
                working_size=self.working_size,
                detail=self.detail,
                batch_size=max(len(decoded), 1),
            )
        return [(job, image) for (job, _), image in zip(decoded, images, strict=True)]

    def finish(self, writing: Sequence[tuple[Job, Future[None]]]) -> None:
        """Waits for the files being written.

        Raises:
            RunError: the system does not let it write, and no other image either.
        """
        for job, written in writing:
            try:
                with self.timed("encoding"):
                    written.result()
                self.summary.done.append(job.target)
            except UnpairedError as error:
                if isinstance(error, RunError) and not name_too_long(error):
                    raise
                self._fail(job, error)

    def _fail(self, job: Job, error: UnpairedError) -> None:
        reason = str(error)
        for known in (job.source, job.target):
            reason = reason.removeprefix(f"{known}: ")
        self.summary.failed.append((job.source, reason))
        self.unplaced.discard(job.source)


def name_too_long(error: UnpairedError) -> bool:
    """Whether the system rejects a file for its long name, which others need not have."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG


def try_writing(scratch: Path, jobs: Sequence[Job], pixel: Image) -> None:
    """Writes one pixel of the kind of the results, in each of the formats needed.

    It finds a format that cannot hold them, a missing package, a full disk or a folder without
    write permission before the work and not after it.
    """
    for suffix in {job.target.suffix.lower(): job for job in jobs}:
        trial = scratch / f"pixel{suffix}"
        try:
            write_image(trial, pixel)
        except ImageError as error:
            raise ConfigError(
                f"a {suffix} file cannot hold the results, which have {pixel.bands} bands of "
                f"{pixel.depth} bits: ask for --format tiff"
            ) from error
        trial.unlink()
