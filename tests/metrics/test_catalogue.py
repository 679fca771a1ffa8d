import numpy as np
import pytest
from skimage.color import deltaE_cie76, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from small_models import SIDE, Gap, Projected, smooth
from unpaired.metrics import image_set
from unpaired.metrics.catalogue import metrics_for
from unpaired.metrics.distributions import fid, least_like
from unpaired.metrics.image_set import ImageSet
from unpaired.metrics.metric import measure
from unpaired.metrics.paired import ergas, spectral_angle
from unpaired.metrics.weightless import (
    colour_distance,
    describe,
    patch_distance,
    spectrum_distance,
)

TRUTH, GENERATED = smooth(7, 1), smooth(7, 2)
SETS = {"colours", "patches", "spectrum"}
BESIDE = {"change", "change_lab", "content", "blobs"}  # of kind "source"


def set_of(samples):
    return ImageSet(samples, tuple(f"{index}.png" for index in range(len(samples))))


def chosen(truth, *, paired=True, network=None, lpips=None):
    bands, count = [truth.shape[-1]], len(truth)
    return metrics_for(bands=bands, count=count, paired=paired, network=network, lpips=lpips)


def values_of(generated, truth, **options):
    return measure(set_of(generated), set_of(truth), chosen(truth, **options)).values


def measured(generated, truth, **options):
    return {key: value.value for key, value in values_of(generated, truth, **options).items()}


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


