"""One training step in JAX, a pure function, and the state it changes; losses.py has the losses.

Read it beside torch/engine.py: the same names in the same order. The whole step, image pools
included, is jitted as one, its state donated; nothing goes to or from the host within it.
Source: arXiv 1703.10593, equations 1 to 3, and the authors' code for the order.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh, PartitionSpec

from unpaired.config import Recipe
from unpaired.data.batches import PoolPlan
from unpaired.directions import DIRECTIONS, DOMAINS, Domain
from unpaired.engines.jax.losses import discriminators_loss, generators_loss
from unpaired.engines.jax.networks import (
    Discriminator,
    Discriminators,
    Generator,
    Generators,
    in_precision,
)
from unpaired.engines.seam import discriminators_of, generators_of, parts_of

__all__ = ["State", "forward", "make_generators", "make_state", "train_step"]

Tree = TypeVar("Tree")
Losses: TypeAlias = dict[str, Array]


class State(NamedTuple):
    """Everything that a training step changes. `engine.labels` names its leaves."""

    generators: Generators
    discriminators: Discriminators
    ema: Generators  # empty where EMA is off
    generator_adam: optax.ScaleByAdamState
    discriminator_adam: optax.ScaleByAdamState
    pools: dict[str, Array]  # pool_a, pool_b: (lanes, slots, H, W, bands)
    updates: Array


def make_generators(recipe: Recipe, dtype: jnp.dtype, recompute: bool = False) -> Generators:
    """Makes both generators of a recipe, all weights 0."""
    return {
        name: Generator(layers, dtype, recipe.settled_start, recompute)
        for name, layers in generators_of(recipe).items()
    }


def make_state(recipe: Recipe, dtype: jnp.dtype, recompute: bool = False) -> State:
    """Makes a state of the recipe's shapes, all 0."""
    generators = make_generators(recipe, dtype, recompute)
    discriminators = {
        name: Discriminator(layers, dtype) for name, layers in discriminators_of(recipe).items()
    }
    adam = optax.scale_by_adam(recipe.beta1, recipe.beta2)
    shape = (recipe.batch_size, recipe.pool_size, recipe.image_size, recipe.image_size)
    return State(
        generators=generators,
        discriminators=discriminators,
        ema=jax.tree.map(jnp.copy, generators) if recipe.ema else {},
        generator_adam=adam.init(generators),
        discriminator_adam=adam.init(discriminators),
        pools={
            f"pool_{domain}": jnp.zeros((*shape, facts.bands), dtype)
            for domain, facts in recipe.domains.items()
        },
        updates=jnp.zeros((), jnp.int32),
    )


@partial(
    jax.jit, static_argnames=("recipe", "parts", "one_by_one", "mesh"), donate_argnames="state"
)
def train_step(
    state: State,
    *batch: Any,
    recipe: Recipe,
    parts: int,
    one_by_one: bool,
    mesh: Mesh | None,
) -> tuple[State, dict[str, Array]]:
    """One update of all four networks; see seam.Engine.train_step, and networks.through.

    `batch` are the arguments of `_step` after the state. With a `mesh`, that of several processes,
    each of its devices takes the step with its lanes of the batch and the pools.
    """
    step = partial(_step, recipe=recipe, parts=parts, one_by_one=one_by_one)
    if mesh is None:
        return step(state, *batch)
    whole, lanes = PartitionSpec(), PartitionSpec("batch")  # type: ignore[no-untyped-call]
    states = State(*[whole] * len(state))._replace(pools=lanes)  # type: ignore[arg-type]
    shared = jax.shard_map(
        partial(step, devices=mesh.size),
        mesh=mesh,
        in_specs=(states, *[lanes] * (len(batch) - 1), whole),
        out_specs=(states, whole),
        check_vma=False,  # gradients stay those of the device: `together` sums them, once a phase
    )
    result: tuple[State, dict[str, Array]] = shared(state, *batch)
    return result


def together(tree: Tree, devices: int) -> Tree:
    """The mean of a tree over the devices of a mesh: flattened, in one exchange."""
    if devices == 1:
        return tree
    flat, restore = jax.flatten_util.ravel_pytree(tree)
    mean: Tree = restore(jax.lax.psum(flat / devices, "batch"))  # type: ignore[no-untyped-call]
    return mean


