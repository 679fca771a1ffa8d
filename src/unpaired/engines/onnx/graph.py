"""A generator as an ONNX graph, written layer by layer from `architecture`.

No framework is traced: the weights of any engine suffice. A graph has one input, images (N, bands,
H, W) in [-1, 1], and one output of the same N, H and W, which is in [-1, 1] too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from unpaired.engines.architecture import NORM_EPS, START_LIMIT, START_SCALE, Layer, Start

__all__ = ["INPUT", "OPSET", "OUTPUT", "Ranges", "generator_graph", "with_layer_inputs"]

OPSET = 17
"""The version of ONNX's operators, which onnxruntime has since 1.12 and OpenVINO since 2023.0."""

_IR_VERSION = 8  # of the file format: that of opset 17

INPUT, OUTPUT = "images", "translations"

Ranges = Mapping[str, tuple[float, float]]
"""The least and the largest input of layers by their names: those are computed in 8 bits."""

_LEVELS, _WEIGHT_LEVELS = 255, 127  # of an unsigned input, of a signed weight


def generator_graph(
    layers: Sequence[Layer],
    arrays: Mapping[str, np.ndarray],
    start: Start,
    ranges: Ranges | None = None,
) -> onnx.ModelProto:
    """The model of a generator; `arrays` are its weights by the names of its layers.

    Weights become float32. Batch, height and width are free; H and W are multiples of 4 from 8.
    Layers in `ranges` have inputs of 8 bits, one scale and zero point a layer, and weights of 8
    bits, one scale a channel; what they give is float32. Inputs beyond their range are clipped.
    """
    graph = _Graph(ranges or {})
    stem, down0, down1, *blocks, up0, up1, head = layers

    def apply(layer: Layer, x: str) -> str:
        return _layer(graph, layer, arrays, x)

    y = apply(down1, apply(down0, apply(stem, INPUT)))
    for number, (first, second) in enumerate(zip(blocks[::2], blocks[1::2], strict=True)):
        y = graph.add("Add", f"blocks.{number}.sum", y, apply(second, apply(first, y)))
    y = apply(head, apply(up1, apply(up0, y)))
    if start == "noise":
        graph.add("Tanh", OUTPUT, y)
    elif start == "residual":
        _clipped(graph, graph.add("Add", "start.sum", INPUT, y))
    else:
        _added(graph, INPUT, y)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", bands, "height", "width"])
        for name, bands in ((INPUT, stem.shape[1]), (OUTPUT, head.channels_out))
    ]
    constants = list(graph.constants.values())
    return helper.make_model(
        helper.make_graph(graph.nodes, "generator", ends[:1], ends[1:], constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="unpaired",
    )


def with_layer_inputs(
    layers: Sequence[Layer], arrays: Mapping[str, np.ndarray], start: Start
) -> tuple[onnx.ModelProto, list[str]]:
    """The model of a generator, with the inputs of its layers as further outputs, and their names.

    They are in the order of the layers, before enlargement and padding.
    """
    model = generator_graph(layers, arrays, start)
    names, given_by = [], {node.output[0]: node for node in model.graph.node}
    for layer in layers:
        name = given_by[layer.name].input[0]
        while name in given_by and given_by[name].op_type in ("Pad", "Resize"):
            name = given_by[name].input[0]
        names.append(name)
    for name in sorted(set(names) - {INPUT}):
        free = helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
        model.graph.output.append(free)
    return model, names


class _Graph:
    """Nodes and constants in the order in which they are added."""

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(
        self, operator: str, name: str, *inputs: str, how: Mapping[str, Any] | None = None
    ) -> str:
        """Adds a node with attributes `how`, named like its one result, which is returned."""
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **(how or {})))
        return name

    def constant(self, name: str, value: object, dtype: type[np.generic] = np.float32) -> str:
        """Adds a constant unless it is there, and returns its name."""
        if name not in self.constants:
            array = np.ascontiguousarray(np.asarray(value, dtype))
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def quantised(self, name: str, x: str) -> str:
        """Adds the input `x` of a layer in 8 bits, zero among its values, back in float32."""
        low, high = min(self.ranges[name][0], 0.0), max(self.ranges[name][1], 0.0)
        scale = max((high - low) / _LEVELS, 1e-12)
        zero = round(-low / scale)
        how = (
            self.constant(f"{name}.input.scale", scale),
            self.constant(f"{name}.input.zero", zero, np.uint8),
        )
        x = self.add("QuantizeLinear", f"{name}.input.8bit", x, *how)
        return self.add("DequantizeLinear", f"{name}.input", x, *how)

    def weight(self, layer: Layer, array: np.ndarray) -> str:
        """Adds the weight of a layer, in 8 bits if it is to be."""
        name = f"{layer.name}.weight"
        if layer.name not in self.ranges:
            return self.constant(name, array)
        axis = 1 if layer.transposed else 0
        others = tuple(index for index in range(4) if index != axis)
        scale = np.maximum(np.abs(array).max(others, keepdims=True) / _WEIGHT_LEVELS, 1e-12)
        stored = self.constant(f"{name}.8bit", np.rint(array / scale), np.int8)
        scales = self.constant(f"{name}.scale", scale.reshape(-1))
        zeros = self.constant(f"{name}.zero", np.zeros(scale.size), np.int8)
        return self.add("DequantizeLinear", name, stored, scales, zeros, how={"axis": axis})


