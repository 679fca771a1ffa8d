"""Images kept in memory: the same batches, each decoded once, within a share of what is free."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data.test_batches import batches_of, same
from unpaired.data import kept as kept_module
from unpaired.data.kept import KeptImages
from unpaired.data.layout import folder as folder_module
from unpaired.images.image import Image


@pytest.fixture
def decoded(monkeypatch):
    """The paths that were decoded."""
    paths, read = [], folder_module.read_image
    monkeypatch.setattr(
        folder_module, "read_image", lambda path, *a, **k: paths.append(path) or read(path, *a, **k)
    )
    return paths


def test_each_image_is_decoded_once_and_the_batches_are_the_same(data, decoded, monkeypatch):
    keeping = batches_of(data)
    first = [keeping[step] for step in range(8)]
    assert len(decoded) == len(set(decoded)) == 5 + 7
    with monkeypatch.context() as nothing_free:
        nothing_free.setattr(kept_module, "free", lambda: 0)
        reading = batches_of(data)
        again = [reading[step] for step in range(8)]
    assert len(decoded) == 12 + 2 * 2 * 8
    assert all(map(same, first, again))
    assert all(same(keeping[step], first[step]) for step in (3, 0))


def image(value, size=(10, 10)):
    return Image(np.full((*size, 3), value, np.uint8))


@pytest.mark.parametrize(("processes", "expected"), [(1, 3), (2, 1)])
def test_a_share_of_the_memory_is_taken(monkeypatch, processes, expected):
    monkeypatch.setattr(kept_module, "free", lambda: 4 * 3 * 300 + 100)
    kept, reads = KeptImages(processes), []
    for _ in range(2):
        for key in range(6):
            found = kept.get(key, lambda key=key: reads.append(key) or image(key))
            assert (found.pixels == key).all()
    assert reads == [*range(6), *range(expected, 6)]


def test_nothing_more_is_kept_where_other_work_needs_the_memory(monkeypatch):
    amounts = {"free": 10**6}
    monkeypatch.setattr(kept_module, "free", lambda: amounts["free"])
    kept, reads = KeptImages(), []
    for key, amount in enumerate((10**6, 500_000, 499_999, 10**6)):
        amounts["free"] = amount
        for _ in range(2):
            kept.get(key, lambda key=key: reads.append(key) or image(key))
    assert reads == [0, 1, 2, 2, 3]


def test_what_is_kept_cannot_be_changed():
    kept = KeptImages()
    found = kept.get("a", lambda: image(1))
    with pytest.raises(ValueError, match="read-only"):
        found.pixels[0] = 2


def test_half_an_image_counts_as_the_whole_that_it_keeps(monkeypatch):
    monkeypatch.setattr(kept_module, "free", lambda: 4 * 299)
    whole, reads = np.zeros((10, 10, 3), np.uint8), []
    kept = KeptImages()
    for _ in range(2):
        kept.get("a", lambda: reads.append(1) or Image(whole[:, :5]))
    assert len(reads) == 2


def test_threads_get_the_same_image():
    kept = KeptImages()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda key: kept.get(key % 5, lambda: image(key % 5)), range(500)))
    assert all((each.pixels == key % 5).all() for key, each in enumerate(found))
    assert len({id(kept.get(key, lambda: None)) for key in range(5)}) == 5
