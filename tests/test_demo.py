import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Pillow
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import unpaired.demo
import unpaired.report.files
from unpaired import storage
from unpaired.checkpoint import Header, write
from unpaired.config import Config, Runtime
from unpaired.data import catalogue
from unpaired.demo import demo
from unpaired.evaluation.baselines import BASELINES, colour_table
from unpaired.images.image import Image
from unpaired.presets import preset
from unpaired.seasons.dataset import SeasonsSpec
from unpaired.training.loop import Run

TEST = 12
WAYS = {"ab": ("A", "B"), "ba": ("B", "A")}


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """The data home, filled by the first test that asks for the data."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def stand_in(monkeypatch, home):
    """Puts a small data set and, for `train` and `load`, a model that is a function in place."""
    small = SeasonsSpec(size=32, train=16, test=TEST, level="lite")
    monkeypatch.setattr(catalogue, "NAMED", {"seasons-lite": small})
    monkeypatch.setenv("UNPAIRED_DATA", str(home))
    calls = SimpleNamespace(train=[], load=[])

    def train(data, *, out, preset, recipe, runtime):
        calls.train.append((data, out, preset, recipe, runtime))
        settled = replace(
            unpaired.presets.preset(preset, recipe),
            name_a="summer",
            name_b="winter",
            data_fingerprint="sha256:abc",
        )
        config = Config(settled, Runtime(**(runtime or {})))
        out.mkdir(parents=True, exist_ok=True)
        lines = [{"step": s, "cycle_a": 0.5, "cycle_b": 0.4, "seconds": s / 2} for s in (50, 100)]
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        header = Header("model", config, settled.steps, weights="ema", made_on="an abacus")
        write(out / "model.safetensors", header, {"generator_ab.x": np.zeros(1, np.float32)})
        return Run(out, config, settled.steps)

    def be(translate):
        """`translate(sources, truth, direction)` of all test images is the model."""

        def translate_many(images, direction):
            assert all(image.alpha is None for image in images)
            sources, truth = (read(home, f"test{side}") for side in WAYS[direction])
            np.testing.assert_array_equal([image.pixels for image in images], sources)
            return [Image(made) for made in translate(sources, truth, direction)]

        def load(path, *, device, threads):
            calls.load.append((path, device, threads))
            return SimpleNamespace(translate_many=translate_many)

        monkeypatch.setattr(unpaired.demo, "train", train)
        monkeypatch.setattr(unpaired.demo, "load", load)
        return calls

    return be


def read(home, part):
    paths = sorted((home / "seasons-lite" / part).glob("*.png"))
    return np.stack([np.asarray(Pillow.open(path)) for path in paths])


def strict_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def scores_of(found, direction):
    """The rows of report.json, each with the value of every figure."""
    return {
        name: {key: value["value"] for key, value in row["values"].items()}
        | {name: row[name] for name in ("kind", "per_class")}
        for name, row in found["scores"][direction].items()
    }


def test_a_model_that_knows_the_truth(stand_in, tmp_path, capsys):
    stand_in(lambda sources, truth, direction: truth)
    page = demo(tmp_path / "run")
    assert page == tmp_path / "run" / "report" / "index.html"
    found = strict_json(page.parent / "report.json")
    for direction in WAYS:
        model = scores_of(found, direction)["the model"]
        assert (model["psnr"], model["ssim"]) == ("Infinity", 1.0)
        assert (model["acc16"], model["macro16"]) == (1.0, 1.0)
        assert set(model["per_class"].values()) == {1.0}
    assert found["verdict"]["passed"]
    assert "Above every unpaired baseline in both directions" in page.read_text(encoding="utf-8")
    assert "Above every unpaired baseline in both directions" in capsys.readouterr().out


def test_a_model_that_does_nothing(stand_in, tmp_path):
    stand_in(lambda sources, truth, direction: sources)
    page = demo(tmp_path)
    found = strict_json(page.parent / "report.json")
    for direction in WAYS:
        scores = scores_of(found, direction)
        assert scores["the model"].pop("kind") == "model"
        assert scores["identity"].pop("kind") == "untouched"
        assert scores["the model"] == scores["identity"]
    assert not found["verdict"]["passed"]
    assert "Not above every unpaired baseline in either direction" in page.read_text("utf-8")


def test_a_model_of_one_direction_alone(stand_in, tmp_path):
    stand_in(lambda sources, truth, direction: truth if direction == "ba" else sources)
    page = demo(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "Above every unpaired baseline from winter to summer, but not the other way." in text
    assert not strict_json(page.parent / "report.json")["verdict"]["passed"]


def test_the_scores_equal_those_of_scikit_image(stand_in, home, tmp_path):
    def model(sources, truth, direction):
        shift = np.random.default_rng(len(direction)).integers(-40, 41, truth.shape)
        return np.clip(truth + shift, 0, 255).astype(np.uint8)

    stand_in(model)
    found = strict_json(demo(tmp_path).parent / "report.json")
    for direction, (source, target) in WAYS.items():
        truth = read(home, f"test{target}")
        made = model(read(home, f"test{source}"), truth, direction)
        pairs = list(zip(truth, made, strict=True))
        psnrs = [peak_signal_noise_ratio(x, y, data_range=255) for x, y in pairs]
        ssims = [structural_similarity(x, y, channel_axis=-1, data_range=255) for x, y in pairs]
        near = (np.abs(truth.astype(int) - made) <= 16).all(axis=-1)
        scores = scores_of(found, direction)["the model"]
        assert scores["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-9)
        assert scores["ssim"] == pytest.approx(np.mean(ssims), abs=1e-9)
        assert scores["acc16"] == pytest.approx(near.mean(), abs=1e-12)


def test_every_baseline_stands_beside_the_model(stand_in, tmp_path, capsys):
    stand_in(lambda sources, truth, direction: colour_table(sources, truth))
    page = demo(tmp_path)
    found = strict_json(page.parent / "report.json")
    text, printed = page.read_text(encoding="utf-8"), capsys.readouterr().out
    for direction in WAYS:
        scores = scores_of(found, direction)
        model = scores.pop("the model")
        uses_pairs = {name: row["kind"] == "oracle" for name, row in scores.items()}
        assert uses_pairs == {baseline.name: baseline.uses_pairs for baseline in BASELINES}
        for name, row in scores.items():
            line = f"{row['psnr']:9.2f}{row['ssim']:9.3f}{row['acc16']:9.3f}{row['macro16']:9.3f}"
            assert re.search(rf"^  {name}[ *]*{re.escape(line)}$", printed, re.MULTILINE)
            assert f">{row['psnr']:.2f}" in text
        oracle = scores["oracle colour table, fitted on pairs"]
        assert oracle == model | {"kind": "oracle"}
    assert text.count("uses pairs, 32 levels a band") == 2
    assert printed.count("* uses pairs, 32 levels a band") == 1
    assert re.search(rf"^{re.escape(str(page))} \(\d+ s in all\)$", printed, re.MULTILINE)


def test_the_baselines_know_the_training_images_of_the_target(stand_in, home, tmp_path):
    stand_in(lambda sources, truth, direction: sources)
    found = strict_json(demo(tmp_path).parent / "report.json")
    for direction, (_, target) in WAYS.items():
        mean = np.rint(read(home, f"train{target}").mean(axis=0)).astype(np.uint8)
        truth = read(home, f"test{target}")
        expected = np.mean([peak_signal_noise_ratio(x, mean, data_range=255) for x in truth])
        row = scores_of(found, direction)["mean image of the target domain"]
        assert row["psnr"] == pytest.approx(expected, abs=1e-9)


def test_the_oracle_has_the_levels_that_are_said():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)[None]
    assert len(np.unique(colour_table(ramp, ramp))) == 32


def test_the_examples_are_the_worst_and_a_fixed_few(stand_in, home, tmp_path):
    worst = {"ab": [3, 8, 0, 11], "ba": [1, 2, 9, 4]}

    def model(sources, truth, direction):
        made = truth.astype(int)
        for rank, index in enumerate(worst[direction]):
            made[index] -= 60 - 10 * rank
        return np.clip(made - 1, 0, 255).astype(np.uint8)

    stand_in(model)
    text = demo(tmp_path / "one").read_text(encoding="utf-8")
    scenes = [int(name) for name in re.findall(r"<figcaption>scene (\d+)", text)]
    assert scenes[6:10] == worst["ab"]
    assert scenes[16:20] == worst["ba"]
    random = scenes[:6]
    assert random == scenes[10:16] == sorted(set(random))
    assert scenes == [
        int(name)
        for name in re.findall(r"<figcaption>scene (\d+)", demo(tmp_path / "two").read_text())
    ]
    sheet = np.asarray(Pillow.open(tmp_path / "one" / "report" / "pictures.png"))
    assert sheet.shape == (22 + 6 * 132, 4 + 8 * 132, 3)
    for column, part in ((0, "testA"), (2, "testB"), (4, "testB"), (6, "testA")):
        images = read(home, part)
        for row, index in enumerate(random):
            top, left = 22 + 132 * row, 4 + 132 * column
            cell = sheet[top : top + 128 : 4, left : left + 128 : 4]
            np.testing.assert_array_equal(cell, images[index])


def test_what_is_asked_is_trained_and_told(stand_in, home, tmp_path):
    calls = stand_in(lambda sources, truth, direction: truth)
    asked = {"device": "cpu", "threads": 1}
    page = demo(tmp_path, seed=7, steps=30, runtime=asked)
    data = home / "seasons-lite"
    assert calls.train == [
        (data, tmp_path, "tiny", {"seed": 7, "steps": 30}, {"report": "none"} | asked)
    ]
    assert calls.load == [(tmp_path, "cpu", 1)]
    found = strict_json(page.parent / "report.json")
    assert (found["preset"], found["steps"], found["seed"]) == ("tiny", 30, 7)
    assert found["domains"] == {"a": "summer", "b": "winter"}
    text = page.read_text(encoding="utf-8")
    assert "preset tiny, 30 steps of 2 + 2 images, seed 7, 50 s" in text
    assert f"n = {TEST} held-out scenes" in text
    assert "an abacus" in text
    assert "numpy " + np.__version__ in text
    demo(tmp_path)
    assert calls.train[1][3:] == ({"seed": 0}, {"report": "none"})
    assert f"{preset('tiny').steps:,} steps" in page.read_text(encoding="utf-8")


def test_the_data_is_made_once(stand_in, tmp_path, monkeypatch):
    stand_in(lambda sources, truth, direction: sources)
    fresh = tmp_path / "home"
    monkeypatch.setenv("UNPAIRED_DATA", str(fresh))
    made = unpaired.demo._obtain()
    assert made == fresh / "seasons-lite"
    before = (made / "testA" / "0000.png").stat().st_mtime_ns
    assert unpaired.demo._obtain() == made
    assert (made / "testA" / "0000.png").stat().st_mtime_ns == before


def test_the_index_is_written_last(stand_in, tmp_path, monkeypatch):
    stand_in(lambda sources, truth, direction: sources)
    renamed = []
    rename = storage.os.replace

    def spy(source, target):
        renamed.append(target.name)
        rename(source, target)

    monkeypatch.setattr(storage.os, "replace", spy)
    demo(tmp_path)
    report = ["report.json", "pictures.png", "index.html"]
    assert [name for name in renamed if name in report] == report
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(report)


@pytest.mark.parametrize("fails", ["render", "contact_sheet", "as_json"])
def test_a_report_that_fails_leaves_the_old_one(stand_in, tmp_path, monkeypatch, fails):
    def broken(*args):
        raise RuntimeError("broken")

    stand_in(lambda sources, truth, direction: sources)
    report = demo(tmp_path).parent
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    stand_in(lambda sources, truth, direction: truth)
    monkeypatch.setattr(unpaired.report.files, fails, broken)
    with pytest.raises(RuntimeError, match="broken"):
        demo(tmp_path)
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before


def test_the_time_of_a_resumed_training_is_all_of_it():
    clock = [10.0, 20.0, 30.0, 5.0, 15.0, 2.0]
    journal = [{"step": step, "seconds": now} for step, now in enumerate(clock)]
    journal.insert(3, {"step": 2, "extended_from": 2})
    assert unpaired.demo._training_seconds(journal) == 30 + 15 + 2
    assert unpaired.demo._training_seconds([]) == 0


def test_a_real_training_of_two_steps(monkeypatch, home, tmp_path, capsys):
    pytest.importorskip("torch")
    small = SeasonsSpec(size=32, train=16, test=TEST, level="lite")
    monkeypatch.setattr(catalogue, "NAMED", {"seasons-lite": small})
    monkeypatch.setenv("UNPAIRED_DATA", str(home))
    page = demo(tmp_path, steps=2, runtime={"device": "cpu", "threads": 1})
    written = page.read_bytes()
    text = written.decode("utf-8")
    assert "summer → winter" in text
    assert "2 steps of 2 + 2 images" in text
    assert "adversarial_ab" in text
    assert demo(tmp_path, steps=2).read_bytes() == written  # it is finished, and scored again
