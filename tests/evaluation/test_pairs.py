"""Pairs are what is declared or asked for, or what agrees in names and contents beyond chance."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from small_models import SETTLED, SIDE, inverted, model, smooth, write_all
from unpaired.cli.main import main
from unpaired.config import Recipe
from unpaired.data.source import find_source
from unpaired.errors import ConfigError, DataError
from unpaired.evaluation.evaluate import evaluate
from unpaired.evaluation.pairs import CHANCE, agreement, alike, some_neighbours
from unpaired.evaluation.testset import gather
from unpaired.seasons.dataset import SeasonsSpec, write_seasons


def read(root, paired=None, **found):
    data = find_source(root, need_train=False, **found)
    recipe = Recipe(**SETTLED)
    return gather(data, recipe, side=SIDE, limit=0, seed=0, max_pixels=10**6, paired=paired)


def numbered(root, a, b):
    write_all(root / "testA", a)
    write_all(root / "testB", b)
    return root


def chance_of(a, b, seed=0):
    blocks = some_neighbours(len(a))
    return agreement([alike(*([x[i] for i in block] for x in (a, b))) for block in blocks], seed)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [5, 9, 40])
def test_unrelated_sets_numbered_alike_are_no_pairs(tmp_path, shown, seed, count):
    root = numbered(tmp_path, smooth(count, 2 * seed), smooth(count, 2 * seed + 1))
    found = read(root)
    assert not found.paired
    assert "contents agree no better than by chance" in found.pairs
    assert "if they are pairs, give --paired" in shown()
    assert read(root, paired=True).paired


@pytest.mark.parametrize("count", [5, 9, 40])
def test_namesakes_of_one_content_are_pairs(tmp_path, shown, count):
    images = smooth(count, 1)
    root = numbered(tmp_path, images, inverted(images)[..., ::-1])
    assert read(root).paired
    assert "give --unpaired" in shown()
    assert not read(root, paired=False).paired


def test_false_alarms_are_rare():
    """Of unrelated sets 1 in 100 may look like pairs; of 100 sets 6 or more in 6 of 10^4 seeds."""
    rng = np.random.default_rng(0)
    alarms = sum(chance_of(*rng.random((2, 12, 12, 12, 1)), seed=s) < CHANCE for s in range(100))
    assert alarms < 6


def test_sets_that_are_sorted_alike_are_no_pairs():
    """Both begin with coarse patterns and end with fine ones, of other places each."""
    rng = np.random.default_rng(1)

    def sorted_by_scale():
        images = []
        for scale in np.repeat([16, 8, 4, 2], 16):
            coarse = rng.random((64 // scale, 64 // scale))
            images.append(np.kron(coarse, np.ones((scale, scale)))[..., None])
        return images

    a, b = sorted_by_scale(), sorted_by_scale()
    assert chance_of(a, b) >= CHANCE
    assert chance_of(a, [1 - image for image in a]) < CHANCE


def test_flat_images_and_four_pairs_prove_nothing(tmp_path):
    flat = np.full((6, SIDE, SIDE, 3), 90, np.uint8)
    assert not read(numbered(tmp_path / "flat", flat, flat)).paired
    images = smooth(4, 1)
    assert not read(numbered(tmp_path / "few", images, inverted(images))).paired


def test_what_declares_its_pairs(tmp_path, monkeypatch):
    write_seasons(tmp_path / "mine", SeasonsSpec(size=16, train=1, test=3, level="lite"))
    assert read(tmp_path / "mine").pairs == "images of equal names: the data set says so"
    monkeypatch.setenv("UNPAIRED_DATA", str(tmp_path))
    numbered(tmp_path / "facades", smooth(3, 1), smooth(3, 2))
    assert find_source(tmp_path / "facades", need_train=False).paired
    other = numbered(tmp_path / "x", smooth(3, 1), smooth(3, 2))
    assert not find_source(other, need_train=False).paired


def test_side_by_side_images_are_pairs(tmp_path):
    a, b = smooth(4, 1), smooth(4, 2)
    write_all(tmp_path / "test", np.concatenate([a, b], axis=2))
    for aligned, expected in (("left-right", (a, b)), ("right-left", (b, a))):
        found = read(tmp_path, aligned=aligned)
        assert found.paired
        for domain, images in zip("ab", expected, strict=True):
            np.testing.assert_array_equal(found.test[domain].samples, images)


def test_asked_for_and_impossible(tmp_path):
    root = numbered(tmp_path, smooth(4, 1), smooth(5, 2))
    with pytest.raises(DataError, match=r"--paired: .*testA \(4\) and .*testB \(5\) do not hold"):
        read(root, paired=True)


def test_the_flags(tmp_path, monkeypatch, capsys):
    images = smooth(6, 1)
    root = numbered(tmp_path / "data", images, inverted(images))
    monkeypatch.setattr("unpaired.evaluation.evaluate.load", lambda *each, **more: model(tmp_path))
    (tmp_path / "run").mkdir()
    words = ["evaluate", str(tmp_path / "run"), str(root)]
    assert main([*words, "--unpaired"]) == 0
    assert "PSNR" not in capsys.readouterr().out
    assert main([*words, "--paired"]) == 0
    assert "PSNR" in capsys.readouterr().out
    assert main([*words, "--paired", "--unpaired"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_folders_in_another_order_than_the_model_s(tmp_path, shown):
    """A model of winter (a) and summer: folders come in alphabetical order."""
    root = tmp_path / "data"
    write_all(root / "summer", smooth(4, 1))
    write_all(root / "winter", smooth(5, 2))
    report = evaluate(model(tmp_path, name_a="winter", name_b="summer"), root)
    assert report.record["n"] == {"a": 5, "b": 4}
    assert "a is winter and b is summer, as in the model" in shown()
    with pytest.raises(ConfigError, match="--aligned is 'x': choose one of left-right, right-left"):
        evaluate(model(tmp_path), root, aligned="x")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_names_that_are_no_text(tmp_path, monkeypatch, capsys):
    """Report and terminal show them escaped."""
    names = [f"caf\udce9-{i}\n.png" for i in range(5)]
    for split, seed in (("testA", 1), ("testB", 2)):
        (tmp_path / "d\udcff" / split).mkdir(parents=True)
        for name, pixels in zip(names, smooth(5, seed), strict=True):
            Pillow.fromarray(pixels).save(tmp_path / "d\udcff" / split / name)
    folder = tmp_path / "run\udcfe"
    monkeypatch.setattr("unpaired.evaluation.evaluate.load", lambda *each, **more: model(folder))
    folder.mkdir()
    assert main(["evaluate", str(folder), str(tmp_path / "d\udcff")]) == 0
    assert r"run\xfe" in capsys.readouterr().out
    page = (folder / "report" / "index.html").read_text("utf-8")
    assert r"caf\xe9-0\n.png" in page
    (folder / "report" / "report.json").read_text("utf-8").encode()


SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared/data beside the checkout")
def test_photographs(tmp_path):
    """Facades and their labels are recognised; two seasons, renamed alike, are no pairs."""
    for name, paired in (("facades", True), ("summer2winter_yosemite", False)):
        for split in ("testA", "testB"):
            (tmp_path / name / split).mkdir(parents=True)
            for number, path in enumerate(sorted((SHARED / name / split).iterdir())[:60]):
                (tmp_path / name / split / f"{number}.jpg").symlink_to(path)
        assert read(tmp_path / name).paired is paired
