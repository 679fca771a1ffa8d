"""The run folder: created, resumed or rejected."""

import contextlib
import math
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
    generators,
    latest_good,
    prune,
    read_header,
    write,
)
from unpaired.config import SETTLED, Config, Recipe, Runtime, differences, override
from unpaired.console import log
from unpaired.engines.seam import Arrays, Engine
from unpaired.errors import CheckpointError, ConfigError, Diverged, RunError
from unpaired.presets import preset
from unpaired.storage import write_text
from unpaired.training.data import DataFacts
from unpaired.training.watch import Remembered

__all__ = [
    "Request",
    "Start",
    "create_or_resume",
    "crop_of",
    "machine",
    "save",
    "settle_steps",
    "write_best",
    "write_config",
]

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

    def __post_init__(self) -> None:
        override(Runtime(), self.runtime, "the runtime")  # rejected before any work
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
        for flag, amount in (("--epochs", self.epochs), ("--minutes", self.minutes)):
            if amount is not None and not 0 < amount < math.inf:
                raise ConfigError(f"{flag} is {amount}: it must be over 0")
        if self.extend < 0:
            raise ConfigError(f"--extend is {self.extend}: it must be at least 0")


@dataclass(frozen=True)
class Start:
    """The point where a training starts: its configuration, and the state of a resumed one."""

    config: Config
    step: int = 0
    arrays: Mapping[str, np.ndarray] | None = None
    pending: Mapping[str, Any] = field(default_factory=dict)
    made_on: str = ""
    extended_from: int | None = None


def crop_of(folder: Path, request: Request) -> int:
    """The side of the crop in pixels: that of the run in `folder` if there is one, else asked."""
    for path in reversed(checkpoints(folder)):
        with contextlib.suppress(CheckpointError):  # create_or_resume reports damaged ones
            return read_header(path).config.recipe.image_size
    return preset(request.preset or "paper", request.recipe).image_size


def create_or_resume(folder: Path, request: Request, facts: DataFacts) -> Start:
    """Resumes the run in `folder` if there is one, and creates one otherwise.

    Raises:
        RunError: the run's recipe or data differ from those of the request; names the differences.
        CheckpointError: there are checkpoints, and none can be read.
    """
    found = latest_good(folder)
    if found is None:
        return _create(folder, request, facts)
    path, header, arrays, errors = found
    for error in errors:
        log.warning(f"{error}; resuming from {path.name} instead")
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
        log.info(f"--minutes was measured when the run was created: {old.steps} steps")
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
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise Diverged(
                f"{name} holds NaN or infinity after step {step}, which was not saved; "
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
    recipe = preset(request.preset or "paper", request.recipe)
    settled = facts.settled(recipe.batch_size, recipe.validation)
    for name, found in (("bands_a", facts.bands_a), ("bands_b", facts.bands_b)):
        asked = getattr(recipe, name) or found
        if asked != found and {asked, found} != {1, 3}:
            raise ConfigError(
                f"--{name.replace('_', '-')} is {asked}, the images have {found}: "
                "only grey and RGB convert into each other"
            )
    unset = {name: settled[name] for name in SETTLED if not request.recipe.get(name)}
    recipe = override(recipe, unset, "the facts of the data")
    return Start(Config(recipe, _runtime(folder, Config(recipe, Runtime()), request)))


def _matching_recipe(folder: Path, old: Recipe, request: Request, facts: DataFacts) -> Recipe:
    """The run's recipe, if the request and the data match it."""
    asked = {name: value for name, value in request.recipe.items() if value or name not in UNSET}
    if request.preset:
        asked["preset"] = request.preset
    if request.epochs is not None:
        asked["steps"] = _steps_of(request.epochs, old)
    if changes := differences(old, override(old, asked, "the recipe")):
        raise RunError(
            f"{folder} holds a run of another recipe ({'; '.join(changes)}): "
            "choose another --out, or omit these flags to resume it"
        )
    if facts.data_fingerprint != old.data_fingerprint:
        raise RunError(
            f"{folder} holds a run on other images, or they have changed since it was created: "
            "restore them, or choose another --out"
        )
    return old


def _runtime(folder: Path, base: Config, request: Request) -> Runtime:
    """The runtime of the folder's config.toml, which users may edit, overridden by the flags."""
    path = folder / "config.toml"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else base.to_toml()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    edited = Config.from_toml(text, str(path))
    if changes := differences(base.recipe, edited.recipe):
        log.warning(
            f"ignoring the [recipe] in {path}: it is not that of this run ({'; '.join(changes)})"
        )
    return override(edited.runtime, request.runtime, "the runtime")


def _steps_of(epochs: float, recipe: Recipe) -> int:
    return max(1, round(epochs * recipe.epoch_steps))
