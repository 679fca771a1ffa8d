import subprocess
import sys

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unpaired.errors import DataError
from unpaired.metrics.paired import (
    band_bias,
    band_rmse,
    class_accuracy,
    ergas,
    psnr,
    spectral_angle,
    ssim,
    within,
)
from unpaired.seasons.landscapes import CLASSES, draw, labels, paint


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def near(image: np.ndarray, seed: int, spread: int) -> np.ndarray:
    shift = np.random.default_rng(seed).integers(-spread, spread + 1, image.shape)
    return np.clip(image.astype(int) + shift, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("step", [1, 16, 200, 255])
def test_psnr_of_a_constant_difference(step):
    dark = np.zeros((9, 8, 3), np.uint8)
    light = np.full((9, 8, 3), step, np.uint8)
    assert psnr(dark, light) == pytest.approx(20 * np.log10(255 / step), abs=1e-12)
    assert psnr(light, dark) == psnr(dark, light)


def test_psnr_equals_scikit_image_image_by_image():
    x, y = noise(0, 4, 12, 10, 3), noise(1, 4, 12, 10, 3)
    expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(psnr(x, y), expected, atol=1e-10)
    assert psnr(x[0], x[0]) == np.inf


@pytest.mark.parametrize("shape", [(7, 7, 3), (8, 31, 3), (40, 33, 1), (20, 20, 4)])
@pytest.mark.parametrize("spread", [0, 1, 20, 255])
def test_ssim_equals_scikit_image(shape, spread):
    x = noise(2, *shape)
    y = near(x, 3, spread)
    expected = structural_similarity(x, y, channel_axis=-1, data_range=255)
    assert ssim(x, y) == pytest.approx(expected, abs=1e-10)


def test_ssim_equals_scikit_image_on_scenes_and_flat_images():
    scenes = [draw(seed, 32, "full") for seed in range(4)]
    x = np.stack([paint(scene, "a") for scene in scenes] + [np.full((32, 32, 3), 255, np.uint8)])
    y = np.stack([paint(scene, "b") for scene in scenes] + [np.full((32, 32, 3), 250, np.uint8)])
    expected = [
        structural_similarity(a, b, channel_axis=-1, data_range=255)
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y), expected, atol=1e-10)
    np.testing.assert_allclose(ssim(y, x), expected, atol=1e-10)
    np.testing.assert_allclose(ssim(x, x), 1, atol=1e-12)


def test_leading_axes_are_kept():
    x, y = noise(0, 2, 3, 9, 9, 3), noise(1, 2, 3, 9, 9, 3)
    for score in (psnr, ssim):
        assert score(x, y).shape == (2, 3)
        assert score(x, y)[1, 2] == score(x[1, 2], y[1, 2])


def test_small_images_have_no_ssim():
    with pytest.raises(DataError, match="at least 7x7 pixels, not 6x9"):
        ssim(noise(0, 6, 9, 3), noise(1, 6, 9, 3))


def test_accuracy_counts_pixels_whose_every_band_is_near():
    truth = np.full((1, 4, 3), 100, np.uint8)
    ours = np.array([[[116, 84, 100], [117, 100, 100], [100, 100, 83], [100, 100, 100]]], np.uint8)
    np.testing.assert_array_equal(within(ours, truth, 16), [[True, False, False, True]])
    assert within(ours, truth, 16).mean() == 0.5
    assert within(ours, truth, 15).mean() == 0.25
    assert within(ours, truth, 17).all()
    # 255 against 0 is far, though it is next to it modulo 256
    assert not within(np.full_like(truth, 255), np.zeros_like(truth), 16).any()


def test_class_accuracy_equals_loops_over_pixels():
    scenes = [draw(seed, 24, "full") for seed in range(6)]
    truth = np.stack([paint(scene, "b") for scene in scenes])
    ours = near(truth, 0, 24)
    classes, pure = (np.stack(part) for part in zip(*map(labels, scenes), strict=True))

    hits: dict[str, list[bool]] = {}
    for index in np.ndindex(truth.shape[:3]):
        right = max(abs(int(a) - int(b)) for a, b in zip(ours[index], truth[index], strict=True))
        if pure[index]:
            hits.setdefault(CLASSES[classes[index]], []).append(right <= 16)
    expected = {name: float(np.mean(h)) for name, h in hits.items()}

    found = class_accuracy(within(ours, truth, 16), classes, pure, CLASSES)
    assert found == pytest.approx(expected)
    assert list(found) == [name for name in CLASSES if name in expected]


