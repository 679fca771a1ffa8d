"""The CycleGAN training step in PyTorch: the engine `torch` of the seam.

Source of the step: arXiv 1703.10593, equations 1 to 3, and the authors' code for the order.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from unpaired.config import Recipe, Runtime
from unpaired.data.batches import Batch, PoolPlan
from unpaired.directions import Direction, Domain
from unpaired.engines.seam import Arrays, Images, Losses
from unpaired.engines.torch.networks import Discriminator, Generator
from unpaired.errors import CheckpointError, ConfigError

__all__ = ["TorchEngine", "TorchTranslator"]


class TorchTranslator:
    """The two generators, for translation alone. See seam.Translator."""

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        self.recipe = recipe
        self.device = find_device(runtime.device)
        self.dtype = torch.float64 if recipe.precision == "fp64" else torch.float32
        bands = {"a": recipe.bands_a, "b": recipe.bands_b}
        self.generators = self._place(
            {
                f"generator_{x}{y}": Generator(
                    bands[x],
                    bands[y],
                    width=recipe.width,
                    blocks=recipe.blocks,
                    upsample=recipe.upsample,
                )
                for x, y in ("ab", "ba")
            }
        )

    @property
    def memory(self) -> Literal["host", "device"]:
        """See seam.Translator.memory."""
        return "host" if self.device.type == "cpu" else "device"

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the weights of the generators; one of the two may be absent."""
        for name, generator in self.generators.items():
            if any(key.startswith(f"{name}.") for key in arrays):
                _fill(dict(_named({name: generator})), arrays)

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Translator.translate."""
        return self._run(self.generators[f"generator_{direction}"], images)

    def _run(self, network: nn.Module, images: Images) -> NDArray[np.float32]:
        """`network` on NHWC images, without gradients; the result is NHWC float32."""
        with torch.inference_mode(), self._autocast():
            result = network(self._to_device(images))
        array: NDArray[np.float32] = result.permute(0, 2, 3, 1).float().cpu().numpy()
        return np.ascontiguousarray(array)

    def _place(self, networks: dict[str, nn.Module]) -> dict[str, nn.Module]:
        """The networks on the device, their kernels channels-last, in the recipe's precision."""
        for network in networks.values():
            network.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return networks

    def _to_device(self, images: Images) -> Tensor:
        """NHWC numpy to channels-last NCHW on the device: a view, then a copy at most."""
        tensor = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        return tensor.to(self.device, self.dtype, non_blocking=True).permute(0, 3, 1, 2)

    def _autocast(self) -> AbstractContextManager[object]:
        """Convolutions in bf16 where the recipe says so; weights stay in fp32."""
        if self.recipe.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


