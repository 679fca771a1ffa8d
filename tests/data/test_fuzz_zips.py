"""Zip files of nonsense: unpacked, or rejected in one line; nothing outside and nothing left."""

import io
import shutil
import stat
import struct
import warnings
import zipfile

import pytest

from fuzzing import case, memory_limit, mutated, require_one_line, seeds
from unpaired.data.fetch import fetch as module
from unpaired.data.fetch.download import Limits
from unpaired.data.fetch.fetch import fetch
from unpaired.errors import UnpairedError

LIMITS = Limits(unpacked_bytes=1 << 20, entries=200)
NAMES = [
    "", "/", ".", "..", "../x.png", "/x.png", "a/../../x.png", "\\x.png", "C:x.png", "a//x.png",
    "a/./x.png", "x.png/", "x.png", "X.PNG", "a\nb.png", "a\0b.png", "ü.png", "a/" * 20 + "x.png",
    "y" * 300 + ".png", "trainA/x.png", "trainA", ".png", " ", "-", "CON",
    ("z" * 200 + "/") * 6 + "x.png", "__MACOSX/x.png", ".fetched.json", ".fetched.json/x.png",
]  # fmt: skip
KINDS = [stat.S_IFREG] * 8 + [0, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO]
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]


def made(draw):
    """A zip file of some entries; half of them have odd ones."""
    buffer = io.BytesIO()
    odd = draw.random() < 0.5
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(draw.randrange(1, 6)):
            info = zipfile.ZipInfo("x")
            info.filename = draw.choice(NAMES) if odd else f"b/{index}.png"
            info.compress_type = draw.choice(METHODS if odd else METHODS[:2])
            kind = draw.choice(KINDS) if odd else stat.S_IFREG
            info.external_attr = (kind | 0o777) << 16
            info.extra = draw.randbytes(draw.randrange(12)) if odd else b""
            archive.writestr(info, draw.choice([b"", draw.randbytes(50), bytes(3000)]))
        archive.comment = draw.choice([b"", b"", draw.randbytes(30)])
    return buffer.getvalue()


def broken(draw, data):
    """One field of a header set to a value of its own, or any bytes changed."""
    if draw.random() < 0.4:
        return mutated(draw, data)
    heads = [b"PK\1\2", b"PK\3\4", b"PK\5\6"]
    places = [at for at in range(len(data)) if data[at : at + 4] in heads]
    if not places:
        return mutated(draw, data)
    changed, at = bytearray(data), draw.choice(places)
    field = at + draw.randrange(4, 46)
    value = draw.choice([0, 1, 0x7F, 0x8000, 0xFFFF, draw.randrange(1 << 16)])
    changed[field : field + 2] = struct.pack("<H", value)
    return bytes(changed)


@pytest.mark.parametrize("cases", seeds(300, 2_000))
def test_zips_of_nonsense(tmp_path, monkeypatch, cases):
    home = tmp_path / "home"
    (tmp_path / "neighbour").write_text("mine")
    outcomes = {"unpacked": 0, "rejected": 0}
    content = b""
    monkeypatch.setattr(module, "download", lambda url, part, **options: part.write_bytes(content))
    with memory_limit(300):
        for seed in range(cases):
            with case(seed) as draw, warnings.catch_warnings(action="ignore"):
                content = made(draw)
                for _ in range(draw.randrange(3)):
                    content = broken(draw, content)
                try:
                    folder = fetch("ae_photos", home=home, url="http://x/", limits=LIMITS).folder
                except UnpairedError as error:
                    outcomes["rejected"] += 1
                    require_one_line(error)
                else:
                    outcomes["unpacked"] += 1
                    files = list(folder.rglob("*"))
                    assert not any(path.is_symlink() for path in files)
                    assert all(path.is_file() or path.is_dir() for path in files)
                    shutil.rmtree(folder)
                assert [path.suffix for path in home.iterdir()] == [".lock"]
                assert {path.name for path in tmp_path.iterdir()} == {"home", "neighbour"}
    assert (tmp_path / "neighbour").read_text() == "mine"
    assert min(outcomes.values()) > cases // 20, outcomes
