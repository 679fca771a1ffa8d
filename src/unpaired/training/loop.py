"""Training, from two folders of images to a translator."""

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from unpaired.checkpoint import checkpoints
from unpaired.config import Config, Recipe
from unpaired.console import Meter
from unpaired.data.batches import Batches, load_whole, prefetch
from unpaired.data.domains import DataSet, Folder
from unpaired.data.source import Source, find_source
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import Engine, Images, initial_state
from unpaired.errors import DataError, Interrupted
from unpaired.images.image import DEFAULT_MAX_PIXELS
from unpaired.storage import exclusive, sweep
from unpaired.training.closing import close
from unpaired.training.data import set_aside, take_in
from unpaired.training.journal import Journal, require_finite, write_samples
from unpaired.training.run import (
    Say,
    Start,
    Wish,
    crop_of,
    find_start,
    machine,
    save,
    settle_steps,
    write_best,
    write_config,
)
from unpaired.training.signals import StopRequest, stop_on_signals
from unpaired.training.validation import Validation
from unpaired.training.watch import Remembered, Watch, choose_probe

__all__ = ["Run", "train"]

SAMPLES = 4  # images of each domain in a sample grid


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, configuration, and the steps that were taken."""

    folder: Path
    config: Config
    step: int


def train(
    data: Source,
    *,
    out: str | Path,
    preset: str | None = None,
    recipe: Mapping[str, object] | None = None,
    runtime: Mapping[str, object] | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    extend: int = 0,
    skip_unreadable: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    quiet: bool = False,
) -> Run:
    """Trains a translator between two domains, or goes on with the run in `out`.

    Args:
        data: a folder, a name of the catalogue, or two folders.
        out: the run folder; where it holds a run of the same recipe, that goes on.
        preset: "paper" (default), "small" or "tiny".
        recipe: values of the recipe that differ from the preset, by name (see Recipe).
        runtime: values of the runtime by name (see Runtime).
        epochs: how long to train, in passes over the larger domain (or recipe["steps"]).
        minutes: how long to train, by the clock: 20 steps are measured, then steps are fixed.
        extend: steps to add to a run that exists.
        skip_unreadable: go on without images that cannot be read.
        max_pixels: images of more pixels are refused before they are decoded.
        quiet: say nothing on standard error.

    Raises:
        ConfigError, DataError, RunError, CheckpointError: refused; nothing was lost.
        Interrupted: SIGINT or SIGTERM; the state is saved and the same call goes on.
    """

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    folder = Path(out)
    wish = Wish(preset, recipe or {}, runtime or {}, epochs, minutes, extend)
    found = find_source(data, quiet=quiet)
    with exclusive(folder):
        intake = take_in(
            found,
            folder,
            image_size=crop_of(folder, wish),
            skip_unreadable=skip_unreadable,
            max_pixels=max_pixels,
            threads=2,
            say=say,
            quiet=quiet,
        )
        start = find_start(folder, wish, intake.facts, say)
        sweep(folder, folder / "checkpoints", folder / "samples")
        remembered = Remembered.from_pending(start.pending)
        if start.extended_from is not None and remembered.stopped:
            remembered = replace(remembered, stopped=False, waited=0)
        if start.step and (start.step >= start.config.recipe.steps or remembered.stopped):
            ended = _ended(start.step, remembered)
            say(f"{folder} is finished: {ended}; to go on give --extend STEPS")
            return Run(folder, start.config, start.step)

        config = start.config
        training, part = set_aside(intake.data, config.recipe.validation, config.recipe.seed)
        if part is None and (config.runtime.features or config.runtime.patience):
            say("nothing is set aside (--validation): --features and --patience are not used")
        engine = make_engine(config.recipe, config.runtime)
        batches = Batches(training, config.recipe, shard=engine.shard, max_pixels=max_pixels)
        probed = choose_probe(training, part, config.recipe, max_pixels)
        validation = Validation(part, config, max_pixels) if part else None
        if start.arrays is None:
            start = _bear(engine, batches, start, wish, folder, say)
        else:
            engine.load(start.arrays)
            if start.made_on != machine(engine):
                say(
                    f"begun on {start.made_on}, going on with {machine(engine)}: "
                    "a fine training, but not equal bit for bit to one without the change"
                )
        say(_announcement(start, engine, training, part))
        write_config(folder, start.config)
        start = replace(start, arrays=None)  # they are in the engine, and large
        watch = Watch(
            folder,
            start.config,
            engine,
            probed,
            validation,
            remembered,
            partial(write_best, folder, start.config, engine),
            say,
        )
        write_page = partial(
            close,
            engine,
            start.config,
            data=training,
            folder=folder,
            max_pixels=max_pixels,
            say=say,
            quiet=quiet,
        )
        with stop_on_signals(say) as stop:
            done = _steps(engine, batches, start, watch, stop, quiet, write_page)
        if config.runtime.report != "none":
            write_page(done)
    name = shlex.quote(start.config.recipe.name_b)
    where = shlex.quote(str(folder))
    say(f"finished: unpaired translate {where} PICTURES --to {name} --out FOLDER")
    if watch.remembered.best_step:
        best = shlex.quote(str(folder / "best.safetensors"))
        say(
            f"best by the validation part: {best}, of step {watch.remembered.best_step} "
            f"({watch.remembered.best:.4g}; {watch.remembered.measure})"
        )
    return Run(folder, start.config, done)


def _steps(
    engine: Engine,
    batches: Batches,
    start: Start,
    watch: Watch,
    stop: StopRequest,
    quiet: bool,
    write_page: Callable[[int], None],
) -> int:
    """The steps from `start` to the end, with all that is written on the way; the steps taken."""
    folder, recipe, runtime = watch.folder, start.config.recipe, start.config.runtime
    images = _sample_images(batches.data, recipe, batches.max_pixels)
    journal = Journal(folder, recipe, start.step, start.pending, tensorboard=runtime.tensorboard)

    def save_state(step: int) -> None:
        pending = journal.pending(watch.remembered.to_json())
        save(folder, start.config, engine, step, pending)

    if start.extended_from:
        journal.record(start.step, extended_from=start.extended_from, extended_to=recipe.steps)
        save_state(start.step)
    last_losses: dict[str, float] = {}
    done = saved = start.step
    try:
        with Meter("step", first=start.step, quiet=quiet) as meter:
            for batch in prefetch(batches, start.step, recipe.steps, runtime.workers):
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
                    write_page(done)
                meter.show(done, recipe.steps, last_losses, units=2 * recipe.batch_size)
                if finished:
                    break
                if stopping:
                    same = "the same command"
                    again = f"{same} without --extend" if start.extended_from else same
                    raise Interrupted(
                        f"stopped at step {done} of {recipe.steps}, all saved in {folder}: "
                        f"{again} goes on from there"
                    )
    except DataError as error:
        if done > saved:
            save_state(done)
        raise DataError(f"{error}; stopped at step {done}, all saved in {folder}") from error
    finally:
        journal.close()
    return done


def _bear(
    engine: Engine, batches: Batches, start: Start, wish: Wish, folder: Path, say: Say
) -> Start:
    """A run is born as a checkpoint: the first weights, and the steps settled."""
    recipe = start.config.recipe
    newborn = initial_state(engine.state(), recipe.seed)
    engine.load(newborn)

    def seconds_per_step() -> float:
        warm, measured = 3, 20
        say(f"measuring {measured} steps")
        began = 0.0
        ahead = prefetch(batches, 0, warm + measured, start.config.runtime.workers)
        for index, batch in enumerate(ahead):
            if index == warm:
                began = time.perf_counter()
            losses = engine.train_step(batch, 1.0)
            for loss in losses.values():
                float(loss)  # waits for the device
        engine.load(newborn)
        return (time.perf_counter() - began) / measured

    recipe = settle_steps(recipe, wish, seconds_per_step)
    config = replace(start.config, recipe=recipe)
    save(folder, config, engine, 0, "{}")
    return replace(start, config=config)


def _announcement(
    start: Start, engine: Engine, data: DataSet, part: tuple[Folder, Folder] | None
) -> str:
    recipe = start.config.recipe
    verb = f"going on from step {start.step}" if start.step else "beginning"
    aside = f" ({len(part[0])} and {len(part[1])} set aside)" if part else ""
    return (
        f"{verb}: {recipe.steps} steps of preset {recipe.preset}, "
        f"{len(data.train_a)} images of {recipe.name_a}, "
        f"{len(data.train_b)} of {recipe.name_b}{aside}, {recipe.precision}, {engine.signature()}"
    )


def _sample_images(data: DataSet, recipe: Recipe, max_pixels: int) -> tuple[Images, Images]:
    """The first images of each test set (training set where there is none), whole, resized."""

    def some(test: Folder | None, train: Folder, bands: int) -> Images:
        folder = test or train
        indices = range(min(SAMPLES, len(folder)))
        side = recipe.image_size
        return load_whole(folder, indices, bands=bands, side=side, max_pixels=max_pixels)

    a = some(data.test_a, data.train_a, recipe.bands_a)
    b = some(data.test_b, data.train_b, recipe.bands_b)
    rows = min(len(a), len(b))
    return a[:rows], b[:rows]


def _ended(step: int, remembered: Remembered) -> str:
    """How a finished run ended."""
    best = f", best at step {remembered.best_step}" if remembered.best_step else ""
    return (f"stopped early at step {step}" if remembered.stopped else f"{step} steps") + best


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _last_good(folder: Path) -> Path | None:
    return next(reversed(checkpoints(folder)), None)
