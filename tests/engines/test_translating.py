"""Ways to translate: the same results by fewer multiplications, and in bf16 within its rounding."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import SMALL
from unpaired.config import Runtime
from unpaired.engines.architecture import Layer, generator_layers
from unpaired.engines.choice import make_translator
from unpaired.engines.seam import generators_of
from unpaired.engines.torch import winograd
from unpaired.engines.torch.inference import prepared
from unpaired.engines.torch.networks import Generator, finish
from unpaired.engines.torch.translator import TorchTranslator
from unpaired.engines.torch.winograd import WinogradConvolution
from unpaired.presets import preset

CPU = Runtime(device="cpu", threads=1)


def layer_of(outer, inner, **kind):
    return Layer("conv", (outer, inner, 3, 3), padding=1, mirrored=True, **kind)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("size", [(2, 2), (3, 4), (8, 8), (9, 14), (17, 6)])
def test_winograd_is_the_direct_convolution(tile, size, monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    weight, bias = torch.randn(7, 5, 3, 3, dtype=torch.float64), torch.randn(7).double()
    layer = layer_of(7, 5, leak=0.2)
    expected = finish(layer, F.conv2d(F.pad(x, [1] * 4, mode="reflect"), weight, bias))
    quick = WinogradConvolution(layer, weight, bias, torch.float64, tile)
    for strip in (1, 10_000, 2**24):  # bytes: a row of tiles at a time, a few, all
        monkeypatch.setattr(winograd, "_STRIP_BYTES", strip)
        found = quick(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_winograd_in_fp32_rounds_little():
    """Against float64: less than ten times the error of the direct convolution."""
    torch.manual_seed(0)
    x, weight = torch.randn(1, 64, 20, 20).relu(), torch.randn(64, 64, 3, 3) * 0.02
    padded = F.pad(x, [1] * 4, mode="reflect")
    exact = F.conv2d(padded.double(), weight.double())
    quick = WinogradConvolution(layer_of(64, 64), weight, None, torch.float32, 4)(x)
    direct = (F.conv2d(padded, weight) - exact).abs().mean()
    assert (quick - exact).abs().mean() < 10 * direct


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize(
    ("bands", "start"), [((3, 3), "identity"), ((3, 3), "residual"), ((1, 5), "noise")]
)
def test_prepared_generators_are_the_same_function(upsample, norm, bands, start):
    """In float64, where nothing but a mistake is left of a difference."""
    torch.manual_seed(1)
    layers = generator_layers(
        *bands, width=6, blocks=2, upsample=upsample, norm=norm, start=start
    )  # fmt: skip
    generator = Generator(layers, start).double()
    for weights in generator.parameters():
        torch.nn.init.normal_(weights, 0, 0.2)
    x = torch.rand(2, bands[0], 20, 12, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        expected = generator(x)
        for winograd_too in (False, True):
            quick = prepared(generator, torch.float64, winograd=winograd_too)
            torch.testing.assert_close(quick(x), expected, rtol=1e-9, atol=1e-9)
        # The first layers alone in float64: the error is that of the others in fp32, not of all.
        mixed = prepared(generator, torch.float32, winograd=False, first=torch.float64)
        assert mixed.stem.inner.weight.dtype == mixed.down[1].weight.dtype == torch.float64
        assert mixed.head.weight.dtype == torch.float32
        assert torch.equal(mixed.down[1].weight, generator.down[1].weight)
        torch.testing.assert_close(mixed(x).double(), expected, rtol=1e-3, atol=1e-3)


def test_what_is_prepared_leaves_the_generator_as_it_was():
    layers = generator_layers(3, 3, width=4, blocks=1, upsample="resize")
    generator = Generator(layers)
    before = {name: p.detach().clone() for name, p in generator.named_parameters()}
    prepared(generator, torch.bfloat16, winograd=True)
    for name, p in generator.named_parameters():
        assert p.dtype == torch.float32
        assert p.requires_grad
        assert torch.equal(p, before[name])


def arrays_of(recipe, seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"{name}.{weight}": rng.normal(0, 0.1, shape).astype(np.float32)
        for name, layers in generators_of(recipe).items()
        for layer in layers
        for weight, shape in layer.parameters.items()
    }


def recipe_of(**changes):
    own = {"bands_a": 3, "bands_b": 3, "width": 8, "blocks": 2}
    return preset("tiny", SMALL | own | changes)


@pytest.mark.parametrize("start", ["noise", "residual", "identity"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_method_gives_the_translation_of_float64(start, precision):
    images = np.random.default_rng(1).uniform(-1, 1, (2, 32, 24, 3)).astype(np.float32)
    recipe = recipe_of(start=start, precision=precision)
    weights = arrays_of(recipe)
    exact = make_translator(recipe_of(start=start, precision="fp64"), CPU)
    exact.load_generators(weights)
    translator = make_translator(recipe, CPU)
    translator.load_generators(weights)
    errors = {}
    for method in translator.methods:
        translator.use(method)
        found, expected = translator.translate(images, "ab"), exact.translate(images, "ab")
        assert found.dtype == np.float32
        assert np.abs(found).max() <= 1
        errors[method] = np.abs(found - expected).mean()
    winograds = {"fp32 winograd", "mixed winograd", "bf16 winograd"}
    assert set(errors) == {"trained", "fp32", "bf16"} | winograds
    assert errors["fp32"] < 1e-5
    assert errors["fp32 winograd"] < 1e-5
    usual = errors["bf16"]
    assert 1e-3 < usual < 0.05
    assert usual < errors["bf16 winograd"] < 3 * usual
    assert 1e-4 < errors["mixed winograd"] < errors["bf16 winograd"]
    assert errors["trained"] == pytest.approx(
        usual if precision == "bf16" else 0, rel=0.5, abs=1e-5
    )


def test_the_method_of_the_training_is_that_of_the_network_itself():
    images = np.random.default_rng(1).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    recipe = recipe_of(precision="fp32")
    translator = TorchTranslator(recipe, CPU)
    translator.load_generators(arrays_of(recipe))
    for method in ("bf16 winograd", "trained"):
        translator.use(method)
        found = translator.translate(images, "ba")
    with torch.inference_mode():
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        expected = translator.generators["generator_ba"](x).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, expected)


def test_new_weights_and_release_end_what_was_prepared():
    images = np.random.default_rng(1).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    recipe = recipe_of(precision="fp32")
    translator = TorchTranslator(recipe, CPU)
    results = []
    for seed in (0, 1):
        translator.load_generators(arrays_of(recipe, seed))
        translator.use("fp32")
        results.append(translator.translate(images, "ab"))
        translator.use("trained")
        np.testing.assert_allclose(results[-1], translator.translate(images, "ab"), atol=1e-5)
    assert np.abs(results[0] - results[1]).max() > 0.01
    assert len(translator._prepared) == 1
    translator.release("bf16")
    assert translator._prepared == {}


def test_jax_translates_in_the_precision_asked_for():
    pytest.importorskip("jax", reason="the jax engine is not installed")
    images = np.random.default_rng(1).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    recipe = recipe_of(precision="fp32", blocks=1)
    weights = arrays_of(recipe)
    errors = {}
    exact = make_translator(recipe_of(precision="fp64", blocks=1), CPU)
    exact.load_generators(weights)
    translator = make_translator(recipe, Runtime(engine="jax", device="cpu:0", threads=1))
    translator.load_generators(weights)
    for method in ("trained", "bf16", "fp32"):
        translator.use(method)
        found = translator.translate(images, "ab")
        errors[method] = np.abs(found - exact.translate(images, "ab")).mean()
    assert errors["trained"] == errors["fp32"] < 1e-5 < 1e-4 < errors["bf16"] < 0.05
    assert "jax" in translator.signature()
