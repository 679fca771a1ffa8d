"""Networks of features in PyTorch, from weights the user has: AlexNet, VGG16, EfficientNet-Lite0.

Which network a file holds is told by the names and shapes of its tensors: torchvision's for AlexNet
and VGG16 (`features.*`), those of the PyTorch port for EfficientNet-Lite0 (`_blocks.*`). What else
is in the file, such as classifiers, is left alone. Also LPIPS, a learned distance of pairs.

Sources: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014;
Simonyan, Zisserman, "Very deep convolutional networks...", 2015; Tan, Le, "EfficientNet", 2019, and
the authors' EfficientNet-Lite: no squeeze-and-excite, ReLU6, inputs (x - 127) / 128.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unpaired.console import counted
from unpaired.engines.torch.device import find_device
from unpaired.errors import CheckpointError, DataError
from unpaired.features.seam import resize
from unpaired.weights.torch_pth import read_pth

__all__ = ["Lpips", "TorchFeatures"]

Images8 = NDArray[np.uint8]
Weights = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]

_SIDE = 224
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Convolution:
    """One convolution of a network, and what stands in front of it.

    `at` is its place in torchvision's `features`; `pool` is the window of the max pool of stride 2
    in front of it, 0 for none.
    """

    at: int
    inner: int
    outer: int
    kernel: int
    stride: int = 1
    padding: int = 1
    pool: int = 0


ALEXNET = (
    Convolution(0, 3, 64, 11, stride=4, padding=2),
    Convolution(3, 64, 192, 5, padding=2, pool=3),
    Convolution(6, 192, 384, 3, pool=3),
    Convolution(8, 384, 256, 3),
    Convolution(10, 256, 256, 3),
)
VGG16 = (
    Convolution(0, 3, 64, 3),
    Convolution(2, 64, 64, 3),
    Convolution(5, 64, 128, 3, pool=2),
    Convolution(7, 128, 128, 3),
    Convolution(10, 128, 256, 3, pool=2),
    Convolution(12, 256, 256, 3),
    Convolution(14, 256, 256, 3),
    Convolution(17, 256, 512, 3, pool=2),
    Convolution(19, 512, 512, 3),
    Convolution(21, 512, 512, 3),
    Convolution(24, 512, 512, 3, pool=2),
    Convolution(26, 512, 512, 3),
    Convolution(28, 512, 512, 3),
)

# EfficientNet-B0, table 1, a row a stage: blocks, kernel, stride of the first, channels, expansion.
_STAGES = (
    (1, 3, 1, 16, 1),
    (2, 3, 2, 24, 6),
    (2, 5, 2, 40, 6),
    (3, 3, 2, 80, 6),
    (3, 5, 1, 112, 6),
    (4, 5, 2, 192, 6),
    (1, 3, 1, 320, 6),
)
_STEM, _HEAD, _NORM_EPS = 32, 1280, 1e-3


@dataclass(frozen=True)
class Block:
    """An inverted residual block: expand (where it does), depthwise convolution, project."""

    inner: int
    outer: int
    kernel: int
    stride: int
    expansion: int


def _lite_blocks() -> tuple[Block, ...]:
    blocks, inner = [], _STEM
    for count, kernel, stride, outer, expansion in _STAGES:
        for index in range(count):
            blocks.append(Block(inner, outer, kernel, 1 if index else stride, expansion))
            inner = outer
    return tuple(blocks)


LITE0 = _lite_blocks()


class TorchFeatures:
    """A network of features read from a file. See feature_seam.FeatureNetwork.

    | network | vector | width | input |
    |---|---|---|---|
    | AlexNet | last convolution (conv5) after its ReLU | 256 | ImageNet mean and deviation |
    | VGG16 | last convolution (conv5_3) after its ReLU | 512 | ImageNet mean and deviation |
    | EfficientNet-Lite0 | head convolution after its ReLU6 | 1280 | (x - 127) / 128 |

    Each is the mean over all positions; images are resized to 224 x 224, antialiased.

    Raises:
        CheckpointError: the file cannot be read, or holds none of the three networks.
        ConfigError: the device is not there.
    """

    def __init__(self, path: Path, device: str, threads: int) -> None:
        self.device = find_device(device, threads)
        network = _recognise(_read(path), path, self.device)
        self.name = f"{network.name}, {_SIDE} px bicubic antialiased"
        self.width = network.width
        self._run = network.run
        self._shift = _channels(network.shift, self.device)
        self._scale = _channels(network.scale, self.device)

    def features(self, images: Images8) -> NDArray[np.float32]:
        """See feature_seam.FeatureNetwork.features."""
        with torch.inference_mode():
            x = (_nchw(resize(images, _SIDE), self.device) - self._shift) / self._scale
            # One by one on a CPU: what passes between the layers of one image fits its caches.
            parts = torch.split(x, 1) if self.device.type == "cpu" else (x,)
            means = torch.cat([self._run(part).mean(dim=(2, 3)) for part in parts])
        vectors: NDArray[np.float32] = means.cpu().numpy()
        return vectors


class Lpips:
    """LPIPS version 0.1 on AlexNet. See feature_seam.PairDistance.

    Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric", 2018, equation 1: the activations of the five convolutions after their ReLU,
    unit length over channels, squared differences weighted by the heads, mean over positions, sum
    over the five.

    Args:
        features: file of AlexNet's `features.*`.
        heads: file of `lin0.model.1.weight` to `lin4.model.1.weight`.

    Raises:
        CheckpointError: a file cannot be read, or does not hold these tensors.
        ConfigError: the device is not there.
    """

    name = "LPIPS 0.1, AlexNet"

    def __init__(self, features: Path, heads: Path, device: str, threads: int) -> None:
        self.device = find_device(device, threads)
        self._weights = _on(self.device, _take(_read(features), _plain_shapes(ALEXNET), features))
        names = [f"lin{index}.model.1.weight" for index in range(len(ALEXNET))]
        shapes = {name: (1, c.outer, 1, 1) for name, c in zip(names, ALEXNET, strict=True)}
        taken = _on(self.device, _take(_read(heads), shapes, heads))
        self._heads = [taken[name] for name in names]
        # Of images in [-1, 1], as the authors have it: nearly ImageNet's mean and deviation.
        self._shift = _channels((-0.030, -0.088, -0.188), self.device)
        self._scale = _channels((0.458, 0.448, 0.450), self.device)

    def distance(self, x: Images8, y: Images8) -> NDArray[np.float64]:
        """See feature_seam.PairDistance.distance; images of at least 31 x 31 pixels."""
        if x.shape != y.shape or x.ndim != 4 or x.shape[-1] != 3 or min(x.shape[1:3]) < 31:
            raise DataError(
                "LPIPS needs pairs of RGB images of one size, at least 31x31 pixels, not "
                f"{x.shape} and {y.shape}"
            )
        with torch.inference_mode():
            pairs = zip(self._activations(x), self._activations(y), self._heads, strict=True)
            parts = [
                F.conv2d((_unit(a) - _unit(b)).square(), head).cpu().double().mean(dim=(1, 2, 3))
                for a, b, head in pairs
            ]
            total: NDArray[np.float64] = torch.stack(parts).sum(dim=0).numpy()
        return total

    def _activations(self, images: Images8) -> list[Tensor]:
        x = _nchw(images.astype(np.float32), self.device) / 127.5 - 1
        return _plain_activations((x - self._shift) / self._scale, ALEXNET, self._weights)


# ---- AlexNet and VGG16 --------------------------------------------------------------------


def _plain_shapes(network: Sequence[Convolution]) -> Shapes:
    weights = {f"features.{c.at}.weight": (c.outer, c.inner, c.kernel, c.kernel) for c in network}
    return {**weights, **{f"features.{c.at}.bias": (c.outer,) for c in network}}


def _plain_activations(x: Tensor, network: Sequence[Convolution], weights: Weights) -> list[Tensor]:
    """What each convolution gives after its ReLU."""
    activations = []
    for c in network:
        if c.pool:
            x = F.max_pool2d(x, c.pool, stride=2)
        weight, bias = weights[f"features.{c.at}.weight"], weights[f"features.{c.at}.bias"]
        x = F.relu(F.conv2d(x, weight, bias, c.stride, c.padding))
        activations.append(x)
    return activations


def _plain_last(x: Tensor, network: Sequence[Convolution], weights: Weights) -> Tensor:
    return _plain_activations(x, network, weights)[-1]


def _unit(activation: Tensor) -> Tensor:
    """Unit length over channels."""
    return activation / (activation.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


# ---- EfficientNet-Lite0 -------------------------------------------------------------------


def _lite_layers() -> dict[str, tuple[str, tuple[int, ...]]]:
    """The convolutions by name: the norm behind each, and its shape."""
    layers: dict[str, tuple[str, tuple[int, ...]]] = {
        "_conv_stem": ("_bn0", (_STEM, 3, 3, 3)),
        "_conv_head": ("_bn1", (_HEAD, LITE0[-1].outer, 1, 1)),
    }
    for index, block in enumerate(LITE0):
        at, middle = f"_blocks.{index}.", block.inner * block.expansion
        if block.expansion > 1:
            layers[f"{at}_expand_conv"] = (f"{at}_bn0", (middle, block.inner, 1, 1))
        shape = (middle, 1, block.kernel, block.kernel)
        layers[f"{at}_depthwise_conv"] = (f"{at}_bn1", shape)
        layers[f"{at}_project_conv"] = (f"{at}_bn2", (block.outer, middle, 1, 1))
    return layers


def _lite_shapes() -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (norm, shape) in _lite_layers().items():
        shapes[f"{name}.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = shape[:1]
    return shapes


def _folded(weights: Weights, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """Kernel and bias of each convolution with the norm behind it multiplied in."""
    folded = {}
    for name, (norm, _) in _lite_layers().items():
        scale, bias, mean, variance = (
            weights[f"{norm}.{part}"].double()
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / (variance + _NORM_EPS).sqrt()
        kernel = weights[f"{name}.weight"].double() * scale.reshape(-1, 1, 1, 1)
        folded[name] = (
            kernel.float().to(device, memory_format=torch.channels_last),
            (bias - mean * scale).float().to(device),
        )
    return folded


def _lite_head(x: Tensor, layers: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    """The head convolution after its ReLU6: (N, 3, H, W) to (N, 1280, H / 32, W / 32)."""
    x = F.relu6(_same(x, layers["_conv_stem"], stride=2), inplace=True)
    for index, block in enumerate(LITE0):
        at, before = f"_blocks.{index}.", x
        if block.expansion > 1:
            x = F.relu6(F.conv2d(x, *layers[f"{at}_expand_conv"]), inplace=True)
        x = _same(x, layers[f"{at}_depthwise_conv"], block.stride, groups=x.shape[1])
        x = F.relu6(x, inplace=True)
        x = F.conv2d(x, *layers[f"{at}_project_conv"])
        if block.stride == 1 and block.inner == block.outer:
            x = x + before
    return F.relu6(F.conv2d(x, *layers["_conv_head"]))


def _same(x: Tensor, layer: tuple[Tensor, Tensor], stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's `SAME`: ceil(size / stride) outputs, the odd pixel of border right and below."""
    kernel, bias = layer
    border = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel.shape[-1] - size, 0)
        border += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, border), kernel, bias, stride, groups=groups)


