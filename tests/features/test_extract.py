import os
import tracemalloc

import numpy as np
import pytest

from unpaired.errors import DataError
from unpaired.features import extract as features
from unpaired.features.extract import extract


class Means:
    """A network that needs no weights: means of the bands, and the size."""

    name = "means of the bands"
    width = 5

    def __init__(self):
        self.shapes = []

    def features(self, images):
        self.shapes.append(images.shape)
        means = images.mean(axis=(1, 2), dtype=np.float64)
        size = np.broadcast_to(images.shape[1:3], (len(images), 2))
        return np.concatenate([means, size], axis=1).astype(np.float32)


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def expected(images):
    return np.array([[*p.mean(axis=(0, 1)), *p.shape[:2]] for p in images], np.float32)


def test_batches_and_single_images_of_any_size_in_their_order():
    batches = [noise(0, 20, 9, 8, 3), noise(1, 9, 8, 3), noise(2, 7, 5, 3), noise(3, 2, 9, 8, 3)]
    network = Means()
    found = extract(network, iter(batches))
    images = [*batches[0], batches[1], batches[2], *batches[3]]
    np.testing.assert_allclose(found, expected(images), rtol=1e-6)
    assert found.dtype == np.float32
    assert [shape[0] for shape in network.shapes] == [16, 5, 1, 2]


def test_grey_becomes_rgb():
    grey = noise(0, 3, 6, 6, 1)
    found = extract(Means(), [grey])
    np.testing.assert_allclose(found, expected(np.repeat(grey, 3, axis=-1)), rtol=1e-6)


def test_many_features_are_on_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "_IN_MEMORY", 100)
    monkeypatch.setattr(features.tempfile, "tempdir", str(tmp_path))
    images = noise(0, 200, 4, 4, 3)
    found = extract(Means(), [images])
    assert isinstance(found, np.memmap)
    np.testing.assert_allclose(found, expected(images), rtol=1e-6)
    assert os.listdir(tmp_path) == []  # the file has no name any more
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch):
    class Wide(Means):
        width = 4096

        def features(self, images):
            return np.ones((len(images), self.width), np.float32)

    monkeypatch.setattr(features, "_IN_MEMORY", 2**20)
    peaks = []
    for count in (200, 2000):
        tracemalloc.start()
        found = extract(Wide(), (np.zeros((4, 4, 3), np.uint8) for _ in range(count)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.shape == (count, 4096)
    assert peaks[1] < 1.1 * peaks[0]


def test_the_file_is_gone_if_an_image_is_rejected(monkeypatch, tmp_path):
    monkeypatch.setattr(features, "_IN_MEMORY", 100)
    monkeypatch.setattr(features.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(DataError, match="1 or 3 bands, not 4"):
        extract(Means(), [noise(0, 50, 4, 4, 3), noise(0, 4, 4, 4)])
    assert os.listdir(tmp_path) == []


def test_input_without_features():
    with pytest.raises(DataError, match="no images"):
        extract(Means(), [])
    with pytest.raises(DataError, match="uint16"):
        extract(Means(), [noise(0, 4, 4, 3).astype(np.uint16)])
    with pytest.raises(DataError, match=r"\(4, 4\)"):
        extract(Means(), [noise(0, 4, 4)])
