from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from unpaired.errors import DataError
from unpaired.metrics import distributions as metrics
from unpaired.metrics.distributions import Interval, fid, kid

SHARED = Path(__file__).parents[2].parent / "shared"


def features(seed, n, width, shift=0.0):
    """As behind a ReLU: at least 0, some units louder than others, and correlated."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(width).standard_normal((width, width)) / np.sqrt(width)
    loud = np.linspace(0.2, 2, width)
    return np.maximum(rng.standard_normal((n, width)) @ mix * loud + 0.3 + shift, 0)


# ---- KID ----------------------------------------------------------------------------------


def plain_kid(x, y):
    """The definition, pair by pair."""

    def kernel(a, b):
        return (float(np.dot(a, b)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    value = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    value += sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return value - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def mean_kernel(x):
    return ((x @ x.T / x.shape[1] + 1) ** 3).mean()


@pytest.mark.parametrize(("n", "m"), [(7, 7), (12, 5), (3, 20)])
def test_kid_is_its_definition(n, m):
    x, y = features(0, n, 6), features(1, m, 6, 0.2)
    assert kid(x, y).value == pytest.approx(plain_kid(x, y), rel=1e-12, abs=1e-13)
    assert kid(y, x).value == pytest.approx(kid(x, y).value, rel=1e-12)


def test_the_interval_is_a_jackknife_of_two_samples():
    x, y = features(0, 8, 5), features(1, 6, 5, 0.3)
    without_x = [plain_kid(np.delete(x, i, axis=0), y) for i in range(len(x))]
    without_y = [plain_kid(x, np.delete(y, j, axis=0)) for j in range(len(y))]
    variance = 7 / 8 * np.sum((without_x - np.mean(without_x)) ** 2)
    variance += 5 / 6 * np.sum((without_y - np.mean(without_y)) ** 2)
    found = kid(x, y)
    assert found.high - found.value == pytest.approx(1.96 * np.sqrt(variance), rel=1e-4)
    assert found.value - found.low == pytest.approx(found.high - found.value, rel=1e-9)


def test_kid_in_blocks_is_kid_at_once(monkeypatch):
    x, y = features(0, 23, 9), features(1, 17, 9, 0.2)
    whole = kid(x, y)
    monkeypatch.setattr(metrics, "_BLOCK", 5)
    in_blocks = kid(x, y)
    for name in ("value", "low", "high"):
        assert getattr(in_blocks, name) == pytest.approx(getattr(whole, name), rel=1e-12)


@pytest.mark.parametrize("width", [16, 256])
def test_kid_equals_torchmetrics_on_one_subset_of_all(width):
    torch = pytest.importorskip("torch")
    kid_of_torchmetrics = pytest.importorskip("torchmetrics.image.kid")
    x, y = features(0, 60, width), features(1, 60, width, 0.1)
    expected = kid_of_torchmetrics.poly_mmd(torch.from_numpy(x), torch.from_numpy(y))
    assert kid(x, y).value == pytest.approx(float(expected), abs=1e-6 * mean_kernel(x))


def test_kid_equals_the_class_of_torchmetrics():
    torch = pytest.importorskip("torch")
    kid_of_torchmetrics = pytest.importorskip("torchmetrics.image.kid")
    x, y = features(0, 50, 32), features(1, 50, 32, 0.1)
    with pytest.warns(UserWarning, match="buffer"):
        theirs = kid_of_torchmetrics.KernelInceptionDistance(
            feature=torch.nn.Identity(), subsets=1, subset_size=50
        )
    theirs.update(torch.from_numpy(x), real=True)
    theirs.update(torch.from_numpy(y), real=False)
    assert kid(x, y).value == pytest.approx(float(theirs.compute()[0]), abs=1e-6 * mean_kernel(x))


def test_kid_of_one_distribution_is_around_0_and_of_two_above_it():
    """All of a set in two halves, as real images against real ones."""
    inside, above = 0, 0
    for seed in range(20):
        both = features(seed, 240, 64)
        inside += contains_0(kid(both[:120], both[120:]))
        above += kid(both[:120], features(seed + 100, 140, 64, 0.2)).low > 0
    assert inside >= 18
    assert above == 20


def test_kid_can_be_negative():
    values = [kid(features(2 * s, 30, 16), features(2 * s + 1, 30, 16)).value for s in range(10)]
    assert min(values) < 0 < max(values)


def test_the_interval_covers_the_truth_where_the_sets_differ():
    """The truth is the mean of many; a 95 % interval misses it in about 1 of 20."""
    found = [kid(features(s, 60, 24), features(s + 500, 60, 24, 0.2)) for s in range(200)]
    truth = np.mean([interval.value for interval in found])
    covered = np.mean([interval.low <= truth <= interval.high for interval in found])
    assert 0.91 <= covered <= 0.99


def test_features_on_disk_are_as_good_as_in_memory(tmp_path):
    x, y = features(0, 40, 12).astype(np.float32), features(1, 30, 12).astype(np.float32)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    mapped[:] = x
    assert kid(mapped, y) == kid(x, y)
    assert fid(mapped, y) == fid(x, y)


@pytest.mark.parametrize(("figure", "few"), [(kid, 2), (fid, 1)])
def test_too_few_or_of_different_widths(figure, few):
    with pytest.raises(DataError, match=f"not {few} and 9"):
        figure(features(0, few, 4), features(1, 9, 4))
    with pytest.raises(DataError, match=r"\(9, 4\) and \(9, 5\)"):
        figure(features(0, 9, 4), features(1, 9, 5))


def contains_0(interval: Interval) -> bool:
    return interval.low <= 0 <= interval.high


@pytest.mark.nightly
@pytest.mark.skipif(
    not (SHARED / "weights" / "efficientnet_lite0.pth").is_file(),
    reason="shared/weights and shared/data are not here",
)
def test_kid_of_photographs():
    """Halves of the summer images are alike; summer and winter are not."""
    pytest.importorskip("torch")
    from unpaired.features.choice import make_features
    from unpaired.features.extract import extract
    from unpaired.images.formats import read_image

    network = make_features(SHARED / "weights" / "efficientnet_lite0.pth", "cpu", 1)
    summer, winter = (
        extract(network, (read_image(path).pixels for path in sorted(folder.iterdir())))
        for folder in (SHARED / "data" / "summer2winter_yosemite" / f"test{x}" for x in "AB")
    )
    inside = 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(summer))
        half = len(summer) // 2
        inside += contains_0(kid(summer[order[:half]], summer[order[half:]]))
    assert inside >= 18
    assert kid(summer, winter).low > 0


# ---- FID ----------------------------------------------------------------------------------


def plain_fid(x, y):
    """The definition, with a matrix square root."""
    covariance_x, covariance_y = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(covariance_x @ covariance_y)
    shift = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
    return shift + np.trace(covariance_x + covariance_y - 2 * np.real(root))


@pytest.mark.parametrize(("n", "m"), [(200, 300), (21, 90)])
def test_fid_is_its_definition(n, m):
    x, y = features(0, n, 20), features(1, m, 20, 0.2)
    assert fid(x, y) == pytest.approx(plain_fid(x, y), rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(12, 15), (20, 20), (10, 60), (60, 10)])
def test_fid_of_fewer_images_than_features(n, m):
    """The square root of a singular matrix is exact to the root of the precision only."""
    x, y = features(0, n, 20), features(1, m, 20, 0.2)
    assert fid(x, y) == pytest.approx(plain_fid(x, y), rel=1e-6)


def test_fid_equals_torchmetrics():
    torch = pytest.importorskip("torch")
    theirs_fid = pytest.importorskip("torchmetrics.image.fid").FrechetInceptionDistance
    x, y = features(0, 150, 64), features(1, 170, 64, 0.2)

    class Identity(torch.nn.Identity):
        num_features = 64

    theirs = theirs_fid(feature=Identity())
    theirs.update(torch.from_numpy(x), real=True)
    theirs.update(torch.from_numpy(y), real=False)
    assert fid(x, y) == pytest.approx(float(theirs.compute()), rel=1e-8)


def test_fid_of_a_shift_and_of_a_scale():
    """Closed forms: |shift|^2, and Tr C (s - 1)^2."""
    for n in (10, 400):
        x = features(0, n, 30)
        spread = np.trace(np.cov(x.T))
        assert fid(x, x + 0.5) == pytest.approx(30 * 0.25, rel=1e-9)
        assert fid(x, (x - x.mean(axis=0)) * 3 + x.mean(axis=0)) == pytest.approx(4 * spread)
        assert 0 <= fid(x, x) < 1e-9 * spread


def test_fid_in_blocks_is_fid_at_once(monkeypatch):
    x, y = features(0, 47, 12), features(1, 9, 12)
    whole = fid(x, y)
    monkeypatch.setattr(metrics, "_BLOCK", 10)
    assert fid(x, y) == pytest.approx(whole, rel=1e-10)
