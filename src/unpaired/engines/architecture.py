"""The facts of the two networks that others build on: layers, sizes, constants, memory.

Plain integers, no framework. The networks of every engine follow it, as do padding, the memory
estimate, the conversion of weights and the bounds of a recipe. Sources: arXiv 1703.10593, section
7.2, and the authors' code; docs/concepts.md lists the names.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

__all__ = [
    "INIT_STD",
    "LEAK",
    "NORM_EPS",
    "PEAK_BYTES",
    "SMALLEST_SIDE",
    "START_LIMIT",
    "START_SCALE",
    "STRIDE",
    "Layer",
    "Norm",
    "Start",
    "discriminator_layers",
    "generator_layers",
    "halo",
    "parameter_count",
    "receptive_field",
    "smallest_crop",
]

STRIDE = 4
"""A generator halves an image twice: its sides must be multiples of 4 pixels."""

SMALLEST_SIDE = 8
"""Pixels. A side of 4 would leave one pixel inside, which has no mirror image and no variance."""

NORM_EPS = 1e-5  # added to the variance by instance norm
LEAK = 0.2  # slope of a leaky ReLU below 0
INIT_STD = 0.02  # standard deviation of initial weights under an instance norm, as in 2017

Norm: TypeAlias = Literal["instance", "none"]
"""What a network has between its convolutions and activations: instance norms, as in 2017.

"none" has no norm, so that a pixel depends on those around it alone (see `halo`). Convolutions then
have biases and keep the size of what passes through them (`he_std`), a generator has leaky ReLUs,
for plain ones died in trials, and residual blocks change nothing at first: their second convolution
is 0 (Zhang et al., "Fixup Initialization", arXiv 1901.09321).
"""

Start: TypeAlias = Literal["noise", "identity", "residual"]
"""What generators give before their training. "noise": tanh(head) of random weights, as in 2017.

The others give their input x, since their head is of zeros. "residual": x + head, which may leave
[-1, 1] in training, where discriminators push it back; engines clip what leaves them. "identity",
an earlier form: tanh(atanh(0.98 x) + head) / 0.98. Where its tanh has no slope, nothing pushes a
black or white place back, and there it kept blobs (docs/results.md, 2026-11-27).
"""

START_SCALE = 0.98
"""The 0.98 above: images have -1 and 1, where atanh is infinite.

With it the slope of atanh is at most 1 / (1 - 0.98^2) = 25 on images. The division gives black and
white back, so a result may exceed [-1, 1] by 1/49; engines clip it when it leaves them.
"""

START_LIMIT = 1.019  # of |x|: a generated x may be 1 / 0.98, where atanh is infinite again

PEAK_BYTES: Mapping[tuple[str, str], float] = {
    ("transposed", "fp32"): 10.5,
    ("transposed", "bf16"): 11.0,
    ("transposed", "fp64"): 430.0,
    ("resize", "fp32"): 18.5,
    ("resize", "bf16"): 21.5,
    ("resize", "fp64"): 430.0,
}
"""Bytes per pixel and unit of width at a generator's peak on a CPU, by upsampling and precision.

