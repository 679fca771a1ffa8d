"""What photographs tell beside their pixels does not come back, in any format; odd pixels do."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import PngImagePlugin, TiffImagePlugin

from serving_servers import png, served

SECRET = b"51.4778N-0.0014W"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + SECRET + b"</x:xmpmeta>"


@pytest.fixture(scope="module")
def server():
    with served(("small",), in_flight=100) as server:
        yield server


def picture(mode="RGB", side=24):
    rng = np.random.default_rng(4)
    return Pillow.fromarray(rng.integers(0, 250, (side, side, 3), np.uint8)).convert(mode)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif():
    found = Pillow.Exif()
    found[0x010E] = SECRET.decode()  # description
    found[0x8298] = SECRET.decode()  # copyright
    found.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 40.0), 29: SECRET.decode()})
    return found


def exif_of_a_tiff():
    found = exif()
    found[0x8825] = 1  # has Pillow write that folder, too
    return found


def text():
    found = PngImagePlugin.PngInfo()
    found.add_text("Comment", SECRET.decode())
    found.add_text("Author", SECRET.decode(), zip=True)
    found.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    return found


def tags():
    found = TiffImagePlugin.ImageFileDirectory_v2()
    for number in (270, 315, 33432):  # description, artist, copyright
        found[number] = SECRET.decode()
    found[700] = XMP
    found.tagtype[700] = 1
    return found


def boxed(content):
    """A JPEG 2000 with EXIF in a box of its own, after the others."""
    return content + struct.pack(">I4s", 24 + len(SECRET), b"uuid") + b"JpgTiffExif->JP2" + SECRET


def chunked(content):
    """A PNG with EXIF after its pixels, and bytes after its end."""
    data = b"eXIf" + exif().tobytes()[6:]
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return content[:-12] + chunk + content[-12:] + SECRET


PHOTOS = {
    "jpeg": lambda: saved(picture(), "JPEG", exif=exif(), icc_profile=SECRET * 20, comment=SECRET,
                          xmp=XMP),
    "mpo": lambda: saved(picture(), "MPO", exif=exif(), save_all=True, append_images=[picture()]),
    "cmyk jpeg": lambda: saved(picture("CMYK"), "JPEG", exif=exif(), icc_profile=SECRET * 20),
    "png": lambda: saved(picture(), "PNG", exif=exif(), icc_profile=SECRET * 20, pnginfo=text()),
    "png after its pixels": lambda: chunked(saved(picture(), "PNG")),
    "webp": lambda: saved(picture(), "WEBP", exif=exif(), icc_profile=SECRET * 20, xmp=XMP),
    "lossless webp": lambda: saved(picture("RGBA"), "WEBP", exif=exif(), xmp=XMP, lossless=True),
    "avif": lambda: saved(picture(), "AVIF", exif=exif(), icc_profile=SECRET * 20, xmp=XMP),
    "tiff": lambda: saved(picture(), "TIFF", exif=exif_of_a_tiff(), icc_profile=SECRET * 20),
    "tiff with tags": lambda: saved(picture(), "TIFF", tiffinfo=tags()),
    "gif": lambda: saved(picture(), "GIF", comment=SECRET),
    "jpeg 2000": lambda: boxed(saved(picture(), "JPEG2000")),
    "pnm": lambda: b"P6\n# " + SECRET + b"\n24 24\n255\n" + picture().tobytes(),
}  # fmt: skip


@pytest.mark.parametrize("kind", PHOTOS)
def test_nothing_but_pixels_comes_back(server, kind):
    body = PHOTOS[kind]()
    for format in ({}, {"format": "png"}, {"format": "jpg"}, {"format": "tif"}):
        answer = server.translate(body, model="small", **format)
        assert answer.status_code == 200, answer.text
        assert SECRET not in answer.content
        result = Pillow.open(io.BytesIO(answer.content))
        result.load()
        assert SECRET not in repr(result.info).encode()
        assert not set(result.getexif()) & {0x8825, 0x010E, 0x8298, 315, 700, 34675}
        assert not {"exif", "icc_profile", "xmp", "Author"} & set(result.info)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif", "tiff"])
def test_what_was_removed_is_said(server, kind):
    warning = server.translate(PHOTOS[kind](), model="small").headers["x-warning"]
    assert warning.startswith("removed from the result: EXIF with GPS"), warning
    assert "a colour profile" in warning


def test_tags_of_a_tiff_alone_are_said(server):
    answer = server.translate(PHOTOS["tiff with tags"](), model="small")
    assert answer.headers["x-warning"] == "removed from the result: EXIF, XMP"
    plain = server.translate(saved(picture(), "TIFF"), model="small")
    assert "x-warning" not in plain.headers


def test_a_geotiff_keeps_its_place_and_tags_and_that_is_said(server, tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
    path = tmp_path / "field.tif"
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
    with rasterio.open(
        path, "w", driver="GTiff", width=24, height=24, count=3, dtype="uint8",
        crs="EPSG:32633", transform=place, photometric="RGB",
    ) as file:  # fmt: skip
        file.write(np.asarray(picture()).transpose(2, 0, 1))
        told = SECRET.decode()
        file.update_tags(TIFFTAG_ARTIST=told, TIFFTAG_IMAGEDESCRIPTION=told, own=told)
        file.update_tags(1, own=told)
    answer = server.translate(path.read_bytes(), model="small")
    assert answer.status_code == 200, answer.text
    with rasterio.MemoryFile(answer.content) as memory, memory.open() as result:
        assert result.transform == place
        assert result.tags()["own"] == told
    policy = server.client.get("/v1/models").json()["metadata"]
    assert policy.endswith("the place and the tags of a GeoTIFF are kept.")


@pytest.mark.parametrize("size", [2_000_000, 14_000_000])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_giant_colour_profile_is_no_burden(server, kind, size):
    """Many times the pixels; one that the decoder itself rejects is told in one line."""
    restarts = server.worker.restarts
    body = saved(picture(), kind, icc_profile=np.random.default_rng(0).bytes(size))
    answer = server.translate(body, model="small")
    assert answer.status_code in (200, 422)
    assert len(answer.content) < 20_000
    assert server.translate(png(-1), model="small").status_code == 200
    assert server.worker.restarts == restarts


def test_a_profile_that_grows_a_thousand_times_is_no_burden(server):
    packed = b"p\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = b"iCCP" + packed
    body = saved(picture(), "PNG")
    body = body[:33] + struct.pack(">I", len(packed)) + chunk + struct.pack(
        ">I", zlib.crc32(chunk)
    ) + body[33:]  # fmt: skip
    answer = server.translate(body, model="small")
    assert answer.status_code in (200, 422)
    if answer.status_code == 422:
        assert "\n" not in answer.json()["detail"]
    assert server.worker.restarts == 0


ODD = {
    "cmyk.jpg": lambda: saved(picture("CMYK"), "JPEG"),
    "cmyk.tif": lambda: saved(picture("CMYK"), "TIFF"),
    "ycbcr.tif": lambda: saved(picture(), "TIFF", compression="jpeg"),
    "bits.png": lambda: saved(picture("1"), "PNG"),
    "palette.png": lambda: saved(picture("P"), "PNG", transparency=3),
    "palette.gif": lambda: saved(picture("P"), "GIF"),
    "clear-grey.png": lambda: saved(picture("LA"), "PNG"),
    "deep.png": lambda: saved(
        Pillow.fromarray(np.arange(576, dtype=np.uint16).reshape(24, 24) * 100), "PNG"
    ),
    "turned.jpg": lambda: saved(picture(), "JPEG", exif=_turned()),
    "animated.webp": lambda: saved(
        picture(), "WEBP", save_all=True, append_images=[picture().rotate(90)]
    ),
}


def _turned():
    found = Pillow.Exif()
    found[0x0112] = 6
    return found


@pytest.mark.parametrize("name", [name for name in ODD if name != "animated.webp"])
def test_odd_pixels_are_those_of_translate(server, name, tmp_path):
    import small_models
    from unpaired.translation.files import translate_files

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(ODD[name]())
    model = small_models.model(tmp_path)
    (path,) = translate_files(model, [tmp_path / "in"], tmp_path / "out", to="b").done
    answer = server.translate(ODD[name](), model="small")
    assert answer.status_code == 200, answer.text
    assert answer.content == path.read_bytes()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_the_first_of_several_frames(server, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    body = saved(
        Pillow.new("RGB", (16, 16), (10, 20, 30)), kind, save_all=True, **options,
        append_images=[Pillow.new("RGB", (16, 16), (200, 100, 50))],
    )  # fmt: skip
    answer = server.translate(body, model="small", format="png")
    assert answer.status_code == 200, answer.text
    assert "2 frames: the first was translated" in answer.headers["x-warning"]
    level = np.asarray(Pillow.open(io.BytesIO(answer.content)))[8, 8].astype(int)
    assert np.abs(level - (245, 235, 225)).max() <= 4
