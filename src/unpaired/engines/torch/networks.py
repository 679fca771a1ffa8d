"""The two networks in PyTorch: a ResNet generator and a PatchGAN discriminator.

Sources: arXiv 1703.10593, section 7.2, and the authors' code. Convolutions in front of an instance
norm have no bias: the norm would remove it. Kernels are channels-last.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unpaired.config import Recipe
from unpaired.directions import DIRECTIONS, source_of, target_of
from unpaired.engines.architecture import (
    LEAK,
    NORM_EPS,
    discriminator_channels,
    generator_channels,
)

__all__ = ["Discriminator", "Generator", "make_discriminators", "make_generators"]


def make_generators(recipe: Recipe) -> dict[str, nn.Module]:
    """Makes both generators of a recipe, `generator_ab` first."""
    return {
        f"generator_{direction}": Generator(
            recipe.domains[source_of(direction)].bands,
            recipe.domains[target_of(direction)].bands,
            width=recipe.width,
            blocks=recipe.blocks,
            upsample=recipe.upsample,
        )
        for direction in DIRECTIONS
    }


def make_discriminators(recipe: Recipe) -> dict[str, nn.Module]:
    """Makes both discriminators of a recipe, `discriminator_a` first."""
    return {
        f"discriminator_{domain}": Discriminator(
            facts.bands, width=recipe.discriminator_width, layers=recipe.discriminator_layers
        )
        for domain, facts in recipe.domains.items()
    }


def instance_norm(x: Tensor) -> Tensor:
    """Each channel of each image to mean 0 and variance 1 (biased, eps 1e-5), no parameters.

    A batch norm of one image is an instance norm; PyTorch has it for channels-last tensors, sums
    in fp32 (fp64 for fp64) whatever the type of `x`. `F.instance_norm` and `F.group_norm` change
    the layout or have a slow backward pass: see docs/results.md, 2026-11-22.
    """
    each = torch.split(x, 1)
    alone = [F.batch_norm(one, None, None, training=True, eps=NORM_EPS) for one in each]
    return alone[0] if len(alone) == 1 else torch.cat(alone)


def reflect(x: Tensor, pad: int) -> Tensor:
    """`x` (N, C, H, W) mirrored outwards by `pad` pixels, the edge itself not repeated."""
    return F.pad(x, (pad, pad, pad, pad), mode="reflect")


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), 3x3 convolutions on mirrored borders."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(instance_norm(self.conv1(reflect(x, 1))))
        return x + instance_norm(self.conv2(reflect(y, 1)))


class UpTransposed(nn.Module):
    """Doubles the size by a transposed 3x3 convolution of stride 2."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            inner, outer, 3, stride=2, padding=1, output_padding=1, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class UpResize(nn.Module):
    """Doubles the size by nearest neighbour, then a 3x3 convolution: no checkerboards.

    Source: Odena et al., "Deconvolution and Checkerboard Artifacts", Distill 2016.
    """

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(reflect(F.interpolate(x, scale_factor=2.0, mode="nearest"), 1))
        return y


class Generator(nn.Module):
    """Images (N, bands_in, H, W) to images (N, bands_out, H, W) in [-1, 1].

    H and W are multiples of 4, at least 8. A 7x7 stem, two convolutions of stride 2, residual
    blocks, two upsamplings, a 7x7 head and tanh.
    """

    def __init__(
        self, bands_in: int, bands_out: int, *, width: int, blocks: int, upsample: str
    ) -> None:
        super().__init__()
        one, two, four = generator_channels(width)
        up = UpTransposed if upsample == "transposed" else UpResize
        self.stem = nn.Conv2d(bands_in, one, 7, bias=False)
        self.down = nn.ModuleList(
            nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False)
            for inner, outer in ((one, two), (two, four))
        )
        self.blocks = nn.ModuleList(ResidualBlock(four) for _ in range(blocks))
        self.up = nn.ModuleList((up(four, two), up(two, one)))
        self.head = nn.Conv2d(one, bands_out, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(instance_norm(self.stem(reflect(x, 3))))
        for down in self.down:
            x = F.relu(instance_norm(down(x)))
        for block in self.blocks:
            x = block(x)
        for up in self.up:
            x = F.relu(instance_norm(up(x)))
        return torch.tanh(_at_least_fp32(self.head(reflect(x, 3))))


class Discriminator(nn.Module):
    """Images (N, bands, H, W) to scores (N, 1, h, w), one per patch; no sigmoid.

    With 3 layers a score sees 70x70 pixels, with 2 34x34, with 1 16x16.
    """

    def __init__(self, bands: int, *, width: int, layers: int) -> None:
        super().__init__()
        channels = discriminator_channels(bands, width, layers)
        self.layers = nn.ModuleList(
            nn.Conv2d(
                channels[k],
                channels[k + 1],
                4,
                stride=2 if k < layers else 1,
                padding=1,
                bias=k == 0,  # the one layer that no norm follows
            )
            for k in range(layers + 1)
        )
        self.head = nn.Conv2d(channels[-1], 1, 4, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for k, layer in enumerate(self.layers):
            x = layer(x) if k == 0 else instance_norm(layer(x))
            x = F.leaky_relu(x, LEAK)
        return _at_least_fp32(self.head(x))


def _at_least_fp32(x: Tensor) -> Tensor:
    """fp32 where a convolution gave bf16: tanh and losses are never computed in less."""
    return x.float() if x.dtype == torch.bfloat16 else x
