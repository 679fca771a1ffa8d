"""Checks, warnings, best checkpoint and early stopping, with the fake engine and failing ones."""

import json

import numpy as np
import pytest
from PIL import Image

import unpaired.training.loop as loop
from conftest import QUICK, SMALL
from fake_engine import FakeEngine
from training.test_resume import log_of
from unpaired.checkpoint import checkpoint_path, checkpoints, read
from unpaired.data.layout.domains import DataSet, Folder, find_data
from unpaired.diagnostics.history import History
from unpaired.errors import Diverged, RunError
from unpaired.presets import preset
from unpaired.training.data import set_aside
from unpaired.training.validation import Validation
from unpaired.training.watch import Remembered, choose_probe_images

HALF = {"validation": 0.5}
EVERY = {"evaluate_every": 2}


def train(data, out, recipe=None, runtime=None, **rest):
    runtime = QUICK | EVERY | {"sample_every": 0} | (runtime or {})
    recipe = SMALL | HALF | (recipe or {})
    return loop.train(data, out=out, preset="tiny", recipe=recipe, runtime=runtime, **rest)


def evaluations(folder):
    return [line for line in log_of(folder) if "findings" in line]


def criteria(folder):
    return {line["step"]: line["validation"]["criterion"] for line in evaluations(folder)}


def engine_that(translate, monkeypatch):
    """`train` with an engine whose translations are `translate(images, steps so far)`."""

    class Scripted(FakeEngine):
        def translate(self, images, direction):
            made = translate(images, int(self.arrays["updates"]))
            return np.clip(made, -1, 1).astype(np.float32)

    monkeypatch.setattr(loop, "make_engine", Scripted)


def nearest_at_step_8(images, steps):
    """The images under a pattern that is always seen, and faintest at step 8."""
    pattern = np.indices(images.shape[1:3]).sum(0)[:, :, np.newaxis] % 2
    return images + (0.2 + abs(steps - 8.5) / 20) * pattern


# ---- which images -----------------------------------------------------------------------


def test_validation_images_are_in_no_training_batch(tmp_path, monkeypatch):
    """Every image is of one grey of its own, by which it is known again in a batch."""
    root = tmp_path / "data"
    for name, greys in {"trainA": range(0, 9), "trainB": range(9, 20), "testA": (90, 91)}.items():
        (root / name).mkdir(parents=True)
        for grey in greys:
            Image.new("RGB", (12, 12), (grey,) * 3).save(root / name / f"{grey:03d}.png")
    trained, validated = set(), set()

    def greys_of(images):
        return {int(grey) for grey in np.rint((images + 1) * 127.5).ravel()}

    class Recorder(FakeEngine):
        def train_step(self, batch, rate_factor):
            trained.update(greys_of(batch.real_a) | greys_of(batch.real_b))
            return super().train_step(batch, rate_factor)

    monkeypatch.setattr(loop, "make_engine", Recorder)
    evaluate = Validation.evaluate

    def recording(self, networks):
        loaded = (images for domain in "ab" for images in self.images.load(domain))
        validated.update(*map(greys_of, loaded))
        return evaluate(self, networks)

    monkeypatch.setattr(Validation, "evaluate", recording)
    train(root, tmp_path / "run", {"validation": 0.3})
    assert len(validated) == 3 + 3
    assert trained == set(range(20)) - validated


def test_the_probe_is_of_the_validation_part_else_of_the_test_set_else_of_training(data):
    recipe = preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3})
    whole = find_data(data)
    left, part = set_aside(whole, 0.5, seed=0)

    def chosen(data, part):
        probe = choose_probe_images(data, part, recipe, 10_000)
        seen = [{name.partition("/")[0] for name in probe.files[domain]} for domain in "ab"]
        return probe, [*seen[0], *seen[1]]

    probe, seen = chosen(left, part)
    assert seen == ["trainA", "trainB"]
    assert set(probe.files["a"]) == {f"trainA/{name}" for name in part[0].names}
    assert (len(probe.real["a"]), len(probe.train["a"]), probe.held_out) == (2, 3, True)
    probe, seen = chosen(whole, None)
    assert seen == ["testA", "testB"]
    expected = np.asarray(Image.open(data / "testB" / "01.png").resize((8, 8), 3)) / 127.5 - 1
    np.testing.assert_allclose(probe.real["b"][1], expected, atol=1e-6)
    assert probe.train["b"].shape == (7, 8, 8, 3)
    probe, seen = chosen(find_data((data / "trainA", data / "trainB")), None)
    assert seen == ["trainA", "trainB"]
    assert (probe.train, probe.held_out) == ({}, False)
    lonely = Folder(whole.train_a.root, whole.train_a.names[:1])
    assert (
        choose_probe_images(DataSet("a", "b", lonely, lonely, None, None), None, recipe, 1) is None
    )


