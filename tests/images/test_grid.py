import numpy as np
import pytest

from unpaired.images.grid import draw_grid

GAP, HEAD = 4, 22


def signed(seed, height, width):
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return (samples / 127.5 - 1).astype(np.float32), samples.astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(16, 8), (8, 16), (16, 16)])
def test_an_image_keeps_its_proportion_in_the_middle_of_its_cell(height, width):
    image, samples = signed(0, height, width)
    sheet = np.array(draw_grid([("", [image])], cell=32))
    top, left = HEAD + 16 - height, GAP + 16 - width
    inside = sheet[top : top + 2 * height, left : left + 2 * width]
    np.testing.assert_array_equal(inside, samples.repeat(2, axis=0).repeat(2, axis=1))
    inside[:] = 255
    assert (sheet == 255).all()


def test_columns_may_differ_in_length_and_images_in_size():
    one, samples = signed(0, 8, 8)
    sheet = np.asarray(draw_grid([("", [one]), ("", [signed(1, 4, 8)[0], one])], cell=8))
    assert sheet.shape == (HEAD + 2 * 12, 2 * 12 + GAP, 3)
    np.testing.assert_array_equal(sheet[HEAD : HEAD + 8, GAP : GAP + 8], samples)
    np.testing.assert_array_equal(sheet[HEAD + 12 : HEAD + 20, GAP + 12 : GAP + 20], samples)
    assert (sheet[HEAD + 12 :, : GAP + 8] == 255).all()


def test_a_line_of_pixels_stays_a_line():
    sheet = np.asarray(draw_grid([("", [-np.ones((1, 1000, 3), np.float32)])], cell=16))
    assert (sheet[HEAD:, GAP:-GAP] < 128).any(axis=-1).sum() == 16
