"""The change carried to full size: against brute force in float64, by strips, what is said."""

import logging

import numpy as np
import PIL.Image
import pytest

from unpaired.errors import ConfigError, TooLarge
from unpaired.images.image import Image, from_signed, to_signed
from unpaired.images.resize import resize
from unpaired.images.scaling import Scaling
from unpaired.metrics.source import content_kept
from unpaired.translation import detail as detail_module
from unpaired.translation import memory, strips
from unpaired.translation.detail import Change
from unpaired.translation.files import translate_files
from unpaired.translation.model import load
from unpaired.translation.sizes import Sizes, from_network, to_network


def photograph(height, width, bands, *, seed=0, grain=0.03):
    """Signed float32 (height, width, bands): patches with sharp edges, slopes and grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = np.zeros((height, width, bands))
    for _ in range(12):
        a, b, c = rng.normal(size=3)
        image[(a * (x - 0.4) + b * (y - 0.4) + 0.1 * c) > 0] = rng.uniform(-0.9, 0.9, bands)
    image += 0.2 * (x - y)[..., np.newaxis] + rng.normal(0, grain, image.shape)
    return image.clip(-1, 1).astype(np.float32)


def repaint(signed):
    """A change of colours that differs from one colour to another."""
    return np.tanh(0.4 - 1.2 * np.roll(signed, 1, axis=-1) + 0.5 * signed**2).astype(np.float32)


# ---- brute force --------------------------------------------------------------------------------


def bicubic(small, large):
    """The matrix (large, small) of Keys' filter, row by row."""
    matrix = np.zeros((large, small))
    for row in range(large):
        centre = (row + 0.5) * small / large - 0.5
        for column in range(small):
            x = abs(column - centre)
            if x < 1:
                matrix[row, column] = 1.5 * x**3 - 2.5 * x**2 + 1
            elif x < 2:
                matrix[row, column] = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        matrix[row] /= matrix[row].sum()
    return matrix


def brute_force(original, small, translated, many):
    """The whole image at once in float64, window by window by numpy's least squares."""
    stretch = lambda signed: np.arctanh(0.9 * signed.astype(float))  # noqa: E731
    height, width, bands = small.shape
    x, change = stretch(small), stretch(translated) - stretch(small)
    window = np.pad(np.arange(height * width).reshape(height, width), 1, mode="edge")
    gains = np.zeros((height, width, bands, bands))
    for row, column in np.ndindex(height, width):
        inside = window[row : row + 3, column : column + 3].ravel()
        of = x.reshape(-1, bands)[inside], change.reshape(-1, bands)[inside]
        for band in range(bands):
            guides = [band] if many else list(range(bands))
            a, b = (
                of[0][:, guides] - of[0][:, guides].mean(0),
                of[1][:, band] - of[1][:, band].mean(),
            )
            # The ridge as further rows of the least squares, of 9 pixels each.
            a = np.vstack([a, np.sqrt(9 * detail_module._RIDGE) * np.eye(len(guides))])
            b = np.append(b, np.zeros(len(guides)))
            gains[row, column, band, guides] = np.linalg.lstsq(a, b, rcond=None)[0]
    mean = gains.reshape(-1, bands, bands)[
        np.stack([window[r : r + height, c : c + width] for r in range(3) for c in range(3)])
    ].mean(axis=0)
    offset = change - np.einsum("yxbg,yxg->yxb", mean, x)
    down, across = (bicubic(a, b) for a, b in zip(small.shape, original.shape[:2], strict=False))
    full = lambda planes: np.einsum("Yy,yx...,Xx->YX...", down, planes, across)  # noqa: E731
    own = stretch(original)
    result = own + full(offset) + np.einsum("yxbg,yxg->yxb", full(mean), own)
    return np.tanh(result) / 0.9


