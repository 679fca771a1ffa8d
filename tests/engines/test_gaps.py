"""Pixels without data are kept out of the losses: weights, what discriminators see, both engines.

The reference picks the pixels that count by indexing; the step is restated with the networks of
plain.py.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import l1_loss, mse_loss

from engines import test_further
from engines.test_parity import assert_alike, initialised
from engines.test_torch_engine import initialised as torch_engine
from engines.test_torch_engine import little, to_torch, twin_of
from unpaired.config import Runtime
from unpaired.data.batches import Batch, pool_plan
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state, pixel_weights
from unpaired.engines.torch.losses import least_absolute
from unpaired.streams import POOL_A, POOL_B

RECIPE = dataclasses.replace(test_further.RECIPE, identity=0.5, discriminator_images=2)


def masks(recipe, step):
    """A rectangle and some pixels of each image without data, other ones in A and in B."""
    rng = np.random.default_rng((21, step + 1))
    side = recipe.image_size
    found = {}
    for domain in ("a", "b"):
        valid = rng.random((recipe.batch_size, side, side)) > 0.05
        for image in valid:
            top, left = rng.integers(0, side - 4, 2)
            image[top : top + 7, left : left + 3] = False
        found[domain] = valid
    return found


def with_gaps(batch, recipe, step):
    return dataclasses.replace(batch, valid=masks(recipe, step))


def steps(engine, recipe, count):
    losses = []
    for k in range(count):
        batch = with_gaps(test_further.batch(recipe, k), recipe, k)
        losses.append({n: float(x) for n, x in engine.train_step(batch, 1.0).items()})
    return losses


def test_the_engines_agree():
    """With further images and the gradient penalty, over the filling of the pool."""
    one, other = initialised(RECIPE)
    ours, theirs = (steps(engine, RECIPE, 5) for engine in (one, other))
    for x, y in zip(ours, theirs, strict=True):
        assert x == pytest.approx(y, rel=1e-9)
    assert_alike(one.state(), other.state())


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_are_the_batch(parts):
    """Although their images have different numbers of pixels with data."""
    recipe = dataclasses.replace(RECIPE, batch_size=4)
    ends = []
    for count in (1, parts):
        engine = make_engine(recipe, Runtime(device="cpu", accumulate=count))
        engine.load(initial_state(engine.state(), recipe))
        ends.append((steps(engine, recipe, 2), engine.state()))
    for x, y in zip(ends[0][0], ends[1][0], strict=True):
        assert x == pytest.approx(y, rel=1e-9)
    assert_alike(ends[0][1], ends[1][1])


def test_a_step_restated_plainly():
    """All losses, gradients of all networks and the pools, by indexing what counts."""
    recipe = little()
    engine = torch_engine(recipe)
    twin = twin_of(engine)
    rng = np.random.default_rng(3)
    images = rng.uniform(-1, 1, (2, 1, 24, 24, 3))
    plans = (pool_plan(recipe, pool, 0, slice(None)) for pool in (POOL_A, POOL_B))
    batch = Batch(*images, *plans, valid=masks(recipe, 0))
    ours = {name: float(x) for name, x in engine.train_step(batch, 1.0).items()}

    real = {"a": to_torch(batch.real_a), "b": to_torch(batch.real_b)}
    valid = {domain: torch.from_numpy(batch.valid[domain][0]) for domain in "ab"}
    both = valid["a"] & valid["b"]

    def errors(one, other, counted):
        return l1_loss(one[:, :, counted], other[:, :, counted])

    def emptied(image):
        return torch.where(both, image, torch.zeros_like(image))

    losses, total, fakes = {}, 0, {}
    networks = {"a": (twin.g_ab, twin.g_ba, twin.d_b), "b": (twin.g_ba, twin.g_ab, twin.d_a)}
    for source, (forth, back, judge) in networks.items():
        target = "b" if source == "a" else "a"
        fake = forth(real[source])
        kept = torch.where(valid[source], fake, fake.detach())
        scores = judge(emptied(kept))
        losses[f"adversarial_{source}{target}"] = mse_loss(scores, torch.ones_like(scores))
        losses[f"cycle_{source}"] = errors(back(kept), real[source], valid[source])
        losses[f"identity_{target}"] = errors(forth(real[target]), real[target], valid[target])
        total = total + losses[f"adversarial_{source}{target}"] + 10 * losses[f"cycle_{source}"]
        total = total + 5 * losses[f"identity_{target}"]
        fakes[target] = emptied(fake.detach())
    generators = [*twin.g_ab.parameters(), *twin.g_ba.parameters()]
    slopes = torch.autograd.grad(total, generators)
    for domain, judge in (("a", twin.d_a), ("b", twin.d_b)):
        on_real, on_fake = judge(emptied(real[domain])), judge(fakes[domain])
        loss = mse_loss(on_real, torch.ones_like(on_real)) + mse_loss(
            on_fake, torch.zeros_like(on_fake)
        )
        losses[f"discriminator_{domain}"] = loss / 2
        slopes += torch.autograd.grad(loss / 2, list(judge.parameters()))
        np.testing.assert_allclose(
            engine.state()[f"pool_{domain}"][0, 0], fakes[domain][0].permute(1, 2, 0), atol=1e-12
        )
    assert ours == pytest.approx({name: loss.item() for name, loss in losses.items()}, rel=1e-9)
    moments = [x for name, x in engine.state().items() if name.startswith("moment1.")]
    for found, slope in zip(moments, slopes, strict=True):
        np.testing.assert_allclose(found, 0.5 * slope.numpy(), rtol=1e-7, atol=1e-12)


def batch_with_other_gaps(seed):
    """A batch whose pixels without data are random, and all others the same for every seed."""
    batch = with_gaps(test_further.batch(RECIPE, 0), RECIPE, 0)
    reals = {"a": batch.real_a.copy(), "b": batch.real_b.copy()}
    for domain, images in reals.items():
        gaps = ~batch.valid[domain]
        images[gaps] = np.random.default_rng(seed).uniform(-1, 1, images[gaps].shape)
    return dataclasses.replace(batch, real_a=reals["a"], real_b=reals["b"])


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_what_is_in_the_gaps_does_not_count(name):
    """Constant generators see nothing, so only the losses themselves could: all stay the same."""
    found = []
    for seed in (1, 2):
        batch = batch_with_other_gaps(seed)
        engine = make_engine(RECIPE, Runtime(engine=name, device="cpu:0", threads=1))
        state = initial_state(engine.state(), RECIPE)
        state |= {n: np.zeros_like(x) for n, x in state.items() if n.startswith("generator_")}
        state["generator_ab.head.bias"][:] = 0.5
        engine.load(state)
        losses = engine.train_step(batch, 0.0)
        found.append(({n: float(x) for n, x in losses.items()}, engine.state()))
    assert found[0][0] == found[1][0]
    for key, array in found[0][1].items():
        np.testing.assert_array_equal(array, found[1][1][key])
    batch = batch_with_other_gaps(1)
    gaps = np.abs(np.tanh(0.5) - batch.real_b[batch.valid["b"]])
    assert found[0][0]["identity_b"] == pytest.approx(gaps.mean(), rel=1e-12)


def test_weights_are_those_of_a_mean_over_pixels_with_data():
    batch = batch_with_other_gaps(1)
    weights = pixel_weights(batch)
    made, real = to_torch(batch.real_b), to_torch(batch.real_a)
    for domain, valid in batch.valid.items():
        found = least_absolute(made, real, to_torch(weights[domain]))
        expected = np.abs(batch.real_a - batch.real_b)[valid].mean()
        assert found.item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(weights["seen"][..., 0], batch.valid["a"] & batch.valid["b"])


def test_a_batch_without_any_data_teaches_no_cycle():
    batch = batch_with_other_gaps(1)
    nothing = {domain: np.zeros_like(valid) for domain, valid in batch.valid.items()}
    engine = torch_engine(RECIPE)
    losses = engine.train_step(dataclasses.replace(batch, valid=nothing), 1.0)
    assert all(float(losses[name]) == 0 for name in ("cycle_a", "cycle_b", "identity_a"))
    assert all(np.isfinite(array).all() for array in engine.state().values())


def test_masks_of_pixels_with_data_alone_change_nothing():
    """To rounding: and without any the step has no weights at all."""
    batch = batch_with_other_gaps(1)
    whole = {domain: np.ones_like(valid) for domain, valid in batch.valid.items()}
    ends = []
    for valid in ({}, whole):
        engine = torch_engine(RECIPE)
        engine.train_step(dataclasses.replace(batch, valid=valid), 1.0)
        ends.append(engine.state())
    assert_alike(*ends)
    assert pixel_weights(dataclasses.replace(batch, valid={})) == {}
