"""The CycleGAN training step in PyTorch: the engine `torch` of the seam; losses.py has the losses.

Source of the step: arXiv 1703.10593, equations 1 to 3, and the authors' code for the order.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from unpaired.config import Recipe, Runtime
from unpaired.data.batches import Batch, PoolPlan
from unpaired.directions import DIRECTIONS, DOMAINS, Direction, Domain, target_of
from unpaired.engines.seam import (
    LOSSES,
    Arrays,
    Images,
    Losses,
    discriminators_of,
    generators_of,
    in_range,
    memory_errors,
)
from unpaired.engines.torch.device import Machine, out_of_memory
from unpaired.engines.torch.losses import discriminators_loss, generators_loss
from unpaired.engines.torch.networks import Discriminator, Generator
from unpaired.engines.torch.translator import fill

__all__ = ["TorchEngine"]

Gradients: TypeAlias = tuple[Tensor, ...]


class TorchEngine:
    """All four networks, their optimisers and image pools. See seam.Engine."""

    shard = (0, 1)  # this process feeds whole batches

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        self.recipe = recipe
        self.machine = Machine(recipe, runtime)
        self.memory = self.machine.memory
        kind = partial(Generator, start=recipe.settled_start)
        self.generators = self.machine.place(kind, generators_of(recipe))
        self.discriminators = self.machine.place(Discriminator, discriminators_of(recipe))
        averaged = dict(self.generators.named_parameters())
        self.parameters = averaged | dict(self.discriminators.named_parameters())
        self.ema = {k: p.detach().clone() for k, p in averaged.items()} if recipe.ema else {}
        self.generator_adam = self._adam(self.generators, recipe.learning_rate)
        self.discriminator_adam = self._adam(self.discriminators, recipe.discriminator_rate)
        shape = (recipe.batch_size, recipe.pool_size, recipe.image_size, recipe.image_size)
        self.pools = {
            f"pool_{domain}": torch.zeros(
                *shape, facts.bands, device=self.machine.device, dtype=self.machine.dtype
            )
            for domain, facts in recipe.domains.items()
        }
        self.updates = 0

    def signature(self) -> str:
        """See seam.Engine.signature."""
        return self.machine.signature()

    # ---- the step -------------------------------------------------------------------------

    def train_step(self, batch: Batch, rate_factor: float) -> Losses:
        """One step of both generators, then one of both discriminators."""
        with memory_errors("train on", batch.real_a, out_of_memory):
            real: dict[Domain, Tensor] = {
                "a": self.machine.send(batch.real_a),
                "b": self.machine.send(batch.real_b),
            }
            self._set_rates(rate_factor)
            fakes, losses = self._update_generators(real)
            pairs: dict[Domain, tuple[Tensor, Tensor]] = {
                "a": (real["a"], exchange(self.pools["pool_a"], fakes["a"], batch.pool_a)),
                "b": (real["b"], exchange(self.pools["pool_b"], fakes["b"], batch.pool_b)),
            }
            for domain, further in batch.further.items():
                seen, shown = pairs[domain]
                old = earlier(self.pools[f"pool_{domain}"], further.slot)
                new = self.machine.send(further.real)
                pairs[domain] = torch.cat([seen, new]), torch.cat([shown, old])
            losses |= self._update_discriminators(pairs)
            self.updates += 1
            self._update_ema()
            return {name: losses[name] for name in LOSSES if name in losses}

    def _update_generators(
        self, real: Mapping[Domain, Tensor]
    ) -> tuple[dict[Domain, Tensor], dict[str, Tensor]]:
        """One Adam step for both generators; returns their fakes by domain, and the losses."""
        weights = list(self.generators.parameters())

        def gradients(direction: Direction) -> tuple[Tensor, dict[str, Tensor], Gradients]:
            total, fake, losses = generators_loss(
                self.generators,
                self.discriminators,
                direction,
                real,
                self.recipe,
                self.machine.autocast,
            )
            return fake.detach(), detached(losses), torch.autograd.grad(total, weights)

        forth, back = (gradients(direction) for direction in DIRECTIONS)
        descend(self.generator_adam, weights, forth[2], back[2])
        fakes = {target_of(d): found[0] for d, found in zip(DIRECTIONS, (forth, back), strict=True)}
        return fakes, forth[1] | back[1]

    def _update_discriminators(
        self, pairs: Mapping[Domain, tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """One Adam step for both discriminators; `pairs` has (real, shown) by domain."""

        def gradients(domain: Domain) -> tuple[dict[str, Tensor], Gradients]:
            total, losses = discriminators_loss(
                self.discriminators, domain, *pairs[domain], self.recipe, self.machine.autocast
            )
            weights = list(self.discriminators[f"discriminator_{domain}"].parameters())
            return detached(losses), torch.autograd.grad(total, weights)

        of_a, of_b = (gradients(domain) for domain in DOMAINS)
        weights = list(self.discriminators.parameters())
        descend(self.discriminator_adam, weights, (*of_a[1], *of_b[1]))
        return of_a[0] | of_b[0]

    def _update_ema(self) -> None:
        """Moves the running means; faster in the first steps, to forget the initial weights."""
        if self.ema:
            decay = min(self.recipe.ema, self.updates / (self.updates + 9))
            current = [self.parameters[name].detach() for name in self.ema]
            torch._foreach_lerp_(list(self.ema.values()), current, 1 - decay)

    def _set_rates(self, factor: float) -> None:
        for adam, rate in (
            (self.generator_adam, self.recipe.learning_rate),
            (self.discriminator_adam, self.recipe.discriminator_rate),
        ):
            adam.param_groups[0]["lr"] = rate * factor

    def _adam(self, networks: nn.ModuleDict, rate: float) -> torch.optim.Adam:
        parameters = list(networks.parameters())
        betas = (self.recipe.beta1, self.recipe.beta2)
        adam = torch.optim.Adam(parameters, rate, betas, fused=True)
        for p in parameters:
            adam.state[p] = {
                "step": torch.zeros((), dtype=torch.float32, device=self.machine.device),
                "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
            }
        return adam

    # ---- translations and judgements ------------------------------------------------------

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Networks.translate; the EMA weights stand in for the trained ones."""
        generator = self.generators[f"generator_{direction}"]
        prefix = f"generator_{direction}."
        ema = {k.removeprefix(prefix): v for k, v in self.ema.items() if k.startswith(prefix)}
        with memory_errors("translate", images, out_of_memory):
            return in_range(self.machine.run(partial(functional_call, generator, ema), images))

    def judge(self, images: Images, domain: Domain) -> NDArray[np.float32]:
        """See seam.Engine.judge."""
        with memory_errors("judge", images, out_of_memory):
            return self.machine.run(self.discriminators[f"discriminator_{domain}"], images)[..., 0]

    # ---- the state ------------------------------------------------------------------------

    def state(self) -> Arrays:
        """See seam.Engine.state; every array is a copy."""
        tensors = {name: tensor.detach().cpu().numpy() for name, tensor in self._tensors().items()}
        arrays = {name: np.array(array, order="C") for name, array in tensors.items()}
        return arrays | {"updates": np.array(self.updates, np.int64)}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See seam.Engine.load."""
        updates = {"updates": torch.tensor(0)}
        fill(self._tensors() | updates, arrays, whole=True)
        self.updates = int(arrays["updates"])
        for adam in (self.generator_adam, self.discriminator_adam):
            for slot in adam.state.values():
                slot["step"].fill_(self.updates)

    def _tensors(self) -> dict[str, Tensor]:
        """Returns all tensors of the state by canonical name, not copied."""
        moments = self.generator_adam.state | self.discriminator_adam.state
        tensors: dict[str, Tensor] = dict(self.parameters)
        tensors |= {f"ema.{name}": value for name, value in self.ema.items()}
        for moment, slot in (("moment1", "exp_avg"), ("moment2", "exp_avg_sq")):
            tensors |= {f"{moment}.{name}": moments[p][slot] for name, p in self.parameters.items()}
        return tensors | self.pools


def exchange(pool: Tensor, fakes: Tensor, plan: PoolPlan) -> Tensor:
    """Shows the discriminator `fakes` (N, C, H, W) or earlier ones; the pool changes as planned.

    `pool` (lanes, slots, H, W, C) has a lane for each of the N fakes. Nothing here depends on
    values on the device, so nothing waits for it.
    """
    shown = fakes.clone()
    for lane, (slot, store, swap) in enumerate(zip(plan.slot, plan.store, plan.swap, strict=True)):
        kept = pool[lane, int(slot)].permute(2, 0, 1) if store else None
        if kept is None:
            continue
        if swap:
            shown[lane] = kept
        kept.copy_(fakes[lane])
    return shown


def descend(adam: torch.optim.Adam, weights: Sequence[Tensor], *gradients: Gradients) -> None:
    """One step of `adam` along the sum of `gradients`, each in the order of `weights`.

    The sum is kept in the layout of the weights, which the fused Adam takes for granted.
    """
    if weights[0].grad is None:
        for weight in weights:
            weight.grad = torch.empty_like(weight)
    sums = [weight.grad for weight in weights if weight.grad is not None]
    first, *more = gradients
    torch._foreach_copy_(sums, first)
    for each in more:
        torch._foreach_add_(sums, each)
    adam.step()


def detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the graph that made them."""
    return {name: tensor.detach() for name, tensor in tensors.items()}


def earlier(pool: Tensor, slot: NDArray[np.int32]) -> Tensor:
    """Images (N * K, C, H, W) of `pool` (lanes, slots, H, W, C), named by `slot` (lanes, K)."""
    index = torch.from_numpy(np.asarray(slot, np.int64)).to(pool.device, non_blocking=True)
    lanes = torch.arange(len(index), device=pool.device)[:, None]
    return pool[lanes, index].flatten(0, 1).permute(0, 3, 1, 2)
