import numpy as np
import pytest

from small_models import SIDE, inverted, smooth
from unpaired.evaluation import rivals as module
from unpaired.evaluation import testset
from unpaired.evaluation.baselines import colour_table, match_histograms, mean_image, reinhard
from unpaired.evaluation.rivals import RIVALS, known_to_baselines, rivals
from unpaired.evaluation.testset import Squares, TestSet

IDENTITY, REINHARD, HISTOGRAMS, MEAN, ORACLE = RIVALS


def squares(samples):
    return Squares(samples, tuple(f"{index}.png" for index in range(len(samples))))


def sets(a, b, *, train_a=None, train_b=None, paired=False):
    train = {"a": train_a, "b": train_b}
    return TestSet(
        {"a": squares(a), "b": squares(b)},
        {domain: squares(kept) for domain, kept in train.items() if kept is not None},
        paired,
        True,
    )


def made(tests, direction="ab"):
    return {rival.name: rival.made.samples for rival in rivals(tests, direction)}


def test_each_makes_what_the_baseline_makes():
    a, train = smooth(6, 1), smooth(5, 2)
    found = made(sets(a, inverted(a), train_b=train, paired=True))
    assert tuple(found) == RIVALS
    np.testing.assert_array_equal(found[IDENTITY], a)
    np.testing.assert_array_equal(found[REINHARD], reinhard(a, train))
    np.testing.assert_array_equal(found[HISTOGRAMS], match_histograms(a, train))
    np.testing.assert_array_equal(found[MEAN], mean_image(a, train))
    np.testing.assert_array_equal(found[ORACLE], colour_table(a, inverted(a)))


def test_the_share_in_memory_changes_nothing(monkeypatch):
    a = smooth(7, 1)
    tests = sets(a, inverted(a), train_b=smooth(2, 2), paired=True)
    whole = made(tests)
    monkeypatch.setattr(testset, "CHUNK", 3)
    monkeypatch.setattr(module, "PIXELS", 2 * SIDE**2)
    for name, samples in made(tests).items():
        np.testing.assert_array_equal(samples, whole[name], err_msg=name)


def test_of_large_images_baselines_know_fewer(monkeypatch):
    train = smooth(5, 2)
    tests = sets(smooth(3, 1), smooth(3, 3), train_b=train)
    monkeypatch.setattr(module, "PIXELS", 2 * SIDE**2)
    assert len(known_to_baselines(tests, "b")) == 2
    assert known_to_baselines(tests, "a") is None
    np.testing.assert_array_equal(made(tests)[MEAN], mean_image(tests.test["a"].samples, train[:2]))


@pytest.mark.parametrize(
    ("kind_a", "kind_b", "expected"),
    [
        ((3, np.uint8), (3, np.uint8), {IDENTITY, REINHARD, HISTOGRAMS, MEAN}),
        ((1, np.uint8), (1, np.uint8), {IDENTITY, HISTOGRAMS, MEAN}),
        ((4, np.uint8), (4, np.uint8), {IDENTITY, HISTOGRAMS, MEAN}),
        ((2, np.uint8), (3, np.uint8), {MEAN}),
        ((4, np.uint16), (4, np.uint16), {IDENTITY, MEAN}),
        ((3, np.uint16), (3, np.uint16), {IDENTITY, MEAN}),
        ((3, np.uint8), (3, np.uint16), {IDENTITY, MEAN}),
        ((3, np.uint16), (3, np.uint8), {IDENTITY, MEAN}),
    ],
)
def test_bands_and_depth_decide(kind_a, kind_b, expected):
    a, b, train = smooth(4, 1, *kind_a), smooth(4, 2, *kind_b), smooth(5, 3, *kind_b)
    found = made(sets(a, b, train_b=train))
    assert found.keys() == expected
    for samples in found.values():  # of the kind of the target, so that all are held alike
        assert (samples.shape, samples.dtype) == (b.shape, b.dtype)
    mean = np.rint(train.astype(np.float64).mean(axis=0))
    np.testing.assert_array_equal(found[MEAN], np.broadcast_to(mean, b.shape))
    if IDENTITY in expected:
        scale = float(np.iinfo(b.dtype).max) / np.iinfo(a.dtype).max
        assert np.abs(found[IDENTITY] - a * scale).max() <= 0.5
    assert made(sets(a, b)).keys() == expected & {IDENTITY}


def test_the_other_direction_knows_the_other_domain():
    a, b, train_a = smooth(3, 1), smooth(5, 2), smooth(4, 3)
    found = made(sets(a, b, train_a=train_a), "ba")
    np.testing.assert_array_equal(found[IDENTITY], b)
    np.testing.assert_array_equal(found[HISTOGRAMS], match_histograms(b, train_a))


def test_the_oracle_is_called_one_and_only_of_pairs():
    a = smooth(3, 1)
    kinds = {rival.name: rival.kind for rival in rivals(sets(a, a, paired=True), "ab")}
    assert kinds == {IDENTITY: "untouched", ORACLE: "oracle"}
