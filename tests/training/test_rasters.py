"""A training on scenes: what is settled and told, resumed by the same command, and in the model."""

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the extra geo is not installed")

import rasterio
from rasterio.transform import Affine

from conftest import QUICK, SMALL
from unpaired import checkpoint
from unpaired.errors import ConfigError, RunError
from unpaired.training.loop import train
from unpaired.training.run import _is_settled

HERE = {"device": "cpu", "report": "none", "evaluate_every": 0, "validation": 0.25}


def write(path, pixels, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    place = {"crs": "EPSG:32630", "transform": Affine(10, 0, 0, 0, -10, 0)}
    with rasterio.open(path, "w", driver="GTiff", dtype=pixels.dtype, **shape, **place) as file:
        file.write(pixels)
        file.descriptions = names


@pytest.fixture
def scenes(tmp_path):
    rng = np.random.default_rng(0)
    names = ("B2", "B3", "B4", "B8")
    write(tmp_path / "sar" / "x.tif", rng.gamma(2, 0.1, (2, 40, 64)).astype("f4"), ("VV", "VH"))
    write(tmp_path / "optical" / "y.tif", rng.integers(1, 3000, (4, 48, 40)).astype("i2"), names)
    return str(tmp_path / "sar"), str(tmp_path / "optical")


ASKED = {"bands_b": "B8,B4,B3", "scaling_a": "db", "scaling_b": "0:3000"}


def test_the_same_command_resumes_and_the_model_knows_its_values(
    fake_engine, scenes, tmp_path, caplog
):
    caplog.set_level("INFO", logger="unpaired")
    how = SMALL | QUICK | HERE | ASKED
    run = train(scenes, out=tmp_path / "run", preset="tiny", **how | {"steps": 4})
    told = [record.getMessage() for record in caplog.records]
    assert sum("identity loss is off" in line for line in told) == 1
    assert any("VV -" in line and " dB" in line for line in told)
    again = train(scenes, out=tmp_path / "run", preset="tiny", extend=4, **ASKED)
    assert (run.step, again.step) == (4, 8)
    recipe = checkpoint.read_header(tmp_path / "run" / "model.safetensors").config.recipe
    a, b = recipe.domains["a"], recipe.domains["b"]
    assert (a.dtype, a.names, a.resolution) == ("float32", ("VV", "VH"), 10)
    assert (b.dtype, b.bands, b.names) == ("int16", 3, ("B8", "B4", "B3"))
    assert b.scaling == "linear 0:3000 0:3000 0:3000"
    assert recipe.scaling_a.startswith("db 0.0")
    assert recipe.crops == "native"


@pytest.mark.parametrize(
    "other", [{"scaling_a": "linear"}, {"scaling_b": "0:4000"}, {"bands_b": "B8,B3,B4"}]
)
def test_other_values_and_bands_do_not_resume(fake_engine, scenes, tmp_path, other):
    train(scenes, out=tmp_path / "run", preset="tiny", **SMALL | QUICK | HERE | ASKED)
    with pytest.raises(RunError, match="holds a run of another recipe"):
        train(scenes, out=tmp_path / "run", preset="tiny", extend=4, **other)


def test_validation_sets_whole_cells_aside(fake_engine, scenes, tmp_path):
    """No pixel of the validation part is in a crop of the training."""
    from unpaired.data.source import find_source
    from unpaired.images.formats import Reading
    from unpaired.training.data import prepare, set_aside

    run = train(scenes, out=tmp_path / "run", preset="tiny", **SMALL | QUICK | HERE | ASKED)
    recipe = run.config.recipe
    data = find_source(scenes).read_as(*(Reading.of(recipe, domain) for domain in "ab"))
    done = prepare(
        data, tmp_path / "run", image_size=8, skip_unreadable=False, max_pixels=10**6, recipe=recipe
    )
    kept, part = set_aside(done.data, 0.25, recipe.seed)
    covered = np.zeros((40, 64), int)
    for window in (*kept.train_a.windows, *part[0].windows):
        rows, columns = (
            slice(window.top, window.top + window.height),
            slice(window.left, window.left + window.width),
        )
        covered[rows, columns] += 1
    assert (covered == 1).all()
    assert len(part[0]) == 2


@pytest.mark.parametrize("text", ["0:0", "3:1", "db -1:4", "percent", "0:3000:9", "db linear"])
def test_a_scaling_that_cannot_be_is_rejected_before_any_work(fake_engine, scenes, tmp_path, text):
    with pytest.raises(ConfigError, match="--scaling-a is"):
        train(scenes, out=tmp_path / "run", preset="tiny", scaling_a=text)


def test_what_counts_as_settled_as_asked():
    assert _is_settled("auto", "full")
    assert _is_settled("0:9", "linear 0:9 0:9")
    assert not _is_settled("0:9 0:8", "linear 0:9 0:9")
    assert not _is_settled("log", "db 1:9")
    assert not _is_settled("native", "resize")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (2, "to read some of them list them, as --bands-b 1,2, or one as --bands-b 2,$"),
        (1, "to read some of them list them, as --bands-b 2,1, or one as --bands-b 1,$"),
        (5, "only grey and RGB convert into each other"),
    ],
)
def test_a_number_of_bands_selects_none(fake_engine, scenes, tmp_path, number, told):
    said = f"--bands-b {number} is a number of bands, and the images have 4: {told}"
    with pytest.raises(ConfigError, match=said):
        train(scenes, out=tmp_path / "run", preset="tiny", bands_b=number)
