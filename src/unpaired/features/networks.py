"""Feature networks in PyTorch, from weights the user has: AlexNet, VGG16, EfficientNet-Lite0.

A file's network is recognised by the names and shapes of its tensors: torchvision's for AlexNet and
VGG16 (`features.*`), those of the PyTorch port for EfficientNet-Lite0 (`_blocks.*`). Other tensors
in the file, such as classifiers, are ignored.

Sources: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014;
Simonyan, Zisserman, "Very deep convolutional networks...", 2015; Tan, Le, "EfficientNet", 2019, and
the authors' EfficientNet-Lite: no squeeze-and-excite, ReLU6, inputs (x - 127) / 128.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from unpaired.errors import CheckpointError, reason_of
from unpaired.images.resize import resize
from unpaired.storage import open_regular
from unpaired.weights.torch_pth import read_pth

__all__ = [
    "ALEXNET",
    "TorchFeatures",
    "load",
    "normalised",
    "plain_activations",
    "plain_shapes",
]

Weights = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]

_SIDE = 224
# ImageNet's mean and deviation of the bands, for levels 0 to 255.
_MEAN, _DEVIATION = ([255 * v for v in z] for z in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class TorchFeatures:
    """A feature network read from a file. See seam.FeatureNetwork.

    | network | vector | width | input |
    |---|---|---|---|
    | AlexNet | last convolution (conv5) after its ReLU | 256 | ImageNet mean and deviation |
    | VGG16 | last convolution (conv5_3) after its ReLU | 512 | ImageNet mean and deviation |
    | EfficientNet-Lite0 | head convolution after its ReLU6 | 1280 | (x - 127) / 128 |

    The vector is the mean over all positions; images are resized to 224 x 224, antialiased.

    Raises:
        CheckpointError: the file cannot be read, or holds none of the three networks.
        ConfigError: the device is not available.
    """

    def __init__(self, path: Path, device: str, threads: int) -> None:
        self.device = find_device(device, threads)
        weights = _read(path)
        self._run: Callable[[Tensor], Tensor]
        if "_conv_stem.weight" in weights:
            layers = _folded(_take(weights, _lite_shapes(), path, torch.device("cpu")), self.device)
            name, self.width = "EfficientNet-Lite0 head", _HEAD
            self._shift, self._scale = [127.0] * 3, [128.0] * 3
            self._run = lambda x: _lite(x, layers)
        else:
            name, network = _plain_network(weights, path)
            taken = _take(weights, plain_shapes(network), path, self.device)
            self.width = network[-1].outputs
            self._shift, self._scale = _MEAN, _DEVIATION
            self._run = lambda x: plain_activations(x, network, taken)[-1]
        self.name = f"{name}, {_SIDE} px bicubic antialiased"

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See seam.FeatureNetwork.features."""
        with torch.inference_mode():
            x = torch.from_numpy(resize(images, (_SIDE, _SIDE), (0, 255))).to(self.device)
            x = normalised(x, self._shift, self._scale)
            # One by one on a CPU: the activations of one image fit its caches.
            parts = torch.split(x, 1) if self.device.type == "cpu" else (x,)
            means = torch.cat([self._run(part).mean(dim=(2, 3)) for part in parts])
        vectors: NDArray[np.float32] = means.cpu().numpy()
        return vectors


# ---- files and tensors --------------------------------------------------------------------


def load(path: Path, shapes: Shapes, device: torch.device) -> Weights:
    """Loads the tensors of these names and shapes from a `.safetensors` or `.pth` file, in float32.

    Raises:
        CheckpointError: the file cannot be read, or a tensor is missing or of another shape.
        RunError: the system gives no access to a `.pth` file.
    """
    return _take(_read(path), shapes, path, device)


def _read(path: Path) -> Weights:
    if path.suffix != ".safetensors":
        return read_pth(path)
    try:
        open_regular(path).close()  # a pipe would be waited for
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read the weights {path}: {reason_of(error)}") from error


def _take(weights: Weights, shapes: Shapes, path: Path, device: torch.device) -> Weights:
    for name, shape in shapes.items():
        found = tuple(weights[name].shape) if name in weights else None
        if found != shape:
            problem = f"has shape {found}, expected {shape}" if found is not None else "is missing"
            raise CheckpointError(f"{path} is not as expected: {name} {problem}")
    return {name: weights[name].float().to(device) for name in shapes}


def normalised(images: Tensor, shift: Sequence[float], scale: Sequence[float]) -> Tensor:
    """(images - shift) / scale by band: float32 NHWC to NCHW, which stays channels-last."""
    shifts, scales = (images.new_tensor(values).reshape(1, 3, 1, 1) for values in (shift, scale))
    return (images.permute(0, 3, 1, 2) - shifts) / scales


# ---- AlexNet and VGG16 --------------------------------------------------------------------


@dataclass(frozen=True)
class PlainLayer:
    """One convolution of a plain network, and the pooling before it.

    `index` is its place in torchvision's `features`; `pool` is the window of the max pool of
    stride 2 before it, 0 for none.
    """

    index: int
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 1
    pool: int = 0


ALEXNET = (
    PlainLayer(0, 3, 64, 11, stride=4, padding=2),
    PlainLayer(3, 64, 192, 5, padding=2, pool=3),
    PlainLayer(6, 192, 384, 3, pool=3),
    PlainLayer(8, 384, 256, 3),
    PlainLayer(10, 256, 256, 3),
)


