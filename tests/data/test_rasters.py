"""Rasters as training data: windows, gaps, scaling, bands, and what `data check` tells."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the extra geo is not installed")

import rasterio
from rasterio.transform import Affine

from unpaired.config import Config, Recipe, Runtime
from unpaired.data.batches import Batches
from unpaired.data.check.check import check
from unpaired.data.check.raster import cells_of, centred, look_at_raster
from unpaired.data.check.values import fitted, together
from unpaired.data.source import find_source
from unpaired.errors import ConfigError, DataError
from unpaired.images.formats import Reading
from unpaired.images.scaling import Scaling
from unpaired.training.data import prepare

SIDE = 16
SMALL = {"image_size": SIDE, "load_size": SIDE, "discriminator_layers": 1, "flip": False}


def write(path, pixels, *, side=10.0, names=(), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"crs": "EPSG:32630", "transform": Affine(side, 0, 0, 0, -side, 0)} | options
    shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    with rasterio.open(path, "w", driver="GTiff", dtype=pixels.dtype, **shape, **settings) as file:
        file.write(pixels)
        for band, name in enumerate(names, 1):
            file.set_band_description(band, name)
    return pixels


@pytest.fixture
def scenes(tmp_path):
    """A scene of each domain and their pixels (bands, height, width): radar with a gap, optical."""
    rng = np.random.default_rng(0)
    sar = rng.gamma(2, 0.05, (2, 90, 120)).astype(np.float32)
    sar[:, :, 60:] = np.nan
    optical = rng.integers(200, 3000, (5, 80, 64)).astype(np.int16)
    tiled = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    write(tmp_path / "sar" / "x.tif", sar, nodata=np.nan, names=("VV", "VH"), **tiled)
    names = ("B1", "B2", "B3", "B4", "B8")
    write(tmp_path / "optical" / "y.tif", optical, nodata=0, names=names, **tiled)
    return tmp_path, sar, optical


def prepared(root, folder, **changes):
    """The data of a training, and the recipe that it settles."""
    recipe = Recipe(**SMALL | changes)
    folder.mkdir(exist_ok=True)
    data = find_source((str(root / "sar"), str(root / "optical")))
    data = data.read_as(*(Reading.of(recipe, domain) for domain in "ab"))
    done = prepare(
        data, folder, image_size=SIDE, skip_unreadable=False, max_pixels=10**6, recipe=recipe
    )
    return done.data, dataclasses.replace(recipe, **done.facts.settled(1))


def test_crops_are_windows_of_the_scenes_scaled(scenes, tmp_path):
    """Each is found in its scene by brute force; two batches of one step are equal."""
    root, sar, optical = scenes
    data, recipe = prepared(root, tmp_path / "run", scaling_a="0:1", scaling_b="200:3000")
    assert (recipe.crops, recipe.dtype_a, recipe.dtype_b) == ("native", "float32", "int16")
    assert (recipe.band_names_a, recipe.nodata_b, recipe.resolution_a) == ("VV|VH", "0.0", 10.0)
    batches = Batches(data, recipe, max_pixels=10**6)
    seen = set()
    for step in range(12):
        batch, again = batches[step], batches[step]
        np.testing.assert_array_equal(batch.real_a, again.real_a)
        for real, scene, (low, high) in (
            (batch.real_a, sar, (0, 1)), (batch.real_b, optical, (200, 3000)),
        ):  # fmt: skip
            values = (real[0] + 1) / 2 * (high - low) + low
            windows = np.lib.stride_tricks.sliding_window_view(scene, (SIDE, SIDE), (1, 2))
            near = np.abs(windows[0, :, :] - values[..., 0]).max(axis=(2, 3)) < 1e-3 * high
            ((top, left),) = np.argwhere(near)
            found = scene[:, top : top + SIDE, left : left + SIDE].transpose(1, 2, 0)
            np.testing.assert_allclose(values, found, atol=1e-3 * high)
            seen.add((scene is sar, int(top), int(left)))
    assert len(seen) > 15


@pytest.mark.parametrize("invalid", [0.0, 0.25])
def test_no_crop_has_more_gaps_than_allowed(scenes, tmp_path, invalid, monkeypatch):
    """Gaps are 0 before they are filled; without a limit more of them would be drawn."""
    monkeypatch.setattr("unpaired.data.crops.filled", lambda signed, valid: signed)
    root, *_ = scenes
    shares = {}
    for limit in (invalid, 1.0):
        data, recipe = prepared(root, tmp_path / f"run{limit}", invalid=limit, scaling_a="0.001:1")
        batches = Batches(data, recipe, max_pixels=10**6)
        crops = [batches[step].real_a[0] for step in range(60)]
        assert all(np.isfinite(crop).all() for crop in crops)
        shares[limit] = [float((crop == 0).all(axis=2).mean()) for crop in crops]
    assert max(shares[invalid]) <= invalid
    assert max(shares[1.0]) > 0.25


def test_gaps_are_filled_from_what_is_near(scenes, tmp_path):
    data, recipe = prepared(scenes[0], tmp_path / "run", invalid=1.0, scaling_a="0:0.01")
    batches = Batches(data, recipe, max_pixels=10**6)
    crops = [batches[step].real_a[0] for step in range(20)]
    assert all((crop[crop.any(axis=2)] > 0.5).mean() > 0.9 for crop in crops if crop.any())
    assert any(not crop.any() for crop in crops)  # nothing near


def test_an_epoch_visits_every_cell_once(scenes, tmp_path):
    data, recipe = prepared(scenes[0], tmp_path / "run", invalid=1.0)
    cells = [cell for row in cells_of((90, 120), 2 * SIDE) for cell in row]
    assert list(data.train_a.windows) == cells
    assert sum(cell.height * cell.width for cell in cells) == 90 * 120
    assert recipe.epoch_steps == max(len(cells), len(data.train_b))


def test_a_whole_scene_is_not_read_for_a_crop(scenes, tmp_path, monkeypatch):
    from unpaired.images.raster.scene import OpenRaster

    data, recipe = prepared(scenes[0], tmp_path / "run")
    batches = Batches(data, recipe, max_pixels=10**6)
    sizes, read = [], OpenRaster.read
    monkeypatch.setattr(OpenRaster, "read", lambda self, w=None: sizes.append(w) or read(self, w))
    batches[0]
    assert len(sizes) >= 2
    assert {window.size for window in sizes} == {(SIDE, SIDE)}


def test_percentiles_of_valid_values_are_scaled(scenes, tmp_path):
    root, sar, optical = scenes
    _, recipe = prepared(root, tmp_path / "run", scaling_a="db")
    scaling = Scaling.of(recipe.domains["a"])
    assert scaling.curve == "db"
    for band in range(2):
        expected = np.percentile(sar[band, :, :60], (0.1, 99.9))
        np.testing.assert_allclose(scaling.ends[band], expected, rtol=1e-5)
    ends = Scaling.of(recipe.domains["b"]).ends
    np.testing.assert_allclose(ends, np.percentile(optical, (0.1, 99.9), axis=(1, 2)).T, rtol=1e-5)
    middle = np.sqrt(np.prod(scaling.ends[0]))  # of decibels
    pixel = np.array([[[middle, 0.0]]], np.float32)
    np.testing.assert_allclose(scaling.to_signed(pixel), [[[0, -1]]], atol=1e-6)
    np.testing.assert_allclose(
        scaling.from_signed(scaling.to_signed(pixel))[..., 0], middle, rtol=1e-5
    )


def test_bands_are_selected_by_name_and_number(scenes, tmp_path):
    root, _, optical = scenes
    data, recipe = prepared(root, tmp_path / "run", select_b="B8,2", scaling_b="0:4000")
    assert (recipe.bands_b, recipe.band_names_b) == (2, "B8|B2")
    image = data.train_b.read(0, max_pixels=10**6)
    window = data.train_b.windows[0]
    np.testing.assert_array_equal(image.pixels[0, 0], optical[[4, 1], window.top, window.left])
    with pytest.raises(DataError, match="has no band 'B9': its bands are B1, B2, B3, B4, B8"):
        prepared(root, tmp_path / "other", select_b="B9")


def test_zeros_and_negatives_in_decibels_are_told(tmp_path):
    pixels = np.linspace(-0.1, 0.9, 1000, dtype=np.float32).reshape(1, 20, 50)
    write(tmp_path / "x.tif", pixels)
    facts = together([look_at_raster(tmp_path / "x.tif", Reading(), 8)])
    scaling, lines = fitted(facts, "db", "radar")
    assert scaling.ends[0][0] > 0
    assert "10 % of the values of band 1 are 0 or negative" in lines[0]
    write(tmp_path / "y.tif", pixels - 5)
    negative = together([look_at_raster(tmp_path / "y.tif", Reading(), 8)])
    with pytest.raises(DataError, match="no value above 0"):
        fitted(negative, "db", "radar")
    with pytest.raises(ConfigError, match="no whole range"):
        fitted(facts, "full", "radar")
    with pytest.raises(ConfigError, match="of 2 bands for rasters of 1"):
        fitted(facts, "0:1 0:2", "radar")


@pytest.mark.parametrize("curve", ["linear", "log"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_scaling_there_and_back(dtype, curve):
    kind = np.dtype(dtype)
    low, high = (-300, 2500) if kind.kind != "u" else (3, 250)
    values = np.linspace(low, high, 997).astype(kind).reshape(-1, 1, 1)
    scaling = Scaling(dtype, curve, ((low, high),))
    signed = scaling.to_signed(values)
    assert (signed.min(), signed.max()) == (-1, 1)
    back = scaling.from_signed(signed)
    assert back.dtype == kind
    np.testing.assert_allclose(back, values, atol=0 if kind.kind != "f" else 2e-3)


def test_the_check_tells_what_the_domains_are(scenes, tmp_path):
    root, *_ = scenes
    write(root / "optical" / "z.tif", np.ones((5, 40, 40), np.int16), side=30.0, nodata=0)
    result = check(find_source((str(root / "sar"), str(root / "optical"))), crop=SIDE)
    told = result.report()
    assert "rasters of sar: float32, CRS WGS 84 / UTM zone 30N, pixels of 10 m, nodata nan" in told
    assert "50 % of the pixels without data" in told
    assert "band 2 (VH): " in told
    assert "optical: pixels of 10 to 30 m: resample all to one" in told
    write(root / "optical" / "y.tif", np.ones((5, 40, 40), np.int16) * 7, side=30.0, nodata=0)
    result = check(find_source((str(root / "sar"), str(root / "optical"))), crop=SIDE)
    assert "pixels of sar are 10 m, of optical 30 m" in result.report()


def test_mixed_samples_stop_a_training(scenes, tmp_path):
    root, *_ = scenes
    write(root / "sar" / "w.tif", np.ones((2, 40, 40), np.int16))
    write(root / "sar" / "v.tif", np.ones((2, 40, 40), np.float32))
    with pytest.raises(DataError, match=r"w.tif: int16 samples, while most have float32"):
        prepared(root, tmp_path / "run")


def test_scenes_without_data_are_told(tmp_path):
    for name, kind in (("sar", np.float32), ("optical", np.int16)):
        gaps = np.zeros((1, 64, 64), kind)
        gaps[:, :4] = 7
        write(tmp_path / name / "x.tif", gaps, nodata=0)
    with pytest.raises(DataError, match="no part of its rasters has enough data"):
        prepared(tmp_path, tmp_path / "run")


def test_the_middle_of_a_cell_is_what_is_checked():
    (cell,) = cells_of((40, 30), 32)[0]
    assert centred(cell, SIDE).size == (SIDE, SIDE)
    assert (centred(cell, SIDE).top, centred(cell, SIDE).left) == (12, 7)


# ---- pixels without data in a batch -------------------------------------------------------


@pytest.fixture
def holed(tmp_path):
    """A scene whose pixels without data are scattered, and one that has data everywhere."""
    rng = np.random.default_rng(0)
    a = rng.uniform(1, 2, (1, 48, 48)).astype(np.float32)
    a[0, rng.random((48, 48)) < 0.1] = -9
    write(tmp_path / "sar" / "x.tif", a, nodata=-9)
    write(tmp_path / "optical" / "y.tif", rng.uniform(1, 2, (1, 48, 48)).astype(np.float32))
    return tmp_path, a[0] != -9


HOLED = {"flip": True, "batch_size": 2, "scaling_a": "1:2", "scaling_b": "1:2"}


def test_a_batch_knows_its_pixels_without_data(holed, tmp_path):
    """Its masks are windows of the scene's, flipped as the crops are; B has data everywhere."""
    root, valid = holed
    data, recipe = prepared(root, tmp_path / "run", **HOLED)
    batches, flips = Batches(data, recipe, max_pixels=10**6), set()
    windows = np.lib.stride_tricks.sliding_window_view(valid, (SIDE, SIDE))
    for step in range(6):
        batch = batches[step]
        assert batch.valid["b"].all()
        np.testing.assert_array_equal(batch.seen, batch.valid["a"])
        for mask in batch.valid["a"]:
            either = [bool((windows == x).all((2, 3)).any()) for x in (mask, mask[:, ::-1])]
            assert sum(either) == 1
            flips.add(either[0])
    assert flips == {True, False}


