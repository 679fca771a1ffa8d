"""What files leave open, decided once for a domain: marked bands, and several frames."""

import zlib

import numpy as np
import PIL.Image
import pytest

from unpaired import console, train
from unpaired.data.batches import Batches
from unpaired.data.check.check import check
from unpaired.data.layout.domains import find_data
from unpaired.images.formats import Reading
from unpaired.translation.files import translate_files
from unpaired.translation.model import load

tifffile = pytest.importorskip("tifffile")
MASK = np.repeat(np.uint8([[0, 255]]), 16, 0).repeat(10, 1)
SMALL = {
    "load_size": 12, "image_size": 8, "width": 2, "blocks": 1, "discriminator_width": 2,
    "discriminator_layers": 1, "pool_size": 4, "batch_size": 2, "steps": 4, "schedule": "linear",
}  # fmt: skip


def write(path, last):
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    colours = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.dstack([colours, last]), photometric="rgb")


@pytest.fixture
def infrared(tmp_path):
    """RGB and near infrared that GDAL and tifffile mark as transparency; one tile saturates."""
    rng = np.random.default_rng(0)
    for side in "AB":
        for index in range(4):
            band = MASK if index == 2 else rng.integers(0, 256, (16, 20), dtype=np.uint8)
            write(tmp_path / "data" / f"train{side}" / f"{index}.tif", band)
    return tmp_path / "data"


def test_a_band_in_one_image_is_a_band_in_all(infrared):
    result = check(find_data(infrared))
    assert result.problems == ()
    assert result.facts["train_a"].bands == 4
    assert result.transparency[0] == (
        "a: the band that 4 files mark as transparency is a band of the image (its values are no "
        "mask; --alpha mask says otherwise)"
    )
    assert result.transparency[0] in result.report()
    as_mask = check(find_data(infrared).read_as(Reading(alpha="mask")))
    assert as_mask.facts["train_a"].bands == 3
    assert "is transparency (as asked)" in as_mask.transparency[0]


def test_masks_in_all_images_are_transparency(tmp_path):
    for side in "AB":
        for index in range(3):
            write(tmp_path / f"train{side}" / f"{index}.tif", np.roll(MASK, index, axis=1))
    result = check(find_data(tmp_path))
    assert result.facts["train_b"].bands == 3
    assert (
        "3 files mark as transparency is transparency (its values are a mask"
        in (result.transparency[1])
    )
    as_band = check(find_data(tmp_path).read_as(Reading(alpha="band")))
    assert as_band.facts["train_b"].bands == 4


def test_files_of_several_frames_are_listed_and_stop_or_give_their_first(infrared):
    frames = [PIL.Image.new("RGB", (20, 16), colour) for colour in ("red", "blue", "green")]
    frames[0].save(infrared / "trainA" / "x.gif", save_all=True, append_images=frames[1:])
    result = check(find_data(infrared))
    (problem,) = result.stopping
    assert (problem.kind, problem.paths[0].name) == ("several frames", "x.gif")
    assert "holds 3 frames" in problem.reason
    first = check(find_data(infrared).read_as(Reading(alpha="mask", frames="first")))
    assert first.stopping == ()
    assert "x.gif: the first of 3 frames" in first.report()


def test_a_training_says_it_keeps_it_and_translates_by_it(infrared, tmp_path, fake_engine, shown):
    out = tmp_path / "run"
    for _ in range(2):  # a resume says it again
        run = train(infrared, out=out, device="cpu", **SMALL)
        assert "a: the band that 4 files mark as transparency is a band of the image" in shown()
    console.show("silent")
    assert (run.config.recipe.alpha, run.config.recipe.bands_a) == ("auto", 4)
    batches = Batches(find_data(infrared), run.config.recipe, max_pixels=10**6)
    assert batches[0].real_a.shape == (2, 8, 8, 4)


def test_the_recipe_decides_for_a_model(infrared, tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "run"
    train(infrared, out=out, device="cpu", report="none", alpha="mask", frames="first", **SMALL)
    model = load(out)
    assert model.reading("ab") == Reading("mask", "first")
    frames = [PIL.Image.new("RGB", (20, 16), colour) for colour in ("red", "blue")]
    frames[0].save(infrared / "x.gif", save_all=True, append_images=frames[1:])
    inputs = [infrared / "x.gif", infrared / "trainA" / "0.tif"]
    done = translate_files(model, inputs, tmp_path / "one", to="b")
    assert sorted(path.name for path in done.done) == ["0.tif", "x.png"]
    done = translate_files(model, inputs, tmp_path / "two", to="b", reading=Reading())
    assert done.done == []
    reasons = {path.name: reason for path, reason in done.failed}
    assert "holds 2 frames" in reasons["x.gif"]
    assert "has 4 bands where a has 3" in reasons["0.tif"]