def _layer(graph: _Graph, layer: Layer, arrays: Mapping[str, np.ndarray], x: str) -> str:
    """Adds enlargement, padding, convolution, norm and activation of a layer."""
    name = layer.name
    if name in graph.ranges:
        x = graph.quantised(name, x)
    if layer.enlarge > 1:
        factors = graph.constant(f"enlarge.{layer.enlarge}", (1, 1, layer.enlarge, layer.enlarge))
        nearest = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        x = graph.add("Resize", f"{name}.enlarged", x, "", factors, how=nearest)
    zeros = layer.padding
    if layer.mirrored:
        pads = (0, 0, layer.padding, layer.padding) * 2
        around = graph.constant(f"mirror.{layer.padding}", pads, np.int64)
        x = graph.add("Pad", f"{name}.mirrored", x, around, how={"mode": "reflect"})
        zeros = 0
    inputs = [x, graph.weight(layer, arrays[f"{name}.weight"])]
    if layer.bias:
        inputs.append(graph.constant(f"{name}.bias", arrays[f"{name}.bias"]))
    geometry: dict[str, Any] = {
        "kernel_shape": layer.shape[2:], "strides": [layer.stride] * 2, "pads": [zeros] * 4,
    }  # fmt: skip
    if layer.transposed:
        geometry["output_padding"] = [1, 1]
    operator = "ConvTranspose" if layer.transposed else "Conv"
    x = graph.add(operator, name, *inputs, how=geometry)
    if layer.norm:
        channels = layer.channels_out
        one = graph.constant(f"ones.{channels}", np.ones(channels))
        zero = graph.constant(f"zeros.{channels}", np.zeros(channels))
        x = graph.add(
            "InstanceNormalization", f"{name}.norm", x, one, zero, how={"epsilon": NORM_EPS}
        )
    if layer.leak is None:
        return x
    if layer.leak:
        return graph.add("LeakyRelu", f"{name}.active", x, how={"alpha": layer.leak})
    return graph.add("Relu", f"{name}.active", x)


def _added(graph: _Graph, x: str, head: str) -> None:
    """Adds tanh(atanh(0.98 x) + head) / 0.98, clipped, as engines compute it: x where head is 0."""
    limits = (-START_LIMIT, START_LIMIT)
    least, most = (graph.constant(f"start.limit.{k}", limits[k]) for k in range(2))
    scale = graph.constant("start.scale", START_SCALE)
    x = graph.add("Clip", "start.input", x, least, most)
    beneath = graph.add("Atanh", "start.atanh", graph.add("Mul", "start.scaled", x, scale))
    after = graph.add("Tanh", "start.after", graph.add("Add", "start.moved", beneath, head))
    before = graph.add("Tanh", "start.before", beneath)
    change = graph.add("Sub", "start.change", after, before)
    change = graph.add("Div", "start.unscaled", change, scale)
    _clipped(graph, graph.add("Add", "start.sum", x, change))


def _clipped(graph: _Graph, x: str) -> None:
    """Makes `x` the output, clipped to [-1, 1] as engines do."""
    black, white = graph.constant("start.black", -1), graph.constant("start.white", 1)
    graph.add("Clip", OUTPUT, x, black, white)
