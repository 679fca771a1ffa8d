"""The engine `jax` of the seam: devices, precision, and the state by its canonical names.

The training step itself is a pure function in jax_step.py.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from unpaired.config import Recipe, Runtime
from unpaired.data.batches import Batch, PoolPlan
from unpaired.directions import Direction, Domain
from unpaired.engines.jax.networks import Discriminator, Generator
from unpaired.engines.jax.step import (
    State,
    forward,
    make_generators,
    make_state,
    train_step,
)
from unpaired.engines.seam import LOSSES, Arrays, Images, Losses
from unpaired.errors import CheckpointError, ConfigError

__all__ = ["JaxEngine", "JaxTranslator"]

Tree = TypeVar("Tree")


class JaxTranslator:
    """The two generators, for translation alone. See seam.Translator."""

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        self.recipe = recipe
        self.threads = settle_threads(runtime.threads)
        self.devices = find_devices(runtime.device)
        self.dtype = jnp.dtype(np.float64 if recipe.precision == "fp64" else np.float32)
        with self._arithmetic():
            self.generators = self._place(make_generators(recipe, self.dtype))

    @property
    def memory(self) -> Literal["host", "device"]:
        """See seam.Translator.memory."""
        return "host" if self.devices[0].platform == "cpu" else "device"

    @property
    def one_by_one(self) -> bool:
        """Whether images of a batch go through the networks apart (see jax_step.through)."""
        return len(self.devices) == 1 and self.memory == "host"

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the weights of the generators; one of the two may be absent."""
        with self._arithmetic():
            for name, generator in self.generators.items():
                if any(key.startswith(f"{name}.") for key in arrays):
                    names = label({name: generator})
                    self.generators |= self._place(fill({name: generator}, names, arrays))

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Translator.translate."""
        return self._run(self.generators[f"generator_{direction}"], images)

    def _run(self, network: Generator | Discriminator, images: Images) -> NDArray[np.float32]:
        """`network` on NHWC images; the result is NHWC float32, in memory of its own."""
        count = len(images)
        parts = [images[i : i + 1] for i in range(count)] if self.one_by_one else [images]
        with self._arithmetic():
            made = [
                forward(network, self._spread(part), precision=self.recipe.precision)
                for part in parts
            ]
            return np.concatenate(jax.device_get(made), dtype=np.float32)

    def _arithmetic(self) -> AbstractContextManager[object]:
        """fp64 is off in JAX unless asked for, and asked for here without a change to others."""
        context: AbstractContextManager[object] = jax.enable_x64(self.recipe.precision == "fp64")
        return context

    def _place(self, tree: Tree) -> Tree:
        """Whole on every device."""
        placed: Tree = jax.device_put(tree, self._sharding())
        return placed

    def _spread(self, images: Images) -> Array:
        """Images on the devices: a part on each where they divide evenly, else all on each."""
        even = len(images) % len(self.devices) == 0
        sharding = self._sharding("batch") if even else self._sharding()
        spread: Array = jax.device_put(np.asarray(images, self.dtype), sharding)
        return spread

    def _sharding(self, *axes: str) -> NamedSharding:
        """The first axis of arrays divided among the devices ("batch"), or whole on each ()."""
        mesh = Mesh(np.array(self.devices), ("batch",))
        spec = axes if len(self.devices) > 1 else ()  # how JAX itself puts it
        return NamedSharding(mesh, PartitionSpec(*spec))  # type: ignore[no-untyped-call]


class JaxEngine(JaxTranslator):
    """All four networks, their optimisers and image pools. See seam.Engine.

    Of the devices as many take part as divide the batch evenly: each computes its part of the
    batch and has its lanes of the image pools, and the weights are whole on each.
    """

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        super().__init__(recipe, runtime)
        while recipe.batch_size % len(self.devices):
            self.devices.pop()
        with self._arithmetic():
            born = make_state(recipe, self.dtype)
            self.names = labels(born)
            self._state = self._place_state(born)
        del self.generators  # they are in the state, which is what changes

    @property
    def shard(self) -> tuple[int, int]:
        """This process feeds whole batches."""
        return (0, 1)

    def signature(self) -> str:
        """See seam.Engine.signature."""
        first = self.devices[0]
        kind = "cpu" if first.platform == "cpu" else first.device_kind
        count = f"{len(self.devices)} x " if len(self.devices) > 1 else ""
        return f"jax {jax.__version__}, {count}{kind}, {self.threads} threads"

    # ---- the step -------------------------------------------------------------------------

    def train_step(self, batch: Batch, rate_factor: float) -> Losses:
        """One step of both generators, then one of both discriminators."""
        with self._arithmetic():
            images = self._spread(batch.real_a), self._spread(batch.real_b)
            lanes = self._sharding("batch")
            plans = jax.device_put((exact(batch.pool_a), exact(batch.pool_b)), lanes)
            factor = self._place(np.asarray(rate_factor, self.dtype))
            self._state, losses = train_step(
                self._state,
                *images,
                *plans,
                factor,
                recipe=self.recipe,
                one_by_one=self.one_by_one,
            )
        return {name: losses[name] for name in LOSSES if name in losses}

    # ---- what the networks say ------------------------------------------------------------

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Engine.translate."""
        generators = self._state.ema or self._state.generators
        return self._run(generators[f"generator_{direction}"], images)

    def judge(self, images: Images, domain: Domain) -> NDArray[np.float32]:
        """See seam.Engine.judge."""
        return self._run(self._state.discriminators[f"discriminator_{domain}"], images)[..., 0]

    # ---- the state ------------------------------------------------------------------------

    def state(self) -> Arrays:
        """See seam.Engine.state; every array is a copy."""
        names, leaves = jax.tree.leaves(self.names), jax.tree.leaves(self._state)
        arrays = {
            name: np.array(jax.device_get(leaf)) for name, leaf in zip(names, leaves, strict=True)
        }
        return arrays | {"updates": arrays["updates"].astype(np.int64)}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes a state, whole: every name with its shape, none besides."""
        if strange := sorted(set(arrays) ^ set(jax.tree.leaves(self.names))):
            raise CheckpointError(
                f"the state does not fit the recipe: {strange[0]} is "
                f"{'unexpected' if strange[0] in arrays else 'missing'}"
            )
        with self._arithmetic():
            self._state = self._place_state(fill(self._state, self.names, arrays))

    def _place_state(self, state: State) -> State:
        """Weights whole on every device, pools by their lanes."""
        lanes = jax.device_put(state.pools, self._sharding("batch"))
        return self._place(state._replace(pools={}))._replace(pools=lanes)


# ---- the state by its names ---------------------------------------------------------------


def labels(state: State) -> Any:
    """A State with the canonical names of its leaves in their places (docs/concepts.md)."""

    def adam(moments: optax.ScaleByAdamState) -> optax.ScaleByAdamState:
        return optax.ScaleByAdamState(
            count="updates",
            mu=label(moments.mu, "moment1."),
            nu=label(moments.nu, "moment2."),
        )

    return State(
        generators=label(state.generators),
        discriminators=label(state.discriminators),
        ema=label(state.ema, "ema."),
        generator_adam=adam(state.generator_adam),
        discriminator_adam=adam(state.discriminator_adam),
        pools=label(state.pools),
        updates="updates",  # type: ignore[arg-type]
    )


def label(tree: Any, prefix: str = "") -> Any:
    """`tree` with the names of its leaves in their places: keys and fields joined by dots."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: prefix + jax.tree_util.keystr(path, simple=True, separator="."), tree
    )


