import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as Pillow
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import unpaired.demo
import unpaired.presets
from small_models import ByHand
from unpaired import storage
from unpaired.checkpoint import Header, write
from unpaired.config import Config, Runtime
from unpaired.data import home as data_home
from unpaired.demo import demo
from unpaired.evaluation.baselines import BASELINES, fit_colour_table
from unpaired.images.image import from_signed, to_signed
from unpaired.metrics import weightless
from unpaired.presets import preset
from unpaired.seasons.dataset import SeasonsSpec
from unpaired.training.loop import Run
from unpaired.translation.model import Model

TEST = 12
SIDES = {"ab": ("A", "B"), "ba": ("B", "A")}


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """The data home, filled by the first test that asks for the data."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def stand_in(monkeypatch, home):
    """Puts a small data set and, for `train` and `load`, a model that is a function in place."""
    small = SeasonsSpec(size=32, train=16, test=TEST, level="lite")
    monkeypatch.setattr(data_home, "NAMED", {"seasons-lite": small})
    monkeypatch.setenv("UNPAIRED_DATA", str(home))
    monkeypatch.setattr(weightless, "_PATCHES", 256)  # quick: the demo's own scores need no patches
    monkeypatch.setattr(weightless, "_PIXELS", 256)
    calls = SimpleNamespace(train=[], load=[], runs={})

    def train(data, *, out, preset, recipe, runtime):
        calls.train.append((data, out, preset, recipe, runtime))
        settled = dataclasses.replace(
            unpaired.presets.preset(preset, recipe),
            bands_a=3,
            bands_b=3,
            depth_a=8,
            depth_b=8,
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
        calls.runs[out] = Run(out, config, settled.steps)
        return calls.runs[out]

    def be(translate):
        """`translate(sources, truth, direction)` of all test images is the model."""

        def of(direction):
            def function(images):
                sources, truth = (read(home, f"test{side}") for side in SIDES[direction])
                known = dict(
                    zip(map(bytes, sources), translate(sources, truth, direction), strict=True)
                )
                # Generated images, on their way back, are no test images: they stay.
                found = [known.get(bytes(x), x) for x in map(to_8_bits, images)]
                return to_signed(np.stack(found))

            return function

        def load(path, *, engine, device, threads, precision):
            assert precision == "recipe"
            calls.load.append((path, device, threads))
            config = calls.runs[path].config
            return Model(
                path=path / "model.safetensors",
                config=config,
                step=config.recipe.steps,
                weights="ema",
                directions=("ab", "ba"),
                translator=ByHand(ab=of("ab"), ba=of("ba")),
            )

        monkeypatch.setattr(unpaired.demo, "train", train)
        monkeypatch.setattr("unpaired.evaluation.evaluate.load", load)
        return calls

    return be


def to_8_bits(signed):
    return from_signed(signed, 8)


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
        | {name: row[name] for name in ("kind", "per_class") if name in row}
        for name, row in found["scores"][direction].items()
    }


def test_a_model_that_knows_the_truth(stand_in, tmp_path, capsys):
    stand_in(lambda sources, truth, direction: truth)
    page = demo(tmp_path / "run")
    assert page == tmp_path / "run" / "report" / "index.html"
    found = strict_json(page.parent / "report.json")
    for direction in SIDES:
        model = scores_of(found, direction)["the model"]
        assert (model["psnr"], model["ssim"]) == ("Infinity", 1.0)
        assert (model["acc16"], model["macro16"]) == (1.0, 1.0)
        assert set(model["per_class"].values()) == {1.0}
    assert found["verdict"]["passed"]
    verdict = "Better than every unpaired baseline in all seven metrics, in both directions."
    assert verdict in page.read_text(encoding="utf-8")
    assert verdict in capsys.readouterr().out


def test_a_model_that_does_nothing(stand_in, tmp_path):
    stand_in(lambda sources, truth, direction: sources)
    page = demo(tmp_path)
    found = strict_json(page.parent / "report.json")
    for direction in SIDES:
        scores = scores_of(found, direction)
        model, untouched = scores["the model"], scores["identity"]
        assert (model.pop("kind"), untouched.pop("kind")) == ("model", "untouched")
        assert model.pop("cycle") == 0
        assert {key: model[key] for key in untouched} == untouched
    assert not found["verdict"]["passed"]
    assert "Not better than every unpaired baseline, in either direction" in page.read_text("utf-8")


def test_a_model_of_one_direction_alone(stand_in, tmp_path):
    stand_in(lambda sources, truth, direction: truth if direction == "ba" else sources)
    page = demo(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "winter to summer: better than every unpaired baseline in all seven metrics." in text
    assert not strict_json(page.parent / "report.json")["verdict"]["passed"]


def test_the_scores_equal_those_of_scikit_image(stand_in, home, tmp_path):
    def model(sources, truth, direction):
        shift = np.random.default_rng(len(direction)).integers(-40, 41, truth.shape)
        return np.clip(truth + shift, 0, 255).astype(np.uint8)

    stand_in(model)
    found = strict_json(demo(tmp_path).parent / "report.json")
    for direction, (source, target) in SIDES.items():
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


def test_every_baseline_is_beside_the_model(stand_in, tmp_path, capsys):
    stand_in(lambda sources, truth, direction: fit_colour_table([(sources, truth)])(sources))
    page = demo(tmp_path)
    found = strict_json(page.parent / "report.json")
    text, printed = page.read_text(encoding="utf-8"), capsys.readouterr().out
    for direction in SIDES:
        scores = scores_of(found, direction)
        model = scores.pop("the model")
        kinds = {name: row["kind"] for name, row in scores.items() if row["kind"] != "floor"}
        assert kinds == {baseline.name: baseline.kind for baseline in BASELINES}
        for name in kinds:
            row = scores[name]
            numbers = rf"{row['psnr']:.2f} +{row['ssim']:.3f} .* {row['macro16']:.3f}"
            assert re.search(rf"^  {name}[ *]+{numbers}$", printed, re.MULTILINE)
            assert f">{row['psnr']:.2f}" in text
        oracle = scores["oracle colour table, fitted on pairs"]
        assert {key: model[key] for key in oracle} == oracle | {"kind": "model"}
    assert "uses pairs, 32 levels a band" in text
    assert printed.count("* uses pairs, 32 levels a band") == 1
    assert re.search(rf"^{re.escape(str(page))} \(\d+ s in all\)$", printed, re.MULTILINE)


def test_the_baselines_know_the_training_images_of_the_target(stand_in, home, tmp_path):
    stand_in(lambda sources, truth, direction: sources)
    found = strict_json(demo(tmp_path).parent / "report.json")
    for direction, (_, target) in SIDES.items():
        mean = np.rint(read(home, f"train{target}").mean(axis=0)).astype(np.uint8)
        truth = read(home, f"test{target}")
        expected = np.mean([peak_signal_noise_ratio(x, mean, data_range=255) for x in truth])
        row = scores_of(found, direction)["mean image of the target domain"]
        assert row["psnr"] == pytest.approx(expected, abs=1e-9)


def test_the_examples_are_the_worst_and_a_fixed_few(stand_in, home, tmp_path):
    worst = {"ab": [3, 8, 0, 11], "ba": [1, 2, 9, 4]}

    def model(sources, truth, direction):
        made = truth.astype(int)
        for rank, index in enumerate(worst[direction]):
            made[index] -= 60 - 10 * rank
        return np.clip(made - 1, 0, 255).astype(np.uint8)

    stand_in(model)

    def names(run):
        text = demo(tmp_path / run).read_text(encoding="utf-8")
        return [int(name) for name in re.findall(r"<figcaption>(\d+)\.png", text)]

    shown = names("one")
    assert shown[6:10] == worst["ab"]
    assert shown[16:20] == worst["ba"]
    random = shown[:6]
    assert sorted(random) == sorted(shown[10:16])
    sources, truths = read(home, "testA"), read(home, "testB")
    changes = [np.abs(model(truths, truths, "ab")[i] - sources[i].astype(int)) for i in random]
    means = [change.mean() for change in changes]
    assert means == sorted(means, reverse=True)
    assert shown == names("two")
    sheet = np.asarray(Pillow.open(tmp_path / "one" / "report" / "pictures.png"))
    pitch = 132 + 16  # an image, a gap, a caption
    assert sheet.shape[0] == 22 + 6 * pitch
    for row, index in enumerate(random):
        top = 22 + pitch * row
        cell = sheet[top : top + 128 : 4, 4 : 4 + 128 : 4]
        np.testing.assert_array_equal(cell, read(home, "testA")[index])


def test_what_is_asked_is_trained_and_told(stand_in, home, tmp_path):
    calls = stand_in(lambda sources, truth, direction: truth)
    asked = {"device": "cpu", "threads": 1}
    page = demo(tmp_path, seed=7, steps=30, runtime=asked)
    assert calls.train == [
        ("seasons-lite", tmp_path, "tiny", {"seed": 7, "steps": 30}, {"report": "none"} | asked)
    ]
    assert calls.load == [(tmp_path, "cpu", 1)]
    found = strict_json(page.parent / "report.json")
    assert (found["preset"], found["steps"], found["data"]) == (
        "tiny",
        {"the model": 30},
        "seasons-lite",
    )
    assert found["domains"] == {"a": "summer", "b": "winter"}
    text = page.read_text(encoding="utf-8")
    assert "30 steps of 2 + 2 images, seed 7, 50 s" in text
    assert f"n = {TEST} of summer and {TEST} of winter" in text
    assert "an abacus" in text
    assert "numpy " + np.__version__ in text
    demo(tmp_path)
    assert calls.train[1][3:] == ({"seed": 0}, {"report": "none"})
    assert f"{preset('tiny').steps:,} steps" in page.read_text(encoding="utf-8")


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


@pytest.mark.parametrize("fails", ["files.render", "files.contact_sheet", "report.Report.to_dict"])
def test_a_report_that_fails_leaves_the_old_one(stand_in, tmp_path, monkeypatch, fails):
    def broken(*args):
        raise RuntimeError("broken")

    stand_in(lambda sources, truth, direction: sources)
    report = demo(tmp_path).parent
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    stand_in(lambda sources, truth, direction: truth)
    monkeypatch.setattr(f"unpaired.report.{fails}", broken)
    with pytest.raises(RuntimeError, match="broken"):
        demo(tmp_path)
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before


def test_the_time_of_a_resumed_training_is_all_of_it(tmp_path):
    clock = [10.0, 20.0, 30.0, 5.0, 15.0, 2.0]
    journal = [{"step": step, "seconds": now} for step, now in enumerate(clock)]
    journal.insert(3, {"step": 2, "extended_from": 2})
    lines = "".join(json.dumps(line) + "\n" for line in journal)
    (tmp_path / "metrics.jsonl").write_text(lines)
    assert unpaired.demo._training_seconds(tmp_path) == 30 + 15 + 2
    assert unpaired.demo._training_seconds(tmp_path / "nowhere") == 0


def test_a_real_training_of_two_steps(monkeypatch, home, tmp_path, capsys):
    pytest.importorskip("torch")
    small = SeasonsSpec(size=32, train=16, test=TEST, level="lite")
    monkeypatch.setattr(data_home, "NAMED", {"seasons-lite": small})
    monkeypatch.setenv("UNPAIRED_DATA", str(home))
    page = demo(tmp_path, steps=2, runtime={"device": "cpu", "threads": 1})
    written = page.read_bytes()
    text = written.decode("utf-8")
    assert "summer → winter" in text
    assert "2 steps of 2 + 2 images" in text
    assert "adversarial_ab" in text
    assert demo(tmp_path, steps=2).read_bytes() == written  # it is finished, and scored again
