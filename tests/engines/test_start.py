"""Starts from the images ("residual", "identity"): first translation, range, gradients."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import SMALL
from unpaired import checkpoint
from unpaired.config import Config, Runtime
from unpaired.data.batches import Batch, pool_plan
from unpaired.engines.choice import make_engine, make_translator
from unpaired.engines.seam import initial_state
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B
from unpaired.translation.model import load

HEADS = ("generator_ab.head.weight", "generator_ba.head.weight")


@pytest.fixture(params=["torch", "jax"])
def runtime(request):
    pytest.importorskip(request.param, reason=f"the {request.param} engine is not installed")
    return Runtime(engine=request.param, device="cpu:0", threads=1)


def recipe_of(**changes):
    wanted = {"bands_a": 3, "bands_b": 3, "blocks": 0, "pool_size": 2, "start": "identity"}
    return preset("tiny", SMALL | wanted | changes)


def initialised(recipe, runtime):
    engine = make_engine(recipe, runtime)
    engine.load(initial_state(engine.state(), recipe))
    return engine


def random_images(size=(12, 20), bands=3, count=2):
    """Black and white in them, as in photographs."""
    images = np.random.default_rng(5).uniform(-1.3, 1.3, (count, *size, bands))
    return np.clip(images, -1, 1).astype(np.float32)


def batch_of(recipe, step):
    rng = np.random.default_rng((7, step))
    shape = (2, recipe.batch_size, recipe.image_size, recipe.image_size, 3)
    reals = np.clip(rng.uniform(-1.3, 1.3, shape), -1, 1).astype(np.float32)
    plans = (pool_plan(recipe, pool, step, slice(None)) for pool in (POOL_A, POOL_B))
    return Batch(*reals, *plans)


# ---- the first translation ----------------------------------------------------------------


@pytest.mark.parametrize("direction", ["ab", "ba"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"start": "residual"}, {"upsample": "transposed", "bands_a": 4, "bands_b": 4}],
)
def test_the_first_translation_is_the_image(runtime, changes, precision, direction):
    """To the last bit; in bf16 too, since input and head are added in fp32."""
    engine = initialised(recipe_of(precision=precision, **changes), runtime)
    images = random_images(bands=changes.get("bands_a", 3))
    assert np.array_equal(engine.translate(images, direction), images)


@pytest.mark.parametrize("start", ["identity", "residual"])
def test_the_first_translation_is_the_image_in_fp64(runtime, start):
    """By the networks themselves, since `translate` gives fp32."""
    engine = initialised(recipe_of(precision="fp64", start=start), runtime)
    images = random_images().astype(np.float64) * (1 - 1e-10)  # no numbers of fp32
    for direction in ("ab", "ba"):
        if runtime.engine == "torch":
            x = engine.machine.send(images)
            made = engine.generators[f"generator_{direction}"](x)
            made = made.detach().permute(0, 2, 3, 1).numpy()
        else:
            from unpaired.engines.jax.step import forward

            with engine.machine.arithmetic():
                x = engine.machine.send(images)
                network = engine._state.generators[f"generator_{direction}"]
                made = np.array(forward(network, x, precision="fp64"))
        assert made.dtype == np.float64
        assert np.array_equal(made, images)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("size", [(16, 16), (9, 13), (1, 7), (30, 8)])
def test_a_new_model_gives_its_images_back(runtime, tmp_path, size, depth):
    """To the last level, in both directions, where an image has to be padded too."""
    recipe = recipe_of(depth_a=depth, depth_b=depth)
    state = initialised(recipe, runtime).state()
    header = checkpoint.Header("checkpoint", Config(recipe, runtime), 0)
    checkpoint.write(tmp_path / "new.safetensors", header, state)
    model = load(tmp_path / "new.safetensors", engine=runtime.engine, device="cpu:0", threads=1)
    image = np.random.default_rng(1).integers(0, 2**depth, (*size, 3), f"u{depth // 8}")
    image.reshape(-1)[:2] = 0, 2**depth - 1
    for to in ("a", "b"):
        assert np.array_equal(model.translate(image, to=to), image)


@pytest.mark.parametrize("start", ["identity", "residual"])
def test_all_other_weights_are_those_of_a_start_from_noise(runtime, start):
    noise, added = (
        initialised(recipe_of(start=each), runtime).state() for each in ("noise", start)
    )
    assert noise.keys() == added.keys()
    changed = {name for name in noise if noise[name].tobytes() != added[name].tobytes()}
    assert changed == {*HEADS, *(f"ema.{name}" for name in HEADS)}
    assert not any(added[name].any() for name in changed)
    assert added["discriminator_a.head.weight"].any()


# ---- the formula --------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["identity", "residual"])
def test_the_head_is_added_to_the_image(runtime, start):
    """Against numpy, the first under a tanh: the head's result is read off one from noise."""
    recipe = recipe_of(precision="fp64", ema=0.0)
    state = initialised(recipe, runtime).state()
    for index, name in enumerate(sorted(state)):
        if name.startswith("generator_"):
            state[name] = np.random.default_rng((3, index)).normal(0, 0.08, state[name].shape)
    images = random_images()
    noise, added = (
        make_translator(replace(recipe, start=each), runtime) for each in ("noise", start)
    )
    for translator in (noise, added):
        translator.load_generators(state)
    head = np.arctanh(noise.translate(images, "ab").astype(np.float64))
    assert 0.5 < np.abs(head).max() < 3
    expected = images + head
    if start == "identity":
        expected = np.tanh(np.arctanh(0.98 * images.astype(np.float64)) + head) / 0.98
    made = added.translate(images, "ab")
    assert np.abs(made - np.clip(expected, -1, 1)).max() < 2e-5
    assert np.abs(made - images).mean() > 0.05


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("bias", [20.0, -20.0])
def test_white_and_black_beyond_all_bounds_have_finite_gradients(runtime, bias, precision):
    """Fakes of 1 / 0.98 come back as inputs, where atanh and its slope would be infinite."""
    recipe = recipe_of(precision=precision)
    engine = make_engine(recipe, runtime)
    state = initial_state(engine.state(), recipe)
    for prefix in ("", "ema."):
        state[f"{prefix}generator_ab.head.bias"][:] = bias
    engine.load(state)
    losses = [engine.train_step(batch_of(recipe, step), 1.0) for step in range(3)]
    assert all(np.isfinite(float(loss)) for each in losses for loss in each.values())
    assert all(np.isfinite(array).all() for array in engine.state().values())
    assert np.abs(engine.state()["pool_b"]).max() == pytest.approx(1 / 0.98)
    assert np.abs(engine.translate(random_images(), "ab")).max() == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_black_beyond_all_bounds_is_pushed_back(runtime, precision):
    """Of "residual": what leaves the range has a slope there, and the next steps lessen it."""
    recipe = recipe_of(precision=precision, start="residual", cycle=1.0, discriminator_rate=0.0)
    engine = make_engine(recipe, runtime)
    state = initial_state(engine.state(), recipe)
    for name in (name for name in state if name.startswith("discriminator_")):
        state[name][:] = 0  # scores are 0 everywhere: the cycle loss alone pushes
    for prefix in ("", "ema."):
        state[f"{prefix}generator_ab.head.bias"][:] = -3.0
    engine.load(state)
    for step in range(3):
        engine.train_step(batch_of(recipe, step), 1.0)
    after = engine.state()
    assert engine.translate(random_images(), "ab").min() == -1
    assert (after["generator_ab.head.bias"] > -3.0).all()
    assert (after["generator_ba.head.bias"] > 0.0).all()


