"""Test sets with and without pairs, and features that need no weights."""

import pytest

from small_models import Projected, inverted, smooth, write_data

A, TRAIN_A, TRAIN_B = smooth(6, 1), smooth(8, 2), smooth(9, 3)
B = inverted(A)


@pytest.fixture
def pairs(tmp_path):
    """Test pairs, each the negative of the other, and training images."""
    return write_data(
        tmp_path / "pairs", trainA=TRAIN_A, trainB=inverted(TRAIN_B), testA=A, testB=B
    )


@pytest.fixture
def apart(tmp_path):
    """A test set without pairs, of 6 and 5 images."""
    splits = {"trainA": TRAIN_A, "trainB": TRAIN_B, "testA": A, "testB": smooth(5, 4)}
    return write_data(tmp_path / "apart", **splits)


@pytest.fixture
def features(monkeypatch):
    """`--features` without weights: projections in numpy."""
    monkeypatch.setattr("unpaired.evaluation.evaluate.make_features", lambda *each: Projected())
    return "projections"
