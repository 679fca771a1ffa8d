"""Small generators and scenes for streaming, and their translation in one piece, restated plainly.

The restatement is in float64 and knows nothing of tiles: padding as the networks have it, norms of
the whole image, pixels without data weighted out of them.
"""

import numpy as np
import torch
import torch.nn.functional as F

from unpaired.config import Runtime
from unpaired.engines.choice import make_translator
from unpaired.engines.seam import generators_of
from unpaired.engines.tiles import Region
from unpaired.presets import preset
from unpaired.translation.streaming.driver import Driver, Network, padded
from unpaired.translation.streaming.windows import ArraySource, read_padded

DIRECTION = "ab"


def recipe(**changes):
    settled = {"bands_a": 3, "bands_b": 3, "name_a": "summer", "name_b": "winter", "width": 4,
               "blocks": 1, "precision": "fp32", "start": "noise"}  # fmt: skip
    return preset("tiny", settled | changes)


def network(engine="torch", seed=0, gain=1.0, **changes):
    """A generator of random weights, and these by name."""
    wanted = recipe(**changes)
    layers = generators_of(wanted)[f"generator_{DIRECTION}"]
    rng = np.random.default_rng(seed)
    arrays = {}
    for layer in layers:
        fan = np.prod(layer.shape) / layer.channels_out
        for name, shape in layer.parameters.items():
            std = gain / np.sqrt(fan) if name.endswith("weight") else 0.1
            arrays[name] = rng.normal(0, std, shape).astype(np.float32)
    translator = make_translator(wanted, Runtime(engine=engine, device="cpu", threads=1))
    translator.load_generators({f"generator_{DIRECTION}.{k}": v for k, v in arrays.items()})
    return Network(translator, layers, DIRECTION), arrays, wanted


class Kept:
    """A sink that keeps the result as it is."""

    dtype = np.float32

    def __init__(self, size, bands):
        self.size, self.bands, self.valid = size, bands, np.ones(size, bool)

    def encode(self, signed, valid):
        return signed if valid is None else np.where(valid[..., None], signed, np.float32(9))

    def save(self, read):
        height, width = self.size
        self.result = read(Region((0, height), (0, width)))


def streamed(net, signed, valid=None, *, side, dtype=np.float32, source=None, **options):
    """The translation by tiles."""
    source = source or ArraySource(signed, valid)
    sink = Kept(source.size, net.layers[-1].channels_out)
    driver = Driver(net, source, sink, side, dtype=dtype, **options)
    statistics = driver.run()
    return sink.result, statistics


def whole(layers, arrays, signed, valid=None, start="noise"):
    """The translation in one piece, float64; 9 where there is no data."""
    size = signed.shape[:2]
    height, width = padded(size)
    everything = Region((0, height), (0, width))
    image, weights = read_padded(ArraySource(signed, valid), everything)
    x = torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None]
    w = np.ones((height, width)) if weights is None else weights.astype(np.float64)
    w = torch.from_numpy(w)[None, None]
    y, shortcut = x, None
    for layer in layers:
        if layer.name.endswith("conv1"):
            shortcut = y
        y = _layer(layer, arrays, y, w)
        if layer.name.endswith("conv2"):
            y = y + shortcut
    if start == "identity":
        result = torch.tanh(torch.atanh(0.98 * x) + y) / 0.98
    else:
        result = x + y if start == "residual" else torch.tanh(y)
    result = result.clamp(-1, 1)[0].permute(1, 2, 0).numpy()[: size[0], : size[1]]
    return result if valid is None else np.where(valid[..., None], result, 9)


def _layer(layer, arrays, y, w):
    kernel = torch.from_numpy(arrays[f"{layer.name}.weight"].astype(np.float64))
    bias = arrays.get(f"{layer.name}.bias")
    bias = None if bias is None else torch.from_numpy(bias.astype(np.float64))
    pad = layer.padding
    if layer.transposed:
        y = F.conv_transpose2d(y, kernel, bias, 2, pad, output_padding=1)
    else:
        if layer.enlarge > 1:
            y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
        y = F.pad(y, [pad] * 4, mode="reflect" if layer.mirrored else "constant")
        y = F.conv2d(y, kernel, bias, layer.stride)
    if layer.norm:
        share = F.avg_pool2d(w, w.shape[-1] // y.shape[-1])
        total = share.sum().clamp(min=1e-300)
        mean = (share * y).sum((2, 3), keepdim=True) / total
        variance = (share * (y - mean) ** 2).sum((2, 3), keepdim=True) / total
        y = (y - mean) / torch.sqrt(variance + 1e-5)
    return y if layer.leak is None else F.leaky_relu(y, layer.leak)


def scene(height, width, seed=0, bands=3):
    """Noise whose brightness and contrast change over the scene."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width] / max(height, width)
    noise = rng.uniform(-1, 1, (height, width, bands))
    signed = 0.5 * (down - across)[..., None] + (0.1 + 0.4 * across)[..., None] * noise
    return signed.astype(np.float32)
