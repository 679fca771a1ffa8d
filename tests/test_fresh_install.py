"""Each engine alone in an environment of its own, installed as a user would.

Packages come from wherever pip is set up to find them, pinned by constraints.txt.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LITTLE = {"preset": "tiny", "width": 4, "image-size": 8, "discriminator-layers": 1, "steps": 4}
FLAGS = [word for name, value in LITTLE.items() for word in (f"--{name}", value)]

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    """The `unpaired` command of two environments: one with torch, one with jax."""
    commands = {}
    for extra in ("torch", "jax"):
        folder = tmp_path_factory.mktemp(extra)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = ["install", "--quiet", "--constraint", ROOT / "constraints.txt"]
        subprocess.run([folder / "bin/pip", *install, f"{ROOT}[{extra}]"], check=True)
        commands[extra] = folder / "bin" / "unpaired"
    return commands


@pytest.fixture
def run(environments):
    """Runs a command in the environment of that engine, warnings being errors."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}

    def run(extra, *words):
        python = environments[extra].parent / "python"
        command = [python, "-W", "error", environments[extra], *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=clean, timeout=600)

    return run


def test_each_engine_needs_no_other(run, data, tmp_path):
    for here, other in (("torch", "jax"), ("jax", "torch")):
        folder = tmp_path / here
        trained = run(here, "train", data, "--out", folder, "--engine", here, *FLAGS)
        assert trained.returncode == 0, trained.stderr
        assert f"{here} " in trained.stderr
        refused = run(here, "train", data, "--out", tmp_path / "x", "--engine", other, *FLAGS)
        assert refused.returncode == 2
        last = refused.stderr.strip().splitlines()[-1]
        assert last.startswith(
            f"unpaired: the {other} engine needs {other}, which is not installed"
        )
        # The model of either is translated in both.
    for extra in ("torch", "jax"):
        for trainer in ("torch", "jax"):
            out = tmp_path / f"{trainer}-in-{extra}"
            words = ("translate", tmp_path / trainer, data / "testA", "--to", "b", "--out", out)
            done = run(extra, *words)
            assert done.returncode == 0, done.stderr
            assert len(list(out.iterdir())) == 2
