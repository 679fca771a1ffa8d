"""The run folder: created, resumed or rejected.

A folder that holds results of a training, and no checkpoint to resume it from, is never trained
into: nothing is replaced by a training that starts from scratch.
"""

import contextlib
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unpaired.checkpoint import (
    Header,
    checkpoint_path,
    checkpoints,
    fault_of,
    generators,
    latest_good,
    prune,
    read_header,
    write,
)
from unpaired.config import (
    MOST_STEPS,
    SETTLED,
    Config,
    Recipe,
    Runtime,
    differences,
    override,
    require_values,
    require_within,
)
from unpaired.config.domain import parse_scaling
from unpaired.console import counted, log
from unpaired.engines.choice import require_memory
from unpaired.engines.seam import Arrays, Engine, require_filled
from unpaired.errors import CheckpointError, ConfigError, Diverged, RunError, reason_of, shown
from unpaired.presets import from_noise, preset
from unpaired.storage import read_regular, write_text
from unpaired.training.data import DataFacts
from unpaired.training.watch import Remembered
from unpaired.weights.init import InitModel, asked_recipe

__all__ = [
    "Request",
    "Start",
    "create_or_resume",
    "expect",
    "machine",
    "save",
    "settle_steps",
    "write_best",
    "write_config",
]

MOST_MINUTES = 10 * 366 * 24 * 60
_MOST_TEXT = 1_000_000  # bytes of a config.toml

# What a training would replace or continue, and nobody can make again without it.
RESULTS = ("model.safetensors", "best.safetensors", "metrics.jsonl", "report", "samples")

# Fields whose 0 leaves the choice to the data.
UNSET = ("steps", "bands_a", "bands_b", "depth_a", "depth_b")


@dataclass(frozen=True)
class Request:
    """The user's request for a training; None and absent keys mean the default.

    Raises:
        ConfigError: a value is out of its range, or the length is given twice.
    """

    preset: str | None
    recipe: Mapping[str, object]
    runtime: Mapping[str, object]
    epochs: float | None = None
    minutes: float | None = None
    extend: int = 0
    init: InitModel | None = None

    def __post_init__(self) -> None:
        # Rejected before any work.
        require_values(Recipe, self.recipe, "the recipe")
        override(Runtime(), self.runtime, "the runtime")
        asked = [
            flag
            for flag, value in {
                "--steps": self.recipe.get("steps") or None,
                "--epochs": self.epochs,
                "--minutes": self.minutes,
            }.items()
            if value is not None
        ]
        if len(asked) > 1:
            raise ConfigError(f"{' and '.join(asked)} exclude each other: give one of them")
        most = {"--epochs": (self.epochs, MOST_STEPS), "--minutes": (self.minutes, MOST_MINUTES)}
        for flag, (amount, largest) in most.items():
            if amount is not None and not 0 < amount < math.inf:
                raise ConfigError(f"{flag} is {amount}: it must be over 0")
            require_within(flag, amount or 0, 0, largest)
        require_within("--extend", self.extend, 0, MOST_STEPS)


@dataclass(frozen=True)
class Start:
    """The point where a training starts: its configuration, and the state of a resumed one."""

    config: Config
    step: int = 0
    arrays: Mapping[str, np.ndarray] | None = None
    pending: Mapping[str, Any] = field(default_factory=dict)
    made_on: str = ""
    extended_from: int | None = None


def expect(folder: Path, request: Request, processes: int = 1) -> Recipe:
    """The recipe of the run in `folder` if there is one, else what is asked, before any work.

    Raises:
        RunError: `folder` has results and no checkpoints.
        TooLarge: the first process of a training as asked needs more memory than is free.
    """
    for path in reversed(checkpoints(folder)):
        with contextlib.suppress(CheckpointError):  # create_or_resume reports damaged ones
            return read_header(path).config.recipe
    if not checkpoints(folder) and (finished := _finished(folder)):
        return finished.config.recipe
    recipe = asked_recipe(request.init, request.preset, request.recipe)
    require_memory(recipe, processes)
    return recipe


def _finished(folder: Path) -> Header | None:
    """The model of a finished run without checkpoints; None where nothing is of any run.

    Raises:
        RunError: the folder holds results of a training that is not known to be finished.
    """
    results = [name for name in RESULTS if _holds(folder / name)]
    if not results:
        return None
    with contextlib.suppress(CheckpointError, RunError):
        header = read_header(folder / "model.safetensors")
        trained = header.kind == "model" and header.config.recipe.data_fingerprint  # not imported
        if trained and 0 < header.config.recipe.steps == header.step:
            return header
        if trained and header.step == 0 and results == ["model.safetensors"]:
            return None  # initial weights, of a run that was killed as it was created
    raise RunError(
        f"{folder} holds {', '.join(results)} and no checkpoints to resume from: a new training "
        "would replace what is there: choose another --out, or move it away"
    )


def _holds(path: Path) -> bool:
    """Whether there is a file, or a folder that is not empty."""
    try:
        return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)
    except OSError:  # it may not be read
        return True


