"""The part that is set aside, and the criterion measured on it, against plain references."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import unpaired.training.validation as validation
from conftest import SMALL, write_images
from small_models import smooth, write_all
from unpaired.config import Config, Runtime
from unpaired.data.layout.domains import DataSet, Folder, find_data, list_folder
from unpaired.errors import ConfigError, DataError
from unpaired.metrics.distributions import kid
from unpaired.metrics.weightless import (
    colour_distance,
    describe,
    patch_distance,
    spectrum_distance,
)
from unpaired.presets import preset
from unpaired.training.data import DataFacts, set_aside
from unpaired.training.validation import WITHOUT_WEIGHTS, prepare_validation

LIMIT = 10_000


def data_set(count_a, count_b, root):
    def folder(name, count):
        return Folder(root / name, tuple(f"{index:03d}.png" for index in range(count)))

    tests = folder("testA", 5), folder("testB", 5)
    return DataSet("a", "b", folder("trainA", count_a), folder("trainB", count_b), *tests)


# ---- what is set aside --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "share", "aside"),
    [(100, 0.1, 10), (101, 0.1, 10), (30, 0.5, 15), (5, 0.1, 2), (4, 0.5, 2), (1000, 0.001, 2)],
)
def test_a_share_is_set_aside_and_at_least_two(tmp_path, count, share, aside):
    data = data_set(count, 40, tmp_path)
    left, part = set_aside(data, share, seed=0)
    assert len(part[0]) == aside
    assert len(left.train_a) == count - aside
    for whole, rest, taken in (
        (data.train_a, left.train_a, part[0]),
        (data.train_b, left.train_b, part[1]),
    ):
        assert set(rest.names) | set(taken.names) == set(whole.names)
        assert not set(rest.names) & set(taken.names)
        assert list(rest.names) == sorted(rest.names)
        assert taken.root == rest.root == whole.root
    assert (left.test_a, left.test_b) == (data.test_a, data.test_b)


def test_it_is_drawn_by_seed_for_each_domain_on_its_own(tmp_path):
    data = data_set(50, 50, tmp_path)
    part = set_aside(data, 0.2, seed=0)[1]
    assert part == set_aside(data, 0.2, seed=0)[1]
    assert part != set_aside(data, 0.2, seed=1)[1]
    assert part[0].names != part[1].names
    other = set_aside(dataclasses.replace(data, train_b=data_set(9, 9, tmp_path).train_b), 0.2, 0)
    assert other[1][0] == part[0]


def test_nothing_is_set_aside_where_nothing_is_asked(tmp_path):
    data = data_set(3, 1, tmp_path)
    assert set_aside(data, 0.0, seed=0) == (data, None)


def test_domains_too_small_to_divide_are_refused(tmp_path):
    set_aside(data_set(4, 4, tmp_path), 0.1, seed=0)
    with pytest.raises(DataError, match=r"trainB: 3 images, too few .*--validation 0") as no:
        set_aside(data_set(4, 3, tmp_path), 0.1, seed=0)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5])
@pytest.mark.parametrize("counts", [(4, 9), (17, 16), (120, 41)])
def test_an_epoch_is_what_is_left_to_train_on(tmp_path, share, counts):
    left, _ = set_aside(data_set(*counts, tmp_path), share, seed=3)
    facts = DataFacts("a", "b", 3, 3, 8, 8, max(counts), "", ())
    larger = max(len(left.train_a), len(left.train_b))
    assert facts.settled(2, share)["epoch_steps"] == -(-larger // 2)


# ---- what is measured on it ---------------------------------------------------------------


class Translator:
    """Anything by direction; counts the images it was given."""

    def __init__(self, **ways):
        self.ways = ways
        self.seen = 0

    def translate(self, images, direction):
        self.seen += len(images)
        return np.clip(self.ways[direction](images), -1, 1).astype(np.float32)


def same(images):
    return images


def inverted(images):
    return -images


@pytest.fixture
def part(tmp_path):
    """11 images of A, and 10 of B, which are A's kind of images in other colours."""
    for index, name in enumerate("ab"):
        write_images(tmp_path / name, 11 - index, seed=index, size=(16, 16))
    for path in (tmp_path / "b").iterdir():
        pixels = np.asarray(Image.open(path))
        Image.fromarray(pixels[:, :, ::-1] // 3).save(path)
    return list_folder(tmp_path / "a"), list_folder(tmp_path / "b")


def config_of(features="", **changes):
    changes = SMALL | {"image_size": 16, "load_size": 16, "bands_a": 3, "bands_b": 3} | changes
    return Config(preset("tiny", changes), Runtime(features=features, threads=1))


def pixels_of(folder):
    return np.stack([np.asarray(Image.open(folder.path(i))) for i in range(len(folder))])


def noisy(images):
    return images + np.random.default_rng(0).normal(0, 0.3, images.shape)


def to_b(images):
    return (images[..., ::-1] + 1) / 3 - 1


def to_a(images):
    return (images[..., ::-1] + 1) * 3 - 1


def test_without_weights_it_is_the_geometric_mean_of_three_ratios(part):
    translator = Translator(ab=inverted, ba=to_a)
    found = prepare_validation(part, config_of(), LIMIT).evaluate(translator)
    a, b = (describe([pixels_of(folder)], side=16) for folder in part)
    inverted_a = describe([255 - pixels_of(part[0])], side=16)
    ratios = [
        distance(inverted_a, b) / distance(a, b)
        for distance in (colour_distance, patch_distance, spectrum_distance)
    ]
    assert found.metrics["ab"]["distance"] == pytest.approx(np.prod(ratios) ** (1 / 3), rel=1e-9)
    assert found.metrics["ab"]["colour"] == pytest.approx(colour_distance(inverted_a, b), rel=1e-9)
    both = [found.metrics[direction]["distance"] for direction in ("ab", "ba")]
    assert found.criterion == pytest.approx(np.mean(both), rel=1e-12)
    assert (found.measure, found.images, translator.seen) == (WITHOUT_WEIGHTS, (11, 10), 21)


def test_untranslated_is_1_right_is_less_wrong_is_more(part):
    measured = prepare_validation(part, config_of(), LIMIT)
    assert measured.evaluate(Translator(ab=same, ba=same)).criterion == pytest.approx(1, abs=1e-12)
    right = measured.evaluate(Translator(ab=to_b, ba=to_a)).criterion
    blurred = measured.evaluate(
        Translator(ab=lambda x: (to_b(x) + np.roll(to_b(x), 2, 1)) / 2, ba=to_a)
    ).criterion
    wrong = measured.evaluate(Translator(ab=noisy, ba=noisy)).criterion
    assert right < 0.8
    assert right < blurred
    assert wrong > 1


def test_change_and_content_are_those_of_the_images(part):
    found = prepare_validation(part, config_of(), LIMIT).evaluate(Translator(ab=inverted, ba=to_a))
    a, b = (pixels_of(folder).astype(float) for folder in part)
    assert found.metrics["ab"]["change"] == pytest.approx(np.abs(255 - 2 * a).mean(), rel=1e-6)
    assert found.metrics["ab"]["content"] == pytest.approx(-1, abs=1e-6)
    back = np.minimum(3 * b[..., ::-1], 255)
    assert found.metrics["ba"]["change"] == pytest.approx(np.abs(back - b).mean(), rel=1e-5)
    assert found.moved
    line = found.to_dict()
    assert line["moved"] is True
    assert line["ab"] == found.metrics["ab"]


@pytest.mark.parametrize(("share", "moved"), [(0.0, False), (0.035, False), (0.045, True)])
@pytest.mark.parametrize("still", ["ab", "ba"])
def test_it_moved_where_each_direction_changed_by_4_per_cent_of_its_contrast(
    part, share, moved, still
):
    folder = part[["ab", "ba"].index(still)]
    pixels = pixels_of(folder).astype(float)
    spread = np.sqrt(np.mean([pixels[..., band].var() for band in range(3)]))

    def shifted(images):
        """Ten levels in as many of the 256 pixels as it takes."""
        some = np.arange(256).reshape(1, 16, 16, 1) < share * spread * 256 / 10
        return images + np.where(images < 0, 1, -1) * some * 10 * 2 / 255

    ways = {"ab": inverted, "ba": inverted, still: shifted}
    found = prepare_validation(part, config_of(), LIMIT).evaluate(Translator(**ways))
    assert found.moved is moved
    assert found.metrics[still]["change"] == pytest.approx(share * spread, abs=0.1)


def test_a_small_part_of_16_bits_is_measured_as_exactly(tmp_path):
    """Samples up to 3000, as reflectances are: a tenth of them is far below a level of 255."""
    pytest.importorskip("rasterio")
    for name in "ab":
        write_all(tmp_path / name, smooth(5, ord(name), 4, np.uint16) // 20, "{:03d}.tif")
    part = list_folder(tmp_path / "a"), list_folder(tmp_path / "b")
    config = config_of(bands_a=4, bands_b=4, depth_a=16, depth_b=16)
    measured = prepare_validation(part, config, LIMIT)
    found = measured.evaluate(Translator(ab=lambda x: (x + 1) * 0.9 - 1, ba=same))
    assert 0 < found.metrics["ab"]["change"] < 1
    assert found.metrics["ab"]["content"] > 0.999
    assert found.metrics["ba"]["change"] == 0
    both = measured.evaluate(Translator(**dict.fromkeys(("ab", "ba"), lambda x: (x + 1) * 0.9 - 1)))
    assert (found.moved, both.moved) == (False, True)


def test_flat_sources_have_no_content_and_the_line_is_json(tmp_path):
    for name, grey in (("a", 9), ("b", 200)):
        write_all(tmp_path / name, np.full((3, 16, 16, 3), grey, np.uint8))
    part = list_folder(tmp_path / "a"), list_folder(tmp_path / "b")
    found = prepare_validation(part, config_of(), LIMIT).evaluate(Translator(ab=same, ba=same))
    assert np.isnan(found.metrics["ab"]["content"])
    assert found.to_dict()["ab"]["content"] is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_grey_domain_is_measured_too(part):
    def to_grey(images):
        return images.mean(-1, keepdims=True)

    def to_rgb(images):
        return np.repeat(images, 3, -1)

    found = prepare_validation(part, config_of(bands_b=1), LIMIT).evaluate(
        Translator(ab=to_grey, ba=to_rgb)
    )
    assert found.metrics["ba"]["distance"] == pytest.approx(1, abs=1e-12)  # as grey as before
    assert 0 < found.metrics["ab"]["distance"] < 1.2


def test_crops_smaller_than_the_distances_need_are_enlarged(part):
    config = config_of(image_size=8, load_size=8)
    found = prepare_validation(part, config, LIMIT).evaluate(Translator(ab=same, ba=same))
    assert found.criterion == pytest.approx(1, abs=1e-12)


class Colours:
    """A network whose features are the mean colours, in squares of 8 pixels."""

    name, width = "colours", 12
    seen = 0

    def __init__(self, *asked):
        self.asked = asked

    def features(self, images):
        type(self).seen += len(images)
        cut = images.reshape(len(images), 2, 8, 2, 8, 3).mean((2, 4))
        return (cut.reshape(len(images), -1) / 255).astype(np.float32)


@pytest.fixture
def colours(monkeypatch):
    monkeypatch.setattr(validation, "make_features", Colours)
    monkeypatch.setattr(Colours, "seen", 0)


def test_with_features_it_is_the_kid_and_real_images_are_described_once(part, colours):
    measured = prepare_validation(part, config_of(features="some.safetensors"), LIMIT)
    found = measured.evaluate(Translator(ab=inverted, ba=same))
    network = Colours()
    a, b = (pixels_of(folder) for folder in part)
    ab = kid(network.features(255 - a), network.features(b))
    ba = kid(network.features(b), network.features(a))
    metrics = found.metrics["ab"]
    expected = [1000 * ab.value, 1000 * ab.low, 1000 * ab.high]
    assert [metrics[key] for key in ("distance", "low", "high")] == pytest.approx(expected)
    assert found.criterion == pytest.approx(500 * (ab.value + ba.value))
    assert found.measure == "KID x 1000, colours"
    before = Colours.seen
    measured.evaluate(Translator(ab=same, ba=same))
    assert Colours.seen - before == 21  # the generated ones alone


def test_what_kid_cannot_do_is_refused_before_the_training(part, colours):
    few = dataclasses.replace(part[0], names=part[0].names[:2])
    with pytest.raises(DataError, match=r"KID needs 3 images .*2 and 10 are set aside"):
        prepare_validation((few, part[1]), config_of(features="some"), LIMIT)
    with pytest.raises(ConfigError, match="take grey or RGB, and the domains have 3 and 4 bands"):
        prepare_validation(part, config_of(features="some", bands_b=4), LIMIT)


def test_real_weights_that_are_not_there(part, tmp_path):
    pytest.importorskip("torch", reason="the torch engine is not installed")
    from unpaired.errors import CheckpointError

    with pytest.raises(CheckpointError, match="nowhere"):
        prepare_validation(part, config_of(features=str(tmp_path / "nowhere.safetensors")), LIMIT)


def test_it_is_what_find_data_gives(data):
    left, part = set_aside(find_data(data), 0.3, seed=0)
    assert (len(left.train_a), len(left.train_b)) == (3, 5)
    assert {folder.root.name for folder in part} == {"trainA", "trainB"}
