"""Training, from two folders of images to a translator."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

from unpaired.checkpoint import checkpoints
from unpaired.config import DEFAULT_MAX_PIXELS, Config, Recipe
from unpaired.console import counted, log, progress
from unpaired.data.batches import Batch, Batches, load_whole, prefetch
from unpaired.data.crops import DomainReader
from unpaired.data.layout.domains import DataSet, Folder
from unpaired.data.source import Source, find_source
from unpaired.directions import DOMAINS, Aligned, Domain
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import Engine, Images, initial_state
from unpaired.errors import DataError, Interrupted
from unpaired.images.formats import Reading
from unpaired.presets import PresetName, from_noise
from unpaired.storage import exclusive, sweep
from unpaired.training.data import prepare, set_aside
from unpaired.training.journal import Journal, require_finite, write_samples
from unpaired.training.keywords import TrainKeywords, sort_keywords
from unpaired.training.run import (
    Request,
    Start,
    create_or_resume,
    expect,
    machine,
    save,
    settle_steps,
    write_best,
    write_config,
)
from unpaired.training.run_report import write_run_report
from unpaired.training.signals import StopRequest, stop_on_signals
from unpaired.training.start import choose_start, trial_recipe
from unpaired.training.validation import prepare_validation
from unpaired.training.watch import Remembered, Watch, choose_probe_images
from unpaired.weights.init import begin_from, find_init

__all__ = ["Run", "train"]

SAMPLES = 4  # images of each domain in a sample grid
SLOW_LOADING = 0.1, 30.0  # share of the time, and seconds, of waiting for images: told beyond both
WARM_UP, TIMED = 3, 20  # steps that --minutes takes before it times some, and times


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, its configuration and the number of steps done."""

    folder: Path
    config: Config
    step: int


def train(
    data: Source,
    *,
    out: str | Path,
    preset: PresetName | None = None,
    init: str | Path | None = None,
    recipe: Mapping[str, object] | None = None,
    runtime: Mapping[str, object] | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    extend: int = 0,
    domains: tuple[str, str] | None = None,
    aligned: Aligned | None = None,
    skip_unreadable: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    **values: Unpack[TrainKeywords],
) -> Run:
    """Trains a translator between two domains, or resumes the run in `out`.

    Args:
        data: a folder, a name of the catalogue, or two folders.
        out: the run folder; a run of the same recipe in it is resumed.
        preset: the preset to start from (default: "paper", or that of `init`).
        init: a run folder or a weights file, from whose weights the training starts: fine-tuning.
            They decide the architecture; what is missing starts fresh.
        recipe: values of the recipe that differ from the preset, by name (see Recipe).
        runtime: values of the runtime by name (see Runtime).
        epochs: the length, in passes over the larger domain (instead of `steps`).
        minutes: the length by the clock: 20 steps are timed, which sets the number of steps.
        extend: steps to add to an existing run.
        domains: the folders of A and B in `data`, where it has several, such as ("day", "night").
        aligned: every image shows A and B side by side: "left-right" or "right-left".
        skip_unreadable: omit images that cannot be read.
        max_pixels: images of more pixels are rejected before they are decoded.
        values: values of the recipe and of the runtime, as keywords.

    Raises:
        ConfigError, DataError, RunError, CheckpointError: rejected; nothing was lost.
        Interrupted: SIGINT or SIGTERM; the state is saved, and the same call resumes.
    """
    request = Request(preset, *sort_keywords(values, recipe, runtime), epochs, minutes, extend)
    folder = Path(out)
    source = find_source(data, domains=domains, aligned=aligned)
    with exclusive(folder):
        request = replace(request, init=find_init(init, resuming=bool(checkpoints(folder))))
        expected = expect(folder, request)
        checked = prepare(
            source.read_as(*(Reading.of(expected, domain) for domain in DOMAINS)),
            folder,
            image_size=expected.image_size,
            skip_unreadable=skip_unreadable,
            max_pixels=max_pixels,
            recipe=expected,
        )
        start = create_or_resume(folder, request, checked.facts)
        sweep(folder, folder / "checkpoints", folder / "samples")
        remembered = Remembered.from_pending(start.pending)
        if start.extended_from is not None and remembered.stopped:
            remembered = replace(remembered, stopped=False, waited=0)
        if start.step and (start.step >= start.config.recipe.steps or remembered.stopped):
            ending = _ending(start.step, remembered)
            longer = "give --extend STEPS to train longer"
            if start.arrays is None:
                longer = "its checkpoints are gone, so it cannot be trained longer"
            log.info(f"{folder} is finished: {ending}; {longer}")
            return Run(folder, start.config, start.step)
        return _train(folder, checked.data, start, request, remembered, max_pixels)


