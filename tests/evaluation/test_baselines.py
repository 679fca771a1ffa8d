import numpy as np
import pytest
from skimage.exposure import match_histograms as skimage_match_histograms

from small_models import inverted, smooth
from unpaired.errors import DataError
from unpaired.evaluation.baselines import (
    BASELINES,
    baselines_of,
    fit_colour_table,
    fit_histograms,
    fit_mean,
    fit_reinhard,
)
from unpaired.evaluation.testset import TestSet
from unpaired.metrics import image_set
from unpaired.metrics.catalogue import metrics_for
from unpaired.metrics.image_set import ImageSet
from unpaired.metrics.metric import measure
from unpaired.seasons.dataset import NAMED, scene_seed
from unpaired.seasons.landscapes import CLASSES, draw, labels, paint

IDENTITY, REINHARD, HISTOGRAMS, MEAN, ORACLE = (baseline.name for baseline in BASELINES)


def reinhard(sources, targets):
    return fit_reinhard([targets])(sources)


def match_histograms(sources, targets):
    return fit_histograms([targets])(sources)


def mean_image(sources, targets):
    return fit_mean(targets)(sources)


def colour_table(sources, targets):
    return fit_colour_table([(sources, targets)])(sources)


def set_of(samples):
    return ImageSet(samples, tuple(f"{index}.png" for index in range(len(samples))))


def sets(a, b, *, train_a=None, train_b=None, paired=False, classes=None):
    train = {"a": train_a, "b": train_b}
    known = {domain: set_of(kept) for domain, kept in train.items() if kept is not None}
    return TestSet({"a": set_of(a), "b": set_of(b)}, known, paired, True, classes)


def translations(tests, direction="ab"):
    return {one.name: one.images.samples for one in baselines_of(tests, direction)}


# PSNR of the published table for `seasons-lite`: summer -> winter, winter -> summer.
TABLE = {
    "identity": (9.6, 9.6),
    "Reinhard colour transfer": (12.7, 15.2),
    "histogram matching": (15.1, 11.4),
    "mean image of the target domain": (16.7, 20.2),
    "oracle colour table, fitted on pairs": (21.2, 26.4),
}


