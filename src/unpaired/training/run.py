"""The run folder: born, gone on with, or refused."""

import contextlib
import dataclasses
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unpaired.checkpoint import (
    Header,
    checkpoint_path,
    checkpoints,
    latest_good,
    prune,
    read_header,
    write,
)
from unpaired.config import SETTLED, Config, Recipe, Runtime, differences, override, preset
from unpaired.engines.seam import Arrays, Engine
from unpaired.errors import CheckpointError, ConfigError, Diverged, RunError
from unpaired.storage import write_text
from unpaired.training.data import Facts
from unpaired.training.watch import Remembered

__all__ = [
    "Say",
    "Start",
    "Wish",
    "crop_of",
    "find_start",
    "save",
    "settle_steps",
    "write_best",
    "write_config",
]

Say = Callable[[str], None]

# Fields whose 0 leaves the choice to the data.
UNSET = ("steps", "bands_a", "bands_b", "depth_a", "depth_b")


@dataclass(frozen=True)
class Wish:
    """What the user asked of a training; None and absent keys leave the choice to us."""

    preset: str | None
    recipe: Mapping[str, object]
    runtime: Mapping[str, object]
    epochs: float | None = None
    minutes: float | None = None
    extend: int = 0

    def __post_init__(self) -> None:
        override(Runtime(), self.runtime, "the runtime")  # refused before any work
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
            raise ConfigError(f"{' and '.join(asked)} say the same thing: give one of them")
        for flag, amount in (("--epochs", self.epochs), ("--minutes", self.minutes)):
            if amount is not None and not 0 < amount < math.inf:
                raise ConfigError(f"{flag} is {amount}: it must be over 0")
        if self.extend < 0:
            raise ConfigError(f"--extend is {self.extend}: it must be at least 0")


@dataclass(frozen=True)
class Start:
    """Where a training begins: its configuration, and a state unless it is new."""

    config: Config
    step: int = 0
    arrays: Mapping[str, np.ndarray] | None = None
    pending: str = "{}"
    made_on: str = ""
    extended_from: int | None = None


def crop_of(folder: Path, wish: Wish) -> int:
    """Side of the crop in pixels: of the run in `folder` where there is one, else as asked."""
    for path in reversed(checkpoints(folder)):
        with contextlib.suppress(CheckpointError):  # find_start tells of damaged ones
            return read_header(path).config.recipe.image_size
    return preset(wish.preset or "paper", wish.recipe).image_size


def find_start(folder: Path, wish: Wish, facts: Facts, say: Say) -> Start:
    """Goes on with the run in `folder` where there is one, begins one otherwise.

    Raises:
        RunError: the run's recipe or data differ from what is asked now, the differences named.
        CheckpointError: there are checkpoints, and none can be read.
    """
    found = latest_good(folder)
    if found is None:
        return _begin(folder, wish, facts, say)
    path, header, arrays, errors = found
    for error in errors:
        say(f"{error}; going on from {path.name} instead")
    old = header.config.recipe
    now = _compare(folder, old, wish, facts)
    extended_from = None
    if wish.extend:
        if header.step < old.steps and not Remembered.from_pending(header.pending).stopped:
            raise RunError(
                f"{folder} is not finished (step {header.step} of {old.steps}): "
                "leave --extend away to go on with it"
            )
        extended_from = header.step  # which is under the old total where it stopped early
        now = dataclasses.replace(now, steps=header.step + wish.extend)
    if wish.minutes:
        say(f"--minutes was settled when the run began: {old.steps} steps")
    runtime = _runtime(folder, header.config, wish, say)
    return Start(
        Config(now, runtime), header.step, arrays, header.pending, header.made_on, extended_from
    )


def save(folder: Path, config: Config, engine: Engine, step: int, pending: str) -> None:
    """Writes the checkpoint after `step` steps and the model of it; old checkpoints go.

    Raises:
        Diverged: the state holds NaN or infinity; nothing is written.
        RunError: the system refuses to write; earlier checkpoints stand.
    """
    state = _finite_state(folder, engine, step)
    _write_model(folder / "model.safetensors", config, engine, step, state)
    # Last, so that a run that ends here has its model: what was killed before is done again.
    header = Header("checkpoint", config, step, pending=pending, made_on=machine(engine))
    write(checkpoint_path(folder, step), header, state)
    prune(folder, config.runtime.keep, step)


def write_best(folder: Path, config: Config, engine: Engine, step: int) -> None:
    """Writes the model of this moment as the best so far. Raises as `save`."""
    state = _finite_state(folder, engine, step)
    _write_model(folder / "best.safetensors", config, engine, step, state)


