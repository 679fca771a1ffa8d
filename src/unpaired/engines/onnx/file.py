"""Files of one exported generator: `model-ab.onnx` and what its metadata say, written and read.

A file from elsewhere is never executed as it is: its graph must be the one that its recipe gives,
node by node, and only its constants are taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from unpaired.checkpoint import Header, fault_of
from unpaired.config import DomainFacts, Recipe
from unpaired.directions import DIRECTIONS, Direction, source_of, target_of
from unpaired.engines.architecture import SMALLEST_SIDE, STRIDE, Layer, Start, parameter_count
from unpaired.engines.onnx.graph import OPSET, Ranges, generator_graph
from unpaired.engines.seam import Arrays, generators_of, require_filled, require_fit
from unpaired.errors import CheckpointError, ConfigError, quoted, reason_of
from unpaired.storage import read_regular

__all__ = ["OnnxFile", "content", "read", "weights_of"]

_LARGEST = 2**31 - 1  # bytes of a message in the encoding of ONNX files
_FORMAT = "1"
_MOST_TEXT = 200_000  # characters of one value of the metadata


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """One direction of a model, as a file has it.

    `header` is that of a model; `model` the ONNX model. `arrays` are the weights by canonical names
    (`generator_ab.*`), which any engine takes; empty if the model is in 8 bits.
    """

    header: Header
    direction: Direction
    model: bytes = field(repr=False)
    arrays: Arrays = field(repr=False)


def weights_of(
    recipe: Recipe, arrays: Mapping[str, np.ndarray], direction: Direction
) -> tuple[tuple[Layer, ...], Arrays, Start]:
    """The layers of a generator, its weights by their names, and its start.

    Raises:
        CheckpointError: the arrays do not fit the recipe.
    """
    name = f"generator_{direction}"
    layers = generators_of(recipe)[name]
    shapes = {f"{name}.{key}": s for layer in layers for key, s in layer.parameters.items()}
    require_fit(shapes, arrays, whole=False)
    weights = {key.removeprefix(f"{name}."): arrays[key] for key in shapes}
    return layers, weights, recipe.settled_start


def content(
    header: Header,
    arrays: Mapping[str, np.ndarray],
    direction: Direction,
    ranges: Ranges | None = None,
) -> bytes:
    """The content of a file: the model of a direction and its metadata.

    Raises:
        CheckpointError: the arrays do not fit the recipe.
        ConfigError: they are too large for an ONNX file.
    """
    layers, weights, start = weights_of(header.config.recipe, arrays, direction)
    if 4 * parameter_count(layers) > 0.99 * _LARGEST:
        raise ConfigError("a generator of over 2 GB does not fit into an ONNX file")
    model = generator_graph(layers, weights, start, ranges)
    helper.set_model_props(model, _metadata(header, direction, "int8" if ranges else "fp32"))
    return bytes(model.SerializeToString())


def _metadata(header: Header, direction: Direction, numbers: str) -> dict[str, str]:
    """What a file says of itself: everything that its user must know, and the recipe.

    `numbers` says in which numbers it computes: "fp32" or "int8".
    """
    domains = header.config.recipe.domains
    source, target = domains[source_of(direction)], domains[target_of(direction)]
    return {
        "unpaired.format": _FORMAT,
        "direction": direction,
        "source": source.name,
        "target": target.name,
        "source_bands": str(source.bands),
        "target_bands": str(target.bands),
        "source_depth": str(source.depth),
        "target_depth": str(target.depth),
        "layout": "NCHW float32; three bands are R, G, B",
        "source_scaling": f"[-1, 1]: {_scaling(source)}",
        "target_scaling": f"[-1, 1]: {_scaling(target)}",
        "padding": (
            f"height and width are multiples of {STRIDE}, at least {SMALLEST_SIDE}: mirror others "
            "to the right and below without repeating the edge, and cut the result"
        ),
        "numbers": numbers,
        "opset": str(OPSET),
        "step": str(header.step),
        "weights": header.weights,
        "made_on": header.made_on,
        "config": header.config.to_toml(),
    }


def _scaling(facts: DomainFacts) -> str:
    """How samples of a domain become [-1, 1]."""
    other = getattr(facts, "scaling", "")
    if other not in ("", "auto", "full"):
        return other
    levels = 2 ** (facts.depth or 8) - 1
    return f"sample / {levels / 2} - 1 of {facts.depth or 8} bits"


def read(path: Path) -> OnnxFile:
    """Reads a file that `unpaired export` wrote.

    Raises:
        CheckpointError: missing, damaged, or not one of ours; or weights that no training gives.
        OSError: the system gives no access to it.
    """
    try:
        model = onnx.ModelProto.FromString(read_regular(path, _LARGEST))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: give a model") from error
    except (DecodeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not an ONNX file: {reason_of(error)}"
        ) from error
    written = {entry.key: entry.value for entry in model.metadata_props}
    if "unpaired.format" not in written:
        raise CheckpointError(
            f"{path} has no metadata of unpaired: only files of `unpaired export` are read"
        )
    if written["unpaired.format"] != _FORMAT:
        raise CheckpointError(
            f"{path} has format {quoted(written['unpaired.format'])}, this version reads format "
            f"{_FORMAT}: use the version of unpaired that wrote it"
        )
    if max(map(len, written.values())) > _MOST_TEXT or written.get("direction") not in DIRECTIONS:
        raise CheckpointError(f"{path} is damaged: its metadata are not those of a direction")
    direction: Direction = "ab" if written["direction"] == "ab" else "ba"
    header = _header(written, path)
    return _taken(path, header, direction, model)


def _header(written: Mapping[str, str], path: Path) -> Header:
    step = written.get("step", "")
    values: dict[str, Any] = {name: written.get(name) for name in ("weights", "made_on", "config")}
    values |= {"format": 2, "kind": "model", "pending": {}}
    values["step"] = int(step) if step.isascii() and step.isdigit() and len(step) < 20 else None
    return Header.from_json(values, path)


def _taken(path: Path, header: Header, direction: Direction, model: onnx.ModelProto) -> OnnxFile:
    """The file's constants in the graph that its recipe gives."""
    recipe, name = header.config.recipe, f"generator_{direction}"
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for tensor in found.values():
        if tensor.data_location == TensorProto.EXTERNAL or not tensor.HasField("raw_data"):
            raise CheckpointError(f"{path} has constants outside itself: export it again")
    try:
        recipe.settled_start  # noqa: B018
    except ConfigError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    # Before anything of that size is made.
    sizes = {key: np.empty(len(tensor.raw_data), np.int8) for key, tensor in found.items()}
    require_filled(recipe, sizes, whole=False)
    layers = generators_of(recipe)[name]
    suffix = ".input.scale"
    in_8_bits = {key.removesuffix(suffix): (0.0, 1.0) for key in found if key.endswith(suffix)}
    blank = {
        key: np.broadcast_to(np.float32(0), shape)
        for layer in layers
        for key, shape in layer.parameters.items()
    }
    expected = generator_graph(layers, blank, recipe.settled_start, in_8_bits)
    ours, theirs = expected.graph, model.graph
    if (
        list(ours.node) != list(theirs.node)
        or list(ours.input) != list(theirs.input)
        or list(ours.output) != list(theirs.output)
        or list(expected.opset_import) != list(model.opset_import)
        or {tensor.name for tensor in ours.initializer} != set(found)
    ):
        raise CheckpointError(
            f"{path} is damaged, or another program has changed its graph: export the model again"
        )
    settled = ("mirror.", "enlarge.", "start.", "ones.", "zeros.")
    for tensor in ours.initializer:
        given = found[tensor.name]
        if (
            list(tensor.dims) != list(given.dims)
            or tensor.data_type != given.data_type
            or len(tensor.raw_data) != len(given.raw_data)
            or (tensor.name.startswith(settled) and tensor.raw_data != given.raw_data)
        ):
            raise CheckpointError(
                f"{path} is damaged: its constant {tensor.name} does not fit the recipe"
            )
        tensor.raw_data = given.raw_data
    parameters = {f"{name}.{key}": key for layer in layers for key in layer.parameters}
    arrays = {
        key: numpy_helper.to_array(found[short])
        for key, short in parameters.items()
        if short in found
    }
    if fault := fault_of(arrays):
        raise CheckpointError(f"{path} cannot be used: {fault}")
    helper.set_model_props(expected, _metadata(header, direction, "int8" if in_8_bits else "fp32"))
    return OnnxFile(header, direction, expected.SerializeToString(), {} if in_8_bits else arrays)
