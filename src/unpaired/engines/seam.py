"""The seam between plain numpy and the frameworks: what an engine offers, and its initial state.

Rules that keep it tight:
1. Only numpy arrays, floats and the recipe cross it. Images are NHWC in [-1, 1].
2. Randomness is data: it travels inside the Batch. An engine is a deterministic function of
   (state, batch, rate factor).
3. A run is initialised as a checkpoint, drawn in numpy over the shapes of `state()`
   (`initial_state`).
4. Losses support `float()` and are converted only when logged.
5. The image pool is part of the engine's state.
6. No optional methods, no capability flags.
7. A missing framework is one clear line, and so is a device without enough memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from unpaired.config import LOSS_KINDS, Recipe
from unpaired.data.batches import Batch
from unpaired.directions import DIRECTIONS, DOMAINS, Direction, Domain, source_of, target_of
from unpaired.engines.architecture import (
    INIT_STD,
    Layer,
    discriminator_layers,
    generator_layers,
    parameter_count,
)
from unpaired.errors import CheckpointError, ConfigError, TooLarge
from unpaired.streams import INIT, stream

__all__ = [
    "LOSSES",
    "Arrays",
    "Engine",
    "Images",
    "Losses",
    "Networks",
    "Translator",
    "discriminators_of",
    "generators_of",
    "in_range",
    "initial_state",
    "lanes_of",
    "memory_errors",
    "parts_of",
    "pixel_weights",
    "require_filled",
    "require_fit",
    "shared_pixel_weights",
]

Images = NDArray[np.float32] | NDArray[np.float64]
Arrays = dict[str, np.ndarray]
Losses = Mapping[str, SupportsFloat]

# The losses that engines report, before their weights: adversarial_ab, ..., discriminator_b.
LOSSES = tuple(f"{kind}_{side}" for kind, sides in LOSS_KINDS.items() for side in sides)


class Networks(Protocol):
    """Two generators that translate. Every method raises TooLarge where memory runs out."""

    @property
    def memory(self) -> Literal["host", "device"]:
        """Where the networks' memory is: in the machine's own, or in that of a device."""

    def translate(self, images: Images, direction: Direction) -> Images:
        """Translates images (N, H, W, bands) in [-1, 1]; H and W are multiples of 4 from 8.

        The result has the same N, H and W, and the bands of the other domain, float32.
        """


class Translator(Networks, Protocol):
    """The generators alone, which may compute in several ways."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Ways to compute of which one may be the fastest here, "trained" first.

        "trained" is what the training computes. The other names begin with "fp32", "bf16" or
        "mixed", the precision of convolutions.
        """

    def use(self, method: str) -> None:
        """Translates from now on in that way: one of `methods`, or "fp32" or "bf16" in any case."""

    def release(self, *kept: str) -> None:
        """Frees what was prepared for methods other than `kept`."""

    def signature(self) -> str:
        """Framework, version, device and threads, as of an engine."""

    def load_generators(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes `generator_ab.*` and `generator_ba.*`; one of the two suffices for its direction.

        Raises:
            CheckpointError: a generator lacks a weight, or one has another shape.
        """


