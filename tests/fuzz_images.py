"""Reads mutated images of every format: python fuzz_images.py FOLDER SEED COUNT.

Run by tests/images/test_fuzz.py in a process of its own, with a limit on memory and time. Every
case has its own seed, which stands in FOLDER/case while it is read.
"""

import io
import re
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image

from unpaired.errors import ImageError, MissingExtra
from unpaired.images.formats import Reading, read_header, read_image, write_image
from unpaired.images.image import Image

LONGEST = 10.0  # seconds a case
MOST_PIXELS = 1_000_000


def examples(folder: Path) -> list[bytes]:
    """Small images of all formats and kinds."""
    rng = np.random.default_rng(0)

    def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
        coarse = rng.integers(0, np.iinfo(dtype).max + 1, (5, 4, *shape[2:]), dtype)
        return coarse.repeat(4, 0).repeat(5, 1)[: shape[0], : shape[1]]

    found = []

    def add(image: PIL.Image.Image, format: str, **options: object) -> None:
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        found.append(buffer.getvalue())

    rgb, grey, rgba = (PIL.Image.fromarray(noise(20, 20, *b)) for b in ((3,), (), (4,)))
    deep = PIL.Image.fromarray(noise(20, 20, dtype=np.uint16))
    palette = rgb.convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=16)
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    for image in (rgb, grey):
        for format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "GIF", "PPM"):
            add(image, format)
    for format in ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000"):
        add(rgba, format)
        add(rgb, format, **({"exif": exif} if format != "JPEG2000" else {}))
    for format in ("PNG", "TIFF", "JPEG2000", "PPM"):
        add(deep, format)
    for format in ("PNG", "WEBP", "TIFF", "GIF", "AVIF", "MPO"):
        add(rgb, format, **frames)
    for format in ("PNG", "TIFF", "GIF", "BMP"):
        add(palette, format)
    add(palette, "PNG", transparency=3)
    add(palette, "GIF", transparency=3)
    add(rgb.convert("CMYK"), "JPEG", progressive=True)
    add(rgb.convert("CMYK"), "TIFF")
    add(rgb.convert("1"), "PPM")
    add(rgb, "JPEG2000", no_jp2=True)
    for compression in (
        "raw",
        "tiff_lzw",
        "tiff_adobe_deflate",
        "packbits",
        "jpeg",
        "zstd",
        "lzma",
    ):
        add(rgb, "TIFF", compression=compression)
    add(rgb.convert("1"), "TIFF", compression="group4")
    found += [b"P3 2 2 255\n" + b"1 2 3 " * 4, b"P5 3 2 4095\n" + bytes(12), b"P1 3 2\n101 010"]
    for name, bands, dtype in (
        ("a.tif", 3, np.uint16),
        ("b.tif", 6, np.uint8),
        ("c.png", 3, np.uint16),
    ):
        try:
            write_image(folder / name, Image(noise(20, 20, bands, dtype=dtype)))
        except MissingExtra:
            continue
        found.append((folder / name).read_bytes())
    return found


NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 10**6)


def mutate(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """The content with a few bytes, numbers or parts changed."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        size = len(data)
        at = int(rng.integers(0, min(size, 400) if rng.random() < 0.6 else size)) if size else 0
        length = int(rng.integers(1, 40))
        kind = rng.integers(0, 8)
        if kind <= 2:
            data[at : at + 1] = rng.bytes(1)
        elif kind == 3:
            number, width = NUMBERS[rng.integers(len(NUMBERS))], int(rng.choice([1, 2, 4]))
            order = "big" if rng.random() < 0.5 else "little"
            data[at : at + width] = (number % 256**width).to_bytes(width, order)
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[at : at + length]
        elif kind == 6:
            other = others[rng.integers(len(others))]
            start = int(rng.integers(0, len(other)))
            data[at : at + length] = other[start : start + length]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def run(path: Path, seed: int, found: list[bytes]) -> bool:
    """Reads one mutated image; whether it could be read.

    Raises:
        AssertionError: anything but an image as promised, or an error of one line.
    """
    rng = np.random.default_rng(seed)
    path.write_bytes(mutate(found[rng.integers(len(found))], found, rng))
    reading = Reading(
        ("auto", "mask", "band")[rng.integers(3)], ("reject", "first")[rng.integers(2)]
    )
    bands = (None, 1, 3, 4)[rng.integers(4)]
    try:
        header = read_header(path, reading, bands=bands)
        image = read_image(path, reading, max_pixels=MOST_PIXELS, bands=bands)
    except (ImageError, MissingExtra) as error:
        message = str(error)
        assert "\n" not in message, message
        assert len(message) < 500, message
        assert str(path) in message, message
        return False
    assert sorted(image.size) == sorted((header.height, header.width))
    assert image.depth == header.depth
    assert image.bands in (header.bands, header.bands + header.marked)
    assert image.pixels.size <= 8 * MOST_PIXELS
    return True


def main() -> None:
    folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    found = examples(folder)
    read = 0
    for case in range(seed, seed + count):
        (folder / "case").write_text(str(case))
        begun = time.perf_counter()
        read += run(folder / "mutated", case, found)
        took = time.perf_counter() - begun
        assert took < LONGEST, f"{took:.1f} s"
    status = Path("/proc/self/status")  # what getrusage tells includes the process before
    peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    memory = int(peak[1]) // 1024 if peak else 0
    print(f"{count} images, {read} read, {memory} MiB")
    assert memory < 1536


if __name__ == "__main__":
    main()
