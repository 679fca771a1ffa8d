"""What many tests share: small domains of images, a small recipe, the fake engine."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

# Tests run side by side, one to a core: their arithmetic must not spread over all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# XLA: two devices on a CPU, for the tests of data parallelism, and half the time to compile.
# What is compiled as users have it runs in processes of its own.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
)
# What one process compiled serves the others, and the next run.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Some environments forbid to keep what Python compiled: each of the many programs that tests start
# would compile all modules again, which takes longer than most of what they do.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    sys.dont_write_bytecode = False
# Shells start what runs in the background with Ctrl-C ignored, and its children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import psutil
import pytest
from PIL import Image

from fake_engine import FakeEngine
from unpaired import console

SMALL = {
    "load_size": 12, "image_size": 8, "width": 2, "blocks": 1, "discriminator_width": 2,
    "discriminator_layers": 1, "pool_size": 4, "batch_size": 2, "identity": 0.5, "ema": 0.9,
    "upsample": "resize", "schedule": "linear", "steps": 20,
}  # fmt: skip
QUICK = {"threads": 1, "log_every": 3, "sample_every": 10, "checkpoint_every": 4}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Tells how a worker of xdist died: by which signal (-9: killed), or with which exit code."""
    if error:
        with contextlib.suppress(AttributeError, subprocess.TimeoutExpired):
            code = node.gateway._io.popen.wait(10)
            free = psutil.virtual_memory().available / 1e9
            line = f"{node.gateway.id} ended with code {code}; {free:.1f} GB of memory are free"
            print(line, file=sys.stderr)


def write_images(folder, count, seed, size=(14, 10)):
    """Writes `count` smooth random images, each its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        coarse = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(
            folder / f"{index:02d}.png"
        )


@pytest.fixture
def data(tmp_path):
    """A data set of 5 and 7 images, and 2 test images each."""
    root = tmp_path / "data"
    for seed, (name, count) in enumerate(
        {"trainA": 5, "trainB": 7, "testA": 2, "testB": 2}.items(), start=1
    ):
        write_images(root / name, count, seed)
    return root


@pytest.fixture
def fake_engine(monkeypatch):
    """`train` with the fake engine instead of a framework's."""
    monkeypatch.setattr("unpaired.training.loop.make_engine", FakeEngine)
    return FakeEngine


@pytest.fixture(autouse=True, scope="module")
def compiled_code_released():
    """A process may have 65,530 memory maps, and each function that JAX compiled holds some 30."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture(autouse=True)
def console_restored():
    """What a test has `console.show` show, as the command line does, ends with the test."""
    yield
    console.show("silent")
    console.log.setLevel(logging.NOTSET)


@pytest.fixture
def shown(capsys):
    """Reads what standard error shows of lines and progress since it was last read."""
    console.show()
    return lambda: capsys.readouterr().err


@pytest.fixture
def on_progress(monkeypatch):
    """Has a function called with (done, total) whenever progress is made; the last one given."""
    usual = console.Progress.update

    def watch(call):
        def update(self, done, total=None, **more):
            usual(self, done, total, **more)
            call(self.done, self.total)

        monkeypatch.setattr(console.Progress, "update", update)

    return watch