@pytest.mark.parametrize(
    ("size", "small", "bands"),
    [
        ((50, 71), (12, 17), 3),
        ((40, 30), (39, 29), 1),
        ((7, 200), (1, 26), 2),
        ((33, 65), (8, 16), 6),
    ],
)
def test_it_is_the_brute_force_whatever_the_strips(size, small, bands, monkeypatch):
    original = photograph(*size, bands)
    low = resize(original, small, (-1, 1))
    expected = brute_force(original, low, repaint(low), many=bands > 4)
    results = []
    for fitted, rows in ((2**15, 10**6), (1, 1), (40, 7), (100, 16)):
        monkeypatch.setattr(detail_module, "_FIT_PIXELS", fitted)
        change = Change.of(low, repaint(low))
        parts = [
            change.apply(original[top : top + rows], top, size) for top in range(0, size[0], rows)
        ]
        results.append(np.concatenate(parts))
    for result in results:
        assert np.abs(result - expected).max() < 3e-6
        assert (from_signed(result, 16) == from_signed(results[0], 16)).all()


def test_no_change_leaves_every_sample_as_it_was():
    for dtype, depth in ((np.uint8, 8), (np.uint16, 16)):
        top = np.iinfo(dtype).max
        original = np.random.default_rng(1).integers(0, top + 1, (40, 60, 3)).astype(dtype)
        original[:8] = top
        signed = to_signed(original)
        low = resize(signed, (10, 15), (-1, 1))
        assert (
            from_signed(Change.of(low, low).apply(signed, 0, (40, 60)), depth) == original
        ).all()


def test_an_affine_change_of_colours_is_carried_to_every_pixel():
    original = photograph(120, 160, 3, grain=0)
    wanted = np.tanh(
        np.arctanh(0.9 * original) @ np.array([[0.2, 0.5, 0], [-0.4, 0.3, 0.1], [0, 0.2, -0.6]])
    ) / np.float32(0.9)
    low, target = (resize(image, (30, 40), (-1, 1)) for image in (original, wanted))
    carried = Change.of(low, target).apply(original, 0, (120, 160))
    plain = resize(target, (120, 160), (-1, 1))
    error, blurred = (np.abs(image - wanted).mean() for image in (carried, plain))
    assert error < blurred / 3  # no halo at the edges of the patches
    assert content_kept(carried, wanted) > 0.98 > 0.8 > content_kept(plain, wanted)


def test_grain_stays_where_the_change_is_large():
    rng = np.random.default_rng(0)
    flat = np.full((96, 128, 3), -0.2, np.float32)
    original = flat + rng.normal(0, 0.04, flat.shape).astype(np.float32)
    low = resize(original, (24, 32), (-1, 1))
    target = np.full_like(low, 0.3)
    carried = Change.of(low, target).apply(original, 0, (96, 128))
    assert content_kept(carried, original) > 0.95
    assert abs(carried.mean() - 0.3) < 0.01


# ---- strips -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "working"), [((61, 83), 20), ((61, 83), 80), ((5, 90), 16), ((30, 20), 50)]
)
@pytest.mark.parametrize("pixels", [1, 500, 10**6])
def test_enlarging_by_strips_is_the_resize_of_the_whole(size, working, pixels, monkeypatch):
    monkeypatch.setattr(strips, "_PIXELS", pixels)
    facts = _facts(3)
    image = Image(from_signed(photograph(*size, 3), 8))
    sizes = Sizes.of(size, working)
    whole = to_signed(image.pixels)
    seen = to_network(image, sizes, 3, Scaling.of(facts))
    height, width = sizes.working
    np.testing.assert_allclose(
        seen[:height, :width], resize(whole, sizes.working, (-1, 1)), atol=2e-7
    )
    result = from_network(repaint(seen), seen, image, sizes, (facts, facts))
    expected = resize(repaint(seen)[:height, :width], size, (-1, 1))
    np.testing.assert_array_equal(result.pixels, from_signed(expected, 8))


def _facts(bands, depth=8):
    from unpaired.config import DomainFacts

    return DomainFacts("x", bands, depth)


