"""Training, from two folders of images to a translator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

from unpaired.checkpoint import checkpoints
from unpaired.config import DEFAULT_MAX_PIXELS, Config
from unpaired.console import log, progress
from unpaired.data.batches import Batches, prefetch
from unpaired.data.layout.domains import DataSet
from unpaired.data.source import Source, find_source
from unpaired.directions import DOMAINS, Aligned
from unpaired.engines.choice import join, make_engine, settle_precision
from unpaired.engines.processes import Processes
from unpaired.engines.seam import Engine, initial_state, lanes_of
from unpaired.errors import Interrupted
from unpaired.images.formats import Reading
from unpaired.notebook.kernel import show_page
from unpaired.notebook.run_view import run_html
from unpaired.presets import PresetName, from_noise
from unpaired.storage import exclusive, sweep
from unpaired.training.data import TrainingData, prepare, set_aside
from unpaired.training.journal import Journal, require_finite, sample_images, write_samples
from unpaired.training.keywords import TrainKeywords, sort_keywords
from unpaired.training.lines import announcement, ending_of, log_end
from unpaired.training.parallel.large_batch import scaled_values
from unpaired.training.parallel.together import (
    COLLECT,
    FINISH,
    GO_ON,
    TIMED,
    agreed_batches,
    due,
    follow,
    invite,
    runtime_of,
    seconds_per_step,
)
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
from unpaired.training.trackers.tracked import Tracked, open_tracked
from unpaired.training.validation import prepare_validation
from unpaired.training.watch import Remembered, Watch, choose_probe_images
from unpaired.weights.init import begin_from, find_init

__all__ = ["Run", "train"]

SLOW_LOADING = 0.1, 30.0  # share of the time, and seconds, of waiting for images: told beyond both


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, its configuration and the number of steps done."""

    folder: Path
    config: Config
    step: int

    def _repr_html_(self) -> str:
        """For notebooks: the learning curves and the newest samples."""
        return run_html(self.folder, f"step {self.step:,} of {self.config.recipe.steps:,}")

    def show(self) -> Path | None:
        """Shows the curves and samples: see `unpaired.notebook.kernel.show_page`."""
        return show_page(self._repr_html_(), f"run {self.folder}")


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
    scale_with_batch: bool = False,
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
        scale_with_batch: scale the preset from its batch size to `batch_size`: see
            `presets.scaled_to_batch`.
        domains: the folders of A and B in `data`, where it has several, such as ("day", "night").
        aligned: every image shows A and B side by side: "left-right" or "right-left".
        skip_unreadable: omit images that cannot be read.
        max_pixels: images of more pixels are rejected before they are decoded.
        values: values of the recipe and of the runtime, as keywords.

    Raises:
        ConfigError, DataError, RunError, CheckpointError: rejected; nothing was lost.
        Interrupted: SIGINT or SIGTERM; the state is saved, and the same call resumes.
    """
    folder = Path(out)
    asked, how = sort_keywords(values, recipe, runtime)
    if scale_with_batch:
        timed = epochs is not None or minutes is not None
        asked = scaled_values(folder, preset, asked, length_given=timed)
    request = Request(preset, asked, how, epochs, minutes, extend)
    find = partial(find_source, data, domains=domains, aligned=aligned)
    processes = join(runtime_of(folder, request.runtime))
    try:
        if processes.place.rank:
            run = Run(folder, *follow(processes, find, max_pixels))
        else:
            run = _lead(processes, find(), folder, request, init, skip_unreadable, max_pixels)
    except BaseException as error:
        processes.close(error)
        raise
    processes.close()
    return run


def _lead(
    processes: Processes,
    source: DataSet,
    folder: Path,
    request: Request,
    init: str | Path | None,
    skip_unreadable: bool,
    max_pixels: int,
) -> Run:
    """Trains as the first of the processes, which alone writes and evaluates."""
    with exclusive(folder):
        request = replace(request, init=find_init(init, resuming=bool(checkpoints(folder))))
        expected = expect(folder, request, processes.place.count)
        checked = prepare(
            source.read_as(*(Reading.of(expected, domain) for domain in DOMAINS)),
            folder,
            image_size=expected.image_size,
            skip_unreadable=skip_unreadable,
            max_pixels=max_pixels,
            recipe=expected,
        )
        lanes_of(expected.batch_size, processes.place.count)
        start = create_or_resume(folder, request, checked.facts)
        sweep(folder, folder / "checkpoints", folder / "samples")
        remembered = Remembered.from_pending(start.pending)
        if start.extended_from is not None and remembered.stopped:
            remembered = replace(remembered, stopped=False, waited=0)
        if start.step and (start.step >= start.config.recipe.steps or remembered.stopped):
            ending = ending_of(start.step, remembered)
            longer = "give --extend STEPS to train longer"
            if start.arrays is None:
                longer = "its checkpoints are gone, so it cannot be trained longer"
            log.info(f"{folder} is finished: {ending}; {longer}")
            invite(processes, start, checked, finished=True)
            return Run(folder, start.config, start.step)
        return _train(processes, folder, checked, start, request, remembered, max_pixels)


def _train(
    processes: Processes,
    folder: Path,
    checked: TrainingData,
    start: Start,
    request: Request,
    remembered: Remembered,
    max_pixels: int,
) -> Run:
    """Trains from `start` to the end of the run, with its evaluations and report."""
    recipe, runtime = start.config.recipe, start.config.runtime
    training, part = set_aside(checked.data, recipe.validation, recipe.seed)
    if part is None and (runtime.features or runtime.patience):
        log.warning("ignoring --features and --patience: nothing is set aside (--validation)")
    if start.arrays is None:
        recipe = settle_precision(recipe, runtime)
        start = replace(start, config=replace(start.config, recipe=recipe))
    if recipe.start == "auto" and start.arrays is None:
        start = _settle_start(start, request, training, max_pixels)
        recipe = start.config.recipe
    invite(processes, start, checked, timed=request.minutes is not None)
    several = processes.place.count > 1
    engine = make_engine(recipe, runtime, *([processes] if several else []))
    batches = Batches(training, recipe, shard=engine.shard, max_pixels=max_pixels)
    probe_images = choose_probe_images(training, part, recipe, max_pixels)
    validation = prepare_validation(part, start.config, max_pixels) if part else None
    if start.arrays is None:
        start = _initialise(engine, batches, start, request, folder)
    else:
        _load(engine, start)
    processes.share(start.config.to_toml())
    log.info(announcement(start, engine, training, part))
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
        partial(_write_best, processes, folder, start.config, engine),
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
    with open_tracked(folder, start.config) as tracked:
        with stop_on_signals() as stop:
            done = _take_steps(
                processes, engine, batches, start, watch, stop, write_report, tracked
            )
        if runtime.report != "none":
            write_report(done)
            tracked.file("report", folder / "report" / "index.html", done)
    processes.share("")  # the others have waited for the report
    log_end(folder, recipe, watch.remembered)
    return Run(folder, start.config, done)


def _write_best(
    processes: Processes, folder: Path, config: Config, engine: Engine, step: int
) -> None:
    """Writes the best checkpoint, for which all processes collect the state."""
    processes.sum([COLLECT])
    write_best(folder, config, engine, step)


def _take_steps(
    processes: Processes,
    engine: Engine,
    batches: Batches,
    start: Start,
    watch: Watch,
    stop: StopRequest,
    write_report: Callable[[int], None],
    tracked: Tracked,
) -> int:
    """Takes the steps from `start` to the end and writes all files; returns the steps done."""
    folder, recipe, runtime = watch.folder, start.config.recipe, start.config.runtime
    images = sample_images(batches.data, recipe, batches.max_pixels)
    board = runtime.tensorboard
    journal = Journal(folder, recipe, start.step, start.pending, tensorboard=board, tracked=tracked)

    def save_state(step: int) -> None:
        save(folder, start.config, engine, step, journal.pending(watch.remembered.to_dict()))

    if start.extended_from:
        journal.record(start.step, extended_from=start.extended_from, extended_to=recipe.steps)
        save_state(start.step)

    def save_what_is_done() -> str:
        """Only where data fail: a step that fails halfway leaves no state to resume from."""
        if done > saved:
            save_state(done)
        return f"stopped at step {done}, all saved in {folder}"

    last_losses: dict[str, float] = {}
    done = saved = start.step
    ahead = prefetch(batches, start.step, recipe.steps, runtime.workers)
    try:
        with progress("step", recipe.steps, first=start.step) as meter:
            agreed = agreed_batches(ahead, processes, stop, save_what_is_done)
            for batch, asked in journal.timed(agreed):
                journal.note(engine.train_step(batch, recipe.rate_factor(done)))
                done += 1
                finished = done == recipe.steps
                # Read once: a signal may come at any line below. Of several processes all stop at
                # the step before which they agreed.
                stopping = asked or (processes.place.count == 1 and stop.asked)
                evaluating = finished or due(done, runtime.evaluate_every)

                if evaluating or due(done, runtime.log_every):
                    last_losses = journal.means()
                    require_finite(last_losses, done, _last_good(folder))
                    journal.write(done, last_losses)
                if evaluating:
                    finished = watch.evaluate(done, journal) or finished
                    processes.sum([FINISH if finished else GO_ON])
                if finished or due(done, runtime.sample_every):
                    sample = folder / "samples" / f"step-{done:08d}.png"
                    write_samples(sample, engine, recipe, images)
                    tracked.file("samples", sample, done)
                if finished or stopping or due(done, runtime.checkpoint_every):
                    save_state(done)
                    saved = done
                if evaluating and not finished and runtime.report == "evaluations":
                    write_report(done)
                meter.update(done, losses=last_losses, units=2 * recipe.batch_size)
                if finished:
                    break
                if stopping:
                    processes.close()
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

    def timed() -> float:
        log.info(f"timing {TIMED} steps")
        seconds = seconds_per_step(engine, batches, start.config.runtime.workers)
        engine.load(state)
        return seconds

    recipe = settle_steps(recipe, request, timed)
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


def _last_good(folder: Path) -> Path | None:
    return next(reversed(checkpoints(folder)), None)