class Engine(Networks, Protocol):
    """Both generators and discriminators, their optimisers and image pools: a training's state.

    It translates with the EMA weights where EMA is on.
    """

    @property
    def shard(self) -> tuple[int, int]:
        """(index, count): which part of each global batch this process feeds."""

    def signature(self) -> str:
        """Framework, version, device and threads: what equality bit for bit depends on."""

    def train_step(self, batch: Batch, rate_factor: float) -> Losses:
        """Updates all four networks once, at the recipe's learning rates times `rate_factor`.

        The losses, named as in LOSSES, are means over the batch and without their weights. Of
        several processes each calls it with its share, as each calls `state` and `load`.
        """

    def judge(self, images: Images, domain: Domain) -> NDArray[np.float32]:
        """Scores (N, h, w) of the domain's discriminator, one per patch; 1 is real, 0 fake."""

    def state(self) -> Arrays:
        """Everything a resume needs, under canonical names (docs/concepts.md lists them).

        Of several processes the first gets it whole; the others have their own lanes of the pools.
        """

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes a whole state, as `state` of this or another engine gave it.

        Of several processes all take that of the first; what the others give is ignored.

        Raises:
            CheckpointError: a name is missing or unexpected, or an array has another shape.
        """


def generators_of(recipe: Recipe) -> dict[str, tuple[Layer, ...]]:
    """The layers of both generators of a recipe by their names, `generator_ab` first."""
    return {
        f"generator_{direction}": generator_layers(
            recipe.domains[source_of(direction)].bands,
            recipe.domains[target_of(direction)].bands,
            width=recipe.width,
            blocks=recipe.blocks,
            upsample=recipe.upsample,
            norm=recipe.norm,
            start="noise" if recipe.start == "auto" else recipe.start,
        )
        for direction in DIRECTIONS
    }


def discriminators_of(recipe: Recipe) -> dict[str, tuple[Layer, ...]]:
    """The layers of both discriminators of a recipe by their names, `discriminator_a` first."""
    return {
        f"discriminator_{domain}": discriminator_layers(
            facts.bands,
            width=recipe.discriminator_width,
            layers=recipe.discriminator_layers,
            norm=recipe.discriminator_norm,
        )
        for domain, facts in recipe.domains.items()
    }


def initial_state(shapes: Mapping[str, np.ndarray], recipe: Recipe) -> Arrays:
    """Initialises a state of `recipe` over the names, shapes and types of `shapes`.

    Weights of all four networks are normal, of the deviation that architecture.py has for their
    layer: 0.02 in 2017. Each is drawn from its own stream, so that no draw depends on the order of
    names; everything else is 0; `ema.*` are copies.
    """
    networks = generators_of(recipe) | discriminators_of(recipe)
    deviations = {
        f"{network}.{layer.name}.weight": layer.std
        for network, layers in networks.items()
        for layer in layers
    }
    state = {name: np.zeros_like(array) for name, array in shapes.items()}
    weights = sorted(
        name
        for name in state
        if name.startswith(("generator_", "discriminator_")) and name.endswith(".weight")
    )
    for index, name in enumerate(weights):
        if std := deviations.get(name, INIT_STD):
            draw = stream(recipe.seed, INIT, index).normal(0.0, std, state[name].shape)
            state[name] = draw.astype(state[name].dtype)
    for name in state:
        if name.startswith("ema."):
            state[name] = state[name.removeprefix("ema.")].copy()
    return state


def in_range(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images as they leave an engine: clipped to [-1, 1], in place.

    In training nothing is clipped, since a clipped pixel has no gradient.
    """
    return np.clip(images, -1, 1, out=images)


def require_fit(
    shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray], *, whole: bool
) -> None:
    """Requires an array for every name of `shapes`, of that shape; with `whole` no others either.

    Raises:
        CheckpointError: they do not fit; the message names the first that does not.
    """
    problems = [f"{name} is unexpected" for name in sorted(arrays.keys() - shapes) if whole]
    problems += [f"{name} is missing" for name in sorted(shapes.keys() - arrays)]
    problems += [
        f"{name} has shape {arrays[name].shape}, expected {shape}"
        for name, shape in shapes.items()
        if name in arrays and arrays[name].shape != shape
    ]
    if problems:
        raise CheckpointError(f"the state does not fit the recipe: {problems[0]}")


_UNFILLED = 10_000_000  # parameters that may be built and then found not to fit


def require_filled(recipe: Recipe, arrays: Mapping[str, np.ndarray], *, whole: bool) -> None:
    """Requires that `arrays` can fill the networks of `recipe`, by their number alone.

    It takes no memory, so that a recipe of networks without end is found before they are built;
    `require_fit` then looks at each name. Without `whole` one generator suffices.

    Raises:
        CheckpointError: the networks have far more parameters than the arrays have numbers.
    """
    networks = generators_of(recipe) | (discriminators_of(recipe) if whole else {})
    needed, found = sum(map(parameter_count, networks.values())), sum(map(np.size, arrays.values()))
    if needed > 2 * found + _UNFILLED:
        raise CheckpointError(
            f"the state does not fit the recipe: its networks have {needed:,} parameters, the file "
            f"has {found:,} numbers"
        )


