"""How a model computes: as trained, or in the fastest way that is as good, found by measuring.

A few images are translated as trained: measuring would cost more than it gains. After some work the
ways of the translator are measured on a piece of the next image, and what was found is remembered
for this machine and this model.
"""

import math
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unpaired import memory
from unpaired.config import Recipe
from unpaired.console import log
from unpaired.directions import Direction
from unpaired.engines.seam import Images, Translator, generators_of
from unpaired.engines.tiles import TileInput, TileNetworks, TileResult, TileRun
from unpaired.errors import ConfigError, TooLarge
from unpaired.translation.remembered import Choice, ChoiceFile, processor

__all__ = ["LIMIT", "PRECISIONS", "Measured", "Precision", "fingerprint", "require_precision"]

Precision: TypeAlias = Literal["auto", "recipe", "fp32", "bf16"]
"""recipe: as trained; fp32 or bf16: in that; auto: the fastest within LIMIT of fp32."""

PRECISIONS = ("auto", "recipe", "fp32", "bf16")

LIMIT = 1.5
"""Levels of 255: the mean difference to fp32, on the images measured, that "auto" accepts."""

_PIECE = 128 * 128  # pixels that are measured, at most
_WORK = 16 * _PIECE  # pixels translated before it is measured
_GAIN = 1.1  # times as fast as the training's own way, or it stays
_EXACT = 1.1  # times as slow as the fastest may be what is exact
_FREE = 10**9  # bytes: with less, nothing is tried

_TOLD = {
    "fp32": "fp32",
    "bf16": "bf16",
    "fp32 winograd": "fp32 with Winograd's convolutions",
    "bf16 winograd": "bf16 with Winograd's convolutions",
    "fp32 fused": "fp32 with fused norms",
    "bf16 fused": "bf16 with fused norms",
    "mixed winograd": "bf16 with Winograd's convolutions, the first layers in fp32",
}


