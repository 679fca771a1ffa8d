"""Images from Pillow and to Pillow."""

import io

import numpy as np
import PIL.Image
import pytest

from unpaired.errors import ImageError
from unpaired.images.image import Image
from unpaired.images.pillow import from_pil, to_pil


def noise(*shape: int, dtype: type = np.uint8, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def test_palette_with_alpha():
    drawn = PIL.Image.fromarray(noise(9, 13)).convert("P").convert("PA")
    drawn.putalpha(PIL.Image.fromarray(noise(9, 13, seed=2)))
    image = from_pil(drawn)
    np.testing.assert_array_equal(np.dstack([image.pixels, image.alpha]), drawn.convert("RGBA"))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_and_back(mode):
    if mode == "I;16":
        image = PIL.Image.fromarray(noise(9, 13, dtype=np.uint16))
    else:
        samples = noise(9, 13, len(mode))
        image = PIL.Image.fromarray(samples[:, :, 0] if mode == "L" else samples)
    again = to_pil(from_pil(image))
    assert again.mode == image.mode == mode
    np.testing.assert_array_equal(np.asarray(again), np.asarray(image))


def test_32_bit_pillow_images():
    values = np.array([[0, 1, 65535]], np.int32)
    np.testing.assert_array_equal(from_pil(PIL.Image.fromarray(values)).pixels[:, :, 0], values)
    for bad in (values - 1, values + 1, values.astype(np.float32)):
        with pytest.raises(ImageError, match="no exact counterpart"):
            from_pil(PIL.Image.fromarray(bad))
    with pytest.raises(ImageError, match="no mode for 3 bands of 16 bits"):
        to_pil(Image(noise(4, 5, 3, dtype=np.uint16)))


def test_a_damaged_file_that_pillow_opened_is_an_image_error():
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise(64, 64, 3)).save(buffer, "PNG")
    cut = PIL.Image.open(io.BytesIO(buffer.getvalue()[:5000]))
    with pytest.raises(ImageError, match="damaged or cut off"):
        from_pil(cut)
