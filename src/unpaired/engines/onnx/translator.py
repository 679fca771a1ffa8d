"""Translators that execute ONNX models: what the runtimes share."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from unpaired.config import Recipe
from unpaired.directions import DIRECTIONS, Direction
from unpaired.engines.onnx.file import weights_of
from unpaired.engines.onnx.graph import generator_graph
from unpaired.engines.seam import Images, in_range, memory_errors
from unpaired.memory import free

__all__ = ["Executor", "OnnxTranslator", "Planes", "Precision"]

Planes = NDArray[np.float32]
"""Images as ONNX has them: (N, bands, H, W)."""
Precision = Literal["fp32", "bf16"]

_MODEST = 150e6  # bytes for which the system is not asked what is free


class Executor(Protocol):
    """A runtime, its threads settled."""

    @property
    def methods(self) -> tuple[str, ...]:
        """See seam.Translator.methods."""

    @property
    def peak(self) -> float:
        """Bytes per pixel and unit of width at a generator's peak."""

    def compile(self, model: bytes, precision: Precision) -> Callable[[Planes], Planes]:
        """The function that a model is, computed in a precision.

        Raises:
            ConfigError: it does not compute in that precision.
        """

    def exhausted(self, error: Exception) -> bool:
        """Tells the runtime's errors of exhausted memory from its others."""

    def signature(self) -> str:
        """See seam.Translator.signature."""


class OnnxTranslator:
    """One generator or two, written as ONNX models, in a runtime. See seam.Translator.

    They take whole images, not tiles of them, and memory of their own (memory.OwnPeak).
    A model is compiled when it is first needed. What was trained in fp64 is computed in fp32.
    """

    memory: Literal["host", "device"] = "host"

    def __init__(self, recipe: Recipe, executor: Executor) -> None:
        self.recipe, self.executor = recipe, executor
        self.methods, self.peak = executor.methods, executor.peak
        # A runtime without bf16 computes in fp32 what was trained in bf16.
        in_bf16 = recipe.settled_precision == "bf16" and "bf16" in self.methods
        self.trained: Precision = "bf16" if in_bf16 else "fp32"
        self.method = "trained"
        self._models: dict[Direction, bytes] = {}
        self._compiled: dict[tuple[Direction, str], Callable[[Planes], Planes]] = {}

    def signature(self) -> str:
        """See seam.Translator.signature."""
        return self.executor.signature()

    def load_generators(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See seam.Translator.load_generators."""
        for direction in DIRECTIONS:
            if any(key.startswith(f"generator_{direction}.") for key in arrays):
                model = generator_graph(*weights_of(self.recipe, arrays, direction))
                self.load_model(model.SerializeToString(), direction)

    def load_model(self, model: bytes, direction: Direction) -> None:
        """Takes the ONNX model of a direction."""
        self._models[direction] = model
        self._compiled.clear()

    def use(self, method: str) -> None:
        """See seam.Translator.use."""
        self.method = method

    def release(self, *kept: str) -> None:
        """See seam.Translator.release."""
        for key in [key for key in self._compiled if key[1] not in kept]:
            del self._compiled[key]

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Networks.translate."""
        with memory_errors("translate", images, self.executor.exhausted):
            key = direction, self.method
            if key not in self._compiled:
                self._compiled[key] = self.executor.compile(
                    self._models[direction], self._precision
                )
            need = self.peak * self.recipe.width * math.prod(images.shape[:3])
            if need > _MODEST and need > free():
                raise MemoryError
            planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
            result = self._compiled[key](planes)
            return in_range(np.ascontiguousarray(result.transpose(0, 2, 3, 1)))

    @property
    def _precision(self) -> Precision:
        if self.method == "trained":
            return self.trained
        return "bf16" if self.method.startswith("bf16") else "fp32"
