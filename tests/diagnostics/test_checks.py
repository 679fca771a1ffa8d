"""Each check fires on its failure, and on nothing else: painted scenes and photographs."""

import dataclasses
import math
import warnings

import numpy as np
import pytest

from small_probes import (
    COUNT,
    HONEST,
    NAMES,
    Maps,
    both,
    by_domain,
    chessboard,
    fired,
    grain,
    judged,
    lines_of,
    look,
    of,
    scenes,
    with_outputs,
)
from unpaired.diagnostics.checks import checkerboard, collapse, memorises
from unpaired.diagnostics.detect import detect
from unpaired.diagnostics.evidence import Evidence
from unpaired.diagnostics.history import EVALUATIONS, History
from unpaired.diagnostics.probe import Scores, reconstruction_errors, take_probe


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
    errors = reconstruction_errors(take_probe(hides, by_domain(reals), seed=1))
    assert errors["cycle_a"] < 12 < 40 < errors["noisy_cycle_a"]

    # the same cover without a secret: nothing comes back, with noise or without
    honest = look(Maps(lambda x: cover, lambda y: y), reals)
    assert ("hidden cycle", "summer -> winter") not in fired(honest)


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
    assert collapse._spread(images) == pytest.approx(np.sqrt(np.mean(cells)), rel=1e-6)


def test_a_domain_of_little_variety_is_no_collapse(reals):
    """Night: a fifth of the contrast."""
    day, night = reals[0], 0.2 * reals[1] - 0.7
    to_night = Maps(lambda x: 0.2 * x - 0.7, lambda y: (y + 0.7) / 0.2)
    assert fired(look(to_night, (day, night))) == set()


def test_does_nothing(reals):
    both_directions = {("does nothing", "summer -> winter"), ("does nothing", "winter -> summer")}
    same = both(lambda x: x + 0.01)
    assert fired(detect(judged(reals, same), History(), NAMES)) == both_directions
    # a discriminator that takes it for real has no complaint, one that sees no difference neither
    accepts = judged(reals, same, real=0.4, generated=0.6, train=0.4)
    assert fired(detect(accepts, History(), NAMES)) == set()
    unsure = judged(reals, same, real=0.5, generated=0.5, train=0.5)
    assert fired(detect(unsure, History(), NAMES)) == set()
    # and what changes is not what this is about, though it is rejected
    turns = both(lambda x: np.clip(0.6 * x - 0.3, -1, 1))
    assert fired(detect(judged(reals, turns), History(), NAMES)) == set()


def test_does_nothing_at_the_beginning_of_a_start_from_the_images(reals):
    """By design, in the first evaluation: later, and from noise, it is a fault."""
    same = judged(reals, both(lambda x: x + 0.01))
    places = {("does nothing", "summer -> winter"), ("does nothing", "winter -> summer")}
    where = "summer -> winter"

    def look(start, beginning):
        findings = detect(same, History(), NAMES, start=start, beginning=beginning)
        return fired(findings), of(findings, "does nothing", where)

    named, early = look("identity", True)
    assert (named, early.advice) == (set(), "")
    assert early.value < early.limit  # it is measured all the same
    assert early.message.endswith("little yet, as at the beginning of --start identity")
    for start, beginning in (("identity", False), ("noise", True), ("noise", False)):
        named, finding = look(start, beginning)
        assert named == places
        assert "a lower --cycle" in finding.advice
        assert ("--start noise" in finding.advice) == (start == "identity")
    # an early change is not called small
    turns = judged(reals, both(lambda x: np.clip(0.6 * x - 0.3, -1, 1)))
    findings = detect(turns, History(), NAMES, start="identity", beginning=True)
    assert "little yet" not in of(findings, "does nothing", where).message


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
    strong = judged(reals, HONEST["a shift of colour"], real=0.97, train=0.97, generated=0.02)
    weak = judged(reals, HONEST["a shift of colour"], real=0.6, train=0.6, generated=0.55)
    history = History()
    for _ in range(EVALUATIONS - 1):
        history = history.after(strong)
        assert fired(detect(strong, history, NAMES)) == set()
    history = history.after(strong)
    winners = {("discriminator wins", "summer"), ("discriminator wins", "winter")}
    assert fired(detect(strong, history, NAMES)) == winners
    history = history.after(weak)
    assert fired(detect(weak, history, NAMES)) == set()
    for _ in range(EVALUATIONS - 1):
        history = history.after(strong)
        assert fired(detect(strong, history, NAMES)) == set()
    assert fired(detect(strong, history.after(strong), NAMES)) == winners


