"""Runs the stages of a generator over the tiles of a scene, whatever the engine.

A thread reads the next tiles and another writes the last ones while the network works. After each
row of tiles the journal is brought up to date.
"""

import copy
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unpaired.console import progress
from unpaired.data.ahead import in_order
from unpaired.directions import Direction
from unpaired.engines.architecture import STRIDE, Layer
from unpaired.engines.tiles import Region, TileInput, TileNetworks, TilePlan, TileResult
from unpaired.errors import ImageError
from unpaired.translation.streaming.arrays import ScratchArray
from unpaired.translation.streaming.journal import Progressed, StageJournal
from unpaired.translation.streaming.moments import Moments, Statistics
from unpaired.translation.streaming.stages import (
    ARRAYS,
    Grid,
    Stage,
    Tile,
    grown,
    only_stage,
    padded,
    plan_stage,
    reach,
    scale_of,
    shares,
    stages_of,
    stages_without_statistics,
    within_slices,
)
from unpaired.translation.streaming.windows import Sink, Source, read_padded

__all__ = ["LARGEST", "NOT_FINITE", "Driver", "Network"]

LARGEST = 6e4
"""Beyond it values are not stored in half precision, whose largest number is 65,504."""


@dataclass(frozen=True)
class Network:
    """The generator of a direction: what runs it, its layers, and its name in messages."""

    engine: TileNetworks
    layers: tuple[Layer, ...]
    direction: Direction
    name: str = "the model"

    @property
    def normed(self) -> bool:
        """Whether it has norms, whose statistics are of a whole image."""
        return any(layer.norm for layer in self.layers)

    def run(self, plan: TilePlan, given: TileInput, dtype: DTypeLike) -> TileResult:
        """Runs it on a tile."""
        return self.engine.run_tile(plan.run, given, self.direction, dtype)

    def alone(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Translates a tile as an image of its own."""
        translated: NDArray[Any] = self.engine.translate(values[np.newaxis], self.direction)[0]
        return translated


class _Overflow(Exception):
    """A value that half precision cannot hold."""


class _Loaded(NamedTuple):
    """A tile that was read: its plan and input; without them it is skipped."""

    tile: Tile
    plan: TilePlan | None
    given: TileInput | None
    valid: NDArray[np.bool_] | None  # of the pixels that it owns, None: all
    counted: int  # how many they are


@dataclass
class Driver:
    """A translation by tiles. `run` may be called once.

    Attributes:
        network: the generator.
        source: the scene.
        sink: where the result goes.
        side: of the tiles in pixels, a multiple of 4.
        folder: of the scratch files and the journal; None: all is in memory, and nothing resumes.
        dtype: of the stored arrays: half precision, or float32, or float64.
        statistics: those that are known; None: they are computed.
        cell: side in pixels of the cells that have statistics of their own; 0: the scene has one.
        fingerprint: of all that the result depends on besides the source.
        alone: whether each tile has its own statistics, with those of its halo.
    """

    network: Network
    source: Source
    sink: Sink
    side: int
    folder: Path | None = None
    dtype: DTypeLike = np.float16
    statistics: Statistics | None = None
    cell: int = 0
    fingerprint: str = ""
    alone: bool = False
    done: Progressed = field(default_factory=Progressed)

    def __post_init__(self) -> None:
        self.size = padded(self.source.size)
        self.grid = Grid(self.size, self.side)
        self.arrange()

    def arrange(self) -> None:
        """Arranges the stages that the statistics need; again, where these have changed."""
        layers = self.network.layers
        self.stages: tuple[Stage, ...] = (only_stage(layers),)
        if self.network.normed and not self.alone:
            several = stages_without_statistics(layers, self.size, self.side)
            self.stages = stages_of(layers) if self.statistics is None else several

    def run(self, title: str = "tiles") -> Statistics:
        """Translates the scene, and returns the statistics it was translated with.

        Raises:
            ImageError: the scene cannot be read, or the networks give NaN or infinity.
            RunError: the system does not let it write.
            TooLarge: a device has too little memory for a tile.
        """
        self.reading = Lock()
        self.known = self.statistics or Statistics(self.cell)
        self.journal = StageJournal(self.folder, f"{self.fingerprint} {self.source.fingerprint}")
        found = self.journal.read()
        self.done = found or Progressed(valid=np.zeros(self.grid.shape, np.int64))
        self._open(fresh=found is None)
        self.known.moments |= {
            layer: moments
            for layer, moments in self.done.moments.items()
            if self.done.stage == len(self.stages) or layer != self._layer(self.done.stage)
        }
        rows, columns = self.grid.shape
        finished = (self.done.stage * rows + self.done.row) * columns
        total = len(self.stages) * rows * columns
        with progress(title, total, unit="tiles", first=finished) as bar:
            for index in range(self.done.stage, len(self.stages)):
                self._stage(index, partial(bar.advance, 1))
        for array in self.arrays.values():
            array.remove()
        self.sink.save(self.result.read)
        self.journal.remove()
        self.result.remove()
        return self.known

    # ---- what is stored -------------------------------------------------------------------

    def _open(self, *, fresh: bool) -> None:
        """Makes or opens the arrays; of a new translation those left by another are removed."""
        if fresh and self.folder is not None:
            for path in self.folder.iterdir():
                if not path.name.startswith("."):
                    path.unlink()
        dtype = np.float32 if self.done.wide else self.dtype
        self.arrays: dict[str, ScratchArray] = {}
        if 1 < len(self.stages) > self.done.stage:
            used = ARRAYS if any(stage.stream for stage in self.stages) else ARRAYS[:1]
            shape = self.bottleneck
            for name in used:
                spare = self.grid.spare if name == "stream" else 0
                self.arrays[name] = ScratchArray(name, shape, dtype, self.folder, spare=spare)
            self.arrays["stream"].origin = self.done.origin
            self.arrays["stream"].written_origin = self.done.origin
            if self.source.masked:
                shape = (*shape[:2], 1)
                self.arrays["weights"] = ScratchArray("weights", shape, np.uint8, self.folder)
        shape = (*self.source.size, self.sink.bands)
        self.result = ScratchArray("result", shape, self.sink.dtype, self.folder)

    @property
    def bottleneck(self) -> tuple[int, int, int]:
        """The shape of the arrays between the ends of the generator."""
        channels = next(layer.channels_out for layer in self.network.layers[2:])
        return self.size[0] // STRIDE, self.size[1] // STRIDE, channels

    def _layer(self, stage: int) -> int:
        return self.stages[stage].last

    # ---- a stage --------------------------------------------------------------------------

    def _stage(self, index: int, advance: Callable[[], None]) -> None:
        stage, done = self.stages[index], self.done
        stream = self.arrays.get("stream")
        if stream is not None and stage.stream:
            stream.shift(self.grid.spare)
        if stage.moments and stage.last not in done.moments:
            cells = (1, 1)
            if self.cell:
                cells = tuple(-(-extent // self.cell) for extent in self.size)  # type: ignore[assignment]
            channels = self.network.layers[stage.last].channels_out
            done.moments[stage.last] = Moments.empty(channels, cells)
        while done.row < self.grid.shape[0]:
            try:
                self._rows(stage, advance)
            except _Overflow:
                removals = [self.arrays[name].widen() for name in ARRAYS if name in self.arrays]
                done.wide = True
                self.journal.write(done)
                for remove in removals:
                    remove()
        if stage.moments:
            self.known.moments[stage.last] = done.moments[stage.last]
        if stream is not None and stage.stream:
            stream.settle()
            done.origin = stream.origin
        done.stage, done.row = index + 1, 0
        self.journal.write(done)

    def _rows(self, stage: Stage, advance: Callable[[], None]) -> None:
        """All rows of tiles that are left; with `_Overflow`, those before one are finished."""
        rows, columns = self.grid.shape
        tiles = (tile for row in range(self.done.row, rows) for tile in self.grid.row(row))
        loading = in_order(partial(self._load, stage), tiles, threads=1, ahead=2)
        moments = copy.deepcopy(self.done.moments.get(stage.last))
        valid = self.done.valid.copy()
        writer = ThreadPoolExecutor(1, thread_name_prefix="scratch")
        writing: deque[Future[None]] = deque()
        try:
            for loaded in loading:
                tile = loaded.tile
                if stage.entry is None:
                    valid[tile.row, tile.column] = loaded.counted
                for work in self._work(stage, loaded, moments):
                    writing.append(writer.submit(work))
                while len(writing) > 2:
                    writing.popleft().result()
                advance()
                if tile.column + 1 < columns:
                    continue
                while writing:
                    writing.popleft().result()
                self.done.row, self.done.valid = tile.row + 1, valid.copy()
                if moments is not None:
                    self.done.moments[stage.last] = copy.deepcopy(moments)
                if self.done.row < rows:
                    self.journal.write(self.done)
        finally:
            loading.close()  # type: ignore[attr-defined]
            writer.shutdown()

    def _load(self, stage: Stage, tile: Tile) -> _Loaded:
        """Reads what a stage needs of a tile."""
        layers, size = self.network.layers, self.size
        plan = plan_stage(stage, layers, size, tile.region)
        if self.alone:
            plan = replace(plan, given=grown(tile.region, reach(layers), size))
        first = stage is self.stages[0]
        ends = layers[stage.last].name == "head"
        if not first and self._skipped(stage, tile, ends):
            return _Loaded(tile, None, None, None, 0)
        weights: NDArray[Any] | None = None
        valid: NDArray[np.bool_] | None = None
        image = None
        with self.reading:
            if stage.entry is None:
                values, given_valid = read_padded(self.source, plan.given)
                if given_valid is not None:
                    valid = given_valid[within_slices(tile.region, plan.given)]
                if ends:
                    image = values[within_slices(tile.region, plan.given)]
            elif ends:
                image, valid = read_padded(self.source, tile.region)
            elif self.source.masked and stage.writes is None:
                _, valid = read_padded(self.source, tile.region)
        if valid is not None and valid.all():
            valid = None
        counted = tile.region.shape[0] * tile.region.shape[1] if valid is None else int(valid.sum())
        if not counted and (ends or stage.writes is None):
            return _Loaded(tile, None, None, valid, 0)
        shortcut = None
        if stage.reads is not None:
            values = self.arrays[stage.reads].read(plan.given)
            if stage.shortcut:
                shortcut = self.arrays["stream"].read(plan.given)
            if "weights" in self.arrays and stage.writes is not None:
                stored = self.arrays["weights"].read(tile.region.scaled(1, STRIDE))[..., 0]
                weights = None if (stored == STRIDE**2).all() else stored / STRIDE**2
        elif valid is not None:
            weights = shares(valid, scale_of(stage.last, layers, size))
        if stage.reads is not None and stage.writes is None and valid is not None:
            weights = shares(valid, scale_of(stage.last, layers, size))
        known = {} if self.alone else self._statistics(plan)
        given = TileInput(values, shortcut, image, known, weights)
        return _Loaded(tile, plan, given, valid, counted)

    def _skipped(self, stage: Stage, tile: Tile, ends: bool) -> bool:
        """Whether nothing of a tile is seen by a pixel with data."""
        if not self.source.masked:
            return False
        if stage.writes is None:
            return not ends and not self.done.valid[tile.row, tile.column]
        near = self.grid.around(tile, reach(self.network.layers))
        return not any(self.done.valid[place] for place in near)

    def _statistics(self, plan: TilePlan) -> dict[int, tuple[NDArray[Any], NDArray[Any]]]:
        """Those of the layers that a run finishes."""
        layers, run = self.network.layers, plan.run
        results = zip(run.steps[:-1], plan.regions, strict=False)
        finished = [(step.layer, region) for step, region in results]
        if run.entry is not None:
            finished.insert(0, (run.entry, plan.given))
        return {
            layer: self.known.of(layer, region, scale_of(layer, layers, self.size))
            for layer, region in finished
            if layers[layer].norm
        }

    def _work(
        self, stage: Stage, loaded: _Loaded, moments: Moments | None
    ) -> list[Callable[[], None]]:
        """Runs the network on a tile; returns what is to be written."""
        tile = loaded.tile
        ends = self.network.layers[stage.last].name == "head"
        if loaded.plan is None or loaded.given is None:
            if not ends:
                return []
            shape = (*tile.region.shape, self.network.layers[-1].channels_out)
            missing = np.zeros(tile.region.shape, np.bool_)
            return [partial(self._finish, tile, np.zeros(shape, np.float32), missing)]
        dtype = self.arrays["stream"].dtype if self.arrays else np.float32
        if self.alone:
            whole = self.network.alone(loaded.given.values)
            part = whole[within_slices(tile.region, loaded.plan.given)]
            result = TileResult(part, None, None, 0.0)
        else:
            result = self.network.run(loaded.plan, loaded.given, dtype)
        if result.largest > LARGEST and dtype == np.float16:
            raise _Overflow
        if result.moments is not None and moments is not None:
            middle = [(start + stop) // 2 for start, stop in tile.region]
            cell = tuple(at // self.cell if self.cell else 0 for at in middle)
            moments.merge(cell, result.moments)  # type: ignore[arg-type]
            if not moments.finite:
                raise ImageError(NOT_FINITE.format(self.network.name))
        if ends:
            assert result.values is not None
            if not np.isfinite(result.values).all():
                raise ImageError(NOT_FINITE.format(self.network.name))
            return [partial(self._finish, tile, result.values, loaded.valid)]
        work: list[Callable[[], None]] = []
        region = tile.region.scaled(1, STRIDE)
        if stage.writes is not None and result.values is not None:
            work.append(partial(self.arrays[stage.writes].write, region, result.values))
        if result.stream is not None:
            work.append(partial(self.arrays["stream"].write, region, result.stream))
        if stage.entry is None and stage.writes is not None and "weights" in self.arrays:
            valid = loaded.valid
            stored = np.ones(tile.region.shape, np.bool_) if valid is None else valid
            parts = np.rint(shares(stored, STRIDE) * STRIDE**2).astype(np.uint8)[..., None]
            work.append(partial(self.arrays["weights"].write, region, parts))
        return work

    def _finish(
        self, tile: Tile, signed: NDArray[np.float32], valid: NDArray[np.bool_] | None
    ) -> None:
        """Stores a tile of the result, in the sink's samples, without the padding."""
        region = Region(
            *(
                (start, min(stop, extent))
                for (start, stop), extent in zip(tile.region, self.source.size, strict=True)
            )
        )
        height, width = region.shape
        if height < 1 or width < 1:
            return
        there = None if valid is None else valid[:height, :width]
        self.result.write(region, self.sink.encode(signed[:height, :width], there))


NOT_FINITE = (
    "the networks of {} give NaN or infinity for it: its weights are damaged or not trained, or "
    "overflow in this precision"
)
