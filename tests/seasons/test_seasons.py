import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from unpaired.errors import DataError, RunError
from unpaired.seasons.dataset import (
    NAMED,
    SeasonsSpec,
    find_truth,
    read_truth,
    scene_seed,
    write_seasons,
)
from unpaired.seasons.landscapes import CLASSES, MIXED, Scene, draw, labels, paint, palette

LITE = {"sky", "rock", "meadow", "lake", "broadleaf", "conifer", "hill"}
SMALL = SeasonsSpec(size=16, train=3, test=2, level="lite")


def write(folder: Path, spec: SeasonsSpec = SMALL) -> None:
    write_seasons(folder, spec)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def colour(name: str, domain: str) -> np.ndarray:
    return palette(domain)[CLASSES.index(name)]


# Scenes


@pytest.mark.parametrize("level", ["lite", "full"])
def test_a_seed_draws_one_scene(level):
    first, again, other = draw(7, 24, level), draw(7, 24, level), draw(8, 24, level)
    np.testing.assert_array_equal(paint(first, "a"), paint(again, "a"))
    np.testing.assert_array_equal(first.classes, again.classes)
    assert np.mean(first.classes != other.classes) > 0.02
    assert paint(first, "b").shape == (24, 24, 3)
    assert paint(first, "b").dtype == np.uint8


def test_a_seed_draws_the_same_scene_at_every_size():
    for seed in range(5):
        small, large = draw(seed, 32, "full"), draw(seed, 64, "full")
        assert small.exposure == large.exposure
        assert np.mean(small.classes == large.classes[::2, ::2]) > 0.9


@pytest.mark.parametrize(("level", "expected"), [("lite", LITE), ("full", set(CLASSES))])
def test_each_level_shows_its_classes(level, expected):
    seen = set()
    for seed in range(60):
        seen |= {CLASSES[index] for index in np.unique(draw(seed, 32, level).classes)}
    assert seen == expected


def test_exposure_keeps_white_below_saturation():
    scenes = [draw(seed, 32, "lite") for seed in range(100)]
    exposures = [scene.exposure for scene in scenes]
    assert 0.84 <= min(exposures) < 0.86
    assert 0.96 < max(exposures) <= 0.98
    assert max(paint(scene, "b").max() for scene in scenes) < 255


def test_too_small_a_size_is_refused():
    with pytest.raises(DataError, match="at least 16 pixels, not 8"):
        draw(0, 8, "lite")


