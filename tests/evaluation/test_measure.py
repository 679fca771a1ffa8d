import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from small_models import SIDE, Gap, Projected, smooth
from unpaired.evaluation import testset
from unpaired.evaluation.measure import Yardstick, figures_of, least_like
from unpaired.evaluation.testset import Squares
from unpaired.metrics.distributions import ergas, fid, spectral_angle
from unpaired.metrics.weightless import (
    colour_distance,
    describe,
    patch_distance,
    spectrum_distance,
)

TRUTH, MADE = smooth(7, 1), smooth(7, 2)
SETS = {"colours", "patches", "spectrum"}


def squares(samples):
    return Squares(samples, tuple(f"{index}.png" for index in range(len(samples))))


def stick(truth, *, paired=True, network=None, lpips=None, progress=lambda done: None):
    return Yardstick(squares(truth), paired=paired, network=network, lpips=lpips, progress=progress)


def measured(made, truth, *, against_truth=True, **options):
    values = stick(truth, **options).measure(squares(made), against_truth=against_truth)
    return {key: value.value for key, value in values.items()}


def kid_by_hand(x, y):
    """The U-statistic over all pairs, in float64."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(x), len(y)
    within_x, within_y = kernel(x, x), kernel(y, y)
    return (
        (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
        + (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
        - 2 * kernel(x, y).mean()
    )


# ---- colour images ----------------------------------------------------------------------


def test_figures_against_the_truth_are_those_of_another_library():
    found = measured(MADE, TRUTH, lpips=Gap())
    pairs = list(zip(TRUTH, MADE, strict=True))
    psnrs = [peak_signal_noise_ratio(y, x) for y, x in pairs]
    ssims = [structural_similarity(y, x, channel_axis=-1) for y, x in pairs]
    gaps = np.abs(MADE.astype(int) - TRUTH)
    assert found["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-9)
    assert found["ssim"] == pytest.approx(np.mean(ssims), abs=1e-9)
    assert found["rmse"] == pytest.approx(np.sqrt((gaps**2).mean()), abs=1e-9)
    assert found["lpips"] == pytest.approx(gaps.mean(), abs=1e-9)
    for levels in (5, 10, 16):
        near = (gaps <= levels).all(axis=-1).mean()
        assert found[f"acc{levels}"] == pytest.approx(near, abs=1e-12)


def test_figures_of_sets_are_those_of_direct_calls():
    network = Projected()
    values = stick(TRUTH, network=network).measure(squares(MADE[:5]), against_truth=False)
    x, y = network.features(MADE[:5]), network.features(TRUTH)
    assert values["kid"].value == pytest.approx(kid_by_hand(x, y), rel=1e-9)
    assert values["kid"].low < values["kid"].value < values["kid"].high
    assert values["fid"].value == pytest.approx(fid(x, y), rel=1e-9)
    one, other = describe(MADE[:5], side=SIDE), describe(TRUTH, side=SIDE)
    assert values["colours"].value == colour_distance(one, other)
    assert values["patches"].value == patch_distance(one, other)
    assert values["spectrum"].value == spectrum_distance(one, other)


def test_the_truth_itself_is_perfect():
    found = measured(TRUTH, TRUTH, network=Projected(), lpips=Gap())
    assert found["psnr"] == np.inf
    assert [found[key] for key in ("ssim", "acc5", "acc10", "acc16")] == [1] * 4
    assert [found[key] for key in ("rmse", "lpips", *sorted(SETS))] == [0] * 5
    assert found["kid"] <= 0  # unbiased: a set with itself is nearer than two samples are
    assert found["fid"] == pytest.approx(0, abs=1e-6)


def test_what_has_no_truth_is_not_held_against_it():
    assert measured(MADE, TRUTH, paired=False).keys() == SETS
    assert measured(MADE, TRUTH, against_truth=False).keys() == SETS


def test_the_share_in_memory_changes_nothing(monkeypatch):
    whole = measured(MADE, TRUTH, network=Projected(), lpips=Gap())
    deep = measured(*(smooth(7, s, 4, np.uint16) for s in (3, 4)))
    monkeypatch.setattr(testset, "CHUNK", 2)
    parts = measured(MADE, TRUTH, network=Projected(), lpips=Gap())
    assert parts == pytest.approx(whole, rel=1e-6)
    assert measured(*(smooth(7, s, 4, np.uint16) for s in (3, 4))) == pytest.approx(deep, rel=1e-9)


def test_every_image_is_counted_once():
    for network in (None, Projected()):
        counted = []
        yardstick = stick(TRUTH, network=network, progress=counted.append)
        assert sum(counted) == 7
        yardstick.measure(squares(MADE[:5]), against_truth=False)
        assert sum(counted) == 12


def test_images_smaller_than_the_distances_allow_are_enlarged():
    small = [smooth(4, seed, side=8) for seed in (1, 2)]
    assert measured(*small).keys() > SETS


# ---- other bands --------------------------------------------------------------------------


def test_bands_are_measured_in_their_own_units():
    truth, made = (smooth(5, seed, 4, np.uint16) for seed in (1, 2))
    made[..., 2] = np.minimum(truth[..., 2] + 500.0, 65535)
    found = measured(made, truth)
    gap = made.astype(np.float64) - truth
    for band in range(4):
        error, bias = np.sqrt((gap[..., band] ** 2).mean()), abs(gap[..., band].mean())
        assert found[f"rmse{band + 1}"] == pytest.approx(error, rel=1e-12)
        assert found[f"bias{band + 1}"] == pytest.approx(bias, rel=1e-12)
    assert (found["bias3"], found["rmse3"]) == (500, 500)
    pairs = list(zip(made, truth, strict=True))
    assert found["sam"] == pytest.approx(np.mean([spectral_angle(x, y) for x, y in pairs]))
    assert found["ergas"] == pytest.approx(np.mean([ergas(x, y) for x, y in pairs]))
    assert "psnr" not in found


def test_biases_of_images_that_cancel_are_no_bias_of_the_set():
    truth = np.full((2, SIDE, SIDE, 2), 100, np.uint8)
    made = truth + np.array([10, -10], np.int8).reshape(2, 1, 1, 1).astype(np.uint8)
    found = measured(made, truth)
    assert (found["bias1"], found["rmse1"]) == (0, 10)


def test_a_grey_image_has_figures_of_images_and_of_its_band():
    truth, made = smooth(4, 1, 1), smooth(4, 2, 1)
    found = measured(made, truth, lpips=Gap(), network=Projected())
    pairs = [(y[..., 0], x[..., 0]) for y, x in zip(truth, made, strict=True)]
    assert found["psnr"] == pytest.approx(np.mean([peak_signal_noise_ratio(*p) for p in pairs]))
    assert found["ssim"] == pytest.approx(np.mean([structural_similarity(*p) for p in pairs]))
    assert found["rmse1"] == pytest.approx(found["rmse"])
    assert "sam" not in found  # one band has no direction
    assert found["lpips"] == pytest.approx(np.abs(made.astype(int) - truth).mean())


def test_what_is_not_defined_is_left_out_without_a_warning():
    truth, made = smooth(4, 1, 2), smooth(4, 2, 2)
    truth[0, ..., 1] = 0  # no relative error of this image
    truth[1] = made[1] = 0  # nor an angle of that one
    found = measured(made, truth)
    rest = [(made[k], truth[k]) for k in (2, 3)]
    assert found["ergas"] == pytest.approx(np.mean([ergas(x, y) for x, y in rest]))
    angles = [spectral_angle(made[k], truth[k]) for k in (0, 2, 3)]
    assert found["sam"] == pytest.approx(np.mean(angles))
    nothing = measured(np.zeros_like(made), np.zeros_like(truth))
    assert np.isnan(nothing["ergas"])
    assert np.isnan(nothing["sam"])
    assert nothing["rmse2"] == 0


def test_networks_are_shown_what_to_rgb_shows():
    network = Projected()
    for bands, kept in ((1, [0, 0, 0]), (2, [0, 0, 0]), (5, [0, 1, 2])):
        truth, made = (smooth(5, seed, bands, np.uint16) for seed in (1, 2))
        x, y = (network.features((z[..., kept] // 256).astype(np.uint8)) for z in (made, truth))
        found = measured(made, truth, paired=False, network=network)
        assert found["kid"] == pytest.approx(kid_by_hand(x, y), rel=1e-9)


# ---- which figures there are --------------------------------------------------------------


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("network", [None, Projected()])
@pytest.mark.parametrize("lpips", [None, Gap()])
@pytest.mark.parametrize("paired", [True, False])
def test_what_is_measured_is_what_is_shown(bands, network, lpips, paired):
    options = {"paired": paired, "network": network, "lpips": lpips}
    values = measured(smooth(4, 1, bands), smooth(4, 2, bands), **options)
    figures = figures_of(bands=[bands], count=4, **options)
    keys = [figure.key for figure in figures]
    assert sorted(keys) == sorted(values)
    assert {figure.key for figure in figures if figure.kind == "paired"} == values.keys() - SETS - {
        "kid", "fid"
    }  # fmt: skip


def test_two_directions_of_different_bands_have_the_figures_of_both():
    options = {"paired": True, "network": None, "lpips": None}
    keys = [figure.key for figure in figures_of(bands=[3, 2], count=4, **options)]
    assert len(set(keys)) == len(keys)
    for bands in (2, 3):
        assert measured(smooth(4, 1, bands), smooth(4, 2, bands)).keys() <= set(keys)
    assert {"psnr", "sam", "bias2"} <= set(keys)
    assert "bias3" not in keys


def test_fid_says_its_number():
    figures = figures_of(bands=[3], count=41, paired=False, network=Projected(), lpips=None)
    assert next(figure.name for figure in figures if figure.key == "fid") == "FID (n = 41)"


# ---- the least like -----------------------------------------------------------------------


def witness_by_hand(made, real):
    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    return [
        np.mean([kernel(x, y) for y in real])
        - sum(kernel(x, y) for k, y in enumerate(made) if k != index) / max(len(made) - 1, 1)
        for index, x in enumerate(made)
    ]


@pytest.mark.parametrize(("n", "m"), [(1, 3), (2, 3), (3, 3), (70, 130)])
def test_the_least_like_have_the_lowest_witness(n, m):
    rng = np.random.default_rng(n)
    made, real = (rng.standard_normal((k, 6)).astype(np.float32) for k in (n, m))
    order = np.argsort(witness_by_hand(made.astype(np.float64), real.astype(np.float64)))
    assert least_like(made, real, 4).tolist() == order[:4].tolist()


def test_a_stranger_is_the_least_like():
    rng = np.random.default_rng(0)
    real, made = (rng.normal(1, 0.2, (20, 8)).astype(np.float32) for _ in range(2))
    made[13] = -made[13]
    assert least_like(made, real, 1).tolist() == [13]