def create_or_resume(folder: Path, request: Request, facts: DataFacts) -> Start:
    """Resumes the run in `folder` if there is one, and creates one otherwise.

    Of a finished run without checkpoints there is nothing to resume, so it has no arrays.

    Raises:
        RunError: the run's recipe or data differ from those of the request; names the differences.
            Or there are results without checkpoints.
        CheckpointError: there are checkpoints, and none can be read.
    """
    found = latest_good(folder)
    if found is None:
        finished = _finished(folder)
        if finished is None:
            return _create(folder, request, facts)
        recipe = _matching_recipe(folder, finished.config.recipe, request, facts)
        if request.extend:
            raise RunError(
                f"{folder} is finished and has no checkpoints, which --extend resumes from: "
                "choose another --out"
            )
        runtime = _runtime(folder, finished.config, request)
        return Start(Config(recipe, runtime), finished.step)
    path, header, arrays, errors = found
    for error in errors:
        log.warning(f"{error}; resuming from {path.name} instead")
    require_filled(header.config.recipe, arrays, whole=True)
    old = header.config.recipe
    recipe = _matching_recipe(folder, old, request, facts)
    extended_from = None
    if request.extend:
        if header.step < old.steps and not Remembered.from_pending(header.pending).stopped:
            raise RunError(
                f"{folder} is not finished (step {header.step} of {old.steps}): "
                "omit --extend to resume it"
            )
        extended_from = header.step  # below the old total if the run stopped early
        recipe = replace(recipe, steps=header.step + request.extend)
    if request.minutes:
        log.info(f"--minutes was measured when the run was created: {counted(old.steps, 'step')}")
    config = Config(recipe, _runtime(folder, header.config, request))
    return Start(config, header.step, arrays, header.pending, header.made_on, extended_from)


def save(
    folder: Path, config: Config, engine: Engine, step: int, pending: Mapping[str, Any]
) -> None:
    """Writes the model and the checkpoint after `step` steps, and removes old checkpoints.

    Raises:
        Diverged: the state holds NaN or infinity; nothing is written.
        RunError: a file cannot be written; earlier checkpoints are kept.
    """
    state = _finite_state(folder, engine, step)
    _write_model(folder / "model.safetensors", config, engine, step, state)
    # Last, so that a finished run has its model: after a kill before this, both are written again.
    header = Header("checkpoint", config, step, pending=pending, made_on=machine(engine))
    write(checkpoint_path(folder, step), header, state)
    prune(folder, config.runtime.keep, step)


def write_best(folder: Path, config: Config, engine: Engine, step: int) -> None:
    """Writes the current model as the best so far. Raises as `save`."""
    state = _finite_state(folder, engine, step)
    _write_model(folder / "best.safetensors", config, engine, step, state)


def _finite_state(folder: Path, engine: Engine, step: int) -> Arrays:
    state = engine.state()
    if fault := fault_of(state):
        raise Diverged(
            f"{fault} after step {step}, which was not saved; "
            f"the checkpoints in {folder / 'checkpoints'} are good: "
            "start again with a lower --learning-rate or --precision fp32"
        )
    return state


def _write_model(path: Path, config: Config, engine: Engine, step: int, state: Arrays) -> None:
    header = Header("model", config, step, made_on=machine(engine))
    model, weights = generators(header, state)
    write(path, replace(header, weights=weights), model)


def machine(engine: Engine) -> str:
    """The facts on which equality bit for bit depends: framework, device, threads, processor."""
    return f"{engine.signature()}, {platform.machine()}"


def write_config(folder: Path, config: Config) -> None:
    """Writes the complete configuration to config.toml."""
    write_text(folder / "config.toml", config.to_toml())


def settle_steps(recipe: Recipe, request: Request, seconds_per_step: Callable[[], float]) -> Recipe:
    """The recipe with its number of steps: as asked, of the preset, or measured for --minutes."""
    if request.epochs is not None:
        return replace(recipe, steps=_steps_of(request.epochs, recipe))
    if request.minutes is not None:
        steps = max(1, round(request.minutes * 60 / seconds_per_step()))
        # Measured steps are seldom whole epochs, so the learning rates decay step by step.
        schedule = recipe.schedule if "schedule" in request.recipe else "linear"
        return replace(recipe, steps=steps, schedule=schedule)
    if recipe.steps == 0:
        return replace(recipe, steps=200 * recipe.epoch_steps)
    if "steps" in request.recipe and "schedule" not in request.recipe:
        return replace(recipe, schedule="linear")
    return recipe