def _finite_state(folder: Path, engine: Engine, step: int) -> Arrays:
    state = engine.state()
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise Diverged(
                f"{name} holds NaN or infinity after step {step}: nothing of this was saved, "
                f"the checkpoints in {folder / 'checkpoints'} stand; "
                "start anew with a lower --learning-rate or --precision fp32"
            )
    return state


def _write_model(path: Path, config: Config, engine: Engine, step: int, state: Arrays) -> None:
    """The generators of a state: their running mean where there is one."""
    weights: Literal["ema", "last"] = "ema" if config.recipe.ema else "last"
    prefix = "ema." if config.recipe.ema else ""
    model = {name: state[prefix + name] for name in state if name.startswith("generator_")}
    write(path, Header("model", config, step, weights=weights, made_on=machine(engine)), model)


def machine(engine: Engine) -> str:
    """What equality bit for bit depends on: framework, device, threads, processor."""
    return f"{engine.signature()}, {platform.machine()}"


def write_config(folder: Path, config: Config) -> None:
    """Writes config.toml: what was asked, complete."""
    write_text(folder / "config.toml", config.to_toml())


def settle_steps(recipe: Recipe, wish: Wish, seconds_per_step: Callable[[], float]) -> Recipe:
    """The recipe with its total steps: as asked, or by the preset, or measured for --minutes."""
    if wish.epochs is not None:
        return dataclasses.replace(recipe, steps=_steps_of(wish.epochs, recipe))
    if wish.minutes is not None:
        steps = max(1, round(wish.minutes * 60 / seconds_per_step()))
        # Steps by the clock are seldom whole epochs, so the rates fall step by step.
        schedule = recipe.schedule if "schedule" in wish.recipe else "linear"
        return dataclasses.replace(recipe, steps=steps, schedule=schedule)
    if recipe.steps == 0:
        return dataclasses.replace(recipe, steps=200 * recipe.epoch_steps)
    if "steps" in wish.recipe and "schedule" not in wish.recipe:
        return dataclasses.replace(recipe, schedule="linear")
    return recipe


def _begin(folder: Path, wish: Wish, facts: Facts, say: Say) -> Start:
    if wish.extend:
        raise RunError(f"{folder} has no run to extend: leave --extend away to begin one")
    recipe = preset(wish.preset or "paper", wish.recipe)
    settled = facts.settled(recipe.batch_size, recipe.validation)
    for name, found in (("bands_a", facts.bands_a), ("bands_b", facts.bands_b)):
        asked = getattr(recipe, name) or found
        if asked != found and {asked, found} != {1, 3}:
            raise ConfigError(
                f"--{name.replace('_', '-')} is {asked}, the images have {found}: "
                "only grey and RGB convert into each other"
            )
    open_yet = {name: settled[name] for name in SETTLED if not wish.recipe.get(name)}
    recipe = override(recipe, open_yet, "the facts of the data")
    return Start(Config(recipe, _runtime(folder, Config(recipe, Runtime()), wish, say)))


def _compare(folder: Path, old: Recipe, wish: Wish, facts: Facts) -> Recipe:
    """The run's recipe, if what is asked now and what the data are now agree with it."""
    asked = {name: value for name, value in wish.recipe.items() if value or name not in UNSET}
    if wish.preset:
        asked["preset"] = wish.preset
    if wish.epochs is not None:
        asked["steps"] = _steps_of(wish.epochs, old)
    if changes := differences(old, override(old, asked, "the recipe")):
        raise RunError(
            f"{folder} holds a run of another recipe ({'; '.join(changes)}): "
            "choose another --out, or leave these flags away to go on with it"
        )
    if facts.data_fingerprint != old.data_fingerprint:
        raise RunError(
            f"{folder} holds a run on other images, or they have changed since it began: "
            "bring them back, or choose another --out"
        )
    return old


def _runtime(folder: Path, base: Config, wish: Wish, say: Say) -> Runtime:
    """The runtime of the folder's config.toml (which people may edit), and the flags over it."""
    path = folder / "config.toml"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else base.to_toml()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    edited = Config.from_toml(text, str(path))
    if changes := differences(base.recipe, edited.recipe):
        say(f"the [recipe] in {path} is not that of this run ({'; '.join(changes)}): not used")
    return override(edited.runtime, wish.runtime, "the runtime")


def _steps_of(epochs: float, recipe: Recipe) -> int:
    return max(1, round(epochs * recipe.epoch_steps))