def test_a_probe_is_of_8_pictures_from_all_over_the_folder(tmp_path):
    (tmp_path / "x").mkdir()
    for index in range(30):
        Image.new("RGB", (8, 8), (index,) * 3).save(tmp_path / "x" / f"{index:02d}.png")
    folder = Folder(tmp_path / "x", tuple(f"{index:02d}.png" for index in range(30)))
    recipe = preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3})
    data = DataSet("a", "b", train_a=folder, train_b=folder, test_a=None, test_b=None)
    probe = choose_probe_images(data, None, recipe, 10_000)
    assert [name[2:4] for name in probe.files["a"]] == [
        "00", "04", "08", "12", "17", "21", "25", "29",
    ]  # fmt: skip


def test_no_held_out_image_is_told(fake_engine, data, tmp_path, shown):
    folders = data / "trainA", data / "trainB"
    train(folders, tmp_path / "run", {"validation": 0.0})
    assert shown().count("no image is held out") == 1
    (last,) = evaluations(tmp_path / "run")[-1:]
    assert "validation" not in last
    unseen = [row for row in last["findings"] if row["name"] == "discriminator memorises"]
    assert all(row["value"] is None and "not checked" in row["message"] for row in unseen)
    train(folders, tmp_path / "other")
    assert "no image is held out" not in shown()


def test_a_domain_of_one_image_is_trained_without_detectors(fake_engine, data, tmp_path):
    for path in sorted((data / "trainA").iterdir())[1:]:
        path.unlink()
    train((data / "trainA", data / "trainB"), tmp_path / "run", {"validation": 0.0})
    assert all(line["findings"] == [] for line in evaluations(tmp_path / "run"))
    train(data, tmp_path / "tested", {"validation": 0.0})  # there are test images
    assert len(evaluations(tmp_path / "tested")[0]["findings"]) == 17


# ---- the best -----------------------------------------------------------------------------


def test_the_best_is_the_lowest_criterion_of_all(data, tmp_path, monkeypatch):
    engine_that(nearest_at_step_8, monkeypatch)
    train(data, tmp_path / "run", runtime={"keep": 99, "checkpoint_every": 2})
    found = criteria(tmp_path / "run")
    assert list(found) == list(range(2, 21, 2))
    lowest = min(found, key=found.get)
    assert lowest == 8
    header, arrays = read(tmp_path / "run" / "best.safetensors")
    assert (header.kind, header.step, header.weights) == ("model", lowest, "ema")
    _, state = read(checkpoint_path(tmp_path / "run", lowest))
    assert arrays.keys() == read(tmp_path / "run" / "model.safetensors")[1].keys()
    for name, array in arrays.items():
        assert array.tobytes() == state[f"ema.{name}"].tobytes()
    remembered = Remembered.from_pending(read(checkpoints(tmp_path / "run")[-1])[0].pending)
    assert (remembered.best, remembered.best_step) == (found[lowest], lowest)
    assert remembered.waited == 6


def test_the_end_names_the_best(data, tmp_path, monkeypatch, shown):
    engine_that(nearest_at_step_8, monkeypatch)
    train(data, tmp_path / "run")
    best = tmp_path / "run" / "best.safetensors"
    assert f"best on the validation part: {best}, of step 8 (" in shown()
    train(data, tmp_path / "run")
    assert "is finished: 20 steps, best at step 8; give --extend" in shown()


def test_without_a_validation_part_there_is_no_best(fake_engine, data, tmp_path, shown):
    train(data, tmp_path / "run", {"validation": 0.0}, {"patience": 1})
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert read(checkpoints(tmp_path / "run")[-1])[0].step == 20
    told = shown()
    assert "best" not in told
    assert "ignoring --features and --patience: nothing is set aside" in told


def test_evaluations_are_at_the_end_alone_where_none_is_asked(fake_engine, data, tmp_path):
    train(data, tmp_path / "run", runtime={"evaluate_every": 0})
    assert list(criteria(tmp_path / "run")) == [20]
    train(data, tmp_path / "other", runtime={"evaluate_every": 7})
    assert list(criteria(tmp_path / "other")) == [7, 14, 20]
    assert read(tmp_path / "run" / "best.safetensors")[0].step == 20


