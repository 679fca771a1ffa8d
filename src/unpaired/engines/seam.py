"""The seam between plain numpy and the frameworks: what an engine is, and its first state.

Rules that keep it tight:
1. Only numpy arrays, floats and the recipe cross it. Images are NHWC in [-1, 1].
2. Randomness is data: it travels inside the Batch. An engine is a deterministic function of
   (state, batch, rate factor).
3. A run is born as a checkpoint, drawn in numpy over the shapes of `state()` (`initial_state`).
4. Losses support `float()` and are converted only when logged.
5. The image pool is part of the engine's state.
6. No optional methods, no capability flags.
7. A missing framework is one clear line.
"""

from collections.abc import Mapping
from typing import Literal, Protocol, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from unpaired.data.batches import Batch
from unpaired.directions import Direction, Domain
from unpaired.streams import INIT, stream

__all__ = [
    "LOSSES",
    "Arrays",
    "Engine",
    "Images",
    "Losses",
    "Translator",
    "initial_state",
]

Images = NDArray[np.float32] | NDArray[np.float64]
Arrays = dict[str, np.ndarray]
Losses = Mapping[str, SupportsFloat]

# The losses every engine reports, before their weights, in this order.
LOSSES = (
    "adversarial_ab",
    "adversarial_ba",
    "cycle_a",
    "cycle_b",
    "identity_a",
    "identity_b",
    "discriminator_a",
    "discriminator_b",
)

INIT_STD = 0.02


class Translator(Protocol):
    """Two generators, ready to translate."""

    @property
    def memory(self) -> Literal["host", "device"]:
        """Whether the networks work in the machine's own memory or in that of a device."""

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes `generator_ab.*` and `generator_ba.*` (one of the two suffices to go one way)."""

    def translate(self, images: Images, direction: Direction) -> Images:
        """Images (N, H, W, bands) in [-1, 1], H and W multiples of 4 from 8, to the other domain.

        The result has the same N, H and W, and the bands of the other domain, float32.
        """


class Engine(Translator, Protocol):
    """Both generators and discriminators, their optimisers and image pools: a training's state.

    It translates with the EMA weights where EMA is on.
    """

    @property
    def shard(self) -> tuple[int, int]:
        """(index, count): which part of each global batch this process feeds."""

    def signature(self) -> str:
        """Framework, version, device and threads: what equality bit for bit depends on."""

    def train_step(self, batch: Batch, rate_factor: float) -> Losses:
        """One update of all four networks; the base rates of the recipe are times `rate_factor`.

        The losses, named as in LOSSES, are means over the batch and without their weights.
        """

    def judge(self, images: Images, domain: Domain) -> NDArray[np.float32]:
        """Scores (N, h, w) of the domain's discriminator, a score a patch; 1 is real, 0 fake."""

    def state(self) -> Arrays:
        """All that a resume needs, under canonical names (docs/concepts.md lists them)."""

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes what `state` gave, from this or another engine."""


def initial_state(shapes: Mapping[str, np.ndarray], seed: int) -> Arrays:
    """The state a run is born with, over the names, shapes and types of `shapes`.

    Convolution weights of all four networks are N(0, 0.02), each drawn from its own stream, so
    that no draw depends on the order of names; everything else is 0; `ema.*` are copies.
    """
    state = {name: np.zeros_like(array) for name, array in shapes.items()}
    weights = sorted(
        name
        for name in state
        if name.startswith(("generator_", "discriminator_")) and name.endswith(".weight")
    )
    for index, name in enumerate(weights):
        draw = stream(seed, INIT, index).normal(0.0, INIT_STD, state[name].shape)
        state[name] = draw.astype(state[name].dtype)
    for name in state:
        if name.startswith("ema."):
            state[name] = state[name.removeprefix("ema.")].copy()
    return state
