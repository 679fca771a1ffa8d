"""A real process, killed at random moments, ends with the same weights as one left alone."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from conftest import SMALL, write_pictures
from training.test_resume import assert_equal_runs

pytest.importorskip("torch", reason="the torch engine is not installed")

# Wide enough that a checkpoint takes a while to write.
RECIPE = SMALL | {"width": 16, "blocks": 1, "discriminator_width": 16, "steps": 24}


def command(data, out):
    flags = [
        word
        for name, value in RECIPE.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    rest = ["--preset", "tiny", "--threads", "1", "--checkpoint-every", "2", "--log-every", "3"]
    return [sys.executable, "-m", "unpaired", "train", str(data), "--out", str(out), *flags, *rest]


def finish(data, out):
    done = subprocess.run(command(data, out), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def wait_for(condition, process):
    """Waits until `condition` holds or the process has ended; says whether it still runs."""
    while process.poll() is None and not condition():
        time.sleep(0.0005)
    return process.poll() is None


def kill_somewhere(data, out, chance):
    """Starts the training, kills it once: while it writes a checkpoint, or at any other moment."""
    process = subprocess.Popen(
        command(data, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    folder = out / "checkpoints"
    known = set(folder.glob("step-*"))

    def writing():
        return any(folder.glob(".step-*.tmp.safetensors"))

    def moved_on():
        return set(folder.glob("step-*")) != known

    leftovers = set(folder.glob(".step-*"))
    for path in leftovers:  # of an earlier kill; the training would remove them too
        path.unlink()
    in_write = chance.random() < 0.5
    if wait_for(writing if in_write else moved_on, process):
        if not in_write:
            time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
    process.wait()
    return in_write and any(folder.glob(".step-*.tmp.safetensors"))


@pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=[pytest.mark.nightly], id="20 nightly")]
)
def test_killed_at_random_moments(kills, tmp_path):
    data = tmp_path / "data"
    for seed, name in enumerate(("trainA", "trainB"), start=1):
        write_pictures(data / name, 6, seed)
    finish(data, tmp_path / "one")
    chance = random.Random(kills)
    for _ in range(kills):
        kill_somewhere(data, tmp_path / "killed", chance)
    finish(data, tmp_path / "killed")
    assert_equal_runs(tmp_path / "one", tmp_path / "killed")
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_exit_130(number, tmp_path):
    data, out = tmp_path / "data", tmp_path / "run"
    for seed, name in enumerate(("trainA", "trainB"), start=1):
        write_pictures(data / name, 6, seed)
    process = subprocess.Popen(command(data, out), stderr=subprocess.PIPE, text=True)
    assert wait_for(lambda: any((out / "checkpoints").glob("step-*2.safetensors")), process)
    os.kill(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "the same command goes on from there" in told
    assert "Traceback" not in told
