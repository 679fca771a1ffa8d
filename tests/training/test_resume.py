"""Interrupted and resumed: the same run, bit for bit. With the fake engine, PyTorch and JAX."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import unpaired.training.loop as loop
from conftest import QUICK, SMALL, write_images
from fake_engine import FakeEngine
from unpaired.checkpoint import checkpoints, read
from unpaired.errors import ConfigError, Interrupted, RunError
from unpaired.training.journal import TIMES


def log_of(folder):
    """metrics.jsonl without its times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def losses_of(folder):
    """The lines of losses alone."""
    return [line for line in log_of(folder) if "cycle_a" in line]


def assert_equal_runs(one, other):
    """Weights, moments, pools, EMA, log and samples are the same to the last bit."""
    header_one, arrays_one = read(checkpoints(one)[-1])
    header_other, arrays_other = read(checkpoints(other)[-1])
    assert (header_one.step, header_one.pending) == (header_other.step, header_other.pending)
    assert arrays_one.keys() == arrays_other.keys()
    for name, array in arrays_one.items():
        assert array.tobytes() == arrays_other[name].tobytes(), name
    assert log_of(one) == log_of(other)
    for sample in (one / "samples").iterdir():
        assert sample.read_bytes() == (other / "samples" / sample.name).read_bytes()
    model_one, model_other = read(one / "model.safetensors"), read(other / "model.safetensors")
    for name, array in model_one[1].items():
        assert array.tobytes() == model_other[1][name].tobytes(), name
    assert best_of(one) == best_of(other)


def best_of(folder):
    """Step and weights of the best, None where there is none."""
    if not (folder / "best.safetensors").exists():
        return None
    header, arrays = read(folder / "best.safetensors")
    return header.step, header.weights, {name: array.tobytes() for name, array in arrays.items()}


def train(data, out, recipe=None, runtime=None, **rest):
    return loop.train(
        data,
        out=out,
        preset="tiny",
        recipe=SMALL | (recipe or {}),
        runtime=QUICK | (runtime or {}),
        **rest,
    )


def interrupt_after(monkeypatch, steps):
    """Sends SIGINT to this process in the middle of step `steps` + 1."""
    engine_of = loop.make_engine

    def make(recipe, runtime):
        engine = engine_of(recipe, runtime)
        step, done = engine.train_step, []

        def train_step(batch, factor):
            if len(done) == steps:
                signal.raise_signal(signal.SIGINT)
            done.append(1)
            return step(batch, factor)

        engine.train_step = train_step
        return engine

    monkeypatch.setattr(loop, "make_engine", make)


@pytest.fixture(params=["fake", "torch", "jax"])
def engine(request, monkeypatch):
    if request.param == "fake":
        monkeypatch.setattr(loop, "make_engine", FakeEngine)
    else:
        pytest.importorskip(request.param, reason=f"the {request.param} engine is not installed")
        engine_of, name = loop.make_engine, request.param
        monkeypatch.setattr(
            loop, "make_engine", lambda recipe, how: engine_of(recipe, replace(how, engine=name))
        )
    return request.param


@pytest.mark.parametrize("stops", [(9,), (0, 3, 7)])
def test_stopped_and_gone_on_equals_one_go(engine, data, tmp_path, monkeypatch, stops):
    train(data, tmp_path / "one")
    for number, steps in enumerate(stops):
        with monkeypatch.context() as patch:
            interrupt_after(patch, steps)
            with pytest.raises(Interrupted, match="stopped at step"):
                # the number of loader threads changes from start to start
                train(data, tmp_path / "parts", runtime={"workers": 1 + number})
    train(data, tmp_path / "parts", runtime={"workers": 4})
    assert_equal_runs(tmp_path / "one", tmp_path / "parts")


