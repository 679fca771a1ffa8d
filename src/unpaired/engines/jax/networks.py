"""The two networks in JAX: a ResNet generator and a PatchGAN discriminator, as in torch/networks.

Sources: arXiv 1703.10593, section 7.2, and the authors' code; architecture.py has the layers.
Images are NHWC; kernels are OIHW as PyTorch has them, so that names and shapes of the weights are
those of every engine. A network computes in the type of its weights, whatever that of its images.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from unpaired.engines.architecture import NORM_EPS, START_LIMIT, START_SCALE, Layer, Start

__all__ = [
    "Discriminator",
    "Discriminators",
    "Generator",
    "Generators",
    "in_precision",
    "through",
]

Tree = TypeVar("Tree")


def instance_norm(x: Array) -> Array:
    """Each channel of each image to mean 0 and variance 1 (biased, eps 1e-5), no parameters.

    Sums are in fp32 (fp64 for fp64) whatever the type of `x`.
    """
    wide = _at_least_fp32(x)
    centred = wide - wide.mean((1, 2), keepdims=True)
    variance = jnp.square(centred).mean((1, 2), keepdims=True)
    return (centred * lax.rsqrt(variance + NORM_EPS)).astype(x.dtype)


def finish(layer: Layer, x: Array) -> Array:
    """The norm and the activation that follow a layer."""
    if layer.norm:
        x = instance_norm(x)
    if layer.leak is None:
        return x
    return jnp.where(x > 0, x, layer.leak * x) if layer.leak else jax.nn.relu(x)


def added(x: Array, y: Array) -> Array:
    """tanh(atanh(0.98 x) + y) / 0.98, written so that it is exactly the image `x` where `y` is 0.

    There L1 losses have slope 0; a rounding error would give every pixel's slope a random sign.
    """
    x = jnp.clip(x, -START_LIMIT, START_LIMIT)
    beneath = jnp.arctanh(START_SCALE * x)
    return x + (jnp.tanh(beneath + y) - jnp.tanh(beneath)) / START_SCALE


def finished_image(x: Array, y: Array, start: Start) -> Array:
    """The result of a generator whose head gives `y` for the image `x`, at least fp32."""
    y = _at_least_fp32(y)
    if start == "noise":
        return jnp.tanh(y)
    x = _at_least_fp32(x)
    return x + y if start == "residual" else added(x, y)


class Convolution(eqx.Module):
    """A layer as `architecture` describes it: enlargement, padding, convolution, what follows.

    Its weights are all 0 until a state is loaded.
    """

    weight: Array
    bias: Array | None
    layer: Layer = eqx.field(static=True)

    def __init__(self, layer: Layer, dtype: jnp.dtype) -> None:
        self.weight = jnp.zeros(layer.shape, dtype)
        self.bias = jnp.zeros((layer.channels_out,), dtype) if layer.bias else None
        self.layer = layer

    def __call__(self, x: Array) -> Array:
        y = self._transposed(x) if self.layer.transposed else self._direct(x)
        if self.bias is not None:
            y = y + self.bias[None, None, None, :]
        return finish(self.layer, y)

    def _direct(self, x: Array) -> Array:
        layer, pad = self.layer, self.layer.padding
        if layer.enlarge > 1:
            x = x.repeat(layer.enlarge, axis=1).repeat(layer.enlarge, axis=2)
        if layer.mirrored:
            x, pad = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect"), 0
        return lax.conv_general_dilated(
            x,
            self.weight,
            window_strides=(layer.stride, layer.stride),
            padding=[(pad, pad)] * 2,
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
        )

    def _transposed(self, x: Array) -> Array:
        """The gradient of a strided convolution; kernels are (in, out, side, side).

        The input is spread out with zeros between its pixels and convolved with the kernel rotated
        by half a turn.
        """
        before = self.weight.shape[-1] - 1 - self.layer.padding
        return lax.conv_general_dilated(
            x,
            self.weight[:, :, ::-1, ::-1],
            window_strides=(1, 1),
            padding=[(before, before + 1)] * 2,  # one more: the sides are doubled exactly
            lhs_dilation=(self.layer.stride, self.layer.stride),
            dimension_numbers=("NHWC", "IOHW", "NHWC"),
        )


class ResidualBlock(eqx.Module):
    """x + norm(conv(relu(norm(conv(x))))), or the same without norms."""

    conv1: Convolution
    conv2: Convolution

    def __init__(self, first: Layer, second: Layer, dtype: jnp.dtype) -> None:
        self.conv1, self.conv2 = Convolution(first, dtype), Convolution(second, dtype)

    def __call__(self, x: Array) -> Array:
        return x + self.conv2(self.conv1(x))


class Upsampling(eqx.Module):
    """Doubles the sides by a transposed convolution, or by one after an enlargement."""

    conv: Convolution

    def __init__(self, layer: Layer, dtype: jnp.dtype) -> None:
        self.conv = Convolution(layer, dtype)

    def __call__(self, x: Array) -> Array:
        return self.conv(x)


class Generator(eqx.Module):
    """Images (N, H, W, bands_in) to images (N, H, W, bands_out) in [-1, 1].

    H and W are multiples of 4, at least 8. `layers` are those of `architecture.generator_layers`.
    With another `start` than "noise" the head is added to the input, and the sum may exceed 1.
    """

    stem: Convolution
    down: tuple[Convolution, ...]
    blocks: tuple[ResidualBlock, ...]
    up: tuple[Upsampling, ...]
    head: Convolution
    start: Start = eqx.field(static=True)
    recompute: bool = eqx.field(static=True)

    def __init__(
        self,
        layers: Sequence[Layer],
        dtype: jnp.dtype,
        start: Start = "noise",
        recompute: bool = False,
    ) -> None:
        stem, down0, down1, *blocks, up0, up1, head = layers
        pairs = zip(blocks[::2], blocks[1::2], strict=True)
        self.stem = Convolution(stem, dtype)
        self.down = (Convolution(down0, dtype), Convolution(down1, dtype))
        self.blocks = tuple(ResidualBlock(*pair, dtype) for pair in pairs)
        self.up = (Upsampling(up0, dtype), Upsampling(up1, dtype))
        self.head = Convolution(head, dtype)
        self.start, self.recompute = start, recompute

    def __call__(self, x: Array) -> Array:
        stages: tuple[Callable[[Array], Array], ...] = (*self.down, *self.blocks, *self.up)
        y = self.stem(x.astype(self.stem.weight.dtype))
        for stage in stages:
            y = (eqx.filter_checkpoint(stage) if self.recompute else stage)(y)
        return finished_image(x, self.head(y), self.start)


class Discriminator(eqx.Module):
    """Images (N, H, W, bands) to scores (N, h, w, 1), one per patch; no sigmoid.

    `layers` are those of `architecture.discriminator_layers`.
    """

    layers: tuple[Convolution, ...]
    head: Convolution

    def __init__(self, layers: Sequence[Layer], dtype: jnp.dtype) -> None:
        *inner, head = layers
        self.layers = tuple(Convolution(layer, dtype) for layer in inner)
        self.head = Convolution(head, dtype)

    def __call__(self, x: Array) -> Array:
        x = x.astype(self.head.weight.dtype)
        for layer in self.layers:
            x = layer(x)
        return _at_least_fp32(self.head(x))


Generators = dict[str, Generator]
Discriminators = dict[str, Discriminator]


def through(network: Generator | Discriminator, x: Array, one_by_one: bool) -> Array:
    """The network's result on images (N, H, W, bands), all at once or one by one.

    On a CPU convolutions of batches are up to eight times slower than those of single images, and
    loops in the compiled code slower still, so the loop is unrolled (docs/results.md).
    """
    if not one_by_one:
        return network(x)
    return jnp.concatenate([network(one) for one in jnp.split(x, len(x))])


def in_precision(tree: Tree, precision: str) -> Tree:
    """Casts weights and images for the convolutions; gradients come back in their own type."""
    if precision != "bf16":
        return tree
    cast: Tree = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)
    return cast


def _at_least_fp32(x: Array) -> Array:
    """fp32 where a convolution gave bf16: tanh and losses are never computed in less."""
    return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x
