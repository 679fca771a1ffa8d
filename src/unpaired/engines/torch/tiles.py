"""A few layers of a generator on a tile, in PyTorch: see engines/tiles.py.

Norms take the statistics that they are given, so that a tile is translated as within its image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from unpaired.engines.architecture import NORM_EPS, Layer, Start
from unpaired.engines.tiles import (
    Edges,
    TileInput,
    TileResult,
    TileRun,
    closes_block,
    opens_block,
)
from unpaired.engines.torch.device import Machine
from unpaired.engines.torch.moments import Moments, moments
from unpaired.engines.torch.networks import finished_image

__all__ = ["run_tile"]

_TOGETHER = 4  # pixels that the head computes at once, where it has few outputs
_SAFE = 6e4  # a bound below which no half-precision number is infinite


def run_tile(
    run: TileRun,
    given: TileInput,
    layers: Sequence[Layer],
    parameters: Mapping[str, Tensor],
    start: Start,
    machine: Machine,
    dtype: DTypeLike,
) -> TileResult:
    """Runs layers on a tile: see tiles.TileNetworks. `parameters` have the names of `layers`."""
    send = _sender(machine)
    with torch.inference_mode(), machine.autocast():
        y = send(given.values)
        x = None if given.shortcut is None else send(given.shortcut)
        previous = None if run.entry is None else layers[run.entry]
        stream = None
        for step in run.steps:
            layer = layers[step.layer]
            if previous is not None:
                y = _finished(previous, y, given.statistics.get(step.layer - 1), send)
                if closes_block(previous) and x is not None:
                    y, x = y + x, None
            if opens_block(layer):
                x = y
                stream = None if run.stream is None else _cut(y, run.stream)
            if x is not None and closes_block(layer):
                x = _cut(x, step.shortcut)
            y = _convolved(layer, y, step.edges, parameters)
            previous = layer
        if previous is not None and previous.name == "head":
            image = None if given.image is None else send(given.image)
            return TileResult(_received(_image(y, image, start), np.float32), None, None, 0.0)
        owned = _cut(y, run.owned)
        sums = None
        if run.moments:
            sums = moments(owned) if given.weights is None else _weighted(owned, given.weights)
        largest = 0.0
        if np.dtype(dtype) == np.float16:
            largest = _bound(y, sums if not any(run.owned) else None) if run.values else 0.0
            largest = max(largest, 0.0 if stream is None else _bound(stream, None))
        return TileResult(
            _received(y, dtype) if run.values else None,
            None if stream is None else _received(stream, dtype),
            sums,
            largest,
        )


def _sender(machine: Machine) -> Any:
    """Arrays (height, width, channels) to channels-last tensors of one image on the device."""

    def send(array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        return tensor.to(machine.device).to(machine.dtype)[None].permute(0, 3, 1, 2)

    return send


def _received(y: Tensor, dtype: DTypeLike) -> NDArray[Any]:
    """A tensor of one image as an array (height, width, channels) of that type."""
    kind = getattr(torch, np.dtype(dtype).name)
    array: NDArray[Any] = y[0].permute(1, 2, 0).to(kind).contiguous().cpu().numpy()
    return array


def _finished(
    layer: Layer, y: Tensor, statistics: tuple[NDArray[Any], NDArray[Any]] | None, send: Any
) -> Tensor:
    """The norm, of given statistics, and the activation that follow a layer; `y` is overwritten."""
    if layer.norm:
        assert statistics is not None
        mean, variance = map(send, statistics)
        if mean.shape[2:] == (1, 1):
            y = F.batch_norm(y.to(mean.dtype), mean.flatten(), variance.flatten(), eps=NORM_EPS)
        else:
            y = (y - mean) * torch.rsqrt(variance + NORM_EPS)
    if layer.leak is None:
        return y
    return F.leaky_relu_(y, layer.leak) if layer.leak else torch.relu_(y)


def _convolved(layer: Layer, y: Tensor, edges: Edges, parameters: Mapping[str, Tensor]) -> Tensor:
    """A layer's convolution, where `edges` say what to pad and to cut."""
    weight, bias = (parameters.get(f"{layer.name}.{kind}") for kind in ("weight", "bias"))
    assert weight is not None
    if layer.transposed:
        return _cut(F.conv_transpose2d(y, weight, bias, layer.stride), edges)
    if layer.enlarge == 2 and layer.shape[-1] == 3 and layer.mirrored:
        return _enlarged(y, weight, bias, edges)
    if layer.enlarge > 1:
        y = F.interpolate(y, scale_factor=float(layer.enlarge), mode="nearest")
    y = _cut(y, edges)
    top, bottom, left, right = (max(edge, 0) for edge in edges)
    if any((top, bottom, left, right)):
        mode = "reflect" if layer.mirrored else "constant"
        y = F.pad(y, [left, right, top, bottom], mode=mode)
    if layer.name == "head" and layer.channels_out <= _TOGETHER:
        return _few_outputs(y, weight, bias)
    return F.conv2d(y, weight, bias, layer.stride)