@pytest.mark.parametrize("stops", [(9,), (0, 3, 7)])
def test_evaluations_go_on_as_in_one_go(engine, data, tmp_path, monkeypatch, stops):
    """Criteria, findings, discriminators' history, the best and what was waited are the same."""
    asked = {"recipe": {"validation": 0.5}, "runtime": {"evaluate_every": 2}}
    train(data, tmp_path / "one", **asked)
    for steps in stops:
        with monkeypatch.context() as patch:
            interrupt_after(patch, steps)
            with pytest.raises(Interrupted, match="stopped at step"):
                train(data, tmp_path / "parts", **asked)
    train(data, tmp_path / "parts", **asked)
    assert_equal_runs(tmp_path / "one", tmp_path / "parts")
    evaluated = [line for line in log_of(tmp_path / "parts") if "validation" in line]
    assert [line["step"] for line in evaluated] == list(range(2, 21, 2))
    assert best_of(tmp_path / "parts") is not None


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_patience_is_counted_over_a_stop(fake_engine, data, tmp_path, monkeypatch, stop):
    asked = {"recipe": {"validation": 0.5, "steps": 60}}
    asked["runtime"] = {"evaluate_every": 1, "patience": 3}
    ended = train(data, tmp_path / "one", **asked).step
    assert stop + 1 < ended < 60
    with monkeypatch.context() as patch:
        interrupt_after(patch, stop)
        with pytest.raises(Interrupted):
            train(data, tmp_path / "parts", **asked)
    assert train(data, tmp_path / "parts", **asked).step == ended
    assert_equal_runs(tmp_path / "one", tmp_path / "parts")


def test_a_start_from_the_images_is_resumed(engine, data, tmp_path, monkeypatch):
    asked = {"recipe": {"start": "identity"}}
    train(data, tmp_path / "one", **asked)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 9)
        with pytest.raises(Interrupted, match="stopped at step"):
            train(data, tmp_path / "parts", **asked)
    run = train(data, tmp_path / "parts")  # flags need not be repeated
    assert run.config.recipe.start == "identity"
    assert_equal_runs(tmp_path / "one", tmp_path / "parts")
    with pytest.raises(RunError, match=r"another recipe \(--start identity -> noise\)"):
        train(data, tmp_path / "parts", {"start": "noise"})


def test_unequal_bands_start_from_noise_and_say_so_once(engine, data, tmp_path, caplog):
    for path in sorted((data / "trainB").iterdir()):
        Image.open(path).convert("L").save(path)
    asked = {"recipe": {"start": "identity"}}
    run = train(data, tmp_path / "run", **asked)
    told = "--start identity needs equal bands, and a has 3 and b 1: starting from noise"
    assert [line for line in caplog.messages if "noise" in line] == [told]
    assert run.config.recipe.start == "noise"
    assert 'start = "noise"' in (tmp_path / "run" / "config.toml").read_text()
    caplog.clear()
    run = train(data, tmp_path / "run", **asked, extend=2)
    assert (run.step, [line for line in caplog.messages if "noise" in line]) == (22, [])
    train(data, tmp_path / "plain")
    train(data, tmp_path / "plain", extend=2)
    assert_equal_runs(tmp_path / "run", tmp_path / "plain")


def test_grey_read_as_rgb_starts_from_the_images(fake_engine, data, tmp_path, caplog):
    for path in sorted((data / "trainB").iterdir()):
        Image.open(path).convert("L").save(path)
    run = train(data, tmp_path / "run", {"start": "identity", "bands_b": 3})
    assert run.config.recipe.start == "identity"
    assert "noise" not in caplog.text


def test_equal_runs_are_equal_files(engine, data, tmp_path):
    train(data, tmp_path / "one")
    train(data, tmp_path / "other")
    for path in checkpoints(tmp_path / "one"):
        assert path.read_bytes() == (tmp_path / "other" / "checkpoints" / path.name).read_bytes()


def test_another_seed_is_another_run(engine, data, tmp_path):
    train(data, tmp_path / "one")
    train(data, tmp_path / "other", {"seed": 1})
    with pytest.raises(AssertionError):
        assert_equal_runs(tmp_path / "one", tmp_path / "other")


def test_interrupted_says_so_and_has_exit_code_130(fake_engine, data, tmp_path, monkeypatch):
    interrupt_after(monkeypatch, 5)
    with pytest.raises(Interrupted) as stopped:
        train(data, tmp_path / "run")
    assert stopped.value.exit_code == 130
    assert "step 6 of 20" in str(stopped.value)
    assert read(checkpoints(tmp_path / "run")[-1])[0].step == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_longer_log_than_its_checkpoint_is_cut_back(fake_engine, data, tmp_path, monkeypatch):
    """A killed run has logged steps that its checkpoint does not know, and half a line."""
    train(data, tmp_path / "one")
    train(data, tmp_path / "killed")
    for path in checkpoints(tmp_path / "killed")[1:]:
        path.unlink()
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "cyc')
    train(data, tmp_path / "killed")
    assert_equal_runs(tmp_path / "one", tmp_path / "killed")


