"""Headers of all formats but TIFF: frames, depths, what is no image, what is no regular file."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from unpaired.errors import ImageError, SeveralFrames, TooLarge
from unpaired.images.formats import Reading, read_header, read_image, write_image
from unpaired.images.image import Image

FIRST = Reading(frames="first")


def noise(*shape: int, dtype: type = np.uint8, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def saved(image: PIL.Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


# --- frames ------------------------------------------------------------------------------------

ANIMATED = {
    "PNG": {},
    "PNG, apart": {"default_image": True},
    "WEBP": {"lossless": True},
    "GIF": {},
    "AVIF": {"quality": 100},
}


@pytest.mark.parametrize("kind", ANIMATED)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_animations_are_rejected_or_their_first_frame_is_read(tmp_path, kind, count):
    format, options = kind.split(",")[0], ANIMATED[kind] if count > 1 else {}
    frames = [PIL.Image.fromarray(noise(16, 24, 3, seed=seed)) for seed in range(count)]
    content = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with PIL.Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
        assert getattr(opened, "n_frames", 1) == count
    image = read_image(path, FIRST)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.frames == count
    if count == 1:
        assert read_image(path).frames == 1
        return
    for reader in (read_image, read_header):
        with pytest.raises(SeveralFrames, match=rf"x\.jpg: holds {count} frames.*--frames first"):
            reader(path)


def test_binary_pnm_files_hold_many_images(tmp_path):
    path = tmp_path / "x.pgm"
    one = b"P5 3 2 255\n" + bytes(range(6))
    path.write_bytes(3 * one)
    with pytest.raises(SeveralFrames, match="3 frames"):
        read_image(path)
    assert read_image(path, FIRST).pixels.ravel().tolist() == list(range(6))
    path.write_bytes(one + b"\n")
    assert read_image(path).frames == 1


def test_a_second_image_in_a_jpeg_is_a_preview(tmp_path):
    frames = [PIL.Image.fromarray(noise(16, 24, 3, seed=seed)) for seed in range(2)]
    path = tmp_path / "x.jpg"
    path.write_bytes(saved(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert read_image(path).frames == 1


# --- depths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_more_bits_is_rejected_and_not_cut(tmp_path, bits):
    content = bytearray(saved(PIL.Image.fromarray(noise(16, 24, 3)), "AVIF"))
    place = content.index(b"av1C") + 6
    content[place] |= 0x40 if bits == 10 else 0x60
    (tmp_path / "x.avif").write_bytes(content)
    with pytest.raises(ImageError, match=f"holds {bits}-bit samples"):
        read_image(tmp_path / "x.avif")


@pytest.mark.parametrize("suffix", [".avif", ".jp2"])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_written_and_read_again(tmp_path, suffix, bands, alpha, dtype):
    y, x = np.mgrid[0:40, 0:30]
    top = np.iinfo(dtype).max
    pixels = np.stack([x * (top // 30), y * (top // 40), x + y], 2)[:, :, :bands].astype(dtype)
    image = Image(pixels, np.where(x > 9, 255, 0).astype(np.uint8) if alpha else None)
    path = tmp_path / f"x{suffix}"
    if suffix == ".avif" and dtype == np.uint16:
        with pytest.raises(ImageError, match="AVIF cannot hold"):
            write_image(path, image)
        return
    if dtype == np.uint16:
        pytest.importorskip("rasterio")
    write_image(path, image)
    again = read_image(path)
    shown = np.repeat(pixels, 3, axis=2) if suffix == ".avif" and bands == 1 else pixels
    assert np.abs(again.pixels.astype(int) - shown).max() <= (8 if suffix == ".avif" else 0)
    assert (again.alpha is None) == (not alpha)
    if alpha:
        np.testing.assert_array_equal(again.alpha, image.alpha)


# --- sizes -------------------------------------------------------------------------------------


def test_files_with_far_more_bytes_than_pixels_are_not_read_into_memory(tmp_path):
    for format in ("WEBP", "AVIF"):
        path = tmp_path / "x"
        path.write_bytes(saved(PIL.Image.fromarray(noise(16, 24, 3)), format))
        os.truncate(path, 2**34)  # a sparse file
        with pytest.raises(TooLarge, match="a file of 17,179,869,184 bytes for 24 x 16 pixels"):
            read_image(path)


def test_chunks_of_a_png_are_walked_once(tmp_path):
    """A length of 2^31 leads beyond the end."""
    body = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 4, 4, 8, 2, 0, 0, 0, 0)
    (tmp_path / "x.png").write_bytes(body + struct.pack(">I4s", 2**31, b"junk"))
    with pytest.raises(ImageError, match="damaged PNG header"):
        read_image(tmp_path / "x.png")


# --- what is no image ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "a video"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a > b -->\n<svg width="1">', "SVG"),
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
        (b"<HTML><BODY>404", "an HTML page"),
        (b"<?xml version='1.0'?><Error>", "XML"),
        (b'{"error": "not found"}', "JSON"),
        (b"%PDF-1.7", "PDF"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"PK\x03\x04", "an archive"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (bytes(128) + b"DICM", "DICOM"),
        (bytes(4096), "a file of zeros alone"),
    ],
)
def test_what_bears_the_suffix_of_an_image_is_named(tmp_path, content, name):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: is {name}, which is not read: ")


def test_avif_without_pillows_codec_is_one_line(tmp_path, monkeypatch):
    write_image(tmp_path / "x.avif", Image(noise(16, 24, 3)))
    monkeypatch.setattr("PIL.features.check", lambda feature: False)
    with pytest.raises(ImageError, match="is AVIF, which this Pillow lacks: pip install"):
        read_image(tmp_path / "x.avif")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_only_regular_files_are_opened(tmp_path):
    """A pipe would be waited for, and a device never ends."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "null\n.png").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket.png"))
        for path in tmp_path.iterdir():
            for reader in (read_image, read_header):
                with pytest.raises(ImageError) as error:
                    reader(path)
                if path.name not in ("folder.png", "loop.png"):
                    assert "not a regular file" in str(error.value)


def test_a_png_of_two_headers_takes_no_memory(tmp_path):
    """A small size first, and a huge one before the pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0)),
        (b"IHDR", struct.pack(">IIBBBBB", 25_000, 25_000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        crc = struct.pack(">I", zlib.crc32(name + body))
        content += struct.pack(">I", len(body)) + name + body + crc
    path = Path(tmp_path / "x.png")
    path.write_bytes(content)
    with pytest.raises(ImageError, match="two IHDR chunks"):
        read_image(path, max_pixels=100)
