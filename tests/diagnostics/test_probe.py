"""Probes and the history of their scores."""

import json

import numpy as np
import pytest

from small_probes import Maps, both, scenes
from unpaired.diagnostics.history import History
from unpaired.diagnostics.probe import (
    DirectionProbe,
    Probe,
    Scores,
    cycle_error,
    reconstruction_errors,
    take_probe,
)
from unpaired.errors import DataError


def test_noise_is_of_five_levels_on_images_of_eight_bits():
    seen = {}

    class Keeps:
        def translate(self, images, direction):
            seen.setdefault(direction, []).append(images)
            return images

    grey = np.full((2, 64, 64, 3), 0.1003, np.float32)
    first = take_probe(Keeps(), {"a": grey, "b": grey}, seed=4)
    noisy = (seen["ba"][1].astype(np.float64) + 1) * 127.5
    assert noisy.dtype == np.float64
    assert abs(noisy.mean() - round(1.1003 * 127.5)) < 0.1
    assert noisy.std() == pytest.approx(5, rel=0.02)
    assert not np.array_equal(seen["ba"][1], seen["ab"][-1])
    first = first.directions["ab"].noisy_cycle
    assert first.dtype == np.float32
    again, other = (
        take_probe(Keeps(), {"a": grey, "b": grey}, seed=seed).directions["ab"].noisy_cycle
        for seed in (4, 5)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    white = take_probe(Keeps(), {"a": np.ones_like(grey), "b": grey}, seed=4)
    assert white.directions["ab"].noisy_cycle.max() == 1


def test_accuracy_counts_patches_of_both_kinds_alike():
    half = np.array([[[0.9, 0.1]]], np.float32)
    generated = np.array([[[0.4, 0.4]], [[0.6, 0.4]]], np.float32)
    assert Scores(held_out=half, train=None, generated=generated).accuracy == (0.5 + 0.75) / 2
    assert (
        Scores(held_out=half, train=np.ones_like(half), generated=generated).accuracy
        == (1 + 0.75) / 2
    )


def test_history_travels_as_plain_data():
    scores = Scores(
        np.random.default_rng(0).random((3, 2, 2), np.float32),
        None,
        np.random.default_rng(1).random((7, 3, 3), np.float32),
    )
    blank = np.zeros((2, 8, 8, 3), np.float32)
    seen = Probe({"a": blank, "b": blank}, {"ab": DirectionProbe(blank, scores=scores)})
    history = History().after(seen).after(seen)
    assert history.accuracies == {"a": (), "b": (scores.accuracy,) * 2}
    stored = history.to_dict()
    assert stored == {"accuracy_a": [], "accuracy_b": [scores.accuracy] * 2}
    assert History.from_dict(json.loads(json.dumps(stored))) == history
    assert History.from_dict({}) == History()


def test_a_probe_needs_two_images_of_one_size():
    a, b = scenes()
    with pytest.raises(DataError, match="1 of 32x32 and 8 of 32x32"):
        take_probe(both(lambda x: x), {"a": a[:1], "b": b})
    with pytest.raises(DataError, match="8 of 32x32 and 8 of 32x28"):
        take_probe(both(lambda x: x), {"a": a, "b": b[:, :, :28]})


def test_a_probe_runs_each_network_on_the_right_images():
    """Each domain, direction and discriminator changes the images in its own way."""
    a, b = (np.full((2, 16, 16, 3), value, np.float32) for value in (0.25, 0.5))
    train_a, train_b = np.full_like(a[:1], 0.3), np.full_like(b[:1], 0.6)

    def judge(images, domain):
        return images[:, ::8, ::8, 0] + {"a": 10, "b": 20}[domain]

    maps = Maps(lambda x: x / 2, lambda y: y / 4)
    train = {"a": train_a, "b": train_b}
    seen = take_probe(maps, {"a": a, "b": b}, train, judge=judge, identity=True)
    assert {domain: float(images.mean()) for domain, images in seen.real.items()} == {
        "a": 0.25, "b": 0.5,
    }  # fmt: skip
    means = {
        direction: {
            name: float(value.mean())
            for name, value in vars(outputs).items()
            if isinstance(value, np.ndarray) and not name.startswith("noisy")
        }
        for direction, outputs in seen.directions.items()
    }
    assert means == {
        "ab": {"generated": 0.125, "cycle": 0.03125, "identity": 0.25},
        "ba": {"generated": 0.125, "cycle": 0.0625, "identity": 0.0625},
    }
    for direction, expected in (("ba", (10.25, 10.3, 10.125)), ("ab", (20.5, 20.6, 20.125))):
        scores = seen.directions[direction].scores
        parts = (scores.held_out, scores.train, scores.generated)
        np.testing.assert_allclose([part.mean() for part in parts], expected, rtol=1e-6)
    errors = reconstruction_errors(seen)
    assert errors["cycle_a"] == pytest.approx((0.25 - 0.03125) * 127.5)
    assert errors["identity_b"] == pytest.approx((0.5 - 0.25) * 127.5)
    assert errors["noisy_cycle_a"] == pytest.approx(errors["cycle_a"], rel=0.05)


def test_cycle_error_is_in_levels():
    assert cycle_error(np.full((1, 2, 2, 3), 1.0), np.full((1, 2, 2, 3), -1.0)) == 255
    assert cycle_error(np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), 2 / 255)) == pytest.approx(1)
