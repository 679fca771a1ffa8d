"""Rasters are evaluated in their own values, by tiles, over the pixels that have data."""

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the extra geo is not installed")

import rasterio
from rasterio.transform import Affine

from small_models import keep, model
from unpaired.evaluation.evaluate import evaluate

SIDE, BANDS = 16, 4
FACTS = {
    "name_a": "old", "name_b": "new", "bands_a": BANDS, "bands_b": BANDS, "depth_a": 16,
    "depth_b": 16, "dtype_a": "int16", "dtype_b": "int16", "crops": "native", "image_size": SIDE,
    "load_size": SIDE, "band_names_a": "B2|B3|B4|B8", "band_names_b": "B2|B3|B4|B8",
    "nodata_a": "-1.0", "nodata_b": "-1.0", "scaling_a": "0:3000", "scaling_b": "0:3000",
}  # fmt: skip


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    place = {"crs": "EPSG:32630", "transform": Affine(10, 0, 0, 0, -10, 0), "nodata": -1}
    with rasterio.open(path, "w", driver="GTiff", dtype=pixels.dtype, **shape, **place) as file:
        file.write(pixels)


@pytest.fixture
def scenes(tmp_path):
    """Pairs of scenes: the new one is brighter, by another amount in each band, and has a gap."""
    rng = np.random.default_rng(0)
    old = rng.integers(300, 2000, (BANDS, 3 * SIDE, 4 * SIDE)).astype(np.int16)
    new = old + np.array([50, 0, -20, 400], np.int16)[:, None, None]
    new[0, 5, 5] = 9000  # beyond what is scaled: metrics see it
    new[:, 20:24, 20:24] = -1
    for split in ("train", "test"):
        write(tmp_path / split / "old" / "x.tif", old)
        write(tmp_path / split / "new" / "x.tif", new)
    return tmp_path, old, new


def test_bands_are_measured_in_the_values_of_the_files(scenes, tmp_path):
    root, old, new = scenes
    report = evaluate(model(tmp_path, keep, keep, **FACTS), str(root), paired=True)
    found = report.methods[0].values["ab"]
    valid = (new != -1).all(axis=0)
    gap = (old.astype(float) - new)[:, valid]
    for band in range(BANDS):
        bias, rmse = found[f"bias{band + 1}"].value, found[f"rmse{band + 1}"].value
        # Each of the 12 tiles counts alike, one of them has 16 pixels less.
        assert bias == pytest.approx(gap[band].mean(), abs=0.5)
        assert rmse == pytest.approx(np.sqrt((gap[band] ** 2).mean()), abs=2)
    assert found["bias1"].value < -50
    assert found["bias3"].value == pytest.approx(20, abs=0.05)
    assert {"sam", "ergas"} <= found.keys()
    assert len(found["bias1"].per_image) == 12
    assert "0 to 3000" in report.facts["views"]
    assert "1 B2, 2 B3, 3 B4, 4 B8" in report.facts["rasters"]
    assert "tiles of 16 x 16 pixels" in report.facts["images"]


def test_tiles_of_equal_places_are_pairs(scenes, tmp_path):
    report = evaluate(model(tmp_path, keep, keep, **FACTS), str(scenes[0]))
    assert report.record["n"] == {"a": 12, "b": 12}
    assert report.record["paired"]
    names = {example.name for each in report.examples["ab"].values() for example in each}
    assert "x@0,0.tif" in names or "x@0,16.tif" in names


def test_three_bands_in_values_of_their_own_have_metrics_of_bands_too(scenes, tmp_path):
    facts = FACTS | {"bands_a": 3, "bands_b": 3, "select_a": "1,2,3", "select_b": "1,2,3"}
    facts |= {"band_names_a": "", "band_names_b": ""}
    report = evaluate(model(tmp_path, keep, keep, **facts), str(scenes[0]), paired=True)
    found = report.methods[0].values["ab"]
    assert {"psnr", "sam", "bias3"} <= found.keys()
    assert "bias4" not in found