class TorchEngine(TorchTranslator):
    """All four networks, their optimisers and image pools. See seam.Engine."""

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        super().__init__(recipe, runtime)
        self.discriminators = self._place(
            {
                f"discriminator_{domain}": Discriminator(
                    bands, width=recipe.discriminator_width, layers=recipe.discriminator_layers
                )
                for domain, bands in (("a", recipe.bands_a), ("b", recipe.bands_b))
            }
        )
        self.parameters = dict(_named(self.generators)) | dict(_named(self.discriminators))
        self.ema = (
            {name: p.detach().clone() for name, p in _named(self.generators)} if recipe.ema else {}
        )
        self.generator_adam = self._adam(self.generators, recipe.learning_rate)
        self.discriminator_adam = self._adam(self.discriminators, recipe.discriminator_rate)
        side, lanes = recipe.image_size, recipe.batch_size
        self.pools = {
            f"pool_{domain}": torch.zeros(
                lanes, recipe.pool_size, side, side, bands, device=self.device, dtype=self.dtype
            )
            for domain, bands in (("a", recipe.bands_a), ("b", recipe.bands_b))
        }
        self.updates = 0

    @property
    def shard(self) -> tuple[int, int]:
        """This process feeds whole batches."""
        return (0, 1)

    def signature(self) -> str:
        """See seam.Engine.signature."""
        where = str(self.device)
        if self.device.type == "cuda":
            where = torch.cuda.get_device_name(self.device)
        return f"torch {torch.__version__}, {where}, {torch.get_num_threads()} threads"

    # ---- the step -------------------------------------------------------------------------

    def train_step(self, batch: Batch, rate_factor: float) -> Losses:
        """One step of both generators, then one of both discriminators."""
        real_a, real_b = self._to_device(batch.real_a), self._to_device(batch.real_b)
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
        generator_ab, generator_ba = (
            self.generators["generator_ab"],
            self.generators["generator_ba"],
        )
        _require_grad(self.discriminators, False)
        with self._autocast():
            if recipe.identity_weight:
                # Instance norm keeps images apart, so two inputs may share one forward.
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
            "cycle_a": F.l1_loss(cycle_a, real_a),
            "cycle_b": F.l1_loss(cycle_b, real_b),
        }
        total = losses["adversarial_ab"] + losses["adversarial_ba"]
        total = total + recipe.cycle * (losses["cycle_a"] + losses["cycle_b"])
        if recipe.identity_weight:
            losses["identity_a"] = F.l1_loss(identity_a, real_a)
            losses["identity_b"] = F.l1_loss(identity_b, real_b)
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
        _require_grad(self.discriminators, True)
        losses = {}
        for domain, real, shown in (("a", real_a, shown_a), ("b", real_b, shown_b)):
            with self._autocast():
                scores = self.discriminators[f"discriminator_{domain}"](torch.cat([real, shown]))
            on_real, on_fake = scores.chunk(2)
            losses[f"discriminator_{domain}"] = 0.5 * (
                least_squares(on_real, 1.0) + least_squares(on_fake, 0.0)
            )
        self.discriminator_adam.zero_grad()
        (losses["discriminator_a"] + losses["discriminator_b"]).backward()  # type: ignore[no-untyped-call]
        self.discriminator_adam.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def _update_ema(self) -> None:
        """Moves the running means; in the first steps faster, so that they forget the start."""
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

    def _adam(self, networks: dict[str, nn.Module], rate: float) -> torch.optim.Adam:
        parameters = [p for _, p in _named(networks)]
        betas = (self.recipe.beta1, self.recipe.beta2)
        adam = torch.optim.Adam(parameters, rate, betas, fused=True)
        for p in parameters:
            adam.state[p] = {
                "step": torch.zeros((), dtype=torch.float32, device=self.device),
                "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
            }
        return adam

    # ---- what the networks say ------------------------------------------------------------

    def translate(self, images: Images, direction: Direction) -> Images:
        """See seam.Engine.translate."""
        generator = self.generators[f"generator_{direction}"]
        if not self.ema:
            return self._run(generator, images)
        trained = {name: p.detach().clone() for name, p in _named(self.generators)}
        self._copy_into_generators(self.ema)
        try:
            return self._run(generator, images)
        finally:
            self._copy_into_generators(trained)

    def judge(self, images: Images, domain: Domain) -> NDArray[np.float32]:
        """See seam.Engine.judge."""
        return self._run(self.discriminators[f"discriminator_{domain}"], images)[..., 0]

    def _copy_into_generators(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in weights.items():
                self.parameters[name].copy_(value)

    # ---- the state ------------------------------------------------------------------------

    def state(self) -> Arrays:
        """See seam.Engine.state; every array is a copy."""
        arrays = {name: _to_numpy(tensor) for name, tensor in self._tensors().items()}
        arrays["updates"] = np.array(self.updates, np.int64)
        return arrays

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes a state, whole: every name with its shape, none besides."""
        tensors = self._tensors()
        if strange := sorted(set(arrays) ^ {*tensors, "updates"}):
            raise CheckpointError(
                f"the state does not fit the recipe: {strange[0]} is "
                f"{'unexpected' if strange[0] in arrays else 'missing'}"
            )
        _fill(tensors, arrays)
        self.updates = int(arrays["updates"])
        for adam in (self.generator_adam, self.discriminator_adam):
            for slot in adam.state.values():
                slot["step"].fill_(self.updates)

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors of the state by canonical name, not copied."""
        moments = self.generator_adam.state | self.discriminator_adam.state
        tensors: dict[str, Tensor] = dict(self.parameters)
        tensors |= {f"ema.{name}": value for name, value in self.ema.items()}
        for moment, slot in (("moment1", "exp_avg"), ("moment2", "exp_avg_sq")):
            tensors |= {f"{moment}.{name}": moments[p][slot] for name, p in self.parameters.items()}
        return tensors | self.pools


def least_squares(scores: Tensor, target: float) -> Tensor:
    """Mean of (scores - target)^2 (Mao et al., "Least Squares GANs", arXiv 1611.04076)."""
    return (scores - target).square().mean()


def exchange(pool: Tensor, fakes: Tensor, plan: PoolPlan) -> Tensor:
    """What the discriminator is shown of `fakes` (N, C, H, W); the pool changes as planned.

    `pool` (lanes, slots, H, W, C) has a lane for each of the N fakes. Nothing here depends on
    the device's values, so no device is waited for.
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


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name!r} is not a device: cpu, cuda, cuda:1 or mps") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError(f"--device {name} is not there: use --device auto or cpu")
    return device


def _named(networks: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    for prefix, network in networks.items():
        yield from network.named_parameters(prefix)


def _require_grad(networks: Mapping[str, nn.Module], needed: bool) -> None:
    for network in networks.values():
        network.requires_grad_(needed)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    # Always a copy: `contiguous` and `cpu` may both return the tensor itself.
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _fill(tensors: Mapping[str, Tensor], arrays: Mapping[str, np.ndarray]) -> None:
    """Copies arrays into tensors of the same names.

    Raises:
        CheckpointError: a name is missing or a shape differs.
    """
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name not in arrays:
                raise CheckpointError(f"the state does not fit the recipe: {name} is missing")
            if arrays[name].shape != tuple(tensor.shape):
                raise CheckpointError(
                    f"the state does not fit the recipe: {name} has shape {arrays[name].shape}, "
                    f"expected {tuple(tensor.shape)}"
                )
            tensor.copy_(torch.from_numpy(np.require(arrays[name], requirements=["C", "W"])))
