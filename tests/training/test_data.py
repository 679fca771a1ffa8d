"""The data of a run: grown, moved, swapped, few, side by side, or with the run inside them."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

import unpaired.training.loop as loop
from conftest import QUICK, SMALL, write_images
from unpaired.checkpoint import checkpoints, read
from unpaired.data.check.check import check
from unpaired.data.source import find_source
from unpaired.errors import ConfigError, DataError, RunError
from unpaired.training import run_report


def train(data, out, recipe=None, **rest):
    given = {"preset": "tiny", "recipe": SMALL | (recipe or {}), "runtime": QUICK}
    return loop.train(data, out=out, **given | rest)


def rejected(data, out, **rest):
    with pytest.raises(RunError) as error:
        train(data, out, **rest)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_data_that_grew_or_changed_are_told(fake_engine, data, tmp_path):
    train(data, tmp_path / "run")
    before = read(checkpoints(tmp_path / "run")[-1])[1]
    shutil.copy(data / "trainA" / "00.png", data / "trainA" / "new.png")
    told = rejected(data, tmp_path / "run")
    assert "a run on other images: 1 image of a added (such as new.png) since it was" in told
    assert "choose another --out" in told
    assert rejected(data, tmp_path / "run") == told  # from the cache, too
    (data / "trainB" / "00.png").unlink()
    write_images(data / "trainA", 2, seed=99)
    told = rejected(data, tmp_path / "run", extend=5)
    assert "1 image of a added" in told
    assert "2 images of a changed or renamed" in told
    assert "1 image of b removed" in told
    after = read(checkpoints(tmp_path / "run")[-1])[1]
    assert all(array.tobytes() == after[name].tobytes() for name, array in before.items())


def test_data_that_were_restored_resume(fake_engine, data, tmp_path):
    train(data, tmp_path / "run")
    shutil.copy(data / "trainA" / "00.png", data / "trainA" / "new.png")
    rejected(data, tmp_path / "run")
    (data / "trainA" / "new.png").unlink()
    assert train(data, tmp_path / "run", extend=4).step == 24


def test_swapped_domains_are_told(fake_engine, data, tmp_path):
    train((data / "trainA", data / "trainB"), tmp_path / "run")
    told = rejected((data / "trainB", data / "trainA"), tmp_path / "run")
    assert "other images: A and B have changed places" in told


@pytest.mark.parametrize("skipped", [False, True])
def test_a_moved_data_folder_goes_on(fake_engine, data, tmp_path, skipped):
    if skipped:
        (data / "trainA" / "broken.png").write_bytes(b"nothing")
    train(data, tmp_path / "run", skip_unreadable=skipped)
    place = tmp_path / "far" / "away"
    place.parent.mkdir()
    shutil.move(data, place)
    assert loop.train(place, out=tmp_path / "run", extend=4).step == 24
    files = {path.name: path.read_bytes() for path in (place / "trainA").iterdir()}
    shutil.rmtree(place / "trainA")
    (place / "trainA").mkdir()
    for name in sorted(files, reverse=True):  # written in another order, at another time
        (place / "trainA" / name).write_bytes(files[name])
    assert loop.train(place, out=tmp_path / "run", extend=4).step == 28


@pytest.mark.parametrize("where", ["trainA/run", "run", "trainA", ""])
def test_a_run_inside_its_own_data_resumes(fake_engine, data, tmp_path, where):
    source = (data / "trainA", data / "trainB")
    before = check(find_source(source)).fingerprint
    assert train(source, data / where).step == 20
    assert list((data / where / "samples").iterdir())
    assert check(find_source(source)).fingerprint == before
    assert train(source, data / where, extend=4).step == 24
    train(source, tmp_path / "another")  # nor is it data of another run


def test_a_domain_of_one_image_is_warned_of(fake_engine, data, tmp_path, shown):
    for path in sorted((data / "trainA").iterdir())[1:]:
        path.unlink()
    train(data, tmp_path / "run")
    told = shown()
    assert "only 1 image of a to train on: the networks learn so few by heart" in told
    assert "1 image of a, 7 of b" in told
    assert "images of b to train on" not in told


@pytest.mark.parametrize("name", ["two\nlines", "bell\x07", "half \ud800"])
def test_a_name_with_a_control_character_is_rejected_at_once(data, tmp_path, name):
    for domain in "ab":
        with pytest.raises(ConfigError, match=f"--name-{domain} is .*a control character"):
            train(data, tmp_path / "run", {f"name_{domain}": name})
    assert not (tmp_path / "run" / "data.json").exists()


def test_names_of_two_folders_and_side_by_side_images(fake_engine, tmp_path, shown):
    write_images(tmp_path / "summer", 4, 1)
    write_images(tmp_path / "winter", 5, 2)
    write_images(tmp_path / "masks", 5, 3)
    with pytest.raises(DataError, match="--domains"):
        train(tmp_path, tmp_path / "run")
    run = train(tmp_path, tmp_path / "run", domains=("winter", "summer"))
    assert (run.config.recipe.name_a, run.config.recipe.name_b) == ("winter", "summer")
    assert "a is winter (winter), b is summer (summer)" in shown()
    write_images(tmp_path / "pairs" / "train", 4, 4, size=(20, 10))
    write_images(tmp_path / "pairs" / "test", 3, 5, size=(20, 10))
    run = train(tmp_path / "pairs", tmp_path / "aligned", aligned="left-right")
    told = shown()
    assert "the left halves" in told
    assert "report: " in told  # of the test set, whose images are known to be pairs
    page = (run.folder / "report" / "index.html").read_text("utf-8")
    assert "the data set says so" in page
    assert rejected(tmp_path / "pairs", tmp_path / "aligned", aligned="right-left")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX alone")
def test_a_run_whose_names_are_no_text_has_its_report(fake_engine, data, tmp_path, shown):
    place = tmp_path / "d\udcff"
    for split in ("trainA", "trainB", "testA", "testB"):
        write_images(place / split, 4, len(split) + ord(split[-1]))
        for path in list((place / split).iterdir()):
            path.rename(path.with_name(f"caf\udce9{path.name}"))
    run = train(place, tmp_path / "run\udcfe")
    assert r"run\xfe/report/index.html" in shown()
    assert r"caf\xe9" in (run.folder / "report" / "index.html").read_text("utf-8")


def test_a_report_that_fails_in_any_way_leaves_the_end(
    fake_engine, data, tmp_path, shown, monkeypatch
):
    for split in ("testA", "testB"):
        write_images(data / split, 4, ord(split[-1]))

    def fails(*arguments):
        raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates\nnot allowed")

    monkeypatch.setattr(run_report, "evaluate_models", fails)
    assert train(data, tmp_path / "run").step == 20
    told = shown()
    assert "no report: " in told
    assert "finished: unpaired translate" in told


def test_little_range_and_mixed_bits_are_told_at_every_start(fake_engine, tmp_path, shown):
    rng = np.random.default_rng(0)
    for side in "AB":
        (tmp_path / f"train{side}").mkdir()
        for index in range(4):
            samples = rng.integers(0, 4096, (12, 12), np.uint16)
            if side == "B" and index:
                samples = rng.integers(0, 256, (12, 12), np.uint8)
            Image.fromarray(samples).save(tmp_path / f"train{side}" / f"{index}.png")
    train(tmp_path, tmp_path / "run")
    told = shown()
    assert "a: the samples fill 6.2 % of the range of 16 bits (" in told
    assert "multiply by 16" in told
    assert "b: 1 image of 4 with other bits than the rest" in told
    assert "0.png: 16 bits, while most have 8; fills 6.2 % of its range" in told
    train(tmp_path, tmp_path / "run", extend=2)
    assert "multiply by 16" in shown()
