"""Each engine alone in an environment of its own, installed as a user would: from the wheel.

The wheel is built from the sdist, as an index would serve both.
Packages come from wherever pip is set up to find them, pinned by constraints.txt.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LITTLE = {"preset": "tiny", "width": 4, "image-size": 8, "discriminator-layers": 1, "steps": 4}
FLAGS = [word for name, value in LITTLE.items() for word in (f"--{name}", value)]

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that pip builds from the sdist, in an environment of its own."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True)
    (sdist,), (direct,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    again = tmp_path_factory.mktemp("again")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", again, sdist]
    subprocess.run(pip, check=True)
    (built,) = again.glob("*.whl")
    with zipfile.ZipFile(direct) as one, zipfile.ZipFile(built) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
    return built


@pytest.fixture(scope="module")
def environments(wheel, tmp_path_factory):
    """The `unpaired` command of two environments: one with torch, one with jax."""
    commands = {}
    for extra in ("torch", "jax"):
        folder = tmp_path_factory.mktemp(extra)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = ["install", "--quiet", "--constraint", ROOT / "constraints.txt"]
        subprocess.run([folder / "bin/pip", *install, f"{wheel}[{extra}]"], check=True)
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


def test_the_installed_package_is_whole(environments, tmp_path):
    """Typed, with its data, and away from the checkout; its version is that of the wheel."""
    code = """
import tomllib, unpaired
from importlib.metadata import files, version
from importlib.resources import files as resources
from pathlib import Path
root = resources("unpaired")
assert (root / "py.typed").is_file()
assert tomllib.loads((root / "data/paper.toml").read_text())
missing = [str(f) for f in files("unpaired") if not Path(f.locate()).is_file()]
assert missing == [], missing
print(Path(unpaired.__file__).resolve().parent, version("unpaired"))
"""
    for command in environments.values():
        python = command.parent / "python"
        done = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        where, version = done.stdout.split()
        assert Path(where).is_relative_to(command.parents[1].resolve())
        said = subprocess.run([command, "--version"], capture_output=True, text=True, cwd=tmp_path)
        assert said.stdout.strip() == f"unpaired {version}"
        checked = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


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