def require_precision(precision: str) -> None:
    """Requires that it is a Precision.

    Raises:
        ConfigError: it is none.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision is {precision!r}: choose one of {', '.join(PRECISIONS)}")


def fingerprint(recipe: Recipe, generators: Mapping[str, NDArray[Any]]) -> str:
    """Tells models apart by their layers and a thousand numbers of each weight."""
    layers = repr([generators_of(recipe), recipe.settled_start, recipe.precision])
    code = zlib.crc32(layers.encode())
    for name in sorted(generators):
        flat = np.ravel(generators[name])
        sample = np.ascontiguousarray(flat[:: max(flat.size // 1000, 1)])
        code = zlib.crc32(sample.tobytes(), zlib.crc32(name.encode(), code))
    return f"{code:08x}"


@dataclass(eq=False)
class Measured:
    """A translator that computes in the fastest of the ways that a precision allows.

    See seam.Networks, which it is. `model` is the model's fingerprint, `trained` the precision of
    its recipe. Choices are made for each direction and size: `chosen` has them.
    """

    translator: Translator
    precision: Precision
    trained: str
    model: str
    remembered: ChoiceFile

    def __post_init__(self) -> None:
        self.memory = self.translator.memory
        self.chosen: dict[tuple[Direction, int], str] = {}
        self._translated: dict[tuple[Direction, int], int] = {}  # pixels
        self._told: set[str] = set()
        known = self.translator.methods
        if self.precision in ("fp32", "bf16"):
            known = (self.precision, *(m for m in known if m.startswith(f"{self.precision} ")))
        elif self.precision == "recipe":
            known = ("trained",)
        self.methods: tuple[str, ...] = known

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Networks.translate."""
        self.translator.use(self._method(images, direction))
        return self.translator.translate(images, direction)

    def run_tile(
        self, run: TileRun, given: TileInput, direction: Direction, dtype: DTypeLike
    ) -> TileResult:
        """See tiles.TileNetworks.run_tile; always as trained, so that tiles fit together."""
        networks: TileNetworks = self.translator  # type: ignore[assignment]
        return networks.run_tile(run, given, direction, dtype)

    def _method(self, images: Images, direction: Direction) -> str:
        """The method for these images; the first of `methods` until another has been measured."""
        usual = self.methods[0]
        if len(self.methods) == 1:
            return usual
        piece = _piece(images)
        side = _side(piece)
        key = direction, side
        if key in self.chosen:
            return self.chosen[key]
        if self.memory == "host" and memory.free() < _FREE:
            return usual
        name = "; ".join(
            (processor(), self.translator.signature(), self.model, direction, f"{side} px",
             self.precision)
        )  # fmt: skip
        choice = self.remembered.get(name, self.methods)
        if choice is None:
            done = self._translated.get(key, 0) + math.prod(images.shape[:3])
            self._translated[key] = done
            if done < _WORK:
                return usual
            choice = self._measure(piece, direction)
            self.remembered.put(name, choice)
        self.chosen[key] = choice.method
        self._tell(choice)
        return choice.method

    def _measure(self, piece: Images, direction: Direction) -> Choice:
        """Tries every method on a piece of an image, twice after a run that prepares it."""
        results: dict[str, Images] = {}
        for method in self.methods:
            self.translator.use(method)
            try:
                results[method] = self.translator.translate(piece, direction)
            except (TooLarge, RuntimeError, TypeError) as error:  # of a device that lacks it
                if method == self.methods[0]:
                    raise
                log.debug("%s is not possible here: %s", method, error)
        seconds = dict.fromkeys(results, math.inf)
        for _ in range(2):
            for method in results:
                self.translator.use(method)
                began = time.perf_counter()
                self.translator.translate(piece, direction)
                seconds[method] = min(seconds[method], time.perf_counter() - began)
        choice = choose(seconds, results, self.methods[0], limited=self.precision == "auto")
        self.translator.release(*self.chosen.values(), choice.method)
        return choice

    def _tell(self, choice: Choice) -> None:
        """Says in one line what was chosen and why."""
        usual = f"{self.trained}, as trained"
        if choice.method == "trained":
            line = f"translating in {usual}: nothing else that is as good is faster here"
        else:
            first = _TOLD.get(self.methods[0], usual)
            line = f"translating in {_TOLD[choice.method]}: "
            if choice.method == self.methods[0]:
                line += "nothing else is faster here"
            else:
                line += f"{choice.gain:.1f} times as fast as {first}"
            if self.precision == "auto":
                line += (
                    f", {choice.error:.2f} levels of 255 from fp32 (--precision recipe: as trained)"
                )
        if choice.method not in self._told:
            self._told.add(choice.method)
            log.info(line)


def choose(
    seconds: Mapping[str, float], results: Mapping[str, Images], usual: str, *, limited: bool
) -> Choice:
    """The fastest method; with `limited`, of those within LIMIT of fp32 and of the `usual` one.

    One in fp32 that is nearly as fast is preferred, and the usual one if nothing is clearly faster.
    """
    exact = results.get("fp32", results[usual])
    errors = {
        method: float(np.abs(found - exact).mean()) * 127.5 for method, found in results.items()
    }
    able = [m for m in results if not limited or m == usual or errors[m] <= LIMIT]
    fastest = min(able, key=seconds.__getitem__)
    close = [m for m in able if seconds[m] <= _EXACT * seconds[fastest]]
    best = min(close, key=lambda m: (not m.startswith("fp32"), seconds[m]))
    if seconds[usual] < _GAIN * seconds[best]:
        best = usual
    return Choice(best, seconds[usual] / seconds[best], errors[best])


def _piece(images: Images) -> Images:
    """The middle of the images, or the first of them, of at most _PIECE pixels in all."""
    height, width = images.shape[1:3]
    if height * width <= _PIECE:
        return images[: _PIECE // (height * width)]
    rows = min(height, 128)
    columns = min(width, _PIECE // rows // 4 * 4)
    rows = min(height, _PIECE // columns // 4 * 4)
    top, left = (height - rows) // 8 * 4, (width - columns) // 8 * 4
    return images[:1, top : top + rows, left : left + columns].copy()


def _side(piece: Images) -> int:
    """The size class: the least side of 32, 64 and 128 px whose square has as many pixels."""
    pixels = math.prod(piece.shape[:3])
    return next((side for side in (32, 64) if pixels <= side * side), 128)