def _vgg16() -> Iterator[PlainLayer]:
    index, inputs = 0, 3
    for stage, (count, outputs) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]):
        for k in range(count):
            yield PlainLayer(index, inputs, outputs, 3, pool=0 if k or not stage else 2)
            index, inputs = index + 2, outputs  # after its ReLU
        index += 1  # after the pool


VGG16 = tuple(_vgg16())


def plain_shapes(network: Sequence[PlainLayer]) -> Shapes:
    """The names and shapes of the tensors of AlexNet or VGG16."""
    shapes: dict[str, tuple[int, ...]] = {}
    for c in network:
        shapes[f"features.{c.index}.weight"] = (c.outputs, c.inputs, c.kernel, c.kernel)
        shapes[f"features.{c.index}.bias"] = (c.outputs,)
    return shapes


def plain_activations(x: Tensor, network: Sequence[PlainLayer], weights: Weights) -> list[Tensor]:
    """The results of all convolutions after their ReLU, from a normalised NCHW batch."""
    activations = []
    for c in network:
        if c.pool:
            x = F.max_pool2d(x, c.pool, stride=2)
        weight, bias = weights[f"features.{c.index}.weight"], weights[f"features.{c.index}.bias"]
        x = F.relu(F.conv2d(x, weight, bias, c.stride, c.padding))
        activations.append(x)
    return activations


def _plain_network(weights: Weights, path: Path) -> tuple[str, Sequence[PlainLayer]]:
    names = {name for name in weights if name.startswith("features.")}
    for name, network in (("AlexNet conv5", ALEXNET), ("VGG16 conv5_3", VGG16)):
        if names == set(plain_shapes(network)):
            return name, network
    found = ", ".join(ascii(name)[:40] for name in sorted(weights)[:3])
    raise CheckpointError(
        f"{path} holds {counted(len(weights), 'tensor')} (first {found}) of an unknown network: "
        "give AlexNet or VGG16 with torchvision's names of tensors, or EfficientNet-Lite0"
    )


# ---- EfficientNet-Lite0 -------------------------------------------------------------------

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
_NORM = ("weight", "bias", "running_mean", "running_var")


def _blocks() -> Iterator[tuple[str, int, int, int, int, int]]:
    """The inverted residual blocks: prefix, channels in and out, kernel, stride, expansion."""
    index, inputs = 0, _STEM
    for count, kernel, stride, outputs, expansion in _STAGES:
        for k in range(count):
            yield f"_blocks.{index}.", inputs, outputs, kernel, 1 if k else stride, expansion
            index, inputs = index + 1, outputs


def _lite_layers() -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """The convolutions: name, name of the norm that follows, shape of the kernel."""
    yield "_conv_stem", "_bn0", (_STEM, 3, 3, 3)
    for at, inputs, outputs, kernel, _, expansion in _blocks():
        middle = inputs * expansion
        if expansion > 1:
            yield f"{at}_expand_conv", f"{at}_bn0", (middle, inputs, 1, 1)
        yield f"{at}_depthwise_conv", f"{at}_bn1", (middle, 1, kernel, kernel)
        yield f"{at}_project_conv", f"{at}_bn2", (outputs, middle, 1, 1)
    yield "_conv_head", "_bn1", (_HEAD, _STAGES[-1][3], 1, 1)


def _lite_shapes() -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, norm, shape in _lite_layers():
        shapes[f"{name}.weight"] = shape
        shapes |= {f"{norm}.{part}": shape[:1] for part in _NORM}
    return shapes


def _folded(weights: Weights, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """Kernel and bias of each convolution, with the norm that follows multiplied in."""
    folded = {}
    for name, norm, _ in _lite_layers():
        scale, bias, mean, variance = (weights[f"{norm}.{part}"].double() for part in _NORM)
        scale = scale / (variance + _NORM_EPS).sqrt()
        kernel = weights[f"{name}.weight"].double() * scale.reshape(-1, 1, 1, 1)
        folded[name] = (
            kernel.float().to(device, memory_format=torch.channels_last),
            (bias - mean * scale).float().to(device),
        )
    return folded


def _lite(x: Tensor, layers: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    """The head convolution after its ReLU6: (N, 3, H, W) to (N, 1280, H / 32, W / 32)."""
    x = F.relu6(_same(x, layers["_conv_stem"], stride=2), inplace=True)
    for at, inputs, outputs, _, stride, expansion in _blocks():
        before = x
        if expansion > 1:
            x = F.relu6(F.conv2d(x, *layers[f"{at}_expand_conv"]), inplace=True)
        x = _same(x, layers[f"{at}_depthwise_conv"], stride, groups=x.shape[1])
        x = F.relu6(x, inplace=True)
        x = F.conv2d(x, *layers[f"{at}_project_conv"])
        if stride == 1 and inputs == outputs:
            x = x + before
    return F.relu6(F.conv2d(x, *layers["_conv_head"]))


def _same(x: Tensor, layer: tuple[Tensor, Tensor], stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's `SAME`: ceil(size / stride) outputs, an odd pixel of border right and below."""
    kernel, bias = layer
    border = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel.shape[-1] - size, 0)
        border += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, border), kernel, bias, stride, groups=groups)
