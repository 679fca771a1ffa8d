"""A model file, and a translator in plain numpy in place of a framework."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from other_user import let_everybody_in
from unpaired import checkpoint
from unpaired.config import Config, Runtime
from unpaired.presets import preset
from unpaired.translation.model import load


class Inverter:
    """Turns every image into its negative, in the bands of the other domain."""

    memory = "host"
    methods = ("trained",)

    def __init__(self, recipe, runtime):
        self.bands = {"a": recipe.bands_a, "b": recipe.bands_b}
        self.runtime = runtime
        self.loaded: dict[str, np.ndarray] = {}
        self.shapes: list[tuple[int, ...]] = []
        self.error: Exception | None = None

    def load_generators(self, arrays):
        self.loaded.update(arrays)

    def use(self, method):
        assert method in self.methods

    def translate(self, images, direction):
        self.shapes.append(images.shape)
        assert images.dtype == np.float32
        assert -1 <= images.min() <= images.max() <= 1
        assert images.shape[1] % 4 == images.shape[2] % 4 == 0
        assert min(images.shape[1:3]) >= 8
        assert images.shape[3] == self.bands[direction[0]]
        if self.error:
            raise self.error
        bands = self.bands[direction[1]]
        if bands == images.shape[3]:
            return -images
        return np.repeat(-images[..., :1], bands, axis=3)


@pytest.fixture
def inverters(monkeypatch: pytest.MonkeyPatch) -> list[Inverter]:
    """Replaces the framework by Inverter; the list has all that were created."""
    made: list[Inverter] = []

    def make(recipe, runtime):
        made.append(Inverter(recipe, runtime))
        return made[-1]

    monkeypatch.setattr("unpaired.engines.loading.make_translator", make)
    return made


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model file; keyword arguments go into the recipe."""

    def write(*, arrays=None, kind="model", step=12, path=tmp_path / "model.safetensors", **recipe):
        settled = {
            "name_a": "summer", "name_b": "winter", "bands_a": 3, "bands_b": 3, "depth_a": 8,
            "depth_b": 8,
        }  # fmt: skip
        if arrays is None:
            arrays = {
                f"generator_{way}.stem.weight": np.ones(3, np.float32) for way in ("ab", "ba")
            }
        config = Config(preset("tiny", settled | recipe), Runtime())
        checkpoint.write(path, checkpoint.Header(kind, config, step), arrays)
        return path

    return write


@pytest.fixture
def model(inverters, model_file):
    return load(model_file(), device="cpu", threads=1)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def photos(tmp_path):
    return tmp_path / "photos"


@pytest.fixture
def unprivileged(tmp_path):
    """A context in which modes of files count: as another user where this one is root."""

    @contextmanager
    def become() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        for path in (tmp_path, *tmp_path.rglob("*")):
            os.lchown(path, 65534, 65534)
        let_everybody_in(tmp_path)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return become
