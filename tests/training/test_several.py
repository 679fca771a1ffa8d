"""Trainings of several processes: stopped, killed, resumed; and what the first tells the others."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import several
from conftest import QUICK, SMALL
from unpaired import checkpoint
from unpaired.cli.main import main
from unpaired.engines.processes import Place
from unpaired.errors import ConfigError, DataError, ToldElsewhere
from unpaired.presets import PRESETS, preset, scaled_to_batch
from unpaired.training import loop
from unpaired.training.parallel import together

STEPS, EVERY = 90, 30
BAR = 60  # seconds for all processes to end


class Launched:
    """Processes of `unpaired train`, forked of one program."""

    def __init__(self, count, data, run, **flags):
        flags = SMALL | {"steps": STEPS, "checkpoint_every": EVERY, "evaluate_every": 45,
                         "log_every": 50, "sample_every": 0, "report": "none", "threads": 1,
                         "workers": 1, "device": "cpu", "validation": 0.4} | flags  # fmt: skip
        words = [str(data), "--out", str(run)]
        for name, value in flags.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        self.run = run
        self.program = subprocess.Popen(
            [sys.executable, several.__file__, "train", str(count), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ids = json.loads(self.program.stdout.readline())

    def wait_for_checkpoint(self, after=0):
        """Waits until a checkpoint after that step is there."""
        until = time.monotonic() + 120
        while time.monotonic() < until and self.program.poll() is None:
            if any(steps_of(path) > after for path in checkpoint.checkpoints(self.run)):
                return
            time.sleep(0.01)
        pytest.fail(f"no checkpoint: {self.program.communicate()}")

    def end(self):
        """The exit codes and what was said, after all have ended."""
        try:
            out, error = self.program.communicate(timeout=120)
        finally:
            for each in self.ids:
                if self.program.poll() is None:
                    os.kill(each, signal.SIGKILL)
        return json.loads(out.splitlines()[-1]), error


def steps_of(path):
    return int(path.stem.removeprefix("step-"))


def newest(run):
    """The newest checkpoint, which is whole."""
    return checkpoint.read(checkpoint.checkpoints(run)[-1])


def test_stopped_and_killed_processes_resume_bit_for_bit(data, tmp_path):
    pytest.importorskip("torch", reason="the torch engine is not installed")
    whole = Launched(2, data, tmp_path / "whole")
    assert whole.end()[0] == [0, 0]

    run = tmp_path / "run"
    stopped = Launched(2, data, run)
    stopped.wait_for_checkpoint()
    os.kill(stopped.ids[1], signal.SIGTERM)
    codes, said = stopped.end()
    assert codes == [130, 130]
    assert said.count("all saved in") == 1
    header, _ = newest(run)
    assert 0 < header.step < STEPS

    killed = Launched(2, data, run)
    killed.wait_for_checkpoint(header.step)
    os.kill(killed.ids[1], signal.SIGKILL)
    began = time.monotonic()
    codes, said = killed.end()
    assert codes[0] > 0
    assert codes[1] == -signal.SIGKILL
    assert time.monotonic() - began < BAR
    assert newest(run)[0].step >= header.step

    assert Launched(2, data, run).end()[0] == [0, 0]
    expected, found = newest(whole.run)[1], newest(run)[1]
    assert newest(run)[0].step == STEPS
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.nightly
@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGKILL), (1, signal.SIGSTOP)])
@pytest.mark.parametrize("count", [2, 4])
def test_a_process_that_is_lost_ends_all(data, tmp_path, rank, number, count):
    """One that hangs is missed by its neighbour, which looks after it."""
    launched = Launched(count, data, tmp_path / "run", batch_size=4, steps=100_000)
    launched.wait_for_checkpoint()
    os.kill(launched.ids[rank], number)
    began = time.monotonic()
    others = [each for each in launched.ids if each != launched.ids[rank]]
    while any(is_alive(each) for each in others) and time.monotonic() - began < 2 * BAR:
        time.sleep(0.2)
    took = time.monotonic() - began
    if number == signal.SIGSTOP:
        os.kill(launched.ids[rank], signal.SIGKILL)
    codes, said = launched.end()
    assert took < BAR
    assert 0 not in codes
    assert said
    newest(launched.run)


def is_alive(process):
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().split(") ")[1][0] != "Z"


@pytest.mark.nightly
def test_jax_processes_equal_one(tmp_path):
    """The scenarios of test_processes.py that JAX has, each of processes of its own."""
    pytest.importorskip("jax", reason="the jax engine is not installed")
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    for name in several.JAX:
        count, (port,) = several.SCENARIOS[name][0], several.free_ports(1)
        started = [
            subprocess.Popen([sys.executable, several.__file__, "jax", str(tmp_path), name,
                              str(count), str(rank), str(port)], env=environment)
            for rank in range(count)
        ]  # fmt: skip
        assert [each.wait(900) for each in started] == [0] * count, name
    whole = dict(np.load(tmp_path / "one.0.npz"))
    for name in ("two", "four", "then of four"):
        found = dict(np.load(tmp_path / f"{name}.0.npz"))
        for array, value in whole.items():
            gap = np.abs(found[array] - value).max() / max(np.abs(value).max(), 1e-300)
            assert gap < 1e-10, (name, array)


# ---- what the first tells the others ------------------------------------------------------


class Others:
    """Processes of which this is the first; what it shares is kept, and nobody answers."""

    def __init__(self, rank=0, count=2, texts=()):
        self.place = Place(rank, count, rank, "127.0.0.1", 1)
        self.shared, self.texts, self.closed = [], list(texts), []

    def share(self, text):
        self.shared.append(text)
        return self.texts.pop(0) if self.place.rank else text

    def sum(self, numbers):
        return list(numbers)

    def close(self, error=None):
        self.closed.append(error)


def test_a_batch_that_does_not_divide_is_rejected_at_once(data, tmp_path, monkeypatch):
    others = Others()
    monkeypatch.setattr(loop, "join", lambda runtime: others)
    with pytest.raises(ConfigError, match="--batch-size 3 cannot be divided among 2 processes"):
        loop.train(data, out=tmp_path / "run", **SMALL | QUICK | {"batch_size": 3})
    assert [type(error) for error in others.closed] == [ConfigError]
    assert others.shared == []
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_the_others_are_silent_where_the_first_rejects(data, tmp_path, monkeypatch):
    others = Others(rank=1, texts=[""])
    monkeypatch.setattr(loop, "join", lambda runtime: others)
    with pytest.raises(ToldElsewhere):
        loop.train(data, out=tmp_path / "run", **SMALL | QUICK)
    assert not (tmp_path / "run").exists()


def test_other_images_on_another_machine_are_rejected(data, tmp_path, monkeypatch, fake_engine):
    first = Others(count=2)
    monkeypatch.setattr(loop, "join", lambda runtime: first)
    monkeypatch.setattr(loop, "make_engine", lambda recipe, runtime, processes: fake_engine(recipe, runtime))  # noqa: E501  # fmt: skip
    loop.train(data, out=tmp_path / "run", **SMALL | QUICK)
    (data / "trainA" / "00.png").unlink()
    second = Others(rank=1, texts=first.shared)
    monkeypatch.setattr(loop, "join", lambda runtime: second)
    with pytest.raises(DataError, match="process 1 finds other images"):
        loop.train(data, out=tmp_path / "run", **SMALL | QUICK)


def test_a_finished_run_is_told_to_the_others(data, tmp_path, monkeypatch, fake_engine):
    run = loop.train(data, out=tmp_path / "run", **SMALL | QUICK)
    first = Others()
    monkeypatch.setattr(loop, "join", lambda runtime: first)
    assert loop.train(data, out=tmp_path / "run") == run
    second = Others(rank=1, texts=first.shared)
    monkeypatch.setattr(loop, "join", lambda runtime: second)
    found = loop.train(data, out=tmp_path / "run")
    assert (found.config.recipe, found.step) == (run.config.recipe, run.step)


def test_all_see_the_same_of_a_request_to_stop():
    class Agreeing(Others):
        def sum(self, numbers):
            return [number + other for number, other in zip(numbers, next(answers), strict=True)]

    class Stop:
        asked = False

    answers = iter([(0, 0), (0, 1)])
    found = together.agreed_batches(iter("xy"), Agreeing(), Stop(), pytest.fail)
    assert list(zip(found, range(2), strict=False)) == [(("x", False), 0), (("y", True), 1)]


def test_all_save_where_one_has_lost_an_image():
    class Failing(Others):
        def sum(self, numbers):
            return [numbers[0] + 1, numbers[1]]

    saved = []

    def save():
        saved.append(1)
        return "all saved"

    for rank, error in ((0, "tells which"), (1, "another process")):
        found = together.agreed_batches(iter("x"), Failing(rank), loop.StopRequest(), save)
        with pytest.raises(Exception, match=error):
            next(found)
    assert saved == [1, 1]


# ---- larger batches -----------------------------------------------------------------------


def test_the_rule_for_larger_batches():
    values = scaled_to_batch("tiny", {"batch_size": 8, "beta2": 0.9})
    recipe, base = preset("tiny", values), PRESETS["tiny"]
    assert recipe.learning_rate == pytest.approx(2 * base.learning_rate)
    assert recipe.discriminator_rate == pytest.approx(2 * base.discriminator_rate)
    assert recipe.beta1 == pytest.approx(0.5**4)
    assert recipe.beta2 == 0.9  # as given
    assert recipe.steps * 8 == base.steps * 2
    # The running mean forgets half of an image's part after as many images.
    halves = [np.log(0.5) / np.log(r.ema) * r.batch_size for r in (recipe, base)]
    assert halves[0] == pytest.approx(halves[1])
    assert scaled_to_batch("tiny", {"batch_size": 2}) == {
        "batch_size": 2, "learning_rate": 4e-4, "discriminator_rate": 4e-4, "beta1": 0.5,
        "beta2": 0.999, "ema": 0.995, "steps": 7500,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="give one"):
        scaled_to_batch("tiny", {})


def test_a_scaled_run_is_resumed_by_the_same_command(data, tmp_path, fake_engine):
    small = {name: value for name, value in SMALL.items() if name not in ("ema", "steps")}
    flags = small | QUICK | {"preset": "tiny", "batch_size": 4, "scale_with_batch": True}
    run = loop.train(data, out=tmp_path / "run", **flags, epochs=3)
    recipe = run.config.recipe
    assert recipe.learning_rate == pytest.approx(4e-4 * 2**0.5)
    assert recipe.ema == pytest.approx(0.995**2)
    assert recipe.steps == 3 * recipe.epoch_steps
    again = loop.train(data, out=tmp_path / "run", **flags | {"preset": None}, epochs=3)
    assert again.config.recipe == replace(recipe)


def test_only_a_training_looks_for_other_processes(monkeypatch, capsys):
    """Programs that start others set these variables for their own ends, too."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["data", "list"]) == 0
    assert main(["train", "nowhere", "--out", "run"]) == 2
    assert "WORLD_SIZE is set and RANK is not" in capsys.readouterr().err
