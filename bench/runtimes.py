"""One image translated by engine and runtimes beside each other, in fp32, bf16 and 8 bits.

python -m bench.runtimes [--size 256] [--width 64] [--blocks 9] [--rounds 7] [--threads 1]
                         [--images DATA | --model RUN --images DATA]

All are timed in turn, round by round. Times are those of the processor, which other work on the
machine disturbs less; with one thread they are those of the clock on a quiet machine. 8 bits are
calibrated on training images of DATA. Without a model the weights are random.
"""

import argparse
import statistics
import time

import numpy as np

from unpaired.checkpoint import Header
from unpaired.config import DEFAULT_MAX_PIXELS, Config, Runtime
from unpaired.data.batches import load_whole
from unpaired.data.crops import DomainReader
from unpaired.data.source import find_source
from unpaired.engines.architecture import he_std
from unpaired.engines.choice import make_translator
from unpaired.engines.loading import read_generators
from unpaired.engines.runtimes import make_onnx_file, make_runtime
from unpaired.engines.seam import generators_of
from unpaired.presets import preset


def model_of(asked):
    """The recipe, and weights of its generators."""
    if asked.model:
        read = read_generators(asked.model)
        return read.header.config.recipe, read.arrays
    settled = {"bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8}
    own = {"width": asked.width, "blocks": asked.blocks, "upsample": asked.upsample}
    recipe = preset("paper", settled | own | {"start": asked.start, "steps": 1})
    rng = np.random.default_rng(0)
    return recipe, {
        f"{name}.{key}": rng.normal(0, 0.02 if layer.name == "head" else he_std(layer), shape)
        .astype(np.float32)
        for name, layers in generators_of(recipe).items()
        for layer in layers
        for key, shape in layer.parameters.items()
    }  # fmt: skip


def ways(recipe, arrays, images, threads):
    """What translates, by name: functions of one image."""
    runtime = Runtime(device="cpu", threads=threads)
    header = Header("model", Config(recipe, runtime), 0)
    in_8_bits = make_onnx_file(header, arrays, "ab", images, threads)
    found = {}

    def add(name, translator, method, model=None):
        if model is None:
            translator.load_generators(arrays)
        else:
            translator.load_model(model, "ab")
        translator.use(method)
        found[name] = lambda image: translator.translate(image, "ab")

    torch = {"plain": "trained", "fp32": "fp32", "bf16": "bf16", "bf16 winograd": "bf16 winograd"}
    for name, method in torch.items():
        add(f"torch {name}", make_translator(recipe, runtime), method)
    add("onnxruntime fp32", make_runtime("onnx", recipe, runtime), "fp32")
    for method in ("fp32", "bf16"):
        add(f"openvino {method}", make_runtime("openvino", recipe, runtime), method)
    add("onnxruntime int8", make_runtime("onnx", recipe, runtime), "fp32", in_8_bits)
    for method in ("fp32", "bf16"):
        openvino = make_runtime("openvino", recipe, runtime)
        add(f"openvino int8, rest {method}", openvino, method, in_8_bits)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--upsample", default="transposed")
    parser.add_argument("--start", default="noise")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", default="seasons-lite")
    parser.add_argument("--model")
    asked = parser.parse_args()
    recipe, arrays = model_of(asked)
    folder = find_source(asked.images).train_a
    reader = DomainReader.of(recipe, "a", DEFAULT_MAX_PIXELS)
    images = load_whole(folder, range(min(len(folder), 24)), reader, asked.size)
    image, calibration = images[:1], images[1:]
    found = ways(recipe, arrays, calibration, asked.threads)
    reference = found["torch plain"](image)
    seconds = {name: [] for name in found}
    gaps = {name: np.abs(translate(image) - reference) for name, translate in found.items()}
    for _ in range(asked.rounds):
        for name, translate in found.items():
            began = time.process_time()
            translate(image)
            seconds[name].append(time.process_time() - began)
    print(
        f"{asked.size} px, width {recipe.width}, {recipe.blocks} blocks, {recipe.upsample}, "
        f"{asked.threads} threads"
    )
    plain_bf16 = seconds["torch bf16"]
    for name, times in seconds.items():
        ratios = [base / own for base, own in zip(plain_bf16, times, strict=True)]
        print(
            f"{name:26} {statistics.median(times) * 1000:8.1f} ms of a processor, "
            f"{statistics.median(ratios):.2f} times torch bf16 ({min(ratios):.2f} to "
            f"{max(ratios):.2f}); error {gaps[name].mean() * 127.5:.3f} levels on average, "
            f"{gaps[name].max() * 127.5:.1f} at most"
        )


if __name__ == "__main__":
    main()
