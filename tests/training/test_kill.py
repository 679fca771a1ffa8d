"""A real process, killed at random moments, ends with the same weights as one left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unpaired.training.loop as loop
from conftest import QUICK, SMALL, write_images
from training.test_resume import assert_equal_runs
from unpaired.cli.main import main

pytest.importorskip("torch", reason="the torch engine is not installed")

# Wide enough that a checkpoint takes a while to write.
RECIPE = SMALL | {"width": 16, "blocks": 1, "discriminator_width": 16, "steps": 24}


def command(data, out, steps=24):
    flags = [
        word
        for name, value in (RECIPE | {"steps": steps}).items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    rest = ["--preset", "tiny", "--threads", "1", "--checkpoint-every", "2", "--log-every", "3"]
    return [sys.executable, "-m", "unpaired", "train", str(data), "--out", str(out), *flags, *rest]


def finish(arguments):
    """Runs the command to its end, in this process: it starts sooner, and computes the same."""
    assert main(arguments[3:]) == 0


def wait_for(condition, process):
    """Waits until `condition` holds or the process has ended; says whether it still runs."""
    while process.poll() is None and not condition():
        time.sleep(0.0002)
    return process.poll() is None


def kill(arguments, folder, chance):
    """Starts the training and kills it: as it begins to write, or at any other moment.

    Returns whether it died (it may have ended before), and whether half a file is left of it.
    """
    for path in folder.glob(".step-*"):  # of an earlier kill; the training would remove them too
        path.unlink()
    known = set(folder.glob("step-*"))
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if chance.random() < 0.5:
        alive = wait_for(lambda: any(folder.glob(".step-*")), process)
    else:
        alive = wait_for(lambda: set(folder.glob("step-*")) != known, process)
        time.sleep(chance.uniform(0, 0.15))
    if alive:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL, any(folder.glob(".step-*"))


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.nightly)])
def test_killed_at_random_moments(kills, tmp_path):
    data = tmp_path / "data"
    for seed, name in enumerate(("trainA", "trainB"), start=1):
        write_images(data / name, 6, seed)
    one, killed = (command(data, tmp_path / out, 20 * kills) for out in ("one", "killed"))
    finish(one)
    chance = random.Random(kills)
    fates = [kill(killed, tmp_path / "killed" / "checkpoints", chance) for _ in range(kills)]
    assert all(died for died, _ in fates)  # the training is long enough for all
    if kills == 20:  # so many that some hit a checkpoint half written; three may all miss
        assert any(half for _, half in fates)
    finish(killed)
    assert_equal_runs(tmp_path / "one", tmp_path / "killed")
    assert [path.name for path in (tmp_path / "killed").rglob(".*")] == [".lock"]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from conftest import QUICK, SMALL
from fake_engine import FakeEngine
import unpaired.training.loop as loop, unpaired.training.run as run
loop.make_engine, write, left = FakeEngine, run.write, [{writes}]
def dying(path, header, arrays):
    left[0] -= path.name == {name!r}
    if left[0] < 0 and not {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, header, arrays)
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
run.write = dying
recipe, runtime = SMALL | {{"validation": 0.5}}, QUICK | {{"evaluate_every": 3}}
loop.train({data!r}, out={out!r}, preset="tiny", recipe=recipe, runtime=runtime)
"""


@pytest.mark.parametrize(
    ("name", "writes", "after"),
    [
        ("best.safetensors", 0, True),  # the first best is there, and no line or state tells of it
        ("best.safetensors", 1, False),  # the second is not
        ("best.safetensors", 1, True),
        ("step-00000020.safetensors", 0, False),  # all is there but the last state
    ],
)
def test_killed_around_the_best(data, tmp_path, fake_engine, name, writes, after):
    """With the fake engine, at exact places: between the best, its line and the checkpoint."""
    facts = {"tests": str(Path(__file__).parents[1]), "data": str(data), "name": name}
    facts |= {"out": str(tmp_path / "killed"), "writes": writes, "after": after}
    process = subprocess.run([sys.executable, "-c", KILLED.format(**facts)], timeout=60)
    assert process.returncode == -signal.SIGKILL
    rest = {"preset": "tiny", "recipe": SMALL | {"validation": 0.5}}
    for out in ("one", "killed"):
        loop.train(data, out=tmp_path / out, runtime=QUICK | {"evaluate_every": 3}, **rest)
    assert_equal_runs(tmp_path / "one", tmp_path / "killed")
    assert [path.name for path in (tmp_path / "killed").rglob(".*")] == [".lock"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_exit_130(number, tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    for seed, name in enumerate(("trainA", "trainB"), start=1):
        write_images(data / name, 6, seed)
    process = subprocess.Popen(command(data, out), stderr=subprocess.PIPE, text=True)
    assert wait_for(lambda: any((out / "checkpoints").glob("step-*2.safetensors")), process)
    os.kill(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "run the same command to resume" in told
    assert "Traceback" not in told
