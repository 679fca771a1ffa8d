import numpy as np
import pytest
from PIL import Image as Pillow

from small_models import SETTLED, SIDE, inverted, smooth, write_data
from unpaired.config import Recipe
from unpaired.data.layout.domains import Folder, find_data
from unpaired.errors import DataError, ImageError
from unpaired.evaluation import testset
from unpaired.evaluation.pairs import in_pairs
from unpaired.evaluation.testset import gather
from unpaired.metrics import image_set
from unpaired.metrics.image_set import ImageSet, to_rgb


def read(root, *, limit=0, seed=0, side=SIDE, paired=None, aligned=None, **recipe):
    return gather(
        find_data(root, need_train=False, aligned=aligned),
        Recipe(**SETTLED | recipe),
        side=side,
        limit=limit,
        seed=seed,
        max_pixels=10**6,
        paired=paired,
    )


def folder(tmp_path, *names):
    return Folder(tmp_path, tuple(sorted(names)))


# ---- pairs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "paired"),
    [
        (("1.jpg", "2.jpg", "3.jpg"), ("1.png", "2.png", "3.tif"), True),
        (("x/1.jpg", "x/2.jpg"), ("y/1.jpg", "y/2.jpg"), True),
        (("1.png", "2.png", "3.png"), ("1.png", "2.png", "4.png"), False),
        (("1.png", "2.png"), ("1.png", "2.png", "3.png"), False),
        (("1.png", "2.png", "3.png"), ("1.png", "2.png"), False),
        (("x/1.png", "y/1.png"), ("x/1.png", "y/1.png"), False),
        (("1_A.jpg", "2_A.jpg"), ("1_B.jpg", "2_B.jpg"), True),
        (("1_A.jpg", "2_A.jpg"), ("1_B.jpg", "2.jpg"), False),
    ],
)
def test_pairs_are_those_where_every_stem_has_its_own(tmp_path, a, b, paired):
    found = in_pairs(folder(tmp_path, *a), folder(tmp_path, *b))
    assert (found is not None) is paired


def test_pairs_stand_at_one_index_whatever_their_suffixes(tmp_path):
    # By whole names the orders differ: "-" is before ".", and ".jpg" before ".png".
    stems = ["a", "a-1", "a.b", "b"]
    levels = dict(zip(stems, (40, 90, 140, 190), strict=True))
    for split, suffixes in (("testA", ("png", "jpg", "jpg", "png")), ("testB", ("jpg",) * 4)):
        (tmp_path / split).mkdir()
        for (stem, level), suffix in zip(levels.items(), suffixes, strict=True):
            image = Pillow.new("RGB", (SIDE, SIDE), (level,) * 3)
            image.save(tmp_path / split / f"{stem}.{suffix}")
    found = read(tmp_path, paired=True)
    assert found.paired
    means = [found.test[domain].samples.mean(axis=(1, 2, 3)) for domain in ("a", "b")]
    np.testing.assert_allclose(means[0], sorted(levels.values()), atol=2)
    np.testing.assert_allclose(means[1], means[0], atol=2)
    assert [name.rsplit(".", 1)[0] for name in found.test["b"].names] == sorted(stems)


def test_a_limit_draws_the_same_pairs(tmp_path):
    images = smooth(20, 1)
    root = write_data(tmp_path, testA=images, testB=inverted(images))
    draws = [read(root, limit=6, seed=seed) for seed in (0, 0, 1)]
    for found in draws:
        assert found.paired
        assert len(found.test["a"]) == 6
        assert found.test["a"].names == found.test["b"].names
        np.testing.assert_array_equal(found.test["b"].samples, inverted(found.test["a"].samples))
    assert draws[0].test["a"].names == draws[1].test["a"].names != draws[2].test["a"].names


def test_a_limit_draws_each_domain_on_its_own_where_nothing_pairs(tmp_path):
    root = write_data(tmp_path, testA=smooth(20, 1), testB=smooth(20, 2))
    found = read(root, limit=6)
    numbers = [[name[-7:-4] for name in found.test[domain].names] for domain in ("a", "b")]
    assert not found.paired
    assert numbers[0] != numbers[1]
    assert [len(set(each)) for each in numbers] == [6, 6]


# ---- what is read -------------------------------------------------------------------------


def test_images_are_read_as_they_are(tmp_path):
    splits = {"trainA": smooth(4, 1), "trainB": smooth(6, 2)}
    splits |= {"testA": smooth(3, 3), "testB": smooth(5, 4)}
    found = read(write_data(tmp_path, **splits))
    assert (found.paired, found.held_out) == (False, True)
    for domain in ("a", "b"):
        test, train = found.test[domain], found.train[domain]
        np.testing.assert_array_equal(test.samples, splits[f"test{domain.upper()}"])
        # Those of the training come in random order, which their names tell.
        order = [int(name[-7:-4]) for name in train.names]
        assert sorted(order) == list(range(len(splits[f"train{domain.upper()}"])))
        np.testing.assert_array_equal(train.samples, splits[f"train{domain.upper()}"][order])


