"""Layouts whose folders have names of their own, side-by-side images, and what is no data."""

import os
import socket

import numpy as np
import pytest
from PIL import Image as Pillow

from unpaired.cli.main import main
from unpaired.data.check.check import check
from unpaired.data.layout.domains import find_data
from unpaired.data.layout.folder import list_folder
from unpaired.errors import ConfigError, DataError, ImageError

NAMES = ("train_a", "train_b", "test_a", "test_b")


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def places(data, root):
    folders = [getattr(data, name) for name in NAMES]
    return [f and f.root.relative_to(root).as_posix() for f in folders]


@pytest.mark.parametrize(
    ("folders", "names", "chosen"),
    [
        (("summer", "winter"), ("summer", "winter"), ()),
        (("target", "source"), ("source", "target"), ()),
        (("X", "Y"), ("X", "Y"), ()),
        (("b", "night"), ("a", "b"), ()),
        (("train/summer", "train/winter"), ("summer", "winter"), ()),
        (("train/summer", "train/winter", "test/summer", "test/winter"), ("summer", "winter"), ()),
        (("train/x", "train/y", "Val/x", "Val/Y"), ("x", "y"), ()),
        (("summer/train", "winter/train", "summer/test"), ("summer", "winter"), ()),
        (("summer/images", "winter/images", "winter/masks"), ("summer", "winter"), ()),
        (("A_train", "B_train", "A_test", "B_test"), ("a", "b"), ()),
        (("day_train", "night_train", "day_test", "night_test"), ("day", "night"), ()),
        (("train-day", "train-night"), ("day", "night"), ()),
        (("trainX", "trainY", "testX", "testY"), ("X", "Y"), ()),
        (("horse2zebra/trainA", "horse2zebra/trainB", "horse2zebra/testB"), ("a", "b"), ()),
        (("one/two/summer", "one/two/winter"), ("summer", "winter"), ()),
        (("images/summer", "images/winter"), ("summer", "winter"), ()),
        (("monet_jpg", "photo_jpg"), ("monet_jpg", "photo_jpg"), ("tfrec/x.tfrec",)),
    ],
)
def test_domains_are_named_after_their_folders(tmp_path, folders, names, chosen):
    root = touch(tmp_path / "set", *(f"{f}/{i}.jpg" for f in folders for i in range(2)), *chosen)
    (root / "notes").mkdir()
    data = find_data(root)
    assert (data.name_a, data.name_b) == names
    assert places(data, root)[0].split("/")[-1] in folders[0] or names[0] in places(data, root)[0]
    assert {p for p in places(data, root) if p} == {f for f in folders if "masks" not in f}
    assert (data.found != "") is (folders[0] != "A_train")
    assert all(name in data.found for name in names if data.found)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_domains_are_chosen_among_several(tmp_path, prefix):
    root = touch(tmp_path, *(f"{prefix}{name}/1.jpg" for name in ("monet", "photo", "mask")))
    with pytest.raises(DataError, match="choose two of several with --domains"):
        find_data(root)
    data = find_data(root, domains=("photo", "Monet"))
    assert (data.name_a, data.name_b) == ("photo", "Monet")
    assert places(data, root)[:2] == [f"{prefix}photo", f"{prefix}monet"]
    with pytest.raises(DataError, match="no folders of the domains x and y"):
        find_data(root, domains=("x", "y"))
    with pytest.raises(DataError, match="give two different names"):
        find_data(root, domains=("photo", "PHOTO"))
    with pytest.raises(ConfigError, match="--domains is for DATA of one folder"):
        find_data((root, root), domains=("photo", "monet"))


def test_what_is_no_layout(tmp_path):
    """Data sets beside each other, three folders, and folders of splits without domains."""
    root = touch(
        tmp_path / "sets", "maps/trainA/1.jpg", "maps/trainB/1.jpg", "more/A/1.jpg", "more/B/1.jpg"
    )
    with pytest.raises(DataError, match=r"holds other data sets \(maps, more\): give one of them"):
        find_data(root)
    for names in (("train/1.jpg", "test/1.jpg"), ("x/1.jpg", "y/1.jpg", "z/1.jpg"), ("1.jpg",)):
        root = touch(tmp_path / "-".join(names).replace("/", "."), *names)
        with pytest.raises(DataError, match=r"no known layout.*--aligned left-right") as caught:
            find_data(root)
        assert "\n" not in str(caught.value)


# ---- side by side -------------------------------------------------------------------------


def write_pairs(folder, count=3, width=10):
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, width, 3), np.uint8)
    for index, image in enumerate(pixels):
        Pillow.fromarray(image).save(folder / f"{index}.png")
    return pixels


@pytest.mark.parametrize("place", ["train", "facades/train", ""])
def test_side_by_side_images_are_split(tmp_path, place):
    pixels = write_pairs(tmp_path / "set" / place)
    for aligned, parts in (("left-right", (0, 1)), ("right-left", (1, 0))):
        data = find_data(tmp_path / "set", aligned=aligned)
        halves = pixels[:, :, :5], pixels[:, :, 5:]
        for folder, part in zip((data.train_a, data.train_b), parts, strict=True):
            assert len(folder) == 3
            read = [folder.read(index, max_pixels=100).pixels for index in range(3)]
            np.testing.assert_array_equal(read, halves[part])
        assert data.paired
        assert f"{'left' if parts[0] == 0 else 'right'} halves" in data.found
    fingerprints = {
        check(find_data(tmp_path / "set", aligned=each)).fingerprint
        for each in ("left-right", "right-left")
    }
    assert len(fingerprints) == 2
    named = find_data(tmp_path / "set", aligned="left-right", domains=("photo", "label"))
    assert (named.name_a, named.name_b) == ("photo", "label")


