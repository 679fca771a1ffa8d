"""Warnings in time: what goes wrong in a CycleGAN, read from a probe, in words for newcomers.

Where a definition here departs from the plain one, the detector's docstring says why.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unpaired.diagnostics.probe import LEVEL, LONG, NOISE, History, Probe, Scores, cycle_error
from unpaired.engines.seam import LOSSES, Images

__all__ = ["Finding", "detect"]

# Colour inversion is a known way out of the cycle loss: two negatives restore the image.
INVERSION = -0.3

# Chu, Zhmoginov, Sandler, "CycleGAN, a Master of Steganography", 2017 (arXiv 1712.02950): what is
# hidden does not stand noise. Healthy trainings stay within 1.00 to 1.03.
HIDDEN_CYCLE = 1.5
LEAST_GAIN, MOST_GAIN = 1.5, 5.0  # of noise, by an honest way back

# Eight against eight other images of one domain (photographs, emojis, facades, scenes): the ratio
# of their spreads is over .72 in 99 of 100 draws.
COLLAPSE = 0.5
GRID = 8

UNCHANGED = 0.15  # two trainings on photographs, 250 to 1,500 steps: .32 to .47
REJECTED = 0.8  # of all pairs of a real and a made image, told apart

WON = 0.95  # of patches

# Karras et al., "Training Generative Adversarial Networks with Limited Data", 2020 (arXiv
# 2006.06676), r_v of equation 1: 0 is no overfitting, 1 is complete.
MEMORISED = 0.5
LEAST_MARGIN = 0.2

CHECKERBOARD = 2.0  # in them, with transposed convolution 2.6 to 4.8, with resize .4 to 1.4
TILE = 16

FLAT, FLAT_SHARE = 1.0, 0.1  # level, standard deviation; share of the domain's median
FLAT_ALWAYS = 0.1  # level; smaller variances are below the 1e-5 that instance norm adds

EXPLODED, LEAST_LOSS = 10.0, 0.1
MEDIAN_OVER, MEDIAN_AFTER = 20, 5  # lines of the journal


@dataclass(frozen=True)
class Finding:
    """What one detector found in one place: a direction or a domain.

    It fired where `value` is beyond `limit`, above or below, as the detector has it. What could not
    be looked at has the value NaN, has not fired, and says why in `message`. `advice` is "" where
    nothing fired.
    """

    name: str
    where: str
    value: float
    limit: float
    fired: bool
    message: str
    advice: str


def detect(
    probe: Probe,
    history: History,
    names: tuple[str, str] = ("a", "b"),
    *,
    files: tuple[Sequence[str], Sequence[str]] = ((), ()),
    lines: Sequence[Mapping[str, object]] = (),
) -> list[Finding]:
    """All findings of one evaluation, what fired and what did not.

    Args:
        probe: what `take_probe` gave.
        history: of all evaluations, this one included (`History.after`).
        names: of the domains A and B, for the messages.
        files: what the images of A and of B are called, for the messages.
        lines: of metrics.jsonl, oldest first.
    """
    ways = _ways(probe, history, names)
    findings = [_divergence(probe, names, lines)]
    broken = _broken(probe)
    for name, find in _DETECTORS.items():
        for way in ways:
            if broken:
                findings.append(_unchecked(name, way.where, "there are NaN or infinite values"))
            elif way.fake is None:
                why = f"the model does not translate {way.where}"
                findings.append(_unchecked(name, way.where, why))
            else:
                findings.append(find(name, way, way.fake))
    for domain, real, called in zip(names, (probe.real_a, probe.real_b), files, strict=True):
        findings.append(_flat_chips(domain, real, called))
    return findings


@dataclass(frozen=True)
class _Way:
    """One direction of a probe, from the domain named `source` to that named `target`."""

    source: str
    target: str
    real: Images
    real_target: Images
    fake: Images | None
    cycle: Images | None
    noisy_cycle: Images | None
    scores: Scores | None
    accuracies: tuple[float, ...]

    @property
    def where(self) -> str:
        return f"{self.source} -> {self.target}"


def _ways(probe: Probe, history: History, names: tuple[str, str]) -> tuple[_Way, _Way]:
    a, b = names
    return (
        _Way(
            source=a,
            target=b,
            real=probe.real_a,
            real_target=probe.real_b,
            fake=probe.fake_b,
            cycle=probe.cycle_a,
            noisy_cycle=probe.noisy_cycle_a,
            scores=probe.scores_b,
            accuracies=history.accuracy_b,
        ),
        _Way(
            source=b,
            target=a,
            real=probe.real_b,
            real_target=probe.real_a,
            fake=probe.fake_a,
            cycle=probe.cycle_b,
            noisy_cycle=probe.noisy_cycle_b,
            scores=probe.scores_a,
            accuracies=history.accuracy_a,
        ),
    )


def _inversion(name: str, way: _Way, fake: Images) -> Finding:
    """Median over the images of the correlation of luminance before and after.

    Images without structure before or after have no correlation and are left out.
    """
    x, y = _luminance(way.real), _luminance(fake)
    structured = np.minimum(x.std((1, 2)), y.std((1, 2))) > FLAT_ALWAYS * LEVEL
    if not structured.any():
        return _unchecked(name, way.where, "the images have no structure to compare")
    pairs = zip(x[structured], y[structured], strict=True)
    value = float(np.median([np.corrcoef(p.ravel(), q.ravel())[0, 1] for p, q in pairs]))
    return _finding(
        name,
        way.where,
        value,
        INVERSION,
        value < INVERSION,
        good=f"light stays light on the way to {way.target}",
        bad=f"what is light in {way.source} comes out dark in {way.target}, as in a negative",
        advice="start anew with another --seed and a higher --identity",
    )


def _hidden_cycle(name: str, way: _Way, fake: Images) -> Finding:
    """Cycle error under noise over what an honest way back would have under it.

    The plain quotient, noisy error over clean error, fires on every way back that is good: it has
    next to no clean error and hands on the noise as it is (the identity has an infinite quotient).
    So the denominator is sqrt(clean^2 + handed on^2), where an honest way back hands on the noise
    as much larger as images have more contrast before than after, within 1.5 (undoing a change of
    gamma takes that) and 5 times. Where the clean error is large, as in most trainings, both agree.
    """
    if way.cycle is None or way.noisy_cycle is None:
        return _unchecked(name, way.where, "the model goes one way, so nothing comes back")
    clean, noisy = cycle_error(way.real, way.cycle), cycle_error(way.real, way.noisy_cycle)
    before, after = (float(np.median(x.std((1, 2, 3)))) for x in (way.real, fake))
    gain = min(max(before / max(after, LEVEL), LEAST_GAIN), MOST_GAIN)
    value = noisy / math.hypot(clean, gain * NOISE * math.sqrt(2 / math.pi))
    errors = f"{clean:.1f} levels of 255, {noisy:.1f} under slight noise"
    return _finding(
        name,
        way.where,
        value,
        HIDDEN_CYCLE,
        value > HIDDEN_CYCLE,
        good=f"{way.source} comes back with an error of {errors}",
        bad=f"{way.source} is hidden in {way.target} as a faint pattern: it comes back with an "
        f"error of {errors}",
        advice="start anew with a lower --cycle",
    )


def _collapse(name: str, way: _Way, fake: Images) -> Finding:
    """Spread of the outputs over that of the reals: how much images differ from each other.

    Spread is the standard deviation over the images, on a grid of 8 x 8 means, so that texture
    does not count as variety, nor blur as the lack of it. It is held against that of the domain
    which has less, before or after: outputs may keep the variety of what they are made from, and
    night has less of it than day. Networks not trained yet (before some 100 steps) fire it too.
    """
    value = _spread(fake) / max(
        min(_spread(way.real), _spread(way.real_target)), FLAT_ALWAYS * LEVEL
    )
    share = f"{value:.0%} of the variety of real images"
    return _finding(
        name,
        way.where,
        value,
        COLLAPSE,
        value < COLLAPSE,
        good=f"translations to {way.target} have {share}",
        bad=f"translations to {way.target} differ too little from each other: they have {share}",
        advice="train on more images, or start anew with a lower --discriminator-rate",
    )


def _does_nothing(name: str, way: _Way, fake: Images) -> Finding:
    """Change by the translation over the distance of unpaired images of both domains.

    A small change alone is no fault, where the domains differ by little: the discriminator has to
    tell what is made from held-out real images too, in four of five pairs of one and the other
    (by mean score, the area under the ROC curve; that does not depend on where its scores lie).
    """
    if way.scores is None:
        return _unchecked(name, way.where, _NO_JUDGE)
    x, y, made = way.real, way.real_target, fake
    if x.shape[-1] != y.shape[-1]:
        x, y, made = (_luminance(images) for images in (x, y, fake))
    apart = np.mean([cycle_error(image[None], y) for image in x])
    change = cycle_error(x, made)
    value = change / max(float(apart), FLAT_ALWAYS)
    real, judged = (s.mean((1, 2)) for s in (way.scores.held_out, way.scores.fake))
    told = float(np.mean(real[:, None] > judged[None, :]))
    return _finding(
        name,
        way.where,
        value,
        UNCHANGED,
        value < UNCHANGED and told >= REJECTED,
        good=f"translations to {way.target} change images by {change:.0f} levels of 255",
        bad=f"translations to {way.target} are the images of {way.source} almost as they were "
        f"({change:.1f} levels of 255 apart), and the discriminator sees that",
        advice="start anew with a lower --identity or a lower --cycle",
    )


def _discriminator_wins(name: str, way: _Way, fake: Images) -> Finding:
    """The lowest of its last five accuracies."""
    if not way.accuracies:
        return _unchecked(name, way.target, _NO_JUDGE)
    value = min(way.accuracies)
    return _finding(
        name,
        way.target,
        value,
        WON,
        value > WON and len(way.accuracies) >= LONG,
        good=f"{way.accuracies[-1]:.0%} of patches of {way.target} told real from made right",
        bad=f"the discriminator of {way.target} has told over {WON:.0%} of patches right for "
        f"{LONG} evaluations: the generator no longer learns from it",
        advice="train on more images, or start anew with a lower --discriminator-rate",
    )


def _memorises(name: str, way: _Way, fake: Images) -> Finding:
    """(training - held-out) / (training - made) of its mean scores, 0 to 1.

    Two standard errors (over images) are taken from the numerator, as a dozen images differ by
    chance, and the denominator is at least .2, as all three are alike when nothing is told apart.
    """
    if way.scores is None:
        return _unchecked(name, way.target, _NO_JUDGE)
    if way.scores.train is None or len(way.scores.train) < 2:
        return _unchecked(name, way.target, "2 training images are needed")
    train, held_out, made = (
        scores.mean((1, 2), dtype=np.float64)
        for scores in (way.scores.train, way.scores.held_out, way.scores.fake)
    )
    error = math.hypot(*(s.std(ddof=1) / math.sqrt(len(s)) for s in (train, held_out)))
    means = train.mean(), held_out.mean(), made.mean()
    value = float((means[0] - means[1] - 2 * error) / max(means[0] - means[2], LEAST_MARGIN))
    said = "{:.2f} to training images, {:.2f} to held-out ones, {:.2f} to made ones".format(*means)
    return _finding(
        name,
        way.target,
        value,
        MEMORISED,
        value > MEMORISED,
        good=f"the discriminator of {way.target} gives {said}",
        bad=f"the discriminator of {way.target} knows its training images by heart: it gives "
        f"{said}",
        advice="train on more images, or start anew with a lower --discriminator-rate",
    )


def _checkerboard(name: str, way: _Way, fake: Images) -> Finding:
    """Peak of the spectrum at the periods of 2 and 4 pixels, of outputs over reals.

    Energy at Nyquist of outputs over that of reals, the plain definition, fires on all that is
    grainy or sharp, and texture drowns what the eye sees in the sky. A checkerboard, though, is
    a peak: more at a period of 2 or 4 (a stride of 2, and that twice: Odena, Dumoulin, Olah,
    "Deconvolution and Checkerboard Artifacts", 2016) than beside it. See `_peak`. It is held
    against that of the real images, or against 1, the peak of white noise, if that is more.
    """
    if min(fake.shape[1:3]) < TILE:
        return _unchecked(name, way.where, f"the images are under {TILE} pixels")
    value = _peak(fake) / max(_peak(way.real_target), 1.0)
    return _finding(
        name,
        way.where,
        value,
        CHECKERBOARD,
        value > CHECKERBOARD,
        good=f"no pattern of 2 or 4 pixels in translations to {way.target}",
        bad=f"a fine regular pattern, as of a chessboard, lies over translations to {way.target}",
        advice="start anew with --upsample resize",
    )


_NO_JUDGE = "discriminators are needed, which a run folder has and a model alone has not"
_DETECTORS: Mapping[str, Callable[[str, _Way, Images], Finding]] = {
    "colour inversion": _inversion,
    "hidden cycle": _hidden_cycle,
    "collapse": _collapse,
    "does nothing": _does_nothing,
    "discriminator wins": _discriminator_wins,
    "discriminator memorises": _memorises,
    "checkerboard": _checkerboard,
}


def _flat_chips(domain: str, real: Images, called: Sequence[str]) -> Finding:
    """Number of images of nearly no variance, which instance norm blows up into noise.

    An image is flat where its standard deviation, in its strongest band, is under one level of 255
    and under a tenth of the domain's median: 16-bit rasters may use a small part of their range
    throughout. Under a tenth of a level it is flat in any case.
    """
    name = "flat chips"
    if not np.isfinite(real).all():
        return _unchecked(name, domain, "there are NaN or infinite values")
    deviation = real.std((1, 2), dtype=np.float64).max(-1) / LEVEL
    limit = max(min(FLAT, FLAT_SHARE * float(np.median(deviation))), FLAT_ALWAYS)
    flat = np.flatnonzero(deviation < limit).tolist()
    listed = ", ".join(called[i] if i < len(called) else f"image {i + 1}" for i in flat)
    return _finding(
        name,
        domain,
        float(len(flat)),
        0.0,
        len(flat) > 0,
        good=f"every image of {domain} has something to see",
        bad=f"{len(flat)} of {len(real)} images of {domain} are of one colour, from which "
        f"the networks can only make noise: {listed}",
        advice="take such images out of the data",
    )


def _divergence(
    probe: Probe, names: tuple[str, str], lines: Sequence[Mapping[str, object]]
) -> Finding:
    """NaN or infinity in the probe, and the largest loss over its running median.

    The median is over up to 20 lines before, from the sixth line on, and counts as at least .1.
    """
    name, everywhere = "divergence", f"{names[0]}, {names[1]}"
    advice = "start anew with a lower --learning-rate or --precision fp32"
    if broken := _broken(probe):
        return Finding(
            name,
            everywhere,
            math.inf,
            EXPLODED,
            True,
            f"NaN or infinite values in {', '.join(broken)}",
            advice,
        )
    value, worst, step = 0.0, "", 0
    for loss in LOSSES:
        past: list[float] = []
        for line in lines:
            now = line.get(loss)
            if not isinstance(now, int | float):
                continue
            usual = max(float(np.median(past[-MEDIAN_OVER:])), LEAST_LOSS) if past else math.nan
            ratio = now / usual if math.isfinite(now) else math.inf
            if (len(past) >= MEDIAN_AFTER or ratio == math.inf) and ratio > value:
                value, worst, step = ratio, loss, _step(line)
            if math.isfinite(now):
                past.append(float(now))
    return _finding(
        name,
        everywhere,
        value,
        EXPLODED,
        value > EXPLODED,
        good="no loss has exploded, no value is NaN or infinite",
        bad=f"the loss {worst} at step {step} was NaN or infinite"
        if value == math.inf
        else f"the loss {worst} was {value:.0f} times its usual size at step {step}",
        advice=advice,
    )


# ---- arithmetic ---------------------------------------------------------------------------


def _luminance(images: Images) -> Images:
    """(N, H, W, bands) to (N, H, W): Rec. 601 of three bands, the mean of any other number."""
    bands = images.shape[-1]
    weights = np.array([0.299, 0.587, 0.114]) if bands == 3 else np.full(bands, 1 / bands)
    luminance: Images = images @ weights.astype(images.dtype)
    return luminance


def _spread(images: Images) -> float:
    """Standard deviation over the images, root mean square over a grid of 8 x 8 means."""
    count, height, width, bands = images.shape
    rows, columns = height // GRID, width // GRID
    cut = images[:, : rows * GRID, : columns * GRID]
    means = cut.reshape(count, GRID, rows, GRID, columns, bands).mean((2, 4), dtype=np.float64)
    return float(np.sqrt(means.var(0, ddof=1).mean()))


def _peak(images: Images) -> float:
    """How far the spectrum stands out at the periods of 2 and 4 pixels; about 1 for white noise.

    Of tiles of 16 x 16 under a Hann window, powers are summed to a profile along y and one along
    x. At a period of 2 it is the power over the mean of that at 16/6 and 16/5 pixels, at 4 over
    the geometric mean of those at 8 and 16/6. The medians over the tiles of a band are taken, as
    artefacts show in smooth parts and texture hides them; the largest of all is the result.
    Rounding to 8 bits is added everywhere as a floor.
    """
    count, height, width, bands = images.shape
    rows, columns = height // TILE, width // TILE
    tiles = images[:, : rows * TILE, : columns * TILE].reshape(
        count, rows, TILE, columns, TILE, bands
    )
    tiles = tiles.transpose(5, 0, 1, 3, 2, 4).reshape(bands, -1, TILE, TILE)
    tiles = tiles - tiles.mean((2, 3), keepdims=True)
    window = np.hanning(TILE + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.fft2(tiles * np.outer(window, window))) ** 2
    floor = TILE * np.sum(window**2) ** 2 * LEVEL**2 / 12
    found = []
    for axis in (2, 3):
        along = power.sum(axis) + floor
        two, four = along[..., 8], along[..., 4]
        found.append(np.median(2 * two / (along[..., 5] + along[..., 6]), axis=1))
        found.append(np.median(four / np.sqrt(along[..., 2] * along[..., 6]), axis=1))
    return float(np.max(found))


def _broken(probe: Probe) -> list[str]:
    """The names of what holds NaN or infinity."""
    found = []
    for name, value in vars(probe).items():
        parts = vars(value).values() if isinstance(value, Scores) else (value,)
        if any(part is not None and not np.isfinite(part).all() for part in parts):
            found.append(name)
    return found


def _finding(
    name: str,
    where: str,
    value: float,
    limit: float,
    fired: bool,
    *,
    good: str,
    bad: str,
    advice: str,
) -> Finding:
    return Finding(
        name, where, value, limit, fired, bad if fired else good, advice if fired else ""
    )


def _unchecked(name: str, where: str, why: str) -> Finding:
    return Finding(name, where, math.nan, math.nan, False, f"not checked: {why}", "")


def _step(line: Mapping[str, object]) -> int:
    step = line.get("step", 0)
    return step if isinstance(step, int) else 0
