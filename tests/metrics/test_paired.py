import subprocess
import sys

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unpaired.errors import DataError
from unpaired.metrics.paired import accuracy_within, psnr, score_against_truth, ssim, within
from unpaired.seasons.dataset import CLASSES, draw, labels, paint


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
    assert accuracy_within(ours, truth, 16) == 0.5
    assert accuracy_within(ours, truth, 15) == 0.25
    assert accuracy_within(ours, truth, 17) == 1
    # 255 against 0 is far, though it is next to it modulo 256
    assert accuracy_within(np.full_like(truth, 255), np.zeros_like(truth), 16) == 0


def test_score_against_truth_equals_loops_over_pixels():
    scenes = [draw(seed, 24, "full") for seed in range(6)]
    truth = np.stack([paint(scene, "b") for scene in scenes])
    ours = near(truth, 0, 24)
    classes, pure = (np.stack(part) for part in zip(*map(labels, scenes), strict=True))

    hits: dict[str, list[bool]] = {}
    everywhere = []
    for index in np.ndindex(truth.shape[:3]):
        right = max(abs(int(a) - int(b)) for a, b in zip(ours[index], truth[index], strict=True))
        everywhere.append(right <= 16)
        if pure[index]:
            hits.setdefault(CLASSES[classes[index]], []).append(right <= 16)
    expected = {name: float(np.mean(h)) for name, h in hits.items()}

    scores = score_against_truth(ours, truth, classes, pure)
    assert scores.per_class == pytest.approx(expected)
    assert list(scores.per_class) == [name for name in CLASSES if name in expected]
    assert scores.acc16 == pytest.approx(np.mean(everywhere))
    assert scores.macro16 == pytest.approx(np.mean(list(expected.values())))
    assert scores.psnr == pytest.approx(np.mean(psnr(ours, truth)))
    assert scores.ssim == pytest.approx(np.mean(ssim(ours, truth)))
    assert score_against_truth(list(ours), list(truth), list(classes), list(pure)) == scores


def test_macro_is_over_classes_and_not_over_pixels():
    truth = np.zeros((1, 8, 8, 3), np.uint8)
    ours = truth.copy()
    classes = np.zeros((1, 8, 8), np.uint8)
    pure = np.ones((1, 8, 8), bool)
    classes[0, 0, :4] = CLASSES.index("lake")
    ours[0, 0, :4] = 99
    ours[0, 7] = 99  # wrong too, but mixed, so of no class
    classes[0, 7], pure[0, 7] = 255, False
    scores = score_against_truth(ours, truth, classes, pure)
    assert scores.per_class == {"sky": 1.0, "lake": 0.0}
    assert scores.macro16 == 0.5
    assert scores.acc16 == 52 / 64


def test_a_set_without_pure_pixels_has_no_macro():
    image, classes = noise(0, 1, 8, 8, 3), np.full((1, 8, 8), 255, np.uint8)
    scores = score_against_truth(image, image, classes, np.zeros((1, 8, 8), bool))
    assert np.isnan(scores.macro16)
    assert scores.per_class == {}


def test_sets_that_do_not_fit_are_refused():
    x, classes, pure = noise(0, 2, 8, 8, 3), np.zeros((2, 8, 8), np.uint8), np.ones((2, 8, 8), bool)
    with pytest.raises(DataError, match="1 translations against 2 images"):
        score_against_truth(x[:1], x, classes, pure)
    with pytest.raises(DataError, match="at least one"):
        score_against_truth([], [], [], [])
    with pytest.raises(DataError, match="different shapes"):
        score_against_truth(x[:, :, :7], x, classes, pure)
    for score in (psnr, ssim):
        with pytest.raises(DataError, match="different shapes"):
            score(x[0], x)


def test_the_scores_need_neither_scipy_nor_scikit_image():
    code = (
        "import sys, unpaired.evaluation.baselines;"
        "print(sorted({'scipy', 'skimage', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
