"""Every detector fires on what it is for, and on nothing else: made scenes and photographs."""

import dataclasses
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from skimage.filters import gaussian

from unpaired.config import Recipe, Runtime
from unpaired.data.batches import load_square
from unpaired.diagnostics import detectors, probe
from unpaired.diagnostics.detectors import detect
from unpaired.diagnostics.probe import (
    History,
    Probe,
    Scores,
    cycle_error,
    reconstruction_errors,
    take_probe,
)
from unpaired.errors import DataError
from unpaired.images.image import read_image
from unpaired.seasons.dataset import draw, paint

PHOTOGRAPHS = Path(__file__).parents[2].parent / "shared" / "data" / "summer2winter_yosemite"
NAMES = ("summer", "winter")
COUNT = 8


def scenes():
    """Summer, and other scenes in winter: unpaired, 32 pixels."""
    a = [paint(draw(seed, 32, "full"), "a") for seed in range(COUNT)]
    b = [paint(draw(seed, 32, "full"), "b") for seed in range(COUNT, 2 * COUNT)]
    return tuple(np.stack(side).astype(np.float32) / np.float32(127.5) - 1 for side in (a, b))


def photographs():
    def some(folder):
        paths = sorted((PHOTOGRAPHS / folder).iterdir())[7::25][:COUNT]
        return np.stack([load_square(read_image(path).pixels, 64, (0, 0), 64) for path in paths])

    return some("testA"), some("testB")


@pytest.fixture(params=["scenes", "photographs"], scope="module")
def reals(request):
    if request.param == "scenes":
        return scenes()
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("shared/data/summer2winter_yosemite is not here")
    return photographs()


class Maps:
    """A translator of two functions."""

    def __init__(self, ab, ba):
        self.maps = {"ab": ab, "ba": ba}

    def translate(self, images, direction):
        assert images.dtype == np.float32
        return np.clip(self.maps[direction](images), -1, 1).astype(np.float32)


def both(function):
    return Maps(function, function)


def fired(findings):
    return {(finding.name, finding.where) for finding in findings if finding.fired}


def of(findings, name, where=None):
    (one,) = [f for f in findings if f.name == name and where in (None, f.where)]
    return one


def look(translator, reals, **options):
    """All findings of a model alone; options are those of `detect`."""
    return detect(take_probe(translator, *reals, seed=1), History(), NAMES, **options)


def blur(images):
    return gaussian(images, (0, 1, 1, 0))


def grain(images):
    return images + np.random.default_rng(3).normal(0, 8 / 127.5, images.shape)