def test_metrics_against_the_truth_are_those_of_another_library():
    found = measured(GENERATED, TRUTH, lpips=Gap())
    pairs = list(zip(TRUTH, GENERATED, strict=True))
    psnrs = [peak_signal_noise_ratio(y, x) for y, x in pairs]
    ssims = [structural_similarity(y, x, channel_axis=-1) for y, x in pairs]
    gaps = np.abs(GENERATED.astype(int) - TRUTH)
    assert found["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-9)
    assert found["ssim"] == pytest.approx(np.mean(ssims), abs=1e-9)
    assert found["rmse"] == pytest.approx(np.sqrt((gaps**2).mean()), abs=1e-9)
    assert found["lpips"] == pytest.approx(gaps.mean(), abs=1e-9)
    for levels in (5, 10, 16):
        near = (gaps <= levels).all(axis=-1).mean()
        assert found[f"acc{levels}"] == pytest.approx(near, abs=1e-12)


def test_metrics_of_sets_are_those_of_direct_calls():
    network = Projected()
    values = values_of(GENERATED[:5], TRUTH, paired=False, network=network)
    x, y = network.features(GENERATED[:5]), network.features(TRUTH)
    assert values["kid"].value == pytest.approx(kid_by_hand(x, y), rel=1e-9)
    assert values["kid"].low < values["kid"].value < values["kid"].high
    assert values["fid"].value == pytest.approx(fid(x, y), rel=1e-9)
    one, other = describe(GENERATED[:5], side=SIDE), describe(TRUTH, side=SIDE)
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


def test_without_true_translations_there_are_metrics_of_sets_only():
    assert measured(GENERATED, TRUTH, paired=False).keys() == SETS


def test_the_share_in_memory_changes_nothing(monkeypatch):
    whole = measured(GENERATED, TRUTH, network=Projected(), lpips=Gap())
    deep = measured(*(smooth(7, s, 4, np.uint16) for s in (3, 4)))
    monkeypatch.setattr(image_set, "CHUNK", 2)
    parts = measured(GENERATED, TRUTH, network=Projected(), lpips=Gap())
    assert parts == pytest.approx(whole, rel=1e-6)
    assert measured(*(smooth(7, s, 4, np.uint16) for s in (3, 4))) == pytest.approx(deep, rel=1e-9)


def test_features_of_a_set_are_extracted_once():
    class Counting(Projected):
        seen = 0

        def features(self, images):
            Counting.seen += len(images)
            return super().features(images)

    network, reference = Counting(), set_of(TRUTH)
    metrics = chosen(TRUTH, network=network)
    first = measure(set_of(GENERATED), reference, metrics)
    assert Counting.seen == 14
    second = measure(set_of(GENERATED), reference, metrics)
    assert Counting.seen == 21
    assert {k: v.value for k, v in first.values.items()} == {
        k: v.value for k, v in second.values.items()
    }


def test_the_order_of_measuring_does_not_matter():
    reference = set_of(TRUTH)
    metrics = chosen(TRUTH, network=Projected(), lpips=Gap())
    sets = [set_of(smooth(7, seed)) for seed in (3, 4)]
    forward = [measure(one, reference, metrics) for one in sets]
    fresh = set_of(TRUTH)
    backward = [measure(set_of(one.samples), fresh, metrics[::-1]) for one in sets[::-1]][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert one.values.keys() == other.values.keys()
        for key, value in one.values.items():
            assert value.value == other.values[key].value, key


def test_values_of_single_images_are_those_that_are_pooled():
    found = measure(set_of(GENERATED), set_of(TRUTH), chosen(TRUTH, lpips=Gap()))
    assert found.per_image.keys() == {"psnr", "ssim", "rmse", "acc5", "acc10", "acc16", "lpips"}
    for key in ("psnr", "ssim", "acc16", "lpips"):
        assert found.values[key].value == pytest.approx(found.per_image[key].mean(), rel=1e-12)


def test_macro_accuracy_is_over_classes_and_not_over_pixels():
    truth = np.zeros((1, 8, 8, 3), np.uint8)
    ours = truth.copy()
    classes, pure = np.zeros((1, 8, 8), np.uint8), np.ones((1, 8, 8), bool)
    classes[0, 0, :4] = 1
    ours[0, 0, :4] = 99
    ours[0, 7] = 99  # wrong too, but mixed, so of no class
    classes[0, 7], pure[0, 7] = 255, False
    maps = (classes, pure, ("sky", "lake", "road"))
    options = {"bands": [3], "count": 1, "paired": True, "network": None, "lpips": None}
    found = measure(set_of(ours), set_of(truth), metrics_for(**options, classes=maps)).values
    assert found["macro16"].parts == {"sky": 1.0, "lake": 0.0}
    assert found["macro16"].value == 0.5
    assert found["acc16"].value == 52 / 64
    nothing = (classes, np.zeros_like(pure), maps[2])
    empty = measure(set_of(ours), set_of(truth), metrics_for(**options, classes=nothing)).values
    assert np.isnan(empty["macro16"].value)
    assert empty["macro16"].parts == {}


def test_images_smaller_than_the_distances_allow_are_enlarged():
    small = [smooth(4, seed, side=8) for seed in (1, 2)]
    assert measured(*small).keys() > SETS


# ---- other bands --------------------------------------------------------------------------


def test_bands_are_measured_in_their_own_units():
    truth, generated = (smooth(5, seed, 4, np.uint16) for seed in (1, 2))
    generated[..., 2] = np.minimum(truth[..., 2] + 500.0, 65535)
    found = measured(generated, truth)
    gap = generated.astype(np.float64) - truth
    for band in range(4):
        error, bias = np.sqrt((gap[..., band] ** 2).mean()), gap[..., band].mean()
        assert found[f"rmse{band + 1}"] == pytest.approx(error, rel=1e-12)
        assert found[f"bias{band + 1}"] == pytest.approx(bias, rel=1e-12)
    assert (found["bias3"], found["rmse3"]) == (500, 500)
    pairs = list(zip(generated, truth, strict=True))
    assert found["sam"] == pytest.approx(np.mean([spectral_angle(x, y) for x, y in pairs]))
    assert found["ergas"] == pytest.approx(np.mean([ergas(x, y) for x, y in pairs]))
    assert "psnr" not in found


def test_biases_of_images_that_cancel_are_no_bias_of_the_set():
    truth = np.full((2, SIDE, SIDE, 2), 100, np.uint8)
    generated = truth + np.array([10, -10], np.int8).reshape(2, 1, 1, 1).astype(np.uint8)
    found = measured(generated, truth)
    assert (found["bias1"], found["rmse1"]) == (0, 10)


def test_a_grey_image_has_metrics_of_images_and_of_its_band():
    truth, generated = smooth(4, 1, 1), smooth(4, 2, 1)
    found = measured(generated, truth, lpips=Gap(), network=Projected())
    pairs = [(y[..., 0], x[..., 0]) for y, x in zip(truth, generated, strict=True)]
    assert found["psnr"] == pytest.approx(np.mean([peak_signal_noise_ratio(*p) for p in pairs]))
    assert found["ssim"] == pytest.approx(np.mean([structural_similarity(*p) for p in pairs]))
    assert found["rmse1"] == pytest.approx(found["rmse"])
    assert "sam" not in found  # one band has no direction
    assert found["lpips"] == pytest.approx(np.abs(generated.astype(int) - truth).mean())


def test_what_is_not_defined_is_left_out_without_a_warning():
    truth, generated = smooth(4, 1, 2), smooth(4, 2, 2)
    truth[0, ..., 1] = 0  # no relative error of this image
    truth[1] = generated[1] = 0  # nor an angle of that one
    found = measured(generated, truth)
    rest = [(generated[k], truth[k]) for k in (2, 3)]
    assert found["ergas"] == pytest.approx(np.mean([ergas(x, y) for x, y in rest]))
    angles = [spectral_angle(generated[k], truth[k]) for k in (0, 2, 3)]
    assert found["sam"] == pytest.approx(np.mean(angles))
    nothing = measured(np.zeros_like(generated), np.zeros_like(truth))
    assert np.isnan(nothing["ergas"])
    assert np.isnan(nothing["sam"])
    assert nothing["rmse2"] == 0


def test_networks_are_shown_what_to_rgb_shows():
    network = Projected()
    for bands, kept in ((1, [0, 0, 0]), (2, [0, 0, 0]), (5, [0, 1, 2])):
        truth, generated = (smooth(5, seed, bands, np.uint16) for seed in (1, 2))
        x, y = (
            network.features((z[..., kept] // 256).astype(np.uint8)) for z in (generated, truth)
        )
        found = measured(generated, truth, paired=False, network=network)
        assert found["kid"] == pytest.approx(kid_by_hand(x, y), rel=1e-9)


# ---- against the sources ------------------------------------------------------------------


def beside(generated, sources, target=None):
    """The values of kind "source" of images generated from `sources`."""
    target = smooth(7, 5, generated.shape[-1], generated.dtype) if target is None else target
    metrics = chosen(target, paired=False)
    found = measure(set_of(generated), set_of(target), metrics, set_of(sources)).values
    return {key: value for key, value in found.items() if key in BESIDE}


def test_untouched_images_are_not_changed_and_keep_all():
    found = beside(TRUTH, TRUTH)
    assert {key: value.value for key, value in found.items()} == {
        "change": 0, "change_lab": 0, "content": pytest.approx(1, abs=1e-12),
        "blobs": 0,
    }  # fmt: skip


def test_values_beside_sources_are_means_over_the_images(monkeypatch):
    monkeypatch.setattr(image_set, "CHUNK", 2)
    found = beside(GENERATED, TRUTH)
    gaps = np.abs(GENERATED.astype(float) - TRUTH).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found["change"].per_image, gaps, rtol=1e-12)
    assert found["change"].value == pytest.approx(gaps.mean(), rel=1e-12)
    labs = [deltaE_cie76(*map(rgb2lab, pair)).mean() for pair in zip(GENERATED, TRUTH, strict=True)]
    assert found["change_lab"].value == pytest.approx(np.mean(labs), rel=1e-3)
    deviations = [TRUTH[..., band].std() for band in range(3)]
    small = 0.04 * np.sqrt(np.mean(np.square(deviations)))
    assert found["change"].small == pytest.approx(small, rel=1e-9)


def test_an_image_without_content_does_not_count():
    sources, generated = TRUTH.copy(), GENERATED.copy()
    sources[0], generated[1] = 90, 90  # nothing to keep; nothing kept
    kept = beside(generated, sources)["content"]
    assert np.isnan(kept.per_image[0])
    assert kept.per_image[1] == 0
    assert kept.value == pytest.approx(kept.per_image[1:].mean())
    assert np.isnan(beside(generated[:1], sources[:1])["content"].value)


def test_sixteen_bits_are_measured_in_levels_of_255():
    sources = smooth(4, 1, 3, np.uint16)
    found = beside(sources + np.uint16(514), sources)
    assert found["change"].value == pytest.approx(2, rel=1e-12)
    assert found["content"].value == pytest.approx(1, abs=1e-12)
    eight = (sources >> 8).astype(np.uint8)
    mixed = beside(eight.astype(np.uint16) * 257, eight)  # 8 bits to 16
    assert [mixed[key].value for key in ("change", "change_lab")] == [0, 0]


@pytest.mark.parametrize(("bands", "of_source"), [(1, 3), (3, 1), (4, 3), (2, 1)])
def test_other_bands_are_compared_as_luminance(bands, of_source):
    grey = smooth(4, 1, 1)
    found = beside(np.repeat(grey // 2, bands, -1), np.repeat(grey, of_source, -1))
    assert found.keys() == {"change", "content", "blobs"}  # no colours
    assert found["change"].value == pytest.approx(np.abs(grey - (grey // 2.0)).mean(), abs=1e-9)
    assert found["content"].value > 0.99


def test_without_sources_nothing_is_measured_against_them():
    assert not measured(GENERATED, TRUTH).keys() & BESIDE


# ---- which metrics there are --------------------------------------------------------------


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("network", [None, Projected()])
@pytest.mark.parametrize("lpips", [None, Gap()])
@pytest.mark.parametrize("paired", [True, False])
def test_what_is_measured_is_what_is_shown(bands, network, lpips, paired):
    options = {"paired": paired, "network": network, "lpips": lpips}
    values = measured(smooth(4, 1, bands), smooth(4, 2, bands), **options)
    metrics = metrics_for(bands=[bands], count=4, **options)
    keys = [metric.key for metric in metrics]
    assert sorted(set(keys) - BESIDE) == sorted(values)
    assert set(keys) & BESIDE == (BESIDE if bands == 3 else BESIDE - {"change_lab"})
    assert {metric.key for metric in metrics if metric.kind == "paired"} == values.keys() - SETS - {
        "kid", "fid"
    }  # fmt: skip


def test_two_directions_of_different_bands_have_the_metrics_of_both():
    options = {"paired": True, "network": None, "lpips": None}
    keys = [metric.key for metric in metrics_for(bands=[3, 2], count=4, **options)]
    assert len(set(keys)) == len(keys)
    for bands in (2, 3):
        assert measured(smooth(4, 1, bands), smooth(4, 2, bands)).keys() <= set(keys)
    assert {"psnr", "sam", "bias2"} <= set(keys)
    assert "bias3" not in keys


def test_fid_says_its_number():
    metrics = metrics_for(bands=[3], count=41, paired=False, network=Projected(), lpips=None)
    assert next(metric.name for metric in metrics if metric.key == "fid") == "FID (n = 41)"


# ---- the least like -----------------------------------------------------------------------


def witness_by_hand(generated, real):
    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    return [
        np.mean([kernel(x, y) for y in real])
        - sum(kernel(x, y) for k, y in enumerate(generated) if k != index)
        / max(len(generated) - 1, 1)
        for index, x in enumerate(generated)
    ]


@pytest.mark.parametrize(("n", "m"), [(1, 3), (2, 3), (3, 3), (70, 130)])
def test_the_least_like_have_the_lowest_witness(n, m):
    rng = np.random.default_rng(n)
    generated, real = (rng.standard_normal((k, 6)).astype(np.float32) for k in (n, m))
    order = np.argsort(witness_by_hand(generated.astype(np.float64), real.astype(np.float64)))
    assert least_like(generated, real, 4).tolist() == order[:4].tolist()


def test_a_stranger_is_the_least_like():
    rng = np.random.default_rng(0)
    real, generated = (rng.normal(1, 0.2, (20, 8)).astype(np.float32) for _ in range(2))
    generated[13] = -generated[13]
    assert least_like(generated, real, 1).tolist() == [13]