def fill(tree: Any, names: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """`tree` with copies of the arrays whose names stand in their places, in numpy.

    Raises:
        CheckpointError: a name is missing or a shape differs.
    """

    def one(leaf: Array, name: str) -> np.ndarray:
        if name not in arrays:
            raise CheckpointError(f"the state does not fit the recipe: {name} is missing")
        if arrays[name].shape != leaf.shape:
            raise CheckpointError(
                f"the state does not fit the recipe: {name} has shape {arrays[name].shape}, "
                f"expected {leaf.shape}"
            )
        return np.array(arrays[name], leaf.dtype)

    return jax.tree.map(one, tree, names)


def exact(plan: PoolPlan) -> PoolPlan:
    """The plan in the types that every batch has."""
    return PoolPlan(
        np.asarray(plan.slot, np.int32), np.asarray(plan.store, bool), np.asarray(plan.swap, bool)
    )


# ---- the machine --------------------------------------------------------------------------


def find_devices(name: str) -> list[jax.Device]:
    """The local devices of that name; `auto` is what JAX prefers, `cuda:1` the second alone.

    Raises:
        ConfigError: no such device here.
    """
    kind, _, index = name.partition(":")
    try:
        devices = jax.local_devices(backend=None if kind == "auto" else kind)
        return [devices[int(index)]] if index else list(devices)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ConfigError(
            f"--device {name} is not there for the jax engine: use --device auto or cpu"
        ) from error


def settle_threads(threads: int) -> int:
    """The threads of a CPU's arithmetic (0: as many as cores), settled once for the process.

    JAX reads their number when it first looks for devices, from the variable NPROC; so the first
    engine of a process decides, unless JAX was in use before.
    """
    if "cpu" not in _SETTLED:
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        _SETTLED["cpu"] = threads or cores
        os.environ["NPROC"] = str(_SETTLED["cpu"])
    return _SETTLED["cpu"]


_SETTLED: dict[str, int] = {}
