"""Triton kernels for translating on CUDA: norm, activation, shortcut and mirrored edge in one pass.

Between two convolutions PyTorch reads and writes a tensor once for each of them. Here it is read
twice, for its statistics and for its values, and written once. Tensors are channels-last, sums are
fp32. Statistics are those of blocks of pixels (mean, and squares around it), which are then merged:
T. Chan, G. Golub, R. LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
Variances", 1979.

Everything is tested in Triton's interpreter; no GPU was at hand (docs/speed.md).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["run"]

_PIXELS, _CHANNELS, _PARTS = 128, 32, 64  # of a block; blocks that are merged at once


def run(
    x: Tensor, eps: float, leak: float | None, shortcut: Tensor | None = None, mirror: int = 0
) -> Tensor:
    """Norms each channel of each image of `x` (N, C, H, W), as `networks.finish`; adds `shortcut`.

    `leak` is the slope of the activation below 0, None is no activation. The result is mirrored
    outwards by `mirror` pixels, and has the type of `x`.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    count, channels, height, width = x.shape
    pixels, parts = height * width, triton.cdiv(height * width, _PIXELS)
    across = triton.cdiv(channels, _CHANNELS)
    sums = x.new_empty(count, 2, parts, channels, dtype=torch.float32)
    statistics = x.new_empty(count, 2, channels, dtype=torch.float32)
    blocks = {"PIXELS": _PIXELS, "CHANNELS": _CHANNELS}
    _sum[(count * parts, across)](x, sums, pixels, channels, parts, **blocks)
    _merge[(count, across)](sums, statistics, pixels, channels, parts, eps, PARTS=_PARTS, **blocks)
    size = count, channels, height + 2 * mirror, width + 2 * mirror
    result = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    many = triton.cdiv(size[2] * size[3], _PIXELS)
    added = x if shortcut is None else shortcut
    if added.stride(1) != 1:
        added = added.contiguous(memory_format=torch.channels_last)
    strides = added.stride(0), added.stride(2), added.stride(3)
    _apply[(count * many, across)](
        x, added, statistics, result, height, width, channels, many, mirror, *strides,
        1.0 if leak is None else leak, ADDED=shortcut is not None, **blocks,
    )  # fmt: skip
    return result


@triton.jit  # type: ignore[untyped-decorator]
def _sum(x, sums, pixels, channels, parts, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The mean of a block of pixels, and the squares around it."""
    image = (tl.program_id(0) // parts).to(tl.int64)
    part = tl.program_id(0) % parts
    row = part * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (row < pixels)[:, None] & (channel < channels)[None, :]
    place = (image * pixels + row)[:, None] * channels + channel[None, :]
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    count = tl.minimum(PIXELS, pixels - part * PIXELS).to(tl.float32)
    mean = tl.sum(values, 0) / count
    gaps = tl.where(inside, values - mean[None, :], 0.0)
    first = ((image * 2) * parts + part) * channels + channel
    tl.store(sums + first, mean, mask=channel < channels)
    tl.store(sums + first + parts * channels, tl.sum(gaps * gaps, 0), mask=channel < channels)


@triton.jit  # type: ignore[untyped-decorator]
def _merge(  # type: ignore[no-untyped-def]
    sums, statistics, pixels, channels, parts, eps,
    PARTS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Mean and 1 / deviation of all blocks of an image."""
    image = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    mean = tl.zeros([CHANNELS], tl.float32)
    squares = tl.zeros([CHANNELS], tl.float32)
    for start in range(0, parts, PARTS):
        part = start + tl.arange(0, PARTS)
        inside = (part < parts)[:, None] & (channel < channels)[None, :]
        counts = tl.minimum(PIXELS, pixels - part * PIXELS).to(tl.float32)
        place = (image * 2 * parts + part)[:, None] * channels + channel[None, :]
        means = tl.load(sums + place, mask=inside, other=0.0)
        mean += tl.sum(means * tl.where(part < parts, counts, 0.0)[:, None], 0) / pixels
    for start in range(0, parts, PARTS):
        part = start + tl.arange(0, PARTS)
        inside = (part < parts)[:, None] & (channel < channels)[None, :]
        counts = tl.minimum(PIXELS, pixels - part * PIXELS).to(tl.float32)
        place = (image * 2 * parts + part)[:, None] * channels + channel[None, :]
        means = tl.load(sums + place, mask=inside, other=0.0)
        within = tl.load(sums + place + parts * channels, mask=inside, other=0.0)
        gaps = tl.where(inside, means - mean[None, :], 0.0)
        squares += tl.sum(within + gaps * gaps * counts[:, None], 0)
    first = image * 2 * channels + channel
    tl.store(statistics + first, mean, mask=channel < channels)
    inverse = 1.0 / tl.sqrt(squares / pixels + eps)
    tl.store(statistics + first + channels, inverse, mask=channel < channels)


@triton.jit  # type: ignore[untyped-decorator]
def _apply(  # type: ignore[no-untyped-def]
    x, added, statistics, result, height, width, channels, parts, mirror,
    stride_image, stride_row, stride_column, leak,
    ADDED: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """A block of pixels of the result, each from the one that it is or mirrors."""
    image = (tl.program_id(0) // parts).to(tl.int64)
    wide, high = width + 2 * mirror, height + 2 * mirror
    pixel = (tl.program_id(0) % parts) * PIXELS + tl.arange(0, PIXELS)
    row, column = tl.abs(pixel // wide - mirror), tl.abs(pixel % wide - mirror)
    row = tl.where(row < height, row, 2 * (height - 1) - row)
    column = tl.where(column < width, column, 2 * (width - 1) - column)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < high * wide)[:, None] & (channel < channels)[None, :]
    first = statistics + image * 2 * channels + channel
    mean = tl.load(first, mask=channel < channels, other=0.0)
    inverse = tl.load(first + channels, mask=channel < channels, other=0.0)
    place = ((image * height + row) * width + column)[:, None] * channels + channel[None, :]
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    values = (values - mean[None, :]) * inverse[None, :]
    values = tl.where(values < 0, values * leak, values)
    if ADDED:
        where = image * stride_image + row * stride_row + column * stride_column
        values += tl.load(added + where[:, None] + channel[None, :], mask=inside, other=0.0).to(
            tl.float32
        )
    place = (image * high * wide + pixel)[:, None] * channels + channel[None, :]
    tl.store(result + place, values.to(result.dtype.element_ty), mask=inside)
