"""The closed-form counts of operations against PyTorch's counter on the plain reference."""

import contextlib
import dataclasses
from itertools import islice

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unpaired.benchmark.contestants import batches
from unpaired.benchmark.flops import forward_flops, step_flops, translation_flops
from unpaired.benchmark.plain import PlainStep
from unpaired.benchmark.rows import Work
from unpaired.engines.architecture import discriminator_layers, generator_layers
from unpaired.presets import preset

LITTLE = {"width": 4, "blocks": 1, "discriminator_width": 4, "bands_a": 3, "bands_b": 3}


class Operations(FlopCounterMode):
    """PyTorch's counter; by modules it cannot count where gradients have gradients."""

    class Whole(contextlib.nullcontext):
        parents = frozenset({"Global"})

    def __init__(self):
        super().__init__(display=False)
        self.mod_tracker = self.Whole()


def counted(call, *arguments):
    with Operations() as counter:
        call(*arguments)
    return counter.get_total_flops()


@pytest.mark.parametrize("changes", [
    {"preset": "paper"},
    {"preset": "paper", "batch_size": 2, "identity": 0.0, "image_size": 24},
    {"preset": "paper", "bands_b": 1},  # without an identity loss
    {"preset": "small"},
    {"preset": "tiny", "discriminator_layers": 1, "discriminator_norm": "instance"},
    {"preset": "modern", "norm": "none", "blocks": 0, "upsample": "resize"},
], ids=str)  # fmt: skip
def test_counts_equal_those_of_what_is_computed(changes):
    changes = LITTLE | {"image_size": 32} | changes
    recipe = preset(changes.pop("preset"), changes | {"load_size": changes["image_size"]})
    recipe = dataclasses.replace(recipe, start="noise")
    step = PlainStep(recipe, torch.device("cpu"))
    (batch,) = islice(batches(recipe), 1)
    assert counted(step, batch) == step_flops(recipe)
    assert counted(step.translate, batch.real_a) == translation_flops(recipe)


def test_the_paper_needs_756_thousand_multiply_adds_a_pixel():
    layers = generator_layers(3, 3, width=64, blocks=9, upsample="transposed")
    assert sum(forward_flops(layers, 256)) / 2 / 256**2 == pytest.approx(756_000, rel=1e-3)


def test_an_odd_discriminator_by_hand():
    """4x4 kernels: 18 to 9 pixels by stride 2, then 8 and 7 by stride 1."""
    layers = discriminator_layers(3, width=5, layers=1)
    products = 9 * 9 * 5 * 3 * 16, 8 * 8 * 10 * 5 * 16, 7 * 7 * 1 * 10 * 16
    assert forward_flops(layers, 18) == tuple(2 * count for count in products)


def test_a_work_counts_its_batch():
    one, four = (Work("translate", "paper", 64, count).flops for count in (1, 4))
    assert four == 4 * one
    assert Work("train", "paper", 64, 4).flops == 4 * Work("train", "paper", 64, 1).flops
