"""What TIFF leaves open: whether a marked band is transparency, and what its pages are."""

import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from unpaired.errors import ImageError, MissingExtra, SeveralFrames, TooLarge
from unpaired.images.formats import Reading, read_header, read_image
from unpaired.images.image import is_mask

tifffile = pytest.importorskip("tifffile")
FIRST = Reading(frames="first")


def noise(*shape: int, dtype: type = np.uint8, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def soft_mask(dtype: type = np.uint8) -> np.ndarray:
    """A disc with a soft edge."""
    y, x = np.mgrid[:40, :50]
    inside = np.clip(15.5 - np.hypot(y - 20, x - 25), 0, 1)
    return np.rint(inside * np.iinfo(dtype).max).astype(dtype)


def infrared(dtype: type = np.uint8) -> np.ndarray:
    """A smooth band with black and saturated parts, as near infrared has."""
    y, x = np.mgrid[:40, :50]
    wave = np.sin(y / 6) + np.sin(x / 9) + noise(40, 50) / 255 - 0.5
    return (np.clip(wave * 0.5 + 0.5, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def by_gdal(path: Path, samples: np.ndarray, driver: str = "GTiff", **options: str) -> None:
    rasterio = pytest.importorskip("rasterio")
    height, width, count = samples.shape
    kind = {"driver": driver, "count": count, "dtype": samples.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", width=width, height=height, **kind, **options) as dataset:
            dataset.write(np.moveaxis(samples, 2, 0))


def by_tifffile(path: Path, samples: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, samples, **({"photometric": "rgb"} | options))


# --- transparency ------------------------------------------------------------------------------

WRITERS = {
    "GDAL": by_gdal,
    "GDAL, premultiplied": lambda path, samples: by_gdal(path, samples, alpha="PREMULTIPLIED"),
    "GDAL, RGB": lambda path, samples: by_gdal(path, samples, photometric="RGB", alpha="YES"),
    "tifffile": by_tifffile,
    "tifffile, unassociated": lambda p, s: by_tifffile(p, s, extrasamples=["unassalpha"]),
    "tifffile, associated": lambda p, s: by_tifffile(p, s, extrasamples=["assocalpha"]),
    "tifffile, unspecified": lambda p, s: by_tifffile(p, s, extrasamples=["unspecified"]),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("writer", WRITERS)
def test_near_infrared_is_a_band_whatever_marks_it(tmp_path, writer, dtype):
    pytest.importorskip("rasterio")
    samples = np.dstack([noise(40, 50, 3, dtype=dtype), infrared(dtype)])
    WRITERS[writer](tmp_path / "n.tif", samples)
    image = read_image(tmp_path / "n.tif")
    np.testing.assert_array_equal(image.pixels, samples)
    assert image.alpha is None
    assert image.marked in ("", "band")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_that_is_marked_is_transparency(tmp_path, dtype):
    pytest.importorskip("rasterio")
    samples = np.dstack([noise(40, 50, 3, dtype=dtype), soft_mask(dtype)])
    by_tifffile(tmp_path / "m.tif", samples, extrasamples=["unassalpha"])
    image = read_image(tmp_path / "m.tif")
    np.testing.assert_array_equal(image.pixels, samples[:, :, :3])
    np.testing.assert_array_equal(image.alpha, soft_mask())
    assert image.marked == "mask"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_user_may_say_otherwise(tmp_path, dtype):
    pytest.importorskip("rasterio")
    top = np.iinfo(dtype).max // 255
    for band in (soft_mask(dtype), infrared(dtype)):
        samples = np.dstack([noise(40, 50, 3, dtype=dtype), band])
        by_tifffile(tmp_path / "x.tif", samples, extrasamples=["unassalpha"])
        as_mask = read_image(tmp_path / "x.tif", Reading(alpha="mask"))
        np.testing.assert_array_equal(as_mask.alpha, np.rint(band / top))
        np.testing.assert_array_equal(as_mask.pixels, samples[:, :, :3])
        as_band = read_image(tmp_path / "x.tif", Reading(alpha="band"))
        np.testing.assert_array_equal(as_band.pixels, samples)
        assert read_header(tmp_path / "x.tif", Reading(alpha="band")).bands == 4


def test_the_bands_of_the_domain_decide_before_the_values(tmp_path):
    by_tifffile(tmp_path / "m.tif", np.dstack([noise(40, 50, 3), soft_mask()]))
    assert read_image(tmp_path / "m.tif", bands=3).bands == 3
    assert read_image(tmp_path / "m.tif", bands=4).bands == 4
    assert read_header(tmp_path / "m.tif", bands=4).bands == 4


def test_formats_that_define_transparency_are_not_judged_by_its_values(tmp_path):
    samples = np.dstack([noise(40, 50, 3), infrared()])
    for suffix, options in ((".png", {}), (".webp", {"lossless": True, "exact": True})):
        path = tmp_path / f"x{suffix}"
        PIL.Image.fromarray(samples).save(path, **options)
        np.testing.assert_array_equal(read_image(path).alpha, infrared())
        as_band = read_image(path, Reading(alpha="band"))
        np.testing.assert_array_equal(as_band.pixels, samples)


def test_jpeg_2000_marks_transparency_by_a_tag_too(tmp_path):
    for band, bands in ((infrared(), 4), (soft_mask(), 3)):
        PIL.Image.fromarray(np.dstack([noise(40, 50, 3), band])).save(tmp_path / "x.jp2")
        assert read_image(tmp_path / "x.jp2").bands == bands


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_of_any_depth_keeps_its_samples(tmp_path, bands, bits):
    dtype = np.uint8 if bits == 8 else np.uint16
    samples = noise(20, 30, bands, dtype=dtype) >> (16 - bits if bits > 8 else 0)
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "NBITS": str(bits)}
    by_gdal(tmp_path / "x.jp2", samples, "JP2OpenJPEG", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "x.jp2").pixels, samples)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_a_mask_is(dtype):
    top = np.iinfo(dtype).max
    assert is_mask(np.full((3, 4), top, dtype))
    assert is_mask(soft_mask(dtype))
    assert is_mask(np.where(noise(600, 9) > 127, top, 0).astype(dtype))
    assert not is_mask(infrared(dtype))
    assert not is_mask(np.zeros((3, 4), dtype))  # all clear: nothing would be left of the image
    assert not is_mask(np.ones((3, 4), dtype))
    assert not is_mask(np.full((3, 4), top // 2, dtype))
    for row in (0, 255, 256, 257, 599):  # beside the bounds of the blocks that are looked at
        band = np.full((600, 9), top, dtype)
        band[row, 4] = 7
        assert is_mask(band)
        band[max(row - 2, 0) : row + 3, 2:7] = 7
        assert not is_mask(band)


def test_cmyk_with_transparency_is_rejected_and_not_cut(tmp_path):
    samples = np.dstack([noise(40, 50, 4), soft_mask()])
    tifffile.imwrite(
        tmp_path / "x.tif", samples, photometric="separated", extrasamples=["unassalpha"]
    )
    with pytest.raises(ImageError, match="transparency"):
        read_image(tmp_path / "x.tif")


# --- pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["imagej", "ome", "shaped"])
@pytest.mark.parametrize("channels", [2, 3, 5])
def test_a_stack_of_channels_is_one_image(tmp_path, kind, channels, dtype):
    stack = noise(channels, 9, 13, dtype=dtype)
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
    if kind != "shaped":
        options |= {kind: True}
    tifffile.imwrite(tmp_path / "s.tif", stack, **options)
    image = read_image(tmp_path / "s.tif")
    np.testing.assert_array_equal(image.pixels, np.moveaxis(stack, 0, 2))
    assert image.frames == 1
    header = read_header(tmp_path / "s.tif")
    assert (header.bands, header.depth) == (channels, image.depth)


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "ZCYX", "TCYX"])
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_slices_and_times_are_frames(tmp_path, kind, axes):
    shape = (4, 9, 13) if len(axes) == 3 else (2, 3, 9, 13)
    stack = noise(*shape)
    tifffile.imwrite(
        tmp_path / "s.tif", stack, photometric="minisblack", metadata={"axes": axes}, **{kind: True}
    )
    with pytest.raises(SeveralFrames, match=r"holds [46] frames.*--frames first"):
        read_image(tmp_path / "s.tif")
    image = read_image(tmp_path / "s.tif", FIRST)
    np.testing.assert_array_equal(image.pixels[:, :, 0], stack.reshape(-1, 9, 13)[0])
    assert image.frames == np.prod(shape[:-2])


def test_pages_are_frames(tmp_path):
    pages = [noise(9, 13, 3, seed=seed) for seed in range(5)]
    with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
        for page in pages:
            writer.write(page, photometric="rgb")
    for reader in (read_image, read_header):
        with pytest.raises(SeveralFrames, match="holds 5 frames"):
            reader(tmp_path / "p.tif")
    image = read_image(tmp_path / "p.tif", FIRST)
    np.testing.assert_array_equal(image.pixels, pages[0])
    assert image.frames == 5


def test_a_large_stack_of_imagej_has_one_directory(tmp_path):
    path = tmp_path / "s.tif"
    stack = noise(3, 9, 13)
    tifffile.imwrite(path, stack, imagej=True, photometric="minisblack", metadata={"axes": "ZYX"})
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        entries = len(page.tags)
        assert page.dataoffsets[0] + stack.nbytes <= len(content)
    at = page.offset + 2 + 12 * entries
    content[at : at + 4] = bytes(4)  # no further directory
    path.write_bytes(content)
    with pytest.raises(SeveralFrames, match="holds 3 frames"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, FIRST).pixels[:, :, 0], stack[0])


def test_smaller_copies_and_masks_are_no_frames(tmp_path):
    pixels = noise(64, 64, 3)
    with tifffile.TiffWriter(tmp_path / "o.tif") as writer:
        writer.write(pixels, photometric="rgb")
        writer.write(pixels[::2, ::2], photometric="rgb", subfiletype=1)
        writer.write(pixels[:, :, 0] > 9, photometric="minisblack", subfiletype=4)
    np.testing.assert_array_equal(read_image(tmp_path / "o.tif").pixels, pixels)


def test_a_chain_of_directories_may_be_a_circle_or_broken(tmp_path):
    path = tmp_path / "c.tif"
    tifffile.imwrite(path, noise(9, 13), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
        first = file.pages[0].offset
    content = bytearray(path.read_bytes())
    for following in (first, len(content) + 99, 2**31, 3):
        content[at : at + 4] = following.to_bytes(4, "little")
        path.write_bytes(content)
        assert read_image(path).size == (9, 13)


# --- bounds and codecs --------------------------------------------------------------------------


def test_absurd_numbers_of_bands_are_rejected_from_the_header(tmp_path):
    path = tmp_path / "b.tif"
    tifffile.imwrite(path, noise(2, 2, 1025), photometric="minisblack", planarconfig="contig")
    for reader in (read_image, read_header):
        with pytest.raises(TooLarge, match="has 1,025 bands, over the limit of 1,024") as error:
            reader(path)
        assert len(str(error.value)) < len(str(path)) + 60
    tifffile.imwrite(path, noise(2, 2, 1024), photometric="minisblack", planarconfig="contig")
    pytest.importorskip("rasterio")
    assert read_image(path).bands == 1024


def test_wide_pixels_count_by_their_bytes(tmp_path):
    pytest.importorskip("rasterio")
    path = tmp_path / "b.tif"
    tifffile.imwrite(path, noise(20, 20, 100), photometric="minisblack", planarconfig="contig")
    with pytest.raises(TooLarge, match="100 bytes each, count as 5000 by their memory"):
        read_image(path, max_pixels=4999)
    assert read_image(path, max_pixels=5000).bands == 100


def test_a_repeated_tag_is_damage(tmp_path):
    path = tmp_path / "r.tif"
    tifffile.imwrite(path, noise(9, 13), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as file:
        width, height = (file.pages[0].tags[tag].offset for tag in (256, 257))
    content = bytearray(path.read_bytes())
    content[height : height + 2] = content[width : width + 2]
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"damaged TIFF header \(tag 256 twice"):
        read_image(path)


@pytest.mark.parametrize("codec", ["lerc", "lerc_deflate", "lerc_zstd", "webp", "zstd", "lzma"])
@pytest.mark.parametrize("bands", [1, 3])
def test_rare_compressions(tmp_path, codec, bands, capfd, monkeypatch):
    """Read by whichever of Pillow and rasterio has them; nothing is printed."""
    if codec == "webp" and bands == 1:
        bands = 4
    samples = np.dstack([noise(40, 50, bands), soft_mask()])[:, :, -bands:]
    options = {"webp_lossless": "YES"} if codec == "webp" else {}
    by_gdal(tmp_path / "x.tif", samples, compress=codec, **options)
    capfd.readouterr()
    image = read_image(tmp_path / "x.tif")
    decoded = image.pixels if image.alpha is None else np.dstack([image.pixels, image.alpha])
    np.testing.assert_array_equal(decoded, samples)
    if codec == "lerc":
        monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
        with pytest.raises(MissingExtra, match=r"compressed by LERC, needs rasterio.*\[geo\]"):
            read_image(tmp_path / "x.tif")
    assert capfd.readouterr() == ("", "")


def test_codecs_print_nothing(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "x.tif", noise(40, 50, 3), photometric="rgb")
    PIL.Image.fromarray(noise(40, 50, 3)).save(tmp_path / "x.tif", compression="tiff_lzw")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    content[2000:2400] = bytes(400)
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(ImageError, match="damaged"):
        read_image(tmp_path / "x.tif")
    assert capfd.readouterr() == ("", "")
