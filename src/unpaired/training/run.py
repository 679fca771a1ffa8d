"""The run folder: born, gone on with, or refused."""

import contextlib
import dataclasses
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
from unpaired.engines.seam import Engine
from unpaired.errors import CheckpointError, ConfigError, Diverged, RunError
from unpaired.storage import explain_os_error, write_text
from unpaired.training.intake import Facts

__all__ = ["Start", "Wish", "crop_of", "find_start", "save", "settle_steps", "write_config"]

Say = Callable[[str], None]


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
                "--steps": self.recipe.get("steps"),
                "--epochs": self.epochs,
                "--minutes": self.minutes,
            }.items()
            if value is not None
        ]
        if len(asked) > 1:
            raise ConfigError(f"{' and '.join(asked)} say the same thing: give one of them")
        for flag, amount in (("--epochs", self.epochs), ("--minutes", self.minutes)):
            if amount is not None and not amount > 0:
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
        return _begin(folder, wish, facts)
    path, header, arrays, errors = found
    for error in errors:
        say(f"{error}; going on from {path.name} instead")
    old = header.config.recipe
    now = _compare(folder, old, wish, facts)
    extended_from = None
    if wish.extend:
        extended_from = now.steps
        now = dataclasses.replace(now, steps=now.steps + wish.extend)
    if wish.minutes:
        say(f"--minutes was settled when the run began: {old.steps} steps")
    runtime = _runtime(folder, header.config.runtime, wish)
    return Start(
        Config(now, runtime), header.step, arrays, header.pending, header.made_on, extended_from
    )


def save(folder: Path, config: Config, engine: Engine, step: int, pending: str) -> None:
    """Writes the checkpoint after `step` steps and the model of it; old checkpoints go.

    Raises:
        Diverged: the state holds NaN or infinity; nothing is written.
        RunError: the system refuses to write; earlier checkpoints stand.
    """
    state = engine.state()
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise Diverged(
                f"{name} holds NaN or infinity after step {step}: nothing of this was saved, "
                f"the checkpoints in {folder / 'checkpoints'} stand; "
                "start anew with a lower --learning-rate or --precision fp32"
            )
    made_on = machine(engine)
    weights: Literal["ema", "last"] = "ema" if config.recipe.ema else "last"
    prefix = "ema." if config.recipe.ema else ""
    model = {name: state[prefix + name] for name in state if name.startswith("generator_")}
    write(
        folder / "model.safetensors",
        Header("model", config, step, weights=weights, made_on=made_on),
        model,
    )
    # Last, so that a run that ends here has its model: what was killed before is done again.
    header = Header("checkpoint", config, step, pending=pending, made_on=made_on)
    write(checkpoint_path(folder, step), header, state)
    prune(folder, config.runtime.keep)


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
        return dataclasses.replace(recipe, steps=steps, schedule="linear")
    if recipe.steps == 0:
        return dataclasses.replace(recipe, steps=200 * recipe.epoch_steps)
    if "steps" in wish.recipe and "schedule" not in wish.recipe:
        # A number of steps is seldom whole epochs, so the rates fall step by step.
        return dataclasses.replace(recipe, schedule="linear")
    return recipe


def _begin(folder: Path, wish: Wish, facts: Facts) -> Start:
    if wish.extend:
        raise RunError(f"{folder} has no run to extend: leave --extend away to begin one")
    recipe = preset(wish.preset or "paper", wish.recipe)
    settled = facts.settled(recipe.batch_size)
    open_yet = {name: settled[name] for name in SETTLED if name not in wish.recipe}
    recipe = override(recipe, open_yet, "the facts of the data")
    return Start(Config(recipe, _runtime(folder, Runtime(), wish)))


def _compare(folder: Path, old: Recipe, wish: Wish, facts: Facts) -> Recipe:
    """The run's recipe, if what is asked now and what the data are now agree with it."""
    asked: dict[str, object] = dict(wish.recipe)
    if wish.preset:
        left_open = {*SETTLED, "steps", "schedule"} - set(wish.recipe)
        chosen = dataclasses.asdict(preset(wish.preset, wish.recipe))
        asked = {name: value for name, value in chosen.items() if name not in left_open}
    if wish.epochs is not None:
        asked["steps"] = _steps_of(wish.epochs, old)
    asked["data_fingerprint"] = facts.data_fingerprint
    changes = differences(old, override(old, asked, "the recipe"))
    if changes:
        raise RunError(
            f"{folder} holds a run of another recipe ({'; '.join(changes)}): "
            "choose another --out, or leave these flags away to go on with it"
        )
    return old


def _runtime(folder: Path, base: Runtime, wish: Wish) -> Runtime:
    """The runtime of the folder's config.toml (which people may edit), and the flags over it."""
    path = folder / "config.toml"
    try:
        if path.exists():
            base = Config.from_toml(path.read_text(encoding="utf-8"), str(path)).runtime
    except OSError as error:
        raise explain_os_error(error, path) from error
    return override(base, wish.runtime, "the runtime")


def _steps_of(epochs: float, recipe: Recipe) -> int:
    return max(1, round(epochs * recipe.epoch_steps))
