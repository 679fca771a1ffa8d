"""Networks without a norm: parameters, first weights, what a pixel sees, files, resumes."""

import dataclasses

import numpy as np
import pytest

from conftest import SMALL
from unpaired import checkpoint
from unpaired.config import Config, Runtime
from unpaired.data.batches import Batch, pool_plan
from unpaired.engines.architecture import (
    INIT_STD,
    STRIDE,
    discriminator_layers,
    generator_layers,
    halo,
    he_std,
    parameter_count,
)
from unpaired.engines.choice import make_engine, make_translator
from unpaired.engines.seam import generators_of, initial_state
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B
from unpaired.translation.model import load

NONE = {"norm": "none", "discriminator_norm": "none"}


@pytest.fixture(params=["torch", "jax"])
def runtime(request):
    pytest.importorskip(request.param, reason=f"the {request.param} engine is not installed")
    return Runtime(engine=request.param, device="cpu:0", threads=1)


def recipe_of(**changes):
    return preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3, "pool_size": 2} | changes)


def initialised(recipe, runtime):
    engine = make_engine(recipe, runtime)
    engine.load(initial_state(engine.state(), recipe))
    return engine


def batch_of(recipe, step):
    rng = np.random.default_rng((7, step))
    shape = (2, recipe.batch_size, recipe.image_size, recipe.image_size, 3)
    plans = (pool_plan(recipe, pool, step, slice(None)) for pool in (POOL_A, POOL_B))
    return Batch(*rng.uniform(-1, 1, shape).astype(np.float32), *plans)


# ---- parameters and first weights ---------------------------------------------------------


def test_every_convolution_has_a_bias():
    """As in the authors' networks, whose biases in front of norms have no effect."""
    generator = generator_layers(3, 3, width=64, blocks=9, upsample="transposed", norm="none")
    assert parameter_count(generator) == 11_378_179
    discriminator = discriminator_layers(3, width=64, layers=3, norm="none")
    assert parameter_count(discriminator) == 2_764_737
    assert all(layer.bias for layer in (*generator, *discriminator))


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("start", ["noise", "residual", "identity"])
def test_first_weights(runtime, start, upsample):
    """Their deviation is that of PyTorch's `kaiming_normal_`, which has no stride, however."""
    init = pytest.importorskip("torch").nn.init
    recipe = recipe_of(width=24, discriminator_width=24, start=start, upsample=upsample, **NONE)
    recipe = dataclasses.replace(recipe, discriminator_layers=1)
    state = initialised(recipe, runtime).state()
    gain = init.calculate_gain("leaky_relu", 0.2)
    for name, weight in state.items():
        network, _, layer = name.partition(".")
        if network not in ("generator_ab", "discriminator_a"):
            continue
        if name.endswith(".bias") or layer == "blocks.0.conv2.weight":
            assert not weight.any(), name
        elif layer == "head.weight" and network == "generator_ab":
            expected = INIT_STD if start == "noise" else 0
            assert weight.std() == pytest.approx(expected, rel=0.05), name
        else:
            transposed = layer.startswith("up") and upsample == "transposed"
            inputs = weight.shape[0] * 9 / 4 if transposed else weight[0].size
            assert weight.std() == pytest.approx(gain / inputs**0.5, rel=0.1), name


def test_activations_keep_their_size():
    """The mean square after each layer, of noise: 1 within a factor of 1.5, in every layer."""
    torch = pytest.importorskip("torch")
    from unpaired.engines.torch.networks import Discriminator, Generator

    torch.manual_seed(0)
    generator = generator_layers(3, 3, width=32, blocks=2, upsample="transposed", norm="none")
    discriminator = discriminator_layers(3, width=32, layers=2, norm="none")
    for network, layers in ((Generator(generator), generator),
                            (Discriminator(discriminator), discriminator)):  # fmt: skip
        convolutions = [m for m in network.modules() if hasattr(m, "layer") and hasattr(m, "bias")]
        squares: dict[str, float] = {}

        def keep(module, inputs, result, squares=squares):
            ratio = result.square().mean() / inputs[0].square().mean()
            squares[module.layer.name] = ratio.item()

        for module, layer in zip(convolutions, layers, strict=False):
            assert module.layer == layer
            torch.nn.init.normal_(module.weight, 0, he_std(layer))
            torch.nn.init.zeros_(module.bias)
            if layer.leak is not None:
                module.register_forward_hook(keep)
        with torch.no_grad():
            network(torch.randn(2, 3, 64, 64))
        assert len(squares) >= 3
        assert all(1 / 1.5 < ratio < 1.5 for ratio in squares.values()), squares