def _enlarged(y: Tensor, weight: Tensor, bias: Tensor | None, edges: Edges) -> Tensor:
    """An enlargement by 2 and a 3 x 3 convolution, as one transposed convolution of 4 x 4.

    It is the same sum with 4/9 of the multiplications. Mirroring the enlarged tile by a pixel is
    repeating the edge of the tile itself.
    """
    top, bottom, left, right = (int(edge > 0) for edge in edges)
    if any((top, bottom, left, right)):
        y = F.pad(y, [left, right, top, bottom], mode="replicate")
    kernel = weight.transpose(0, 1)
    for axis in (2, 3):
        first, middle, last = kernel.unbind(axis)
        kernel = torch.stack([last, middle + last, first + middle, first], axis)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    cut = tuple(edge - 2 - 2 * (edge > 0) for edge in edges)
    return _cut(F.conv_transpose2d(y, kernel, bias, 2), cut)  # type: ignore[arg-type]


def _few_outputs(y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution that computes four pixels of a row at once: most of a vector would idle.

    Its kernels are those of the layer, moved by a pixel each. The width is a multiple of 4.
    """
    outer, inner, high, side = weight.shape
    wide = weight.new_zeros(_TOGETHER, outer, inner, high, side + _TOGETHER - 1)
    for pixel in range(_TOGETHER):
        wide[pixel, ..., pixel : pixel + side] = weight
    kernel = wide.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    bias = None if bias is None else bias.repeat(_TOGETHER)
    z = F.conv2d(y, kernel, bias, stride=(1, _TOGETHER)).permute(0, 2, 3, 1)
    height, width = z.shape[1:3]
    return z.reshape(1, height, width * _TOGETHER, outer).permute(0, 3, 1, 2)


def _cut(y: Tensor, edges: Edges) -> Tensor:
    """`y` without the pixels that negative edges cut."""
    top, bottom, left, right = (min(edge, 0) for edge in edges)
    height, width = y.shape[2:]
    return y[:, :, -top : height + bottom, -left : width + right]


def _image(y: Tensor, image: Tensor | None, start: Start) -> Tensor:
    """The translation that the head's result means, in [-1, 1]."""
    assert image is not None or start == "noise"
    return finished_image(y if image is None else image, y, start).clamp(-1, 1)


def _weighted(y: Tensor, weights: NDArray[Any]) -> Moments:
    w = np.asarray(weights, np.float64)
    count = float(w.sum())
    channels = y.shape[1]
    if not count:
        return 0.0, np.zeros(channels), np.zeros(channels)
    x = y[0].permute(1, 2, 0).reshape(-1, channels)
    share = torch.from_numpy(w.ravel() / count).to(y.device)
    rows = range(0, len(share), 2**16)
    mean = sum(share[at : at + 2**16] @ x[at : at + 2**16].double() for at in rows)
    variance = sum(
        share[at : at + 2**16] @ (x[at : at + 2**16].double() - mean).square_() for at in rows
    )
    return count, mean.cpu().numpy(), variance.cpu().numpy() * count  # type: ignore[union-attr]


def _bound(y: Tensor, sums: Moments | None) -> float:
    """A bound of the absolute values: of the moments if they show that it is small, else exact."""
    if sums is not None:
        _, mean, squares = sums
        bound = float(np.max(np.abs(mean) + np.sqrt(squares)))
        if bound < _SAFE:
            return bound
    low, high = torch.aminmax(y[0].permute(1, 2, 0))
    return max(-float(low), float(high))
