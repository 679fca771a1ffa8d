"""Generators from any file that holds some, and the engine or runtime that translates with them."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from unpaired import checkpoint
from unpaired.checkpoint import Header
from unpaired.config import Recipe, Runtime
from unpaired.directions import DIRECTIONS, Direction
from unpaired.engines.choice import make_translator
from unpaired.engines.runtimes import make_runtime, read_onnx_file
from unpaired.engines.seam import Arrays, Translator, require_filled
from unpaired.errors import CheckpointError, ConfigError, MissingExtra, RunError, reason_of
from unpaired.hub.download import local_model

__all__ = ["EngineChoice", "Generators", "RuntimeChoice", "read_generators", "start_translator"]

EngineChoice: TypeAlias = Literal["auto", "torch", "jax"]
RuntimeChoice: TypeAlias = Literal["auto", "engine", "onnx", "openvino"]
"""What executes generators: an engine, onnxruntime or OpenVINO.

auto: onnxruntime for exported files, else the engine.
"""


@dataclass(frozen=True, eq=False)
class Generators:
    """One generator or two, as they were read from the file at `path`.

    `arrays` are the weights by canonical names, and `weights` says whether they are the EMA or the
    last; `models` are ONNX models in 8 bits, which have no such weights.
    """

    path: Path
    header: Header
    weights: Literal["ema", "last"]
    directions: tuple[Direction, ...]
    arrays: Arrays = field(repr=False)
    models: Mapping[Direction, bytes] = field(default_factory=dict, repr=False)

    @property
    def content(self) -> Mapping[str, NDArray[np.generic]]:
        """All that tells one model from another."""
        models = {name: np.frombuffer(model, np.uint8) for name, model in self.models.items()}
        return self.arrays | models


def read_generators(path: str | Path) -> Generators:
    """Reads a run folder, its model, one of its checkpoints, a model of a hub, or an ONNX file.

    Raises:
        CheckpointError: missing, damaged or foreign, without a generator, or with weights that no
            training gives: NaN, infinite, huge.
        MissingExtra: an ONNX file, and onnx is not installed; of a hub, and huggingface_hub is not.
        RunError: the system gives no access to it, or it needs more memory than is free.
    """
    path = local_model(path)
    try:
        if path.suffix.lower() == ".onnx":
            exported = read_onnx_file(path)
            models = {} if exported.arrays else {exported.direction: exported.model}
            header, directions = exported.header, (exported.direction,)
            return Generators(path, header, header.weights, directions, exported.arrays, models)
        path = _weights_file(path)
        header, arrays = checkpoint.read(path)
    except OSError as error:
        raise RunError(f"cannot read {path}: {reason_of(error)}") from error
    generators, weights = checkpoint.generators(header, arrays)
    found = tuple(
        direction
        for direction in DIRECTIONS
        if any(name.startswith(f"generator_{direction}.") for name in generators)
    )
    if not found:
        raise CheckpointError(f"{path} holds no generator: give a run folder or its model")
    require_filled(header.config.recipe, generators, whole=False)
    return Generators(path, header, weights, found, generators)


def start_translator(
    generators: Generators, engine: EngineChoice, runtime: RuntimeChoice, settings: Runtime
) -> tuple[Translator, Runtime, str]:
    """The translator that `engine` and `runtime` name, loaded; its settings, and what it is.

    Raises:
        ConfigError: the device is not available, a model in 8 bits for an engine, or an engine for
            a runtime.
        MissingExtra: what it needs is not installed.
        TooLarge: its networks need more memory than is free.
    """
    path, recipe = generators.path, generators.header.config.recipe
    if runtime not in ("auto", "engine", "onnx", "openvino"):
        raise ConfigError(f"--runtime is {runtime!r}: choose engine, onnx or openvino")
    if runtime == "auto":
        exported = path.suffix.lower() == ".onnx" and engine == "auto"
        runtime = "onnx" if exported else "engine"
    if runtime == "engine":
        if generators.models:
            raise ConfigError(
                f"{path} is in 8 bits, which engines do not compute in: give --runtime onnx or "
                "openvino"
            )
        translator, settings = _in_engine(recipe, engine, settings)
        translator.load_generators(generators.arrays)
        return translator, settings, settings.engine
    if engine != "auto":
        raise ConfigError(f"--engine {engine} and --runtime {runtime} exclude each other: give one")
    in_onnx = make_runtime(runtime, recipe, settings)
    in_onnx.load_generators(generators.arrays)
    for direction, model in generators.models.items():
        in_onnx.load_model(model, direction)
    return in_onnx, settings, runtime


def _in_engine(
    recipe: Recipe, engine: EngineChoice, settings: Runtime
) -> tuple[Translator, Runtime]:
    """A translator of the engine; "auto": of that of the settings, or of the other if missing."""
    if engine != "auto":
        settings = replace(settings, engine=engine)
        return make_translator(recipe, settings), settings
    try:
        return make_translator(recipe, settings), settings
    except MissingExtra:
        other: Literal["torch", "jax"] = "jax" if settings.engine == "torch" else "torch"
        instead = replace(settings, engine=other)
        with contextlib.suppress(MissingExtra):
            return make_translator(recipe, instead), instead
        raise


def _weights_file(path: Path) -> Path:
    """The file with the weights of a run folder, or `path` itself."""
    if not path.is_dir():
        return path
    if not (path / "model.safetensors").is_file():
        found = checkpoint.checkpoints(path)
        hint = f"or give a checkpoint, such as {found[-1]}" if found else "or give another"
        raise CheckpointError(f"{path} has no model.safetensors: finish its training, {hint}")
    return path / "model.safetensors"
