import json

import numpy as np
import pytest

from conftest import QUICK, SMALL
from fake_engine import FakeEngine
from small_models import Projected, smooth, write_data
from unpaired import checkpoint
from unpaired.errors import CheckpointError
from unpaired.training import run_report
from unpaired.training.loop import train

FILES = {"index.html", "pictures.png", "report.json"}


@pytest.fixture
def tested(tmp_path):
    """A data set with a test set of 4 and 3 images."""
    splits = {"trainA": smooth(5, 1), "trainB": smooth(7, 2)}
    return write_data(tmp_path / "tested", **splits, testA=smooth(4, 3), testB=smooth(3, 4))


@pytest.fixture
def reports(monkeypatch):
    """The reports of a run as they are written."""
    written = []
    write = run_report.write_report

    def watched(report, folder):
        written.append(report)
        return write(report, folder)

    monkeypatch.setattr(run_report, "write_report", watched)
    return written


def run(data, tmp_path, *, recipe=None, **runtime):
    settings = {"recipe": SMALL | (recipe or {}), "runtime": QUICK | runtime}
    return train(data, out=tmp_path / "run", **settings)


def test_a_training_ends_with_a_report(fake_engine, tested, tmp_path, shown):
    run(tested, tmp_path)
    folder = tmp_path / "run" / "report"
    assert {path.name for path in folder.iterdir()} == FILES
    written = json.loads((folder / "report.json").read_text())
    assert written["steps"] == {"the model": 20}
    assert written["n"] == {"a": 4, "b": 3}
    assert written["data_fingerprint"]
    scores = written["scores"]["ab"]
    assert {"the model", "identity", "mean image of the target domain"} <= scores.keys()
    assert shown().count(f"report: {folder / 'index.html'}") == 1


def test_the_report_has_what_the_run_has(fake_engine, tested, tmp_path, reports):
    finished = run(tested, tmp_path)
    (report,) = reports
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert list(report.journal) == [json.loads(line) for line in lines]
    assert report.config == finished.config.to_toml()
    assert "step 20" in report.facts["the model"]
    assert "running mean, decay 0.9" in report.facts["the model"]
    # The engine that trained has its discriminators at hand.
    assert not any("discriminators are needed" in f.message for f in report.findings)
    assert any(f.name == "discriminator wins" and np.isfinite(f.value) for f in report.findings)


def test_the_images_are_the_engine_s_of_the_last_step(fake_engine, tested, tmp_path, reports):
    run(tested, tmp_path)
    (report,) = reports
    finished = checkpoint.read(checkpoint.checkpoint_path(tmp_path / "run", 20))
    engine = FakeEngine(finished[0].config.recipe, None)
    engine.load(finished[1])
    example = report.examples["ab"]["at random"][0]
    made = engine.translate(example.source[np.newaxis] / np.float32(127.5) - 1, "ab")[0]
    assert np.abs(example.generated - (made + 1) * 127.5).max() <= 0.51


def test_reports_at_evaluations_and_none(fake_engine, tested, tmp_path, reports):
    run(tested, tmp_path / "more", report="evaluations", evaluate_every=8)
    assert [report.record["steps"]["the model"] for report in reports] == [8, 16, 20]
    reports.clear()
    run(tested, tmp_path / "end", evaluate_every=8)
    assert [report.record["steps"]["the model"] for report in reports] == [20]
    reports.clear()
    run(tested, tmp_path / "none", report="none", evaluate_every=8)
    assert reports == []
    assert not (tmp_path / "none" / "run" / "report").exists()


def test_the_report_changes_nothing_of_the_training(fake_engine, tested, tmp_path):
    states = []
    for report in ("none", "evaluations"):
        run(tested, tmp_path / report, report=report, evaluate_every=5)
        path = checkpoint.checkpoint_path(tmp_path / report / "run", 20)
        states.append(checkpoint.read(path)[1])
    assert states[0].keys() == states[1].keys()
    for name, array in states[0].items():
        np.testing.assert_array_equal(states[1][name], array)


def test_a_finished_run_stays_as_it_is(fake_engine, tested, tmp_path, reports):
    run(tested, tmp_path)
    run(tested, tmp_path)
    assert len(reports) == 1


def test_without_enough_test_images_there_is_no_report(fake_engine, data, tmp_path, shown):
    """Two of each are too few."""
    run(data, tmp_path)
    assert not (tmp_path / "run" / "report").exists()
    assert "finished: " in shown()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CheckpointError("weights.pth is damaged"), "no report: weights.pth is damaged"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "no report: MemoryError"),
    ],
)
def test_a_report_that_fails_does_not_lose_the_run(
    fake_engine, tested, tmp_path, monkeypatch, shown, error, told
):
    def fails(*arguments):
        raise error

    monkeypatch.setattr(run_report, "evaluate_models", fails)
    assert run(tested, tmp_path, report="evaluations", evaluate_every=10).step == 20
    lines = [line for line in shown().splitlines() if "no report: " in line]
    assert len(lines) == 2  # of steps 10 and 20
    assert all(told in line for line in lines)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_test_image_that_went_missing_loses_the_report_alone(
    fake_engine, tested, tmp_path, shown, monkeypatch
):
    evaluated = run_report.evaluate_models

    def after_a_loss(*arguments):
        (tested / "testA" / "testA-003.png").unlink()
        return evaluated(*arguments)

    monkeypatch.setattr(run_report, "evaluate_models", after_a_loss)
    assert run(tested, tmp_path).step == 20
    assert "no report: " in (told := shown())
    assert "testA-003.png" in told


def test_features_of_the_runtime_are_those_of_the_report(
    fake_engine, tested, tmp_path, monkeypatch, reports
):
    monkeypatch.setattr("unpaired.evaluation.evaluate.make_features", lambda *each: Projected())
    run(tested, tmp_path, features="weights.pth", recipe={"image_size": 8, "load_size": 8})
    (report,) = reports
    assert report.facts["features"] == Projected.name
    assert "kid" in report.methods[0].values["ab"]


def test_the_limit_holds(fake_engine, tmp_path, monkeypatch, reports):
    monkeypatch.setattr(run_report, "LIMIT", 3)
    splits = {"trainA": smooth(5, 1), "trainB": smooth(7, 2)}
    data = write_data(tmp_path / "data", **splits, testA=smooth(6, 3), testB=smooth(4, 4))
    run(data, tmp_path)
    assert reports[0].record["n"] == {"a": 3, "b": 3}
