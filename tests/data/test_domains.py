"""Folder layouts: every one in the wild is found, and what is none is refused in one line."""

import os
from pathlib import Path

import pytest

from unpaired.data.layout.domains import DataSet, Folder, find_data
from unpaired.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def refusal(data: Path | tuple[Path, Path], **options: bool) -> str:
    with pytest.raises(DataError) as error:
        find_data(data, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


def roots(data: DataSet) -> list[str | None]:
    folders = (data.train_a, data.train_b, data.test_a, data.test_b)
    return [folder and "/".join(folder.root.parts[-2:]) for folder in folders]


@pytest.mark.parametrize(
    ("a", "b", "test_a", "test_b"),
    [
        ("trainA", "trainB", "testA", "testB"),
        ("train_a", "train_b", "test_a", "test_b"),
        ("train-A", "train-B", "val-A", "val-B"),
        ("TrainA", "trainb", "TESTA", "validationB"),
        ("Images/train_a", "Images/train_b", "Images/test_a", "Images/test_b"),
        ("images/train_a", "images/train_b", "images/val_a", "images/val_b"),
        ("train/A", "train/B", "test/A", "test/B"),
        ("Train/a", "Train/b", "Valid/a", "Valid/b"),
        ("A/train", "B/train", "A/test", "B/test"),
        ("A/images/train", "B/images/train", "A/images/val", "B/images/val"),
    ],
)
def test_layouts(tmp_path, a, b, test_a, test_b):
    if test_b == "validationB":
        test_a = "validationA"
    touch(tmp_path, f"{a}/1.jpg", f"{a}/2.jpg", f"{b}/3.jpg")
    data = find_data(tmp_path)
    assert (data.name_a, data.name_b) == ("a", "b")
    assert data.train_a == Folder(tmp_path / a, ("1.jpg", "2.jpg"))
    assert data.train_b == Folder(tmp_path / b, ("3.jpg",))
    assert data.test_a is data.test_b is None
    touch(tmp_path, f"{test_a}/4.jpg")
    assert find_data(tmp_path).test_a == Folder(tmp_path / test_a, ("4.jpg",))
    assert find_data(tmp_path).test_b is None
    touch(tmp_path, f"{test_b}/5.jpg")
    data = find_data(tmp_path)
    assert data.test_b == Folder(tmp_path / test_b, ("5.jpg",))
    assert (len(data.train_a), len(data.train_b)) == (2, 1)


@pytest.mark.parametrize("inner", ["", "images/", "Images/"])
def test_one_folder_a_domain(tmp_path, inner):
    touch(tmp_path, f"A/{inner}1.png", f"B/{inner}2.png", "A/labels/x.txt")
    data = find_data(tmp_path)
    assert data.train_a.names == ("1.png",)
    assert data.train_a.root == (tmp_path / "A" / inner if inner else tmp_path / "A")
    assert data.train_b.names == ("2.png",)


def test_validation_stands_in_only_where_there_is_no_test(tmp_path):
    touch(tmp_path, *(f"{split}{side}/1.jpg" for split in ("train", "val") for side in "AB"))
    assert roots(find_data(tmp_path))[2:] == [f"{tmp_path.name}/valA", f"{tmp_path.name}/valB"]
    touch(tmp_path, "testA/1.jpg")
    data = find_data(tmp_path)
    assert data.test_a.root.name == "testA"
    assert data.test_b is None
    (tmp_path / "testA" / "1.jpg").unlink()
    assert find_data(tmp_path).test_a is None


def test_images_are_found_deep_down_by_suffix_and_sorted(tmp_path):
    wanted = ["B.JPG", "a.jpeg", "b.PNG", "c.webp", "d.bmp", "sub/dir/e.tif", "sub/f.TIFF", "é.jpg"]
    debris = [".hidden.jpg", "._a.jpg", ".DS_Store", "Thumbs.db", "__MACOSX/x.jpg", ".git/x.jpg"]
    touch(tmp_path / "trainA", *wanted, *debris, "notes.txt", "sub/x.svg")
    touch(tmp_path / "trainB", "x.png/y.jpg")  # a folder with an image's name
    data = find_data(tmp_path)
    assert data.train_a.names == tuple(sorted(wanted))
    assert data.train_a.others == ("notes.txt", "sub/x.svg")
    assert data.train_b.names == ("x.png/y.jpg",)
    assert data.train_a.path(0) == tmp_path / "trainA" / "B.JPG"
    assert data == find_data(tmp_path)


def test_loops_of_links_end_and_linked_folders_count_once(tmp_path):
    touch(tmp_path, "trainA/1.jpg", "trainA/sub/2.jpg", "trainB/3.jpg", "far/4.jpg")
    os.symlink(tmp_path / "trainA", tmp_path / "trainA" / "sub" / "loop")
    os.symlink(tmp_path, tmp_path / "trainB" / "up")
    os.symlink(tmp_path / "far", tmp_path / "trainA" / "link")
    os.symlink(tmp_path / "far", tmp_path / "trainA" / "link2")
    os.symlink(tmp_path / "nowhere.jpg", tmp_path / "trainA" / "broken.jpg")
    os.unlink(tmp_path / "trainB" / "up")
    os.symlink(tmp_path / "trainB", tmp_path / "trainB" / "self")
    data = find_data(tmp_path)
    assert data.train_a.names == ("1.jpg", "broken.jpg", "link/4.jpg", "sub/2.jpg")
    assert data.train_b.names == ("3.jpg",)


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ("summer", "winter", ("summer", "winter")),
        ("x/images", "y/images", ("a", "b")),
        ("x/Day", "y/day", ("a", "b")),
        ("B", "A", ("a", "b")),
        ("b", "night", ("a", "b")),
        ("a", "night", ("a", "night")),
        ("A", "B", ("A", "B")),
    ],
)
def test_two_folders_are_named_after_themselves(tmp_path, a, b, names):
    touch(tmp_path, f"{a}/1.jpg", f"{b}/sub/2.jpg")
    data = find_data((tmp_path / a, tmp_path / b))
    assert (data.name_a, data.name_b) == names
    assert (data.train_a.names, data.train_b.names) == (("1.jpg",), ("sub/2.jpg",))
    assert data.test_a is data.test_b is None