@pytest.mark.parametrize(("bands", "depth", "alpha"), [(1, 8, False), (3, 16, True), (3, 8, True)])
def test_a_model_gives_the_same_whatever_the_strips(
    inverters, model_file, bands, depth, alpha, monkeypatch
):
    recipe = {"bands_a": bands, "bands_b": bands, "depth_a": depth, "depth_b": depth}
    pixels = from_signed(photograph(70, 90, bands, grain=0), depth)
    mask = np.tile(np.arange(90, dtype=np.uint8), (70, 1)) if alpha else None
    results = []
    for count in (1, 1000, 10**6):
        monkeypatch.setattr(strips, "_PIXELS", count)
        model = load(model_file(**recipe))
        results += model.translate_many([Image(pixels, mask)], "ab", working_size=24, detail="keep")
    assert all((result.pixels == results[0].pixels).all() for result in results)
    assert results[0].pixels.dtype == pixels.dtype
    assert results[0].alpha is mask
    if not alpha:  # the network inverts, and so do all edges
        assert content_kept(results[0].pixels, pixels) < -0.5


# ---- what is chosen and said --------------------------------------------------------------------


def test_a_working_size_alone_enlarges_and_says_what_there_is(inverters, model_file, caplog):
    model = load(model_file())
    array = from_signed(photograph(40, 60, 3), 8)
    with caplog.at_level(logging.INFO, "unpaired"):
        given, none = (
            model.translate(array, to="b", working_size=20, detail=detail)
            for detail in (None, "none")
        )
        model.translate(array, to="b", working_size=20)
    assert (given == none).all()
    (said,) = (record.message for record in caplog.records if "--detail" in record.message)
    assert said.startswith("results are enlarged from 20 pixels and blurred: with --detail keep")
    kept = model.translate(array, to="b", working_size=20, detail="keep")
    assert (kept != none).any()


def test_detail_changes_nothing_where_nothing_is_enlarged(inverters, model_file):
    model = load(model_file())
    array = from_signed(photograph(40, 60, 3), 8)
    for working_size in (None, 60, 90):
        results = [
            model.translate(array, to="b", working_size=working_size, detail=detail)
            for detail in ("keep", "none")
        ]
        assert (results[0] == results[1]).all()


def test_what_does_not_fit_keeps_its_detail_and_it_is_said(
    inverters, model_file, monkeypatch, caplog, tmp_path
):
    monkeypatch.setattr(memory, "free", lambda: 125_000_000)
    monkeypatch.setattr(memory, "_MODEST", 0)
    monkeypatch.setattr(memory, "_SIDES", (1024, 256, 64, 16))
    model = load(model_file())
    original = photograph(280, 300, 3)
    PIL.Image.fromarray(from_signed(original, 8)).save(tmp_path / "large.png")
    with caplog.at_level(logging.WARNING, "unpaired"):
        done = translate_files(model, [tmp_path / "large.png"], tmp_path / "out", to="b").done
    (said,) = (record.message for record in caplog.records)
    assert said.startswith("300 x 280 pixels do not fit in memory: translated as with")
    assert "--working-size 64 --detail keep" in said
    (asked,) = model.translate_many(
        [Image(from_signed(original, 8))], "ab", working_size=64, detail="keep"
    )
    with PIL.Image.open(done[0]) as written:
        assert (np.asarray(written) == asked.pixels).all()
    with pytest.raises(TooLarge, match="--working-size"):
        model.translate(tmp_path / "large.png", to="b", detail="none")


def test_unequal_bands_are_rejected_in_one_line(inverters, model_file, tmp_path, monkeypatch):
    model = load(model_file(bands_b=1))
    array = from_signed(photograph(40, 60, 3), 8)
    PIL.Image.fromarray(array).save(tmp_path / "photo.png")
    for translate in (
        lambda: model.translate(array, to="b", working_size=20, detail="keep"),
        lambda: translate_files(
            model, [tmp_path], tmp_path / "out", to="b", working_size=20, detail="keep"
        ),
    ):
        with pytest.raises(ConfigError, match="summer has 3 where winter has 1") as caught:
            translate()
        assert "--detail none" in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="choose keep or none"):
        model.translate(array, to="b", working_size=20, detail="yes")
    monkeypatch.setattr(memory, "free", lambda: 200_000_000)
    with pytest.raises(TooLarge):  # and not chosen where it cannot be
        model.check("ab", (1400, 1500), 3)
