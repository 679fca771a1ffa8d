"""Netpbm images, against their definition."""

import numpy as np
import pytest

from unpaired.errors import ImageError
from unpaired.images.formats import read_header, read_image


@pytest.mark.parametrize("levels", [1, 7, 255, 256, 1000, 4095, 65535])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_levels_are_stretched_to_the_whole_range(tmp_path, levels, bands, plain):
    stored = np.random.default_rng(levels).integers(0, levels + 1, (5, 7, bands))
    stored[0, 0] = levels
    kind = {1: 5, 3: 6}[bands] - 3 * plain
    head = f"P{kind}\n# a comment 9 9\n7 # another\n5\n{levels}\n".encode()
    if plain:
        body = " ".join(map(str, stored.ravel())).encode()
    else:
        body = stored.astype(">u2" if levels > 255 else "u1").tobytes()
    path = tmp_path / "x.pnm"
    path.write_bytes(head + body)
    if plain and bands == 3 and levels > 255:
        with pytest.raises(ImageError, match=r"16-bit colour in digits: save it as a binary PPM"):
            read_image(path)
        return
    image = read_image(path)
    full = 255 if levels <= 255 else 65535
    np.testing.assert_allclose(image.pixels, stored * (full / levels), atol=0.5001)
    assert (image.bands, image.depth) == (bands, 8 if levels <= 255 else 16)
    assert read_header(path).depth == image.depth


@pytest.mark.parametrize("kind", ["P1", "P4"])
def test_bitmaps(tmp_path, kind):
    black = np.random.default_rng(0).integers(0, 2, (5, 13)).astype(bool)
    plain = "\n".join("".join(map(str, row.astype(int))) for row in black).encode()
    body = plain if kind == "P1" else np.packbits(black, axis=1).tobytes()
    (tmp_path / "x.pbm").write_bytes(f"{kind} 13 5\n".encode() + body)
    pixels = read_image(tmp_path / "x.pbm").pixels[:, :, 0]
    np.testing.assert_array_equal(pixels, np.where(black, 0, 255))


@pytest.mark.parametrize(
    "content",
    [
        b"P5 3",
        b"P5 3 2 0\n123456",
        b"P5 3 2 65536\n123456",
        b"P5 3 2 255\n12345",
        b"P6 3 2 100\n" + 18 * b"\xff",
        b"P5 99999999999 2 255\n",
        b"P2 3 2 255\n1 2 3 x",
    ],
)
def test_damage(tmp_path, content):
    (tmp_path / "x.pgm").write_bytes(content)
    with pytest.raises(ImageError, match="damaged"):
        read_image(tmp_path / "x.pgm")
