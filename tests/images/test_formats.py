"""Reading and writing images, against a PNG encoder of a few lines, Pillow and tifffile."""

import io
import struct
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.JpegImagePlugin
import pytest

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.errors import ImageError, MissingExtra, TooLarge
from unpaired.images.formats import SUFFIXES, format_of, read_header, read_image, write_image
from unpaired.images.image import Image, with_bands

EMOJIS = Path(__file__).parents[2].parent / "shared" / "data" / "emojis"
RASTERS = Path(__file__).parents[2].parent / "shared" / "data" / "rasters"
EACH_FORMAT = (".jpg", ".png", ".webp", ".bmp", ".tif", ".avif", ".jp2", ".gif", ".ppm")


def noise(*shape: int, dtype: type = np.uint8, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def smooth(height: int, width: int) -> np.ndarray:
    """A colour gradient, which JPEG keeps to within a few levels."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, 128 + 0 * x], 2).astype(np.uint8)


def mask(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    """Transparency as a tag alone may mark it: clear or opaque."""
    return noise(*shape, seed=2) // 128 * dtype(np.iinfo(dtype).max)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, bits: int, colour: int, rows: list[bytes], before: tuple = ()
) -> bytes:
    """A PNG file from packed rows; `before` are chunks before the pixels."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
        + b"".join(chunk(*extra) for extra in before)
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


def png16(samples: np.ndarray, colour: int, before: tuple = ()) -> bytes:
    height, width = samples.shape[:2]
    rows = [row.astype(">u2").tobytes() for row in samples]
    return png(width, height, 16, colour, rows, before)


def saved(image: PIL.Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path: Path):
    """Reads bytes as a file of any name, and checks that the header agrees."""

    def read_bytes(content: bytes, name: str = "image.xyz", **options: int) -> Image:
        path = tmp_path / name
        path.write_bytes(content)
        image = read_image(path, **options)
        header = read_header(path)
        assert (header.bands, header.depth) == (image.bands, image.depth)
        assert sorted(image.size) == sorted((header.height, header.width))
        assert not header.alpha or image.alpha is not None
        return image

    return read_bytes


# --- kinds of images --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif"])
def test_rgb_is_read_exactly(read, suffix):
    pixels = noise(11, 7, 3)
    format = PIL.Image.registered_extensions()[suffix]
    options = {"lossless": True} if suffix == ".webp" else {}
    image = read(saved(PIL.Image.fromarray(pixels), format, **options))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.alpha is None
    assert (image.depth, image.bands, image.size) == (8, 3, (11, 7))


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_grey_is_one_band(read, format):
    pixels = noise(11, 7)
    image = read(saved(PIL.Image.fromarray(pixels), format))
    np.testing.assert_array_equal(image.pixels, pixels[:, :, None])
    assert image.alpha is None


@pytest.mark.parametrize("colour", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(read, colour, progressive):
    drawn = PIL.Image.fromarray(smooth(24, 33)).convert(colour)
    content = saved(drawn, "JPEG", quality=90, progressive=progressive)
    image = read(content)
    expected = np.asarray(PIL.Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(image.pixels, np.atleast_3d(expected))
    assert np.abs(image.pixels - np.atleast_3d(np.asarray(drawn)).astype(int)).max() < 12
    assert image.bands == len(colour)


def test_cmyk_jpeg_becomes_rgb_and_is_not_inverted(read):
    inks = {(0, 0, 0, 0): 3 * [255], (255, 0, 0, 0): [0, 255, 255], (0, 0, 0, 255): 3 * [0]}
    for ink, expected in inks.items():
        image = read(saved(PIL.Image.new("CMYK", (16, 16), ink), "JPEG", quality=95))
        assert image.alpha is None
        assert np.abs(image.pixels[8, 8].astype(int) - expected).max() <= 3


def test_multi_image_jpeg_of_cameras_gives_the_first(read):
    first, second = (PIL.Image.fromarray(smooth(16, 24)[:, ::step]) for step in (1, -1))
    content = saved(first, "MPO", save_all=True, append_images=[second])
    assert content[:3] == b"\xff\xd8\xff"
    expected = np.asarray(PIL.Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(read(content).pixels, expected)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_kept_apart_with_the_colours_under_it(read, format):
    samples = np.dstack([noise(11, 7, 3), mask(11, 7) if format == "TIFF" else noise(11, 7)])
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    image = read(saved(PIL.Image.fromarray(samples), format, **options))
    np.testing.assert_array_equal(image.pixels, samples[:, :, :3])
    np.testing.assert_array_equal(image.alpha, samples[:, :, 3])


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_with_alpha(read, format):
    samples = np.dstack([noise(11, 7), mask(11, 7) if format == "TIFF" else noise(11, 7)])
    image = read(saved(PIL.Image.fromarray(samples), format))
    np.testing.assert_array_equal(image.pixels, samples[:, :, :1])
    np.testing.assert_array_equal(image.alpha, samples[:, :, 1])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparent", ["none", "one", "levels"])
def test_palette(read, bits, transparent):
    colours = 2**bits
    palette = noise(colours, 3, seed=bits)
    indices = noise(9, 16, seed=3).astype(int) % colours
    alphas = {
        "none": np.full(colours, 255),
        "one": np.where(np.arange(colours) == 1, 0, 255),
        "levels": np.linspace(3, 250, colours).astype(int),
    }[transparent]
    before = [(b"PLTE", palette.tobytes())]
    if transparent != "none":
        before.append((b"tRNS", alphas.astype(np.uint8).tobytes()))
    binary = np.unpackbits(indices.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
    rows = [np.packbits(row).tobytes() for row in binary.reshape(9, -1)]
    image = read(png(16, 9, bits, 3, rows, tuple(before)))
    np.testing.assert_array_equal(image.pixels, palette[indices])
    if transparent == "none":
        assert image.alpha is None
    else:
        np.testing.assert_array_equal(image.alpha, alphas[indices])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_png_of_few_bits_is_widened_and_its_clear_level_found(read, bits):
    levels = noise(9, 16, seed=4).astype(int) % 2**bits
    binary = np.unpackbits(levels.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
    rows = [np.packbits(row).tobytes() for row in binary.reshape(9, -1)]
    widened = levels.astype(int) * 255 // (2**bits - 1)
    plain = read(png(16, 9, bits, 0, rows))
    np.testing.assert_array_equal(plain.pixels[:, :, 0], widened)
    assert plain.alpha is None
    clear = int(levels[0, 0])
    keyed = read(png(16, 9, bits, 0, rows, ((b"tRNS", struct.pack(">H", clear)),)))
    np.testing.assert_array_equal(keyed.pixels[:, :, 0], widened)
    np.testing.assert_array_equal(keyed.alpha, np.where(levels == clear, 0, 255))


def test_clear_colour_of_rgb(read):
    pixels = noise(9, 8, 3) % 2
    clear = pixels[4, 4]
    key = struct.pack(">HHH", *clear.tolist())
    image = read(png(8, 9, 8, 2, [row.tobytes() for row in pixels], ((b"tRNS", key),)))
    np.testing.assert_array_equal(image.pixels, pixels)
    np.testing.assert_array_equal(image.alpha, np.where((pixels == clear).all(2), 0, 255))
    assert 0 < (image.alpha == 0).sum() < image.alpha.size


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_one_bit_is_black_and_white(read, format):
    pixels = noise(9, 13) > 127
    image = read(saved(PIL.Image.fromarray(pixels), format))
    np.testing.assert_array_equal(image.pixels[:, :, 0], np.where(pixels, 255, 0))


@pytest.mark.parametrize("format", ["BMP", "TIFF"])
def test_palette_of_other_formats(read, format):
    drawn = PIL.Image.fromarray(noise(9, 13) % 5).convert("P")
    drawn.putpalette(noise(256, 3).tobytes())
    image = read(saved(drawn, format))
    np.testing.assert_array_equal(image.pixels, np.asarray(drawn.convert("RGB")))


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_tiff_keeps_its_bits(read, order, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pixels = noise(9, 13, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "t", pixels, byteorder=order, photometric="minisblack")
    image = read((tmp_path / "t").read_bytes())
    assert image.pixels.dtype == np.uint16
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels[:, :, 0], pixels)


def test_16_bit_grey_png_keeps_its_bits(read):
    pixels = noise(9, 13, dtype=np.uint16)
    image = read(png16(pixels, 0))
    np.testing.assert_array_equal(image.pixels[:, :, 0], pixels)
    keyed = read(png16(pixels, 0, ((b"tRNS", struct.pack(">H", pixels[2, 2])),)))
    np.testing.assert_array_equal(keyed.alpha, np.where(pixels == pixels[2, 2], 0, 255))


@pytest.mark.parametrize(("bands", "colour"), [(2, 4), (3, 2), (4, 6)])
def test_16_bit_colour_png_keeps_its_bits(read, bands, colour):
    pytest.importorskip("rasterio")
    samples = noise(9, 13, bands, dtype=np.uint16)
    image = read(png16(samples, colour))
    colours = 1 if bands == 2 else 3
    np.testing.assert_array_equal(image.pixels, samples[:, :, :colours])
    if bands == colours:
        assert image.alpha is None
    else:
        np.testing.assert_array_equal(image.alpha, np.rint(samples[:, :, -1] / 257))


@pytest.mark.parametrize("bands", [2, 3, 4, 6])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_of_many_bands(read, tmp_path, bands, dtype, bigtiff):
    pytest.importorskip("rasterio")
    tifffile = pytest.importorskip("tifffile")
    samples = noise(9, 13, bands, dtype=dtype)
    tifffile.imwrite(
        tmp_path / "t",
        samples,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unspecified"] * (bands - 1),
        bigtiff=bigtiff,
    )
    image = read((tmp_path / "t").read_bytes())
    np.testing.assert_array_equal(image.pixels, samples)
    assert image.pixels.dtype == dtype
    assert image.alpha is None


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("extra", [[], ["unassalpha"], ["unspecified"]])
def test_16_bit_colour_tiff_keeps_its_bits(read, tmp_path, planar, extra):
    pytest.importorskip("rasterio")
    tifffile = pytest.importorskip("tifffile")
    samples = noise(9, 13, 3 + len(extra), dtype=np.uint16)
    if extra == ["unassalpha"]:
        samples[:, :, 3] = mask(9, 13, dtype=np.uint16)
    stored = samples if planar == "contig" else samples.transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "t", stored, photometric="rgb", planarconfig=planar, extrasamples=extra
    )
    image = read((tmp_path / "t").read_bytes())
    bands = 4 if extra == ["unspecified"] else 3
    np.testing.assert_array_equal(image.pixels, samples[:, :, :bands])
    if extra == ["unassalpha"]:
        np.testing.assert_array_equal(image.alpha, np.rint(samples[:, :, 3] / 257))
    else:
        assert image.alpha is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_in_which_white_is_zero(read, tmp_path, dtype):
    pytest.importorskip("rasterio")
    tifffile = pytest.importorskip("tifffile")
    stored = noise(9, 13, dtype=dtype)
    tifffile.imwrite(tmp_path / "t", stored, photometric="miniswhite")
    image = read((tmp_path / "t").read_bytes())
    np.testing.assert_array_equal(image.pixels[:, :, 0], np.iinfo(dtype).max - stored)


@pytest.mark.parametrize("dtype", [np.float16, np.uint32, np.int8, np.float64])
def test_other_samples_are_rejected_with_what_is_accepted(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "raster.tif"
    tifffile.imwrite(path, np.ones((9, 13), dtype), photometric="minisblack")
    with pytest.raises(ImageError, match=f"{np.dtype(dtype)} samples.*8- and 16-bit unsigned"):
        read_image(path)


# --- orientation --------------------------------------------------------------------------------

SIDES = {  # EXIF 2.32: where row 0 and column 0 of the file are in the upright image
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Pixel by pixel from the definition."""
    rows, columns = stored.shape[:2]
    size = (rows, columns) if orientation <= 4 else (columns, rows)
    result = np.zeros((*size, *stored.shape[2:]), stored.dtype)
    for row in range(rows):
        for column in range(columns):
            y = x = -1
            for side, index, count in zip(
                SIDES[orientation], (row, column), (rows, columns), strict=True
            ):
                if side == "top":
                    y = index
                elif side == "bottom":
                    y = count - 1 - index
                elif side == "left":
                    x = index
                else:
                    x = count - 1 - index
            result[y, x] = stored[row, column]
    return result


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_format(read, tmp_path, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = np.dstack([noise(5, 8, 3), mask(5, 8)])
    for format in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True, "exact": True} if format == "WEBP" else {}
        image = read(saved(PIL.Image.fromarray(stored), format, exif=exif, **options))
        samples = np.dstack([image.pixels, image.alpha])
        np.testing.assert_array_equal(samples, upright(stored, orientation), err_msg=format)
    content = saved(PIL.Image.fromarray(smooth(16, 24)), "JPEG", exif=exif)
    decoded = np.asarray(PIL.Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(read(content).pixels, upright(decoded, orientation))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_orientation_of_a_tiff_that_rasterio_reads(read, tmp_path, orientation):
    pytest.importorskip("rasterio")
    tifffile = pytest.importorskip("tifffile")
    stored = noise(5, 8, 3, dtype=np.uint16)
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "t", stored, photometric="rgb", extratags=[tag])
    image = read((tmp_path / "t").read_bytes())
    np.testing.assert_array_equal(image.pixels, upright(stored, orientation))


def test_damaged_exif_is_no_reason_to_reject(read):
    pixels = noise(5, 8, 3)
    content = saved(PIL.Image.fromarray(pixels), "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    np.testing.assert_array_equal(read(content).pixels, pixels)


# --- what is rejected ----------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo, path: Path) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"just some text, and no image\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"RIFF\0\0\0\0WEBP", "damaged"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "damaged"),
        (b"BM", "damaged"),
        (b"BMI am a text", "damaged"),
        (b"II*\0", "damaged"),
        (b"MM\0*\xff\xff\xff\xff", "damaged"),
    ],
)
def test_what_is_no_image(tmp_path, content, reason):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    for reader in (read_image, read_header):
        with pytest.raises(ImageError) as error:
            reader(path)
        assert reason in one_line(error, path)


def test_folders_and_missing_files(tmp_path):
    folder = tmp_path / "x.png"
    folder.mkdir()
    for path, reason in ((folder, "is a folder"), (tmp_path / "y.png", "no such file")):
        for reader in (read_image, read_header):
            with pytest.raises(ImageError) as error:
                reader(path)
            assert one_line(error, path) == reason


def example(suffix: str, seed: int = 5) -> bytes:
    format = PIL.Image.registered_extensions()[suffix]
    return saved(PIL.Image.fromarray(noise(40, 30, 3, seed=seed)), format)


@pytest.mark.parametrize("suffix", [*EACH_FORMAT, ".lzw.tif"])
def test_truncated_files(tmp_path, suffix):
    content = example(suffix.removeprefix(".lzw"))
    if suffix == ".lzw.tif":
        image = PIL.Image.fromarray(noise(40, 30, 3))
        content = saved(image, "TIFF", compression="tiff_lzw")
    path = tmp_path / "cut"
    for part in (0.02, 0.1, 0.5, 0.9):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(ImageError) as error:
            read_image(path)
        one_line(error, path)


@pytest.mark.parametrize("suffix", EACH_FORMAT)
def test_damaged_bytes_raise_nothing_but_image_errors(tmp_path, suffix):
    content = example(suffix)
    rng = np.random.default_rng(7)
    path = tmp_path / "damaged"
    for _ in range(100):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(content), 400), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        message = ""
        try:
            image = read_image(path, max_pixels=100_000)
        except ImageError as error:
            message = str(error)
        else:
            assert image.pixels.dtype in (np.uint8, np.uint16)
        assert message == "" or message.startswith(f"{path}: ")
        assert "\n" not in message


def bombs() -> dict[str, bytes]:
    """Headers that claim 60000 x 60000 pixels, with no pixels behind them."""
    side = 60000
    sof = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, side, side, 3) + b"\1\x11\0\2\x11\0\3\x11\0"
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (277, 1), (278, side)]
    directory = struct.pack("<H", len(tags) + 2)
    for tag, value in [*tags, (273, 8), (279, 100)]:
        directory += struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
    return {
        "PNG": png(side, side, 8, 2, [b"\0" * 10]),
        "JPEG": b"\xff\xd8" + sof + b"\xff\xda" + b"\0" * 20,
        "WebP": b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0"
        + 2 * (side - 1).to_bytes(3, "little")
        + b"\0" * 20,
        "BMP": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, side, side, 1, 24, *6 * [0])
        + b"\0" * 40,
        "TIFF": b"II*\0\x08\0\0\0" + directory + b"\0" * 4,
    }


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP", "BMP", "TIFF"])
def test_bombs_are_rejected_from_their_header(tmp_path, format):
    path = tmp_path / "bomb"
    path.write_bytes(bombs()[format])
    header = read_header(path)
    assert (header.width, header.height) == (60000, 60000)
    assert format_of(bombs()[format]).name == format
    start = time.perf_counter()
    with pytest.raises(TooLarge, match=r"60000 x 60000 pixels .*--max-pixels") as error:
        read_image(path)
    one_line(error, path)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("side", [30000, 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_second_header_does_not_bypass_the_limit(tmp_path, bits, side):
    """Decoders believe the last IHDR chunk."""
    second = struct.pack(">IIBBBBB", side, side, bits, 2, 0, 0, 0)
    path = tmp_path / "two.png"
    rows = [bytes(4 * 3 * bits // 8)] * 4
    path.write_bytes(png(4, 4, bits, 2, rows, ((b"IHDR", second),)))
    for reader in (read_header, read_image):
        with pytest.raises(ImageError, match="two IHDR chunks") as error:
            reader(path)
        one_line(error, path)


@pytest.mark.parametrize("place", ["header.ImageHeader", "pillow.from_pil", "pillow.upright"])
def test_bugs_of_ours_are_not_damaged_files(tmp_path, monkeypatch, place):
    """Only decoders may raise anything; what our own code raises comes through."""

    def broken(*arguments, **options):
        raise TypeError("a bug")

    path = tmp_path / "p.png"
    path.write_bytes(example(".png"))
    monkeypatch.setattr(f"unpaired.images.{place}", broken)
    with pytest.raises(TypeError, match="a bug"):
        read_image(path)


@pytest.mark.parametrize("suffix", EACH_FORMAT)
def test_the_limit_is_the_number_of_pixels(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    path.write_bytes(example(suffix))  # 40 x 30
    limit = round(1200 * SUFFIXES[suffix].weight)
    assert read_image(path, max_pixels=limit).size == (40, 30)
    with pytest.raises(TooLarge):
        read_image(path, max_pixels=limit - 1)


@pytest.mark.parametrize("suffix", EACH_FORMAT)
def test_pillows_own_limit_does_not_interfere_and_is_restored(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"p{suffix}"
    path.write_bytes(example(suffix))
    for limit in (10, 1000, None):  # an error, a warning, nothing
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
        assert read_image(path).size == (40, 30)
        assert limit == PIL.Image.MAX_IMAGE_PIXELS
    path.write_bytes(example(suffix)[:300])
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)
    assert PIL.Image.MAX_IMAGE_PIXELS == 10


def test_pillows_limit_is_restored_after_many_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    path = tmp_path / "p.webp"
    path.write_bytes(example(".webp"))
    failures = []

    def work() -> None:
        try:
            for _ in range(30):
                read_image(path)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert PIL.Image.MAX_IMAGE_PIXELS == 10
    assert DEFAULT_MAX_PIXELS == 178_956_970


def test_rasterio_missing_is_one_line_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    path = tmp_path / "deep.png"
    path.write_bytes(png16(noise(4, 5, 3, dtype=np.uint16), 2))
    with pytest.raises(MissingExtra, match=r"deep\.png.*unpaired\[geo\]"):
        read_image(path)
    with pytest.raises(MissingExtra, match=r"writing 16-bit .*unpaired\[geo\]"):
        write_image(tmp_path / "wide.tif", Image(noise(4, 5, 6)))
    assert [path.name for path in tmp_path.iterdir()] == ["deep.png"]


# --- the table ---------------------------------------------------------------------------------


def test_suffixes_and_names_of_the_formats():
    names: dict[str, list[str]] = {}
    for suffix, format in SUFFIXES.items():
        names.setdefault(format.name, []).append(suffix)
    assert names == {
        "JPEG": [".jpg", ".jpeg", ".jpe", ".jfif"],
        "PNG": [".png"],
        "WebP": [".webp"],
        "BMP": [".bmp"],
        "TIFF": [".tif", ".tiff"],
        "AVIF": [".avif"],
        "JPEG 2000": [".jp2", ".jpx", ".jpf"],
        "JPEG 2000 code stream": [".j2k", ".j2c"],
        "GIF": [".gif"],
        "VRT": [".vrt"],
        "PNM": [".ppm", ".pgm", ".pbm", ".pnm"],
    }


@pytest.mark.parametrize("suffix", EACH_FORMAT)
def test_formats_are_recognised_by_their_first_16_bytes(suffix):
    assert format_of(example(suffix)[:16]) is SUFFIXES[suffix]
    assert format_of(b"") is None
    assert format_of(b"RIFF\0\0\0\0WAVEfmt ") is None


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".TIFF"])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_8_bit_comes_back_exactly(tmp_path, suffix, bands, alpha):
    clear = noise(9, 13, seed=2) // 128 * 255  # colours under it are kept too
    image = Image(noise(9, 13, bands), clear if alpha else None)
    path = tmp_path / f"p{suffix}"
    write_image(path, image)
    again = read_image(path)
    np.testing.assert_array_equal(with_bands(again.pixels, bands), image.pixels)
    if alpha and suffix != ".bmp":
        np.testing.assert_array_equal(again.alpha, image.alpha)
    else:
        assert again.alpha is None
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("bands", [1, 3])
def test_jpeg_is_written_without_subsampling_and_at_the_quality_asked(tmp_path, bands):
    pixels = with_bands(smooth(48, 64), bands)
    image = Image(pixels, noise(48, 64))
    for quality in (50, 95):
        write_image(tmp_path / f"{quality}.jpg", image, quality=quality)
    again = read_image(tmp_path / "95.jpg")
    assert again.alpha is None
    assert np.abs(again.pixels.astype(int) - pixels).max() <= 4
    write_image(tmp_path / "default.jpeg", image)
    assert (tmp_path / "default.jpeg").read_bytes() == (tmp_path / "95.jpg").read_bytes()
    assert (tmp_path / "50.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size
    with PIL.Image.open(tmp_path / "95.jpg") as opened:
        assert opened.mode == ("L" if bands == 1 else "RGB")
        if bands == 3:
            assert PIL.JpegImagePlugin.get_sampling(opened) == 0


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_comes_back_exactly(tmp_path, suffix, bands, alpha):
    if bands == 3 or alpha:
        pytest.importorskip("rasterio")
    clear = noise(9, 13) if suffix == ".png" else mask(9, 13)
    image = Image(noise(9, 13, bands, dtype=np.uint16), clear if alpha else None)
    path = tmp_path / f"p{suffix}"
    write_image(path, image)
    again = read_image(path)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    if alpha:
        np.testing.assert_array_equal(again.alpha, image.alpha)
    else:
        assert again.alpha is None
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [2, 4, 6, 13])
@pytest.mark.parametrize("alpha", [False, True])
def test_many_bands_come_back_exactly_and_others_read_them(tmp_path, dtype, bands, alpha):
    pytest.importorskip("rasterio")
    tifffile = pytest.importorskip("tifffile")
    image = Image(noise(9, 13, bands, dtype=dtype), mask(9, 13) if alpha else None)
    path = tmp_path / "p.tif"
    write_image(path, image)
    again = read_image(path)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert (again.alpha is None) == (not alpha)
    stored = tifffile.imread(path)
    stored = stored if stored.shape[:2] == (9, 13) else np.moveaxis(stored, 0, 2)
    np.testing.assert_array_equal(stored[:, :, :bands], image.pixels)


def test_names_that_look_like_addresses_are_names(tmp_path, monkeypatch):
    pytest.importorskip("rasterio")
    monkeypatch.chdir(tmp_path)
    image = Image(noise(9, 13, 6))
    for name in ("s3:y.tif", "zip:x.tif", "a?b#c!d.tif", "-x.tif", "é [1] %20.tif"):
        write_image(name, image)
        np.testing.assert_array_equal(read_image(name).pixels, image.pixels)


@pytest.mark.parametrize(
    ("name", "bands", "dtype", "message"),
    [
        ("p.gif", 3, np.uint8, "images are written as .jpg"),
        ("p", 3, np.uint8, "images are written as .jpg"),
        ("p.jpg", 3, np.uint16, "JPEG cannot hold 3 bands of 16 bits: write .tif"),
        ("p.webp", 1, np.uint16, "WebP cannot hold"),
        ("p.bmp", 6, np.uint8, "BMP cannot hold 6 bands"),
        ("p.png", 6, np.uint8, "PNG cannot hold 6 bands"),
    ],
)
def test_what_a_format_cannot_hold_is_rejected_and_the_old_file_stays(
    tmp_path, name, bands, dtype, message
):
    path = tmp_path / name
    path.write_bytes(b"old")
    with pytest.raises(ImageError, match=message) as error:
        write_image(path, Image(noise(4, 5, bands, dtype=dtype)))
    one_line(error, path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_images_longer_than_a_format_are_rejected(tmp_path):
    image = Image(np.zeros((1, 65501, 1), np.uint8))
    for name in ("p.jpg", "p.webp"):
        with pytest.raises(ImageError, match=r"at most \d+ pixels a side"):
            write_image(tmp_path / name, image)
    write_image(tmp_path / "p.png", image)
    assert read_image(tmp_path / "p.png").size == (1, 65501)


# --- real files ---------------------------------------------------------------------------------


@pytest.mark.skipif(not EMOJIS.is_dir(), reason="no shared/data/emojis beside the checkout")
def test_emojis_are_palettes_with_transparency():
    for path in sorted((EMOJIS / "testA").iterdir()):
        image = read_image(path)  # a warning would be an error here
        assert image.size == (72, 72)
        assert image.bands == 3
        with PIL.Image.open(path) as opened:
            expected = np.asarray(opened.convert("RGBA"))
        np.testing.assert_array_equal(np.dstack([image.pixels, image.alpha]), expected)


@pytest.mark.skipif(not RASTERS.is_dir(), reason="no shared/data/rasters beside the checkout")
def test_rasters():
    rasterio = pytest.importorskip("rasterio")
    for name, shape in (("landsat7_6band_uint8", (352, 349, 6)), ("cog_gcps", (837, 1280, 1))):
        path = RASTERS / f"{name}.tif"
        image = read_image(path)
        assert image.pixels.shape == shape
        with rasterio.open(path) as dataset:
            np.testing.assert_array_equal(image.pixels, np.moveaxis(dataset.read(), 0, 2))
    with pytest.raises(ImageError, match="damaged or cut off"):
        read_image(RASTERS / "corrupt.tif")
    for name in ("spain_s1_vv_vh_float32", "spain_s2_13band_int16", "cog_nodata_nan"):
        image = read_image(RASTERS / f"{name}.tif")
        with rasterio.open(RASTERS / f"{name}.tif") as dataset:
            np.testing.assert_array_equal(image.pixels, np.moveaxis(dataset.read(), 0, 2))
