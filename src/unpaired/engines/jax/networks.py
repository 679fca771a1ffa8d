"""The two networks in JAX: a ResNet generator and a PatchGAN discriminator, as in torch/networks.

Sources: arXiv 1703.10593, section 7.2, and the authors' code. Convolutions in front of an instance
norm have no bias: the norm would remove it. Images are NHWC; kernels are OIHW as PyTorch has
them, so that names and shapes of the weights are those of every engine.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from unpaired.config import Recipe
from unpaired.directions import DIRECTIONS, source_of, target_of
from unpaired.engines.architecture import (
    LEAK,
    NORM_EPS,
    discriminator_channels,
    generator_channels,
)

__all__ = ["Discriminator", "Generator", "make_discriminators", "make_generators"]

_LAYOUT = ("NHWC", "OIHW", "NHWC")


def make_generators(recipe: Recipe, dtype: jnp.dtype) -> dict[str, "Generator"]:
    """Makes both generators of a recipe, all weights 0, `generator_ab` first."""
    return {
        f"generator_{direction}": Generator(
            recipe.domains[source_of(direction)].bands,
            recipe.domains[target_of(direction)].bands,
            width=recipe.width,
            blocks=recipe.blocks,
            upsample=recipe.upsample,
            dtype=dtype,
        )
        for direction in DIRECTIONS
    }


def make_discriminators(recipe: Recipe, dtype: jnp.dtype) -> dict[str, "Discriminator"]:
    """Makes both discriminators of a recipe, all weights 0, `discriminator_a` first."""
    return {
        f"discriminator_{domain}": Discriminator(
            facts.bands,
            width=recipe.discriminator_width,
            layers=recipe.discriminator_layers,
            dtype=dtype,
        )
        for domain, facts in recipe.domains.items()
    }


def instance_norm(x: Array) -> Array:
    """Each channel of each image to mean 0 and variance 1 (biased, eps 1e-5), no parameters.

    Sums are in fp32 (fp64 for fp64) whatever the type of `x`.
    """
    wide = _at_least_fp32(x)
    centred = wide - wide.mean((1, 2), keepdims=True)
    variance = jnp.square(centred).mean((1, 2), keepdims=True)
    return (centred * lax.rsqrt(variance + NORM_EPS)).astype(x.dtype)


def reflect(x: Array, pad: int) -> Array:
    """`x` (N, H, W, C) mirrored outwards by `pad` pixels, the edge itself not repeated."""
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


def leaky_relu(x: Array) -> Array:
    """`x` where it is positive, else a fifth of it."""
    return jnp.where(x > 0, x, LEAK * x)


class Conv(eqx.Module):
    """A convolution of NHWC images, its weights all 0 until a state is loaded."""

    weight: Array
    bias: Array | None
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)

    def __init__(
        self,
        inner: int,
        outer: int,
        size: int,
        dtype: jnp.dtype,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
    ) -> None:
        self.weight = jnp.zeros((outer, inner, size, size), dtype)
        self.bias = jnp.zeros((outer,), dtype) if bias else None
        self.stride, self.padding = stride, padding

    def __call__(self, x: Array) -> Array:
        y = lax.conv_general_dilated(
            x,
            self.weight,
            window_strides=(self.stride, self.stride),
            padding=[(self.padding, self.padding)] * 2,
            dimension_numbers=_LAYOUT,
        )
        return y if self.bias is None else y + self.bias[None, None, None, :]


class ConvTransposed(eqx.Module):
    """The transposed 3x3 convolution of stride 2: doubles the size. Kernels are (in, out, 3, 3).

    It is the gradient of a strided convolution: the input is spread out with zeros between its
    pixels and convolved with the kernel rotated by half a turn.
    """

    weight: Array

    def __init__(self, inner: int, outer: int, dtype: jnp.dtype) -> None:
        self.weight = jnp.zeros((inner, outer, 3, 3), dtype)

    def __call__(self, x: Array) -> Array:
        return lax.conv_general_dilated(
            x,
            self.weight[:, :, ::-1, ::-1],
            window_strides=(1, 1),
            padding=[(1, 2)] * 2,
            lhs_dilation=(2, 2),
            dimension_numbers=("NHWC", "IOHW", "NHWC"),
        )


class ResidualBlock(eqx.Module):
    """x + norm(conv(relu(norm(conv(x))))), 3x3 convolutions on mirrored borders."""

    conv1: Conv
    conv2: Conv

    def __init__(self, channels: int, dtype: jnp.dtype) -> None:
        self.conv1 = Conv(channels, channels, 3, dtype)
        self.conv2 = Conv(channels, channels, 3, dtype)

    def __call__(self, x: Array) -> Array:
        y = jax.nn.relu(instance_norm(self.conv1(reflect(x, 1))))
        return x + instance_norm(self.conv2(reflect(y, 1)))


class UpTransposed(eqx.Module):
    """Doubles the size by a transposed 3x3 convolution of stride 2."""

    conv: ConvTransposed

    def __init__(self, inner: int, outer: int, dtype: jnp.dtype) -> None:
        self.conv = ConvTransposed(inner, outer, dtype)

    def __call__(self, x: Array) -> Array:
        return self.conv(x)


class UpResize(eqx.Module):
    """Doubles the size by nearest neighbour, then a 3x3 convolution: no checkerboards.

    Source: Odena et al., "Deconvolution and Checkerboard Artifacts", Distill 2016.
    """

    conv: Conv

    def __init__(self, inner: int, outer: int, dtype: jnp.dtype) -> None:
        self.conv = Conv(inner, outer, 3, dtype)

    def __call__(self, x: Array) -> Array:
        return self.conv(reflect(x.repeat(2, axis=1).repeat(2, axis=2), 1))


class Generator(eqx.Module):
    """Images (N, H, W, bands_in) to images (N, H, W, bands_out) in [-1, 1].

    H and W are multiples of 4, at least 8. A 7x7 stem, two convolutions of stride 2, residual
    blocks, two upsamplings, a 7x7 head and tanh.
    """

    stem: Conv
    down: tuple[Conv, ...]
    blocks: tuple[ResidualBlock, ...]
    up: tuple[UpTransposed | UpResize, ...]
    head: Conv

    def __init__(
        self,
        bands_in: int,
        bands_out: int,
        *,
        width: int,
        blocks: int,
        upsample: str,
        dtype: jnp.dtype,
    ) -> None:
        one, two, four = generator_channels(width)
        up = UpTransposed if upsample == "transposed" else UpResize
        self.stem = Conv(bands_in, one, 7, dtype)
        self.down = tuple(
            Conv(inner, outer, 3, dtype, stride=2, padding=1)
            for inner, outer in ((one, two), (two, four))
        )
        self.blocks = tuple(ResidualBlock(four, dtype) for _ in range(blocks))
        self.up = (up(four, two, dtype), up(two, one, dtype))
        self.head = Conv(one, bands_out, 7, dtype, bias=True)

    def __call__(self, x: Array) -> Array:
        x = jax.nn.relu(instance_norm(self.stem(reflect(x, 3))))
        for down in self.down:
            x = jax.nn.relu(instance_norm(down(x)))
        for block in self.blocks:
            x = block(x)
        for up in self.up:
            x = jax.nn.relu(instance_norm(up(x)))
        return jnp.tanh(_at_least_fp32(self.head(reflect(x, 3))))


class Discriminator(eqx.Module):
    """Images (N, H, W, bands) to scores (N, h, w, 1), one per patch; no sigmoid.

    With 3 layers a score sees 70x70 pixels, with 2 34x34, with 1 16x16.
    """

    layers: tuple[Conv, ...]
    head: Conv

    def __init__(self, bands: int, *, width: int, layers: int, dtype: jnp.dtype) -> None:
        channels = discriminator_channels(bands, width, layers)
        self.layers = tuple(
            Conv(
                channels[k],
                channels[k + 1],
                4,
                dtype,
                stride=2 if k < layers else 1,
                padding=1,
                bias=k == 0,  # the one layer that no norm follows
            )
            for k in range(layers + 1)
        )
        self.head = Conv(channels[-1], 1, 4, dtype, padding=1, bias=True)

    def __call__(self, x: Array) -> Array:
        for k, layer in enumerate(self.layers):
            x = leaky_relu(layer(x) if k == 0 else instance_norm(layer(x)))
        return _at_least_fp32(self.head(x))


def _at_least_fp32(x: Array) -> Array:
    """fp32 where a convolution gave bf16: tanh and losses are never computed in less."""
    return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x