def test_training_images_are_drawn_at_random(tmp_path, monkeypatch):
    """The first n stand in for translations, so they must not be neighbours by name."""
    monkeypatch.setattr(testset, "REFERENCE", 12)
    root = write_data(tmp_path, trainA=smooth(30, 1), trainB=smooth(5, 2), testA=smooth(3, 3),
                      testB=smooth(3, 4))  # fmt: skip
    names = read(root).train["a"].names
    assert len(set(names)) == len(names) == 12
    assert list(names) != sorted(names)
    assert max(names) > "trainA-015"
    assert names == read(root).train["a"].names != read(root, seed=1).train["a"].names
    assert len(read(root).train["b"]) == 5


def test_sizes_other_than_the_file_are_antialiased(tmp_path):
    fine = np.zeros((3, 64, 64, 3), np.uint8)
    fine[:, ::2] = 255
    root = write_data(tmp_path, testA=fine, testB=smooth(4, 1))
    small = read(root).test["a"].samples
    assert small.shape == (3, SIDE, SIDE, 3)
    assert np.abs(small.astype(int) - 127).max() < 40  # stripes become grey, not stripes


def test_without_test_images_those_of_the_training_stand_in(tmp_path):
    images = smooth(4, 1)
    found = read(write_data(tmp_path, trainA=images, trainB=smooth(5, 2)))
    assert (found.held_out, found.missing) == (False, ())
    np.testing.assert_array_equal(found.test["a"].samples, images)
    assert found.test["b"].names[0].startswith("trainB")


def test_where_one_domain_has_no_test_images_the_other_s_are_used(tmp_path, shown):
    root = write_data(tmp_path, trainA=smooth(4, 1), trainB=smooth(5, 2), testB=smooth(5, 3))
    found = read(root)
    assert (found.held_out, found.missing) == (False, ("a",))
    assert found.test["a"].names[0].startswith("trainA")
    assert found.test["b"].names[0].startswith("testB")
    assert "testA is missing: training images of summer stand in for it" in shown()
    alone = write_data(tmp_path / "alone", testA=smooth(4, 1))
    with pytest.raises(DataError, match="testB is missing, and there is no trainB"):
        read(alone)


def test_without_training_images_there_are_none(tmp_path):
    found = read(write_data(tmp_path, testA=smooth(3, 1), testB=smooth(4, 2)))
    assert (found.train, found.held_out) == ({}, True)


def test_too_few_are_refused(tmp_path):
    root = write_data(tmp_path, testA=smooth(3, 1), testB=smooth(2, 2))
    with pytest.raises(DataError, match=r"testB: 2 images to evaluate on: give 3 or more$"):
        read(root)


def test_sixteen_bits_stay_and_are_made_where_the_domain_has_them(tmp_path):
    deep, shallow = smooth(3, 1, 1, np.uint16), smooth(3, 2, 1)
    root = write_data(tmp_path, testA=deep, testB=shallow)
    found = read(root, bands_a=1, bands_b=1, depth_a=16, depth_b=16)
    assert found.test["a"].samples.dtype == np.uint16
    np.testing.assert_array_equal(found.test["a"].samples, deep)
    np.testing.assert_array_equal(found.test["b"].samples, shallow.astype(np.uint16) * 257)
    assert read(root, bands_a=1, bands_b=1).test["a"].samples.dtype == np.uint8


def test_bands_that_do_not_fit_are_told_with_the_file(tmp_path):
    root = write_data(tmp_path, testA=smooth(3, 1), testB=smooth(3, 2))
    with pytest.raises(ImageError, match=r"testA-000\.png: .* 3 bands where 4 are needed"):
        read(root, bands_a=4, bands_b=4)


def test_an_unreadable_image_is_told_once(tmp_path):
    root = write_data(tmp_path, testA=smooth(3, 1), testB=smooth(3, 2))
    (root / "testA" / "testA-001.png").write_bytes(b"nothing")
    with pytest.raises(ImageError) as caught:
        read(root)
    assert str(caught.value).count("testA-001.png") == 1


# ---- sets of images ------------------------------------------------------------------------


def test_chunks_are_all_images_in_order_and_fewer_of_large_ones(monkeypatch):
    samples = smooth(10, 1)
    images = ImageSet(samples, tuple(map(str, range(10))))
    monkeypatch.setattr(image_set, "CHUNK", 4)
    assert [len(chunk) for chunk in images.chunks()] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(list(images.chunks())), samples)
    assert [len(chunk) for chunk in images.chunks(pixels=2 * SIDE**2)] == [2] * 5
    assert images.first(3).names == ("0", "1", "2")
    assert len(images.first(99)) == 10


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_what_is_shown_of_other_bands_and_depths(bands):
    samples = smooth(2, 1, bands, np.uint16)
    shown = to_rgb(samples)
    assert (shown.dtype, shown.shape) == (np.uint8, (2, SIDE, SIDE, 3))
    for band in range(3):
        expected = samples[..., band if bands >= 3 else 0] // 256
        np.testing.assert_array_equal(shown[..., band], expected)
    np.testing.assert_array_equal(to_rgb(shown), shown)