def test_side_by_side_images_have_a_test_set_and_problems_once(tmp_path):
    write_pairs(tmp_path / "train")
    write_pairs(tmp_path / "val", 2)
    write_pairs(tmp_path / "test", 1, width=1)
    (tmp_path / "train" / "bad.png").write_bytes(b"no")
    data = find_data(tmp_path, aligned="left-right")
    assert (len(data.test_a), len(data.test_b)) == (1, 1)
    with pytest.raises(ImageError, match="1 pixel wide"):
        data.test_a.read(0, max_pixels=100)
    result = check(data)
    assert [p.kind for p in result.problems if p.kind != "duplicate"] == [
        "unreadable", "not an image",
    ]  # fmt: skip
    for flags in (["--aligned", "left-right"], ["--aligned=right-left", "--domains", "x", "y"]):
        assert main(["data", "check", str(tmp_path), *flags]) == 1


# ---- what is no image of the domain -------------------------------------------------------

SYSTEM = (
    "@eaDir", ".@__thumb", "$RECYCLE.BIN", ".Trash-1000", "lost+found", "__MACOSX", ".git",
    ".ipynb_checkpoints", "#recycle", "System Volume Information", "@Recycle", "Lost+Found",
)  # fmt: skip


@pytest.mark.parametrize("inside", ["trainA", "trainA/sub", ""])
def test_system_folders_are_omitted_and_counted(tmp_path, inside):
    system = [f"{inside}/{name}/deep/x.jpg" if inside else f"{name}/x.jpg" for name in SYSTEM]
    touch(tmp_path, "trainA/1.jpg", "trainB/2.jpg", "trainB/._2.jpg", *system)
    data = find_data(tmp_path)
    assert (data.train_a.names, data.train_b.names) == (("1.jpg",), ("2.jpg",))
    told = "\n".join(data.remarks)
    if inside:
        assert f"train a: {len(SYSTEM)} images omitted, not part of the data" in told
        assert "@eaDir (1)" in told
    assert "train b: 1 image omitted, not part of the data: hidden files (1)" in told


def test_subfolders_of_a_domain_are_listed(tmp_path):
    names = [f"trainA/{kind}/{i}.png" for kind in ("images", "masks") for i in range(3)]
    data = find_data(touch(tmp_path, *names, "trainA/0.png", "trainB/1.jpg"))
    (line,) = data.remarks
    assert "train a: images of 3 subfolders, images (3), masks (3), . (1): all are used" in line


def test_run_and_report_folders_are_no_data(tmp_path):
    """A run in its own data, of any age, and one that is the folder of a domain."""
    run = ("config.toml", "model.safetensors", "samples/step-1.png", "report/pictures.png")
    report = ("index.html", "report.json", "pictures.png")
    inside = [f"{place}/{name}" for place in ("summer/run", "runs", "winter") for name in run]
    touch(tmp_path, "summer/1.jpg", "winter/2.jpg", *inside, *(f"winter/r/{n}" for n in report))
    for data in (find_data(tmp_path), find_data((tmp_path / "summer", tmp_path / "winter"))):
        assert (data.train_a.names, data.train_b.names) == (("1.jpg",), ("2.jpg",))
    assert "run/samples (1)" in "\n".join(data.remarks)
    touch(tmp_path, *run)  # a run in the folder of the whole data set
    assert (find_data(tmp_path).train_a.names, find_data(tmp_path).name_b) == (("1.jpg",), "winter")


@pytest.mark.skipif(os.name != "posix", reason="needs pipes, sockets and devices")
def test_what_is_not_a_regular_file_is_listed_and_never_opened(tmp_path):
    for side, seed in (("trainA", 0), ("trainB", 1)):
        (tmp_path / side).mkdir()
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        Pillow.fromarray(pixels).save(tmp_path / side / "1.png")
    os.mkfifo(tmp_path / "trainA" / "pipe.png")
    os.symlink("/dev/zero", tmp_path / "trainA" / "zero.jpg")
    os.mkfifo(tmp_path / "README.txt")
    with socket.socket(socket.AF_UNIX) as one:
        place = os.getcwd()
        os.chdir(tmp_path / "trainB")  # the names of sockets are short
        one.bind("socket.tif")
        os.chdir(place)
    result = check(find_data(tmp_path))
    listed = {p.paths[0].name: p.reason for p in result.stopping}
    assert listed.keys() == {"pipe.png", "zero.jpg", "socket.tif"}
    assert all("not a regular file" in reason for reason in listed.values())
    assert main(["data", "check", str(tmp_path)]) == 1


@pytest.mark.parametrize("name", ["two\nlines", "bell\x07", "esc\x1b[31m", "next\x85", "sep\u2028"])
def test_a_control_character_in_a_domain_s_name_is_rejected(tmp_path, name):
    touch(tmp_path, f"{name}/1.jpg", "winter/2.jpg")
    for data in (tmp_path, (tmp_path / name, tmp_path / "winter")):
        with pytest.raises(DataError, match="a control character in the name of a folder") as error:
            find_data(data)
        assert str(error.value).isprintable()


def test_messages_show_paths_escaped(tmp_path):
    touch(tmp_path, "a\nb/notes.txt", "c\udcff/x.jpg")
    for data in (tmp_path / "a\nb", tmp_path / "no\x1b", (tmp_path / "a\nb" / "notes.txt",) * 2):
        with pytest.raises(DataError) as error:
            find_data(data)
        assert str(error.value).isprintable()
    with pytest.raises(DataError, match=r"c\\xff/x.jpg is a file"):
        find_data(tmp_path / "c\udcff" / "x.jpg")
    if os.geteuid():
        (tmp_path / "c\udcff").chmod(0)
        with pytest.raises(DataError, match="permission denied"):
            list_folder(tmp_path)
