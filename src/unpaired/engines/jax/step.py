"""One training step in JAX, a pure function, and the state it changes.

Read it beside torch/engine.py: the same names in the same order. The whole step, image pools
included, is jitted as one, its state donated; nothing goes to or from the host within it.
Source: arXiv 1703.10593, equations 1 to 3, and the authors' code for the order.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import Array

from unpaired.config import Recipe
from unpaired.data.batches import PoolPlan
from unpaired.engines.jax.losses import (
    discriminator_loss,
    gradient_penalty,
    least_absolute,
    least_squares,
)
from unpaired.engines.jax.networks import Discriminator, Generator
from unpaired.engines.seam import discriminators_of, generators_of

__all__ = ["State", "forward", "make_generators", "make_state", "train_step"]

Generators = dict[str, Generator]
Discriminators = dict[str, Discriminator]
Tree = TypeVar("Tree")


class State(NamedTuple):
    """Everything that a training step changes. `engine.labels` names its leaves."""

    generators: Generators
    discriminators: Discriminators
    ema: Generators  # empty where EMA is off
    generator_adam: optax.ScaleByAdamState
    discriminator_adam: optax.ScaleByAdamState
    pools: dict[str, Array]  # pool_a, pool_b: (lanes, slots, H, W, bands)
    updates: Array


def make_generators(recipe: Recipe, dtype: jnp.dtype) -> Generators:
    """Makes both generators of a recipe, all weights 0."""
    return {
        name: Generator(layers, dtype, recipe.settled_start)
        for name, layers in generators_of(recipe).items()
    }


def make_state(recipe: Recipe, dtype: jnp.dtype) -> State:
    """Makes a state of the recipe's shapes, all 0."""
    generators = make_generators(recipe, dtype)
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


@partial(jax.jit, static_argnames=("recipe", "one_by_one"), donate_argnames="state")
def train_step(
    state: State,
    real_a: Array,
    real_b: Array,
    plan_a: PoolPlan,
    plan_b: PoolPlan,
    factor: Array,
    *,
    recipe: Recipe,
    one_by_one: bool,
) -> tuple[State, dict[str, Array]]:
    """One update of all four networks; see seam.Engine.train_step, and `through`."""
    (_, (fakes, losses)), gradients = jax.value_and_grad(generators_loss, has_aux=True)(
        state.generators, state.discriminators, real_a, real_b, recipe, one_by_one
    )
    rate = recipe.learning_rate * factor
    generators, generator_adam = adam_step(
        state.generators, gradients, state.generator_adam, rate, recipe
    )
    shown_a, pool_a = exchange(state.pools["pool_a"], fakes["a"], plan_a)
    shown_b, pool_b = exchange(state.pools["pool_b"], fakes["b"], plan_b)
    (_, more), gradients = jax.value_and_grad(discriminators_loss, has_aux=True)(
        state.discriminators, {"a": (real_a, shown_a), "b": (real_b, shown_b)}, recipe, one_by_one
    )
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


def generators_loss(
    generators: Generators,
    discriminators: Discriminators,
    real_a: Array,
    real_b: Array,
    recipe: Recipe,
    one_by_one: bool,
) -> tuple[Array, tuple[dict[str, Array], dict[str, Array]]]:
    """The weighted sum of adversarial, cycle and identity losses; (fakes, losses) beside it."""
    networks = in_precision(generators | discriminators, recipe.precision)
    start, (a, b) = recipe.settled_start, fed((real_a, real_b), recipe)
    generator_ab, generator_ba, discriminator_a, discriminator_b = (
        partial(through, networks[name], one_by_one=one_by_one)
        for name in ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
    )
    if recipe.identity_weight:
        # Networks keep images apart, so two inputs may share one forward.
        fake_b, identity_b = jnp.split(generator_ab(jnp.concatenate([a, b])), 2)
        fake_a, identity_a = jnp.split(generator_ba(jnp.concatenate([b, a])), 2)
    else:
        fake_b, fake_a = generator_ab(a), generator_ba(b)
    fed_a, fed_b = fed((fake_a, fake_b), recipe)
    cycle_a, cycle_b = generator_ba(fed_b), generator_ab(fed_a)
    losses = {
        "adversarial_ab": least_squares(discriminator_b(fed_b), 1.0),
        "adversarial_ba": least_squares(discriminator_a(fed_a), 1.0),
        "cycle_a": least_absolute(cycle_a, real_a, start),
        "cycle_b": least_absolute(cycle_b, real_b, start),
    }
    total = losses["adversarial_ab"] + losses["adversarial_ba"]
    total = total + recipe.cycle * (losses["cycle_a"] + losses["cycle_b"])
    if recipe.identity_weight:
        losses["identity_a"] = least_absolute(identity_a, real_a, start)
        losses["identity_b"] = least_absolute(identity_b, real_b, start)
        total = total + recipe.identity_weight * (losses["identity_a"] + losses["identity_b"])
    return total, ({"a": fake_a, "b": fake_b}, losses)


def discriminators_loss(
    discriminators: Discriminators,
    pairs: Mapping[str, tuple[Array, Array]],
    recipe: Recipe,
    one_by_one: bool,
) -> tuple[Array, dict[str, Array]]:
    """Reals against 1, pooled fakes against 0; `pairs` has (real, shown) by domain."""
    losses, penalties = {}, []
    for domain, pair in pairs.items():
        name = f"discriminator_{domain}"
        network = in_precision(discriminators[name], recipe.precision)
        judge = partial(through, network, one_by_one=one_by_one)
        images = jnp.concatenate(pair)
        losses[name] = discriminator_loss(
            *jnp.split(judge(in_precision(images, recipe.precision)), 2)
        )
        if recipe.gradient_penalty:
            penalties.append(gradient_penalty(judge, images))
    total = losses["discriminator_a"] + losses["discriminator_b"]
    if recipe.gradient_penalty:
        total = total + recipe.gradient_penalty * (penalties[0] + penalties[1])
    return total, losses


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


@partial(jax.jit, static_argnames="precision")
def forward(network: Generator | Discriminator, x: Array, *, precision: str) -> Array:
    """The network's result on images (N, H, W, bands), without gradients."""
    return in_precision(network, precision)(x)


def through(network: Generator | Discriminator, x: Array, one_by_one: bool) -> Array:
    """The network's result on images (N, H, W, bands), all at once or one by one.

    On a CPU convolutions of batches are up to eight times slower than those of single images, and
    loops in the compiled code slower still, so the loop is unrolled (docs/results.md).
    """
    if not one_by_one:
        return network(x)
    return jnp.concatenate([network(one) for one in jnp.split(x, len(x))])


def in_precision(tree: Tree, precision: str) -> Tree:
    """Casts weights and images for the convolutions; gradients come back in their own type."""
    if precision != "bf16":
        return tree
    cast: Tree = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)
    return cast


def fed(images: Tree, recipe: Recipe) -> Tree:
    """Images for the networks of a step; not cast where a generator adds its head to its input."""
    return images if recipe.start == "identity" else in_precision(images, recipe.precision)


jax.tree_util.register_dataclass(PoolPlan)
