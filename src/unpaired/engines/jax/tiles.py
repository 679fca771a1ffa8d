"""A few layers of a generator on a tile, in JAX: see engines/tiles.py.

Norms take the statistics that they are given, so that a tile is translated as within its image.
Compiled by the geometry of the tile: blocks share what is compiled, for a layer's name is no part
of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import DTypeLike

from unpaired.engines.architecture import NORM_EPS, Layer, Start
from unpaired.engines.jax.device import Machine
from unpaired.engines.jax.networks import finished_image
from unpaired.engines.tiles import (
    Edges,
    TileInput,
    TileResult,
    TileRun,
    closes_block,
    opens_block,
)

__all__ = ["run_tile"]

_CHUNK = 1024  # pixels whose sums are taken in fp32, before they are merged in float64


class _Geometry(NamedTuple):
    """What is compiled: the layers without their places in the network, and what is cut."""

    entry: Layer | None
    layers: tuple[Layer, ...]
    edges: tuple[Edges, ...]
    shortcuts: tuple[Edges, ...]
    owned: Edges
    values: bool
    stream: Edges | None
    moments: bool
    start: Start
    dtype: str


def run_tile(
    run: TileRun,
    given: TileInput,
    layers: Sequence[Layer],
    parameters: Mapping[str, Array],
    start: Start,
    machine: Machine,
    dtype: DTypeLike,
) -> TileResult:
    """Runs layers on a tile: see tiles.TileNetworks. `parameters` have the names of `layers`.

    In fp32, or fp64 as trained, so that tiles fit.
    """
    used = [layers[step.layer] for step in run.steps]
    geometry = _Geometry(
        None if run.entry is None else _nameless(layers[run.entry]),
        tuple(map(_nameless, used)),
        tuple(step.edges for step in run.steps),
        tuple(step.shortcut for step in run.steps),
        run.owned,
        run.values,
        run.stream,
        run.moments,
        start,
        np.dtype(dtype).name,
    )
    weights = [
        (parameters[f"{layer.name}.weight"], parameters.get(f"{layer.name}.bias")) for layer in used
    ]
    finished = [run.entry, *(step.layer for step in run.steps[:-1])]
    wide = np.dtype(machine.dtype)
    statistics = [
        [x.astype(wide) for x in given.statistics[index]] if index in given.statistics else None
        for index in finished
        if index is not None
    ]
    with machine.arithmetic():
        results = _run(
            given.values,
            given.shortcut,
            given.image,
            statistics,
            weights,
            None if given.weights is None else np.asarray(given.weights, wide),
            geometry=geometry,
        )
        values, stream, parts, largest = jax.device_get(results)
    moments = None if parts is None else _merged(*(np.asarray(x, np.float64) for x in parts))
    return TileResult(values, stream, moments, float(largest))


def _nameless(layer: Layer) -> Layer:
    """The layer without its place: blocks are alike."""
    kind = layer.name.rpartition(".")[2]
    return replace(layer, name=f".{kind}" if kind in ("conv1", "conv2") else kind)


@partial(jax.jit, static_argnames="geometry")
def _run(
    values: Array,
    shortcut: Array | None,
    image: Array | None,
    statistics: Any,
    weights: Sequence[tuple[Array, Array | None]],
    counted: Array | None,
    *,
    geometry: _Geometry,
) -> Any:
    """(values, stream, moments of chunks, largest), as `run_tile` returns them."""
    wide = jnp.promote_types(weights[0][0].dtype, jnp.float32)
    y = values[None].astype(wide)
    x = None if shortcut is None else shortcut[None].astype(wide)
    stream = None
    previous = geometry.entry
    pending = iter(statistics)
    for at, layer in enumerate(geometry.layers):
        if previous is not None:
            y = _finished(previous, y, next(pending))
            if closes_block(previous) and x is not None:
                y, x = y + x, None
        if opens_block(layer):
            x = y
            stream = None if geometry.stream is None else _cut(y, geometry.stream)
        if x is not None and closes_block(layer):
            x = _cut(x, geometry.shortcuts[at])
        weight, bias = weights[at]
        y = _convolved(layer, y, geometry.edges[at], weight, bias)
        previous = layer
    if previous is not None and previous.name == "head":
        assert image is not None or geometry.start == "noise"
        given = y if image is None else image[None].astype(wide)
        translated = jnp.clip(finished_image(given, y, geometry.start), -1, 1)
        return translated[0].astype(jnp.float32), None, None, 0.0
    moments = _chunks(_cut(y, geometry.owned)[0], counted) if geometry.moments else None
    largest = jnp.zeros(())
    if geometry.dtype == "float16":
        wanted = [y] if geometry.values else []
        wanted += [] if stream is None else [stream]
        largest = jnp.max(jnp.array([jnp.max(jnp.abs(each)) for each in wanted] or [0.0]))
    kind = jnp.dtype(geometry.dtype)
    return (
        y[0].astype(kind) if geometry.values else None,
        None if stream is None else stream[0].astype(kind),
        moments,
        largest,
    )


def _finished(layer: Layer, y: Array, statistics: Any) -> Array:
    """The norm, of given statistics, and the activation that follow a layer."""
    if layer.norm:
        mean, variance = statistics
        y = (y - mean) * lax.rsqrt(variance + NORM_EPS)
    if layer.leak is None:
        return y
    return jnp.where(y > 0, y, layer.leak * y) if layer.leak else jax.nn.relu(y)


def _convolved(layer: Layer, y: Array, edges: Edges, weight: Array, bias: Array | None) -> Array:
    """A layer's convolution, where `edges` say what to pad and to cut."""
    if layer.transposed:
        around = weight.shape[-1] - 1
        y = lax.conv_general_dilated(
            y,
            weight[:, :, ::-1, ::-1],
            window_strides=(1, 1),
            padding=[(around, around)] * 2,
            lhs_dilation=(layer.stride, layer.stride),
            dimension_numbers=("NHWC", "IOHW", "NHWC"),
        )
        y = _cut(y, edges)
    else:
        if layer.enlarge > 1:
            y = y.repeat(layer.enlarge, axis=1).repeat(layer.enlarge, axis=2)
        top, bottom, left, right = (max(edge, 0) for edge in edges)
        pads = ((0, 0), (top, bottom), (left, right), (0, 0))
        y = jnp.pad(_cut(y, edges), pads, mode="reflect" if layer.mirrored else "constant")
        y = lax.conv_general_dilated(
            y,
            weight,
            window_strides=(layer.stride, layer.stride),
            padding="VALID",
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
        )
    return y if bias is None else y + bias