def test_without_gaps_a_batch_has_no_masks(holed, tmp_path):
    """Nor where they count, as in runs of earlier versions, whose recipes do not name them."""
    root, _ = holed
    for name, changes in {"none": {"gaps": "count"}, "other": {}}.items():
        data, recipe = prepared(root, tmp_path / name, **HOLED | changes)
        if not changes:
            data = dataclasses.replace(data, train_a=data.train_b)
        batch = Batches(data, recipe, max_pixels=10**6)[0]
        assert batch.valid == {}
        assert batch.seen is None
    text = Config(recipe, Runtime()).to_toml()
    before = "\n".join(line for line in text.splitlines() if not line.startswith("gaps"))
    assert Config.from_toml(text, "here").recipe.gaps == "omit"
    assert Config.from_toml(before, "here").recipe.gaps == "count"


def test_further_images_are_empty_where_either_domain_has_no_data(holed, tmp_path):
    root, _ = holed
    changes = {"discriminator_images": 3, "scaling_a": "0:2", "scaling_b": "0:2"}
    data, recipe = prepared(root, tmp_path / "run", **HOLED | changes)
    further = Batches(data, recipe, max_pixels=10**6)[0].further
    empty = {domain: (each.real == 0).all(axis=3) for domain, each in further.items()}
    np.testing.assert_array_equal(empty["a"], empty["b"])
    assert 0.02 < empty["a"].mean() < 0.25


def test_a_resized_pixel_counts_if_all_of_it_has_data(tmp_path):
    """Twice enlarged by resizing: pixels within 4 of a gap may have been touched by the filter."""
    rng = np.random.default_rng(0)
    scene = rng.uniform(1, 2, (1, 24, 24)).astype(np.float32)
    scene[0, 8:16, 4:12] = np.nan
    for name in ("sar", "optical"):
        write(tmp_path / name / "x.tif", scene)
    how = {"crops": "resize", "load_size": 48, "image_size": 48} | HOLED | {"flip": False}
    data, recipe = prepared(tmp_path, tmp_path / "run", **how)
    valid = Batches(data, recipe, max_pixels=10**6)[0].valid["a"][0]
    assert not valid[16:32, 8:24].any()
    far = np.ones((48, 48), bool)
    far[12:36, 4:28] = False
    assert valid[far].all()
