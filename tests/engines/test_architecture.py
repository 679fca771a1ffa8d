"""The facts of the networks against the engines: names, shapes, sizes, what a pixel sees."""

import numpy as np
import pytest

from conftest import SMALL
from unpaired.config import Runtime
from unpaired.engines.architecture import (
    INIT_STD,
    PEAK_BYTES,
    SMALLEST_SIDE,
    STRIDE,
    discriminator_layers,
    generator_layers,
    halo,
    parameter_count,
    receptive_field,
    smallest_crop,
)
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import discriminators_of, generators_of, initial_state
from unpaired.errors import ConfigError
from unpaired.presets import preset

ENGINES = ("torch", "jax")


def engine_of(name, recipe):
    pytest.importorskip(name, reason=f"the {name} engine is not installed")
    device = "cpu" if name == "torch" else "cpu:0"
    engine = make_engine(recipe, Runtime(engine=name, device=device, threads=1))
    engine.load(initial_state(engine.state(), recipe))
    return engine


def recipe_of(**changes):
    return preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3} | changes)


# ---- names and shapes ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"blocks": 0, "bands_b": 1},
        {"upsample": "transposed", "width": 5, "blocks": 3, "bands_a": 4},
        {"discriminator_layers": 3, "image_size": 24, "load_size": 24, "discriminator_width": 3},
    ],
)
def test_an_engine_has_these_weights_and_no_others(name, changes):
    recipe = recipe_of(ema=0.0, **changes)
    expected = {
        f"{network}.{key}": shape
        for network, layers in (generators_of(recipe) | discriminators_of(recipe)).items()
        for layer in layers
        for key, shape in layer.parameters.items()
    }
    state = engine_of(name, recipe).state()
    weights = {n: x.shape for n, x in state.items() if n.startswith(("generator", "discriminator"))}
    assert weights == expected


def test_names_of_the_documentation():
    layers = generator_layers(3, 4, width=8, blocks=2, upsample="transposed")
    assert {layer.name: layer.shape for layer in layers} == {
        "stem": (8, 3, 7, 7),
        "down.0": (16, 8, 3, 3),
        "down.1": (32, 16, 3, 3),
        "blocks.0.conv1": (32, 32, 3, 3),
        "blocks.0.conv2": (32, 32, 3, 3),
        "blocks.1.conv1": (32, 32, 3, 3),
        "blocks.1.conv2": (32, 32, 3, 3),
        "up.0.conv": (32, 16, 3, 3),  # transposed: channels in come first
        "up.1.conv": (16, 8, 3, 3),
        "head": (4, 8, 7, 7),
    }
    resized = generator_layers(3, 4, width=8, blocks=0, upsample="resize")
    assert [layer.shape for layer in resized if layer.name.startswith("up")] == [
        (16, 32, 3, 3),
        (8, 16, 3, 3),
    ]
    assert {layer.name: layer.shape for layer in discriminator_layers(3, width=4, layers=5)} == {
        "layers.0": (4, 3, 4, 4),
        "layers.1": (8, 4, 4, 4),
        "layers.2": (16, 8, 4, 4),
        "layers.3": (32, 16, 4, 4),
        "layers.4": (32, 32, 4, 4),  # at most 8 times the width
        "layers.5": (32, 32, 4, 4),
        "head": (1, 32, 4, 4),
    }
    assert [layer.name for layer in layers if layer.bias] == ["head"]


def test_sizes_of_the_networks_of_2017():
    generator = generator_layers(3, 3, width=64, blocks=9, upsample="transposed")
    assert parameter_count(generator) == 11_372_931
    assert parameter_count(discriminator_layers(3, width=64, layers=3)) == 2_763_841


# ---- what a pixel sees --------------------------------------------------------------------


def seen_by(network, side, row):
    """The first and last row of an image that a row of the output depends on, by gradients."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(0.01)  # all positive, so that nothing cancels and no ReLU closes
    x = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    network(x)[0, 0, row, row].backward()
    rows = np.flatnonzero(x.grad[0, 0].abs().sum(1).numpy())
    return rows[0], rows[-1]


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_halo_and_receptive_field_of_a_generator(upsample, blocks, monkeypatch):
    """Instance norms see the whole image, and are left out here."""
    pytest.importorskip("torch")
    from unpaired.engines.torch import networks

    monkeypatch.setattr(networks.torch, "tanh", lambda x: x)
    layers = generator_layers(1, 1, width=1, blocks=blocks, upsample=upsample, norm="none")
    network = networks.Generator(layers).double()
    side = 4 * STRIDE * (8 + 2 * blocks)
    rows = [side // 2 + phase for phase in range(STRIDE)]
    seen = [seen_by(network, side, row) for row in rows]
    assert receptive_field(layers) == max(last - first + 1 for first, last in seen)
    assert halo(layers) == max(
        max(row - first, last - row) for row, (first, last) in zip(rows, seen, strict=True)
    )


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field_of_a_discriminator(layers, field):
    pytest.importorskip("torch")
    from unpaired.engines.torch import networks

    facts = discriminator_layers(1, width=2, layers=layers, norm="none")
    first, last = seen_by(networks.Discriminator(facts).double(), 128, 64 // 2**layers)
    assert last - first + 1 == receptive_field(facts) == field


# ---- the smallest sizes -------------------------------------------------------------------


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("name", ENGINES)
def test_the_smallest_side_works_and_the_stride_counts(name, upsample):
    engine = engine_of(name, recipe_of(upsample=upsample))
    for side in (SMALLEST_SIDE, SMALLEST_SIDE + STRIDE):
        image = np.random.default_rng(side).uniform(-1, 1, (1, side, side, 3)).astype(np.float32)
        assert engine.translate(image, "ab").shape == image.shape
    off = SMALLEST_SIDE + STRIDE // 2
    assert engine.translate(np.zeros((1, off, off, 3), np.float32), "ab").shape[1] != off


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_side_below_the_smallest_fails(blocks):
    engine = engine_of("torch", recipe_of(upsample="transposed", blocks=blocks))
    side = SMALLEST_SIDE - STRIDE
    with pytest.raises((ValueError, RuntimeError)):
        engine.translate(np.zeros((1, side, side, 3), np.float32), "ab")


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_smallest_crop_is_judged_and_a_smaller_one_fails(layers):
    torch = pytest.importorskip("torch")
    from unpaired.engines.torch.networks import Discriminator

    network = Discriminator(discriminator_layers(3, width=2, layers=layers))
    side = 3 * 2**layers
    assert smallest_crop(layers) == max(SMALLEST_SIDE, side)
    assert network(torch.randn(1, 3, side, side)).numel() == 1
    with pytest.raises((ValueError, RuntimeError)):
        network(torch.randn(1, 3, side - 2**layers, side - 2**layers))


def test_a_recipe_is_held_to_the_smallest_crop():
    crop = smallest_crop(3)
    sizes = {"discriminator_layers": 3, "load_size": crop}
    assert recipe_of(**sizes, image_size=crop).image_size == crop
    with pytest.raises(ConfigError, match=f"at least {crop}"):
        recipe_of(**sizes, image_size=crop - STRIDE)


# ---- constants ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
def test_initial_weights_have_this_deviation(name):
    state = engine_of(name, recipe_of(width=16, blocks=2)).state()
    weights = state["generator_ab.blocks.0.conv1.weight"]
    assert weights.std() == pytest.approx(INIT_STD, rel=0.02)


def test_every_kind_of_recipe_has_its_peak():
    kinds = {(up, p) for up in ("transposed", "resize") for p in ("fp32", "bf16", "fp64")}
    assert kinds == set(PEAK_BYTES)