@pytest.mark.parametrize("domain", ["a", "b"])
def test_paint_equals_a_pixel_by_pixel_painter(domain):
    scene = draw(5, 16, "full")
    assert scene.snow.any()
    expected = np.zeros((16, 16, 3))
    for row in range(32):
        for column in range(32):
            name = CLASSES[scene.classes[row, column]]
            rgb = colour(name, domain).copy()
            if name == "sky":
                rgb += ((row + 0.5) / 32 - 0.2) * (60 if domain == "a" else 30)
            if domain == "b" and scene.snow[row, column]:
                rgb = np.array([228.0, 234.0, 242.0])
            light = float(scene.shade[row, column]) * scene.exposure
            expected[row // 2, column // 2] += rgb * light / 4
    painted = paint(scene, domain)
    assert np.abs(painted - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-3


def test_snow_lies_on_conifers_only():
    for seed in range(20):
        scene = draw(seed, 32, "full")
        assert set(scene.classes[scene.snow]) <= {CLASSES.index("conifer")}


def test_labels_equal_a_pixel_by_pixel_reading():
    scene = draw(3, 32, "full")
    class_map, pure = labels(scene)
    assert 0.5 < pure.mean() < 1
    for row in range(32):
        for column in range(32):
            area = set(scene.classes[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel())
            assert pure[row, column] == (len(area) == 1)
            assert class_map[row, column] == (area.pop() if len(area) == 1 else MIXED)


def flat_scene(name: str) -> Scene:
    classes = np.full((64, 64), CLASSES.index(name), np.uint8)
    return Scene(32, classes, np.zeros((64, 64), bool), np.ones((64, 64), np.float32), 1.0)


@pytest.mark.parametrize(
    ("one", "other", "domain"),
    [
        ("rock", "road", "a"),
        ("meadow", "hill", "a"),
        ("broadleaf", "conifer", "a"),
        ("meadow", "roof", "b"),
    ],
)
def test_colours_collide_in_one_season_and_differ_in_the_other(one, other, domain):
    opposite = "b" if domain == "a" else "a"
    np.testing.assert_array_equal(paint(flat_scene(one), domain), paint(flat_scene(other), domain))
    there, elsewhere = (paint(flat_scene(n), opposite).astype(int) for n in (one, other))
    assert np.abs(there - elsewhere).max(axis=-1).min() > 32


def test_the_summer_sky_passes_through_the_colour_of_the_lake():
    sky = paint(flat_scene("sky"), "a").astype(int)
    lake = paint(flat_scene("lake"), "a").astype(int)
    assert np.abs(sky - lake).max(axis=-1).min() <= 1
    winter = np.abs(paint(flat_scene("sky"), "b").astype(int) - paint(flat_scene("lake"), "b"))
    assert winter.max(axis=-1).min() > 16


def test_winter_whites_are_within_sixteen_levels():
    for name in ("rock", "roof"):
        assert np.abs(colour("meadow", "b") - colour(name, "b")).max() <= 16
    assert np.abs(colour("cloud", "b") - colour("rock", "b")).max() <= 16


@pytest.fixture(scope="module")
def prototype() -> ModuleType:
    path = Path(__file__).parents[2].parent / "shared" / "docs" / "seasons_prototype.py"
    if not path.is_file():
        pytest.skip("the prototype is not beside this checkout")
    spec = importlib.util.spec_from_file_location("seasons_prototype", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_statistics_equal_those_of_the_prototype(prototype):
    count = 150
    theirs = [prototype.scene(seed, 32, lite=True) for seed in range(count)]
    ours = [draw(seed, 32, "lite") for seed in range(count)]

    def shares(maps):
        return np.bincount(np.concatenate([m.ravel() for m in maps]), minlength=12) / (
            count * 64 * 64
        )

    difference = shares([s["C"] for s in theirs]) - shares([s.classes for s in ours])
    assert np.abs(difference).max() < 0.015
    for domain in "ab":
        mean = np.mean([prototype.render(scene, domain.upper()) for scene in theirs], axis=0)
        gap = mean - np.mean([paint(scene, domain) for scene in ours], axis=0)
        assert np.abs(gap.mean(axis=(0, 1))).max() < 3
        assert np.sqrt(np.mean(gap**2)) < 8


# Data sets


def test_named_sets():
    assert NAMED["seasons-lite"] == SeasonsSpec(32, 600, 100, "lite")
    assert NAMED["seasons"] == SeasonsSpec(64, 2000, 200, "full")


def test_seeds_of_parts_never_overlap():
    seeds = [scene_seed(part, i) for part in ("trainA", "trainB", "test") for i in range(5000)]
    assert len(set(seeds)) == 3 * 5000


def test_write_makes_the_whole_layout(tmp_path, on_progress):
    folder = tmp_path / "deep" / "set"
    calls = []
    on_progress(lambda done, total: calls.append((done, total)))
    write(folder)
    assert calls == [(done, 8) for done in range(1, 9)]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]
    names = {
        str(path.relative_to(folder)).replace("\\", "/")
        for path in folder.rglob("*")
        if path.is_file()
    }
    train = {f"train{side}/000{i}.png" for side in "AB" for i in range(3)}
    test = {f"{part}/000{i}.png" for part in ("testA", "testB", "truth") for i in range(2)}
    assert names == train | test | {"README.txt"}
    readme = (folder / "README.txt").read_text()
    assert "size 16, level lite, train 3 + 3, test 2 pairs" in readme
    assert "4 lake" in readme


def test_written_images_are_those_of_their_seeds(tmp_path):
    write(tmp_path / "set")
    for part, domain in (("trainA", "a"), ("trainB", "b")):
        for index in range(3):
            expected = paint(draw(scene_seed(part, index), 16, "lite"), domain)
            np.testing.assert_array_equal(
                pixels(tmp_path / "set" / part / f"000{index}.png"), expected
            )
    for index in range(2):
        scene, name = draw(scene_seed("test", index), 16, "lite"), f"000{index}.png"
        np.testing.assert_array_equal(pixels(tmp_path / "set/testA" / name), paint(scene, "a"))
        np.testing.assert_array_equal(pixels(tmp_path / "set/testB" / name), paint(scene, "b"))
        for read, expected in zip(
            read_truth(tmp_path / "set/truth" / name), labels(scene), strict=True
        ):
            np.testing.assert_array_equal(read, expected)


def test_a_failure_leaves_nothing_behind(tmp_path, on_progress):
    def fail(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    on_progress(fail)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_complete_folder_is_left_untouched(tmp_path, on_progress):
    write(tmp_path / "set")
    before = snapshot(tmp_path / "set")
    on_progress(lambda done, total: pytest.fail("drawn again"))
    write(tmp_path / "set")
    assert snapshot(tmp_path / "set") == before


def test_a_folder_of_the_version_before_is_recognised(tmp_path):
    write(tmp_path / "set")
    (tmp_path / "set" / "README.txt").write_text("""\
seasons, version 1: procedural landscapes, A is summer and B is winter.

size 16, level lite, train 3 + 3, test 2 pairs

trainA/ trainB/  pictures of different scenes: unpaired
""")
    before = snapshot(tmp_path / "set")
    write(tmp_path / "set")
    assert snapshot(tmp_path / "set") == before
    assert find_truth(tmp_path / "set" / "testA", ["0000.png"]) is not None


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set")
    assert (tmp_path / "set" / "README.txt").is_file()


def test_a_faster_process_with_the_same_set_wins(tmp_path, on_progress):
    def overtake(done: int, total: int) -> None:
        if done == total and not overtaken:
            on_progress(lambda done, total: None)
            write(tmp_path / "set")
            overtaken.update(snapshot(tmp_path / "set"))

    overtaken: dict[str, tuple[int, bytes]] = {}
    on_progress(overtake)
    write(tmp_path / "set")
    assert snapshot(tmp_path / "set") == overtaken
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_folders_with_other_content_are_refused_and_kept(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    write(tmp_path / "other", SeasonsSpec(size=17, train=3, test=2, level="lite"))
    write(tmp_path / "torn")
    (tmp_path / "torn" / "trainB" / "0001.png").unlink()
    before = snapshot(tmp_path)
    for name in ("mine", "file", "other", "torn"):
        with pytest.raises(DataError, match=f"{name} exists and is not this data set"):
            write(tmp_path / name)
    assert snapshot(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a part of it is a file "):
        write(tmp_path / "file" / "set")


@pytest.mark.parametrize(("size", "train", "test"), [(15, 1, 1), (16, -1, 1), (16, 1, -1)])
def test_senseless_numbers_are_refused(tmp_path, size, train, test):
    with pytest.raises(DataError, match="cannot draw seasons"):
        write(tmp_path / "set", SeasonsSpec(size, train, test, "lite"))
    assert list(tmp_path.iterdir()) == []


def test_truth_that_is_no_class_map_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read the class map"):
        read_truth(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataError, match="cannot read the class map"):
        read_truth(tmp_path / "text.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    Image.new("L", (4, 4), 12).save(tmp_path / "unknown.png")
    for name in ("colour.png", "unknown.png"):
        with pytest.raises(DataError, match="is not a class map"):
            read_truth(tmp_path / name)


def test_the_class_maps_of_test_images_are_found(tmp_path):
    write(tmp_path / "set")
    for side in ("testA", "testB"):
        classes, pure = find_truth(tmp_path / "set" / side, ["0001.png", "0000.png"])
        assert (classes.shape, pure.shape) == ((2, 16, 16), (2, 16, 16))
        for index in (0, 1):
            scene = draw(scene_seed("test", 1 - index), 16, "lite")
            np.testing.assert_array_equal(classes[index], labels(scene)[0])
            np.testing.assert_array_equal(pure[index], labels(scene)[1])


def test_class_maps_are_those_of_a_whole_seasons_data_set_alone(tmp_path, monkeypatch):
    write(tmp_path / "set")
    test, truth = tmp_path / "set" / "testA", tmp_path / "set" / "truth"
    monkeypatch.chdir(test)
    assert find_truth(Path("."), ["0000.png"]) is not None
    assert find_truth(test, []) is None
    assert find_truth(test, ["0000.png", "0002.png"]) is None
    assert find_truth(tmp_path / "testA", ["0000.png"]) is None
    Image.new("L", (17, 16)).save(truth / "0001.png")
    assert find_truth(test, ["0000.png", "0001.png"]) is None
    (truth / "0001.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot read the class map"):
        find_truth(test, ["0000.png", "0001.png"])
    (tmp_path / "set" / "README.txt").write_text("my images")
    assert find_truth(test, ["0000.png"]) is None
