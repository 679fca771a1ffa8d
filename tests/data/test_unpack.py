"""Zip files that are sound, damaged, and made to do harm."""

import errno
import io
import random
import re
import stat
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from unpaired.data.fetch import download
from unpaired.data.fetch import unpack as module
from unpaired.data.fetch.download import Limits
from unpaired.data.fetch.unpack import unpack
from unpaired.errors import DataError, RunError

PICTURE = random.Random(1).randbytes(3_000)


def entry(name: str, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


def zipped(entries: dict[Any, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content, compress_type=method)
    return buffer.getvalue()


@pytest.fixture
def place(tmp_path):
    """An archive and a folder to unpack it to, with a neighbour that must stay as it is."""
    (tmp_path / "home").mkdir()
    (tmp_path / "neighbour").write_text("mine")
    return tmp_path / "home" / "set.zip", tmp_path / "home" / "set"


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(place: tuple[Path, Path], content: bytes, **limits: Any) -> str:
    """The one line with which an archive is refused, nothing being written beside the folder."""
    archive, folder = place
    archive.write_bytes(content)
    with pytest.raises(DataError) as caught:
        unpack(archive, folder, limits=Limits(**limits))
    root = archive.parents[1]
    outside = {path for path in root.rglob("*") if folder not in (path, *path.parents)}
    assert outside == {archive.parent, archive, root / "neighbour"}
    assert (root / "neighbour").read_text() == "mine"
    assert all(not path.is_symlink() for path in root.rglob("*"))
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("top", ["", "set/", "set-main/", "./set/"])
def test_what_was_packed_comes_out(place, method, top):
    content = {"trainA/1.jpg": PICTURE, "trainA/2 ü.jpg": b"", "testB/deep/3.png": PICTURE[::-1]}
    archive, folder = place
    archive.write_bytes(zipped({top + name: data for name, data in content.items()}, method))
    unpack(archive, folder)
    assert files(folder) == content


def test_a_single_folder_of_images_is_no_wrapping(place):
    archive, folder = place
    archive.write_bytes(zipped({"trainA/1.jpg": PICTURE}))
    unpack(archive, folder)
    assert files(folder) == {"trainA/1.jpg": PICTURE}


def test_clutter_is_left_away(place):
    archive, folder = place
    clutter = ["__MACOSX/set/._1.jpg", "set/.DS_Store", "set/trainA/Thumbs.db"]
    archive.write_bytes(
        zipped({"set/": b"", "set/trainA/1.jpg": PICTURE} | dict.fromkeys(clutter, b"x"))
    )
    unpack(archive, folder)
    assert files(folder) == {"trainA/1.jpg": PICTURE}


def test_no_rights_are_taken_over_from_the_archive(place):
    archive, folder = place
    info = entry("trainA/1.jpg")
    info.external_attr = (stat.S_IFREG | stat.S_ISUID | 0o777) << 16
    archive.write_bytes(zipped({info: PICTURE}))
    unpack(archive, folder)
    assert not (folder / "trainA/1.jpg").stat().st_mode & 0o7111


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "set/../../evil",
        "trainA/../../neighbour",
        "/evil",
        "//evil",
        "..\\evil",
        "\\evil",
        "C:\\evil",
        "C:/evil",
        "C:evil",
        "trainA/..",
        "../evil/",
    ],
)
def test_no_entry_leads_out_of_the_folder(place, name):
    text = refused(place, zipped({"trainA/1.jpg": PICTURE, entry(name): b"evil"}))
    assert "leads out" in text
    assert repr(name) in text
    assert not place[1].exists()


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK]
)
def test_links_and_devices_are_refused(place, kind):
    content = {entry("trainA", kind): b"../neighbour", "trainA/1.jpg": PICTURE}
    assert "link" in refused(place, zipped(content))


@pytest.mark.parametrize("byte", [b"\0", b"\n", b"\x1b", b"\x7f"])
def test_names_with_control_characters_are_refused(place, byte):
    content = zipped({"trainA/1#.jpg": PICTURE}).replace(b"1#.jpg", b"1" + byte + b".jpg")
    assert "valid name" in refused(place, content)


@pytest.mark.parametrize("name", ["a/" * 30_000 + "1.jpg", "trainA/" + 126 * "ü" + ".jpg"])
def test_names_without_end_are_refused(place, name):
    assert "too long a name" in refused(place, zipped({name: PICTURE}))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("trainA/one.jpg", "trainA/ONE.jpg"),
        ("trainA/one.jpg", "TrainA/two.jpg"),
        ("trainA/\u00fc.jpg", "trainA/u\u0308.jpg"),
        ("trainA/\u00df.jpg", "trainA/ss.jpg"),
    ],
)
def test_names_that_some_file_systems_hold_for_one_are_refused(place, one, two):
    assert "the same name" in refused(place, zipped({one: PICTURE, two: PICTURE}))


