"""The estimate of memory against what a fresh process takes."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from unpaired.engines.architecture import PEAK_BYTES, generator_layers
from unpaired.errors import TooLarge
from unpaired.presets import preset
from unpaired.translation import memory
from unpaired.translation.sizes import Sizes
from unpaired.translation.streaming import options as images

RECIPE = preset("tiny", {"bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8})

MEASURE = """
import sys
import numpy as np
from unpaired.translation.model import load

def resident(kind):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(kind))

model = load(sys.argv[1], device="cpu", threads=1, precision="recipe")
model.translate(np.zeros((32, 32, 3), np.uint8), to="b")
image = np.random.default_rng(0).integers(0, 256, (640, 800, 3), np.uint8)
before = resident("VmRSS")
model.translate(image, to="b")
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(
    ("upsample", "start", "norm"), [
        ("resize", "noise", "instance"), ("resize", "identity", "instance"),
        ("transposed", "noise", "instance"), ("transposed", "identity", "instance"),
        ("resize", "identity", "none"), ("transposed", "noise", "none"),
    ],
)  # fmt: skip
def test_a_fresh_process_takes_what_was_estimated(model_file, upsample, start, norm):
    torch = pytest.importorskip("torch")
    from unpaired.engines.torch.networks import Generator

    torch.manual_seed(0)
    network = Generator(generator_layers(3, 3, width=16, blocks=4, upsample=upsample, norm=norm))
    arrays = {
        f"generator_ab.{name}": tensor.numpy().copy(order="C")
        for name, tensor in network.state_dict().items()
    }
    path = model_file(arrays=arrays, upsample=upsample, start=start, norm=norm)
    ran = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    measured = int(ran.stdout)
    estimated = memory.need(
        dataclasses.replace(RECIPE, upsample=upsample), "ab", Sizes.of((640, 800), None)
    )
    assert measured <= estimated <= 2.2 * measured  # how the heap grows is chance


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_need_grows_with_all_it_depends_on(upsample, precision):
    recipe = dataclasses.replace(RECIPE, upsample=upsample, precision=precision)
    alone = memory.need(recipe, "ab", Sizes.of((512, 512), None))
    assert alone > 512 * 512 * 4 * 2.5 * recipe.width  # the activations of the last step up
    assert memory.need(recipe, "ab", Sizes.of((512, 1024), None)) > 1.8 * (alone - 100e6)
    assert memory.need(recipe, "ab", Sizes.of((512, 512), None), batch=2) > 1.8 * (alone - 100e6)
    assert (
        memory.need(dataclasses.replace(recipe, width=32), "ab", Sizes.of((512, 512), None)) > alone
    )
    assert memory.need(recipe, "ab", Sizes.of((512, 512), 256)) < alone
    assert memory.need(recipe, "ab", Sizes.of((512, 512), 1024)) > alone
    assert memory.need(recipe, "ab", Sizes.of((512, 512), None), network=False) < 0.9 * alone


def test_both_directions_count_their_own_bands():
    recipe = dataclasses.replace(RECIPE, bands_b=30)
    out = memory.need(recipe, "ab", Sizes.of((512, 512), None), network=False)
    back = memory.need(recipe, "ba", Sizes.of((512, 512), None), network=False)
    assert out > back > memory.need(RECIPE, "ab", Sizes.of((512, 512), None), network=False)


def test_what_cannot_fit_is_rejected_with_both_figures_and_what_to_do(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 1_500_000_000)
    recipe = preset("paper", {"bands_a": 3, "bands_b": 3})
    small = memory.settle(recipe, "ab", (1024, 1024), None, "none", name="small.png")
    assert small == Sizes.of((1024, 1024), None)
    needed = memory.need(recipe, "ab", Sizes.of((4000, 6000), None)) / 1e9
    with pytest.raises(TooLarge) as caught:
        memory.settle(recipe, "ab", (4000, 6000), None, "none", name="large.png")
    line = str(caught.value)
    assert line.startswith("large.png: 6000 x 4000 pixels")
    assert f"{needed:.1f} GB" in line
    assert "1.5 GB are free: --working-size " in line
    assert "\n" not in line


def test_a_modest_need_does_not_ask_the_system(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: pytest.fail("asked"))
    memory.settle(RECIPE, "ab", (64, 64), None, None, name="small.png")


def test_what_a_runtime_executes_takes_the_runtimes_memory(model_file, monkeypatch):
    """Its own bytes per pixel, alone and in batches; and no tiles, so that detail is kept."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="the extra onnx is not installed")
    from unpaired.engines.onnx.onnxruntime import OnnxRuntime
    from unpaired.translation.model import load

    monkeypatch.setattr(OnnxRuntime, "peak", 40.0)
    layers = generator_layers(3, 3, width=RECIPE.width, blocks=RECIPE.blocks, upsample="resize")
    arrays = {
        f"generator_{direction}.{name}": np.zeros(shape, np.float32)
        for direction in ("ab", "ba")
        for layer in layers
        for name, shape in layer.parameters.items()
    }
    path = model_file(arrays=arrays)
    model = load(path, runtime="onnx", threads=1)
    assert memory.peak_of(model.translator.translator) == 40.0
    recipe, sizes = model.config.recipe, Sizes.of((512, 512), None)
    engines, own = memory.need(recipe, "ab", sizes), memory.need(recipe, "ab", sizes, peak=40.0)
    more = (40.0 - PEAK_BYTES[recipe.upsample, recipe.precision]) * recipe.width * 512**2
    assert own - engines == pytest.approx(more, rel=1e-6)
    assert model.streamer("ab") is None
    between = (engines + own) // 2
    for module in (memory, images):
        monkeypatch.setattr(module, "free", lambda: between, raising=False)
    assert model.check("ab", (512, 512), 3).keep
    engine = load(path, runtime="engine", threads=1)
    assert engine.check("ab", (512, 512), 3) == sizes
