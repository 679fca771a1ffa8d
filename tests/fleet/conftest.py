"""A translation by an inverting model, and folders of images of noise."""

import hashlib
import json

import pytest

from small_images import names_in, put
from translation.conftest import Inverter, inverters, model_file
from unpaired.fleet import places
from unpaired.fleet.one import Translation
from unpaired.translation.files import translate_files
from unpaired.translation.model import load

__all__ = ["Inverter", "inverters", "model_file"]


@pytest.fixture
def model(inverters, model_file):
    return load(model_file(), device="cpu", threads=1, precision="recipe")


@pytest.fixture
def translation(model):
    return Translation.of(model, to="b")


@pytest.fixture
def photos(tmp_path):
    """Twelve images, one of them damaged, one in a subfolder, one of a format that is not kept."""
    folder = tmp_path / "photos"
    for k in range(9):
        put(folder / f"{k:02d}.png", seed=k, size=(8, 8 + 4 * (k % 3)))
    put(folder / "sub" / "deep" / "09.jpg", seed=9)
    put(folder / "10.tif", seed=10)
    (folder / "11.png").write_bytes((folder / "01.png").read_bytes()[:40])
    return folder


@pytest.fixture
def plain(model, photos, tmp_path):
    """The folder of what `translate_files` writes of `photos`, images one by one."""
    translate_files(model, [photos], tmp_path / "plain", to="b", batch_size=1)
    assert len(names_in(tmp_path / "plain")) == 11
    return tmp_path / "plain"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def quick(monkeypatch):
    """No pauses between attempts."""
    monkeypatch.setattr(places, "PAUSE", 0.0)


def rows_in(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def results_in(folder):
    """The results in a folder by name; not its manifests, record and locks."""
    own = (".jsonl", ".json", ".lock", ".parquet")
    return {n: (folder / n).read_bytes() for n in names_in(folder) if not n.endswith(own)}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