def _step(
    state: State,
    real_a: Array,
    real_b: Array,
    plan_a: PoolPlan,
    plan_b: PoolPlan,
    further: Mapping[Domain, tuple[Array, Array]],
    weights: Mapping[str, Array],
    factor: Array,
    *,
    recipe: Recipe,
    parts: int,
    one_by_one: bool,
    devices: int = 1,
) -> tuple[State, dict[str, Array]]:
    """The step on one of several `devices`, or on all of them where XLA divides it.

    Gradients and losses are means over `parts` of the batch and over devices.
    """
    real: dict[Domain, Array] = {"a": real_a, "b": real_b}

    def of_generators(
        generators: Generators, lanes: slice
    ) -> tuple[Array, tuple[dict[Domain, Array], Losses]]:
        part = {domain: images[lanes] for domain, images in real.items()}
        own = {name: each[lanes] for name, each in weights.items()}
        forth, back = (
            generators_loss(
                generators, state.discriminators, direction, part, own, recipe, one_by_one
            )
            for direction in DIRECTIONS
        )
        return forth[0] + back[0], ({"b": forth[1], "a": back[1]}, forth[2] | back[2])

    slices = parts_of(len(real_a), parts)
    learn = jax.value_and_grad(of_generators, has_aux=True)
    found = [learn(state.generators, lanes) for lanes in slices]
    gradients, losses = together(mean_of([(each, aux[1]) for (_, aux), each in found]), devices)
    fakes = {
        domain: jnp.concatenate([aux[0][domain] for (_, aux), _ in found]) for domain in DOMAINS
    }
    rate = recipe.learning_rate * factor
    generators, generator_adam = adam_step(
        state.generators, gradients, state.generator_adam, rate, recipe
    )
    shown_a, pool_a = exchange(state.pools["pool_a"], fakes["a"], plan_a)
    shown_b, pool_b = exchange(state.pools["pool_b"], fakes["b"], plan_b)
    shown: dict[Domain, Array] = {"a": shown_a, "b": shown_b}
    judged_real = real
    if weights:
        judged_real = {domain: images * weights["seen"] for domain, images in real.items()}
    pools: dict[Domain, Array] = {"a": pool_a, "b": pool_b}
    beyond = {d: (new, earlier(pools[d], slot)) for d, (new, slot) in further.items()}

    def pair(domain: Domain, lanes: slice) -> tuple[Array, Array]:
        images = judged_real[domain][lanes], shown[domain][lanes]
        if domain not in beyond:
            return images
        many = recipe.discriminator_images - 1
        more = slice(lanes.start * many, lanes.stop * many)
        both = zip(images, beyond[domain], strict=True)
        on_real, on_fake = (jnp.concatenate([own, further[more]]) for own, further in both)
        return on_real, on_fake

    def of_discriminators(discriminators: Discriminators, lanes: slice) -> tuple[Array, Losses]:
        of_a, of_b = (
            discriminators_loss(discriminators, domain, *pair(domain, lanes), recipe, one_by_one)
            for domain in DOMAINS
        )
        return of_a[0] + of_b[0], of_a[1] | of_b[1]

    judge = jax.value_and_grad(of_discriminators, has_aux=True)
    judged = [judge(state.discriminators, lanes) for lanes in slices]
    gradients, more = together(mean_of([(each, loss) for (_, loss), each in judged]), devices)
    rate = recipe.discriminator_rate * factor
    discriminators, discriminator_adam = adam_step(
        state.discriminators, gradients, state.discriminator_adam, rate, recipe
    )
    updates = state.updates + 1
    return State(
        generators=generators,
        discriminators=discriminators,
        ema=move_means(state.ema, generators, updates, factor.dtype, recipe),
        generator_adam=generator_adam,
        discriminator_adam=discriminator_adam,
        pools={"pool_a": pool_a, "pool_b": pool_b},
        updates=updates,
    ), losses | more


def mean_of(trees: Sequence[Tree]) -> Tree:
    """The mean of trees of one structure, leaf by leaf."""
    mean: Tree = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]) / len(leaves), *trees)
    return mean


def adam_step(
    networks: Tree,
    gradients: Tree,
    state: optax.ScaleByAdamState,
    rate: Array,
    recipe: Recipe,
) -> tuple[Tree, optax.ScaleByAdamState]:
    """One step of Adam (Kingma and Ba, arXiv 1412.6980, with bias correction, eps 1e-8)."""
    adam = optax.scale_by_adam(recipe.beta1, recipe.beta2)
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
        moved, state = adam.update(gradients, state)
    return jax.tree.map(lambda weight, by: weight - rate * by, networks, moved), state


def move_means(
    ema: Generators, generators: Generators, updates: Array, dtype: jnp.dtype, recipe: Recipe
) -> Generators:
    """Moves the running means; faster in the first steps, to forget the initial weights."""
    if not ema:
        return ema
    count = updates.astype(dtype)
    decay = jnp.minimum(recipe.ema, count / (count + 9.0))
    moved: Generators = jax.tree.map(
        lambda mean, new: mean + (1.0 - decay) * (new - mean), ema, generators
    )
    return moved


def exchange(pools: Array, fakes: Array, plan: PoolPlan) -> tuple[Array, Array]:
    """Shows the discriminator `fakes` (N, H, W, C) or earlier ones; returns the new pools too.

    `pools` (lanes, slots, H, W, C) has a lane for each of the N fakes.
    """
    if pools.shape[1] == 0:
        return fakes, pools

    def lane(pool: Array, fake: Array, plan: PoolPlan) -> tuple[Array, Array]:
        kept = jax.lax.dynamic_index_in_dim(pool, plan.slot, keepdims=False)
        new = jnp.where(plan.store, fake, kept)
        shown = jnp.where(plan.store & plan.swap, kept, fake)
        return shown, jax.lax.dynamic_update_index_in_dim(pool, new, plan.slot, 0)

    return jax.vmap(lane)(pools, fakes, plan)


def earlier(pools: Array, slot: Array) -> Array:
    """Images (N * K, H, W, C) of `pools` (lanes, slots, H, W, C), named by `slot` (lanes, K)."""
    images: Array = jax.vmap(lambda pool, slots: pool[slots])(pools, slot)
    return images.reshape(-1, *images.shape[2:])


@partial(jax.jit, static_argnames="precision")
def forward(network: Generator | Discriminator, x: Array, *, precision: str) -> Array:
    """The network's result on images (N, H, W, bands), without gradients."""
    return in_precision(network, precision)(x)


jax.tree_util.register_dataclass(PoolPlan)
