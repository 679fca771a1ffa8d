"""Generators prepared for translating: the same results in less time, without gradients.

A prepared generator is a copy with some of its layers replaced:

- the head computes four pixels at once: with three outputs, most of a vector unit would idle;
- an enlargement and its convolution become one transposed convolution of 4 x 4, exactly, with 4/9
  of the multiplications and no enlarged tensor;
- the convolutions of residual blocks are Winograd's, if asked for (winograd.py);
- what follows a convolution is one pass on CUDA, if asked for (fused.py);
- weights are in bf16 once and for all, if asked for; the input of `added` stays fp32, and so may
  the layers before the residual blocks, whose rounding errors pass through all others.
"""

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unpaired.engines.architecture import NORM_EPS, Layer
from unpaired.engines.tiles import closes_block, opens_block
from unpaired.engines.torch.networks import (
    Convolution,
    Generator,
    ResidualBlock,
    TransposedConvolution,
    Upsampling,
    finish,
    finished_image,
    instance_norm,
)
from unpaired.engines.torch.winograd import WinogradConvolution

__all__ = ["FusedGenerator", "normalised", "prepared"]

_TOGETHER = 4  # pixels that the head computes at once; sides are multiples of 4


def prepared(
    generator: Generator, dtype: torch.dtype, *, winograd: bool, first: torch.dtype | None = None
) -> Generator:
    """A copy of `generator` for translating in `dtype`, fp32 or bf16; kernels channels-last.

    The layers before the residual blocks are in `first`, or in `dtype` too.
    """
    quick = copy.deepcopy(generator).requires_grad_(False)
    first = first or dtype
    quick.stem = _Typed(quick.stem, first)  # type: ignore[assignment]
    inner = quick.blocks if len(quick.blocks) else quick.up
    inner[0] = _Typed(inner[0], dtype)
    for parent, name, layer in list(_convolutions(quick)):
        replaced = _replaced(layer, dtype, winograd=winograd)
        if replaced is not None:
            setattr(parent, name, replaced)
    quick.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for early, late in ((quick.stem, generator.stem), (quick.down, generator.down)):
        early.to(first)
        for weights, exact in zip(early.parameters(), late.parameters(), strict=True):
            weights.copy_(exact)
    return quick.eval()


def _convolutions(network: nn.Module) -> Iterator[tuple[nn.Module, str, Convolution]]:
    """Every convolution of a network with its parent and its name there."""
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, Convolution):
                yield parent, name, child


def _replaced(module: Convolution, dtype: torch.dtype, *, winograd: bool) -> nn.Module | None:
    layer = module.layer
    outer, _, side, _ = layer.shape
    if layer.enlarge == 2 and side == 3:
        return _Enlarging(module)
    if layer.mirrored and side == 3 and layer.stride == 1 and layer.enlarge == 1 and winograd:
        tile = 2 if dtype == torch.bfloat16 else 4
        return WinogradConvolution(layer, module.weight, module.bias, dtype, tile)
    if layer.name == "head" and outer <= _TOGETHER:
        return _Head(module)
    return None


class _Typed(nn.Module):
    """A layer whose input is converted to its type."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.dtype = layer, dtype

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x.to(self.dtype))
        return y


class _Head(nn.Module):
    """A mirrored convolution of few outputs that computes neighbouring pixels of a row at once.

    Its kernels are those of the layer, moved by a pixel each; the outputs of one position are
    those of four pixels one after the other, which in channels-last is the image itself.
    """

    def __init__(self, head: Convolution) -> None:
        super().__init__()
        self.layer, self.mirror = head.layer, head.layer.padding
        outer, inner, side, _ = head.weight.shape
        wide = head.weight.new_zeros(_TOGETHER, outer, inner, side, side + _TOGETHER - 1)
        for pixel in range(_TOGETHER):
            wide[pixel, ..., pixel : pixel + side] = head.weight
        self.weight = nn.Parameter(wide.flatten(0, 1), requires_grad=False)
        bias = None if head.bias is None else head.bias.repeat(_TOGETHER)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return finish(self.layer, self.convolve(F.pad(x, [self.mirror] * 4, mode="reflect")))

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution of an image that is mirrored already."""
        y = F.conv2d(x, self.weight, self.bias, stride=(1, _TOGETHER)).permute(0, 2, 3, 1)
        n, height, width, _ = y.shape
        return y.reshape(n, height, width * _TOGETHER, -1).permute(0, 3, 1, 2)


