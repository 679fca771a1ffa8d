"""Convolutions of 3 x 3 with fewer multiplications, for translating: Winograd's F(m x m, 3 x 3).

An output tile of m x m pixels takes (m + 2)^2 products a channel pair instead of 9 m^2: a quarter
for m = 4, 4/9 for m = 2. Tiles are transformed by sums along rows and columns, multiplied by
transformed kernels in matrix products, and transformed back. Source: Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", arXiv 1509.09308, sections 4.1 and 4.3.

m = 4 is for fp32, where it rounds three to seven times as much as a direct convolution: some 1e-6.
In bf16 that would be ten times as much, to be seen in images; with m = 2 it is twice.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unpaired.engines.architecture import Layer
from unpaired.engines.torch.networks import finish

__all__ = ["WinogradConvolution"]

# Transforms of a kernel's row or column, by the outputs of a tile: G of the source.
_KERNELS = {
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}
_STRIP_BYTES = 2**24  # of transformed input: tiles pass through in strips that fit a cache


class WinogradConvolution(nn.Module):
    """A mirrored 3 x 3 convolution of stride 1 with what follows it, as networks.Convolution.

    `weight` (out, in, 3, 3) and `bias` are those of the layer, `tile` is m: 2 or 4. It computes in
    `dtype`, which its images must have.
    """

    def __init__(
        self, layer: Layer, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, tile: int
    ) -> None:
        super().__init__()
        self.layer, self.tile = layer, tile
        outer, inner = weight.shape[:2]
        g = torch.tensor(_KERNELS[self.tile], dtype=torch.float64)
        rows = torch.einsum("ia,ocab->ibco", g, weight.double())
        kernels = torch.einsum("jb,ibco->ijco", g, rows).reshape(-1, inner, outer)
        self.register_buffer("kernels", kernels.to(dtype).contiguous())
        self.register_buffer("bias", bias)
        self.kernels: Tensor
        self.bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) channels-last to (N, K, H, W) channels-last; H and W from 2."""
        m = self.tile
        n, inner, height, width = x.shape
        rows, columns = -(-height // m), -(-width // m)
        x = F.pad(x, [1] * 4, mode="reflect")
        if (beyond := (m * columns - width, m * rows - height)) != (0, 0):
            x = F.pad(x, [0, beyond[0], 0, beyond[1]])  # what it gives is cut off below
        images = x.permute(0, 2, 3, 1)
        outer = self.kernels.shape[2]
        result = x.new_empty(n, m * rows, m * columns, outer)
        row_bytes = self.kernels.shape[0] * n * columns * inner * x.element_size()
        strip = max(min(_STRIP_BYTES // row_bytes, rows), 1)
        for first in range(0, rows, strip):
            last = min(first + strip, rows)
            tiles = _to_tiles(images[:, m * first : m * last + 2], m)
            products = torch.bmm(tiles.flatten(1, -2), self.kernels)
            part = result[:, m * first : m * last]
            _from_tiles(products.view(*tiles.shape[:-1], outer), part, m)
        y = result[:, :height, :width].permute(0, 3, 1, 2)
        if self.bias is not None:
            y = y + self.bias[:, None, None]
        return finish(self.layer, y)


def _to_tiles(images: Tensor, m: int) -> Tensor:
    """(N, m h + 2, m w + 2, C) to ((m + 2)^2, N, h, w, C): overlapping tiles, transformed."""
    n, height, width, channels = images.shape
    h, w = (height - 2) // m, (width - 2) // m
    side, along = m + 2, _FORWARD[m]
    half = images.new_empty(side, n, h, width, channels)
    tiles = images.new_empty(side, side, n, h, w, channels)
    along([images[:, k : k + m * h - m + 1 : m] for k in range(side)], half)
    for row, into in zip(half, tiles, strict=True):
        along([row[:, :, k : k + m * w - m + 1 : m] for k in range(side)], into)
    return tiles.flatten(0, 1)


def _from_tiles(products: Tensor, into: Tensor, m: int) -> None:
    """((m + 2)^2, N, h, w, K) to (N, m h, m w, K), which is overwritten."""
    side, (n, h, w, outer) = m + 2, products.shape[1:]
    back = _BACK[m]
    half = products.new_empty(m, side, n, h, w, outer)
    back(products.view(side, side, n, h, w, outer).unbind(0), half)
    tiles = into.view(n, h, m, w, m, outer).permute(2, 4, 0, 1, 3, 5)
    for row, place in zip(half, tiles, strict=True):
        back(row.unbind(0), place)


# B^T and A^T of the source along one axis: `d` has the input's slices, `into` takes the output's.


def _forward_2(d: Sequence[Tensor], into: Tensor) -> None:
    torch.sub(d[0], d[2], out=into[0])
    torch.add(d[1], d[2], out=into[1])
    torch.sub(d[2], d[1], out=into[2])
    torch.sub(d[1], d[3], out=into[3])


def _back_2(d: Sequence[Tensor], into: Tensor) -> None:
    torch.add(d[0], d[1], out=into[0]).add_(d[2])
    torch.sub(d[1], d[2], out=into[1]).sub_(d[3])


def _forward_4(d: Sequence[Tensor], into: Tensor) -> None:
    torch.add(d[4], d[2], alpha=-5, out=into[0]).add_(d[0], alpha=4)
    even, odd = torch.add(d[4], d[2], alpha=-4), torch.add(d[3], d[1], alpha=-4)
    torch.add(even, odd, out=into[1])
    torch.sub(even, odd, out=into[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=into[3])
    torch.sub(even, odd, alpha=2, out=into[4])
    torch.add(d[5], d[3], alpha=-5, out=into[5]).add_(d[1], alpha=4)


def _back_4(d: Sequence[Tensor], into: Tensor) -> None:
    sum_1, difference_1 = d[1] + d[2], d[1] - d[2]
    sum_2, difference_2 = d[3] + d[4], d[3] - d[4]
    torch.add(d[0], sum_1, out=into[0]).add_(sum_2)
    torch.add(difference_1, difference_2, alpha=2, out=into[1])
    torch.add(sum_1, sum_2, alpha=4, out=into[2])
    torch.add(difference_1, difference_2, alpha=8, out=into[3]).add_(d[5])


_FORWARD: dict[int, Callable[[Sequence[Tensor], Tensor], None]] = {2: _forward_2, 4: _forward_4}
_BACK: dict[int, Callable[[Sequence[Tensor], Tensor], None]] = {2: _back_2, 4: _back_4}
