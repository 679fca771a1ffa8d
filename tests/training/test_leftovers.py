"""Results without checkpoints: a finished run stays finished, and nothing is ever replaced."""

import shutil

import numpy as np
import pytest

import unpaired.training.loop as loop
from conftest import QUICK, SMALL, write_images
from fake_engine import FakeEngine
from unpaired import checkpoint
from unpaired.checkpoint import checkpoint_path, read
from unpaired.errors import RunError

pytestmark = pytest.mark.usefixtures("fake_engine")
IMPORTED = "generator_ab.head.bias"


def train(data, out, **rest):
    return loop.train(data, out=out, preset="tiny", recipe=SMALL, runtime=QUICK, **rest)


def contents(folder):
    """All files but the lock and the cache of the check."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {p: p.read_bytes() for p in paths if p.name not in (".lock", "data.json")}


@pytest.fixture
def other(tmp_path):
    """Other images."""
    for seed, name in enumerate(("trainA", "trainB"), start=7):
        write_images(tmp_path / "other" / name, 5, seed)
    return tmp_path / "other"


@pytest.fixture
def finished(data, tmp_path):
    """A finished run whose checkpoints were removed."""
    train(data, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    return tmp_path / "run"


def rejection(data, folder, **rest):
    """The line that rejects a training in `folder`, where nothing changes."""
    before = contents(folder)
    with pytest.raises(RunError) as error:
        train(data, folder, **rest)
    assert "\n" not in str(error.value)
    assert contents(folder) == before
    return str(error.value)


@pytest.mark.parametrize(
    "without", [(), ("config.toml",), ("metrics.jsonl", "samples", "data.json")]
)
def test_a_finished_run_without_checkpoints_is_finished(finished, data, shown, without):
    for name in without:
        path = finished / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents(finished)
    run = train(data, finished)
    assert (run.step, run.config.recipe.steps) == (20, 20)
    assert "is finished: 20 steps; its checkpoints are gone" in shown()
    assert contents(finished) == before


def test_a_finished_run_without_checkpoints_is_of_its_data_and_cannot_be_longer(
    finished, data, other
):
    assert "holds a run on other images" in rejection(other, finished)
    assert "has no checkpoints, which --extend resumes from" in rejection(data, finished, extend=5)
    with pytest.raises(RunError, match="--seed 0 -> 9"):
        loop.train(data, out=finished, preset="tiny", recipe=SMALL | {"seed": 9})


@pytest.mark.parametrize(
    "kept",
    ["model.safetensors", "best.safetensors", "metrics.jsonl", "report", "samples",
     "samples report", "model.safetensors metrics.jsonl config.toml"],
)  # fmt: skip
@pytest.mark.parametrize("step", [4, 16])
def test_what_is_left_of_a_run_is_never_replaced(data, other, tmp_path, monkeypatch, kept, step):
    """Of a run that was not finished, that is; in part or whole, for its own data or others."""
    train(data, tmp_path / "run")
    folder = tmp_path / "left"
    folder.mkdir()
    header, arrays = read(tmp_path / "run" / "model.safetensors")
    for name in kept.split():
        if name.endswith(".safetensors"):
            kind = checkpoint.Header("model", header.config, step)
            checkpoint.write(folder / name, kind, arrays)
        elif name == "report":
            (folder / name).mkdir()
            (folder / name / "index.html").write_text("mine")
        elif (tmp_path / "run" / name).is_dir():
            shutil.copytree(tmp_path / "run" / name, folder / name)
        else:
            shutil.copy(tmp_path / "run" / name, folder / name)
    for images in (data, other):
        line = rejection(images, folder)
        assert f"{folder} holds {kept.split()[0] if ' r' not in kept else 'report'}" in line
        assert "choose another --out, or move it away" in line


@pytest.mark.parametrize("made", ["imported", "damaged", "foreign", "folder", "broken link"])
def test_a_model_of_any_origin_is_never_replaced(data, tmp_path, made):
    folder = tmp_path / "left"
    folder.mkdir()
    path = folder / "model.safetensors"
    if made == "imported":
        train(data, tmp_path / "run")
        config = read(tmp_path / "run" / "model.safetensors")[0].config
        recipe = loop.replace(config.recipe, data_fingerprint="", steps=0)
        header = checkpoint.Header("model", loop.replace(config, recipe=recipe), 0)
        checkpoint.write(path, header, {IMPORTED: np.ones(3, np.float32)})
    elif made == "folder":
        path.mkdir()
        (path / "mine").write_text("mine")
    elif made == "broken link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.write_bytes(b"" if made == "damaged" else b"something of another program")
    assert "holds model.safetensors and no checkpoints" in rejection(data, folder)


def test_a_run_killed_as_it_was_created_is_created_again(data, tmp_path):
    """Its initial weights are nothing that anybody could lose."""
    train(data, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    header, arrays = read(tmp_path / "run" / "model.safetensors")
    for path in (tmp_path / "run").iterdir():
        if path.name not in ("data.json", "config.toml"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    initial = checkpoint.Header("model", header.config, 0)
    checkpoint.write(tmp_path / "run" / "model.safetensors", initial, arrays)
    assert train(data, tmp_path / "run").step == 20
    whole, again = (read(checkpoint_path(tmp_path / k, 20))[1] for k in ("whole", "run"))
    assert all(array.tobytes() == again[name].tobytes() for name, array in whole.items())


def test_other_files_in_the_folder_are_no_run(data, tmp_path):
    for name in ("notes.txt", "config/x", "samples", "checkpoints"):
        (tmp_path / "run" / name).mkdir(parents=True)
    assert train(data, tmp_path / "run").step == 20


def test_nothing_is_read_or_checked_before_it_is_rejected(finished, other, monkeypatch):
    (finished / "model.safetensors").unlink()
    monkeypatch.setattr(loop, "prepare", lambda *a, **k: pytest.fail("the data were checked"))
    monkeypatch.setattr(loop, "make_engine", FakeEngine)
    assert "holds metrics.jsonl, samples and no checkpoints" in rejection(other, finished)