def test_discriminator_memorises(reals):
    honest = HONEST["a shift of colour"]
    by_heart = judged(reals, honest, train=0.95, real=0.35, generated=0.1, spread=0.1)
    both_directions = {("discriminator memorises", "summer"), ("discriminator memorises", "winter")}
    assert fired(detect(by_heart, History(), NAMES)) == both_directions
    healthy = judged(reals, honest, train=0.7, real=0.65, generated=0.35, spread=0.1)
    assert fired(detect(healthy, History(), NAMES)) == set()
    # scores that scatter as much as they differ are chance
    chance = judged(reals, honest, train=0.7, real=0.4, generated=0.3, spread=0.4)
    assert fired(detect(chance, History(), NAMES)) == set()
    # nothing is told apart: no quotient of two small numbers
    blind = judged(reals, honest, train=0.52, real=0.48, generated=0.5)
    assert fired(detect(blind, History(), NAMES)) == set()


def test_memory_needs_training_images():
    asked = judged(scenes(), HONEST["the identity"], real=0.5, generated=0.5)
    for train in (None, np.full((1, 6, 6), 0.9, np.float32)):
        bare = dataclasses.replace(asked.directions["ab"].scores, train=train)
        findings = detect(with_outputs(asked, "ab", scores=bare), History(), NAMES)
        found = of(findings, "discriminator memorises", "winter")
        assert found.message == "not checked: 2 training images are needed"


def test_chance_rarely_looks_like_memory():
    """Training and held-out scores of one distribution, a realistic spread: 1 in 100 at most."""
    reals = scenes()
    rng = np.random.default_rng(7)
    plain = take_probe(HONEST["the identity"], by_domain(reals), seed=1).directions["ab"]
    false = 0
    for _ in range(200):
        draws = rng.normal([[0.6], [0.6], [0.4]], 0.15, (3, COUNT))[..., None, None]
        scores = Scores(*(np.asarray(x, np.float32) for x in draws))
        outputs = dataclasses.replace(plain, scores=scores)
        seen = Evidence("summer -> winter", "summer", "winter", *reals, outputs, ())
        false += memorises.check(seen).fired
    assert false <= 2


@pytest.mark.parametrize(("period", "levels"), [(2, 6), (4, 12)])
def test_checkerboard(reals, period, levels):
    findings = look(both(lambda x: chessboard(x, period, levels)), reals)
    both_directions = {("checkerboard", "summer -> winter"), ("checkerboard", "winter -> summer")}
    assert fired(findings) == both_directions


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
    assert checkerboard._peak(noise) == pytest.approx(1, abs=0.15)
    assert checkerboard._peak(np.zeros((2, 32, 32, 1), np.float32)) == pytest.approx(1)


def test_the_peak_in_closed_form():
    """A chessboard on white noise: the power of one over that of the other."""
    tile = checkerboard.TILE
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
    assert checkerboard._peak(images.astype(np.float32)) == pytest.approx(expected, rel=0.1)


def test_real_images_with_a_pattern_ask_for_one():
    """Half-tones on both sides: outputs that have them too are right."""
    a, b = (chessboard(x, 2, 6).astype(np.float32) for x in scenes())
    others = Maps(lambda x: np.roll(b, 1, axis=0), lambda y: np.roll(a, 1, axis=0))
    assert fired(look(others, (a, b))) == set()
    plain = scenes()[1]
    assert fired(look(others, (a, plain))) == {("checkerboard", "summer -> winter")}


def test_flat_images_are_named():
    a, b = (x.copy() for x in scenes())
    a[2] = 0.5
    a[5] = -1 + np.random.default_rng(0).normal(0, 0.001, a[5].shape)
    findings = look(both(lambda x: x), (a, b), files={"a": [f"{i}.png" for i in range(COUNT)]})
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
    healthy = judged(reals, HONEST["the identity"], real=0.5, generated=0.5, train=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outputs = healthy.directions["ab"]

        def spoilt(array):
            array = array.copy()
            array.flat[7] = bad
            return array

        scores = dataclasses.replace(outputs.scores, generated=spoilt(outputs.scores.generated))
        for broken, named in (
            (
                with_outputs(healthy, "ab", cycle=spoilt(outputs.cycle)),
                "translations back to summer",
            ),
            (with_outputs(healthy, "ab", scores=scores), "scores of the discriminator of winter"),
        ):
            findings = detect(broken, History(), NAMES)
            assert fired(findings) == {("divergence", "summer, winter")}
            message = of(findings, "divergence").message
            assert message == f"NaN or infinite values in {named}"
            assert all("not checked" in f.message for f in findings if math.isnan(f.value))
            assert math.isnan(of(findings, "collapse", "summer -> winter").value)


def test_small_images_have_no_checkerboard():
    reals = tuple(x[:, :12, :12] for x in scenes())
    found = of(look(both(lambda x: x), reals), "checkerboard", "summer -> winter")
    assert "under 16 pixels" in found.message
