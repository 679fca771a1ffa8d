"""The yardstick computes the step and the translation of the engines, in float64."""

import dataclasses
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from unpaired.benchmark.contestants import batches
from unpaired.benchmark.plain import PlainStep
from unpaired.config import Runtime
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state
from unpaired.presets import preset

LITTLE = {
    "width": 3, "blocks": 1, "discriminator_width": 4, "bands_a": 3, "bands_b": 3,
    "image_size": 24, "load_size": 24, "precision": "fp64", "pool_size": 3,
}  # fmt: skip


def pair_of(name, changes):
    """The yardstick and PyTorch's engine, of the same weights.

    They are drawn as those that give noise: where the head is 0 at first, the cycle loss of the
    yardstick has rounding errors for slopes.
    """
    recipe = preset(name, LITTLE | changes)
    if recipe.start == "auto":
        recipe = dataclasses.replace(recipe, start="residual")
    engine = make_engine(recipe, Runtime(device="cpu", threads=1))
    state = initial_state(engine.state(), dataclasses.replace(recipe, start="noise"))
    engine.load(state)
    plain = PlainStep(recipe, torch.device("cpu"), torch.float64)
    for network, module in plain.networks.items():
        names = [key for key in engine.parameters if key.startswith(f"{network}.")]
        for key, parameter in zip(names, module.parameters(), strict=True):
            parameter.data.copy_(torch.from_numpy(state[key]))
    plain.ema = [parameter.detach().clone() for parameter in plain.generators if recipe.ema]
    return recipe, plain, engine


@pytest.mark.parametrize(("name", "changes"), [
    ("paper", {}),
    ("paper", {"batch_size": 2, "upsample": "resize", "ema": 0.9}),
    ("small", {}),
    ("small", {"norm": "none", "discriminator_norm": "instance", "batch_size": 2}),
    ("tiny", {}),
    ("modern", {}),
], ids=str)  # fmt: skip
def test_steps_equal_those_of_the_engine(name, changes):
    """Past the filling of the pools, so that swaps and further images count."""
    recipe, plain, engine = pair_of(name, changes)
    for batch in islice(batches(recipe), 8):
        theirs, ours = plain(batch), engine.train_step(batch, 1.0)
        assert set(theirs) == set(ours)
        for loss, value in theirs.items():
            assert float(value) == pytest.approx(float(ours[loss]), rel=1e-9), loss
    state = engine.state()
    for network, module in plain.networks.items():
        names = [key for key in state if key.startswith(f"{network}.")]
        for key, parameter in zip(names, module.parameters(), strict=True):
            np.testing.assert_allclose(parameter.detach(), state[key], rtol=0, atol=1e-8)
    averaged = [state[key] for key in state if key.startswith("ema.")]
    assert len(averaged) == len(plain.ema)
    for mean, ours in zip(plain.ema, averaged, strict=True):
        np.testing.assert_allclose(mean, ours, rtol=0, atol=1e-8)


def test_it_translates_as_the_engine():
    recipe, plain, engine = pair_of("paper", {"batch_size": 2})
    (batch,) = islice(batches(recipe), 1)
    np.testing.assert_allclose(
        plain.translate(batch.real_a), engine.translate(batch.real_a, "ab"), rtol=0, atol=1e-6
    )


def test_it_is_what_it_is_said_to_be(monkeypatch):
    """fp32, channels-first, PyTorch's own norm, six passes of generators in a step."""
    recipe = preset("paper", LITTLE | {"precision": "fp32"})
    plain = PlainStep(recipe, torch.device("cpu"))
    passes = []
    for name in ("generator_ab", "generator_ba"):
        getattr(plain, name).register_forward_hook(
            lambda module, given, result, name=name: passes.append((name, given[0]))
        )
    (batch,) = islice(batches(recipe), 1)
    plain(batch)
    assert sorted(name for name, _ in passes) == ["generator_ab"] * 3 + ["generator_ba"] * 3
    assert all(len(given) == 1 and given.is_contiguous() for _, given in passes)
    parameters = plain.generators + plain.judges
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in parameters)
    norms = [m for m in plain.generator_ab.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert len(norms) == 3 + 2 * recipe.blocks + 2
    assert type(plain.adam_g) is torch.optim.Adam
    assert not plain.adam_g.defaults["fused"]
