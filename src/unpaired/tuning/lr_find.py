"""`unpaired lr-find`: short trainings on a ladder of learning rates, and the rate they suggest.

A falling loss says little about a GAN. So each rung has the same first weights and batches, its own
rate, and is measured as a training is: by the criterion of the validation part. Beside it stand the
share of an update over the weights, and whether the training is stable. No run folder is read or
written.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Unpack

import numpy as np

from unpaired.checkpoint import fault_of
from unpaired.config import DEFAULT_MAX_PIXELS, Config, Recipe, Runtime
from unpaired.console import Progress, log, progress
from unpaired.data.batches import Batches, prefetch
from unpaired.data.layout.domains import DataSet
from unpaired.data.source import Source, find_source
from unpaired.directions import DOMAINS, Aligned
from unpaired.engines.choice import make_engine, settle_precision
from unpaired.engines.seam import Arrays, Engine, initial_state
from unpaired.errors import ConfigError, Diverged
from unpaired.images.formats import Reading
from unpaired.presets import PresetName, from_noise
from unpaired.training.data import prepare, set_aside
from unpaired.training.keywords import TrainKeywords, sort_keywords
from unpaired.training.run import Request, create_or_resume, expect
from unpaired.training.start import choose_start, trial_recipe
from unpaired.training.validation import Validation, prepare_validation
from unpaired.tuning.lr_curve import LrCurve, Rung
from unpaired.weights.init import begin_from, find_init

__all__ = ["FACTORS", "LENGTH", "lr_find"]

FACTORS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
"""Of the recipe's learning rate: the ladder, where no rates are given."""

LENGTH = 300  # steps of a short training
VALIDATION = 0.1  # share set aside, where the recipe sets nothing aside
SHARES = 6  # steps of a rung whose updates are measured
EXPLODED = 10.0  # times the mean of the first steps: a loss beyond it is unstable
FIRST = 20  # steps that this mean is of
_MOST_RATES = 100


def lr_find(
    data: Source,
    *,
    rates: Sequence[float] = (),
    length: int = LENGTH,
    preset: PresetName | None = None,
    init: str | Path | None = None,
    recipe: Mapping[str, object] | None = None,
    runtime: Mapping[str, object] | None = None,
    domains: tuple[str, str] | None = None,
    aligned: Aligned | None = None,
    skip_unreadable: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    **values: Unpack[TrainKeywords],
) -> LrCurve:
    """Trains shortly at each learning rate of a ladder, and returns what was measured.

    Every short training has the first weights, batches and validation part of the others, and the
    recipe's schedule over its own length. Above a rate that is unstable none is tried.

    Args:
        data: as for `train`; so are `preset`, `init`, `recipe`, `runtime`, `domains`, `aligned`,
            `skip_unreadable`, `max_pixels` and the further keywords.
        rates: learning rates of the generators; the discriminators' keep the recipe's ratio to
            them. Without any: the recipe's, and up to 8 times less and more.
        length: steps of each short training.

    Raises:
        ConfigError, DataError, CheckpointError, MissingExtra: rejected.
    """
    request = Request(preset, *sort_keywords(values, recipe, runtime))
    if length < 1 or len(rates) > _MOST_RATES or not all(0 < rate <= 1e3 for rate in rates):
        raise ConfigError(
            f"--rates {' '.join(f'{rate:g}' for rate in rates[:9])} --length {length}: give up to "
            f"{_MOST_RATES} rates over 0 and at most 1000, and a length of at least 1"
        )
    request = replace(request, init=find_init(init, resuming=False))
    source = find_source(data, domains=domains, aligned=aligned)
    with TemporaryDirectory(prefix="unpaired-lr-") as scratch:
        folder = Path(scratch)
        expected = expect(folder, request)
        checked = prepare(
            source.read_as(*(Reading.of(expected, domain) for domain in DOMAINS)),
            folder,
            image_size=expected.image_size,
            skip_unreadable=skip_unreadable,
            max_pixels=max_pixels,
            recipe=expected,
        )
        config = create_or_resume(folder, request, checked.facts).config
    settled = replace(
        settle_precision(config.recipe, config.runtime),
        steps=length,
        schedule="linear",
        validation=config.recipe.validation or VALIDATION,
    )
    training, part = set_aside(checked.data, settled.validation, settled.seed)
    assert part is not None  # the share is over 0
    if settled.start == "auto":
        settled = _with_start(settled, config.runtime, training, request, max_pixels)
    engine = make_engine(settled, config.runtime)
    batches = Batches(training, settled, shard=engine.shard, max_pixels=max_pixels)
    validation = prepare_validation(part, Config(settled, config.runtime), max_pixels)
    state = initial_state(engine.state(), settled)
    if request.init:
        state, told = begin_from(request.init, state, settled)
        log.info(told)
    if request.recipe.get("steps"):
        log.info(f"--steps is of a whole training: each short one takes --length {length}")
    ladder = sorted(set(rates)) or [factor * settled.learning_rate for factor in FACTORS]
    trial = _Trial(engine, batches, validation, state, config.runtime.workers)
    return LrCurve(
        tuple(_climb(trial, ladder, settled)),
        validation.name,
        length,
        settled.discriminator_rate / (settled.learning_rate or 1.0),
    )


