"""Files of version 0.1: its models translate, its runs resume, its reports keep their keys.

The files are described in tests/files/v0.1/README.md.
"""

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

pytest.importorskip("torch", reason="the torch engine is not installed")

import unpaired
from unpaired import checkpoint
from unpaired.config import Config
from unpaired.data.source import find_source
from unpaired.evaluation.run_folder import journal_of
from unpaired.storage import read_json_lines
from unpaired.training import data as training_data
from unpaired.translation.files import translate_files
from unpaired.weights.convert import import_original

FILES = Path(__file__).parent / "files" / "v0.1"
EXPECTED = FILES / "expected"
CPU = {"device": "cpu", "threads": 1}


def pixels(path):
    return np.asarray(Image.open(path))


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5, err_msg=name)


def written(path):
    """The header as it is in the file."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["unpaired"])


@pytest.fixture
def copied(tmp_path):
    """The data and the killed run, in folders that may be written."""
    shutil.copytree(FILES / "data", tmp_path / "data")
    shutil.copytree(FILES / "killed", tmp_path / "run")
    return tmp_path / "data", tmp_path / "run"


@pytest.mark.parametrize(
    ("model", "to", "expected"),
    [
        (EXPECTED / "model.safetensors", "b", EXPECTED / "translated.png"),
        (FILES / "imported" / "model.safetensors", "winter", FILES / "imported" / "translated.png"),
    ],
    ids=["trained", "imported"],
)
def test_a_model_translates_as_it_did(model, to, expected):
    found = unpaired.load(model, **CPU).translate(pixels(FILES / "data/testA/0.png"), to=to)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - pixels(expected)).max() <= 1


def test_an_import_is_what_it_was(tmp_path):
    import_original(
        [FILES / "imported" / "latest_net_G_A.pth"], tmp_path / "model.safetensors",
        name_a="summer", name_b="winter",
    )  # fmt: skip
    header, arrays = checkpoint.read(tmp_path / "model.safetensors")
    old_header, old_arrays = checkpoint.read(FILES / "imported" / "model.safetensors")
    assert (old_header.config.recipe.alpha, old_header.config.recipe.frames) == ("mask", "first")
    then = {"alpha": "mask", "frames": "first", "crops": "resize", "gaps": "count"}  # as then
    then |= {"scaling_a": "full", "scaling_b": "full"}
    recipe = replace(header.config.recipe, **then)
    assert replace(header, config=replace(header.config, recipe=recipe)) == old_header
    assert arrays.keys() == old_arrays.keys()
    assert all(np.array_equal(arrays[name], old_arrays[name]) for name in arrays)


def test_a_checkpoint_is_read_and_the_next_ones_are_of_the_new_format(copied):
    data, run = copied
    header, arrays = checkpoint.read(checkpoint.checkpoints(run)[-1])
    assert (header.kind, header.step, len(header.pending["losses"])) == ("checkpoint", 4, 1)
    assert header.pending["evaluations"]["best_step"] == 3
    averaged, weights = checkpoint.generators(header, arrays)
    assert weights == "ema"
    assert_close(averaged, checkpoint.read(run / "model.safetensors")[1])
    unpaired.train(data, out=run)
    formats = [written(path)["format"] for path in checkpoint.checkpoints(run)]
    assert formats == [1, 1, 2]


def test_a_killed_run_resumes_to_the_same_model(copied):
    data, run = copied
    assert unpaired.train(data, out=run).step == 6
    header, arrays = checkpoint.read(run / "model.safetensors")
    old_header, old_arrays = checkpoint.read(EXPECTED / "model.safetensors")
    assert_close(arrays, old_arrays)
    assert (header.step, header.weights) == (old_header.step, old_header.weights) == (6, "ema")
    assert header.config.recipe == old_header.config.recipe


def test_a_killed_run_writes_the_lines_it_would_have_written(copied):
    """With the losses that waited in the old checkpoint, and the evaluations before it."""
    data, run = copied
    before = (run / "metrics.jsonl").read_bytes()
    unpaired.train(data, out=run)
    assert (run / "metrics.jsonl").read_bytes().startswith(before)
    lines = journal_of(run / "model.safetensors")
    old_lines = read_json_lines(EXPECTED / "metrics.jsonl")
    assert [line["step"] for line in lines] == [line["step"] for line in old_lines] == [3, 3, 6, 6]
    for name, value in old_lines[2].items():
        if name not in ("seconds", "pictures_per_second", "loading_share"):
            assert lines[2][name] == pytest.approx(value, abs=1e-5), name
    found, old = lines[3]["validation"], old_lines[3]["validation"]
    assert found["criterion"] == pytest.approx(old["criterion"], rel=1e-4)
    assert [item["fired"] for item in lines[3]["findings"]] == [
        item["fired"] for item in old_lines[3]["findings"]
    ]
    assert checkpoint.read_header(run / "best.safetensors").step == 3


def test_the_data_are_not_checked_again(copied, monkeypatch):
    """data.json is read, with the names that its fields had."""
    folder, run = copied
    data, sizes = find_source(folder), {"image_size": 16, "max_pixels": 10**6}
    cache = json.loads((run / "data.json").read_text())
    cache["listing"] = training_data._listing(data, **sizes)  # files have other times here
    cache["facts"]["left_out"] = [str(folder / "trainA" / "2.png")]
    (run / "data.json").write_text(json.dumps(cache))
    monkeypatch.setattr(training_data, "check", None)
    recipe = checkpoint.read_header(run / "model.safetensors").config.recipe
    prepared = training_data.prepare(data, run, skip_unreadable=False, recipe=recipe, **sizes)
    assert prepared.facts.data_fingerprint == recipe.data_fingerprint
    assert (len(prepared.data.train_a), len(prepared.data.train_b)) == (3, 4)


# Names for people, which are keys of report.json too.
REWORDED = {"mean picture of the target domain": "mean image of the target domain"}


def reworded(table):
    return {REWORDED.get(key, key): value for key, value in table.items()}


def test_a_report_has_the_keys_it_had_and_the_values(copied, monkeypatch):
    # Version 0.1 took all images of equal names for pairs, whatever they showed.
    monkeypatch.setattr("unpaired.evaluation.testset.agreement", lambda *each: 0.0)
    data, run = copied
    unpaired.train(data, out=run)
    found = json.loads((run / "report" / "report.json").read_text())
    old = json.loads((EXPECTED / "report.json").read_text())
    assert list(found) == list(old)
    for name in ("format", "title", "steps", "data_fingerprint", "seed", "n", "paired", "domains"):
        assert found[name] == old[name], name
    assert found["verdict"].keys() == old["verdict"].keys()
    assert [item.keys() for item in found["findings"]] == [item.keys() for item in old["findings"]]
    assert {type(value) for value in found["facts"].values()} == {str}
    added = {"change", "change_lab", "content", "blobs"}  # later metrics
    assert found["figures"].keys() == old["figures"].keys() | added
    for key, figure in old["figures"].items():
        assert found["figures"][key].keys() == figure.keys()
    for direction, methods in old["scores"].items():
        assert list(found["scores"][direction]) == list(reworded(methods))
        for name, method in reworded(methods).items():
            now = found["scores"][direction][name]
            assert now.keys() == method.keys()
            later = set() if now["kind"] == "floor" else added
            assert now["values"].keys() == method["values"].keys() | later
            for key, value in method["values"].items():
                assert now["values"][key] == pytest.approx(value, rel=1e-3, abs=1e-3), (name, key)


def test_the_configuration_is_read_and_names_no_machine():
    config = Config.from_toml((FILES / "killed/config.toml").read_text(), "config.toml")
    assert config == checkpoint.read_header(FILES / "killed" / "model.safetensors").config
    assert config.recipe.start == "noise"  # a later field
    places = [tempfile.gettempdir(), Path.home(), FILES.parents[2]]
    for path in FILES.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(os.fsencode(place) + b"/" in content for place in places), path


# ---- rasters, before they had values of their own ------------------------------------------------

RASTERS = Path(__file__).parent / "files" / "rasters_before"


def test_a_run_on_rasters_resumes_as_they_were_read_then(tmp_path):
    """16 bits by their whole range, resized and cropped; to the same weights, within rounding."""
    pytest.importorskip("rasterio")
    shutil.copytree(RASTERS / "data", tmp_path / "data")
    shutil.copytree(RASTERS / "killed", tmp_path / "run")
    run = unpaired.train(str(tmp_path / "data"), out=tmp_path / "run", report="none", **CPU)
    recipe = run.config.recipe
    assert (run.step, recipe.crops, recipe.scaling_a, recipe.dtype_a) == (4, "resize", "full", "")
    found = checkpoint.read(tmp_path / "run" / "model.safetensors")[1]
    assert_close(found, checkpoint.read(RASTERS / "expected" / "model.safetensors")[1])


def test_a_model_of_rasters_translates_to_the_same_values(tmp_path):
    """What was lost then, the place, is kept now."""
    rasterio = pytest.importorskip("rasterio")
    model = unpaired.load(RASTERS / "expected" / "model.safetensors", **CPU)
    facts = model.config.recipe.domains["a"]
    assert (facts.samples, facts.scaling, facts.names) == ("uint16", "full", ())
    source = RASTERS / "data" / "testA" / "0.tif"
    (done,) = translate_files(model, [source], tmp_path, to="b").done
    with rasterio.open(done) as now, rasterio.open(source) as before:
        assert (now.crs, now.transform) == (before.crs, before.transform)
        found = np.moveaxis(now.read(), 0, 2).astype(int)
    assert np.abs(found - pixels(RASTERS / "expected" / "0.tif")).max() <= 1