def test_a_best_that_was_removed_is_chosen_anew(data, tmp_path, monkeypatch):
    engine_that(nearest_at_step_8, monkeypatch)
    train(data, tmp_path / "run", {"steps": 12, "schedule": "linear"})
    (tmp_path / "run" / "best.safetensors").unlink()
    train(data, tmp_path / "run", {"steps": 12}, extend=6)
    found = {step: value for step, value in criteria(tmp_path / "run").items() if step > 12}
    assert read(tmp_path / "run" / "best.safetensors")[0].step == min(found, key=found.get) == 14


def test_another_measure_chooses_anew(data, tmp_path, monkeypatch, shown):
    engine_that(nearest_at_step_8, monkeypatch)
    train(data, tmp_path / "run", {"steps": 12})
    monkeypatch.setattr("unpaired.training.validation.WITHOUT_WEIGHTS", "another")
    train(data, tmp_path / "run", {"steps": 12}, extend=6)
    assert "choosing the best again by another: so far it was chosen by colour" in shown()
    assert read(tmp_path / "run" / "best.safetensors")[0].step == 14


def test_another_share_than_the_runs_is_refused(fake_engine, data, tmp_path):
    train(data, tmp_path / "run")
    with pytest.raises(RunError, match=r"--validation 0\.5 -> 0\.4"):
        train(data, tmp_path / "run", {"validation": 0.4})
    with pytest.raises(RunError, match=r"--validation 0\.5 -> 0\.0"):
        train(data, tmp_path / "run", {"validation": 0.0})


# ---- doing nothing ------------------------------------------------------------------------


def still_until(first, beyond=nearest_at_step_8):
    """The images as they are before step `first`, then worse ones."""
    return lambda images, steps: images if steps < first else beyond(images, steps)


def test_what_does_nothing_is_not_the_best_though_its_criterion_is(data, tmp_path, monkeypatch):
    engine_that(still_until(5), monkeypatch)
    train(data, tmp_path / "run")
    lines = {line["step"]: line["validation"] for line in evaluations(tmp_path / "run")}
    assert [step for step, found in lines.items() if not found["moved"]] == [2, 4]
    assert [lines[step][way]["change"] for step in (2, 4) for way in ("ab", "ba")] == [0] * 4
    assert [lines[step]["ab"]["content"] for step in (2, 4)] == pytest.approx([1, 1])
    found = criteria(tmp_path / "run")
    assert found[2] == found[4] < found[8]  # it would win
    assert read(tmp_path / "run" / "best.safetensors")[0].step == 8


def test_a_direction_that_does_nothing_is_enough_to_be_none(data, tmp_path, monkeypatch):
    class HalfStill(FakeEngine):
        def translate(self, images, direction):
            steps = int(self.arrays["updates"])
            still = direction == "ba" and steps < 9
            made = images if still else nearest_at_step_8(images, steps)
            return np.clip(made, -1, 1).astype(np.float32)

    monkeypatch.setattr(loop, "make_engine", HalfStill)
    train(data, tmp_path / "run")
    assert read(tmp_path / "run" / "best.safetensors")[0].step == 10


def test_patience_does_not_wait_while_nothing_moves(data, tmp_path, monkeypatch, shown):
    engine_that(still_until(11), monkeypatch)
    run = train(data, tmp_path / "run", runtime={"patience": 2})
    assert "stopping early at step 16: no improvement in 2 evaluations" in shown()
    assert run.step == 16
    assert read(tmp_path / "run" / "best.safetensors")[0].step == 12


def test_going_back_to_doing_nothing_is_no_improvement(data, tmp_path, monkeypatch):
    engine_that(lambda i, s: nearest_at_step_8(i, s) if s < 5 else i, monkeypatch)
    run = train(data, tmp_path / "run", runtime={"patience": 3})
    assert run.step == 10
    assert read(tmp_path / "run" / "best.safetensors")[0].step == 4