The peak is in the last upsampling, with a norm and without. transposed: two and a half activations
of full resolution and `width` channels; resize: four and a half, since the enlarged tensor is
padded. bf16 saves nothing, for it is widened on the way. fp64 has no fast convolution: the 7x7 head
is unrolled, 49 times 8 bytes, beside the rest. Measured as peak resident memory of fresh processes:
docs/results.md.
"""


@dataclass(frozen=True)
class Layer:
    """One convolution: its name within the network, its kernel, its geometry, and what follows it.

    `shape` is that of the stored kernel: (out, in, side, side), or (in, out, side, side) where
    `transposed`, which doubles the sides. `enlarge` is the factor of a nearest-neighbour
    enlargement before all else. `padding` counts pixels on each side: `mirrored` without repeating
    the edge, or zeros. `norm` says whether an instance norm follows, which would remove a bias, so
    that there is none; then an activation, a ReLU of slope `leak` below 0, or none (None). `std` is
    the standard deviation of the initial weights.
    """

    name: str
    shape: tuple[int, int, int, int]
    stride: int = 1
    padding: int = 0
    mirrored: bool = False
    transposed: bool = False
    enlarge: int = 1
    norm: bool = False
    leak: float | None = None
    std: float = INIT_STD

    @property
    def bias(self) -> bool:
        """Whether it has a bias."""
        return not self.norm

    @property
    def channels_out(self) -> int:
        """The number of channels of its result."""
        return self.shape[1 if self.transposed else 0]

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """The shapes of its weight and, where it has one, its bias, by their full names."""
        shapes: dict[str, tuple[int, ...]] = {f"{self.name}.weight": self.shape}
        if self.bias:
            shapes[f"{self.name}.bias"] = (self.channels_out,)
        return shapes

    def inputs(self, first: int, last: int) -> tuple[int, int]:
        """The first and last input pixel, along one axis, that output pixels first..last see."""
        side = self.shape[-1]
        if self.transposed:
            return -((side - 1 - self.padding - first) // self.stride), (
                last + self.padding
            ) // self.stride
        first = first * self.stride - self.padding
        last = last * self.stride - self.padding + side - 1
        return first // self.enlarge, last // self.enlarge


def he_std(layer: Layer) -> float:
    """The deviation of weights with which activations of slope LEAK keep their mean square.

    Of He et al., "Delving Deep into Rectifiers", arXiv 1502.01852: sqrt(2 / (1 + leak^2) / inputs)
    of the number of inputs that an output pixel has, which is on average if it is `transposed`.

    >>> round(he_std(Layer("stem", (64, 3, 7, 7))), 4)
    0.1144
    """
    outer, inner, side, _ = layer.shape
    inputs = outer / layer.stride**2 if layer.transposed else inner
    inputs = inputs or 1  # the bands of a recipe are 0 until the data settle them
    return math.sqrt(2 / (1 + LEAK**2) / (inputs * side**2))


def generator_layers(
    bands_in: int,
    bands_out: int,
    *,
    width: int,
    blocks: int,
    upsample: str,
    norm: Norm = "instance",
    start: Start = "noise",
) -> tuple[Layer, ...]:
    """The convolutions of a ResNet generator in their order.

    A 7x7 stem, two of stride 2, pairs in residual blocks, two upsamplings, a 7x7 head. `upsample`
    is "transposed", or "resize" for a convolution after an enlargement: no checkerboards (Odena et
    al., "Deconvolution and Checkerboard Artifacts", Distill 2016).
    """
    one, two, four = width, 2 * width, 4 * width
    plain = partial(Layer, norm=norm == "instance")
    active = partial(plain, leak=0.0 if norm == "instance" else LEAK)
    body = (
        active("stem", (one, bands_in, 7, 7), padding=3, mirrored=True),
        active("down.0", (two, one, 3, 3), stride=2, padding=1),
        active("down.1", (four, two, 3, 3), stride=2, padding=1),
        *(
            kind(f"blocks.{block}.{name}", (four, four, 3, 3), padding=1, mirrored=True)
            for block in range(blocks)
            for name, kind in (("conv1", active), ("conv2", plain))
        ),
        *(
            active(f"up.{k}.conv", (inner, outer, 3, 3), stride=2, padding=1, transposed=True)
            if upsample == "transposed"
            else active(f"up.{k}.conv", (outer, inner, 3, 3), padding=1, mirrored=True, enlarge=2)
            for k, (inner, outer) in enumerate(((four, two), (two, one)))
        ),
    )
    if norm == "none":
        body = tuple(
            replace(layer, std=0.0 if layer.name.endswith(".conv2") else he_std(layer))
            for layer in body
        )
    std = INIT_STD if start == "noise" else 0.0
    return (*body, Layer("head", (bands_out, one, 7, 7), padding=3, mirrored=True, std=std))


def discriminator_layers(
    bands: int, *, width: int, layers: int, norm: Norm = "instance"
) -> tuple[Layer, ...]:
    """The convolutions of a PatchGAN discriminator in their order; no norm follows the first.

    With 3 layers a score sees 70x70 pixels, with 2 34x34, with 1 16x16.
    """
    channels = [bands] + [width * min(2**k, 8) for k in range(layers + 1)]
    all_layers = (
        *(
            Layer(
                f"layers.{k}",
                (channels[k + 1], channels[k], 4, 4),
                stride=2 if k < layers else 1,
                padding=1,
                norm=norm == "instance" and k > 0,
                leak=LEAK,
            )
            for k in range(layers + 1)
        ),
        Layer("head", (1, channels[-1], 4, 4), padding=1),
    )
    if norm == "instance":
        return all_layers
    return tuple(replace(layer, std=he_std(layer)) for layer in all_layers)


def receptive_field(layers: Sequence[Layer]) -> int:
    """The side in pixels of the largest square of input that one output pixel sees.

    Of the convolutions alone: an instance norm sees its whole image.

    >>> receptive_field(discriminator_layers(3, width=64, layers=3))
    70
    """
    fields = (_field(layers, pixel) for pixel in range(STRIDE))
    return max(last - first + 1 for first, last in fields)


def halo(layers: Sequence[Layer]) -> int:
    """Pixels beyond a tile that a generator's convolutions see, on each side of it.

    The tile begins and ends at multiples of STRIDE; the halo itself need not be one. Without a norm
    it is all that a tile needs to be translated as it would be within its image.

    >>> halo(generator_layers(3, 3, width=64, blocks=9, upsample="transposed"))
    84
    """
    fields = ((pixel, *_field(layers, pixel)) for pixel in range(STRIDE))
    return max(max(pixel - first, last - pixel) for pixel, first, last in fields)


def _field(layers: Sequence[Layer], pixel: int) -> tuple[int, int]:
    first = last = pixel
    for layer in reversed(layers):
        first, last = layer.inputs(first, last)
    return first, last


def parameter_count(layers: Iterable[Layer]) -> int:
    """The number of weights and biases of a network.

    >>> parameter_count(discriminator_layers(3, width=64, layers=3))
    2763841
    """
    return sum(math.prod(shape) for layer in layers for shape in layer.parameters.values())


def smallest_crop(discriminator_layers: int) -> int:
    """The smallest side, in pixels, on which both networks are defined.

    A discriminator halves an image once a layer, then loses a pixel in each of two convolutions,
    and an instance norm between them needs more than one value.
    """
    return int(max(SMALLEST_SIDE, 2 ** min(discriminator_layers, 64) * 3))