def _with_start(
    recipe: Recipe, runtime: Runtime, training: DataSet, request: Request, max_pixels: int
) -> Recipe:
    alone = trial_recipe(recipe)
    how = {"workers": runtime.workers, "max_pixels": max_pixels}
    chosen = choose_start(make_engine(alone, runtime), alone, training, **how)
    recipe = replace(recipe, start=chosen)
    return from_noise(recipe, request.recipe) if chosen == "noise" else recipe


@dataclass(frozen=True, eq=False)
class _Trial:
    """What the short trainings share: engine, batches, validation part and first state."""

    engine: Engine
    batches: Batches
    validation: Validation
    state: Arrays
    workers: int


def _climb(trial: _Trial, ladder: Sequence[float], recipe: Recipe) -> Iterator[Rung]:
    """The rungs from the lowest rate on, up to the first that is unstable."""
    if not recipe.learning_rate:
        raise ConfigError("--learning-rate is 0: give the rate that the others are a multiple of")
    total = len(ladder) * recipe.steps
    with progress("lr step", total) as meter:
        for index, rate in enumerate(ladder):
            rung = _measure(trial, rate, recipe, meter, index * recipe.steps)
            log.info(
                f"rate {rate:.2g}: criterion {rung.criterion:.4g}, update {rung.share:.1e} of the "
                f"weights{', ' + rung.problem if rung.problem else ''}"
            )
            yield rung
            if rung.problem:
                return


def _measure(trial: _Trial, rate: float, recipe: Recipe, meter: Progress, before: int) -> Rung:
    """One short training. Rates are given as factors, so that nothing is compiled again."""
    engine, scale, steps = trial.engine, rate / recipe.learning_rate, recipe.steps
    engine.load(trial.state)
    measured = {round(place) for place in np.linspace(0, steps - 1, min(SHARES, steps))}
    shares: list[float] = []
    first: dict[str, list[float]] = {}
    problem = ""
    for step, batch in enumerate(prefetch(trial.batches, 0, steps, trial.workers)):
        weights = _generators(engine) if step in measured else {}
        factor = recipe.rate_factor(step)
        losses = {k: float(v) for k, v in engine.train_step(batch, scale * factor).items()}
        if weights and factor:
            # At the full rate: the decay would make all shares small.
            shares.append(_share(weights, _generators(engine)) / factor)
        meter.update(before + step + 1, units=2 * recipe.batch_size)
        if problem := _problem(losses, first, step):
            break
        for name, loss in losses.items() if step < FIRST else ():
            first.setdefault(name, []).append(loss)
    share = median(shares) if shares else math.nan
    problem = problem or fault_of(engine.state())
    if problem:
        return Rung(rate, math.nan, False, share, problem)
    try:
        found = trial.validation.evaluate(engine)
    except Diverged as error:
        return Rung(rate, math.nan, False, share, str(error))
    if not math.isfinite(found.criterion):
        return Rung(rate, math.nan, False, share, "the criterion is not finite")
    return Rung(rate, found.criterion, found.moved, share)


def _problem(losses: Mapping[str, float], first: Mapping[str, list[float]], step: int) -> str:
    """Why a training is unstable after a step; "" if it is not."""
    for name, loss in losses.items():
        if not math.isfinite(loss):
            return f"{name} is {loss} at step {step + 1}"
        if len(usual := first.get(name, [])) == FIRST:
            mean = sum(usual) / FIRST
            if loss > EXPLODED * mean and loss > 1:
                return f"{name} is {loss:.3g} at step {step + 1}, {mean:.2g} at first"
    return ""


def _generators(engine: Engine) -> Arrays:
    return {name: array for name, array in engine.state().items() if name.startswith("generator_")}


def _share(before: Arrays, after: Arrays) -> float:
    """The Euclidean norm of an update over that of the weights."""
    change = sum(
        float(np.sum(np.square(after[n] - a, dtype=np.float64))) for n, a in before.items()
    )
    size = sum(float(np.sum(np.square(a, dtype=np.float64))) for a in before.values())
    return math.sqrt(change / size) if size else math.nan
