import tracemalloc

import numpy as np
import pytest
import scipy.ndimage
from scipy.stats import wasserstein_distance
from skimage.color import rgb2lab

from unpaired.errors import DataError
from unpaired.metrics import weightless as distances
from unpaired.metrics.weightless import (
    colour_distance,
    describe,
    laplacian_pyramid,
    patch_distance,
    patch_distances,
    spectrum_distance,
    to_cielab,
)
from unpaired.seasons.landscapes import draw, paint

ALL = (patch_distance, colour_distance, spectrum_distance)


def scenes(domain, seeds, side=32):
    return np.stack([paint(draw(seed, side, "full"), domain) for seed in seeds])


@pytest.fixture(scope="module")
def summer():
    return scenes("a", range(40))


@pytest.fixture(scope="module")
def other_summer():
    return scenes("a", range(40, 80))


@pytest.fixture(scope="module")
def winter():
    return scenes("b", range(80, 120))


def test_a_set_and_itself_in_any_order(summer):
    x, y = describe([summer], side=32), describe(list(summer[::-1]), side=32)
    for distance in ALL:
        assert distance(x, x) == 0
        assert distance(x, y) == pytest.approx(0, abs=1e-12)


def test_the_lot_does_not_depend_on_the_order(summer, monkeypatch):
    monkeypatch.setattr(distances, "_PATCHES", 500)
    monkeypatch.setattr(distances, "_PIXELS", 700)
    x, y = describe([summer], side=32), describe([summer[::-1]], side=32)
    assert len(x.patches[0]) == 500
    assert len(x.colours) == 700
    for a, b in zip((*x.patches, x.colours), (*y.patches, y.colours), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_images_of_a_domain_are_nearer_than_the_other_domain(summer, other_summer, winter):
    x, same, other = (describe([z], side=32) for z in (summer, other_summer, winter))
    for distance in ALL:
        assert 0 < distance(x, same) < 0.6 * distance(x, other)
        assert distance(x, other) == pytest.approx(distance(other, x), rel=1e-12)


def test_what_is_kept_does_not_grow(monkeypatch):
    monkeypatch.setattr(distances, "_PATCHES", 256)
    monkeypatch.setattr(distances, "_PIXELS", 1024)

    def random_images(count):
        rng = np.random.default_rng(0)
        return (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(count))

    peaks = []
    for count in (30, 300):
        tracemalloc.start()
        described = describe(random_images(count), side=32)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert described.count == count
        assert [len(level) for level in described.patches] == [256, 256]
        assert described.colours.shape == (1024, 3)
    assert peaks[1] < 1.2 * peaks[0]


def test_the_lot_is_fair():
    """Every image of the set keeps its share of what is kept."""
    images = [np.full((16, 16, 1), level, np.uint8) for level in range(250)]
    levels = describe(images, side=16).colours[:, 0]
    counts = np.bincount(levels.astype(int), minlength=250)
    expected = len(levels) / 250
    assert np.sum((counts - expected) ** 2 / expected) < 320  # chi-square, 249 degrees: 0.2 %


@pytest.mark.parametrize(("n", "m"), [(50, 50), (40, 25), (7, 30)])
def test_sliced_wasserstein_equals_scipy_direction_by_direction(n, m):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 5)).astype(np.float32)
    y = (1.3 * rng.standard_normal((m, 5)) + 0.2).astype(np.float32)
    directions = np.random.default_rng(5).standard_normal((5, 128))
    directions /= np.linalg.norm(directions, axis=0)
    expected = np.mean([wasserstein_distance(x @ d, y @ d) for d in directions.T])
    assert distances._sliced_wasserstein(x, y) == pytest.approx(expected, rel=1e-5)


def test_a_shift_of_all_colours():
    """Half of the shift, the mean of |cosine| over the sphere; L alone moves by 20 here."""
    low = np.random.default_rng(0).integers(40, 60, (6, 16, 16, 1), dtype=np.uint8)
    x, y = (describe([grey], side=16) for grey in (low, low + np.uint8(20)))
    assert colour_distance(x, y) == pytest.approx(20, rel=0.02)  # one band: levels
    rgb = np.repeat(low, 3, axis=-1)
    lab = to_cielab(rgb + np.uint8(20)) - to_cielab(rgb)
    shift = np.linalg.norm(lab.reshape(-1, 3).mean(axis=0))
    x, y = (describe([z], side=16) for z in (rgb, rgb + np.uint8(20)))
    assert colour_distance(x, y) == pytest.approx(shift / 2, rel=0.1)


def test_cielab_equals_scikit_image():
    levels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    levels[0, :4] = [[0, 0, 0], [255, 255, 255], [1, 1, 1], [255, 0, 0]]
    np.testing.assert_allclose(to_cielab(levels), rgb2lab(levels), atol=1e-3)