def chessboard(images, period, levels):
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    sign = np.where((x // (period // 2) + y // (period // 2)) % 2, 1, -1)
    return images + levels * 2 / 255 * sign[None, :, :, None]


SHIFT = np.array([0.2, 0.05, -0.15])
HONEST = {
    "the identity": both(lambda x: x),
    "a shift of colour": Maps(lambda x: 0.8 * x + SHIFT, lambda y: (y - SHIFT) / 0.8),
    "gamma": Maps(
        lambda x: 2 * ((x + 1) / 2) ** 0.6 - 1, lambda y: 2 * ((y + 1) / 2) ** (5 / 3) - 1
    ),
    "blur": both(blur),
    "sharpening": Maps(lambda x: 2 * x - blur(x), blur),
    "grain": both(grain),
    "few levels": both(lambda x: np.rint(x * 16) / 16),
    "pixels enlarged": both(lambda x: x[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)),
}


@pytest.mark.parametrize("name", HONEST)
def test_nothing_fires_on_honest_translators(reals, name):
    findings = look(HONEST[name], reals)
    assert fired(findings) == set()
    assert all(finding.advice == "" for finding in findings)
    judged = {"does nothing", "discriminator wins", "discriminator memorises"}
    for finding in findings:
        assert math.isnan(finding.value) == (finding.name in judged), finding


def test_nothing_fires_on_the_truth():
    """Scenes and what they are in the other season: a perfect model."""
    pairs = [[paint(draw(seed, 32, "full"), side) for seed in range(8)] for side in "ab"]
    a, b = (np.stack(side).astype(np.float32) / np.float32(127.5) - 1 for side in pairs)
    other_a, other_b = scenes()
    real_b, fake_a = other_b, np.stack(
        [paint(draw(seed, 32, "full"), "a") for seed in range(COUNT, 2 * COUNT)]
    ).astype(np.float32) / np.float32(127.5) - 1  # fmt: skip
    perfect = Probe(
        real_a=a, fake_b=b, cycle_a=a, noisy_cycle_a=a,
        real_b=real_b, fake_a=fake_a, cycle_b=real_b, noisy_cycle_b=real_b,
    )  # fmt: skip
    np.testing.assert_array_equal(a, other_a)
    assert fired(detect(perfect, History(), NAMES)) == set()


# ---- each detector ------------------------------------------------------------------------


def test_colour_inversion(reals):
    findings = look(Maps(lambda x: -x, lambda x: x), reals)
    assert fired(findings) == {("colour inversion", "summer -> winter")}
    assert of(findings, "colour inversion", "summer -> winter").value == pytest.approx(-1)
    assert of(findings, "colour inversion", "winter -> summer").value == pytest.approx(1)


def test_inversion_is_of_luminance_and_a_median():
    real_a, real_b = scenes()
    swapped = look(both(lambda x: x[..., ::-1]), (real_a, real_b))
    weights = np.array([0.299, 0.587, 0.114])
    expected = np.median(
        [np.corrcoef((p @ weights).ravel(), (p[..., ::-1] @ weights).ravel())[0, 1] for p in real_a]
    )
    found = of(swapped, "colour inversion", "summer -> winter")
    assert found.value == pytest.approx(expected, abs=1e-5)

    def some(count):
        return lambda x: np.concatenate([-x[:count], x[count:]])

    few, most = (look(Maps(some(n), lambda x: x), (real_a, real_b)) for n in (3, 5))
    assert ("colour inversion", "summer -> winter") not in fired(few)
    assert ("colour inversion", "summer -> winter") in fired(most)


def test_inversion_of_grey_and_of_more_bands():
    real_a, real_b = (np.concatenate([x, x[..., :2]], axis=-1) for x in scenes())
    assert fired(look(both(lambda x: -x), (real_a, real_b))) == {
        ("colour inversion", "summer -> winter"),
        ("colour inversion", "winter -> summer"),
    }
    to_grey = Maps(lambda x: -x.mean(-1, keepdims=True), lambda y: np.repeat(y, 5, axis=-1))
    grey = real_b.mean(-1, keepdims=True)
    assert fired(look(to_grey, (real_a, grey))) == {("colour inversion", "summer -> winter")}


def test_hidden_cycle(reals):
    """Winter images are a mixture of others, under which summer hides in 1/40 of its strength."""
    cover = np.roll(reals[1], 1, axis=0) * 0.9

    hides = Maps(lambda x: cover + x / 40, lambda y: (y - cover) * 40)
    findings = look(hides, reals)
    assert ("hidden cycle", "summer -> winter") in fired(findings)
    found = of(findings, "hidden cycle", "summer -> winter")
    assert "faint pattern" in found.message
    errors = reconstruction_errors(take_probe(hides, *reals, seed=1))
    assert errors["cycle_a"] < 12 < 40 < errors["noisy_cycle_a"]

    # the same cover without a secret: nothing comes back, with noise or without
    honest = look(Maps(lambda x: cover, lambda y: y), reals)
    assert ("hidden cycle", "summer -> winter") not in fired(honest)


def test_noise_is_of_five_levels_on_images_of_eight_bits():
    seen = {}

    class Keeps:
        def translate(self, images, direction):
            seen.setdefault(direction, []).append(images)
            return images

    grey = np.full((2, 64, 64, 3), 0.1003, np.float32)
    first = take_probe(Keeps(), grey, grey, seed=4)
    noisy = (seen["ba"][-1].astype(np.float64) + 1) * 127.5
    assert noisy.dtype == np.float64
    assert abs(noisy.mean() - round(1.1003 * 127.5)) < 0.1
    assert noisy.std() == pytest.approx(5, rel=0.02)
    assert not np.array_equal(seen["ba"][-1], seen["ab"][-1])
    assert first.noisy_cycle_a.dtype == np.float32
    again, other = (take_probe(Keeps(), grey, grey, seed=seed) for seed in (4, 5))
    np.testing.assert_array_equal(first.noisy_cycle_a, again.noisy_cycle_a)
    assert not np.array_equal(first.noisy_cycle_a, other.noisy_cycle_a)
    white = take_probe(Keeps(), np.ones_like(grey), grey, seed=4)
    assert white.noisy_cycle_a.max() == 1


@pytest.mark.parametrize("kind", ["constant", "mean image", "mean image and grain"])
def test_collapse(reals, kind):
    mean = reals[1].mean(0)
    outputs = {
        "constant": lambda x: np.full_like(x, 0.3),
        "mean image": lambda x: x * 0 + mean,
        "mean image and grain": lambda x: grain(x * 0 + mean),
    }
    findings = look(Maps(outputs[kind], lambda y: y), reals)
    assert ("collapse", "summer -> winter") in fired(findings)
    assert ("collapse", "winter -> summer") not in fired(findings)
    assert of(findings, "collapse", "summer -> winter").value < 0.1


def test_spread_by_brute_force():
    rng = np.random.default_rng(5)
    images = rng.uniform(-1, 1, (4, 19, 34, 2)).astype(np.float32)
    cells = []
    for row in range(8):
        for column in range(8):
            cell = images[:, 2 * row : 2 * row + 2, 4 * column : 4 * column + 4].astype(float)
            means = cell.reshape(4, 8, 2).mean(1)
            cells.append(((means - means.mean(0)) ** 2).sum(0) / 3)
    assert detectors._spread(images) == pytest.approx(np.sqrt(np.mean(cells)), rel=1e-6)


def test_a_domain_of_little_variety_is_no_collapse(reals):
    """Night: a fifth of the contrast."""
    day, night = reals[0], 0.2 * reals[1] - 0.7
    to_night = Maps(lambda x: 0.2 * x - 0.7, lambda y: (y + 0.7) / 0.2)
    assert fired(look(to_night, (day, night))) == set()


def judged(reals, translator, real=0.8, made=0.2, train=0.8, spread=0.0, shape=(COUNT, 6, 6)):
    """A probe whose discriminators give these mean scores, on both sides."""
    rng = np.random.default_rng(6)

    def scores(mean):
        each = rng.normal(mean, spread, (shape[0], 1, 1)) if spread else mean
        return np.full(shape, each, np.float32)

    return dataclasses.replace(
        take_probe(translator, *reals, seed=1),
        scores_a=Scores(scores(real), scores(train), scores(made)),
        scores_b=Scores(scores(real), scores(train), scores(made)),
    )


def test_does_nothing(reals):
    ways = {("does nothing", "summer -> winter"), ("does nothing", "winter -> summer")}
    same = both(lambda x: x + 0.01)
    assert fired(detect(judged(reals, same), History(), NAMES)) == ways
    # a discriminator that takes it for real has no complaint, one that sees no difference neither
    accepts = judged(reals, same, real=0.4, made=0.6, train=0.4)
    assert fired(detect(accepts, History(), NAMES)) == set()
    unsure = judged(reals, same, real=0.5, made=0.5, train=0.5)
    assert fired(detect(unsure, History(), NAMES)) == set()
    # and what changes is not what this is about, though it is rejected
    turns = both(lambda x: np.clip(0.6 * x - 0.3, -1, 1))
    assert fired(detect(judged(reals, turns), History(), NAMES)) == set()


def test_does_nothing_is_change_over_distance():
    reals = scenes()
    finding = of(
        detect(judged(reals, both(lambda x: 0.9 * x)), History(), NAMES),
        "does nothing",
        "summer -> winter",
    )
    a, b = (x.astype(float) for x in reals)
    apart = np.mean([np.abs(p - q).mean() for p in a for q in b])
    assert finding.value == pytest.approx(np.abs(0.1 * a).mean() / apart, rel=1e-5)


def test_discriminator_wins_for_long(reals):
    strong = judged(reals, HONEST["a shift of colour"], real=0.97, train=0.97, made=0.02)
    weak = judged(reals, HONEST["a shift of colour"], real=0.6, train=0.6, made=0.55)
    history = History()
    for _ in range(probe.LONG - 1):
        history = history.after(strong)
        assert fired(detect(strong, history, NAMES)) == set()
    history = history.after(strong)
    winners = {("discriminator wins", "summer"), ("discriminator wins", "winter")}
    assert fired(detect(strong, history, NAMES)) == winners
    history = history.after(weak)
    assert fired(detect(weak, history, NAMES)) == set()
    for _ in range(probe.LONG - 1):
        history = history.after(strong)
        assert fired(detect(strong, history, NAMES)) == set()
    assert fired(detect(strong, history.after(strong), NAMES)) == winners


def test_accuracy_counts_patches_of_both_kinds_alike():
    half = np.array([[[0.9, 0.1]]], np.float32)
    made = np.array([[[0.4, 0.4]], [[0.6, 0.4]]], np.float32)
    assert Scores(held_out=half, train=None, fake=made).accuracy == (0.5 + 0.75) / 2
    assert Scores(held_out=half, train=np.ones_like(half), fake=made).accuracy == (1 + 0.75) / 2


def test_history_travels_as_text():
    scores = Scores(
        np.random.default_rng(0).random((3, 2, 2), np.float32),
        None,
        np.random.default_rng(1).random((7, 3, 3), np.float32),
    )
    blank = np.zeros((2, 8, 8, 3), np.float32)
    seen = Probe(real_a=blank, real_b=blank, scores_b=scores)
    history = History().after(seen).after(seen)
    assert history.accuracy_b == (scores.accuracy,) * 2
    assert history.accuracy_a == ()
    assert "\n" not in history.to_json()
    assert History.from_json(history.to_json()) == history
    assert History.from_json("{}") == History()


def test_discriminator_memorises(reals):
    honest = HONEST["a shift of colour"]
    by_heart = judged(reals, honest, train=0.95, real=0.35, made=0.1, spread=0.1)
    ways = {("discriminator memorises", "summer"), ("discriminator memorises", "winter")}
    assert fired(detect(by_heart, History(), NAMES)) == ways
    healthy = judged(reals, honest, train=0.7, real=0.65, made=0.35, spread=0.1)
    assert fired(detect(healthy, History(), NAMES)) == set()
    # scores that scatter as much as they differ are chance
    chance = judged(reals, honest, train=0.7, real=0.4, made=0.3, spread=0.4)
    assert fired(detect(chance, History(), NAMES)) == set()
    # nothing is told apart: no quotient of two small numbers
    blind = judged(reals, honest, train=0.52, real=0.48, made=0.5)
    assert fired(detect(blind, History(), NAMES)) == set()


def test_memory_needs_training_images():
    asked = judged(scenes(), HONEST["the identity"], real=0.5, made=0.5)
    for train in (None, np.full((1, 6, 6), 0.9, np.float32)):
        bare = dataclasses.replace(asked.scores_b, train=train)
        findings = detect(dataclasses.replace(asked, scores_b=bare), History(), NAMES)
        found = of(findings, "discriminator memorises", "winter")
        assert found.message == "not checked: 2 training images are needed"


def test_chance_rarely_looks_like_memory():
    """Training and held-out scores of one distribution, a realistic spread: 1 in 100 at most."""
    reals = scenes()
    rng = np.random.default_rng(7)
    plain = take_probe(HONEST["the identity"], *reals, seed=1)
    false = 0
    for _ in range(200):
        draws = rng.normal([[0.6], [0.6], [0.4]], 0.15, (3, COUNT))[..., None, None]
        scores = Scores(*(np.asarray(x, np.float32) for x in draws))
        way = detectors._ways(dataclasses.replace(plain, scores_b=scores), History(), NAMES)[0]
        false += detectors._memorises("memory", way, way.real).fired
    assert false <= 2


@pytest.mark.parametrize(("period", "levels"), [(2, 6), (4, 12)])
def test_checkerboard(reals, period, levels):
    findings = look(both(lambda x: chessboard(x, period, levels)), reals)
    ways = {("checkerboard", "summer -> winter"), ("checkerboard", "winter -> summer")}
    assert fired(findings) == ways


def test_stripes_and_coloured_patterns_are_checkerboards_too():
    a, b = scenes()
    x = np.arange(32) % 2 * 2 - 1
    stripes = Maps(lambda p: p + 0.06 * x[None, None, :, None], lambda q: q)
    assert fired(look(stripes, (a, b))) == {("checkerboard", "summer -> winter")}
    board = (x[:, None] * x[None, :])[None, :, :, None]
    # equal luminance: red up, blue down
    colour = Maps(lambda p: p + 0.06 * board * np.array([1, -0.5094, 0]), lambda q: q)
    assert fired(look(colour, (a, b))) == {("checkerboard", "summer -> winter")}


def test_the_peak_of_white_noise_is_about_one():
    noise = np.random.default_rng(8).normal(0, 0.2, (8, 64, 64, 3)).astype(np.float32)
    assert detectors._peak(noise) == pytest.approx(1, abs=0.15)
    assert detectors._peak(np.zeros((2, 32, 32, 1), np.float32)) == pytest.approx(1)


def test_the_peak_in_closed_form():
    """A chessboard on white noise: the power of one over that of the other."""
    tile = detectors.TILE
    window = np.hanning(tile + 1)[:-1]
    amplitude, deviation = 0.3, 0.05
    y, x = np.mgrid[:128, :128]
    board = np.where((x + y) % 2, 1, -1)[None, :, :, None]
    rng = np.random.default_rng(9)
    images = amplitude * board + rng.normal(0, deviation, (4, 128, 128, 1))
    # power of the board at (8, 8) and its two neighbours along the other axis, which Hann halves
    board_power = (amplitude * window.sum() ** 2) ** 2 * (1 + 2 / 4)
    noise_power = tile * deviation**2 * (window**2).sum() ** 2
    expected = 1 + board_power / noise_power
    assert detectors._peak(images.astype(np.float32)) == pytest.approx(expected, rel=0.1)


def test_real_images_with_a_pattern_ask_for_one():
    """Half-tones on both sides: outputs that have them too are right."""
    a, b = (chessboard(x, 2, 6).astype(np.float32) for x in scenes())
    others = Maps(lambda x: np.roll(b, 1, axis=0), lambda y: np.roll(a, 1, axis=0))
    assert fired(look(others, (a, b))) == set()
    plain = scenes()[1]
    assert fired(look(others, (a, plain))) == {("checkerboard", "summer -> winter")}


def test_flat_chips_are_named():
    a, b = (x.copy() for x in scenes())
    a[2] = 0.5
    a[5] = -1 + np.random.default_rng(0).normal(0, 0.001, a[5].shape)
    findings = look(both(lambda x: x), (a, b), files=([f"{i}.png" for i in range(COUNT)], []))
    assert fired(findings) == {("flat chips", "summer")}
    found = of(findings, "flat chips", "summer")
    assert found.value == 2
    assert found.message.endswith(": 2.png, 5.png")
    b[0] = 0
    assert of(look(both(lambda x: x), (a, b)), "flat chips", "winter").message.endswith("image 1")


def test_rasters_of_a_narrow_range_are_not_flat():
    """Reflectances in 16 bits: all images use a hundredth of the range."""
    a, b = (0.01 * x - 0.95 for x in scenes())
    assert fired(look(both(lambda x: x), (a, b))) == set()
    a[3] = -0.95
    assert fired(look(both(lambda x: x), (a, b))) == {("flat chips", "summer")}


def lines_of(losses, name="discriminator_a"):
    return [{"step": 50 * (i + 1), name: value, "seconds": 1.0} for i, value in enumerate(losses)]


def test_divergence_of_losses():
    reals = scenes()

    def found(losses, name="discriminator_a"):
        findings = look(HONEST["the identity"], reals, lines=lines_of(losses, name))
        return of(findings, "divergence")

    steady = [0.3, 0.25, 0.28, 0.3, 0.26, 0.31]
    assert not found([*steady, 0.9]).fired
    blown = found([*steady, 0.3, 3.5, 0.3])
    assert blown.fired
    assert blown.value == pytest.approx(3.5 / 0.3)
    assert "discriminator_a was 12 times its usual size at step 400" in blown.message
    assert not found([3.5, 0.3]).fired  # a beginning is no explosion
    assert not found([0.002] * 8 + [0.05]).fired  # small losses leap
    assert not found([9, *([0.3] * 30)]).fired  # and to fall is what they should
    assert found([0.3, math.nan, 0.3]).fired
    assert found([0.3, 0.3, math.inf]).value == math.inf
    assert not found([*steady, 99], "pictures_per_second").fired
    record = [{"step": 5, "extended_from": 5, "extended_to": 9}]
    assert not of(look(HONEST["the identity"], reals, lines=record), "divergence").fired
    assert not of(look(HONEST["the identity"], reals), "divergence").fired


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_divergence_of_images_and_scores(bad):
    reals = scenes()
    healthy = judged(reals, HONEST["the identity"], real=0.5, made=0.5, train=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("cycle_a", "scores_b"):
            value = getattr(healthy, name)
            array = (value.fake if name == "scores_b" else value).copy()
            array.flat[7] = bad
            broken = dataclasses.replace(
                healthy,
                **{name: dataclasses.replace(value, fake=array) if name == "scores_b" else array},
            )
            findings = detect(broken, History(), NAMES)
            assert fired(findings) == {("divergence", "summer, winter")}
            assert name in of(findings, "divergence").message
            assert all("not checked" in f.message for f in findings if math.isnan(f.value))
            assert math.isnan(of(findings, "collapse", "summer -> winter").value)


# ---- what cannot be looked at -------------------------------------------------------------


def test_a_model_alone_has_no_discriminators():
    findings = look(HONEST["the identity"], scenes())
    for name in ("does nothing", "discriminator wins", "discriminator memorises"):
        found = [f for f in findings if f.name == name]
        assert len(found) == 2
        assert all("a run folder has" in f.message and not f.fired for f in found)


def test_one_way_models():
    class OneWay:
        def translate(self, images, direction):
            assert direction == "ab"
            return images

    seen = take_probe(OneWay(), *scenes(), directions=("ab",), identity=True)
    assert seen.fake_a is None
    assert seen.cycle_a is None
    assert set(reconstruction_errors(seen)) == {"identity_b"}
    findings = detect(seen, History(), NAMES)
    assert fired(findings) == set()
    assert "goes one way" in of(findings, "hidden cycle", "summer -> winter").message
    back = [f for f in findings if f.where == "winter -> summer"]
    assert len(back) == 7
    assert all("does not translate winter -> summer" in f.message for f in back)
    assert of(findings, "collapse", "summer -> winter").value > 0.5


def test_small_images_have_no_checkerboard():
    reals = tuple(x[:, :12, :12] for x in scenes())
    found = of(look(both(lambda x: x), reals), "checkerboard", "summer -> winter")
    assert "under 16 pixels" in found.message


def test_a_probe_needs_two_images_of_one_size():
    a, b = scenes()
    with pytest.raises(DataError, match="1 of 32x32 and 8 of 32x32"):
        take_probe(both(lambda x: x), a[:1], b)
    with pytest.raises(DataError, match="8 of 32x32 and 8 of 32x28"):
        take_probe(both(lambda x: x), a, b[:, :, :28])


# ---- the probe itself ---------------------------------------------------------------------


def test_a_probe_runs_each_network_on_the_right_images():
    """Both domains, directions and discriminators leave their mark."""
    a, b = (np.full((2, 16, 16, 3), value, np.float32) for value in (0.25, 0.5))
    train_a, train_b = np.full_like(a[:1], 0.3), np.full_like(b[:1], 0.6)

    def judge(images, domain):
        return images[:, ::8, ::8, 0] + {"a": 10, "b": 20}[domain]

    maps = Maps(lambda x: x / 2, lambda y: y / 4)
    seen = take_probe(maps, a, b, train_a, train_b, judge=judge, identity=True)
    means = {
        name: float(value.mean())
        for name, value in vars(seen).items()
        if isinstance(value, np.ndarray) and not name.startswith("noisy")
    }
    assert means == {
        "real_a": 0.25, "real_b": 0.5, "fake_b": 0.125, "fake_a": 0.125, "cycle_a": 0.03125,
        "cycle_b": 0.0625, "identity_a": 0.0625, "identity_b": 0.25,
    }  # fmt: skip
    for scores, expected in (
        (seen.scores_a, (10.25, 10.3, 10.125)),
        (seen.scores_b, (20.5, 20.6, 20.125)),
    ):
        parts = (scores.held_out, scores.train, scores.fake)
        np.testing.assert_allclose([part.mean() for part in parts], expected, rtol=1e-6)
    errors = reconstruction_errors(seen)
    assert errors["cycle_a"] == pytest.approx((0.25 - 0.03125) * 127.5)
    assert errors["identity_b"] == pytest.approx((0.5 - 0.25) * 127.5)
    assert errors["noisy_cycle_a"] == pytest.approx(errors["cycle_a"], rel=0.05)


def test_cycle_error_is_in_levels():
    assert cycle_error(np.full((1, 2, 2, 3), 1.0), np.full((1, 2, 2, 3), -1.0)) == 255
    assert cycle_error(np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), 2 / 255)) == pytest.approx(1)


# ---- words --------------------------------------------------------------------------------


def all_that_can_fire():
    """Findings, every one of which fired."""
    reals = scenes()
    a = reals[0].copy()
    a[0] = 0
    mean = reals[1].mean(0)
    strong = judged(reals, both(lambda x: x), real=0.97, train=0.97, made=0.02)
    history = History()
    for _ in range(probe.LONG):
        history = history.after(strong)
    cover = np.roll(reals[1], 1, axis=0) * 0.9
    many = [
        *look(both(lambda x: -x), reals),
        *look(Maps(lambda x: cover + x / 40, lambda y: (y - cover) * 40), reals),
        *look(both(lambda x: x * 0 + mean), reals),
        *detect(strong, history, NAMES),
        *detect(judged(reals, both(lambda x: -x), train=0.95, real=0.3, made=0), history, NAMES),
        *look(both(lambda x: chessboard(x, 2, 6)), reals),
        *look(both(lambda x: x), (a, reals[1])),
        *look(both(lambda x: x), reals, lines=lines_of([0.3] * 6 + [99])),
        *look(both(lambda x: x * np.nan), reals),
    ]
    return [finding for finding in many if finding.fired]


def test_advice_names_flags_that_exist():
    findings = all_that_can_fire()
    assert {f.name for f in findings} == {*detectors._DETECTORS, "flat chips", "divergence"}
    fields = {f.name for table in (Recipe, Runtime) for f in dataclasses.fields(table)}
    named = set()
    for finding in findings:
        assert finding.advice
        flags = re.findall(r"--([a-z0-9-]+)", f"{finding.advice} {finding.message}")
        named.update(flags)
        assert {flag.replace("-", "_") for flag in flags} <= fields
    assert {"identity", "cycle", "upsample", "discriminator-rate", "learning-rate"} <= named


def test_messages_are_one_line_and_name_the_domain():
    for finding in all_that_can_fire():
        assert "\n" not in finding.message + finding.advice
        assert any(name in finding.where for name in NAMES)
        if finding.name != "divergence":
            assert any(name in finding.message for name in NAMES), finding