def test_where_nothing_ever_moves_the_last_is_the_best_and_that_is_told(
    data, tmp_path, monkeypatch, shown
):
    engine_that(still_until(99), monkeypatch)
    best = tmp_path / "run" / "best.safetensors"
    train(data, tmp_path / "run", {"steps": 12}, {"patience": 1})
    told = shown()
    line = "no evaluation changed the images enough to be the best (change in metrics.jsonl): "
    assert f"{line}{best} is the last one, of step 12" in told
    assert "best on the validation part" not in told
    assert read(best)[0].step == 12
    train(data, tmp_path / "run", {"steps": 12})
    assert "is finished: 12 steps; give --extend" in shown()
    # It competes with none of the evaluations that follow, whose criteria are higher.
    engine_that(still_until(13), monkeypatch)
    train(data, tmp_path / "run", {"steps": 12}, {"patience": 0}, extend=6)
    found = criteria(tmp_path / "run")
    assert found[12] < min(found[step] for step in (14, 16, 18))
    assert read(best)[0].step == 14
    assert "best on the validation part" in shown()


def test_a_resumed_run_remembers_that_nothing_moved(data, tmp_path, monkeypatch):
    engine_that(still_until(7), monkeypatch)
    train(data, tmp_path / "run", {"steps": 20}, {"checkpoint_every": 2, "keep": 99})
    whole = [line["validation"] for line in evaluations(tmp_path / "run")]
    for path in checkpoints(tmp_path / "run")[3:]:  # back to step 4
        path.unlink()
    for name in ("best", "model"):
        (tmp_path / "run" / f"{name}.safetensors").unlink()
    train(data, tmp_path / "run", {"steps": 20}, {"checkpoint_every": 2, "keep": 99})
    assert [line["validation"] for line in evaluations(tmp_path / "run")] == whole
    assert read(tmp_path / "run" / "best.safetensors")[0].step == 8


def test_an_evaluation_is_told_in_a_line(data, tmp_path, monkeypatch, shown):
    engine_that(lambda images, steps: images - 20 * 2 / 255, monkeypatch)
    train(data, tmp_path / "run")
    (line,) = (line for line in shown().splitlines() if line.startswith("step 4: "))
    found = evaluations(tmp_path / "run")[1]["validation"]
    changes = [f"{found[way]['change']:.1f}" for way in ("ab", "ba")]
    assert line == (
        f"step 4: criterion {found['criterion']:.4g}, change {changes[0]} and {changes[1]} levels "
        f"of 255, content kept {found['ab']['content']:.2f} and {found['ba']['content']:.2f} "
        "(A to B, B to A)"
    )


# ---- an early end -------------------------------------------------------------------------


def test_patience_ends_the_training(data, tmp_path, monkeypatch, shown):
    engine_that(nearest_at_step_8, monkeypatch)
    run = train(data, tmp_path / "run", runtime={"patience": 2, "sample_every": 10})
    told = shown()
    assert "stopping early at step 12: no improvement in 2 evaluations" in told
    assert "finished: unpaired translate" in told
    assert (run.step, list(criteria(tmp_path / "run"))) == (12, [2, 4, 6, 8, 10, 12])
    assert read(checkpoints(tmp_path / "run")[-1])[0].step == 12
    assert read(tmp_path / "run" / "model.safetensors")[0].step == 12
    assert (tmp_path / "run" / "samples" / "step-00000012.png").exists()
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    run = train(data, tmp_path / "run", runtime={"patience": 0})
    told = shown()
    assert "finished: stopped early at step 12, best at step 8; give --extend" in told
    assert run.step == 12
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_what_stopped_early_goes_on_from_where_it_stands(data, tmp_path, monkeypatch):
    engine_that(nearest_at_step_8, monkeypatch)
    train(data, tmp_path / "run", runtime={"patience": 2})
    run = train(data, tmp_path / "run", runtime={"patience": 3}, extend=8)
    assert (run.config.recipe.steps, run.step) == (20, 18)  # its patience starts again
    assert {"step": 12, "extended_from": 12, "extended_to": 20} in log_of(tmp_path / "run")
    engine_that(lambda images, steps: nearest_at_step_8(images, steps % 12), monkeypatch)
    run = train(data, tmp_path / "run", runtime={"patience": 0}, extend=4)
    assert (run.config.recipe.steps, run.step) == (22, 22)


def test_at_the_last_step_nothing_is_early(data, tmp_path, monkeypatch, shown):
    engine_that(nearest_at_step_8, monkeypatch)
    train(data, tmp_path / "run", {"steps": 12}, {"patience": 2})
    train(data, tmp_path / "run", {"steps": 12}, {"patience": 2})
    told = shown()
    assert "early" not in told
    assert "is finished: 12 steps, best at step 8" in told


# ---- the detectors ------------------------------------------------------------------------