class _Enlarging(nn.Module):
    """An enlargement to twice the sides by nearest neighbours and a mirrored 3 x 3 convolution.

    An output pixel sees 2 x 2 input pixels, so that the sums of the kernel over them suffice: a
    transposed convolution by the kernel that is spread over 4 x 4. Mirroring an enlarged image
    repeats the edge of the small one.
    """

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        self.layer = convolution.layer
        outer, inner, side, _ = convolution.weight.shape
        turned = convolution.weight.flip(2, 3).transpose(0, 1).reshape(-1, 1, side, side)
        spread = F.conv_transpose2d(turned, turned.new_ones(1, 1, 2, 2))
        self.weight = nn.Parameter(
            spread.reshape(inner, outer, side + 1, side + 1), requires_grad=False
        )
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        return finish(self.layer, self.convolve(x))

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution alone."""
        x = F.pad(x, [1] * 4, mode="replicate")
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=3)


# ---- one pass after each convolution ------------------------------------------------------


class FusedGenerator(nn.Module):
    """A generator with instance norms whose layers are run one by one, each with what follows it.

    Shortcuts are read from the mirrored tensors that the blocks take.
    """

    def __init__(self, generator: Generator, dtype: torch.dtype) -> None:
        super().__init__()
        quick = copy.deepcopy(generator).requires_grad_(False)
        quick.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dtype, self.start = dtype, quick.start
        layers: list[nn.Module] = [quick.stem, *quick.down]
        for stage in (*quick.blocks, *quick.up):
            if isinstance(stage, ResidualBlock):
                layers += [stage.conv1, stage.conv2]
            elif isinstance(stage, Upsampling):
                layers.append(stage.conv)
        layers.append(quick.head)
        replaced = (
            _replaced(layer, dtype, winograd=False) if isinstance(layer, Convolution) else None
            for layer in layers
        )
        self.layers = nn.ModuleList(new or old for new, old in zip(replaced, layers, strict=True))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        layers = list(self.layers)
        y = F.pad(image.to(self.dtype), [_mirror(layers[0])] * 4, mode="reflect")
        shortcut = None
        for module, following in pairwise(layers):
            layer, mirror = _layer(module), _mirror(module)
            if opens_block(layer):
                shortcut = y[..., mirror:-mirror, mirror:-mirror]
            added = shortcut if closes_block(layer) else None
            y = normalised(_convolved(module, y), layer.leak, added, _mirror(following))
        return finished_image(image, _convolved(layers[-1], y), self.start)


def _layer(module: nn.Module) -> Layer:
    assert isinstance(module, Convolution | TransposedConvolution | _Head | _Enlarging)
    return module.layer


def _mirror(module: nn.Module) -> int:
    """The pixels by which the input of a layer is mirrored beforehand."""
    return int(getattr(module, "mirror", 0))


def _convolved(module: nn.Module, x: Tensor) -> Tensor:
    """The convolution of a layer alone, without mirroring and what follows it."""
    if isinstance(module, Convolution):
        return nn.Conv2d.forward(module, x)
    if isinstance(module, TransposedConvolution):
        return nn.ConvTranspose2d.forward(module, x)
    assert isinstance(module, _Head | _Enlarging)
    return module.convolve(x)


def normalised(
    x: Tensor, leak: float | None, shortcut: Tensor | None = None, mirror: int = 0
) -> Tensor:
    """Instance norm, activation, shortcut and mirrored edge: on CUDA in one pass (fused.py)."""
    if x.is_cuda:
        from unpaired.engines.torch import fused

        return fused.run(x, NORM_EPS, leak, shortcut, mirror)
    y = instance_norm(x)
    if leak is not None:
        y = F.leaky_relu(y, leak) if leak else F.relu(y)
    y = y if shortcut is None else shortcut + y
    return F.pad(y, [mirror] * 4, mode="reflect") if mirror else y