def test_a_run_of_another_recipe_is_refused(fake_engine, data, tmp_path):
    train(data, tmp_path / "run")
    with pytest.raises(RunError, match=r"--cycle 10\.0 -> 5\.0; --seed 0 -> 3"):
        train(data, tmp_path / "run", {"cycle": 5.0, "seed": 3})
    with pytest.raises(RunError, match="--preset tiny -> small"):
        loop.train(data, out=tmp_path / "run", preset="small", recipe=SMALL)


def test_flags_need_not_be_repeated(fake_engine, data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(Interrupted):
            train(data, tmp_path / "run")
    run = loop.train(data, out=tmp_path / "run")
    assert run.step == 20
    assert run.config.recipe.width == 2
    assert run.config.runtime.log_every == 3  # remembered from config.toml


def test_other_data_are_refused(fake_engine, data, tmp_path):
    train(data, tmp_path / "run")
    write_images(data / "trainA", 1, seed=99)  # the first image becomes another
    with pytest.raises(RunError, match="a run on other images"):
        train(data, tmp_path / "run")


def test_a_finished_run_returns_at_once_and_can_be_extended(fake_engine, data, tmp_path):
    train(data, tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert train(data, tmp_path / "run").step == 20
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
    run = train(data, tmp_path / "run", extend=10)
    assert run.config.recipe.steps == 30
    assert {"step": 20, "extended_from": 20, "extended_to": 30} in log_of(tmp_path / "run")
    assert read(checkpoints(tmp_path / "run")[-1])[0].step == 30
    assert "steps = 30" in (tmp_path / "run" / "config.toml").read_text()


def test_extending_nothing_is_refused(fake_engine, data, tmp_path):
    with pytest.raises(RunError, match="no run to extend"):
        train(data, tmp_path / "run", extend=10)


def test_epochs_are_passes_over_the_larger_domain(fake_engine, data, tmp_path):
    recipe = {name: value for name, value in SMALL.items() if name != "steps"}
    run = loop.train(data, out=tmp_path / "run", preset="tiny", recipe=recipe, epochs=3)
    assert run.config.recipe.epoch_steps == 4  # 7 images, two a step
    assert run.step == 12


def test_minutes_are_measured_and_fixed(fake_engine, data, tmp_path, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: 10.0 * next(clock))
    recipe = {name: value for name, value in SMALL.items() if name != "steps"}
    run = loop.train(
        data,
        out=tmp_path / "run",
        preset="tiny",
        recipe=recipe,
        runtime=QUICK,
        minutes=0.1,
    )
    assert run.step == 12  # 20 steps in 10 seconds: 6 seconds are 12
    train(data, tmp_path / "same", {"steps": 12})
    assert_equal_runs(tmp_path / "run", tmp_path / "same")  # measuring left no trace


def test_two_lengths_are_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="--steps and --minutes exclude each other"):
        train(data, tmp_path / "run", minutes=1)


def test_names_bands_and_fingerprint_are_recorded(fake_engine, data, tmp_path):
    recipe = train(data, tmp_path / "run").config.recipe
    assert (recipe.bands_a, recipe.bands_b, recipe.depth_a, recipe.epoch_steps) == (3, 3, 8, 4)
    assert len(recipe.data_fingerprint) == 64


def test_only_the_newest_checkpoints_are_kept(fake_engine, data, tmp_path):
    train(data, tmp_path / "run", runtime={"keep": 2})
    assert [path.stem for path in checkpoints(tmp_path / "run")] == [
        "step-00000016",
        "step-00000020",
    ]
    stored = {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith(".")}
    assert stored == {
        "checkpoints", "config.toml", "data.json", "metrics.jsonl", "model.safetensors", "samples",
    }  # fmt: skip


def test_the_logged_loss_is_the_mean_since_the_line_before(fake_engine, data, tmp_path):
    train(data, tmp_path / "each", runtime={"log_every": 1})
    train(data, tmp_path / "means", runtime={"log_every": 3})
    each = {line["step"]: line["cycle_a"] for line in losses_of(tmp_path / "each")}
    for line in losses_of(tmp_path / "means"):
        first = (line["step"] - 1) // 3 * 3 + 1
        expected = np.mean([each[step] for step in range(first, line["step"] + 1)])
        assert line["cycle_a"] == pytest.approx(expected, rel=1e-12)
