"""One image of a fleet, from its file to that of its result: `translate_bytes` and its parts."""

import hashlib
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from unpaired.config import DEFAULT_MAX_PIXELS, MOST_STEPS, require_within
from unpaired.console import log
from unpaired.directions import Direction, source_of, target_of
from unpaired.errors import ConfigError, ImageError, RunError, UnpairedError, reason_of
from unpaired.fleet.manifest import ManifestRow
from unpaired.fleet.shards import Item, output_of
from unpaired.images.formats import SUFFIXES, Reading, read_image, write_image
from unpaired.images.image import Image
from unpaired.storage import open_regular
from unpaired.translation.detail import Detail, require_detail
from unpaired.translation.files import name_too_long, try_writing
from unpaired.translation.fit import Area, Fit
from unpaired.translation.jobs import Job
from unpaired.translation.model import Model
from unpaired.translation.sizes import Sizes
from unpaired.translation.streaming.images import FileToStream, is_streamed, stream_file
from unpaired.translation.streaming.run import Streamer

__all__ = ["Translation", "Under", "translate_bytes"]

_AHEAD_PIXELS = 2**22  # larger images are decoded when it is their turn


@dataclass(frozen=True, eq=False)
class Translation:
    """A model and all that decides its results. Made by `Translation.of`, once for many images.

    `fingerprint` is the SHA-256 of the model's file, `options` what else decides the results, in
    plain data.
    """

    model: Model
    direction: Direction
    reading: Reading
    fingerprint: str
    working_size: int | None = None
    detail: Detail | None = None
    format: str | None = None
    area: Area | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Model,
        *,
        to: str,
        working_size: int | None = None,
        detail: Detail | None = None,
        format: str | None = None,
        alpha: Literal["auto", "mask", "band"] | None = None,
        frames: Literal["reject", "first"] | None = None,
        area: Area | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> Self:
        """Checks the options, which are those of `unpaired translate`, and collects them.

        Raises:
            ConfigError: no such domain or format; a size or a detail that is not possible; a model
                of precision "auto", which each machine would choose for itself.
        """
        require_within("--max-pixels", max_pixels, 0, MOST_STEPS)
        Sizes.of((1, 1), working_size)
        direction = model.direction(to)
        domains = model.config.recipe.domains
        require_detail(detail, domains[source_of(direction)], domains[target_of(direction)])
        written = [suffix[1:] for suffix, kind in SUFFIXES.items() if kind.written]
        if format is not None and format not in written:
            raise ConfigError(f"--format is {format!r}: choose one of {', '.join(written)}")
        if model.streaming.dry_run or model.streaming.save_norm_stats is not None:
            raise ConfigError("--dry-run and --save-norm-stats are not for shards and fleets")
        if getattr(model.translator, "precision", "recipe") == "auto":
            raise ConfigError(
                "precision auto is measured, and machines would differ: give recipe, fp32 or bf16"
            )
        trained = model.reading(direction)
        reading = replace(trained, alpha=alpha or trained.alpha, frames=frames or trained.frames)
        options = {
            "to": target_of(direction),
            "working_size": working_size,
            "detail": detail,
            "format": format,
            "alpha": reading.alpha,
            "frames": reading.frames,
            "area": None if area is None else repr(area),
            "precision": getattr(model.translator, "precision", "recipe"),
            "engine": _engine_of(model),
            "norm_stats": model.streaming.norm_stats,
            "tile": model.streaming.tile,
        }
        return cls(
            model=model, direction=direction, reading=reading, working_size=working_size,
            fingerprint=_sha256(model.path), detail=detail, format=format, area=area,
            max_pixels=max_pixels, options=options,
        )  # fmt: skip

    def require_formats(self, items: Sequence[Item], scratch: Path) -> None:
        """Writes one pixel in each of the formats that the results will have.

        Raises:
            ConfigError: a format that cannot hold them.
            MissingExtra, RunError: as `write_image`.
        """
        jobs = [Job(Path(item.name), Path(item.output)) for item in items]
        known = [job for job in jobs if job.target.suffix.lower() in SUFFIXES]
        try_writing(scratch, known, self.model.blank(self.direction))


def translate_bytes(data: bytes, name: str, translation: Translation) -> tuple[bytes, ManifestRow]:
    """Translates the image file that `data` are the bytes of: what a worker of any engine calls.

    The result is that of `unpaired translate --batch-size 1 --precision recipe`, byte for byte, and
    its name, `row.output`, a function of `name` alone. It writes nothing; an image that cannot be
    translated gives no bytes, and a row with its error: nothing is raised for an image.

    Raises:
        ConfigError, RunError: no image can be translated: a full disk, options that do not fit.
    """
    with tempfile.TemporaryDirectory(prefix="unpaired-") as folder:
        scratch = Path(folder)
        item = Item(name, len(data), output_of(name, translation.format))
        source = scratch / f"source{Path(name).suffix}"
        under = Under(translation, item)
        with under.step():
            source.write_bytes(data)
            under.read(source)
        with under.step():
            under.translate()
        target = scratch / f"target{Path(item.output).suffix}"
        with under.step():
            under.write(target, scratch, sync=False)
        if not under.error:
            return target.read_bytes(), under.row()
        return b"", under.row()


