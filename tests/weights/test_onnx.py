"""`unpaired export --format onnx`, and exported files as models."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import write_images
from small_models import finished_run
from unpaired.cli.main import main
from unpaired.errors import CheckpointError, ConfigError
from unpaired.evaluation.evaluate import compare
from unpaired.translation.model import load
from unpaired.weights.onnx import export_onnx

pytest.importorskip("onnx", reason="the extra onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

ROOT = Path(__file__).parents[2]
CPU = {"device": "cpu", "threads": 1}


@pytest.fixture
def run(tmp_path):
    """Makes a run folder with a finished model."""
    sizes = {"width": 8, "blocks": 2, "image_size": 16, "load_size": 16}
    return partial(finished_run, tmp_path / "run", **sizes)


def exported(run, tmp_path, **options):
    return [each.path for each in export_onnx(run, tmp_path / "out", threads=1, **options)]


def pixels(size=(18, 25), bands=3):
    return np.random.default_rng(3).integers(0, 256, (*size, bands), np.uint8)


def test_the_command(run, data, tmp_path, capsys):
    words = ["export", str(run()), "--format", "onnx", "--out", str(tmp_path / "out")]
    assert main([*words, "--images", str(data), "--threads", "1"]) == 0
    out = capsys.readouterr().out
    number = r"(\d\.\de-0\d) in \[-1, 1\] \(\S+ levels of 255 on average, \S+ at most\)"
    line = "  greatest difference to the engine on {} " + number
    expected = "".join(
        f"{re.escape(str(tmp_path / 'out' / f'model-{direction}.onnx'))}\n"
        f"{line.format('random images')}\n{line.format(f'{count} training images')}\n"
        for direction, count in (("ab", 5), ("ba", 7))
    )
    found = re.fullmatch(expected, out)
    assert found, out
    assert all(0 < float(each) < 1e-4 for each in found.groups())
    assert main(words) == 2
    assert "model-ab.onnx exists: choose another --out, or replace it" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--quantise", "int8"]) == 2
    assert "--quantise int8 is calibrated on training images: give" in capsys.readouterr().err
    original = ["export", str(run()), "--format", "original", "--out", str(tmp_path / "out")]
    assert main([*original, "--images", str(data)]) == 2
    assert "--quantise and --images are for --format onnx" in capsys.readouterr().err


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize("changes", [{}, {"bands_a": 1, "depth_b": 16}], ids=["rgb", "grey to 16"])
def test_a_file_is_a_model_of_one_direction(run, tmp_path, runtime, changes):
    pytest.importorskip(runtime, reason=f"the extra {runtime} is not installed")
    folder = run(**changes)
    path = exported(folder, tmp_path)[0]
    model = load(path, runtime=runtime, **CPU)
    assert (model.directions, model.step, model.weights) == (("ab",), 5, "ema")
    image = pixels(bands=changes.get("bands_a", 3))
    expected = load(folder, **CPU).translate(image, to="winter")
    step = 257 if expected.dtype == np.uint16 else 1  # a rounding apart
    for each in (model, load(folder, runtime=runtime, **CPU), load(path, runtime="engine", **CPU)):
        result = each.translate(image, to="winter")
        assert result.dtype == expected.dtype
        assert np.abs(result.astype(int) - expected).max() <= step
        assert np.mean(result != expected) < 0.05 * step
    with pytest.raises(
        ConfigError, match="has one direction: its generator_ab translates to winter"
    ):
        model.translate(image, to="summer")


def test_a_file_in_8_bits_is_a_model(run, data, tmp_path):
    folder = run(ema=0.0)
    written = export_onnx(folder, tmp_path / "out", threads=1, quantise="int8", images=data)
    assert written[0].differences[1].images == "2 training images"  # of five, three calibrate
    paths = [each.path for each in written]
    assert [path.name for path in paths] == ["model-ab-int8.onnx", "model-ba-int8.onnx"]
    model = load(paths[1], **CPU)
    expected = load(folder, **CPU).translate(pixels(), to="a").astype(int)
    gap = np.abs(model.translate(pixels(), to="a") - expected)
    assert 0 < gap.mean() < 12
    with pytest.raises(ConfigError, match="is in 8 bits, which engines do not compute in: give"):
        load(paths[1], runtime="engine", **CPU)


def test_exported_files_are_compared_with_the_run(run, data, tmp_path):
    folder = run()
    write_images(data / "testA", 4, 7)
    write_images(data / "testB", 4, 8)
    path = exported(folder, tmp_path)[0]
    report = compare([folder, path], data, threads=1)
    values = [
        method.values["ab"]["patches"].value
        for method in report.methods
        if method.name in ("run", "model-ab.onnx") or "model-ab" in method.name
    ]
    assert len(values) == 2
    assert values[0] == pytest.approx(values[1], rel=0.02)


def test_what_is_rejected(run, data, tmp_path):
    folder = run()
    with pytest.raises(ConfigError, match="--engine jax and --runtime onnx exclude each other"):
        load(folder, engine="jax", runtime="onnx")
    with pytest.raises(ConfigError, match="--runtime is 'tensorrt': choose engine, onnx or"):
        load(folder, runtime="tensorrt")
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "model-ab.onnx")
    with pytest.raises(CheckpointError, match="does not exist"):
        export_onnx(tmp_path / "none", tmp_path / "out")
    (tmp_path / "x.onnx").write_bytes(b"hello")
    with pytest.raises(CheckpointError, match="is damaged or not an ONNX file"):
        load(tmp_path / "x.onnx")


def test_without_an_engine_it_is_exported_unverified(run, tmp_path):
    """In a process of its own, as on a machine without PyTorch and JAX."""
    code = f"""
import sys
for package in ("torch", "jax", "jaxlib", "equinox", "optax"):
    sys.modules[package] = None
from unpaired import console
from unpaired.weights.onnx import export_onnx
from unpaired.translation.model import load
import numpy as np
console.show()
(first, _) = export_onnx({str(run())!r}, {str(tmp_path / "out")!r}, threads=1)
print(len(first.differences))
print(load(first.path, threads=1).translate(np.zeros((8, 8, 3), np.uint8), to="winter").shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n(8, 8, 3)\n"
    assert "not verified: no engine is installed (extras torch and jax)" in done.stderr


def test_the_lines_in_the_docs_run_as_they_are(run, tmp_path, monkeypatch):
    guide = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    folder = run()
    export_onnx(folder, tmp_path / "exported", threads=1)
    Image.fromarray(pixels()).save(tmp_path / "photo.png")
    (tmp_path / "snippet.py").write_text(code)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-W", "error", "snippet.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr
    found = np.asarray(Image.open(tmp_path / "translated.png"))
    expected = load(folder, **CPU).translate(pixels(), to="winter")
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.mean(found != expected) < 0.01