# ---- gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_first_step_learns_from_the_discriminators_alone(runtime, precision):
    """The first cycle and identity losses are 0, and so are their slopes: exactly."""
    states = []
    for cycle in (10.0, 0.0):  # identity losses have the weight of the cycle times theirs
        engine = initialised(recipe_of(precision=precision, cycle=cycle), runtime)
        losses = engine.train_step(batch_of(engine.recipe, 0), 1.0)
        assert float(losses["cycle_a"]) == float(losses["cycle_b"]) == 0
        states.append(engine.state())
    for name in states[0]:
        np.testing.assert_allclose(states[0][name], states[1][name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_step_moves_the_output_through_the_head_alone(runtime, precision):
    """The head is 0, so nothing below it has a gradient yet; after one step everything has."""
    recipe = recipe_of(precision=precision)
    engine, images = initialised(recipe, runtime), random_images()
    before = engine.state()
    engine.train_step(batch_of(recipe, 0), 1.0)
    once = engine.state()
    for name in HEADS:
        step = np.abs(once[name])
        assert np.median(step) == pytest.approx(recipe.learning_rate, rel=0.01)  # Adam's first
    still = [name for name in before if name.startswith("generator_") and "head" not in name]
    assert all(before[name].tobytes() == once[name].tobytes() for name in still)
    for direction in ("ab", "ba"):
        assert 1e-4 < np.abs(engine.translate(images, direction) - images).mean() < 0.1
    engine.train_step(batch_of(recipe, 1), 1.0)
    twice = engine.state()
    assert not any(once[name].tobytes() == twice[name].tobytes() for name in still)