@dataclass(eq=False)
class Under:
    """An image under translation, from step to step; the first that fails leaves its `error`."""

    translation: Translation
    item: Item
    error: str = ""
    seconds: float = 0.0
    source: Path = Path()
    found: Fit | None = None
    streamer: Streamer | None = None
    """What streams the image, if it has to be."""
    image: Image | None = None
    sha256_in: str = ""
    sha256_out: str = ""
    size_in: int = 0
    size_out: int = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Runs a step: its time counts, and what fails for this image alone becomes its error.

        A decoder may raise anything for a damaged file, so any exception is the image's, but those
        that say that no image can be translated.
        """
        began = time.perf_counter()
        try:
            yield
        except (ConfigError, RunError) as error:
            if not name_too_long(error):
                raise
            self._fail(error)
        except Exception as error:
            if not isinstance(error, UnpairedError):
                log.debug("%s: %r", self.item.name, error)
            self._fail(error)
        finally:
            self.seconds += time.perf_counter() - began

    def read(self, source: Path) -> None:
        """Reads the file `source`, decoded at once if it is small. Raises as `Model.check_file`."""
        self.source = source
        asked = self.translation
        self.sha256_in, self.size_in = _sha256(source), source.stat().st_size
        self.found = asked.model.check_file(
            source, asked.direction, asked.working_size, asked.reading, asked.area, asked.detail
        )
        size = self.found.header.height, self.found.header.width
        streamer = asked.model.streamer(asked.direction, asked.working_size, asked.detail)
        if streamer is not None and is_streamed(streamer, size):
            self.streamer = streamer
        elif math.prod(size) <= _AHEAD_PIXELS:
            self._decode()

    def translate(self) -> None:
        """Translates the image, unless it is streamed when it is written."""
        if self.error or self.found is None or self.streamer:
            return
        if self.image is None:
            self._decode()
        assert self.image is not None
        asked = self.translation
        (self.image,) = asked.model.translate_many(
            [self.image],
            asked.direction,
            working_size=asked.working_size,
            detail=asked.detail,
            batch_size=1,
        )

    def write(self, target: Path, scratch: Path, *, sync: bool) -> None:
        """Writes the result to `target`; until it is whole, it is in `scratch`."""
        if self.error or self.found is None:
            return
        if target.suffix.lower() not in SUFFIXES:
            raise ImageError(f"no format is known by {target.suffix!r}: choose one with --format")
        if self.streamer:
            asked = self.translation
            file = FileToStream(
                self.source, target, self.found.reading, self.found.window, asked.max_pixels
            )
            stream_file(self.streamer, file, scratch)
        elif self.image is not None:
            write_image(target, self.image, scratch=scratch, sync=sync)
        self.image = None
        self.sha256_out, self.size_out = _sha256(target), target.stat().st_size

    def row(self) -> ManifestRow:
        """The row of the manifest."""
        asked, done = self.translation, not self.error
        return ManifestRow(
            name=self.item.name,
            output=self.item.output if done else "",
            status="done" if done else "failed",
            error=self.error,
            sha256_in=self.sha256_in,
            sha256_out=self.sha256_out if done else "",
            size_in=self.size_in,
            size_out=self.size_out if done else 0,
            model=asked.fingerprint,
            seconds=round(self.seconds, 6),
            finished=round(time.time(), 3),
        )

    def _decode(self) -> None:
        asked, found = self.translation, self.found
        assert found is not None
        self.image = read_image(
            self.source,
            reading=found.reading,
            max_pixels=asked.max_pixels,
            bands=asked.model.config.recipe.domains[source_of(asked.direction)].bands,
            window=found.window,
        )

    def _fail(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, UnpairedError) else reason_of(error)
        for known in (str(self.source), self.item.name):
            reason = reason.removeprefix(f"{known}: ")
        reason = reason.replace(str(self.source), self.item.name) if self.source.name else reason
        if not isinstance(error, UnpairedError | OSError):
            reason = f"unexpected: {type(error).__name__}: {reason}"
        self.error = self.error or reason


def _engine_of(model: Model) -> str:
    """What executes the networks: torch, jax, onnxruntime or openvino."""
    networks: Any = getattr(model.translator, "translator", model.translator)
    signature = getattr(networks, "signature", None)
    return str(signature()).split()[0] if signature else type(networks).__name__


def _sha256(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise ImageError(f"{path}: {reason_of(error)}") from error
