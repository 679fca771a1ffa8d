"""What discriminators see beyond the batch: further real images, and earlier generated ones."""

import dataclasses

import numpy as np
import pytest
import torch

from engines.test_parity import assert_alike, batch_of, initialised
from unpaired.config import Recipe, Runtime
from unpaired.data.batches import Further, further_slots
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state
from unpaired.engines.torch.engine import earlier
from unpaired.engines.torch.losses import discriminator_loss
from unpaired.errors import ConfigError
from unpaired.streams import FURTHER_POOL_A, FURTHER_POOL_B

RECIPE = Recipe(
    load_size=16, image_size=16, width=2, blocks=1, discriminator_width=3, discriminator_layers=1,
    discriminator_images=4, batch_size=2, pool_size=3, steps=20, precision="fp64", ema=0.9,
    bands_a=3, bands_b=3, depth_a=8, depth_b=8, discriminator_norm="none", gradient_penalty=0.5,
)  # fmt: skip


def batch(recipe, step):
    """As `Batches` gives it, of random images."""
    rng = np.random.default_rng((12, step + 1))
    count = recipe.batch_size * (recipe.discriminator_images - 1)
    shape = (count, recipe.image_size, recipe.image_size, recipe.bands_a)
    further = {
        domain: Further(rng.uniform(-1, 1, shape), further_slots(recipe, name, step, slice(None)))
        for domain, name in (("a", FURTHER_POOL_A), ("b", FURTHER_POOL_B))
    }
    return dataclasses.replace(batch_of(recipe, step), further=further)


def steps(engine, recipe, count=6):
    found = [engine.train_step(batch(recipe, k), recipe.rate_factor(k)) for k in range(count)]
    return [{name: float(x) for name, x in losses.items()} for losses in found]


def test_the_engines_agree():
    torch_engine, jax_engine = initialised(RECIPE)
    one, other = (steps(engine, RECIPE) for engine in (torch_engine, jax_engine))
    for x, y in zip(one, other, strict=True):
        assert x == pytest.approx(y, rel=1e-9)
    assert_alike(torch_engine.state(), jax_engine.state())


def test_two_devices_are_one():
    """Each has the further images and the slots of its own lanes."""
    one, both = (
        make_engine(RECIPE, Runtime(engine="jax", device=device)) for device in ("cpu:0", "cpu")
    )
    state = initial_state(one.state(), RECIPE)
    for engine in (one, both):
        engine.load(state)
    assert len(both.machine.devices) == 2
    for x, y in zip(steps(one, RECIPE), steps(both, RECIPE), strict=True):
        assert x == pytest.approx(y, rel=1e-9)
    assert_alike(one.state(), both.state())


def test_the_slots_are_filled_ones():
    found = [further_slots(RECIPE, FURTHER_POOL_A, step, slice(None)) for step in range(200)]
    assert all(slot.shape == (2, 3) and slot.dtype == np.int32 for slot in found)
    assert (found[0] == 0).all()
    assert found[1].max() <= 1
    assert {int(x) for slot in found[3:] for x in slot.flat} == {0, 1, 2}
    part = further_slots(RECIPE, FURTHER_POOL_A, 9, slice(1, 2))
    np.testing.assert_array_equal(part, found[9][1:])


def test_earlier_images_are_those_of_the_slots():
    pool = np.random.default_rng((1, 1)).random((2, 3, 4, 5, 6))
    slot = np.array([[2, 0, 2, 1], [1, 1, 0, 2]], np.int32)
    expected = [pool[lane, k] for lane in range(2) for k in slot[lane]]
    found = earlier(torch.from_numpy(pool), slot).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, expected)


def test_the_loss_is_the_mean_over_all_images():
    """Of the discriminators as they were, image by image, by hand."""
    last = next(k for k in range(3, 99) if batch_of(RECIPE, k).pool_a.store.all())
    engine = initialised(RECIPE)[0]
    steps(engine, RECIPE, last)
    before, seen = engine.state(), batch(RECIPE, last)
    losses = engine.train_step(seen, 1.0)
    after, plan = engine.state()["pool_a"], seen.pool_a
    # Where all new fakes are stored, what is shown of the batch is what they replace, or they.
    pools = [before["pool_a"] if swap else after for swap in plan.swap]
    shown = [pool[lane, plan.slot[lane]] for lane, pool in enumerate(pools)]
    shown += [after[lane, k] for lane in range(2) for k in seen.further["a"].slot[lane]]
    real = np.concatenate([seen.real_a, seen.further["a"].real])
    engine.load(before)
    scores = [torch.from_numpy(engine.judge(x, "a")) for x in (real, np.stack(shown))]
    by_hand = float(discriminator_loss(*scores))
    assert float(losses["discriminator_a"]) == pytest.approx(by_hand, rel=1e-6)


def test_without_a_pool_there_is_nothing_further():
    with pytest.raises(ConfigError, match=r"--discriminator-images 2 needs .* --pool-size"):
        Recipe(discriminator_images=2, pool_size=0)


@pytest.mark.parametrize(
    ("engine", "norm", "size"),
    [("torch", "instance", 4), ("torch", "none", 4), ("jax", "none", 2)],  # JAX compiles for long
)
def test_parts_of_a_batch_are_the_batch(engine, norm, size):
    """Whatever the parts that its gradients are computed in: the same losses and state."""
    recipe = dataclasses.replace(
        RECIPE, batch_size=size, norm=norm, discriminator_norm=norm, discriminator_images=2
    )
    ends = []
    for parts in (1, 2, 4)[: size // 2 + 1]:
        one = make_engine(recipe, Runtime(engine=engine, device="cpu:0", accumulate=parts))
        one.load(initial_state(one.state(), recipe))
        ends.append((steps(one, recipe, 4), one.state()))
    (whole, state), *others = ends
    assert len(others) == size // 2
    for losses, other in others:
        for x, y in zip(whole, losses, strict=True):
            assert x == pytest.approx(y, rel=1e-9)
        assert_alike(state, other)


def test_parts_divide_the_batch():
    with pytest.raises(ConfigError, match="--accumulate 3 does not divide --batch-size 2"):
        make_engine(RECIPE, Runtime(accumulate=3))