def test_a_set_without_pure_pixels_has_no_classes():
    image, classes = noise(0, 1, 8, 8, 3), np.full((1, 8, 8), 255, np.uint8)
    pure = np.zeros((1, 8, 8), bool)
    assert class_accuracy(within(image, image, 16), classes, pure, CLASSES) == {}


def test_images_of_different_shapes_are_rejected():
    x = noise(0, 8, 8, 3)
    for metric in (psnr, ssim, lambda x, y: within(x, y, 16)):
        with pytest.raises(DataError, match="different shapes"):
            metric(x, x[:, :7])


def test_the_metrics_need_neither_scipy_nor_scikit_image():
    code = (
        "import sys, unpaired.metrics.catalogue;"
        "print(sorted({'scipy', 'skimage', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


# ---- rasters ------------------------------------------------------------------------------


def rasters(bands=6):
    rng = np.random.default_rng(0)
    truth = rng.gamma(3.0, 300.0, (2, 18, 20, bands))
    return truth * rng.uniform(0.8, 1.3, truth.shape) + 10, truth


def test_rasters_equal_torchmetrics():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.functional.image")
    made, truth = rasters()
    nchw = [torch.from_numpy(np.moveaxis(z, -1, 1).copy()) for z in (made, truth)]
    angle = np.degrees(float(theirs.spectral_angle_mapper(*nchw)))
    assert spectral_angle(made, truth) == pytest.approx(angle, rel=1e-9)
    each = [ergas(a, b) for a, b in zip(made, truth, strict=True)]
    expected = theirs.error_relative_global_dimensionless_synthesis(*nchw, ratio=1)
    assert np.mean(each) == pytest.approx(float(expected), rel=1e-9)


def test_bias_and_rmse_of_bands():
    _, truth = rasters()
    offsets = np.array([0, 1, -2, 3.5, 0.25, -100])
    np.testing.assert_allclose(band_bias(truth + offsets, truth), offsets, atol=1e-9)
    np.testing.assert_allclose(band_rmse(truth + offsets, truth), np.abs(offsets), atol=1e-9)
    signs = np.where(np.arange(20) % 2, 1.0, -1.0)[:, None]
    np.testing.assert_allclose(band_bias(truth + signs, truth), 0, atol=1e-9)
    np.testing.assert_allclose(band_rmse(truth + signs, truth), 1, atol=1e-9)


def test_unsigned_samples_do_not_wrap():
    made, truth = np.zeros((3, 3, 2), np.uint16), np.full((3, 3, 2), 65535, np.uint16)
    np.testing.assert_array_equal(band_bias(made, truth), [-65535, -65535])
    assert ergas(made, truth) == pytest.approx(100)


def test_angles():
    truth = np.ones((1, 1, 2))
    for degrees in (0, 1e-6, 30, 90, 180):
        turned = np.radians(45 + degrees)
        made = 7 * np.array([[[np.cos(turned), np.sin(turned)]]])
        assert spectral_angle(made, truth) == pytest.approx(degrees, rel=1e-8, abs=1e-13)
    dark = np.zeros((1, 1, 2))
    assert np.isnan(spectral_angle(dark, truth))
    both = spectral_angle(np.concatenate([dark, 2 * truth]), np.concatenate([truth, truth]))
    assert both == pytest.approx(0, abs=1e-13)


def test_a_band_without_a_mean_has_no_ergas():
    made, truth = rasters(2)
    truth[..., 1] = 0
    assert ergas(made, truth) == np.inf


def test_only_valid_pixels_count():
    made, truth = rasters()
    valid = np.zeros(truth.shape[:-1], bool)
    valid[0, 3:9] = True
    broken = made.copy()
    broken[~valid] = np.nan
    for figure in (band_bias, band_rmse, spectral_angle, ergas):
        np.testing.assert_allclose(
            figure(broken, truth, valid), figure(made[0, 3:9], truth[0, 3:9]), rtol=1e-12
        )
    with pytest.raises(DataError, match="no pixel"):
        ergas(made, truth, np.zeros_like(valid))
    with pytest.raises(DataError, match="mask"):
        ergas(made, truth, valid[0])
    with pytest.raises(DataError, match="different shapes"):
        ergas(made, truth[0])
