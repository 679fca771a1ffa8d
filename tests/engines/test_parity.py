"""Two engines, one algorithm: PyTorch against JAX in float64, to a relative difference of 1e-9.

The difference of two arrays is the largest of all elements, over the largest element.
"""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the torch engine is not installed")
pytest.importorskip("jax", reason="the jax engine is not installed")

from unpaired.config import Runtime
from unpaired.data.batches import Batch, pool_plan
from unpaired.engines.choice import make_engine, make_translator
from unpaired.engines.seam import initial_state
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B

BOUND = 1e-9
ENGINES = ("torch", "jax")
COMMON = {"bands_a": 3, "bands_b": 3, "precision": "fp64", "steps": 12, "epoch_steps": 2}
# As in 2017, and with everything that may differ.
RECIPES = {
    "paper": preset("paper", COMMON | {
        "load_size": 24, "image_size": 24, "width": 4, "blocks": 2, "discriminator_width": 4,
        "pool_size": 3,
    }),
    "resize": preset("tiny", COMMON | {
        "load_size": 16, "image_size": 16, "width": 4, "blocks": 1, "discriminator_width": 4,
        "bands_b": 2, "pool_size": 2, "batch_size": 2, "ema": 0.9,
    }),
    "identity": preset("tiny", COMMON | {
        "load_size": 16, "image_size": 16, "width": 4, "blocks": 1, "discriminator_width": 4,
        "pool_size": 2, "batch_size": 2, "identity": 0.5, "ema": 0.9, "start": "identity",
    }),
    "residual": preset("tiny", COMMON | {
        "load_size": 16, "image_size": 16, "width": 4, "blocks": 1, "discriminator_width": 4,
        "pool_size": 2, "batch_size": 2, "ema": 0.9, "start": "residual",
        "discriminator_norm": "none", "gradient_penalty": 1.0, "discriminator_images": 2,
    }),
    "no norm": preset("tiny", COMMON | {
        "load_size": 16, "image_size": 16, "width": 4, "blocks": 1, "discriminator_width": 4,
        "pool_size": 2, "ema": 0.9, "start": "identity", "norm": "none",
        "discriminator_norm": "none", "gradient_penalty": 10.0, "batch_size": 1,
    }),
    "penalty": preset("tiny", COMMON | {
        "load_size": 16, "image_size": 16, "width": 4, "blocks": 1, "discriminator_width": 4,
        "bands_b": 2, "pool_size": 2, "batch_size": 2, "norm": "none", "upsample": "transposed",
        "gradient_penalty": 3.0,
    }),
}  # fmt: skip


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request):
    return RECIPES[request.param]


def runtime_of(engine):
    return Runtime(engine=engine, device="cpu" if engine == "torch" else "cpu:0", threads=1)


def initialised(recipe):
    """Both engines with the same initial weights; biases are drawn too, so that they count."""
    engines = [make_engine(recipe, runtime_of(name)) for name in ENGINES]
    state = initial_state(engines[0].state(), recipe)
    for index, name in enumerate(sorted(state)):
        if name.startswith(("generator_", "discriminator_")):
            wider = np.random.default_rng((3, index + 1)).normal(0, 0.1, state[name].shape)
            state[name] = wider
    for name in state:
        if name.startswith("ema."):
            state[name] = state[name.removeprefix("ema.")].copy()
    for engine in engines:
        engine.load(state)
    return engines


def batch_of(recipe, step):
    rng = np.random.default_rng((11, step + 1))
    shape = (recipe.batch_size, recipe.image_size, recipe.image_size)
    return Batch(
        rng.uniform(-1, 1, (*shape, recipe.bands_a)),
        rng.uniform(-1, 1, (*shape, recipe.bands_b)),
        pool_plan(recipe, POOL_A, step, slice(None)),
        pool_plan(recipe, POOL_B, step, slice(None)),
    )


def difference(one, other):
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    scale = np.abs(one).max(initial=0)
    gap = np.abs(one - other).max(initial=0)
    return gap / scale if scale else gap


def assert_alike(one, other, only=""):
    """Two states agree, in names, shapes and types too; returns the largest difference."""
    assert one.keys() == other.keys()
    gaps = {n: difference(one[n], other[n]) for n in one if n.startswith(only)}
    worst = max(gaps, key=gaps.get)
    assert gaps[worst] <= BOUND, worst
    return gaps[worst]


def run(engine, recipe, first, last):
    return [
        {name: float(x) for name, x in losses.items()}
        for step in range(first, last)
        for losses in [engine.train_step(batch_of(recipe, step), recipe.rate_factor(step))]
    ]


# ---- one step, piece by piece -------------------------------------------------------------


def test_forward_of_all_networks(recipe):
    """Through `translate` and `judge`, whose results are fp32: equal to the last bit but one."""
    one, other = initialised(recipe)
    batch = batch_of(recipe, 0)
    for direction, images in (("ab", batch.real_a), ("ba", batch.real_b)):
        made = [engine.translate(images, direction) for engine in (one, other)]
        np.testing.assert_allclose(*made, rtol=2e-7, atol=1e-9)
    for domain, images in (("a", batch.real_a), ("b", batch.real_b)):
        made = [engine.judge(images, domain) for engine in (one, other)]
        np.testing.assert_allclose(*made, rtol=2e-7, atol=1e-9)


def test_forward_in_float64(recipe):
    """The pools hold the generators' results, in float64."""
    one, other = initialised(recipe)
    batch = batch_of(recipe, 0)
    for engine in (one, other):
        engine.train_step(batch, 0.0)
    states = one.state(), other.state()
    for pool in ("pool_a", "pool_b"):
        assert np.abs(states[0][pool][:, 0]).min() > 0
        assert difference(states[0][pool], states[1][pool]) <= BOUND


