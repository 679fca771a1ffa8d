"""The presets, value by value."""

import dataclasses
from typing import get_args

import pytest

from unpaired.config import SETTLED, Config, Recipe, Runtime, differences
from unpaired.errors import ConfigError
from unpaired.presets import ABOUT, FROM_NOISE, PRESETS, PresetName, from_noise, preset

PAPER = {
    "preset": "paper",
    "load_size": 286,
    "image_size": 256,
    "alpha": "auto",
    "frames": "reject",
    "crops": "auto",
    "invalid": 0.25,
    "gaps": "omit",
    "flip": True,
    "validation": 0.0,
    "width": 64,
    "blocks": 9,
    "upsample": "transposed",
    "start": "noise",
    "norm": "instance",
    "discriminator_width": 64,
    "discriminator_layers": 3,
    "discriminator_norm": "instance",
    "cycle": 10.0,
    "identity": 0.5,
    "gradient_penalty": 0.0,
    "pool_size": 50,
    "discriminator_images": 1,
    "batch_size": 1,
    "steps": 0,
    "schedule": "epochs",
    "learning_rate": 2e-4,
    "discriminator_rate": 2e-4,
    "beta1": 0.5,
    "beta2": 0.999,
    "ema": 0.0,
    "precision": "fp32",
    "seed": 0,
    "name_a": "a",
    "name_b": "b",
    "bands_a": 0,
    "bands_b": 0,
    "depth_a": 0,
    "depth_b": 0,
    "select_a": "",
    "select_b": "",
    "scaling_a": "auto",
    "scaling_b": "auto",
    "dtype_a": "",
    "dtype_b": "",
    "band_names_a": "",
    "band_names_b": "",
    "units_a": "",
    "units_b": "",
    "nodata_a": "",
    "nodata_b": "",
    "resolution_a": 0.0,
    "resolution_b": 0.0,
    "epoch_steps": 0,
    "data_fingerprint": "",
    "init_fingerprint": "",
}


def test_preset_paper_is_the_recipe_of_2017():
    assert dataclasses.asdict(PRESETS["paper"]) == PAPER


def test_the_paper_is_the_default():
    assert Recipe() == PRESETS["paper"]
    assert Config.from_toml("", "config.toml") == Config(Recipe(), Runtime())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_know_their_names_and_leave_the_data_open(name):
    recipe = preset(name)
    assert recipe.preset == name
    for field in SETTLED:
        assert getattr(recipe, field) == PAPER[field]


def test_preset_with_other_values():
    recipe = preset("tiny", {"seed": 5, "cycle": 3})
    assert differences(PRESETS["tiny"], recipe) == ["--cycle 10.0 -> 3.0", "--seed 0 -> 5"]
    assert type(recipe.cycle) is float


def test_no_such_preset():
    with pytest.raises(ConfigError, match="no preset 'papre': choose one of paper, modern"):
        preset("papre")


def test_names_are_those_of_the_type_and_of_the_help():
    assert list(get_args(PresetName)) == list(PRESETS) == list(ABOUT)


def test_load_size_keeps_its_proportion_to_the_image_size():
    assert preset("paper", {"image_size": 128}).load_size == 143
    assert preset("paper", {"image_size": 128, "load_size": 130}).load_size == 130
    assert preset("tiny", {"image_size": 16}).load_size == 16


@pytest.mark.parametrize("name", FROM_NOISE)
def test_the_start_from_noise_brings_its_own_values(name):
    assert PRESETS[name].start == "auto"
    alone = differences(preset(name), preset(name, {"start": "noise"}))
    assert alone == ["--start auto -> noise", "--cycle 1.0 -> 10.0"]
    assert preset(name, {"start": "noise", "cycle": 3.0}).cycle == 3.0
    assert preset(name, {"start": "identity"}).cycle == 1.0
    assert preset(name, {"bands_a": 1, "bands_b": 3}).cycle == 10.0  # only noise is possible
    assert from_noise(preset(name), {}) == preset(name, {"start": "noise"})
    assert from_noise(preset(name), {"cycle"}).cycle == 1.0


def test_other_presets_are_what_they_are_from_noise():
    assert preset("paper", {"start": "noise"}) == PRESETS["paper"]
    assert from_noise(preset("tiny"), {}) == PRESETS["tiny"]