def parts_of(batch_size: int, count: int) -> list[slice]:
    """The lanes of a batch in `count` equal parts, whose gradients are computed one after another.

    >>> parts_of(4, 2)
    [slice(0, 2, None), slice(2, 4, None)]

    Raises:
        ConfigError: they would not be equal.
    """
    if batch_size % count:
        raise ConfigError(
            f"--accumulate {count} does not divide --batch-size {batch_size} (of each process): "
            "give a divisor"
        )
    size = batch_size // count
    return [slice(start, start + size) for start in range(0, batch_size, size)]


def pixel_weights(batch: Batch) -> dict[str, Images]:
    """The weights (N, H, W, 1) of the pixels of a batch in its losses; empty where all count alike.

    "a" and "b" are those of cycle and identity losses of a domain: 0 without data, else equal, and
    1 on average over the batch, so that a mean of weighted errors is that over pixels with data.
    "seen" is 1 for the pixels that discriminators see (`Batch.seen`), else 0.
    """
    if (seen := batch.seen) is None:
        return {}
    kind = batch.real_a.dtype
    weights: dict[str, Images] = {
        domain: (valid * (valid.size / max(int(valid.sum()), 1)))[..., np.newaxis].astype(kind)
        for domain, valid in batch.valid.items()
    }
    return weights | {"seen": seen[..., np.newaxis].astype(kind)}


def shared_pixel_weights(
    batch: Batch, total: Callable[[Sequence[float]], Sequence[float]]
) -> dict[str, Images]:
    """`pixel_weights` where `batch` is a share: "a" and "b" are 1 on average over the whole batch.

    `total` gives the sums of numbers over all processes, which call it together; all of them have
    weights, or none.
    """
    pixels = batch.real_a[..., 0].size
    own = [int(batch.valid[d].sum()) if batch.valid else pixels for d in DOMAINS]
    *counts, whole = total([*own, pixels])
    if all(count == whole for count in counts):
        return {}
    kind, everywhere = batch.real_a.dtype, np.ones(batch.real_a.shape[:3], bool)
    valid = batch.valid or dict.fromkeys(DOMAINS, everywhere)
    weights: dict[str, Images] = {
        domain: (valid[domain] * (whole / max(count, 1)))[..., np.newaxis].astype(kind)
        for domain, count in zip(DOMAINS, counts, strict=True)
    }
    return weights | {"seen": (valid["a"] & valid["b"])[..., np.newaxis].astype(kind)}


def lanes_of(batch_size: int, processes: int) -> list[slice]:
    """The lanes of a batch that each of several processes has.

    >>> lanes_of(4, 2)
    [slice(0, 2, None), slice(2, 4, None)]

    Raises:
        ConfigError: the shares would not be equal.
    """
    if batch_size % processes:
        raise ConfigError(
            f"--batch-size {batch_size} cannot be divided among {processes} processes: give a "
            "multiple"
        )
    return parts_of(batch_size, processes)


_ADVICE = {
    "translate": "use a smaller --working-size",
    "judge": "use smaller images",
    "train on": "use a larger --accumulate, or a smaller --batch-size, --image-size or --width",
}


@contextmanager
def memory_errors(
    task: Literal["translate", "judge", "train on"],
    images: Images,
    exhausted: Callable[[Exception], bool],
) -> Iterator[None]:
    """Raises TooLarge in place of an error that says that memory ran out at a task on `images`.

    `exhausted` recognises the framework's errors of this kind; Python's own is always one.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and not exhausted(error):
            raise
        count, height, width = images.shape[:3]
        these = "an image" if count == 1 else f"{count} images"
        raise TooLarge(
            f"the device has too little memory to {task} {these} of {width} x {height} pixels: "
            f"{_ADVICE[task]}"
        ) from error