# ---- what a pixel sees --------------------------------------------------------------------


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_a_tile_needs_its_halo_and_no_more(runtime, upsample):
    """A tile with its halo is translated as within the image; with a norm it is not."""
    recipe = recipe_of(precision="fp64", width=3, upsample=upsample, blocks=1)
    for norm, equal in (("none", True), ("instance", False)):
        one = dataclasses.replace(recipe, norm=norm)
        translator = make_translator(one, runtime)
        layers = generators_of(one)["generator_ab"]
        translator.load_generators({
            f"generator_ab.{name}": np.random.default_rng((5, k)).normal(0, 0.15, shape)
            for k, (name, shape) in enumerate(
                (name, shape) for layer in layers for name, shape in layer.parameters.items()
            )
        })  # fmt: skip
        margin = -(-halo(layers) // STRIDE) * STRIDE
        side = 16 + 2 * margin + 16  # 8 pixels of image beyond the halo on each side
        image = np.random.default_rng(1).uniform(-1, 1, (1, side, side, 3))
        whole = translator.translate(image, "ab")[:, 8:-8, 8:-8][:, margin:-margin, margin:-margin]
        tile = translator.translate(image[:, 8:-8, 8:-8], "ab")[:, margin:-margin, margin:-margin]
        gap = np.abs(whole - tile).max()
        assert whole.shape == (1, 16, 16, 3)
        assert whole.std() > 0.01
        assert (gap < 1e-6) == equal, gap


# ---- files and resumes --------------------------------------------------------------------


def test_a_training_goes_on_from_its_state(runtime):
    """Four steps, and four more in a new engine, are eight in one: to the last bit."""
    recipe = recipe_of(gradient_penalty=5.0, start="identity", **NONE)
    through, first, second = (initialised(recipe, runtime) for _ in range(3))
    for step in range(8):
        through.train_step(batch_of(recipe, step), 0.5)
    for step in range(4):
        first.train_step(batch_of(recipe, step), 0.5)
    second.load(first.state())
    for step in range(4, 8):
        second.train_step(batch_of(recipe, step), 0.5)
    expected, found = through.state(), second.state()
    assert expected.keys() == found.keys()
    assert all(expected[name].tobytes() == found[name].tobytes() for name in expected)


def test_a_model_file_holds_its_norm(runtime, tmp_path):
    recipe = recipe_of(depth_a=8, depth_b=8, ema=0.0, **NONE)
    engine = initialised(recipe, runtime)
    for step in range(3):
        engine.train_step(batch_of(recipe, step), 1.0)
    header = checkpoint.Header("checkpoint", Config(recipe, runtime), 3)
    checkpoint.write(tmp_path / "new.safetensors", header, engine.state())
    model = load(tmp_path / "new.safetensors", engine=runtime.engine, device="cpu:0", threads=1)
    assert model.config.recipe.norm == "none"
    image = np.random.default_rng(1).integers(0, 256, (16, 12, 3), np.uint8)
    signed = (image[None] / 127.5 - 1).astype(np.float32)
    expected = np.rint((engine.translate(signed, "ab")[0] + 1) * 127.5)
    assert np.abs(model.translate(image, to="b").astype(int) - expected).max() <= 1


def test_a_file_without_a_norm_has_instance_norms():
    recipe = Config.from_toml('[recipe]\npreset = "small"\n', "an older file").recipe
    assert (recipe.norm, recipe.discriminator_norm) == ("instance", "instance")
    assert recipe.gradient_penalty == 0
