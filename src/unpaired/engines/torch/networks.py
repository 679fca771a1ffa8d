"""The two networks in PyTorch: a ResNet generator and a PatchGAN discriminator.

Sources: arXiv 1703.10593, section 7.2, and the authors' code; architecture.py has the layers.
Kernels are channels-last.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unpaired.engines.architecture import NORM_EPS, START_LIMIT, START_SCALE, Layer, Start
from unpaired.engines.torch.moments import moments

__all__ = [
    "Convolution",
    "Discriminator",
    "Generator",
    "ResidualBlock",
    "TransposedConvolution",
    "Upsampling",
    "finish",
    "finished_image",
    "instance_norm",
]

_LARGE = 2**16  # pixels


def instance_norm(x: Tensor) -> Tensor:
    """Each channel of each image to mean 0 and variance 1 (biased, eps 1e-5), no parameters.

    A batch norm of one image is an instance norm; PyTorch has it for channels-last tensors, sums
    in fp32 (fp64 for fp64) whatever the type of `x`. `F.instance_norm` and `F.group_norm` change
    the layout or have a slow backward pass: see docs/results.md, 2026-11-22.
    """
    each = torch.split(x, 1)
    if x.device.type == "cpu" and x[0, 0].numel() > _LARGE and not torch.is_grad_enabled():
        alone = [_large_norm(one) for one in each]
    else:
        alone = [F.batch_norm(one, None, None, training=True, eps=NORM_EPS) for one in each]
    return alone[0] if len(alone) == 1 else torch.cat(alone)


def _large_norm(one: Tensor) -> Tensor:
    """The norm of a large image without gradients: PyTorch's sums would not be exact enough."""
    count, mean, squares = moments(one)
    wide = torch.float32 if one.dtype == torch.bfloat16 else one.dtype
    centre, variance = (torch.from_numpy(each).to(wide) for each in (mean, squares / count))
    return F.batch_norm(one, centre, variance, eps=NORM_EPS)


def finish(layer: Layer, x: Tensor) -> Tensor:
    """The norm and the activation that follow a layer."""
    if layer.norm:
        x = instance_norm(x)
    if layer.leak is None:
        return x
    return F.leaky_relu(x, layer.leak) if layer.leak else F.relu(x)


def added(x: Tensor, y: Tensor) -> Tensor:
    """tanh(atanh(0.98 x) + y) / 0.98, written so that it is exactly the image `x` where `y` is 0.

    There L1 losses have slope 0; a rounding error would give every pixel's slope a random sign.
    """
    x = x.clamp(-START_LIMIT, START_LIMIT)
    beneath = torch.atanh(START_SCALE * x)
    return x + (torch.tanh(beneath + y) - torch.tanh(beneath)) / START_SCALE


def finished_image(x: Tensor, y: Tensor, start: Start) -> Tensor:
    """The result of a generator whose head gives `y` for the image `x`, at least fp32."""
    y = _at_least_fp32(y)
    if start == "noise":
        return torch.tanh(y)
    x = _at_least_fp32(x)
    return x + y if start == "residual" else added(x, y)


class Convolution(nn.Conv2d):
    """A layer as `architecture` describes it: enlargement, padding, convolution, what follows."""

    def __init__(self, layer: Layer) -> None:
        outer, inner, side, _ = layer.shape
        zeros = 0 if layer.mirrored else layer.padding
        super().__init__(inner, outer, side, layer.stride, zeros, bias=layer.bias)
        self.layer, self.mirror = layer, layer.padding - zeros

    def forward(self, x: Tensor) -> Tensor:
        if self.layer.enlarge > 1:
            x = F.interpolate(x, scale_factor=float(self.layer.enlarge), mode="nearest")
        if self.mirror:
            x = F.pad(x, [self.mirror] * 4, mode="reflect")
        return finish(self.layer, super().forward(x))


class TransposedConvolution(nn.ConvTranspose2d):
    """A transposed layer, and what follows it; it doubles the sides."""

    def __init__(self, layer: Layer) -> None:
        inner, outer, side, _ = layer.shape
        super().__init__(
            inner, outer, side, layer.stride, layer.padding, output_padding=1, bias=layer.bias
        )
        self.layer = layer

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return finish(self.layer, super().forward(x, output_size))


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), or the same without norms."""

    def __init__(self, first: Layer, second: Layer) -> None:
        super().__init__()
        self.conv1, self.conv2 = Convolution(first), Convolution(second)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y


class Upsampling(nn.Module):
    """Doubles the sides by a transposed convolution, or by one after an enlargement."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.conv = TransposedConvolution(layer) if layer.transposed else Convolution(layer)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class Generator(nn.Module):
    """Images (N, bands_in, H, W) to images (N, bands_out, H, W) in [-1, 1].

    H and W are multiples of 4, at least 8. `layers` are those of `architecture.generator_layers`.
    With another `start` than "noise" the head is added to the input, and the sum may exceed 1.
    """

    def __init__(self, layers: Sequence[Layer], start: Start = "noise") -> None:
        super().__init__()
        stem, down0, down1, *blocks, up0, up1, head = layers
        self.stem = Convolution(stem)
        self.down = nn.ModuleList((Convolution(down0), Convolution(down1)))
        self.blocks = nn.ModuleList(map(ResidualBlock, blocks[::2], blocks[1::2]))
        self.up = nn.ModuleList((Upsampling(up0), Upsampling(up1)))
        self.head = Convolution(head)
        self.start = start
        self.recompute = False
        """Whether stages keep only their inputs for the backward pass, and are computed again
        there (Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174)."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for stage in (*self.down, *self.blocks, *self.up):
            if self.recompute and torch.is_grad_enabled():
                y = checkpoint(stage, y, use_reentrant=False, preserve_rng_state=False)
            else:
                y = stage(y)
        return finished_image(x, self.head(y), self.start)


class Discriminator(nn.Module):
    """Images (N, bands, H, W) to scores (N, 1, h, w), one per patch; no sigmoid.

    `layers` are those of `architecture.discriminator_layers`.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        *inner, head = layers
        self.layers = nn.ModuleList(Convolution(layer) for layer in inner)
        self.head = Convolution(head)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return _at_least_fp32(self.head(x))


def _at_least_fp32(x: Tensor) -> Tensor:
    """fp32 where a convolution gave bf16: tanh and losses are never computed in less."""
    return x.float() if x.dtype == torch.bfloat16 else x
