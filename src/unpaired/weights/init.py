"""The weights that a training starts from instead of drawn ones: `--init`, for fine-tuning.

What exists is taken: generators, discriminators, and of a run with a checkpoint Adam's moments.
What is missing stays as it was drawn. All is by canonical names, so any engine starts from the
weights of any other.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unpaired import checkpoint
from unpaired.config import Config, Recipe
from unpaired.console import counted, log
from unpaired.engines.architecture import Layer
from unpaired.engines.seam import Arrays, discriminators_of, generators_of, require_filled
from unpaired.errors import (
    CheckpointError,
    ConfigError,
    RunError,
    UnpairedError,
    reason_of,
    shown,
)
from unpaired.hub.download import HubAddress, is_hub, local_model
from unpaired.presets import PRESETS, preset

__all__ = ["InitModel", "asked_recipe", "begin_from", "find_init", "read_init"]

# The fields of a recipe that the networks of a file decide.
GENERATOR_FIELDS = ("width", "blocks", "upsample", "start", "norm")
DISCRIMINATOR_FIELDS = ("discriminator_width", "discriminator_layers", "discriminator_norm")

# The parameters whose shape depends on the bands, and the axis that does.
_BANDS = {"stem.weight": 1, "head.weight": 0, "head.bias": 0, "layers.0.weight": 1}
_SWAPPED = {"ab": "ba", "ba": "ab", "a": "b", "b": "a"}


@dataclass(frozen=True, eq=False)
class InitModel:
    """The networks of a file to start a training from.

    `given` is what messages name it by. `arrays` are the weights and state of its networks by
    canonical names; of a run with a checkpoint all that a resume needs. `fingerprint` tells them
    from others: 16 hexadecimal digits of their SHA-256.
    """

    given: str
    config: Config
    step: int
    fingerprint: str
    arrays: Arrays = field(repr=False)

    @property
    def start(self) -> str:
        """What its generators gave before their training: see architecture.Start."""
        return self.config.recipe.settled_start

    def recipe(self, name: str | None, values: Mapping[str, object]) -> Recipe:
        """The recipe of a training from it: a preset, the user's values, and its architecture.

        Args:
            name: the preset; None: that of the model.
            values: the user's values of the recipe. Those of discriminators may contradict the
                model's, which then start fresh.

        Raises:
            ConfigError: a value contradicts the generators, or is out of its range.
        """
        old = self.config.recipe
        shape = {item: getattr(old, item) for item in GENERATOR_FIELDS} | {"start": self.start}
        for item, own in shape.items():
            asked = values.get(item, own)
            if asked != own and (item, asked) != ("start", "auto"):
                flag = f"--{item.replace('_', '-')}"
                raise ConfigError(
                    f"{flag} {asked} contradicts --init {self.given}, whose generators have "
                    f"{flag} {own}: omit {flag}, or omit --init"
                )
        if any(name.startswith("discriminator_") for name in self.arrays):
            same = {item: getattr(old, item) for item in DISCRIMINATOR_FIELDS}
            if all(values.get(item, own) == own for item, own in same.items()):
                shape |= same
        known = old.preset if old.preset in PRESETS else "paper"
        return preset(name or known, {**values, **shape})


def find_init(path: str | Path | None, *, resuming: bool) -> InitModel | None:
    """The model that a training is to start from; None: it draws its weights.

    A run that is resumed has its weights, so it does not need the file any more.

    Raises:
        CheckpointError, RunError: see `read_init`.
    """
    if path is None:
        return None
    try:
        return read_init(path)
    except UnpairedError as error:
        if not resuming:
            raise
        log.info(f"resuming without --init, whose weights the run has: {error}")
        return None


def read_init(path: str | Path) -> InitModel:
    """Reads a run folder (its newest checkpoint, else its model), a model or a checkpoint.

    The model may be one of a hub, by its address.

    Raises:
        CheckpointError: missing, damaged or foreign, or without a generator that fits its recipe.
        RunError: the system gives no access to it, or it needs more memory than is free.
    """
    given = str(HubAddress.parse(path)) if is_hub(path) else shown(path)
    path = local_model(path)
    if path.suffix.lower() in (".pth", ".pt"):
        raise CheckpointError(
            f"--init {given} is a file of the original code: import it first, "
            f"`unpaired import {given} --out model.safetensors`"
        )
    if path.suffix.lower() == ".onnx":
        raise CheckpointError(
            f"--init {given} is an exported file: give the model it was exported from"
        )
    try:
        found = checkpoint.latest_good(path) if path.is_dir() else None
        if found:
            header, arrays = found[1:3]
        else:
            header, arrays = checkpoint.read(path / "model.safetensors" if path.is_dir() else path)
    except OSError as error:
        raise RunError(f"cannot read {given}: {reason_of(error)}") from error
    require_filled(header.config.recipe, arrays, whole=False)
    model = InitModel(given, header.config, header.step, _fingerprint(arrays), arrays)
    networks = generators_of(header.config.recipe) | discriminators_of(header.config.recipe)
    taken = {name for name in networks if _has(arrays, name)}
    if not any(name.startswith("generator_") for name in taken):
        raise CheckpointError(f"--init {given} holds no generator: give a run or its model")
    for name in taken:
        for parameter, shape in _parameters(networks[name]).items():
            array = arrays.get(f"{name}.{parameter}")
            if array is None or array.shape != shape:
                raise CheckpointError(
                    f"--init {given} does not fit its own recipe: {name}.{parameter} "
                    + ("is missing" if array is None else f"has shape {array.shape}, not {shape}")
                )
    return model


def asked_recipe(init: InitModel | None, name: str | None, values: Mapping[str, object]) -> Recipe:
    """The recipe that a preset and the user's values ask for, from `init` if there is one.

    Raises:
        ConfigError: see `InitModel.recipe` and `preset`.
    """
    return init.recipe(name, values) if init else preset(name or "paper", values)


def begin_from(init: InitModel, drawn: Arrays, recipe: Recipe) -> tuple[Arrays, str]:
    """The first state of a training of `recipe` from the networks of `init`, and a line on it.

    Args:
        init: the networks to start from.
        drawn: the state as `initial_state` drew it, of which that stays which `init` lacks.
        recipe: of the training, made by `InitModel.recipe` and settled by the data.

    If all four networks come as they are, the state is that of the init's checkpoint, where it has
    one: the last weights, their EMA, Adam's moments and the number of updates, which the moments
    belong to. Otherwise the weights that translate are taken, and the moments start at 0. The pools
    start empty. If the data have the names of the model's domains in the other order, its networks
    change places. A first or last layer for other bands is averaged over the old ones, so that
    what it gives for an image of equal bands stays; the last one of a model that adds to its input
    (any `start` but "noise") is drawn again where the bands of the two domains differ.
    """
    old = init.config.recipe
    swapped = (recipe.name_a, recipe.name_b) == (old.name_b, old.name_a)
    source = _renamed(init.arrays) if swapped else dict(init.arrays)
    translating = {n.removeprefix("ema."): a for n, a in source.items() if n.startswith("ema.")}
    before = generators_of(old) | discriminators_of(old)
    networks = generators_of(recipe) | discriminators_of(recipe)
    taken, fresh, averaged = [], [], []
    state = dict(drawn)
    for name, layers in networks.items():
        # Discriminators of another architecture were asked for: they start fresh.
        if not _has(source, name) or _inside(layers) != _inside(before[name]):
            fresh.append(name)
            continue
        taken.append(name)
        for parameter, shape in _parameters(layers).items():
            full = f"{name}.{parameter}"
            array = translating.get(full, source[full])
            is_head = parameter.startswith("head.") and name.startswith("generator_")
            if is_head and init.start != recipe.settled_start:
                fresh.append(full)
                continue
            if array.shape != shape:
                array = _for_bands(array, shape, _BANDS[parameter])
                averaged.append(full)
            state[full] = array.astype(drawn[full].dtype)
    whole = not fresh and not averaged and any(n.startswith("moment1.") for n in source)
    if whole:
        kept = {n for n in drawn if not n.startswith(("pool_", "ema."))} & source.keys()
        state |= {n: source[n].astype(drawn[n].dtype) for n in kept}
    for name in (n for n in drawn if n.startswith("ema.")):
        last = name.removeprefix("ema.")
        state[name] = translating.get(last, state[last]).astype(drawn[name].dtype)
        if not whole:
            state[name] = state[last].copy()
    return state, _told(init, recipe, swapped, taken, fresh, averaged, whole)


def _told(
    init: InitModel,
    recipe: Recipe,
    swapped: bool,
    taken: list[str],
    fresh: list[str],
    averaged: list[str],
    whole: bool,
) -> str:
    """What was taken, what is fresh and what was averaged, in one line."""
    old = init.config.recipe
    now = {"a": recipe.name_a, "b": recipe.name_b}
    names = (old.name_b, old.name_a) if swapped else (old.name_a, old.name_b)
    renamed = [
        f"{before} is now {now[domain]}"
        for domain, before in zip("ab", names, strict=True)
        if before != now[domain]
    ]
    step = f", {counted(init.step, 'step')}" if init.step else ""
    parts = [f"starting from {init.given}{step}: {', '.join(taken)}"]
    if swapped:
        parts.append(f"its a and b change places, as {now['a']} and {now['b']} are named")
    if renamed:
        parts.append(" and ".join(renamed))
    if averaged:
        parts.append(f"averaged over its bands: {', '.join(averaged)}")
    parts.append(f"fresh: {', '.join([*fresh, *([] if whole else ['Adam moments'])]) or 'nothing'}")
    return "; ".join(parts)


def _for_bands(array: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """A layer's parameter for another number of bands, each the average of the old ones.

    The sum over bands that are read is kept, and so is each band that is given.

    >>> _for_bands(np.array([[3.0, 6.0, 9.0]]), (1, 1), 1)
    array([[18.]])
    >>> _for_bands(np.array([3.0, 6.0, 9.0]), (2,), 0)
    array([6., 6.])
    """
    mean = array.mean(axis, keepdims=True)
    if axis == 1:
        mean = mean * (array.shape[1] / shape[1])
    return np.repeat(mean, shape[axis], axis)


def _parameters(layers: tuple[Layer, ...]) -> dict[str, tuple[int, ...]]:
    return {name: shape for layer in layers for name, shape in layer.parameters.items()}


def _inside(layers: tuple[Layer, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """All of a network's architecture that does not depend on its bands."""
    return [
        (name, tuple(n for axis, n in enumerate(shape) if axis != _BANDS.get(name)))
        for name, shape in _parameters(layers).items()
    ]


def _has(arrays: Mapping[str, np.ndarray], network: str) -> bool:
    return any(name.startswith(f"{network}.") for name in arrays)


def _renamed(arrays: Arrays) -> Arrays:
    """A state with the networks of the two directions, and of the two domains, in place of each
    other."""
    found = {}
    for name, array in arrays.items():
        head, dot, rest = name.rpartition(
            "generator_" if "generator_" in name else "discriminator_"
        )
        if dot:
            side, _, parameter = rest.partition(".")
            name = f"{head}{dot}{_SWAPPED[side]}.{parameter}"
        found[name] = array
    return found


def _fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()[:16]