def _cut(y: Array, edges: Edges) -> Array:
    """`y` without the pixels that negative edges cut."""
    top, bottom, left, right = (min(edge, 0) for edge in edges)
    height, width = y.shape[1:3]
    return y[:, -top : height + bottom, -left : width + right]


def _chunks(y: Array, counted: Array | None) -> tuple[Array, Array, Array]:
    """Sums of weights, means and sums of squared deviations, of chunks of pixels."""
    channels = y.shape[-1]
    flat = y.reshape(-1, channels)
    weights = jnp.ones(len(flat), y.dtype) if counted is None else counted.reshape(-1)
    missing = -len(flat) % _CHUNK
    flat = jnp.pad(flat, ((0, missing), (0, 0))).reshape(-1, _CHUNK, channels)
    weights = jnp.pad(weights, (0, missing)).reshape(-1, _CHUNK, 1)
    counts = weights.sum(1)
    means = (flat * weights).sum(1) / jnp.maximum(counts, 1e-12)
    squares = (weights * jnp.square(flat - means[:, None])).sum(1)
    return counts, means, squares


def _merged(counts: Any, means: Any, squares: Any) -> Any:
    """The moments of all chunks together, in float64."""
    count = float(counts.sum())
    mean = (counts * means).sum(0) / max(count, 1e-12)
    return count, mean, (squares + counts * np.square(means - mean)).sum(0)
