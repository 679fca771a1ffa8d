"""The CycleGAN training step in PyTorch: the engine `torch` of the seam; losses.py has the losses.

Source of the step: arXiv 1703.10593, equations 1 to 3, and the authors' code for the order.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from unpaired.config import Recipe, Runtime
from unpaired.data.batches import Batch, PoolPlan
from unpaired.directions import DIRECTIONS, DOMAINS, Direction, Domain, target_of
from unpaired.engines.processes import ALONE, Processes, require_equal
from unpaired.engines.seam import (
    LOSSES,
    Arrays,
    Images,
    Losses,
    discriminators_of,
    generators_of,
    in_range,
    lanes_of,
    memory_errors,
    parts_of,
    pixel_weights,
    shared_pixel_weights,
)
from unpaired.engines.torch.device import Machine, out_of_memory
from unpaired.engines.torch.losses import discriminators_loss, generators_loss
from unpaired.engines.torch.networks import Discriminator, Generator
from unpaired.engines.torch.processes import TorchProcesses
from unpaired.engines.torch.translator import fill

__all__ = ["TorchEngine"]

COMPILED_FROM = 2000  # steps; a compilation takes about a minute


class TorchEngine:
    """All four networks, their optimisers and image pools. See seam.Engine."""

    def __init__(self, recipe: Recipe, runtime: Runtime, processes: Processes = ALONE) -> None:
        self.recipe = recipe
        self.processes = processes if isinstance(processes, TorchProcesses) else None
        self.shard = processes.place.shard
        self.lanes = lanes_of(recipe.batch_size, self.shard[1])  # of each process
        own = self.lanes[self.shard[0]]
        self.share = (own.stop - own.start) / recipe.batch_size
        self.parts = parts_of(own.stop - own.start, runtime.accumulate)
        self.machine = Machine(recipe, runtime)
        self.memory = self.machine.memory
        kind = partial(Generator, start=recipe.settled_start)
        self.generators = self.machine.place(kind, generators_of(recipe))
        adapt(self.generators, runtime, what_to_compile(recipe, runtime, self.machine))
        self.discriminators = self.machine.place(Discriminator, discriminators_of(recipe))
        averaged = dict(self.generators.named_parameters())
        self.parameters = averaged | dict(self.discriminators.named_parameters())
        self.ema = {k: p.detach().clone() for k, p in averaged.items()} if recipe.ema else {}
        self.generator_adam = self._adam(self.generators, recipe.learning_rate)
        self.discriminator_adam = self._adam(self.discriminators, recipe.discriminator_rate)
        shape = (own.stop - own.start, recipe.pool_size, recipe.image_size, recipe.image_size)
        self.pools = {
            f"pool_{domain}": torch.zeros(
                *shape, facts.bands, device=self.machine.device, dtype=self.machine.dtype
            )
            for domain, facts in recipe.domains.items()
        }
        self.updates = 0

    def signature(self) -> str:
        """See seam.Engine.signature."""
        count = self.shard[1]
        return self.machine.signature() + (f", {count} processes" if count > 1 else "")

    # ---- the step -------------------------------------------------------------------------

    def train_step(self, batch: Batch, rate_factor: float) -> Losses:
        """One step of both generators, then one of both discriminators."""
        with memory_errors("train on", batch.real_a, out_of_memory):
            real: dict[Domain, Tensor] = {
                "a": self.machine.send(batch.real_a),
                "b": self.machine.send(batch.real_b),
            }
            weights = {k: self.machine.send(x) for k, x in self._pixel_weights(batch).items()}
            self._set_rates(rate_factor)
            fakes, losses = self._update_generators(real, weights)
            if weights:
                real = {domain: images * weights["seen"] for domain, images in real.items()}
            shown: dict[Domain, Tensor] = {
                "a": exchange(self.pools["pool_a"], fakes["a"], batch.pool_a),
                "b": exchange(self.pools["pool_b"], fakes["b"], batch.pool_b),
            }
            further = {
                domain: (self.machine.send(x.real), earlier(self.pools[f"pool_{domain}"], x.slot))
                for domain, x in batch.further.items()
            }
            losses |= self._update_discriminators(real, shown, further)
            self.updates += 1
            self._update_ema()
            return {name: losses[name] for name in LOSSES if name in losses}

    def _update_generators(
        self, real: Mapping[Domain, Tensor], weights: Mapping[str, Tensor]
    ) -> tuple[dict[Domain, Tensor], dict[str, Tensor]]:
        """One Adam step for both generators; returns their fakes by domain, and the losses.

        Gradients are summed direction by direction and part by part, each graph released before
        the next: activations of one of them are in memory at a time.
        """
        parameters = list(self.generators.parameters())
        fakes: dict[Domain, list[Tensor]] = {"a": [], "b": []}
        found: list[dict[str, Tensor]] = []
        self.generator_adam.zero_grad()
        for lanes in self.parts:
            part = {domain: images[lanes] for domain, images in real.items()}
            for direction in DIRECTIONS:
                total, fake, each = generators_loss(
                    self.generators,
                    self.discriminators,
                    direction,
                    part,
                    {name: each[lanes] for name, each in weights.items()},
                    self.recipe,
                    self.machine.autocast,
                )
                (total / len(self.parts)).backward(inputs=parameters)  # type: ignore[no-untyped-call]
                found.append(each)
                fakes[target_of(direction)].append(fake.detach())
        losses = self._mean(parameters, means(found, len(self.parts)))
        self.generator_adam.step()
        return {domain: torch.cat(images) for domain, images in fakes.items()}, losses

    def _update_discriminators(
        self,
        real: Mapping[Domain, Tensor],
        shown: Mapping[Domain, Tensor],
        further: Mapping[Domain, tuple[Tensor, Tensor]],
    ) -> dict[str, Tensor]:
        """One Adam step for both discriminators; `further` has (real, shown) beyond the batch."""
        found: list[dict[str, Tensor]] = []
        self.discriminator_adam.zero_grad()
        for lanes in self.parts:
            for domain in DOMAINS:
                images, fakes = real[domain][lanes], shown[domain][lanes]
                if domain in further:
                    many = self.recipe.discriminator_images - 1
                    beyond = slice(lanes.start * many, lanes.stop * many)
                    more, earlier_ones = further[domain]
                    images = torch.cat([images, more[beyond]])
                    fakes = torch.cat([fakes, earlier_ones[beyond]])
                total, each = discriminators_loss(
                    self.discriminators,
                    domain,
                    images,
                    fakes,
                    self.recipe,
                    self.machine.autocast,
                )
                weights = list(self.discriminators[f"discriminator_{domain}"].parameters())
                (total / len(self.parts)).backward(inputs=weights)  # type: ignore[no-untyped-call]
                found.append(each)
        losses = self._mean(list(self.discriminators.parameters()), means(found, len(self.parts)))
        self.discriminator_adam.step()
        return losses

    def _pixel_weights(self, batch: Batch) -> Mapping[str, Images]:
        """The weights of the pixels in the losses, of the whole batch together."""
        if self.processes is None or self.recipe.gaps == "count":
            return pixel_weights(batch)
        return shared_pixel_weights(batch, self.processes.sum)

    def _mean(self, weights: Sequence[Tensor], losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses as means over the whole batch; so are the gradients of `weights` then.

        Of several processes each has its share of the sum, all in one exchange.
        """
        if self.processes is None:
            return losses
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        values = torch.stack(list(losses.values())).to(gradients[0].dtype)
        torch._foreach_mul_([*gradients, values], self.share)
        self.processes.add([*gradients, values])
        return dict(zip(losses, values, strict=True))

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
        found = self._tensors()
        if self.processes is not None:
            found |= {k: self.processes.gather(pool, self.lanes) for k, pool in self.pools.items()}
        tensors = {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}
        arrays = {name: np.array(array, order="C") for name, array in tensors.items()}
        arrays["updates"] = np.array(self.updates, np.int64)
        if self.processes is not None:
            require_equal(self.processes, arrays)
        return arrays

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """See seam.Engine.load."""
        updates = {"updates": torch.tensor(0)}
        if self.processes is None:
            fill(self._tensors() | updates, arrays, whole=True)
        else:
            self._load_shared(updates, arrays, self.processes)
        self.updates = int(updates["updates"])
        for adam in (self.generator_adam, self.discriminator_adam):
            for slot in adam.state.values():
                slot["step"].fill_(self.updates)

    def _load_shared(
        self,
        updates: dict[str, Tensor],
        arrays: Mapping[str, np.ndarray],
        processes: TorchProcesses,
    ) -> None:
        """Takes the state of the first process: weights whole, and each its lanes of the pools."""
        whole = dict(self.pools)
        if processes.place.rank == 0:
            size = self.recipe.batch_size
            whole = {k: x.new_empty(size, *x.shape[1:], device="cpu") for k, x in whole.items()}
            fill(self._tensors() | whole | updates, arrays, whole=True)
        processes.broadcast([x for name, x in self._tensors().items() if name not in self.pools])
        for name, pool in self.pools.items():
            processes.scatter(whole[name], pool, self.lanes)
        updates["updates"].fill_(int(processes.sum([float(updates["updates"])])[0]))

    def _tensors(self) -> dict[str, Tensor]:
        """Returns all tensors of the state by canonical name, not copied."""
        moments = self.generator_adam.state | self.discriminator_adam.state
        tensors: dict[str, Tensor] = dict(self.parameters)
        tensors |= {f"ema.{name}": value for name, value in self.ema.items()}
        for moment, slot in (("moment1", "exp_avg"), ("moment2", "exp_avg_sq")):
            tensors |= {f"{moment}.{name}": moments[p][slot] for name, p in self.parameters.items()}
        return tensors | self.pools