def noise(seed: int, low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


def scores_of(tests, direction):
    options = {"bands": [3], "count": 3, "network": None, "lpips": None}
    metrics = metrics_for(**options, paired=True, classes=tests.classes)
    return {
        one.name: measure(one.images, tests.reference(direction), metrics).values
        for one in baselines_of(tests, direction)
    }


@pytest.fixture(scope="module")
def seasons():
    spec = NAMED["seasons-lite"]
    train = {
        f"train_{domain}": np.stack(
            [paint(draw(scene_seed(part, i), spec.size, spec.level), domain) for i in range(200)]
        )
        for part, domain in (("trainA", "a"), ("trainB", "b"))
    }
    scenes = [draw(scene_seed("test", i), spec.size, spec.level) for i in range(spec.test)]
    a, b = (np.stack([paint(scene, domain) for scene in scenes]) for domain in "ab")
    classes, pure = (np.stack(part) for part in zip(*map(labels, scenes), strict=True))
    return sets(a, b, paired=True, classes=(classes, pure, CLASSES), **train)


@pytest.mark.parametrize(("direction", "column"), [("ab", 0), ("ba", 1)])
def test_baselines_reproduce_the_published_table(seasons, direction, column):
    scores = scores_of(seasons, direction)
    assert list(scores) == list(TABLE)
    for name, row in TABLE.items():
        assert scores[name]["psnr"].value == pytest.approx(row[column], abs=0.7), name


def test_colours_alone_cannot_paint_winter(seasons):
    oracle = scores_of(seasons, "ab")[ORACLE]["macro16"].parts
    assert oracle["conifer"] < 0.05  # as green as the broadleaf
    assert oracle["hill"] < 0.05  # as green as the meadow
    assert oracle["lake"] < 0.3  # as blue as the sky
    assert oracle["rock"] > 0.9


def test_roofs_and_meadows_are_one_white_in_winter():
    scenes = [draw(seed, 64, "full") for seed in range(40)]
    summer, winter = (np.stack([paint(scene, domain) for scene in scenes]) for domain in "ab")
    classes, pure = (np.stack(part) for part in zip(*map(labels, scenes), strict=True))
    tests = sets(summer, winter, paired=True, classes=(classes, pure, CLASSES))
    oracle = scores_of(tests, "ba")[ORACLE]["macro16"].parts
    assert oracle["roof"] < 0.05
    assert oracle["meadow"] > 0.5


@pytest.mark.parametrize(
    "translate", [reinhard, match_histograms, mean_image, colour_table], ids=lambda f: f.__name__
)
def test_every_baseline_gives_images_like_its_sources_and_leaves_them_alone(translate):
    sources, targets = noise(0, 0, 256, 3, 8, 9, 3), noise(1, 0, 256, 3, 8, 9, 3)
    kept = sources.copy(), targets.copy()
    translated = translate(sources, targets)
    assert translated.shape == sources.shape
    assert translated.dtype == np.uint8
    np.testing.assert_array_equal(sources, kept[0])
    np.testing.assert_array_equal(targets, kept[1])


def lab_by_hand(rgb: np.ndarray) -> tuple[float, float, float]:
    """Reinhard et al. 2001, equations 4 to 6, written out for one pixel of 0 to 1."""
    r, g, b = rgb
    long = np.log10(0.3811 * r + 0.5783 * g + 0.0402 * b)
    medium = np.log10(0.1967 * r + 0.7244 * g + 0.0782 * b)
    short = np.log10(0.0241 * r + 0.1288 * g + 0.8444 * b)
    return (
        (long + medium + short) / 3**0.5,
        (long + medium - 2 * short) / 6**0.5,
        (long - medium) / 2**0.5,
    )


def lab_pixels(images: np.ndarray) -> np.ndarray:
    return np.array([lab_by_hand(rgb / 255) for rgb in images.reshape(-1, 3)])


def test_reinhard_gives_each_image_the_moments_of_the_targets():
    sources = noise(0, 90, 200, 2, 20, 20, 3)
    targets = noise(1, 140, 180, 3, 20, 20, 3)
    goal = lab_pixels(targets)
    for image in reinhard(sources, targets):
        ours = lab_pixels(image)
        np.testing.assert_allclose(ours.mean(axis=0), goal.mean(axis=0), atol=1e-3)
        np.testing.assert_allclose(ours.std(axis=0), goal.std(axis=0), atol=1e-3)


def test_reinhard_equals_the_paper_written_out():
    sources, targets = noise(0, 1, 256, 2, 12, 12, 3), noise(1, 1, 256, 3, 12, 12, 3)
    sources[..., 0] //= 2
    targets[..., 2] = targets[..., 2] // 3 + 1
    goal = lab_pixels(targets)
    for image, ours in zip(sources, reinhard(sources, targets), strict=True):
        lab = lab_pixels(np.maximum(image, 1))
        lab = (lab - lab.mean(axis=0)) / lab.std(axis=0) * goal.std(axis=0) + goal.mean(axis=0)
        l3, a6, b2 = lab[:, 0] / 3**0.5, lab[:, 1] / 6**0.5, lab[:, 2] / 2**0.5
        lms = 10 ** np.stack([l3 + a6 + b2, l3 + a6 - b2, l3 - 2 * a6], axis=-1)
        responses = [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]
        expected = 255 * np.linalg.solve(responses, lms.T).T
        error = ours.reshape(-1, 3) - np.clip(expected, 0, 255)
        assert np.abs(error).max() <= 0.5 + 1e-6


def test_reinhard_keeps_a_image_with_the_right_moments_already():
    image = noise(0, 60, 200, 1, 16, 16, 3)
    assert np.abs(reinhard(image, image).astype(int) - image).max() <= 1


def test_reinhard_survives_flat_and_black_images():
    targets = noise(1, 140, 180, 1, 8, 8, 3)
    for level in (0, 128, 255):
        flat = reinhard(np.full((1, 8, 8, 3), level, np.uint8), targets)
        assert np.ptp(flat.reshape(-1, 3), axis=0).max() == 0
        assert np.abs(flat[0, 0, 0] - targets.mean(axis=(0, 1, 2))).max() < 3


def test_histograms_equal_scikit_image_on_the_pooled_targets():
    sources, targets = noise(0, 30, 220, 3, 24, 20, 3), noise(1, 0, 256, 5, 24, 20, 3)
    targets[..., 0] //= 3
    pooled = targets.reshape(1, -1, 3)
    for ours, image in zip(match_histograms(sources, targets), sources, strict=True):
        theirs = skimage_match_histograms(image, pooled, channel_axis=-1)
        assert np.abs(ours.astype(int) - theirs).max() <= 1  # theirs cuts decimals off


def test_histogram_of_a_permuted_image_is_met_exactly():
    targets = noise(0, 0, 256, 1, 16, 16, 3)
    shuffled = np.random.default_rng(1).permutation(targets.reshape(-1, 3)).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(match_histograms(shuffled, targets), shuffled)
    negative = 255 - shuffled
    matched = match_histograms(negative, targets)
    for band in range(3):  # brighter stays brighter
        order = np.argsort(negative[..., band], axis=None, kind="stable")
        assert np.all(np.diff(matched[..., band].ravel()[order].astype(int)) >= 0)


def test_mean_image():
    targets = noise(0, 0, 256, 5, 6, 7, 3)
    translated = mean_image(noise(1, 0, 256, 2, 6, 7, 3), targets)
    expected = sum(image.astype(float) for image in targets) / 5
    assert len(translated) == 2
    assert np.abs(translated - expected).max() <= 0.5


def test_colour_table_equals_a_dictionary_of_means():
    sources = noise(0, 0, 32, 3, 12, 12, 3)  # four cells a band, so that cells are shared
    targets = noise(1, 0, 256, 3, 12, 12, 3)
    cells: dict[tuple[int, ...], list[np.ndarray]] = {}
    for colour, truth in zip(sources.reshape(-1, 3), targets.reshape(-1, 3), strict=True):
        cells.setdefault(tuple(colour // 8), []).append(truth.astype(float))
    translated = colour_table(sources, targets)
    for colour, ours in zip(sources.reshape(-1, 3), translated.reshape(-1, 3), strict=True):
        assert np.abs(ours - np.mean(cells[tuple(colour // 8)], axis=0)).max() <= 0.5 + 1e-9


def test_the_oracle_has_the_levels_that_are_said():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)[None]
    assert len(np.unique(colour_table(ramp, ramp))) == 32


def test_a_colour_table_of_what_is_no_pair_is_rejected():
    grey, rgb = noise(0, 0, 256, 2, 8, 8, 1), noise(1, 0, 256, 3, 8, 8, 3)
    with pytest.raises(DataError, match="pairs"):
        colour_table(rgb[:2], rgb)
    with pytest.raises(DataError, match="pairs"):
        colour_table(grey, grey)


# ---- those of an evaluation -----------------------------------------------------------------


def test_each_translates_as_it_was_fitted():
    a, train = smooth(6, 1), smooth(5, 2)
    found = translations(sets(a, inverted(a), train_b=train, paired=True))
    assert tuple(found) == (IDENTITY, REINHARD, HISTOGRAMS, MEAN, ORACLE)
    np.testing.assert_array_equal(found[IDENTITY], a)
    np.testing.assert_array_equal(found[REINHARD], reinhard(a, train))
    np.testing.assert_array_equal(found[HISTOGRAMS], match_histograms(a, train))
    np.testing.assert_array_equal(found[MEAN], mean_image(a, train))
    np.testing.assert_array_equal(found[ORACLE], colour_table(a, inverted(a)))


def test_the_share_in_memory_changes_nothing(monkeypatch):
    a = smooth(7, 1)
    tests = sets(a, inverted(a), train_b=smooth(5, 2), paired=True)
    whole = translations(tests)
    monkeypatch.setattr(image_set, "CHUNK", 3)
    for name, samples in translations(tests).items():
        np.testing.assert_array_equal(samples, whole[name], err_msg=name)


@pytest.mark.parametrize(
    ("kind_a", "kind_b", "expected"),
    [
        ((3, np.uint8), (3, np.uint8), {IDENTITY, REINHARD, HISTOGRAMS, MEAN}),
        ((1, np.uint8), (1, np.uint8), {IDENTITY, HISTOGRAMS, MEAN}),
        ((4, np.uint8), (4, np.uint8), {IDENTITY, HISTOGRAMS, MEAN}),
        ((2, np.uint8), (3, np.uint8), {MEAN}),
        ((4, np.uint16), (4, np.uint16), {IDENTITY, MEAN}),
        ((3, np.uint16), (3, np.uint16), {IDENTITY, MEAN}),
        ((3, np.uint8), (3, np.uint16), {IDENTITY, MEAN}),
        ((3, np.uint16), (3, np.uint8), {IDENTITY, MEAN}),
    ],
)
def test_bands_and_depth_decide(kind_a, kind_b, expected):
    a, b, train = smooth(4, 1, *kind_a), smooth(4, 2, *kind_b), smooth(5, 3, *kind_b)
    found = translations(sets(a, b, train_b=train))
    assert found.keys() == expected
    for samples in found.values():  # of the kind of the target, so that all are held alike
        assert (samples.shape, samples.dtype) == (b.shape, b.dtype)
    mean = np.rint(train.astype(np.float64).mean(axis=0))
    np.testing.assert_array_equal(found[MEAN], np.broadcast_to(mean, b.shape))
    if IDENTITY in expected:
        scale = float(np.iinfo(b.dtype).max) / np.iinfo(a.dtype).max
        assert np.abs(found[IDENTITY] - a * scale).max() <= 0.5
    assert translations(sets(a, b)).keys() == expected & {IDENTITY}


def test_the_other_direction_knows_the_other_domain():
    a, b, train_a = smooth(3, 1), smooth(5, 2), smooth(4, 3)
    found = translations(sets(a, b, train_a=train_a), "ba")
    np.testing.assert_array_equal(found[IDENTITY], b)
    np.testing.assert_array_equal(found[HISTOGRAMS], match_histograms(b, train_a))


def test_the_oracle_is_called_one_and_only_of_pairs():
    a = smooth(3, 1)
    kinds = {one.name: one.kind for one in baselines_of(sets(a, a, paired=True), "ab")}
    assert kinds == {IDENTITY: "untouched", ORACLE: "oracle"}
