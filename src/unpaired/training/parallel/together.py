"""A training of several processes: what the first tells the others, and what those do.

The first runs `loop` as one process alone would. The others take the same steps with their shares
of the batches, take part wherever the state is loaded or collected, and write nothing.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from unpaired.config import Config, Runtime, override
from unpaired.data.batches import Batch, Batches, prefetch
from unpaired.data.layout.domains import DataSet
from unpaired.directions import DOMAINS
from unpaired.engines.choice import make_engine
from unpaired.engines.processes import Processes
from unpaired.engines.seam import Engine, initial_state
from unpaired.errors import (
    DataError,
    Interrupted,
    RunError,
    ToldElsewhere,
    UnpairedError,
    shown,
)
from unpaired.images.formats import Reading
from unpaired.storage import read_regular
from unpaired.training.data import DataFacts, TrainingData, kept_of, set_aside
from unpaired.training.run import Start
from unpaired.training.signals import StopRequest, stop_on_signals

__all__ = [
    "COLLECT",
    "FINISH",
    "GO_ON",
    "TIMED",
    "agreed_batches",
    "due",
    "follow",
    "invite",
    "runtime_of",
    "seconds_per_step",
]

WARM_UP, TIMED = 3, 20  # steps that --minutes takes before it times some, and times
GO_ON, COLLECT, FINISH = 0.0, 1.0, 2.0  # what the first says in an evaluation
_MOST_TEXT = 1_000_000  # bytes of a config.toml


def runtime_of(folder: Path, given: Mapping[str, object]) -> Runtime:
    """The runtime that all processes join with: that of the folder's config.toml, and flags."""
    try:
        text = read_regular(folder / "config.toml", _MOST_TEXT).decode("utf-8")
        edited = Config.from_toml(text, str(folder / "config.toml")).runtime
    except (OSError, UnicodeDecodeError, UnpairedError):  # reported by create_or_resume
        edited = Runtime()
    return override(edited, given, "the runtime")


def invite(
    processes: Processes,
    start: Start,
    checked: TrainingData,
    *,
    timed: bool = False,
    finished: bool = False,
) -> None:
    """Tells the others what is trained, with which images, from where; or that it is finished."""
    if processes.place.count > 1:
        told = {
            "config": start.config.to_toml(),
            "facts": asdict(checked.facts),
            "names": _digest(checked.data),
            "step": start.step,
            "resumed": start.arrays is not None,
            "extended": bool(start.extended_from),
            "timed": timed,
            "finished": finished,
        }
        processes.share(json.dumps(told))


def follow(
    processes: Processes, find: Callable[[], DataSet], max_pixels: int
) -> tuple[Config, int]:
    """Takes part in the training of the first process; returns its configuration and steps.

    Raises:
        DataError: the images are not those of the first process, or one can no longer be read.
        ToldElsewhere: another process tells why the training ends.
    """
    text = processes.share("")
    if not text:
        processes.close()
        raise ToldElsewhere("the first process tells why there is no training")
    told = json.loads(text)
    config, step = Config.from_toml(told["config"], "the first process"), told["step"]
    if told["finished"]:
        return config, step
    recipe, rank = config.recipe, processes.place.rank
    found = told["facts"]
    lists = {name: tuple(found[name]) for name in ("omitted", "notes")}
    source = find().read_as(*(Reading.of(recipe, domain) for domain in DOMAINS))
    data = kept_of(source, DataFacts(**found | lists))
    if _digest(data) != told["names"]:
        raise DataError(
            f"process {rank} finds other images in {shown(data.train_a.root)} than the first: give "
            "all processes the same files"
        )
    training, _ = set_aside(data, recipe.validation, recipe.seed)
    engine = make_engine(recipe, config.runtime, processes)
    batches = Batches(training, recipe, shard=engine.shard, max_pixels=max_pixels)
    if told["resumed"]:
        engine.load({})
    else:
        engine.load(initial_state(engine.state(), recipe))
        if told["timed"]:
            seconds_per_step(engine, batches, config.runtime.workers)
            engine.load({})
        engine.state()
    config = Config.from_toml(processes.share(""), "the first process")
    if told["extended"]:
        engine.state()
    with stop_on_signals() as stop:
        done = _take_steps(processes, engine, batches, config, step, stop)
    processes.share("")  # the first writes its report
    return config, done


def _take_steps(
    processes: Processes,
    engine: Engine,
    batches: Batches,
    config: Config,
    first: int,
    stop: StopRequest,
) -> int:
    """Takes the steps as `loop` does; read them beside each other."""
    recipe, runtime = config.recipe, config.runtime
    done = saved = first

    def collect() -> str:
        if done > saved:
            engine.state()
        return f"stopped at step {done}, all saved"

    ahead = prefetch(batches, first, recipe.steps, runtime.workers)
    for batch, stopping in agreed_batches(ahead, processes, stop, collect):
        engine.train_step(batch, recipe.rate_factor(done))
        done += 1
        finished = done == recipe.steps
        if finished or due(done, runtime.evaluate_every):
            while (word := processes.sum([GO_ON])[0]) == COLLECT:
                engine.state()
            finished = finished or word == FINISH
        if finished or stopping or due(done, runtime.checkpoint_every):
            engine.state()
            saved = done
        if finished:
            break
        if stopping:
            processes.close()
            raise ToldElsewhere(f"stopped at step {done}", Interrupted.exit_code)
    return done


def agreed_batches(
    ahead: Iterator[Batch], processes: Processes, stop: StopRequest, save: Callable[[], str]
) -> Iterator[tuple[Batch, bool]]:
    """The batches, and whether one of the processes was asked to stop: all see the same.

    Where an image can no longer be read in one of them, `save` is called in all; it returns what
    the error is to say of that.

    Raises:
        DataError: an image of this process can no longer be read.
        RunError, ToldElsewhere: one of another process, which tells it.
    """
    while True:
        batch, failure = None, None
        try:
            batch = next(ahead, None)
        except DataError as error:
            failure = error
        if batch is None and failure is None:
            return
        failed, asked = processes.sum([failure is not None, stop.asked])
        if failed:
            told = save()
            processes.close()
            if failure:
                raise DataError(f"{failure}; {told}") from failure
            if processes.place.rank:
                raise ToldElsewhere("another process can no longer read an image")
            raise RunError(f"another process can no longer read an image, and tells which; {told}")
        assert batch is not None
        yield batch, asked > 0


def seconds_per_step(engine: Engine, batches: Batches, workers: int) -> float:
    """Takes some steps and times them; the engine's state is another afterwards."""
    began = 0.0
    for index, batch in enumerate(prefetch(batches, 0, WARM_UP + TIMED, workers)):
        if index == WARM_UP:
            began = time.perf_counter()
        losses = engine.train_step(batch, 1.0)
        for loss in losses.values():
            float(loss)  # waits for the device
    return (time.perf_counter() - began) / TIMED


def due(done: int, every: int) -> bool:
    """Whether something that happens every so many steps happens after `done`."""
    return every > 0 and done % every == 0


def _digest(data: DataSet) -> str:
    """A hash of the names of the training images in their order."""
    names = [list(data.train_a.names), list(data.train_b.names)]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
