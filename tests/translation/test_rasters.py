"""GeoTIFFs through `translate`: place, tags, names, nodata, mask, values; windows and refusals."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the extra geo is not installed")

import PIL.Image
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from unpaired import checkpoint
from unpaired.config import Config, Runtime
from unpaired.errors import SomeFailed
from unpaired.images.raster.geo import Geo, Window, window_of
from unpaired.presets import preset
from unpaired.translation.files import translate_files
from unpaired.translation.fit import Area
from unpaired.translation.model import load

RASTERS = Path(__file__).parents[3] / "shared" / "data" / "rasters"
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
UTM = "EPSG:32630"


class Keeper:
    """A translator whose generators are the identity, in float32 as engines give it."""

    memory = "host"
    methods = ("trained",)

    def __init__(self, recipe, runtime):
        self.bands = {"a": recipe.bands_a, "b": recipe.bands_b}

    def load_generators(self, arrays):
        pass

    def use(self, method):
        assert method in self.methods

    def translate(self, images, direction):
        assert np.isfinite(images).all()
        bands = self.bands[direction[1]]
        return images if images.shape[-1] == bands else np.repeat(images[..., :1], bands, axis=-1)


@pytest.fixture
def model_of(monkeypatch, tmp_path):
    """A model of identity whose domains have these facts: of both, or by a and b."""
    monkeypatch.setattr("unpaired.engines.loading.make_translator", Keeper)

    def make(both=None, **facts):
        settled = {f"{name}_{d}": value for name, value in (both or {}).items() for d in "ab"}
        recipe = preset("tiny", {"name_a": "sar", "name_b": "optical"} | settled | facts)
        arrays = {f"generator_{d}.stem.weight": np.ones(3, np.float32) for d in ("ab", "ba")}
        path = tmp_path / "model.safetensors"
        checkpoint.write(path, checkpoint.Header("model", Config(recipe, Runtime()), 1), arrays)
        return load(path)

    return make


def facts_of(path):
    """The facts that a training on this raster would settle, its whole range scaled."""
    with rasterio.open(path) as dataset:
        pixels = dataset.read().astype(np.float64)
        finite = [band[np.isfinite(band)] for band in pixels]
        ends = " ".join(f"{band.min():.9g}:{band.max() + 1:.9g}" for band in finite)
        names = [name or "" for name in dataset.descriptions]
        return {
            "bands": dataset.count,
            "depth": 8 * np.dtype(dataset.dtypes[0]).itemsize,
            "dtype": dataset.dtypes[0],
            "scaling": f"linear {ends}",
            "band_names": "|".join(names) if any(names) else "",
            "nodata": "" if dataset.nodata is None else repr(float(dataset.nodata)),
        }


def described(path):
    """What must be equal before and after."""
    with rasterio.open(path) as dataset:
        facts = {
            name: getattr(dataset, name)
            for name in (
                "crs", "transform", "descriptions", "units", "dtypes", "colorinterp", "shape",
                "rpcs", "bounds", "mask_flag_enums",
            )
        }  # fmt: skip
        nodata = (
            "nan" if dataset.nodata is not None and np.isnan(dataset.nodata) else dataset.nodata
        )
        gcps = [point.asdict() for point in dataset.gcps[0]], dataset.gcps[1]
        return facts | {"nodata": nodata, "gcps": gcps, "tags": dataset.tags()}


def write(path, pixels, **options):
    """A GeoTIFF of `pixels` (bands, height, width)."""
    names = options.pop("names", ())
    settings = {"crs": UTM, "transform": Affine(10, 0, 500_000, 0, -10, 4_000_000)} | options
    shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    with rasterio.open(path, "w", driver="GTiff", dtype=pixels.dtype, **shape, **settings) as file:
        file.write(pixels)
        for band, name in enumerate(names, 1):
            file.set_band_description(band, name)
    return path


@pytest.mark.skipif(not RASTERS.is_dir(), reason="no shared/data/rasters beside the checkout")
@pytest.mark.parametrize(
    "name",
    [
        "cog_gcps", "cog_nodata_nan", "cog_rgb_mask", "landsat7_6band_uint8",
        "spain_s1_vv_vh_float32", "spain_s2_13band_int16",
        pytest.param("cog_int16", marks=pytest.mark.nightly),
    ],
)  # fmt: skip
def test_an_identity_keeps_all_of_a_raster(name, model_of, tmp_path):
    source = RASTERS / f"{name}.tif"
    model = model_of(facts_of(source))
    summary = translate_files(model, [source], tmp_path / "out", to="b")
    assert summary.failed == []
    assert described(summary.done[0]) == described(source)
    with rasterio.open(source) as before, rasterio.open(summary.done[0]) as after:
        np.testing.assert_array_equal(after.read_masks(), before.read_masks())
        x, y = before.read(), after.read()
        valid = (before.dataset_mask() != 0) & np.isfinite(x).all(axis=0)
        if x.dtype.kind == "f":
            np.testing.assert_allclose(y[:, valid], x[:, valid], atol=1e-5 * np.nanmax(np.abs(x)))
        else:
            np.testing.assert_array_equal(y[:, valid], x[:, valid])
        np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
        assert after.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.skipif(not RASTERS.is_dir(), reason="no shared/data/rasters beside the checkout")
def test_the_corrupt_one_fails_in_one_line(model_of, tmp_path):
    model = model_of({"bands": 3, "depth": 8})
    summary = translate_files(model, [RASTERS / "corrupt.tif"], tmp_path / "out", to="b")
    ((path, reason),) = summary.failed
    assert path.name == "corrupt.tif"
    assert reason.startswith("damaged or cut off")
    assert "\n" not in reason
    assert list((tmp_path / "out").glob("*")) == []


S1 = {"bands_a": 2, "depth_a": 32, "dtype_a": "float32", "scaling_a": "linear -30:0",
      "band_names_a": "VV|VH", "units_a": "dB|dB", "resolution_a": 10.0}  # fmt: skip
S2 = {"bands_b": 4, "depth_b": 16, "dtype_b": "uint16", "scaling_b": "linear 0:3000",
      "band_names_b": "B4|B3|B2|B8", "nodata_b": "0", "resolution_b": 10.0}  # fmt: skip


def test_the_result_has_the_values_names_and_nodata_of_its_domain(model_of, tmp_path):
    pixels = np.full((2, 20, 30), -15, np.float32)
    pixels[0, :, 10:] = -30  # the value of no data of the other domain, if it were kept
    pixels[1, 3, 4] = np.nan
    source = write(tmp_path / "s1.tif", pixels, nodata=np.nan, names=("VV", "VH"))
    (done,) = translate_files(model_of(**S1, **S2), [source], tmp_path / "out", to="b").done
    with rasterio.open(done) as after:
        assert after.descriptions == ("B4", "B3", "B2", "B8")
        assert (after.nodata, set(after.dtypes), after.crs) == (0, {"uint16"}, UTM)
        found = after.read()
        assert set(np.unique(found[:, :, :10])) == {0, 1500}
        assert set(np.unique(found[:, :, 10:])) == {1}  # beside nodata, not it
        invalid = np.argwhere(after.dataset_mask() == 0)
        assert invalid.tolist() == [[3, 4]]


def test_bands_are_found_by_their_names(model_of, tmp_path):
    pixels = np.stack([np.full((16, 16), value, np.float32) for value in (-3, -27, -9)])
    source = write(tmp_path / "x.tif", pixels, names=("VH", "angle", "VV"))
    (done,) = translate_files(model_of(**S1, **S2), [source], tmp_path / "out", to="b").done
    with rasterio.open(done) as after:
        assert after.read(1)[0, 0] == 2100  # of VV: -9 is .7 of -30 to 0


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((3, 16, 16), np.float32), "has 3 bands where sar has 2"),
        (np.zeros((2, 16, 16), np.uint8), "holds uint8 samples, sar has float32"),
    ],
)
def test_other_rasters_are_rejected(pixels, reason, model_of, tmp_path):
    source = write(tmp_path / "x.tif", pixels)
    summary = translate_files(model_of(**S1, **S2), [source], tmp_path / "out", to="b")
    assert reason in summary.failed[0][1]


def test_other_samples_names_and_resolution_are_told_once(model_of, tmp_path, caplog):
    coarse = {"transform": Affine(30, 0, 0, 0, -30, 0), "names": ("HH", "HV")}
    for name in ("x", "y"):
        write(tmp_path / f"{name}.tif", np.full((2, 16, 16), -15, np.int16), **coarse)
    inputs = [tmp_path / "x.tif", tmp_path / "y.tif"]
    translate_files(model_of(**S1, **S2), inputs, tmp_path / "out", to="b")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    for part in ("bands are HH, HV", "int16 samples", "pixels of 30 m, in the training 10 m"):
        assert sum(part in line and "and 1 more" in line for line in lines) == 1


def test_a_raster_of_floats_is_rejected_by_a_model_of_photographs(model_of, tmp_path):
    source = write(tmp_path / "x.tif", np.zeros((3, 16, 16), np.float32))
    summary = translate_files(model_of({"bands": 3, "depth": 8}), [source], tmp_path / "o", to="b")
    assert "holds float32 samples" in summary.failed[0][1]


@pytest.mark.parametrize("by", ["window", "bbox"])
def test_a_part_of_a_raster(by, model_of, tmp_path):
    pixels = np.random.default_rng(0).integers(1, 3000, (2, 50, 70)).astype(np.int16)
    facts = {"bands": 2, "depth": 16, "dtype": "int16", "scaling": "0:3000"}
    source = write(tmp_path / "x.tif", pixels)
    area = Area(window=Window(8, 20, 24, 40))
    if by == "bbox":
        area = Area(box=(500_200.0, 3_999_680.0, 500_600.0, 3_999_920.0))
    summary = translate_files(model_of(facts), [source], tmp_path / "out", to="b", area=area)
    with rasterio.open(summary.done[0]) as after:
        np.testing.assert_array_equal(after.read(), pixels[:, 8:32, 20:60])
        assert after.transform == Affine(10, 0, 500_200, 0, -10, 3_999_920)


def test_areas_outside_and_of_plain_images_fail(model_of, tmp_path):
    source = write(tmp_path / "x.tif", np.zeros((3, 16, 16), np.uint8))
    PIL.Image.new("RGB", (16, 16)).save(tmp_path / "y.png")
    model = model_of({"bands": 3, "depth": 8})
    area = Area(box=(0, 0, 10, 10))
    inputs = [source, tmp_path / "y.png"]
    failed = dict(translate_files(model, inputs, tmp_path / "out", to="b", area=area).failed)
    assert "lies outside" in failed[source]
    assert "for GeoTIFF and VRT" in failed[tmp_path / "y.png"]


def test_a_box_is_inverted_through_a_rotated_transform():
    turned = Affine.translation(100, 200) @ Affine.rotation(30) @ Affine.scale(2, -2)
    geo = Geo(transform=tuple(turned)[:6])
    x, y = turned @ (5.5, 7.5)
    assert window_of(geo, (50, 50), (x - 0.1, y - 0.1, x + 0.1, y + 0.1)) == Window(7, 5, 1, 1)


def test_a_vrt_becomes_a_geotiff(model_of, tmp_path):
    from rasterio.shutil import copy

    pixels = np.random.default_rng(0).integers(1, 3000, (2, 20, 30)).astype(np.int16)
    source = write(tmp_path / "x.tif", pixels)
    copy(str(source), str(tmp_path / "x.vrt"), driver="VRT")
    facts = {"bands": 2, "depth": 16, "dtype": "int16", "scaling": "0:3000"}
    summary = translate_files(model_of(facts), [tmp_path / "x.vrt"], tmp_path / "out", to="b")
    assert [path.name for path in summary.done] == ["x.tif"]
    with rasterio.open(summary.done[0]) as after:
        np.testing.assert_array_equal(after.read(), pixels)


def test_a_vrt_of_addresses_is_rejected(model_of, tmp_path):
    text = (
        '<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Int16" band="1">'
        "<SimpleSource><SourceFilename>/vsicurl/http://x.y/z.tif</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    (tmp_path / "x.vrt").write_text(text)
    facts = {"bands": 1, "depth": 16, "dtype": "int16", "scaling": "0:3000"}
    summary = translate_files(model_of(facts), [tmp_path / "x.vrt"], tmp_path / "out", to="b")
    assert "no local files" in summary.failed[0][1]


def test_transparency_of_a_raster_stays_its_last_band(model_of, tmp_path):
    pixels = np.full((4, 16, 16), 90, np.uint8)
    pixels[3] = np.where(np.arange(16) < 5, 0, 255)
    source = write(tmp_path / "x.tif", pixels, photometric="RGB", alpha="YES")
    summary = translate_files(model_of({"bands": 3, "depth": 8}), [source], tmp_path / "o", to="b")
    with rasterio.open(summary.done[0]) as after:
        assert after.colorinterp[3] == ColorInterp.alpha
        np.testing.assert_array_equal(after.read(4), pixels[3])


def test_the_command_line_takes_an_area(model_of, tmp_path, monkeypatch):
    from unpaired.cli.verbs.translate import translate

    model = model_of({"bands": 3, "depth": 8})
    source = write(tmp_path / "x.tif", np.full((3, 32, 32), 90, np.uint8))
    translate(model.path, (str(source),), "b", str(tmp_path / "out"), window=(4, 8, 16, 12))
    with rasterio.open(tmp_path / "out" / "x.tif") as after:
        assert after.shape == (12, 16)
    with pytest.raises(SomeFailed):
        translate(model.path, (str(source),), "b", str(tmp_path / "o2"), bbox=(0.0, 0.0, 1.0, 1.0))