def _create(folder: Path, request: Request, facts: DataFacts) -> Start:
    if request.extend:
        raise RunError(f"{folder} has no run to extend: omit --extend to create one")
    recipe = asked_recipe(request.init, request.preset, request.recipe)
    settled = facts.settled(recipe.batch_size, recipe.validation)
    for name, found in (("bands_a", facts.bands_a), ("bands_b", facts.bands_b)):
        asked = getattr(recipe, name) or found
        if asked != found and {asked, found} != {1, 3}:
            raise ConfigError(_wrong_number(f"--{name.replace('_', '-')}", asked, found))
    # What was asked of rasters is settled, too: percentiles as numbers, automatic crops as a kind.
    of_rasters = {*facts.rasters, "crops"}
    unset = {
        name: settled[name]
        for name in (*SETTLED, "crops")
        if name in settled and (name in of_rasters or not request.recipe.get(name))
    }
    recipe = override(recipe, unset, "the facts of the data")
    if request.init:
        recipe = replace(recipe, init_fingerprint=request.init.fingerprint)
    asked = request.recipe.get("start", preset(request.preset or "paper").start)
    if recipe.start != asked and not request.init:
        recipe = from_noise(recipe, request.recipe)
        tell = log.info if asked == "auto" else log.warning  # only one of the two was asked for
        wanted = "residual" if asked == "auto" else asked
        tell(
            f"--start {wanted} needs equal bands, and {recipe.name_a} has {recipe.bands_a} and "
            f"{recipe.name_b} {recipe.bands_b}: starting from noise"
        )
    if recipe.bands_a != recipe.bands_b and recipe.identity:
        log.info(
            f"the identity loss is off: {recipe.name_a} has {recipe.bands_a} bands, "
            f"{recipe.name_b} {recipe.bands_b}"
        )
    return Start(Config(recipe, _runtime(folder, Config(recipe, Runtime()), request)))


def _wrong_number(flag: str, asked: int, found: int) -> str:
    """What is said of a number of bands that the images do not have, and cannot be given."""
    told = f"{flag} {asked} is a number of bands, and the images have {found}"
    if asked > found:
        return f"{told}: only grey and RGB convert into each other"
    several = ",".join(map(str, range(1, asked + 1))) if asked > 1 else "2,1"
    return f"{told}: to read some of them list them, as {flag} {several}, or one as {flag} {asked},"


def _matching_recipe(folder: Path, old: Recipe, request: Request, facts: DataFacts) -> Recipe:
    """The run's recipe, if the request and the data match it."""
    asked = {name: value for name, value in request.recipe.items() if value or name not in UNSET}
    if request.preset:
        asked["preset"] = request.preset
    if request.epochs is not None:
        asked["steps"] = _steps_of(request.epochs, old)
    # Settled when the run was created; with unequal bands "noise" is the only start: see Recipe.
    if asked.get("start") == "auto" or old.bands_a != old.bands_b:
        asked.pop("start", None)
    if asked.get("precision") == "auto":  # settled, too
        del asked["precision"]
    for name in ("crops", "scaling_a", "scaling_b"):
        if name in asked and _is_settled(asked[name], getattr(old, name)):
            del asked[name]
    if changes := differences(old, require_values(Recipe, asked, "the recipe")):
        raise RunError(
            f"{folder} holds a run of another recipe ({'; '.join(changes)}): "
            "choose another --out, or omit these flags to resume it"
        )
    if request.init and request.init.fingerprint != old.init_fingerprint:
        began = "other weights than --init has now" if old.init_fingerprint else "drawn weights"
        raise RunError(
            f"{shown(folder)} holds a run that started from {began}: omit --init to resume it, or "
            "choose another --out"
        )
    if facts.data_fingerprint != old.data_fingerprint:
        if facts.difference:
            raise RunError(
                f"{shown(folder)} holds a run on other images: {facts.difference} since it was "
                "created: to train on the images as they are now, choose another --out; to resume, "
                "restore them as they were"
            )
        raise RunError(
            f"{shown(folder)} holds a run on other images, or they have changed since it was "
            "created: restore them, or choose another --out"
        )
    return old


def _is_settled(asked: object, settled: str) -> bool:
    """Whether how values are scaled, or crops made, was settled as asked.

    >>> _is_settled("db", "db 0.01:1"), _is_settled("0:9", "linear 0:9 0:9"), _is_settled("0:9", "")
    (True, True, False)
    """
    if asked in ("auto", settled):
        return True
    if asked in ("resize", "native", "full") or not isinstance(asked, str):
        return False
    (curve, ends), (curve_now, ends_now) = parse_scaling(asked), parse_scaling(settled)
    if len(ends) == 1:
        ends *= len(ends_now)
    return curve == curve_now and (not ends or ends == ends_now)


def _runtime(folder: Path, base: Config, request: Request) -> Runtime:
    """The runtime of the folder's config.toml, which users may edit, overridden by the flags."""
    path = folder / "config.toml"
    try:
        text = read_regular(path, _MOST_TEXT).decode("utf-8")
    except FileNotFoundError:
        text = base.to_toml()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {reason_of(error)}") from error
    edited = Config.from_toml(text, str(path))
    if changes := differences(base.recipe, edited.recipe):
        log.warning(
            f"ignoring the [recipe] in {path}: it is not that of this run ({'; '.join(changes)})"
        )
    return override(edited.runtime, request.runtime, "the runtime")


def _steps_of(epochs: float, recipe: Recipe) -> int:
    return max(1, round(epochs * recipe.epoch_steps))
