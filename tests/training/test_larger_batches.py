"""The rule for larger batches: half-lives in images; the same command resumes."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import QUICK, SMALL
from unpaired.errors import ConfigError
from unpaired.presets import PRESETS, preset, scaled_to_batch
from unpaired.training import loop


def test_the_rule_for_larger_batches():
    values = scaled_to_batch("tiny", {"batch_size": 8, "beta2": 0.9})
    recipe, base = preset("tiny", values), PRESETS["tiny"]
    assert recipe.learning_rate == pytest.approx(2 * base.learning_rate)
    assert recipe.discriminator_rate == pytest.approx(2 * base.discriminator_rate)
    assert recipe.beta1 == pytest.approx(0.5**4)
    assert recipe.beta2 == 0.9  # as given
    assert recipe.steps * 8 == base.steps * 2
    # The running mean forgets half of an image's part after as many images.
    halves = [np.log(0.5) / np.log(r.ema) * r.batch_size for r in (recipe, base)]
    assert halves[0] == pytest.approx(halves[1])
    assert scaled_to_batch("tiny", {"batch_size": 2}) == {
        "batch_size": 2, "learning_rate": 4e-4, "discriminator_rate": 4e-4, "beta1": 0.5,
        "beta2": 0.999, "ema": 0.995, "steps": 7500,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="give one"):
        scaled_to_batch("tiny", {})


def test_a_scaled_run_is_resumed_by_the_same_command(data, tmp_path, fake_engine):
    small = {name: value for name, value in SMALL.items() if name not in ("ema", "steps")}
    flags = small | QUICK | {"preset": "tiny", "batch_size": 4, "scale_with_batch": True}
    run = loop.train(data, out=tmp_path / "run", **flags, epochs=3)
    recipe = run.config.recipe
    assert recipe.learning_rate == pytest.approx(4e-4 * 2**0.5)
    assert recipe.ema == pytest.approx(0.995**2)
    assert recipe.steps == 3 * recipe.epoch_steps
    again = loop.train(data, out=tmp_path / "run", **flags | {"preset": None}, epochs=3)
    assert again.config.recipe == replace(recipe)