def _train(
    folder: Path,
    data: DataSet,
    start: Start,
    request: Request,
    remembered: Remembered,
    max_pixels: int,
) -> Run:
    """Trains from `start` to the end of the run, with its evaluations and report."""
    recipe, runtime = start.config.recipe, start.config.runtime
    training, part = set_aside(data, recipe.validation, recipe.seed)
    if part is None and (runtime.features or runtime.patience):
        log.warning("ignoring --features and --patience: nothing is set aside (--validation)")
    if recipe.start == "auto" and start.arrays is None:
        start = _settle_start(start, request, training, max_pixels)
        recipe = start.config.recipe
    engine = make_engine(recipe, runtime)
    batches = Batches(training, recipe, shard=engine.shard, max_pixels=max_pixels)
    probe_images = choose_probe_images(training, part, recipe, max_pixels)
    validation = prepare_validation(part, start.config, max_pixels) if part else None
    if start.arrays is None:
        start = _initialise(engine, batches, start, request, folder)
    else:
        _load(engine, start)
    log.info(_announcement(start, engine, training, part))
    write_config(folder, start.config)
    start = replace(start, arrays=None)  # the engine has them now, and they are large
    if probe_images and not probe_images.held_out:
        log.warning(
            "no image is held out (no validation part, no test set): the checks use training "
            "images and cannot detect a discriminator that memorises them"
        )
    watch = Watch(
        folder,
        start.config,
        engine,
        probe_images,
        validation,
        partial(write_best, folder, start.config, engine),
        remembered.for_measure(validation.name) if validation else remembered,
    )
    write_report = partial(
        write_run_report,
        engine,
        start.config,
        data=training,
        folder=folder,
        max_pixels=max_pixels,
    )
    with stop_on_signals() as stop:
        done = _take_steps(engine, batches, start, watch, stop, write_report)
    if runtime.report != "none":
        write_report(done)
    _log_end(folder, recipe, watch.remembered)
    return Run(folder, start.config, done)


