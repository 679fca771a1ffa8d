"""The engine `jax` of the seam: its state by canonical names, and calls of the jitted step.

The training step itself is a pure function in step.py.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax
from numpy.typing import DTypeLike, NDArray

from unpaired.config import Recipe, Runtime
from unpaired.data.batches import Batch, PoolPlan
from unpaired.directions import Direction, Domain
from unpaired.engines.jax.device import Machine, out_of_memory
from unpaired.engines.jax.processes import JaxProcesses
from unpaired.engines.jax.step import State, make_generators, make_state, train_step
from unpaired.engines.jax.tiles import run_tile
from unpaired.engines.processes import ALONE, Processes, require_equal
from unpaired.engines.seam import (
    LOSSES,
    Arrays,
    Images,
    Losses,
    generators_of,
    in_range,
    lanes_of,
    memory_errors,
    parts_of,
    pixel_weights,
    require_fit,
    shared_pixel_weights,
)
from unpaired.engines.tiles import TileInput, TileResult, TileRun

__all__ = ["JaxEngine", "JaxTranslator"]


class JaxTranslator:
    """The two generators, for translation alone. See seam.Translator."""

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        self.machine = Machine(recipe, runtime)
        self.memory = self.machine.memory
        self.layers, self.start = generators_of(recipe), recipe.settled_start
        with self.machine.arithmetic():
            self.generators = self.machine.place(make_generators(recipe, self.machine.dtype))
        # On a CPU bf16 was never faster, and each method takes seconds to compile.
        on_cpu = self.memory == "host" or recipe.settled_precision == "fp64"
        self.methods: tuple[str, ...] = ("trained",) if on_cpu else ("trained", "fp32", "bf16")
        self.precision: str = recipe.settled_precision

    def signature(self) -> str:
        """See seam.Translator.signature."""
        return self.machine.signature()

    def use(self, method: str) -> None:
        """See seam.Translator.use."""
        self.precision = self.machine.precision if method == "trained" else method

    def release(self, *kept: str) -> None:
        """See seam.Translator.release; JAX keeps what it compiled."""

    def load_generators(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See seam.Translator.load_generators."""
        with self.machine.arithmetic():
            for name, generator in self.generators.items():
                if any(key.startswith(f"{name}.") for key in arrays):
                    tree = {name: generator}
                    filled = fill(tree, label(tree), arrays, whole=False)
                    self.generators |= self.machine.place(filled)

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Networks.translate."""
        generator = self.generators[f"generator_{direction}"]
        with memory_errors("translate", images, out_of_memory):
            return in_range(self.machine.run(generator, images, self.precision))

    def run_tile(
        self, run: TileRun, given: TileInput, direction: Direction, dtype: DTypeLike
    ) -> TileResult:
        """See tiles.TileNetworks.run_tile."""
        name = f"generator_{direction}"
        generator = self.generators[name]
        names, leaves = jax.tree.leaves(label(generator)), jax.tree.leaves(generator)
        weights = dict(zip(names, leaves, strict=True))
        with memory_errors("translate", given.values[None], out_of_memory):
            return run_tile(run, given, self.layers[name], weights, self.start, self.machine, dtype)


class JaxEngine:
    """All four networks, their optimisers and image pools. See seam.Engine.

    As many devices take part as divide the batch evenly: each computes its part of the batch and
    has its lanes of the image pools, and the weights are whole on each.
    """

    def __init__(self, recipe: Recipe, runtime: Runtime, processes: Processes = ALONE) -> None:
        self.recipe = recipe
        self.processes = processes if isinstance(processes, JaxProcesses) else None
        self.shard = processes.place.shard
        lanes_of(recipe.batch_size, self.shard[1])
        self.machine = Machine(recipe, runtime, self.shard[1])
        self.memory = self.machine.memory
        self.machine.divide(recipe.batch_size)
        each = (
            recipe.batch_size
            if self.processes is None
            else recipe.batch_size // self.machine.mesh.size
        )
        self.parts = len(parts_of(each, runtime.accumulate))
        with self.machine.arithmetic():
            empty = make_state(recipe, self.machine.dtype, runtime.activation_checkpointing)
            self.names = labels(empty)
            self._state = self._place(empty)

    def signature(self) -> str:
        """See seam.Engine.signature."""
        return self.machine.signature()

    # ---- the step -------------------------------------------------------------------------

    def train_step(self, batch: Batch, rate_factor: float) -> Losses:
        """One step of both generators, then one of both discriminators."""
        machine = self.machine
        with memory_errors("train on", batch.real_a, out_of_memory), machine.arithmetic():
            reals = machine.send(batch.real_a), machine.send(batch.real_b)
            plans = machine.divided((exact(batch.pool_a), exact(batch.pool_b)))
            further = {
                domain: (machine.send(x.real), machine.divided(x.slot))
                for domain, x in batch.further.items()
            }
            weights = {k: machine.send(each) for k, each in self._pixel_weights(batch).items()}
            factor = machine.place(np.asarray(rate_factor, machine.dtype))
            how = {
                "recipe": self.recipe,
                "parts": self.parts,
                "one_by_one": machine.one_by_one,
                "mesh": machine.mesh if self.processes else None,
            }
            given = *reals, *plans, further, weights, factor
            self._state, losses = train_step(self._state, *given, **how)
        return {name: losses[name] for name in LOSSES if name in losses}

    # ---- translations and judgements ------------------------------------------------------

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Networks.translate; the EMA weights stand in for the trained ones."""
        generators = self._state.ema or self._state.generators
        generator = self.machine.own(generators[f"generator_{direction}"])
        with memory_errors("translate", images, out_of_memory):
            return in_range(self.machine.run(generator, images))

    def judge(self, images: Images, domain: Domain) -> NDArray[np.float32]:
        """See seam.Engine.judge."""
        discriminator = self.machine.own(self._state.discriminators[f"discriminator_{domain}"])
        with memory_errors("judge", images, out_of_memory):
            return self.machine.run(discriminator, images)[..., 0]

    # ---- the state ------------------------------------------------------------------------

    def state(self) -> Arrays:
        """See seam.Engine.state; every array is a copy."""
        state = self._state
        if self.processes:
            with self.machine.arithmetic():
                pools = {k: self.processes.gather(pool) for k, pool in state.pools.items()}
            state = self.machine.own(state._replace(pools={}))._replace(pools=pools)
        names, leaves = jax.tree.leaves(self.names), jax.tree.leaves(state)
        arrays = {
            name: np.array(jax.device_get(leaf)) for name, leaf in zip(names, leaves, strict=True)
        }
        if self.processes is not None:
            require_equal(self.processes, arrays)
        return arrays | {"updates": arrays["updates"].astype(np.int64)}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See seam.Engine.load."""
        with self.machine.arithmetic():
            if self.processes is None or self.shard[0] == 0:
                filled = fill(self._state, self.names, arrays, whole=True)
            else:
                filled = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._state)
            if self.processes:
                leaves, structure = jax.tree.flatten(filled)
                filled = jax.tree.unflatten(structure, self.processes.broadcast(leaves))
            self._state = self._place(filled)

    def _place(self, state: State) -> State:
        """Puts weights on every device, whole, and pools by their lanes."""
        pools, own = state.pools, lanes_of(self.recipe.batch_size, self.shard[1])[self.shard[0]]
        if self.processes:
            pools = {name: pool[own] for name, pool in pools.items()}
        placed = self.machine.place(state._replace(pools={}))
        return placed._replace(pools=self.machine.divided(pools))

    def _pixel_weights(self, batch: Batch) -> Mapping[str, Images]:
        """The weights of the pixels in the losses, of the whole batch together."""
        if self.processes is None or self.recipe.gaps == "count":
            return pixel_weights(batch)
        return shared_pixel_weights(batch, self.processes.sum)


def labels(state: State) -> Any:
    """Returns a State whose leaves are their canonical names (docs/concepts.md)."""

    def adam(moments: optax.ScaleByAdamState) -> Any:
        mu, nu = label(moments.mu, "moment1."), label(moments.nu, "moment2.")
        return moments._replace(count="updates", mu=mu, nu=nu)

    return State(*map(label, state))._replace(
        ema=label(state.ema, "ema."),
        generator_adam=adam(state.generator_adam),
        discriminator_adam=adam(state.discriminator_adam),
        updates="updates",  # type: ignore[arg-type]
    )


def label(tree: Any, prefix: str = "") -> Any:
    """Returns `tree` with names for leaves: keys and fields joined by dots."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: prefix + jax.tree_util.keystr(path, simple=True, separator="."), tree
    )


def fill(tree: Any, names: Any, arrays: Mapping[str, np.ndarray], *, whole: bool) -> Any:
    """Returns `tree` with numpy copies of the arrays that `names` has in the same places.

    Raises:
        CheckpointError: they do not fit (see seam.require_fit).
    """
    leaves = zip(jax.tree.leaves(names), jax.tree.leaves(tree), strict=True)
    require_fit({name: leaf.shape for name, leaf in leaves}, arrays, whole=whole)
    return jax.tree.map(lambda leaf, name: np.array(arrays[name], leaf.dtype), tree, names)


def exact(plan: PoolPlan) -> PoolPlan:
    """The plan in the types that every batch has."""
    return PoolPlan(
        np.asarray(plan.slot, np.int32), np.asarray(plan.store, bool), np.asarray(plan.swap, bool)
    )
