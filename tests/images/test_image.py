"""The image value and the conversions of its samples."""

import doctest

import numpy as np
import PIL.Image
import pytest

from unpaired.errors import ImageError
from unpaired.images import image as image_module
from unpaired.images import pillow, resize
from unpaired.images.image import Image, from_signed, over_white, to_signed, with_bands


def noise(*shape: int, dtype: type = np.uint8, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@pytest.mark.parametrize(("depth", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_signed_is_undone_exactly_for_every_value(depth, dtype):
    values = np.arange(2**depth, dtype=dtype)
    signed = to_signed(values)
    assert signed.dtype == np.float32
    assert signed[0] == -1
    assert signed[-1] == 1
    np.testing.assert_allclose(signed, np.linspace(-1, 1, 2**depth), atol=1e-7)
    for form in (signed, signed.astype(np.float64)):
        back = from_signed(form, depth)
        assert back.dtype == dtype
        np.testing.assert_array_equal(back, values)


def test_from_signed_clips_and_rounds_half_to_even_and_leaves_its_input():
    array = np.array([-7, -1.001, 0, 1.001, 7], np.float32)
    before = array.copy()
    assert from_signed(array, 8).tolist() == [0, 0, 128, 255, 255]  # 127.5 goes to 128
    assert from_signed(array, 16).tolist() == [0, 0, 32768, 65535, 65535]
    np.testing.assert_array_equal(array, before)
    halves = (np.array([0.5, 1.5, 2.5, 250.5]) - 127.5) / 127.5
    assert from_signed(halves, 8).tolist() == np.rint((halves + 1) * 127.5).tolist()


def test_arrays_that_are_no_images():
    for pixels in (noise(4, 5), np.zeros((4, 5, 3)), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"\(height, width, bands\)"):
            Image(pixels)
    with pytest.raises(ImageError, match="does not fit"):
        Image(noise(4, 5, 3), noise(5, 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_over_white_is_the_rounded_blend(dtype):
    top = np.iinfo(dtype).max
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = noise(16, 16, 3, dtype=dtype)
    opacity = alpha[:, :, None] / 255
    expected = np.rint(pixels * opacity + top * (1 - opacity))
    blended = over_white(Image(pixels, alpha))
    assert blended.dtype == dtype
    np.testing.assert_array_equal(blended, expected)
    assert over_white(Image(pixels)) is pixels


def test_bands():
    pixels = noise(64, 64, 3)
    grey = with_bands(pixels, 1)
    expected = np.asarray(PIL.Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(grey[:, :, 0], expected)
    np.testing.assert_array_equal(with_bands(grey, 3), np.stack([expected] * 3, 2))
    assert with_bands(pixels, 3) is pixels
    deep = noise(64, 64, 3, dtype=np.uint16)
    luma = deep @ np.array([0.299, 0.587, 0.114])
    assert np.abs(with_bands(deep, 1)[:, :, 0] - luma).max() <= 1
    white = np.full((1, 1, 3), 65535, np.uint16)
    assert with_bands(white, 1).tolist() == [[[65535]]]
    with pytest.raises(ImageError, match="6 bands where 3 are needed"):
        with_bands(noise(4, 4, 6), 3)


@pytest.mark.parametrize("module", [image_module, pillow, resize])
def test_examples_in_docstrings(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
