"""Streamed files: PNG and GeoTIFF through the command line, and kills of its process."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from small_scenes import network, scene, streamed
from unpaired import checkpoint
from unpaired.cli.main import main
from unpaired.config import Config, Runtime
from unpaired.errors import TooLarge
from unpaired.images.formats import read_image, write_image
from unpaired.images.image import Image, to_signed
from unpaired.images.raster.geo import Geo
from unpaired.translation.model import load
from unpaired.translation.streaming.options import Streaming

GEO = Geo(crs="EPSG:32633", transform=(10.0, 0.0, 5e5, 0.0, -10.0, 5e6), nodata=0)


def pixels(height, width, seed=0):
    return np.rint((scene(height, width, seed) + 1) * 127.5).clip(1, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    _, arrays, wanted = network(blocks=1, width=4, depth_a=8, depth_b=8)
    weights = {f"generator_{way}.{k}": v for k, v in arrays.items() for way in ("ab", "ba")}
    checkpoint.write(
        path, checkpoint.Header("model", Config(wanted, Runtime(threads=1)), 1), weights
    )
    return path


def run(*arguments, code=0):
    given = ["translate", *map(str, arguments), "--device", "cpu", "--threads", "1"]
    assert main(given) == code


def levels(path):
    return read_image(path).pixels.astype(int)


def test_what_does_not_fit_is_streamed_and_says_so(model_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("unpaired.translation.memory._MODEST", 0)
    alpha = np.full((75, 110), 200, np.uint8)
    write_image(tmp_path / "in.png", Image(pixels(75, 110), alpha))
    run(model_file, tmp_path / "in.png", "--to", "winter", "--out", tmp_path / "whole")
    assert "streamed" not in capsys.readouterr().err
    run(model_file, tmp_path / "in.png", "--to", "winter", "--out", tmp_path / "out",
        "--memory", "0.1008")  # fmt: skip
    assert "in.png: 110 x 75 pixels are streamed: memory" in capsys.readouterr().err
    whole, out = (read_image(tmp_path / folder / "in.png") for folder in ("whole", "out"))
    assert np.abs(whole.pixels.astype(int) - out.pixels).max() <= 1
    np.testing.assert_array_equal(whole.alpha, out.alpha)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["in.png"]


def test_arrays_are_streamed_too(model_file):
    model = load(model_file, device="cpu", threads=1)
    array = pixels(60, 91)
    whole = model.translate(array, to="winter")
    tiled = replace(model, streaming=Streaming(tile=24)).translate(array, to="winter")
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_what_a_device_has_no_memory_for_is_streamed(model_file, monkeypatch):
    model = load(model_file, device="cpu", threads=1, precision="recipe")
    array = pixels(60, 91)
    whole = model.translate(array, to="winter")

    def too_large(*_):
        raise TooLarge("the device has too little memory")

    monkeypatch.setattr(model.translator, "translate", too_large)
    tiled = model.translate(array, to="winter")
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_the_dry_run_writes_nothing(model_file, tmp_path, capsys):
    write_image(tmp_path / "in.png", Image(pixels(40, 40)))
    run(model_file, tmp_path / "in.png", "--to", "winter", "--out", tmp_path / "out", "--dry-run")
    said = capsys.readouterr().out
    assert "40 x 40 pixels: memory" in said
    assert "time about" in said
    assert not list((tmp_path / "out").iterdir())


def test_statistics_of_one_image_are_used_for_another(model_file, tmp_path):
    write_image(tmp_path / "in.png", Image(pixels(64, 96)))
    write_image(tmp_path / "part.png", Image(pixels(64, 96)[:, :64]))
    saved = tmp_path / "stats.safetensors"
    run(model_file, tmp_path / "in.png", "--to", "winter", "--out", tmp_path / "all",
        "--save-norm-stats", saved)  # fmt: skip
    run(model_file, tmp_path / "part.png", "--to", "winter", "--out", tmp_path / "some",
        "--norm-stats", saved)  # fmt: skip
    together, alone = levels(tmp_path / "all" / "in.png"), levels(tmp_path / "some" / "part.png")
    assert np.abs(together[:, :40] - alone[:, :40]).max() <= 1


@pytest.mark.parametrize("kind", ["sampled", "dense", "tile"])
def test_other_kinds_of_statistics_translate(model_file, tmp_path, kind):
    write_image(tmp_path / "in.png", Image(pixels(50, 70)))
    run(model_file, tmp_path / "in.png", "--to", "winter", "--out", tmp_path, "--norm-stats", kind,
        "--tile", "24", "--overwrite")  # fmt: skip
    assert levels(tmp_path / "in.png").shape == (50, 70, 3)


@pytest.mark.parametrize("more", [["--norm-stats", "nothing.safetensors"], ["--tile", "30"],
                                  ["--dry-run", "--working-size", "32"]])  # fmt: skip
def test_bad_choices_are_one_line(model_file, tmp_path, more, capsys):
    write_image(tmp_path / "in.png", Image(pixels(40, 40)))
    run(model_file, tmp_path / "in.png", "--to", "winter", "--out", tmp_path / "out", *more, code=2)
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_rasters_are_streamed_in_windows_with_place_and_gaps(model_file, tmp_path):
    pytest.importorskip("rasterio")
    values = pixels(90, 130)
    values[30:60, :50] = 0
    valid = (values != 0).any(axis=2)
    write_image(tmp_path / "in.tif", Image(values, valid=valid, geo=GEO))
    run(
        model_file, tmp_path / "in.tif", "--to", "winter", "--out", tmp_path / "out", "--tile", "32"
    )
    result = read_image(tmp_path / "out" / "in.tif")
    assert result.geo.transform == GEO.transform
    assert "32633" in result.geo.crs
    np.testing.assert_array_equal(result.valid, valid)
    net, _, _ = network(blocks=1, width=4)
    expected, _ = streamed(net, to_signed(values), valid, side=400)
    expected = np.rint((expected + 1) * 127.5)
    assert np.abs(result.pixels[valid] - expected[valid]).max() <= 1


@pytest.mark.nightly
def test_kills_by_the_system_change_nothing(model_file, tmp_path):
    """SIGKILL at ten random moments of a run by files; each command resumes the last."""
    write_image(tmp_path / "in.png", Image(pixels(700, 700)))
    given = [model_file, tmp_path / "in.png", "--to", "winter", "--overwrite"]
    how = ["--device", "cpu", "--threads", "1", "--tile", "64", "--memory", "0.104"]
    program = [sys.executable, "-m", "unpaired", "translate", *map(str, given), *how]
    subprocess.run([*program, "--out", str(tmp_path / "calm")], check=True)
    draw = random.Random(0)
    killed = 0
    while killed < 10:
        process = subprocess.Popen([*program, "--out", str(tmp_path / "out")])
        journal = tmp_path / "out" / ".streaming-in.png" / "journal.npz"
        while not journal.exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 1))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
    subprocess.run([*program, "--out", str(tmp_path / "out")], check=True)
    assert killed > 2
    np.testing.assert_array_equal(
        levels(tmp_path / "out" / "in.png"), levels(tmp_path / "calm" / "in.png")
    )