def test_a_collapse_is_told_once_when_it_begins(data, tmp_path, monkeypatch, shown):
    def collapse(images, steps):
        return images if steps < 9 else np.zeros_like(images) + np.linspace(-1, 1, 8)[:, None]

    engine_that(collapse, monkeypatch)
    train(data, tmp_path / "run")
    told = [line for line in shown().splitlines() if ", collapse (" in line]
    assert len(told) == 2  # one each way
    assert all(line.startswith("warning at step 10, collapse (") for line in told)
    assert "(a -> b): translations to b are too similar" in told[0]
    assert "; train on more images, or start again with a lower --discriminator-rate" in told[0]
    fired = {
        line["step"]: [row["fired"] for row in line["findings"] if row["name"] == "collapse"]
        for line in evaluations(tmp_path / "run")
    }
    assert fired == {step: [step > 9] * 2 for step in range(2, 21, 2)}
    train(data, tmp_path / "run", extend=4)
    assert ", collapse (" not in shown()  # told before it was stopped


def test_lines_are_strict_json_and_findings_come_back(fake_engine, data, tmp_path):
    def refuse(word):
        raise AssertionError(word)

    train(data, tmp_path / "run")
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    rows = evaluations(tmp_path / "run")[0]["findings"]
    assert {"name", "where", "value", "limit", "fired", "message", "advice"} == set(rows[0])
    assert len(rows) == 17


def test_an_exploding_loss_is_told_once(data, tmp_path, monkeypatch, shown):
    class Exploding(FakeEngine):
        def train_step(self, batch, rate_factor):
            losses = super().train_step(batch, rate_factor)
            return dict.fromkeys(losses, 90.0 if self.arrays["updates"] == 30 else 0.5)

    monkeypatch.setattr(loop, "make_engine", Exploding)
    runtime = {"log_every": 1, "evaluate_every": 20, "checkpoint_every": 20}
    train(data, tmp_path / "run", {"steps": 140}, runtime)
    told = [line for line in shown().splitlines() if "divergence" in line]
    assert len(told) == 1
    assert "warning at step 40" in told[0]
    assert "180 times its usual size at step 30" in told[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_networks_that_make_nan_stop_and_the_last_good_stands(data, tmp_path, monkeypatch, value):
    class Broken(FakeEngine):
        def translate(self, images, direction):
            broken = self.arrays["updates"] > 9
            return np.full_like(images, value) if broken else super().translate(images, direction)

    monkeypatch.setattr(loop, "make_engine", Broken)
    expected = r"NaN or infinite values in translations to .* at step 10"
    with pytest.raises(Diverged, match=expected) as error:
        train(data, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert read(checkpoints(tmp_path / "run")[-1])[0].step == 8
    assert evaluations(tmp_path / "run")[-1]["step"] == 8


# ---- what travels -------------------------------------------------------------------------


def test_a_checkpoint_from_before_there_were_evaluations_goes_on():
    assert Remembered.from_pending({}) == Remembered()
    assert Remembered.from_pending({"losses": [{"cycle_a": 1.0}]}) == Remembered()


def test_a_checkpoint_from_before_evaluations_had_to_move_resumes():
    old = {name: value for name, value in Remembered(best=0.5, best_step=4, measure="m")
           .to_dict().items() if name != "fallback"}  # fmt: skip
    found = Remembered.from_pending(json.loads(json.dumps({"evaluations": old})))
    assert found == Remembered(best=0.5, best_step=4, measure="m")


def test_what_is_remembered_comes_back():
    remembered = Remembered(
        history=History({"a": (0.5, 1 / 3), "b": (0.25,)}),
        firing=("collapse: a -> b",), best=0.1 + 0.2, best_step=4, measure="m", waited=2,
        stopped=True, fallback=True,
    )  # fmt: skip
    written = json.dumps({"losses": [], "evaluations": remembered.to_dict()})
    assert Remembered.from_pending(json.loads(written)) == remembered


def test_the_best_translates(data, tmp_path):
    pytest.importorskip("torch", reason="the torch engine is not installed")
    from unpaired.translation.model import load

    train(data, tmp_path / "run", {"steps": 4})
    model = load(tmp_path / "run" / "best.safetensors", device="cpu", threads=1)
    made = model.translate(np.zeros((9, 8, 3), np.uint8), to="b")
    assert (made.shape, model.step in (2, 4), model.weights) == ((9, 8, 3), True, "ema")
