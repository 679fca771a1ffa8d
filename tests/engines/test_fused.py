"""One pass after each convolution: the generator around it, and the kernels, interpreted."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from unpaired.config import Runtime
from unpaired.engines.seam import generators_of
from unpaired.engines.torch.inference import FusedGenerator, normalised
from unpaired.engines.torch.networks import Generator
from unpaired.engines.torch.translator import TorchTranslator
from unpaired.presets import preset


def recipe_of(**changes):
    settled = {"bands_a": 3, "bands_b": 3, "width": 4, "blocks": 2, "precision": "fp32"}
    return preset("tiny", settled | changes)


def generator_of(recipe, seed=0):
    torch.manual_seed(seed)
    generator = Generator(generators_of(recipe)["generator_ab"], recipe.start)
    for weights in generator.parameters():
        torch.nn.init.normal_(weights, 0, 0.3)
    return generator


@pytest.mark.parametrize("blocks", [0, 2])
@pytest.mark.parametrize("start", ["noise", "residual", "identity"])
@pytest.mark.parametrize("upsample", ["resize", "transposed"])
def test_a_generator_run_layer_by_layer_is_the_generator(upsample, start, blocks):
    generator = generator_of(recipe_of(upsample=upsample, start=start, blocks=blocks)).double()
    image = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (2, 3, 20, 24)))
    with torch.no_grad():
        expected, found = generator(image), FusedGenerator(generator, torch.float64)(image)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_it_is_a_method_of_the_translator_and_offered_on_cuda_alone():
    recipe = recipe_of(start="noise")
    translator = TorchTranslator(recipe, Runtime(device="cpu", threads=1))
    assert not any("fused" in method for method in translator.methods)
    generator = generator_of(recipe)
    arrays = {f"generator_ab.{n}": p.detach().numpy() for n, p in generator.named_parameters()}
    translator.load_generators(arrays)
    image = np.random.default_rng(1).uniform(-1, 1, (1, 20, 24, 3)).astype(np.float32)
    results = {}
    for method in ("fp32", "fp32 fused", "bf16 fused"):
        translator.use(method)
        results[method] = translator.translate(image, "ab")
    np.testing.assert_allclose(results["fp32 fused"], results["fp32"], atol=1e-5)
    assert 1e-4 < np.abs(results["bf16 fused"] - results["fp32"]).mean() < 0.05


def test_what_follows_a_convolution_by_hand():
    """The plain fall-back, in numpy."""
    rng = np.random.default_rng(2)
    x, shortcut = rng.normal(3, 2, (2, 2, 3, 6, 5))
    found = normalised(torch.from_numpy(x), 0.2, torch.from_numpy(shortcut), 2).numpy()
    mean, variance = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
    y = (x - mean) / np.sqrt(variance + 1e-5)
    y = np.where(y < 0, 0.2 * y, y) + shortcut
    np.testing.assert_allclose(found, np.pad(y, [(0, 0)] * 2 + [(2, 2)] * 2, "reflect"), atol=1e-12)


INTERPRETED = """
import numpy as np
import torch
from unpaired.engines.torch.fused import run
from unpaired.engines.torch.inference import normalised

rng = np.random.default_rng(0)
for size, mirror, leak, offset, dtype, added in (
    ((1, 4, 8, 8), 1, 0.0, 0, "float32", False),
    ((2, 33, 13, 21), 3, 0.0, 0, "float32", False),
    ((2, 5, 19, 10), 1, None, 0, "float32", True),
    ((1, 40, 96, 101), 0, 0.2, 1000, "float32", False),
    ((1, 8, 17, 9), 1, 0.0, 0, "bfloat16", True),
):
    kind = getattr(torch, dtype)
    x = torch.from_numpy(rng.normal(offset, 1, size)).to(kind)
    x = x.contiguous(memory_format=torch.channels_last)
    whole = torch.from_numpy(rng.normal(0, 1, (*size[:2], size[2] + 2, size[3] + 2))).to(kind)
    shortcut = whole.contiguous(memory_format=torch.channels_last)[..., 1:-1, 1:-1]
    shortcut = shortcut if added else None
    wide = None if shortcut is None else shortcut.double()
    found = run(x, 1e-5, leak, shortcut, mirror)
    assert found.dtype == kind and found.is_contiguous(memory_format=torch.channels_last)
    expected = normalised(x.double(), leak, wide, mirror)
    print((found.double() - expected).abs().max().item())
"""


@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
def test_the_kernels_compute_what_the_fall_back_does():
    """Against fp64; several blocks that are merged, and a mean of 1,000 deviations too."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", INTERPRETED], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    *errors, bf16 = map(float, ran.stdout.split())
    assert len(errors) == 4
    assert max(errors[:3]) < 2e-6
    assert errors[3] < 2e-4  # 1,000 has 13 bits left behind the point
    assert bf16 < 0.02


COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from unpaired.engines.torch import fused

NUMBERS = {"eps": "fp32", "leak": "fp32", "sums": "*fp32", "statistics": "*fp32"}
BLOCKS = {"PIXELS": 128, "CHANNELS": 32, "PARTS": 64}

for kind in ("*fp32", "*bf16"):
    images = dict.fromkeys(("x", "added", "result"), kind)
    for kernel, added in ((fused._sum, 0), (fused._merge, 0), (fused._apply, 0), (fused._apply, 1)):
        names, constants = kernel.arg_names, BLOCKS | {"ADDED": bool(added)}
        types = {name: (images | NUMBERS).get(name, "i32") for name in names}
        types |= {name: "constexpr" for name in names if name in constants}
        fixed = {(names.index(name),): x for name, x in constants.items() if name in names}
        source = ASTSource(fn=kernel, signature=types, constexprs=fixed)
        print(len(triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["cubin"]))
"""


@pytest.mark.nightly
@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
def test_the_kernels_compile_for_a_gpu(tmp_path):
    """To machine code, which needs no GPU."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.split()) == 8