def test_two_folders_with_their_own_test(tmp_path):
    touch(tmp_path, "day/train/1.jpg", "day/test/2.jpg", "night/3.jpg")
    data = find_data((tmp_path / "day", tmp_path / "night"))
    assert data.train_a.names == ("1.jpg",)
    assert data.test_a == Folder(tmp_path / "day" / "test", ("2.jpg",))
    assert data.test_b is None


def test_a_name_is_found_for_the_folder_one_stands_in(tmp_path, monkeypatch):
    touch(tmp_path, "summer/1.jpg", "winter/2.jpg")
    monkeypatch.chdir(tmp_path / "summer")
    data = find_data((Path("."), Path("../winter")))
    assert (data.name_a, data.name_b) == ("summer", "winter")


def test_test_images_alone_do_not_train(tmp_path):
    touch(tmp_path, "testA/1.jpg", "testB/2.jpg", "testB/3.jpg")
    message = refusal(tmp_path)
    for part in ("no trainA", str(tmp_path / "testA"), "(1)", str(tmp_path / "testB"), "(2)"):
        assert part in message
    data = find_data(tmp_path, need_train=False)
    assert (len(data.train_a), len(data.train_b)) == (0, 0)
    assert (data.test_a.names, data.test_b.names) == (("1.jpg",), ("2.jpg", "3.jpg"))
    touch(tmp_path, "trainA/1.jpg")
    assert "no trainB" in refusal(tmp_path)


def test_what_is_refused(tmp_path):
    touch(tmp_path, "file.zip", "day/1.jpg", "night/notes.txt", "layout/x/1.jpg", "layout/2.jpg")
    (tmp_path / "empty").mkdir()
    day, night = tmp_path / "day", tmp_path / "night"
    assert refusal(tmp_path / "nix") == f"{tmp_path / 'nix'}: no such folder"
    assert "is a file" in refusal(tmp_path / "file.zip")
    assert "no such folder" in refusal((day, tmp_path / "nix"))
    assert "is a file" in refusal((tmp_path / "file.zip", day))
    assert refusal((day, night)).startswith(f"{night}: no images found (1 other file): need .jpg, ")
    assert refusal((tmp_path / "empty", day)).startswith(f"{tmp_path / 'empty'}: no images")
    assert "folders: none; images: 0" in refusal(tmp_path / "empty")
    message = refusal(tmp_path / "layout")
    assert "folders: x; images: 1" in message
    assert "trainA + trainB" in message
    assert "no known layout" in refusal(tmp_path / "layout", need_train=False)
    touch(tmp_path, "void/trainA/.keep", "void/trainB/1.jpg")
    assert f"{tmp_path / 'void' / 'trainA'}: no images" in refusal(tmp_path / "void")


def test_one_folder_for_both_domains_is_refused(tmp_path):
    touch(tmp_path, "day/1.jpg", "day/inner/2.jpg")
    os.symlink(tmp_path / "day", tmp_path / "night")
    assert "same folder" in refusal((tmp_path / "day", tmp_path / "day"))
    assert "same folder" in refusal((tmp_path / "day", tmp_path / "night"))
    assert "inside the other" in refusal((tmp_path / "day", tmp_path / "day" / "inner"))
    assert "inside the other" in refusal((tmp_path / "night" / "inner", tmp_path / "day"))
    touch(tmp_path, "set/trainA/1.jpg")
    os.symlink(tmp_path / "set" / "trainA", tmp_path / "set" / "trainB")
    assert "same folder" in refusal(tmp_path / "set")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path):
    touch(tmp_path, "trainA/1.jpg", "trainA/sub/2.jpg", "trainB/3.jpg")
    (tmp_path / "trainA" / "sub").chmod(0)
    assert "permission denied" in refusal(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared/data beside the checkout")
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("summer2winter_yosemite", (1231, 962, 309, 238)),
        ("emojis", (2270, 2014, 100, 100)),
        ("facades", (0, 0, 106, 106)),
    ],
)
def test_real_data(name, counts):
    data = find_data(SHARED / name, need_train=name != "facades")
    folders = (data.train_a, data.train_b, data.test_a, data.test_b)
    assert tuple(len(folder) for folder in folders) == counts
