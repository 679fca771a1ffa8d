"""Signals sent to the program at random moments: exit 130, no traceback, nothing half done."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import SMALL_RUN
from conftest import write_images
from training.test_resume import assert_equal_runs

PROGRAM = Path(__file__).parents[1] / "slow_program.py"
INT, TERM = signal.SIGINT, signal.SIGTERM


def started(seconds, *words):
    """The program, its first network at work."""
    command = [sys.executable, PROGRAM, str(seconds), *map(str, words)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "begun\n", process.communicate()[1]
    return process


def finished(*words):
    process = started(0, *words)
    told = process.communicate(timeout=60)
    return process.returncode, told[1]


def interrupted(process, numbers, seed, longest):
    """Sends the signals after a random time, in quick succession; returns what was written."""
    draw = random.Random(seed)
    print(f"seed {seed}")
    time.sleep(draw.uniform(0, longest))
    for number in numbers:
        process.send_signal(number)
        time.sleep(draw.choice([0, 0.001, 0.02]))
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    return told


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def many(tmp_path):
    write_images(tmp_path / "many", 40, seed=1)
    return tmp_path / "many"


SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 12))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("numbers", [(INT,), (TERM,), (INT, TERM, TERM)])
def test_translating(fake_run, many, tmp_path, numbers, seed, said):
    words = ["translate", fake_run, many, "--to", "b", "--batch-size", "2", "--out"]
    process = started(0.05, *words, tmp_path / "out")
    told = interrupted(process, numbers, seed, longest=0.5)
    if len(numbers) == 1:
        assert told == "unpaired: interrupted\n"
        assert not [name for name in files_in(tmp_path / "out") if name.startswith(".")]
    assert said(*words, tmp_path / "out")[0] in (0, 1)  # 1: some exist already
    assert said(*words, tmp_path / "whole")[0] == 0
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.nightly)])
def test_killed_while_translating(fake_run, many, tmp_path, kills, said):
    words = ["translate", fake_run, many, "--to", "b", "--batch-size", "1", "--out"]
    assert said(*words, tmp_path / "whole")[0] == 0
    whole = files_in(tmp_path / "whole")
    halves = 0
    for seed in range(kills):
        out = tmp_path / f"out-{seed}"
        process = started(0.003, *words, out)
        if seed % 2:
            time.sleep(random.Random(seed).uniform(0, 0.2))
        else:  # while a file is being written
            while process.poll() is None and not any(out.rglob(".*.tmp*")):
                time.sleep(0.0001)
        process.kill()
        process.communicate()
        halves += any(out.rglob(".*.tmp*"))
        left = {name: data for name, data in files_in(out).items() if not name.startswith(".")}
        assert left.items() <= whole.items(), f"seed {seed}"
        assert said(*words, out)[0] in (0, 1)
        assert files_in(out) == whole, f"seed {seed}"
        assert not list(out.glob(".*"))
    assert halves or kills < 40  # so many that some hit a file half written


def test_evaluating_leaves_an_older_report(fake_run, tmp_path):
    for seed, name in enumerate(("testA", "testB"), start=1):
        write_images(tmp_path / "pairs" / name, 4, seed)
    shutil.copy(fake_run / "model.safetensors", tmp_path)  # alone, without discriminators
    words = ["evaluate", tmp_path / "model.safetensors", tmp_path / "pairs"]
    words += ["--out", tmp_path / "report"]
    assert finished(*words, "--seed", "3")[0] == 0
    report = files_in(tmp_path / "report")
    assert "index.html" in report
    for seed, numbers in enumerate([(INT,), (TERM,), (TERM, INT)]):
        interrupted(started(0.2, *words, "--seed", "4"), numbers, seed, longest=0.8)
        assert files_in(tmp_path / "report") == report


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("numbers", [(TERM,), (INT, INT), (INT, TERM, INT)])
def test_training(fake_engine, data, tmp_path, numbers, seed, said):
    words = ["train", data, *SMALL_RUN, "--out"]
    process = started(0.05, *words, tmp_path / "run")
    told = interrupted(process, numbers, seed, longest=0.6)
    assert ("run the same command" in told) or len(numbers) > 1
    for out in ("run", "whole"):
        assert said(*words, tmp_path / out)[0] == 0
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")
    assert [path.name for path in (tmp_path / "run").rglob(".*")] == [".lock"]


def test_a_report_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    """A signal between the renames of files that belong together waits for the last."""
    from unpaired.storage import atomic_path, uninterrupted

    names = ("a", "b", "c")
    usual = os.replace

    def interrupting(source, target):
        usual(source, target)
        signal.raise_signal(INT)

    monkeypatch.setattr("unpaired.storage.os.replace", interrupting)

    def write():
        with (
            uninterrupted(),
            atomic_path(tmp_path / "a") as a,
            atomic_path(tmp_path / "b") as b,
            atomic_path(tmp_path / "c") as c,
        ):
            for path in (a, b, c):
                path.write_text("new")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [(tmp_path / name).read_text() for name in names] == ["new"] * 3
    assert signal.getsignal(INT) is signal.default_int_handler
