"""The one resize: Pillow's bicubic in floating point, antialiased."""

import numpy as np
import PIL.Image
import pytest

from unpaired.images.resize import resize


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("side", [24, 64, 150])
def test_resize_is_pillows_of_levels_to_its_rounding(side):
    """Of middling levels: where a bicubic overshoots, Pillow clips levels twice."""
    images = noise(0, 2, 100, 37, 3) // 3 + 80
    found = resize(images, (side, side), (0, 255))
    for one, image in zip(found, images, strict=True):
        theirs = PIL.Image.fromarray(image).resize((side, side), PIL.Image.Resampling.BICUBIC)
        assert np.abs(one - np.asarray(theirs, np.float32)).max() < 1.3
    assert found.dtype == np.float32


def test_resize_stays_within_the_levels():
    edges = 255 * (noise(0, 1, 20, 20, 3) // 128)
    found = resize(edges, (64, 64), (0, 255))
    assert (found.min(), found.max()) == (0, 255)


def test_resize_does_not_alias():
    """Stripes finer than the result vanish in their mean; picking pixels would keep them."""
    stripes = np.zeros((1, 240, 240, 1), np.uint8)
    stripes[:, :, ::2] = 200
    inner = resize(stripes, (60, 60), (0, 255))[0, 4:-4, 4:-4]
    assert np.abs(inner - 100).max() < 1
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8)[:, None, None], (1, 240, 240, 3))
    inner = resize(ramp, (60, 60), (0, 255))[0, 4:-4, 4:-4, 0]
    np.testing.assert_allclose(inner.mean(axis=1), np.arange(4, 56) * 4 + 1.5, atol=1e-3)


def test_resize_leaves_the_right_size_alone():
    images = noise(0, 2, 24, 24, 3)
    np.testing.assert_array_equal(resize(images, (24, 24), (0, 255)), images)


def test_floats_are_clipped_to_their_own_limits_and_left_alone():
    floats = (noise(0, 20, 30, 2) // 128 * 2 - 1).astype(np.float32)
    before = floats.copy()
    found = resize(floats, (45, 61), (-1, 1))
    assert found.shape == (45, 61, 2)
    assert (found.min(), found.max()) == (-1, 1)
    np.testing.assert_array_equal(floats, before)


def test_a_box_is_a_part_of_the_whole():
    pixels = noise(0, 40, 60, 3).astype(np.uint16) * 257
    whole = resize(pixels, (20, 20), (0, 65535))
    part = resize(pixels, (8, 10), (0, 65535), box=(2 * 3, 4 * 2, 12 * 3, 12 * 2))
    np.testing.assert_allclose(part, whole[4:12, 2:12], atol=0.05)
