"""The two generators in PyTorch, for translation alone, in any of several ways to compute."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor, nn

from unpaired.config import Recipe, Runtime
from unpaired.directions import Direction
from unpaired.engines.seam import Images, generators_of, in_range, memory_errors, require_fit
from unpaired.engines.tiles import TileInput, TileResult, TileRun
from unpaired.engines.torch.device import Machine, out_of_memory
from unpaired.engines.torch.inference import FusedGenerator, prepared
from unpaired.engines.torch.networks import Generator
from unpaired.engines.torch.tiles import run_tile

__all__ = ["TorchTranslator", "fill"]

# The types of the layers, and of those before the residual blocks.
_TYPES = {
    "fp32": (torch.float32, torch.float32),
    "mixed": (torch.bfloat16, torch.float32),
    "bf16": (torch.bfloat16, torch.bfloat16),
}


class TorchTranslator:
    """The two generators, for translation alone. See seam.Translator.

    The method "trained" runs them as the engine that trains does; the others run copies that are
    prepared for it (inference.py) when they are first needed. "fp32 winograd" and "bf16 winograd"
    have fewer multiplications than "fp32" and "bf16"; "mixed winograd" is the latter with its first
    layers in fp32. "fp32 fused" and "bf16 fused" are for CUDA: see fused.py.
    """

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        self.machine = Machine(recipe, runtime)
        self.memory = self.machine.memory
        self.layers, self.start = generators_of(recipe), recipe.settled_start
        kind = partial(Generator, start=self.start)
        self.generators = self.machine.place(kind, self.layers)
        self.methods: tuple[str, ...] = ("trained",)
        if recipe.settled_precision != "fp64":
            self.methods += ("fp32", "bf16")
        if recipe.settled_precision != "fp64" and self.memory == "host":
            self.methods += ("fp32 winograd", "mixed winograd", "bf16 winograd")
        if self.machine.device.type == "cuda" and recipe.norm == "instance" and find_spec("triton"):
            self.methods += ("fp32 fused", "bf16 fused")
        self.method = "trained"
        # Prepared generators have their types in themselves.
        self._untyped = Machine(replace(recipe, precision="fp32"), runtime)
        self._prepared: dict[tuple[str, str], nn.Module] = {}

    def signature(self) -> str:
        """See seam.Translator.signature."""
        return self.machine.signature()

    def load_generators(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See seam.Translator.load_generators."""
        self._prepared.clear()
        for name, generator in self.generators.items():
            if any(key.startswith(f"{name}.") for key in arrays):
                fill(dict(generator.named_parameters(name)), arrays, whole=False)

    def use(self, method: str) -> None:
        """See seam.Translator.use."""
        self.method = method

    def release(self, *kept: str) -> None:
        """See seam.Translator.release."""
        for key in [key for key in self._prepared if key[1] not in kept]:
            del self._prepared[key]

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Networks.translate."""
        name = f"generator_{direction}"
        with memory_errors("translate", images, out_of_memory):
            if self.method == "trained":
                return in_range(self.machine.run(self.generators[name], images))
            return in_range(self._untyped.run(self._prepare(name), images))

    def run_tile(
        self, run: TileRun, given: TileInput, direction: Direction, dtype: DTypeLike
    ) -> TileResult:
        """See tiles.TileNetworks.run_tile; in fp32, or fp64 as trained, so that tiles fit."""
        name = f"generator_{direction}"
        weights = dict(self.generators[name].named_parameters())
        machine = self.machine if self.machine.precision == "fp64" else self._untyped
        with memory_errors("translate", given.values[None], out_of_memory):
            return run_tile(run, given, self.layers[name], weights, self.start, machine, dtype)

    def _prepare(self, name: str) -> nn.Module:
        """The generator of that name as the method wants it."""
        key = name, self.method
        if key not in self._prepared:
            precision, _, manner = self.method.partition(" ")
            generator = self.generators[name]
            assert isinstance(generator, Generator)
            dtype, first = _TYPES[precision]
            if manner == "fused":
                self._prepared[key] = FusedGenerator(generator, dtype)
            else:
                how = {"winograd": manner == "winograd"}
                self._prepared[key] = prepared(generator, dtype, first=first, **how)
        return self._prepared[key]


def fill(tensors: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray], *, whole: bool) -> None:
    """Copies arrays into tensors of the same names, if they fit: see seam.require_fit."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    require_fit(shapes, arrays, whole=whole)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.require(arrays[name], requirements=["C", "W"])))