@pytest.mark.parametrize("two", ["trainA/1.jpg", "trainA//1.jpg", "./trainA/1.jpg"])
def test_a_name_that_stands_there_twice_is_refused(place, two):
    with warnings.catch_warnings(action="ignore"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("trainA/1.jpg", PICTURE)
            archive.writestr(two, b"another")
    assert "twice" in refused(place, buffer.getvalue())


def test_a_file_that_is_a_folder_is_refused(place):
    content = zipped({"set/trainA": b"x", "set/trainA/1.jpg": PICTURE})
    assert "file and a folder" in refused(place, content)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(place, method):
    assert "unusual" in refused(place, zipped({"trainA/1.jpg": PICTURE}, method))


def test_encrypted_archives_are_refused(place):
    content = bytearray(zipped({"trainA/1.jpg": PICTURE}))
    content[6] |= 1  # flags of the local header, then of the central directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(place, bytes(content))


def test_a_bomb_is_refused_by_ratio_and_by_size(place):
    bomb = zipped({"trainA/1.jpg": bytes(4_000_000)})
    assert "more than" in refused(place, bomb)
    assert "more than 500000 bytes" in refused(place, bomb, ratio=1e9, unpacked_bytes=500_000)
    assert not place[1].exists()
    unpack(*place, limits=Limits(ratio=1e9))
    assert files(place[1]) == {"trainA/1.jpg": bytes(4_000_000)}


def test_many_small_files_count_together(place):
    many = zipped({f"trainA/{index}.jpg": PICTURE for index in range(40)})
    assert "more than 100000 bytes" in refused(place, many, unpacked_bytes=100_000)
    assert "40 entries" in refused(place, many, entries=39)
    deep = zipped({f"{index}/b/c/d/e/1.jpg": b"" for index in range(40)})
    assert "files and folders are over the limit of 200" in refused(place, deep, entries=200)


def test_a_bomb_that_lies_about_its_size_does_not_get_far(place):
    honest = zipped({"trainA/1.jpg": bytes(4_000_000)})
    size = struct.pack("<I", 4_000_000)
    assert honest.count(size) == 2
    text = refused(place, honest.replace(size, struct.pack("<I", 10)))
    assert "damaged" in text
    assert sum(map(len, files(place[1]).values())) <= 10


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(place, share):
    whole = zipped({f"trainA/{index}.jpg": PICTURE for index in range(20)})
    assert "not a complete zip file" in refused(place, whole[: int(share * len(whole))])


def test_a_web_page_is_no_archive(place):
    assert "not a complete zip file" in refused(place, b"<!doctype html><p>Log in, please")


def test_a_changed_image_is_noticed(place):
    content = zipped({"trainA/1.jpg": PICTURE}, zipfile.ZIP_STORED)
    middle = content.index(PICTURE) + 1_500
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    assert "damaged at 'trainA/1.jpg'" in refused(place, changed)


@pytest.mark.parametrize("name", ["", "\0", ".", "./.", "//", "/"])
def test_a_name_without_a_part_is_refused(place, name):
    content = {"trainA/1.jpg": PICTURE, entry("#" * len(name)): b"x"}
    packed = zipped(content).replace(b"#" * len(name), name.encode()) if name else nameless()
    assert re.search("no valid name|leads out", refused(place, packed))


def nameless() -> bytes:
    """A zip file with an entry of an empty name."""
    info = entry("x")
    info.filename = ""
    return zipped({info: b"x"})


def test_messages_do_not_grow_with_names(place):
    assert len(refused(place, zipped({"x" * 60_000 + ".jpg": PICTURE}))) < 300
    assert len(refused(place, zipped({"trainA/..": b"", "y" * 60_000: PICTURE}))) < 300
    deep = "/".join(["z" * 250] * 5)  # longer than some file systems take
    assert "too long a name" in refused(place, zipped({f"{deep}/1.jpg": PICTURE}))


def test_a_list_of_entries_that_takes_too_much_memory_is_not_read(place, monkeypatch):
    content = zipped({f"trainA/{index}.jpg": b"x" for index in range(100)})
    monkeypatch.setattr(module, "_LISTING", 1_000)
    assert "its list of entries has" in refused(place, content)


def test_a_full_disk_is_one_line(place, monkeypatch):
    archive, folder = place
    archive.write_bytes(zipped({"trainA/1.jpg": PICTURE}))
    real = Path.open

    def full(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.suffix == ".jpg":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(RunError, match="disk is full"):
            unpack(archive, folder)
    disk = type("Disk", (), {"free": 100})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: disk)
    with pytest.raises(RunError, match="is full"):
        unpack(archive, folder.with_name("other"))
