"""The check of a data set: every kind of problem, the facts and the fingerprint."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from unpaired.data.check.check import FLAT, CheckResult, FolderFacts, check
from unpaired.data.layout.domains import find_data
from unpaired.errors import DataError
from unpaired.images.formats import write_image
from unpaired.images.image import Image

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def noise(*shape: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def put(path: Path, pixels: np.ndarray, alpha: np.ndarray | None = None) -> Path:
    write_image(path, Image(pixels, alpha))
    return path


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    """Three images a side, all different, without problems."""
    root = tmp_path / "set"
    for side in "AB":
        for index in range(3):
            seed = 10 * ord(side) + index
            put(root / f"train{side}" / f"{index}.png", noise(32, 40, 3, seed=seed))
        put(root / f"test{side}" / "t.png", noise(48, 36, 3, seed=ord(side)))
    return root


def found(result: CheckResult, root: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (problem.kind, tuple(path.relative_to(root).as_posix() for path in problem.paths))
        for problem in result.problems
    ]


def test_a_healthy_set_has_no_problems_but_facts(healthy):
    result = check(find_data(healthy), crop=32)
    assert result.problems == result.stopping == ()
    assert result.facts["train_a"] == result.facts["train_b"] == FolderFacts(3, 3, 8, (32, 40))
    assert result.facts["test_a"] == result.facts["test_b"] == FolderFacts(1, 3, 8, (48, 36))
    report = result.report()
    assert report.splitlines() == [
        "train a: 3 images of 3 bands and 8 bits, at least 40 pixels wide and 32 high",
        "train b: 3 images of 3 bands and 8 bits, at least 40 pixels wide and 32 high",
        "test a: 1 image of 3 bands and 8 bits, at least 36 pixels wide and 48 high",
        "test b: 1 image of 3 bands and 8 bits, at least 36 pixels wide and 48 high",
        "range of the bits used: 100 % by a, 100 % by b",
        "no problems found",
    ]


def test_damaged_files_and_files_that_are_no_images_stop(healthy):
    whole = (healthy / "trainA" / "0.png").read_bytes()
    (healthy / "trainA" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (healthy / "trainB" / "page.jpg").write_text("<html>404</html>")
    (healthy / "testA" / "nothing.png").touch()
    os.symlink(healthy / "gone.png", healthy / "testB" / "link.png")
    (healthy / "trainA" / "notes.txt").write_text("about")
    result = check(find_data(healthy))
    assert found(result, healthy) == [
        ("unreadable", ("trainA/cut.png",)),
        ("unreadable", ("testB/link.png",)),
        ("not an image", ("trainB/page.jpg",)),
        ("not an image", ("testA/nothing.png",)),
        ("ignored", ("trainA/notes.txt",)),
    ]
    assert result.stopping == result.problems[:4]
    reasons = [problem.reason for problem in result.problems]
    assert reasons[0].startswith("damaged or cut off")
    assert reasons[1].lower() == "no such file or directory"
    assert reasons[2].startswith("is an HTML page")
    assert reasons[3] == "the file is empty"
    assert result.facts["train_a"].images == 3
    report = result.report()
    assert "\nunreadable (2): cannot be decoded; stops a training\n" in report
    assert "  trainB/page.jpg: is an HTML page, which is not read: download the image" in report


def test_images_over_the_limit_and_without_rasterio_are_unreadable(healthy, monkeypatch):
    pytest.importorskip("rasterio")
    put(healthy / "trainA" / "deep.png", noise(32, 40, 3, dtype=np.uint16))
    put(healthy / "trainB" / "large.png", noise(100, 100, 3))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    result = check(find_data(healthy), max_pixels=9999)
    assert found(result, healthy) == [
        ("unreadable", ("trainA/deep.png",)),
        ("unreadable", ("trainB/large.png",)),
    ]
    assert "unpaired[geo]" in result.problems[0].reason
    assert "--max-pixels" in result.problems[1].reason
    assert len(result.stopping) == 2


def test_repeated_images_are_grouped_by_their_pixels(healthy):
    def pixels(name: str) -> np.ndarray:
        return np.asarray(PIL.Image.open(healthy / name))

    put(healthy / "trainA" / "again.bmp", pixels("trainA/0.png"))  # another file, the same pixels
    put(healthy / "trainA" / "third.tif", pixels("trainA/0.png"))
    put(healthy / "testA" / "leak.png", pixels("trainA/1.png"))
    put(healthy / "testB" / "cross.png", pixels("trainA/2.png"))
    put(healthy / "trainB" / "shared.webp", pixels("trainA/2.png")[:, ::-1])  # mirrored: another
    put(healthy / "testB" / "both.png", pixels("testA/t.png"))
    result = check(find_data(healthy))
    assert found(result, healthy) == [
        ("in train and test", ("trainA/1.png", "testA/leak.png")),
        ("in train and test", ("trainA/2.png", "testB/cross.png")),
        ("in both domains", ("testA/t.png", "testB/both.png")),
        ("duplicate", ("trainA/0.png", "trainA/again.bmp", "trainA/third.tif")),
    ]
    assert result.problems[1].reason == "the same image in train a and test b"
    assert result.stopping == ()
    assert "trainA/0.png = trainA/again.bmp = trainA/third.tif" in result.report()


def test_transparent_images_are_compared_as_training_sees_them(healthy):
    alpha = np.zeros((32, 40), np.uint8)
    alpha[:16] = 255
    top = noise(16, 40, 3, seed=99)
    for index, below in enumerate((0, 77)):  # different colours where nobody sees them
        pixels = np.concatenate([top, np.full((16, 40, 3), below, np.uint8)])
        put(healthy / "trainB" / f"clear{index}.png", pixels, alpha)
    assert found(check(find_data(healthy)), healthy) == [
        ("duplicate", ("trainB/clear0.png", "trainB/clear1.png"))
    ]


def test_small_and_flat_images(healthy):
    even = np.zeros((32, 40, 3), np.uint8)
    even[:, :] = (200, 30, 90)  # bands differ, none varies
    put(healthy / "trainA" / "even.png", even)
    put(healthy / "trainB" / "low.png", noise(31, 40, 3))
    result = check(find_data(healthy), crop=32)
    assert found(result, healthy) == [
        ("small", ("trainB/low.png",)),
        ("flat", ("trainA/even.png",)),
    ]
    assert result.problems[0].reason == "40 x 31, the crop is 32"
    assert result.problems[1].reason == "standard deviation 0.0 of 255"
    assert result.facts["train_b"].smallest == (31, 40)
    assert [problem.kind for problem in check(find_data(healthy)).problems] == ["flat"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flat_is_a_matter_of_the_deviation_of_the_most_varied_band(healthy, dtype):
    unit = np.iinfo(dtype).max / 255
    expected = []
    for index, (amplitude, share) in enumerate(
        [(1, 0.5), (3.8, 0.5), (4.2, 0.5), (200, 0.0001), (200, 0.01), (60, 0.001), (90, 0.004)]
    ):
        pixels = np.full((97, 101, 1), round(20 * unit), dtype)
        chosen = np.random.default_rng(index).random((97, 101)) < share
        chosen[0, 0] = True  # a sample of the quick look
        pixels[chosen] += round(amplitude * unit)
        put(healthy / "trainA" / f"f{index}.png", pixels)
        if pixels.std() / np.iinfo(dtype).max < FLAT:
            expected.append(f"trainA/f{index}.png")
    grid = np.full((97, 101, 1), round(20 * unit), dtype)
    grid[::8, ::8] += round(12 * unit)  # stands out in the quick look and hardly in all
    put(healthy / "trainA" / "grid.png", grid)
    expected.append("trainA/grid.png")
    flat = [paths[0] for kind, paths in found(check(find_data(healthy)), healthy) if kind == "flat"]
    assert flat == expected
    assert 3 <= len(flat) <= 6


def test_bands_and_depth_of_grey_colour_and_many_bands(tmp_path):
    pytest.importorskip("rasterio")
    for index in range(3):
        put(tmp_path / "trainA" / f"{index}.png", noise(20, 20, 1, seed=index))
        put(tmp_path / "trainB" / f"{index}.tif", noise(20, 20, 6, seed=index, dtype=np.uint16))
    result = check(find_data(tmp_path))
    assert (result.facts["train_a"].bands, result.facts["train_a"].depth) == (1, 8)
    assert (result.facts["train_b"].bands, result.facts["train_b"].depth) == (6, 16)
    assert result.stopping == ()

    put(tmp_path / "trainA" / "colour.png", noise(20, 20, 3, dtype=np.uint16))
    result = check(find_data(tmp_path))
    assert (result.facts["train_a"].bands, result.facts["train_a"].depth) == (3, 16)
    assert found(result, tmp_path) == [("mixed bits", ("trainA/colour.png",))]
    (tmp_path / "trainA" / "colour.png").unlink()
    put(tmp_path / "trainA" / "colour.png", noise(20, 20, 3))

    put(tmp_path / "trainB" / "rgb.png", noise(20, 20, 3, seed=8))
    put(tmp_path / "testA" / "seven.tif", noise(20, 20, 7, seed=9))
    result = check(find_data(tmp_path))
    assert found(result, tmp_path) == [
        ("mixed bands", ("testA/seven.tif",)),
        ("mixed bands", ("trainB/rgb.png",)),
    ]
    assert result.stopping == result.problems
    assert result.problems[0].reason == "7 bands, while most have 3"
    assert (result.facts["train_a"].bands, result.facts["train_b"].bands) == (3, 6)


def test_problems_and_fingerprint_do_not_depend_on_threads_place_or_time(
    healthy, tmp_path, on_progress
):
    shutil.copy(healthy / "trainA" / "0.png", healthy / "trainA" / "copy.png")
    (healthy / "trainB" / "bad.png").write_bytes(b"no")
    first = check(find_data(healthy), threads=1)
    calls: list[tuple[int, int]] = []
    on_progress(lambda *call: calls.append(call))
    assert check(find_data(healthy), threads=4) == first
    assert calls == [(done, 10) for done in range(1, 11)]
    moved = tmp_path / "elsewhere" / "train"
    for side in "AB":  # another layout of the same images
        shutil.copytree(healthy / f"train{side}", moved / side)
    os.utime(moved / "A" / "0.png", (1, 1))
    assert check(find_data(moved.parent)).fingerprint == first.fingerprint


def test_images_are_dropped_without_another_look(healthy, on_progress):
    (healthy / "trainA" / "cut.png").write_bytes(b"no")
    (healthy / "trainA" / "notes.txt").write_text("about")
    put(healthy / "trainB" / "small.png", noise(20, 30, 1))
    shutil.copy(healthy / "trainA" / "0.png", healthy / "testB" / "leak.png")
    shutil.copy(healthy / "trainA" / "1.png", healthy / "trainA" / "again.png")
    first = check(find_data(healthy), crop=32)
    kinds = {problem.kind for problem in first.problems}
    assert kinds == {"not an image", "in train and test", "duplicate", "small", "ignored"}
    assert first.without([]) == first
    removed = [
        "trainA/cut.png",
        "trainB/small.png",
        "testB/t.png",
        "testB/leak.png",
        "trainA/1.png",
    ]
    on_progress(lambda *_: pytest.fail("decoded again"))
    rest = first.without(healthy / name for name in removed)
    on_progress(lambda *_: None)
    for name in removed:
        (healthy / name).unlink()
    assert rest == check(find_data(healthy), crop=32)
    assert rest.data == find_data(healthy)
    assert rest.fingerprint != first.fingerprint
    assert rest.facts["train_b"] == FolderFacts(3, 3, 8, (32, 40))
    assert [problem.kind for problem in rest.problems] == ["ignored"]
    assert "test b" not in rest.report()
    every_b = [healthy / "trainB" / name for name in first.data.train_b.names]
    with pytest.raises(DataError, match="trainB: no image remains to train on"):
        first.without(every_b)


def test_fingerprint_is_of_names_and_bytes_of_train_only(healthy):
    def fingerprint() -> str:
        return check(find_data(healthy)).fingerprint

    def by_hand() -> str:
        digest = hashlib.sha256()
        for side in "ab":
            folder = healthy / f"train{side.upper()}"
            names = sorted(path.name for path in folder.iterdir())
            digest.update(f"train_{side} {len(names)}\n".encode())
            for name in names:
                content = hashlib.sha256((folder / name).read_bytes()).hexdigest()
                digest.update(f"{name}\0{content}\n".encode())
        return digest.hexdigest()

    seen = [fingerprint()]
    assert seen[0] == by_hand()
    put(healthy / "testA" / "more.png", noise(20, 20, 3))
    (healthy / "trainA" / "notes.txt").write_text("about")
    assert fingerprint() == seen[0]
    (healthy / "trainA" / "notes.txt").unlink()

    (healthy / "trainA" / "0.png").rename(healthy / "trainA" / "00.png")
    seen.append(fingerprint())
    (healthy / "trainB" / "0.png").write_bytes((healthy / "trainB" / "1.png").read_bytes())
    seen.append(fingerprint())
    (healthy / "trainA" / "1.png").rename(healthy / "trainB" / "9.png")
    seen.append(fingerprint())
    assert len(set(seen)) == 4
    assert seen[-1] == by_hand()


def test_reports_tell_the_folder_whatever_way_it_was_given(tmp_path, monkeypatch):
    put(tmp_path / "summer" / "1.png", noise(20, 20, 3))
    (tmp_path / "summer" / "2.png").touch()
    put(tmp_path / "winter" / "3.png", noise(20, 20, 3, seed=1))
    monkeypatch.chdir(tmp_path / "winter")
    for data in (
        (tmp_path / "summer", tmp_path / "winter"),
        (tmp_path / "summer", Path(".")),
        (Path("../summer").resolve(), Path(".")),
    ):
        assert "\n  summer/2.png: the file is empty" in check(find_data(data)).report()


def test_long_lists_are_shortened_unless_asked(tmp_path):
    for index in range(12):
        put(tmp_path / "trainA" / f"{index:02}.png", noise(20, 20, 3, seed=index))
    put(tmp_path / "trainB" / "x.png", noise(64, 64, 3, seed=77))
    result = check(find_data(tmp_path), crop=32)
    short, full = result.report(), result.report(full=True)
    assert "small (12): smaller than the crop" in short
    assert short.endswith("\n  and 7 more")
    assert short.count("the crop is 32") == 5
    assert full.count("the crop is 32") == 12
    assert "more" not in full


def test_reports_print_whatever_the_names_are(healthy):
    names = ["line\nbreak.png", "é.png"]
    names += [os.fsdecode(b"\xff.png")] if sys.platform == "linux" else []
    for name in names:
        (healthy / "trainA" / name).write_bytes(b"no")
    result = check(find_data(healthy))
    assert len(result.stopping) == len(names)
    report = result.report()
    report.encode()
    assert "line\\nbreak.png" in report
    assert "é.png: not an image" in report
    assert sum(": not an image (" in line for line in report.splitlines()) == len(names)


def test_an_interrupt_ends_the_check_at_once(healthy, on_progress):
    for index in range(300):
        shutil.copy(healthy / "trainA" / "0.png", healthy / "trainA" / f"c{index}.png")
    done = []

    def interrupt(count: int, _: int) -> None:
        done.append(count)
        if count == 3:
            raise KeyboardInterrupt

    on_progress(interrupt)
    with pytest.raises(KeyboardInterrupt):
        check(find_data(healthy))
    assert done == [1, 2, 3]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared/data beside the checkout")
def test_the_leaks_of_summer2winter_are_found():
    root = SHARED / "summer2winter_yosemite"
    result = check(find_data(root))
    assert result.stopping == ()
    assert result.facts["train_a"] == FolderFacts(1231, 3, 8, (256, 256))
    by_bytes: dict[str, list[str]] = {}
    for path in sorted(root.glob("*/*.jpg")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        by_bytes.setdefault(digest, []).append(path.relative_to(root).as_posix())
    expected = {frozenset(paths) for paths in by_bytes.values() if len(paths) > 1}
    repeated = {
        frozenset(paths)
        for kind, paths in found(result, root)
        if kind in ("duplicate", "in both domains", "in train and test")
    }
    # One more pair differs in its metadata, but not in its pixels.
    (pair,) = repeated - expected
    first, second = (np.asarray(PIL.Image.open(root / path)) for path in pair)
    np.testing.assert_array_equal(first, second)
    assert repeated >= expected
    assert sum(len(paths) - 1 for paths in repeated) == 182
    for side, count in (("A", 26), ("B", 15)):
        leaks = [
            path
            for kind, paths in found(result, root)
            if kind == "in train and test" and any(p.startswith(f"train{side}/") for p in paths)
            for path in paths
            if path.startswith(f"test{side}/")
        ]
        assert len(leaks) == count


@pytest.mark.parametrize(
    ("low", "high", "dtype", "told"),
    [
        (0, 4095, np.uint16, "6.2 % of the range of 16 bits (.*multiply by 16)"),
        (0, 16383, np.uint16, "25 % of the range of 16 bits (.*multiply by 4)"),
        (32768, 36000, np.uint16, "4.9 % .*subtract 32,7.*then multiply by 2"),
        (0, 3, np.uint8, "1.2 % of the range of 8 bits (0 to 3 of 255).*multiply by 85"),
        (0, 255, np.uint8, None),
        (0, 65535, np.uint16, None),
        (40, 220, np.uint8, None),
    ],
)
def test_the_used_range_is_told(tmp_path, low, high, dtype, told):
    rng = np.random.default_rng(0)
    for side in "AB":
        for index in range(3):
            pixels = rng.integers(low, high, (40, 40, 1), dtype, endpoint=True)
            put(tmp_path / f"train{side}" / f"{index}.png", pixels)
    report = check(find_data(tmp_path)).report()
    assert "range of the bits used: " in report
    lines = [line for line in report.splitlines() if "the samples fill" in line]
    assert len(lines) == (2 if told else 0)
    parts = told.split(".*") if told else []
    assert all(part in line for line in lines for part in parts)
    assert report.endswith("no problems found") is not bool(told)


def test_one_bright_sample_does_not_hide_a_little_range(tmp_path):
    for side in "AB":
        pixels = noise(64, 64, 1, dtype=np.uint16) // 16
        pixels[3, 5] = 65535
        put(tmp_path / f"train{side}" / "1.png", pixels)
    assert "fill 6.2 % of the range" in check(find_data(tmp_path)).report()


def test_one_file_of_other_bits_is_listed(healthy):
    put(healthy / "trainA" / "deep.png", noise(32, 40, 1, dtype=np.uint16) // 20)
    result = check(find_data(healthy))
    assert found(result, healthy) == [("mixed bits", ("trainA/deep.png",))]
    assert result.problems[0].reason == "16 bits, while most have 8; fills 5 % of its range"
    assert result.facts["train_a"].depth == 16
    assert result.stopping == ()
    assert "write all images in the same bits" in result.report()
