"""Images and files that do not fit into memory at once, streamed one at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from unpaired.config import DomainFacts
from unpaired.directions import source_of, target_of
from unpaired.images.formats import Reading, needs_scene, read_header, read_image, write_image
from unpaired.images.image import Image
from unpaired.images.raster.geo import Window
from unpaired.images.raster.scene import open_scene
from unpaired.translation import memory
from unpaired.translation.sizes import Sizes, finished
from unpaired.translation.streaming.run import Streamer
from unpaired.translation.streaming.scenes import GeoSink, SceneSource
from unpaired.translation.streaming.windows import ImageSink, ImageSource, Sink, Source

__all__ = ["FileToStream", "is_streamed", "stream_file", "stream_image"]


def is_streamed(streamer: Streamer, size: tuple[int, int]) -> bool:
    """Whether an image of `size` is streamed: at once it needs more memory than it may take."""
    options, direction = streamer.options, streamer.network.direction
    needed = memory.need(streamer.recipe, direction, Sizes.of(size, None), network=streamer.host)
    return options.always or (not memory.fits(needed, options.budget))


def stream_image(streamer: Streamer, image: Image, name: str = "the image") -> Image:
    """Translates an image in memory. Raises as `Streamer.run`."""
    before, after = _domains(streamer)
    found: list[NDArray[Any]] = []
    source, sink = ImageSource(image, before), ImageSink(after, image.size, found.append)
    streamer.run(source, sink, name=name, held=2 * image.pixels.nbytes)
    return finished(image, found[0], after)


@dataclass(frozen=True)
class FileToStream:
    """A file, how it is read (`window`: the part of a raster), and the file for its translation."""

    source: Path
    target: Path
    reading: Reading
    window: Window | None = None
    max_pixels: int = 0


def stream_file(streamer: Streamer, file: FileToStream, scratch: Path) -> str:
    """Translates a file; until it is whole, the result is in the folder `scratch`.

    Rasters are read and written in windows, other formats at once, in their samples. With a dry run
    nothing is written; the line that it says is returned.

    Raises:
        ImageError: the file cannot be read, or its format cannot hold the result.
        RunError, TooLarge, ConfigError: as `Streamer.run`.
    """
    with _opened(streamer, file, scratch) as (source, sink, held):
        if streamer.options.dry_run:
            driver, found = streamer.plan(source, sink, held)
            timed = replace(found, seconds=streamer.trial(driver))
            height, width = source.size
            return f"{file.source}: {width} x {height} pixels: {timed.line}"
        streamer.run(source, sink, name=str(file.source), held=held, target=file.target)
    return ""


@contextmanager
def _opened(
    streamer: Streamer, file: FileToStream, scratch: Path
) -> Iterator[tuple[Source, Sink, int]]:
    """The source and the sink of a file, and the bytes of the image that are in memory."""
    before, after = _domains(streamer)
    state = file.source.stat()
    stamp = (
        f"{file.source.resolve()} {state.st_size} {state.st_mtime_ns} {file.reading} {file.window}"
    )
    header = read_header(file.source, replace(file.reading, bands=()), bands=before.bands or None)
    tiff = file.target.suffix.lower() in (".tif", ".tiff")
    if header.is_raster and needs_scene(header) and tiff:
        with open_scene(file.source, file.reading.bands, file.reading.alpha) as scene:
            source = SceneSource(scene, file.window or scene.whole, before, stamp)
            yield source, GeoSink(source, after, file.target, scratch), 0
        return
    image = read_image(
        file.source,
        file.reading,
        max_pixels=file.max_pixels,
        bands=before.bands,
        window=file.window,
    )

    def finish(pixels: NDArray[Any]) -> None:
        write_image(file.target, finished(image, pixels, after), scratch=scratch)

    yield (
        ImageSource(image, before, stamp),
        ImageSink(after, image.size, finish),
        image.pixels.nbytes,
    )


def _domains(streamer: Streamer) -> tuple[DomainFacts, DomainFacts]:
    direction, domains = streamer.network.direction, streamer.recipe.domains
    return domains[source_of(direction)], domains[target_of(direction)]