# ---- files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Network:
    """A network that was found in a file: what goes in is (levels 0 to 255 - shift) / scale."""

    name: str
    width: int
    shift: Sequence[float]
    scale: Sequence[float]
    run: Callable[[Tensor], Tensor]
    """(N, 3, H, W) to the activations of which the features are the mean: (N, width, h, w)."""


def _recognise(weights: Weights, path: Path, device: torch.device) -> _Network:
    if "_conv_stem.weight" in weights:
        layers = _folded(_take(weights, _lite_shapes(), path), device)
        run = partial(_lite_head, layers=layers)
        return _Network("EfficientNet-Lite0 head", _HEAD, [127.0] * 3, [128.0] * 3, run)
    for name, network in (("AlexNet conv5", ALEXNET), ("VGG16 conv5_3", VGG16)):
        shapes = _plain_shapes(network)
        if {key for key in weights if key.startswith("features.")} == set(shapes):
            taken = _on(device, _take(weights, shapes, path))
            run = partial(_plain_last, network=network, weights=taken)
            shift, scale = ([255 * value for value in z] for z in (_IMAGENET_MEAN, _IMAGENET_STD))
            return _Network(name, network[-1].outer, shift, scale, run)
    found = ", ".join(ascii(name)[:40] for name in sorted(weights)[:3])
    raise CheckpointError(
        f"{path} holds {counted(len(weights), 'tensor')} (first {found}) of no network of features "
        "that is known here: give AlexNet or VGG16 as torchvision names their tensors, or "
        "EfficientNet-Lite0"
    )


def _take(weights: Weights, shapes: Shapes, path: Path) -> Weights:
    """The tensors of these names and shapes, in float32."""
    for name, shape in shapes.items():
        if name not in weights:
            raise CheckpointError(f"{path} is not as expected: {name} is missing")
        if tuple(weights[name].shape) != shape:
            raise CheckpointError(
                f"{path} is not as expected: {name} has shape {tuple(weights[name].shape)}, "
                f"expected {shape}"
            )
    return {name: weights[name].float() for name in shapes}


def _on(device: torch.device, weights: Weights) -> Weights:
    return {name: weight.to(device) for name, weight in weights.items()}


def _read(path: Path) -> Weights:
    if path.suffix != ".safetensors":
        return read_pth(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read the weights {path}: {error}") from error


def _channels(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).reshape(1, 3, 1, 1)


def _nchw(images: NDArray[np.float32], device: torch.device) -> Tensor:
    """Channels-last in memory, as numpy has them."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