def _take_steps(
    engine: Engine,
    batches: Batches,
    start: Start,
    watch: Watch,
    stop: StopRequest,
    write_report: Callable[[int], None],
) -> int:
    """Takes the steps from `start` to the end and writes all files; returns the steps done."""
    folder, recipe, runtime = watch.folder, start.config.recipe, start.config.runtime
    images = _sample_images(batches.data, recipe, batches.max_pixels)
    journal = Journal(folder, recipe, start.step, start.pending, tensorboard=runtime.tensorboard)

    def save_state(step: int) -> None:
        save(folder, start.config, engine, step, journal.pending(watch.remembered.to_dict()))

    if start.extended_from:
        journal.record(start.step, extended_from=start.extended_from, extended_to=recipe.steps)
        save_state(start.step)

    def saving_where_data_fail(ahead: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; where an image can no longer be read, the steps so far are saved first.

        Only there: a step or an evaluation that fails halfway leaves no state to resume from.
        """
        try:
            yield from ahead
        except DataError as error:
            if done > saved:
                save_state(done)
            raise DataError(f"{error}; stopped at step {done}, all saved in {folder}") from error

    last_losses: dict[str, float] = {}
    done = saved = start.step
    ahead = prefetch(batches, start.step, recipe.steps, runtime.workers)
    try:
        with progress("step", recipe.steps, first=start.step) as meter:
            for batch in journal.timed(saving_where_data_fail(ahead)):
                journal.note(engine.train_step(batch, recipe.rate_factor(done)))
                done += 1
                finished = done == recipe.steps
                stopping = stop.asked  # read once: a signal may come at any line below
                evaluating = finished or _due(done, runtime.evaluate_every)

                if evaluating or _due(done, runtime.log_every):
                    last_losses = journal.means()
                    require_finite(last_losses, done, _last_good(folder))
                    journal.write(done, last_losses)
                if evaluating:
                    finished = watch.evaluate(done, journal) or finished
                if finished or _due(done, runtime.sample_every):
                    sample = folder / "samples" / f"step-{done:08d}.png"
                    write_samples(sample, engine, recipe, images)
                if finished or stopping or _due(done, runtime.checkpoint_every):
                    save_state(done)
                    saved = done
                if evaluating and not finished and runtime.report == "evaluations":
                    write_report(done)
                meter.update(done, losses=last_losses, units=2 * recipe.batch_size)
                if finished:
                    break
                if stopping:
                    without = " without --extend" if start.extended_from else ""
                    raise Interrupted(
                        f"stopped at step {done} of {recipe.steps}, all saved in {folder}: "
                        f"run the same command{without} to resume"
                    )
    finally:
        journal.close()
    share, seconds = journal.loading()
    if share > SLOW_LOADING[0] and seconds > SLOW_LOADING[1]:
        log.warning(
            f"training waited for images {share:.0%} of its time: give more --workers than "
            f"{runtime.workers}, or images that were resized to near --load-size {recipe.load_size}"
        )
    return done


def _settle_start(start: Start, request: Request, training: DataSet, max_pixels: int) -> Start:
    """Settles the `start` of a new run's recipe by a trial, with an engine of its own."""
    recipe, runtime = start.config.recipe, start.config.runtime
    alone = trial_recipe(recipe)
    how = {"workers": runtime.workers, "max_pixels": max_pixels}
    chosen = choose_start(make_engine(alone, runtime), alone, training, **how)
    recipe = replace(recipe, start=chosen)
    if chosen == "noise":
        recipe = from_noise(recipe, request.recipe)
    return replace(start, config=replace(start.config, recipe=recipe))


def _initialise(
    engine: Engine, batches: Batches, start: Start, request: Request, folder: Path
) -> Start:
    """Initialises the weights, settles the number of steps and saves both as a checkpoint."""
    recipe = start.config.recipe
    state = initial_state(engine.state(), recipe)
    if request.init:
        state, told = begin_from(request.init, state, recipe)
        log.info(told)
        request.init.arrays.clear()  # the engine has them now, and they are large
    engine.load(state)

    def seconds_per_step() -> float:
        log.info(f"timing {TIMED} steps")
        began = 0.0
        ahead = prefetch(batches, 0, WARM_UP + TIMED, start.config.runtime.workers)
        for index, batch in enumerate(ahead):
            if index == WARM_UP:
                began = time.perf_counter()
            losses = engine.train_step(batch, 1.0)
            for loss in losses.values():
                float(loss)  # waits for the device
        engine.load(state)
        return (time.perf_counter() - began) / TIMED

    recipe = settle_steps(recipe, request, seconds_per_step)
    config = replace(start.config, recipe=recipe)
    save(folder, config, engine, 0, {})
    return replace(start, config=config)


def _load(engine: Engine, start: Start) -> None:
    """Loads the state of a resumed run."""
    engine.load(start.arrays or {})
    if start.made_on != machine(engine):
        log.warning(
            f"started on {start.made_on}, resuming on {machine(engine)}: the training is valid, "
            "but not equal bit for bit to one without this change"
        )


def _announcement(
    start: Start, engine: Engine, data: DataSet, part: tuple[Folder, Folder] | None
) -> str:
    recipe = start.config.recipe
    begin = f"resuming at step {start.step}" if start.step else "starting"
    aside = f" ({len(part[0])} and {len(part[1])} set aside)" if part else ""
    return (
        f"{begin}: {counted(recipe.steps, 'step')} of preset {recipe.preset}, "
        f"{counted(len(data.train_a), 'image')} of {recipe.name_a}, "
        f"{len(data.train_b):,} of {recipe.name_b}{aside}, {recipe.precision}, {engine.signature()}"
    )


def _log_end(folder: Path, recipe: Recipe, remembered: Remembered) -> None:
    """Logs the command that translates, and the best checkpoint."""
    where, name = shlex.quote(str(folder)), shlex.quote(recipe.name_b)
    log.info(f"finished: unpaired translate {where} IMAGES --to {name} --out FOLDER")
    if remembered.best_step:
        best = shlex.quote(str(folder / "best.safetensors"))
        if remembered.fallback:
            log.warning(
                "no evaluation changed the images enough to be the best (change in metrics.jsonl): "
                f"{best} is the last one, of step {remembered.best_step}"
            )
            return
        log.info(
            f"best on the validation part: {best}, of step {remembered.best_step} "
            f"({remembered.best:.4g}; {remembered.measure})"
        )


def _sample_images(data: DataSet, recipe: Recipe, max_pixels: int) -> tuple[Images, Images]:
    """The first images of each test set (or training set), whole, resized to the crop."""

    def load(domain: Domain, folder: Folder) -> Images:
        indices = range(min(SAMPLES, len(folder)))
        reader = DomainReader.of(recipe, domain, max_pixels)
        return load_whole(folder, indices, reader, recipe.image_size)

    a, b = load("a", data.test_a or data.train_a), load("b", data.test_b or data.train_b)
    rows = min(len(a), len(b))
    return a[:rows], b[:rows]


def _ending(step: int, remembered: Remembered) -> str:
    """How a finished run ended."""
    chosen = remembered.best_step and not remembered.fallback
    best = f", best at step {remembered.best_step}" if chosen else ""
    return (f"stopped early at step {step}" if remembered.stopped else counted(step, "step")) + best


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _last_good(folder: Path) -> Path | None:
    return next(reversed(checkpoints(folder)), None)
