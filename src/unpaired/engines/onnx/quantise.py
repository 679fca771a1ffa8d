"""Calibration for 8 bits: the range of every layer's input on images of the training."""

from collections.abc import Mapping, Sequence

import numpy as np

from unpaired.engines.architecture import Layer, Start
from unpaired.engines.onnx.graph import INPUT, with_layer_inputs
from unpaired.engines.onnx.onnxruntime import session
from unpaired.engines.seam import Images

__all__ = ["input_ranges"]


def input_ranges(
    layers: Sequence[Layer],
    arrays: Mapping[str, np.ndarray],
    start: Start,
    images: Images,
    *,
    threads: int = 0,
) -> dict[str, tuple[float, float]]:
    """The least and the largest input on `images`, (N, H, W, bands) in [-1, 1], by layer.

    Of all layers but the first and the last: the first has few multiplications, and the error of
    the last is one of the image itself.
    """
    model, names = with_layer_inputs(layers, arrays, start)
    running = session(model.SerializeToString(), threads)
    inner = list(zip(layers, names, strict=True))[1:-1]
    wanted = sorted({name for _, name in inner})
    ranges = dict.fromkeys(wanted, (0.0, 0.0))
    for image in images:
        planes = np.ascontiguousarray(image[None].transpose(0, 3, 1, 2), np.float32)
        for name, found in zip(wanted, running.run(wanted, {INPUT: planes}), strict=True):
            low, high = ranges[name]
            ranges[name] = min(low, float(found.min())), max(high, float(found.max()))
    return {layer.name: ranges[name] for layer, name in inner}
