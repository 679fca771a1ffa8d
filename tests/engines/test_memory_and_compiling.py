"""Choices of the runtime that change memory and time, and not the result of a step."""

import dataclasses

import numpy as np
import pytest
import torch

from engines.test_further import RECIPE, steps
from engines.test_parity import assert_alike
from unpaired.config import Runtime
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state
from unpaired.engines.torch.device import Machine
from unpaired.engines.torch.engine import what_to_compile


def end(recipe, count=3, **runtime):
    engine = make_engine(
        recipe, Runtime(device="cpu:0" if "engine" in runtime else "cpu", **runtime)
    )
    engine.load(initial_state(engine.state(), recipe))
    return steps(engine, recipe, count), engine.state()


@pytest.mark.parametrize(
    ("engine", "norm"), [("torch", "instance"), ("torch", "none"), ("jax", "instance")]
)
def test_activations_computed_again_are_the_same(engine, norm):
    recipe = dataclasses.replace(RECIPE, norm=norm, batch_size=1, discriminator_images=2)
    losses, state = end(recipe, engine=engine)
    again, other = end(recipe, engine=engine, activation_checkpointing=True)
    for x, y in zip(losses, again, strict=True):
        assert x == pytest.approx(y, rel=1e-9)
    assert_alike(state, other)


def test_activations_computed_again_are_not_kept():
    """Bytes that the backward pass of a generator keeps, counted as they are saved."""

    def kept(recompute):
        recipe = dataclasses.replace(RECIPE, blocks=9)
        engine = make_engine(recipe, Runtime(activation_checkpointing=recompute))
        generator, saved = engine.generators["generator_ab"], {}

        def note(tensor):
            saved[tensor.data_ptr()] = tensor.numel()
            return tensor

        images = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            generator(images)
        return sum(saved.values())

    assert kept(True) < 0.6 * kept(False)


@pytest.mark.parametrize(
    ("asked", "device", "length", "expected"),
    [
        ("auto", "cpu", 10**6, "off"),
        ("auto", "cuda", 10**6, "blocks"),
        ("auto", "cuda", 1999, "off"),
        ("full", "cpu", 1, "full"),
        ("off", "cuda", 10**6, "off"),
    ],
)
def test_what_is_compiled(asked, device, length, expected):
    machine = Machine(RECIPE, Runtime())
    machine.device = torch.device(device)
    recipe = dataclasses.replace(RECIPE, steps=length)
    assert what_to_compile(recipe, Runtime(compile=asked), machine) == expected


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("what", ["blocks", "full"])
def test_compiled_steps_are_the_same(what):
    """In fp64, and translations by the EMA weights too."""
    recipe = dataclasses.replace(RECIPE, blocks=2)
    losses, state = end(recipe, compile="off")
    compiled, other = end(recipe, compile=what)
    for x, y in zip(losses, compiled, strict=True):
        assert x == pytest.approx(y, rel=1e-9)
    assert_alike(state, other)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3))
    found = []
    for each in ("off", what):
        engine = make_engine(recipe, Runtime(compile=each))
        engine.load(state)
        found.append(engine.translate(images, "ab"))
    np.testing.assert_allclose(*found, atol=1e-6)
