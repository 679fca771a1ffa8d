"""Trainings of several processes: stopped, killed, resumed; and what the first tells the others."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import several
from command_line import flags
from conftest import QUICK, SMALL
from unpaired import checkpoint
from unpaired.cli.main import main
from unpaired.engines.processes import Place
from unpaired.errors import ConfigError, DataError, ToldElsewhere
from unpaired.training import loop
from unpaired.training.parallel import together

STEPS, EVERY = 90, 30
BAR = 60  # seconds for all processes to end


class Program:
    """A program that forks trainings: several.py. What it prints is read as it comes."""

    def __init__(self, framework):
        environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
        self.process = subprocess.Popen(
            [sys.executable, several.__file__, "train", framework],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def ask(self, *what):
        print(json.dumps(what), file=self.process.stdin, flush=True)

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.reader.join()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def programs():
    """The program of each engine, started when it is first asked for."""
    started = {}

    def program(framework):
        pytest.importorskip(framework, reason=f"the {framework} engine is not installed")
        if framework not in started:
            started[framework] = Program(framework)
        return started[framework]

    yield program
    for each in started.values():
        each.end()


@pytest.fixture
def launch(programs, tmp_path):
    """Starts several processes of `unpaired train`; those that a failed test leaves are killed."""
    launched = []

    def start(count, data, run, engine="torch", **given):
        said = tmp_path / f"said-{len(launched)}"
        launched.append(Launched(programs(engine), said, count, data, run, engine=engine, **given))
        return launched[-1]

    yield start
    for each in launched:
        each.kill()


def words_of(data, run, **given):
    """The words of a small training after `unpaired train`."""
    values = SMALL | {"steps": STEPS, "checkpoint_every": EVERY, "evaluate_every": STEPS // 2,
                      "log_every": 50, "threads": 1, "workers": 1, "device": "cpu",
                      "validation": 0.4} | given  # fmt: skip
    return [str(data), "--out", str(run), *flags(values)]


class Launched:
    """Processes of `unpaired train`, forked of one program."""

    def __init__(self, program, said, count, data, run, **given):
        words = words_of(data, run, **{"report": "none", "sample_every": 0} | given)
        self.program, self.run, self.said, self.codes = program, run, said, None
        program.ask(count, words, str(said))
        self.ids = program.lines.get(timeout=120)

    def has_ended(self):
        if self.codes is None:
            with contextlib.suppress(queue.Empty):
                self.codes = self.program.lines.get_nowait()
        return self.codes is not None

    def wait_for_checkpoint(self, after=0, seconds=600):
        """Waits until a checkpoint after that step is there."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.has_ended():
            if any(steps_of(path) > after for path in checkpoint.checkpoints(self.run)):
                return
            time.sleep(0.01)
        pytest.fail(f"no checkpoint: {self.codes}, {self.said.read_text()}")

    def end(self, seconds=600):
        """The exit codes and what was said, after all have ended."""
        if self.codes is None:
            self.codes = self.program.lines.get(timeout=seconds)
        return self.codes, self.said.read_text()

    def kill(self):
        """Kills what has not ended."""
        if self.has_ended():
            return
        for each in self.ids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.end()


def steps_of(path):
    return int(path.stem.removeprefix("step-"))


def newest(run):
    """The newest checkpoint, which is whole."""
    return checkpoint.read(checkpoint.checkpoints(run)[-1])


ENGINES = ["torch", pytest.param("jax", marks=pytest.mark.nightly)]


@pytest.mark.parametrize("engine", ENGINES)
def test_stopped_and_killed_processes_resume_bit_for_bit(launch, data, tmp_path, engine):
    whole = launch(2, data, tmp_path / "whole", engine)
    assert whole.end()[0] == [0, 0]

    run = tmp_path / "run"
    stopped = launch(2, data, run, engine)
    stopped.wait_for_checkpoint()
    os.kill(stopped.ids[1], signal.SIGTERM)
    codes, said = stopped.end()
    assert codes == [130, 130]
    assert said.count("all saved in") == 1
    header, _ = newest(run)
    assert 0 < header.step < STEPS

    killed = launch(2, data, run, engine)
    killed.wait_for_checkpoint(header.step)
    os.kill(killed.ids[1], signal.SIGKILL)
    began = time.monotonic()
    codes, said = killed.end()
    assert codes[0] != 0
    assert codes[1] == -signal.SIGKILL
    assert time.monotonic() - began < BAR
    assert newest(run)[0].step >= header.step

    assert launch(2, data, run, engine).end()[0] == [0, 0]
    expected, found = newest(whole.run)[1], newest(run)[1]
    assert newest(run)[0].step == STEPS
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.nightly
@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGKILL), (1, signal.SIGSTOP)])
@pytest.mark.parametrize(("engine", "count"), [("torch", 2), ("torch", 4), ("jax", 2)])
def test_a_process_that_is_lost_ends_all(launch, data, tmp_path, engine, rank, number, count):
    """One that hangs is missed by its neighbour, which looks after it."""
    launched = launch(count, data, tmp_path / "run", engine, batch_size=4, steps=100_000)
    launched.wait_for_checkpoint()
    os.kill(launched.ids[rank], number)
    began = time.monotonic()
    others = [each for each in launched.ids if each != launched.ids[rank]]
    while any(several.is_alive(each) for each in others) and time.monotonic() - began < 2 * BAR:
        time.sleep(0.2)
    took = time.monotonic() - began
    if number == signal.SIGSTOP:
        os.kill(launched.ids[rank], signal.SIGKILL)
    codes, said = launched.end()
    assert took < BAR
    assert 0 not in codes
    assert said
    newest(launched.run)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("scenarios", "one", "several_of"),
    [
        ("short", "short", ["short of two"]),
        ("", "one", ["two", "four", "then of four"]),
    ],
    ids=["short", "whole"],
)
def test_jax_processes_equal_one(tmp_path, scenarios, one, several_of):
    """The scenarios of test_processes.py that JAX has; the short one has the fewest losses."""
    pytest.importorskip("jax", reason="the jax engine is not installed")
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(
        [sys.executable, several.__file__, "jax", tmp_path, *scenarios.split()],
        env=environment, capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    whole = dict(np.load(tmp_path / f"{one}.0.npz"))
    for name in several_of:
        found = dict(np.load(tmp_path / f"{name}.0.npz"))
        assert found.keys() == whole.keys()
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


def test_only_a_training_looks_for_other_processes(monkeypatch, capsys):
    """Programs that start others set these variables for their own ends, too."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["data", "list"]) == 0
    assert main(["train", "nowhere", "--out", "run"]) == 2
    assert "WORLD_SIZE is set and RANK is not" in capsys.readouterr().err
