"""Change and content kept against brute force, scikit-image, scipy and closed forms."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.color import deltaE_cie76, rgb2lab

from unpaired.errors import DataError
from unpaired.metrics.source import (
    blobs,
    change,
    colour_change,
    content_kept,
    contrast,
    to_levels,
)
from unpaired.seasons.landscapes import draw, paint

NOISE, OTHER = (
    np.random.default_rng(seed).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8) for seed in (0, 1)
)


def by_hand(generated, source):
    """The correlation of the gradients of one image, pixel by pixel."""
    weights = (0.299, 0.587, 0.114)
    grey = [
        [[sum(w * float(v) for w, v in zip(weights, pixel, strict=True)) for pixel in row]
         for row in image]
        for image in (generated, source)
    ]  # fmt: skip
    ab = aa = bb = 0.0
    for y in range(len(grey[0]) - 1):
        for x in range(len(grey[0][0]) - 1):
            for down, right in ((0, 1), (1, 0)):
                a, b = (z[y + down][x + right] - z[y][x] for z in grey)
                ab, aa, bb = ab + a * b, aa + a * a, bb + b * b
    return ab / (aa * bb) ** 0.5


def landscapes(count=6, side=64):
    return np.stack([paint(draw(seed, side, "lite"), "a") for seed in range(count)])


# ---- blobs --------------------------------------------------------------------------------


def blobs_by_hand(generated, source):
    gaps = np.abs(generated.astype(float) - source).mean(-1)
    side = max(3, min(gaps.shape) // 13)
    places = [
        gaps[y : y + side, x : x + side].mean()
        for y in range(gaps.shape[0] - side + 1)
        for x in range(gaps.shape[1] - side + 1)
    ]
    return max(places) > 40 and max(places) > 3 * (np.quantile(places, 0.9) + 1)


def test_blobs_are_found_as_by_hand():
    """Squares of many sizes and strengths on images that changed little, some and everywhere."""
    rng = np.random.default_rng(0)
    source = np.stack([paint(draw(seed, 64, "lite"), "a") for seed in range(40)]).astype(float)
    generated = source + rng.normal(0, 1, source.shape) * rng.uniform(0, 25, (40, 1, 1, 1))
    for image in generated:
        side, strength = rng.integers(1, 14), rng.uniform(0, 200)
        y, x = rng.integers(0, 60, 2)
        image[y : y + side, x : x + side] += strength
    expected = [blobs_by_hand(x, y) for x, y in zip(generated, source, strict=True)]
    assert 5 < sum(expected) < 35
    np.testing.assert_array_equal(blobs(generated, source), expected)
    wide = generated[:, :, :41]
    expected = [blobs_by_hand(x, y[:, :41]) for x, y in zip(wide, source, strict=True)]
    np.testing.assert_array_equal(blobs(wide, source[:, :, :41]), expected)


def test_no_blob_where_all_changes_nor_in_an_image_smaller_than_a_place():
    assert not blobs(255 - NOISE, NOISE).any()
    assert blobs(np.full((4, 2, 2, 3), 255), np.zeros((4, 2, 2, 3))).tolist() == [0] * 4


# ---- change -------------------------------------------------------------------------------


def test_change_is_the_mean_of_all_samples_image_by_image():
    expected = [
        sum(abs(int(a) - int(b)) for a, b in zip(x.flat, y.flat, strict=True)) / x.size
        for x, y in zip(NOISE, OTHER, strict=True)
    ]
    np.testing.assert_allclose(change(NOISE, OTHER), expected, rtol=1e-12)
    assert (change(NOISE, NOISE) == 0).all()
    assert change(NOISE[0], OTHER[0]) == pytest.approx(expected[0])


def test_colour_change_is_that_of_scikit_image():
    found = colour_change(NOISE, OTHER)
    expected = [
        deltaE_cie76(rgb2lab(x), rgb2lab(y)).mean() for x, y in zip(NOISE, OTHER, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert (colour_change(NOISE, NOISE) == 0).all()


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_colour_change_is_of_three_bands_alone(bands):
    with pytest.raises(DataError, match=f"not of {bands} and 3"):
        colour_change(NOISE[..., :1].repeat(bands, -1), NOISE)


def test_levels_are_exact_at_both_depths():
    assert to_levels(np.array([0, 7, 255], np.uint8)).tolist() == [0, 7, 255]
    assert to_levels(np.array([0, 257, 65535], np.uint16)).tolist() == [0, 1, 255]


# ---- content kept -------------------------------------------------------------------------


def test_content_is_the_correlation_of_gradients_by_brute_force():
    mixed = (NOISE // 2 + OTHER // 3).astype(np.uint8)
    expected = [by_hand(x, y) for x, y in zip(mixed, NOISE, strict=True)]
    np.testing.assert_allclose(content_kept(mixed, NOISE), expected, rtol=1e-9)
    assert 0.5 < min(expected) < max(expected) < 0.95


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (lambda x: x, 1),
        (lambda x: 255 - x, -1),
        (lambda x: 0.3 * x + 90, 1),
        (lambda x: x + np.array([40, 0, -60]), 1),
    ],
    ids=["identity", "inverted", "less contrast", "tinted"],
)
def test_content_of_closed_forms(made, kept):
    np.testing.assert_allclose(content_kept(made(NOISE), NOISE), kept, atol=1e-12)


def test_other_images_keep_nothing_and_rows_do_not_become_columns():
    large, other = (np.random.default_rng(s).uniform(0, 255, (1, 99, 99, 1)) for s in (2, 3))
    assert abs(float(content_kept(large, other)[0])) < 0.03
    rows = np.linspace(0, 255, 9)[:, None, None] * np.ones((1, 9, 3))
    assert content_kept(rows, rows.swapaxes(0, 1)) == pytest.approx(0, abs=1e-12)


def test_blur_loses_content_while_it_changes_little():
    sources = landscapes().astype(float)
    blurred = [gaussian_filter(sources, (0, sigma, sigma, 0)) for sigma in (1, 2)]
    kept = [content_kept(x, sources).mean() for x in blurred]
    assert 0.9 > kept[0] > kept[1]
    assert change(blurred[0], sources).mean() < 0.2 * contrast([sources])
    darker = 0.5 * sources  # changes more, and keeps all
    assert change(darker, sources).mean() > change(blurred[1], sources).mean()
    assert content_kept(darker, sources).min() == pytest.approx(1)


def test_flat_images():
    flat = np.full_like(NOISE[0], 77)
    assert np.isnan(content_kept(NOISE[0], flat))
    assert np.isnan(content_kept(flat, flat))
    assert content_kept(flat, NOISE[0]) == 0
    almost = flat.copy()
    almost[4, 4, 2] += 1  # one level of blue in one pixel is content
    assert content_kept(almost, almost) == pytest.approx(1)


def test_other_bands_are_luminance():
    grey = NOISE[..., :1]
    rgb = grey.repeat(3, -1)
    assert change(rgb, grey) == pytest.approx(np.zeros(5), abs=1e-9)
    np.testing.assert_allclose(content_kept(grey.repeat(5, -1), rgb), 1, atol=1e-12)
    red = NOISE * np.array([1, 0, 0])
    expected = np.abs(0.299 * NOISE[..., 0] - 10.0).mean(axis=(1, 2))
    np.testing.assert_allclose(change(red, np.full_like(grey, 10)), expected, rtol=1e-9)


@pytest.mark.parametrize("measure", [change, colour_change, content_kept])
def test_sizes_that_differ_are_rejected(measure):
    with pytest.raises(DataError, match="cannot compare"):
        measure(NOISE[:, :-1], NOISE)


# ---- contrast -----------------------------------------------------------------------------


def test_contrast_is_the_deviation_around_the_mean_of_each_band():
    images = np.concatenate([NOISE, OTHER // 2])
    expected = np.sqrt(np.mean([images[..., band].astype(float).var() for band in range(3)]))
    assert contrast([images]) == pytest.approx(expected, rel=1e-12)
    assert contrast(images[k : k + 3] for k in (0, 3, 6, 9)) == pytest.approx(expected, rel=1e-12)
    assert contrast([np.full((2, 3, 3, 3), [9, 99, 200])]) == pytest.approx(0, abs=1e-6)
    assert contrast([]) == 0
