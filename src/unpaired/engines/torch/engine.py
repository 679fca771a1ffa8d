"""The CycleGAN training step in PyTorch: the engine `torch` of the seam.

Source of the step: arXiv 1703.10593, equations 1 to 3, and the authors' code for the order.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from unpaired.config import Recipe, Runtime
from unpaired.data.batches import Batch, PoolPlan
from unpaired.directions import Direction, Domain
from unpaired.engines.seam import (
    Arrays,
    Images,
    Losses,
    discriminators_of,
    generators_of,
    in_range,
    memory_errors,
    require_fit,
)
from unpaired.engines.torch.device import Machine, out_of_memory
from unpaired.engines.torch.losses import (
    discriminator_loss,
    gradient_penalty,
    least_absolute,
    least_squares,
)
from unpaired.engines.torch.networks import Discriminator, Generator

__all__ = ["TorchEngine", "TorchTranslator"]


class TorchTranslator:
    """The two generators, for translation alone. See seam.Translator."""

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        self.machine = Machine(recipe, runtime)
        self.memory = self.machine.memory
        kind = partial(Generator, start=recipe.settled_start)
        self.generators = self.machine.place(kind, generators_of(recipe))

    def load_generators(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See seam.Translator.load_generators."""
        for name, generator in self.generators.items():
            if any(key.startswith(f"{name}.") for key in arrays):
                _fill(dict(generator.named_parameters(name)), arrays, whole=False)

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Networks.translate."""
        with memory_errors("translate", images, out_of_memory):
            return in_range(self.machine.run(self.generators[f"generator_{direction}"], images))


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
            real_a, real_b = self.machine.send(batch.real_a), self.machine.send(batch.real_b)
            self._set_rates(rate_factor)
            fake_a, fake_b, generator_losses = self._update_generators(real_a, real_b)
            shown_a = exchange(self.pools["pool_a"], fake_a, batch.pool_a)
            shown_b = exchange(self.pools["pool_b"], fake_b, batch.pool_b)
            discriminator_losses = self._update_discriminators(real_a, real_b, shown_a, shown_b)
            self.updates += 1
            self._update_ema()
            return generator_losses | discriminator_losses

    def _update_generators(
        self, real_a: Tensor, real_b: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Adversarial, cycle and identity losses, and one Adam step for both generators."""
        recipe = self.recipe
        generator_ab, generator_ba = self.generators.values()
        self.discriminators.requires_grad_(False)
        with self.machine.autocast():
            if recipe.identity_weight:
                # Networks keep images apart, so two inputs may share one forward.
                fake_b, identity_b = generator_ab(torch.cat([real_a, real_b])).chunk(2)
                fake_a, identity_a = generator_ba(torch.cat([real_b, real_a])).chunk(2)
            else:
                fake_b, fake_a = generator_ab(real_a), generator_ba(real_b)
            cycle_a, cycle_b = generator_ba(fake_b), generator_ab(fake_a)
            score_a = self.discriminators["discriminator_a"](fake_a)
            score_b = self.discriminators["discriminator_b"](fake_b)
        losses = {
            "adversarial_ab": least_squares(score_b, 1.0),
            "adversarial_ba": least_squares(score_a, 1.0),
            "cycle_a": least_absolute(cycle_a, real_a),
            "cycle_b": least_absolute(cycle_b, real_b),
        }
        total = losses["adversarial_ab"] + losses["adversarial_ba"]
        total = total + recipe.cycle * (losses["cycle_a"] + losses["cycle_b"])
        if recipe.identity_weight:
            losses["identity_a"] = least_absolute(identity_a, real_a)
            losses["identity_b"] = least_absolute(identity_b, real_b)
            total = total + recipe.identity_weight * (losses["identity_a"] + losses["identity_b"])
        self.generator_adam.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self.generator_adam.step()
        detached = {name: loss.detach() for name, loss in losses.items()}
        return fake_a.detach(), fake_b.detach(), detached

    def _update_discriminators(
        self, real_a: Tensor, real_b: Tensor, shown_a: Tensor, shown_b: Tensor
    ) -> dict[str, Tensor]:
        """Reals against 1, pooled fakes against 0, and one Adam step for both discriminators."""
        penalised = self.recipe.gradient_penalty > 0
        self.discriminators.requires_grad_(True)
        losses, penalties = {}, []
        for domain, real, shown in (("a", real_a, shown_a), ("b", real_b, shown_b)):
            images = torch.cat([real, shown]).requires_grad_(penalised)
            with self.machine.autocast():
                scores = self.discriminators[f"discriminator_{domain}"](images)
            losses[f"discriminator_{domain}"] = discriminator_loss(*scores.chunk(2))
            if penalised:
                penalties.append(gradient_penalty(scores, images))
        total = losses["discriminator_a"] + losses["discriminator_b"]
        if penalised:
            total = total + self.recipe.gradient_penalty * (penalties[0] + penalties[1])
        self.discriminator_adam.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self.discriminator_adam.step()
        return {name: loss.detach() for name, loss in losses.items()}

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
        _fill(self._tensors() | updates, arrays, whole=True)
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


def _fill(tensors: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray], *, whole: bool) -> None:
    """Copies arrays into tensors of the same names, if they fit: see seam.require_fit."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    require_fit(shapes, arrays, whole=whole)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.require(arrays[name], requirements=["C", "W"])))