def what_to_compile(
    recipe: Recipe, runtime: Runtime, machine: Machine
) -> Literal["off", "blocks", "full"]:
    """What `--compile auto` means here: nothing on a CPU, where it was slower (docs/speed.md)."""
    if runtime.compile != "auto":
        return runtime.compile
    pays = machine.device.type == "cuda" and recipe.steps >= COMPILED_FROM
    return "blocks" if pays else "off"


def adapt(
    generators: nn.ModuleDict, runtime: Runtime, compiled: Literal["off", "blocks", "full"]
) -> None:
    """Has generators checkpoint their activations, and compiles them in place, at their first call.

    All residual blocks are compiled once. Discriminators are not: a gradient penalty is
    differentiated twice, which compiled code is not.
    """
    for generator in generators.values():
        assert isinstance(generator, Generator)
        generator.recompute = runtime.activation_checkpointing
        if compiled == "full":
            generator.compile(dynamic=False)
        for block in generator.blocks if compiled == "blocks" else ():
            block.compile(dynamic=False)


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


def means(found: Sequence[Mapping[str, Tensor]], parts: int) -> dict[str, Tensor]:
    """The mean of each loss over the parts of a batch, without the graphs that made them."""
    sums: dict[str, Tensor] = {}
    for losses in found:
        for name, loss in losses.items():
            share = loss.detach() / parts
            sums[name] = sums[name] + share if name in sums else share
    return sums


def earlier(pool: Tensor, slot: NDArray[np.int32]) -> Tensor:
    """Images (N * K, C, H, W) of `pool` (lanes, slots, H, W, C), named by `slot` (lanes, K)."""
    index = torch.from_numpy(np.asarray(slot, np.int64)).to(pool.device, non_blocking=True)
    lanes = torch.arange(len(index), device=pool.device)[:, None]
    return pool[lanes, index].flatten(0, 1).permute(0, 3, 1, 2)