def test_losses(recipe):
    one, other = initialised(recipe)
    ours, theirs = (run(engine, recipe, 0, 1)[0] for engine in (one, other))
    assert list(ours) == list(theirs)
    assert ours == pytest.approx(theirs, rel=BOUND, abs=0)


def test_gradients(recipe):
    """Moments begin at 0, so after a step the first is (1 - beta1) times the gradient."""
    one, other = initialised(recipe)
    for engine in (one, other):
        engine.train_step(batch_of(recipe, 0), 1.0)
    states = one.state(), other.state()
    assert all(np.abs(x).max() > 0 for n, x in states[0].items() if n.startswith("moment1"))
    assert_alike(*states, only="moment1.")


# ---- many steps ---------------------------------------------------------------------------


def test_ten_steps(recipe):
    """Weights, moments, running means, pools and losses, while the learning rate decays."""
    one, other = initialised(recipe)
    factors = {recipe.rate_factor(step) for step in range(10)}
    assert len(factors) > 3
    swaps = [pool_plan(recipe, POOL_A, step, slice(None)).swap.any() for step in range(10)]
    assert any(swaps)
    ours, theirs = (run(engine, recipe, 0, 10) for engine in (one, other))
    for mine, other_losses in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other_losses, rel=BOUND, abs=0)
    assert_alike(one.state(), other.state())


def test_a_run_continues_in_the_other_engine_and_back(recipe):
    """Four steps in PyTorch, three in JAX, three in PyTorch: as ten in PyTorch alone."""
    one, other = initialised(recipe)
    moving = initialised(recipe)[0]
    run(one, recipe, 0, 10)
    run(moving, recipe, 0, 4)
    other.load(moving.state())
    run(other, recipe, 4, 7)
    moving.load(other.state())
    run(moving, recipe, 7, 10)
    assert_alike(one.state(), moving.state())


def test_two_starts_from_the_images_are_equal():
    """From heads of 0: the first cycle is the image, and no slope may be the sign of an error."""
    recipe = RECIPES["identity"]
    engines = [make_engine(recipe, runtime_of(name)) for name in ENGINES]
    for engine in engines:
        engine.load(initial_state(engine.state(), recipe))
    ours, theirs = (run(engine, recipe, 0, 4) for engine in engines)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=BOUND, abs=0)
    assert_alike(engines[0].state(), engines[1].state())


def test_the_bound_detects_a_small_change(recipe):
    """A learning rate off by a millionth is far beyond it."""
    one, other = initialised(recipe)
    run(one, recipe, 0, 2)
    for step in range(2):
        other.train_step(batch_of(recipe, step), recipe.rate_factor(step) * (1 + 1e-6))
    with pytest.raises(AssertionError):
        assert_alike(one.state(), other.state())


# ---- fp32 and bf16 ------------------------------------------------------------------------


def generators_of(recipe):
    """Both engines' generators, with weights large enough that images are not all grey."""
    translators = [make_translator(recipe, runtime_of(name)) for name in ENGINES]
    engine = make_engine(replace(recipe, image_size=32, pool_size=0), runtime_of("torch"))
    state = initial_state(engine.state(), replace(recipe, seed=1))
    arrays = {name: 2.5 * x for name, x in state.items() if name.startswith("generator_")}
    for translator in translators:
        translator.load_generators(arrays)
    return translators


def levels(signed):
    return np.rint((signed + 1) * 127.5)


def test_an_image_in_fp32_at_paper_size():
    """At most one level of 255 on any pixel, 256 px, width 64, nine blocks."""
    recipe = preset("paper", {"bands_a": 3, "bands_b": 3})
    rng = np.random.default_rng(5)
    coarse = rng.uniform(-1, 1, (1, 32, 32, 3))
    grain = rng.normal(0, 0.1, (1, 256, 256, 3))
    image = np.clip(coarse.repeat(8, 1).repeat(8, 2) + grain, -1, 1)
    one, other = (x.translate(image.astype(np.float32), "ab") for x in generators_of(recipe))
    assert one.std() > 0.2
    assert np.abs(levels(one) - levels(other)).max() <= 1


def test_an_image_in_bf16():
    """Arithmetic of 8 bits' precision: alike, and not the same as fp32."""
    values = {"width": 16, "start": "noise", "discriminator_images": 1, "precision": "bf16"}
    recipe = preset("small", {"bands_a": 3, "bands_b": 3} | values)
    image = np.random.default_rng(5).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    one, other = (x.translate(image, "ab") for x in generators_of(recipe))
    exact, _ = (x.translate(image, "ab") for x in generators_of(replace(recipe, precision="fp32")))
    gaps = [np.abs(made - exact).mean() for made in (one, other)]
    assert 1e-4 < gaps[0] < 0.03
    assert gaps[1] == pytest.approx(gaps[0], rel=0.5)


@pytest.mark.parametrize("name", ["resize", "identity", "no norm", "penalty"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_in_other_precisions_stay_near(precision, name):
    recipe = replace(RECIPES[name], precision=precision)
    engines = [make_engine(recipe, runtime_of(name)) for name in ENGINES]
    for engine in engines:
        engine.load(initial_state(engine.state(), replace(recipe, start="noise")))
    ours, theirs = (run(engine, recipe, 0, 3) for engine in engines)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=1e-4 if precision == "fp32" else 0.05)
    types = {name: x.dtype for name, x in engines[0].state().items()}
    assert types == {name: x.dtype for name, x in engines[1].state().items()}