@pytest.mark.parametrize("shape", [(32, 32, 3), (33, 18, 1)])
def test_the_pyramid(shape):
    """Against scipy's filter, and its levels add up to the image again."""
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[:, :, None] / 256
    levels = laplacian_pyramid(image, 2)
    smaller = scipy.ndimage.convolve(image.astype(float), kernel, mode="mirror")[::2, ::2]
    spread = np.zeros(shape)
    spread[::2, ::2] = smaller
    larger = scipy.ndimage.convolve(spread, 4 * kernel, mode="mirror")
    np.testing.assert_allclose(levels[1], smaller, atol=1e-3)
    np.testing.assert_allclose(levels[0], image - larger, atol=1e-3)
    np.testing.assert_allclose(levels[0] + larger, image, atol=1e-3)


def test_levels_end_at_16_pixels(summer):
    assert len(describe([summer], side=16).patches) == 1
    assert len(describe([summer], side=31).patches) == 1
    assert len(describe([summer], side=64).patches) == 3
    x, y = (describe([z], side=64) for z in (summer, summer[:5]))
    assert len(patch_distances(x, y)) == 3
    assert patch_distance(x, y) == pytest.approx(np.mean(patch_distances(x, y)))


def test_patches_do_not_see_colour_and_contrast(summer):
    x = describe([summer], side=32)
    tinted = np.rint(summer * [0.4, 0.5, 0.3] + [90, 20, 60]).astype(np.uint8)
    other_light = describe([tinted], side=32)
    floor = patch_distance(x, describe([scenes("a", range(40, 80))], side=32))
    assert patch_distance(x, other_light) < 1.5 * floor
    assert colour_distance(x, other_light) > 5


def test_blur_is_seen_by_the_finest_level_most(summer):
    blurred = scipy.ndimage.gaussian_filter(summer.astype(float), (0, 1, 1, 0))
    noise = np.random.default_rng(0).normal(0, 12, summer.shape)
    noisy = np.clip(np.rint(blurred + noise), 0, 255).astype(np.uint8)
    x, y = describe([summer], side=32), describe([noisy], side=32)
    finest, coarser = patch_distances(x, y)
    assert finest > 2 * coarser


def test_the_spectrum_of_a_wave_and_of_a_checkerboard():
    side = 64
    rows, columns = np.indices((side, side))
    flat = np.full((side, side, 3), 128, np.uint8)
    wave = np.rint(128 + 60 * np.sin(2 * np.pi * 10 * columns / side)).astype(np.uint8)
    board = (128 + 40 * (-1) ** (rows + columns)).astype(np.uint8)
    spectra = [
        describe([np.repeat(z[..., None], 3, axis=-1)], side=side).spectrum for z in (wave, board)
    ]
    quiet = describe([flat], side=side)
    assert len(quiet.spectrum) == 45  # out to the corner, 32 * sqrt(2)
    assert np.ptp(quiet.spectrum) < 1e-9  # the floor of the rounding
    assert np.argmax(spectra[0]) + 1 == 10
    assert np.argmax(spectra[1]) + 1 == 45


def test_the_spectrum_of_white_noise_is_flat_and_at_its_power():
    """Power 100 under the window, in dB; a mean of logarithms lies a little below it."""
    rng = np.random.default_rng(0)
    noise = np.rint(128 + rng.normal(0, 10, (60, 32, 32, 1))).astype(np.uint8)
    spectrum = describe([noise], side=32).spectrum
    window = np.outer(np.hanning(34)[1:-1], np.hanning(34)[1:-1])
    expected = 10 * np.log10(100 * np.sum(window**2))
    assert np.abs(spectrum[3:-2] - expected).max() < 0.7


def test_twice_the_contrast_is_6_decibels():
    rng = np.random.default_rng(0)
    coarse = 8 * rng.integers(6, 10, (30, 32, 32, 1))
    x = describe([coarse.astype(np.uint8)], side=32)
    y = describe([(2 * coarse).astype(np.uint8)], side=32)
    assert spectrum_distance(x, y) == pytest.approx(20 * np.log10(2), abs=0.02)


def test_what_cannot_be_compared(summer):
    x = describe([summer[:2]], side=32)
    with pytest.raises(DataError, match="no images"):
        describe([], side=32)
    with pytest.raises(DataError, match="not 8"):
        describe([summer], side=8)
    with pytest.raises(DataError, match="uint8"):
        describe([summer.astype(float)], side=32)
    with pytest.raises(DataError, match="3 and of 1 bands"):
        describe([summer[0], summer[0, :, :, :1]], side=32)
    for other in (describe([summer[:2]], side=16), describe([summer[:2, :, :, :1]], side=32)):
        for distance in ALL:
            with pytest.raises(DataError, match="cannot compare"):
                distance(x, other)
