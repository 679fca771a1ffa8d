"""Streams an image with a trained generator, as the options ask for it."""

import hashlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree

import numpy as np

from unpaired.config import Recipe
from unpaired.console import log
from unpaired.engines.tiles import TileInput
from unpaired.storage import exclusive, open_regular
from unpaired.translation.streaming.driver import Driver, Network
from unpaired.translation.streaming.moments import Statistics, load_statistics, save_statistics
from unpaired.translation.streaming.options import Estimate, Streaming, estimate, tile_bytes
from unpaired.translation.streaming.sample import TILES, sampled_statistics
from unpaired.translation.streaming.stages import Grid, padded, plan_stage, reach
from unpaired.translation.streaming.windows import Sink, Source

__all__ = ["Streamer"]

_CELL = 1024  # pixels: the least side of a square with statistics of its own
_PREFIX = ".streaming-"


@dataclass(frozen=True)
class Streamer:
    """A generator and how it streams.

    Attributes:
        network: the generator.
        recipe: that of its model.
        options: what is asked for.
        weights: the file of its model.
        host: whether networks take the machine's own memory.
    """

    network: Network
    recipe: Recipe
    options: Streaming
    weights: Path
    host: bool

    @property
    def key(self) -> str:
        """What tells the generator from others: a hash of its file, and its direction."""
        return f"{_hash_of(self.weights)} {self.network.direction}"

    def run(
        self, source: Source, sink: Sink, *, name: str, held: int = 0, target: Path | None = None
    ) -> None:
        """Streams one image.

        Args:
            source: the image.
            sink: where its translation goes.
            name: of the image, for messages.
            held: bytes of it and of its translation that are in memory anyway.
            target: the file that the sink writes: scratch files are in its folder, and a killed
                translation resumes. None: they are temporary.

        Raises:
            ConfigError: a file of statistics that is none, or of another generator.
            ImageError: it cannot be read, or the networks give NaN or infinity.
            TooLarge: the memory does not suffice for the smallest tiles, or that of the device.
            RunError: the system does not let it write.
        """
        driver, found = self.plan(source, sink, held)
        height, width = source.size
        log.info("%s: %d x %d pixels are streamed: %s", name, width, height, found.line)
        with self._folder(found, target) as folder:
            kind, side, layers = self.options.norm_stats, found.side, self.network.layers
            driver.folder = folder
            driver.fingerprint = f"{self.key} {kind} {side}"
            if kind == "sampled" and self.network.normed:
                crop = tile_bytes(self.recipe, side, 2 * reach(layers))
                count = min(max(int(self.options.budget / 2 / crop), 1), TILES)
                driver.statistics = sampled_statistics(self.network, source, side, count)
            statistics = driver.run()
        if self.options.save_norm_stats is not None:
            path = self.options.save_norm_stats
            save_statistics(path, statistics, layers, self.key)

    def plan(self, source: Source, sink: Sink, held: int = 0) -> tuple[Driver, Estimate]:
        """Prepares a translation, and estimates what it takes. Raises as `run`."""
        size, kind = padded(source.size), self.options.norm_stats
        dtype = np.float64 if self.recipe.settled_precision == "fp64" else np.float16
        each = sink.bands * np.dtype(sink.dtype).itemsize

        def driver(side: int) -> Driver:
            return Driver(self.network, source, sink, side, dtype=dtype, alone=kind == "tile")

        def guess(passes: int) -> Estimate:
            return estimate(
                self.recipe,
                self.network.layers,
                size,
                self.options,
                passes=passes,
                itemsize=np.dtype(dtype).itemsize,
                result=each,
                masked=source.masked,
                held=held,
                host=self.host,
            )

        found = guess(2 if self.network.normed and kind != "tile" else 1)
        planned = driver(found.side)
        if kind == "dense":
            planned.cell = -(-_CELL // found.side) * found.side
        elif kind not in ("exact", "tile") and self.network.normed:
            planned.statistics = Statistics()
            if kind != "sampled":
                path = Path(kind)
                planned.statistics = load_statistics(path, self.network.layers, self.key)
        planned.arrange()
        passes = len(planned.stages)
        return planned, replace(guess(min(passes, 2)), side=found.side, passes=passes)

    def trial(self, driver: Driver) -> float:
        """The seconds that a translation takes, by a trial of each kind of pass on one tile."""
        seconds, timed = 0.0, {}
        grid, layers = Grid(driver.size, driver.side), self.network.layers
        rows, columns = grid.shape
        tile = grid.at(rows // 2, columns // 2)
        draw = np.random.default_rng(0)
        for stage in driver.stages:
            named = replace(stage, entry=stage.entry and 0, last=0)
            key = named, layers[stage.last].shape, layers[stage.last].name == "head"
            if key not in timed:
                plan = plan_stage(stage, layers, driver.size, tile.region)
                entry = stage.entry
                channels = layers[0].shape[1] if entry is None else layers[entry].channels_out
                values = draw.uniform(-1, 1, (*plan.given.shape, channels)).astype(np.float32)
                image = values[: tile.region.shape[0], : tile.region.shape[1]]
                known = {
                    index: (np.zeros((1, 1, c)), np.ones((1, 1, c)))
                    for index, layer in enumerate(layers)
                    if layer.norm and (c := layer.channels_out)
                }
                shortcut = values if stage.shortcut else None
                if stage.entry is not None:
                    shape = *tile.region.shape, layers[0].shape[1]
                    image = draw.uniform(-1, 1, shape).astype(np.float32)
                given = TileInput(values, shortcut, image, known)
                self.network.run(plan, given, np.float16)  # compiles, and fills caches
                began = time.perf_counter()
                self.network.run(plan, given, np.float16)
                timed[key] = time.perf_counter() - began
            seconds += timed[key] * rows * columns
        return seconds

    @contextmanager
    def _folder(self, found: Estimate, target: Path | None) -> Iterator[Path | None]:
        """The folder for scratch files, which is removed once the translation is there."""
        if found.stored == "memory":
            yield None
            return
        if target is None:
            with tempfile.TemporaryDirectory(prefix="unpaired-") as folder:
                yield Path(folder)
            return
        path = target.parent / f"{_PREFIX}{target.name}"
        with exclusive(path):
            yield path
        rmtree(path, ignore_errors=True)


def _hash_of(path: Path) -> str:
    try:
        digest = hashlib.sha256()
        with open_regular(path) as file:
            while part := file.read(2**20):
                digest.update(part)
        return digest.hexdigest()[:32]
    except OSError:
        return ""
