"""The yardstick of every benchmark: CycleGAN written plainly in PyTorch, as most people run it.

Not an engine, and not used outside benchmarks. It is fp32, eager and channels-first, has one call
of a network for each set of images (six passes of generators in a step), PyTorch's instance norm,
Adam with its default implementation, and lists of images as pools. It computes the step of any
recipe that the engines do; tests hold the two together in float64. Keep it plain: a faster
yardstick would make earlier measurements incomparable.

Sources: arXiv 1703.10593, section 7.2 and equations 1 to 3; docs/concepts.md has the rest.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unpaired.config import Recipe
from unpaired.data.batches import Batch, PoolPlan
from unpaired.directions import Domain

__all__ = ["PlainDiscriminator", "PlainGenerator", "PlainNetworks", "PlainStep"]


def finish(channels: int, norm: str, activation: nn.Module | None) -> list[nn.Module]:
    """The modules that follow a convolution."""
    norms: list[nn.Module] = [nn.InstanceNorm2d(channels)] if norm == "instance" else []
    return norms if activation is None else [*norms, activation]


class PlainBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x)))))."""

    def __init__(self, channels: int, norm: str, activation: nn.Module) -> None:
        super().__init__()
        bias = norm != "instance"
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            *finish(channels, norm, activation),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            *finish(channels, norm, None),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y


class PlainGenerator(nn.Module):
    """Images (N, bands_in, H, W) to images (N, bands_out, H, W) in [-1, 1]."""

    def __init__(self, recipe: Recipe, bands_in: int, bands_out: int) -> None:
        super().__init__()
        self.start = recipe.settled_start
        one, two, four, norm = recipe.width, 2 * recipe.width, 4 * recipe.width, recipe.norm
        bias = norm != "instance"
        active = nn.LeakyReLU(0.2) if bias else nn.ReLU()

        def up(inner: int, outer: int) -> list[nn.Module]:
            if recipe.upsample == "transposed":
                enlarged: list[nn.Module] = [
                    nn.ConvTranspose2d(inner, outer, 3, 2, 1, output_padding=1, bias=bias)
                ]
            else:
                enlarged = [
                    nn.Upsample(scale_factor=2, mode="nearest"),
                    nn.ReflectionPad2d(1),
                    nn.Conv2d(inner, outer, 3, bias=bias),
                ]
            return [*enlarged, *finish(outer, norm, active)]

        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(bands_in, one, 7, bias=bias),
            *finish(one, norm, active),
            nn.Conv2d(one, two, 3, 2, 1, bias=bias),
            *finish(two, norm, active),
            nn.Conv2d(two, four, 3, 2, 1, bias=bias),
            *finish(four, norm, active),
            *(PlainBlock(four, norm, active) for _ in range(recipe.blocks)),
            *up(four, two),
            *up(two, one),
            nn.ReflectionPad2d(3),
            nn.Conv2d(one, bands_out, 7),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        if self.start == "noise":
            return torch.tanh(y)
        if self.start == "residual":
            return x + y
        return torch.tanh(torch.atanh(0.98 * x.clamp(-1.019, 1.019)) + y) / 0.98


class PlainDiscriminator(nn.Sequential):
    """Images (N, bands, H, W) to scores (N, 1, h, w), one per patch."""

    def __init__(self, recipe: Recipe, bands: int) -> None:
        norm, count = recipe.discriminator_norm, recipe.discriminator_layers
        widths = [recipe.discriminator_width * min(2**k, 8) for k in range(count + 1)]
        layers: list[nn.Module] = [nn.Conv2d(bands, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for k in range(1, count + 1):
            stride = 2 if k < count else 1
            bias = norm != "instance"
            layers.append(nn.Conv2d(widths[k - 1], widths[k], 4, stride, 1, bias=bias))
            layers += finish(widths[k], norm, nn.LeakyReLU(0.2))
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))


class PlainNetworks:
    """All four networks, on a device; weights are normal of deviation 0.02, as in 2017."""

    def __init__(
        self, recipe: Recipe, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.recipe, self.device, self.dtype = recipe, device, dtype
        bands_a, bands_b = recipe.bands_a, recipe.bands_b
        torch.manual_seed(recipe.seed)
        self.generator_ab = PlainGenerator(recipe, bands_a, bands_b)
        self.generator_ba = PlainGenerator(recipe, bands_b, bands_a)
        self.discriminator_a = PlainDiscriminator(recipe, bands_a)
        self.discriminator_b = PlainDiscriminator(recipe, bands_b)
        for network in self.networks.values():
            network.to(device, dtype)
            for name, parameter in network.named_parameters():
                nn.init.normal_(parameter, 0.0, 0.02 if name.endswith("weight") else 0.0)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by the names that engines give them."""
        names = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
        return {name: getattr(self, name) for name in names}

    def send(self, images: NDArray[np.floating]) -> Tensor:
        """NHWC numpy to contiguous NCHW on the device."""
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return torch.from_numpy(planes).to(self.device, self.dtype)

    def translate(self, images: NDArray[np.floating]) -> NDArray[np.floating]:
        """Images (N, H, W, bands) from a to b, one call for the batch."""
        with torch.no_grad():
            result: NDArray[np.floating] = self.generator_ab(self.send(images)).cpu().numpy()
        return np.ascontiguousarray(result.transpose(0, 2, 3, 1))


class PlainStep(PlainNetworks):
    """The training step, with Adam and image pools."""

    def __init__(
        self, recipe: Recipe, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(recipe, device, dtype)
        self.generators = [*self.generator_ab.parameters(), *self.generator_ba.parameters()]
        self.judges = [*self.discriminator_a.parameters(), *self.discriminator_b.parameters()]
        betas = recipe.beta1, recipe.beta2
        self.adam_g = torch.optim.Adam(self.generators, recipe.learning_rate, betas)
        self.adam_d = torch.optim.Adam(self.judges, recipe.discriminator_rate, betas)
        self.ema = [p.detach().clone() for p in self.generators] if recipe.ema else []
        self.pools: dict[str, list[dict[int, Tensor]]] = {
            domain: [{} for _ in range(recipe.batch_size)] for domain in ("a", "b")
        }
        self.updates = 0

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """One step of both generators, then one of both discriminators; the losses by name."""
        recipe, mse, l1 = self.recipe, nn.MSELoss(), nn.L1Loss()
        real_a, real_b = self.send(batch.real_a), self.send(batch.real_b)

        fake_b, fake_a = self.generator_ab(real_a), self.generator_ba(real_b)
        cycle_a, cycle_b = self.generator_ba(fake_b), self.generator_ab(fake_a)
        require_gradients(self.judges, False)
        score_b, score_a = self.discriminator_b(fake_b), self.discriminator_a(fake_a)
        losses = {
            "adversarial_ab": mse(score_b, torch.ones_like(score_b)),
            "adversarial_ba": mse(score_a, torch.ones_like(score_a)),
            "cycle_a": l1(cycle_a, real_a),
            "cycle_b": l1(cycle_b, real_b),
        }
        total = losses["adversarial_ab"] + losses["adversarial_ba"]
        total = total + recipe.cycle * (losses["cycle_a"] + losses["cycle_b"])
        if recipe.identity_weight:
            losses["identity_a"] = l1(self.generator_ba(real_a), real_a)
            losses["identity_b"] = l1(self.generator_ab(real_b), real_b)
            identity = losses["identity_a"] + losses["identity_b"]
            total = total + recipe.identity_weight * identity
        self.adam_g.zero_grad()
        total.backward()
        self.adam_g.step()

        require_gradients(self.judges, True)
        self.adam_d.zero_grad()
        domains: tuple[tuple[Domain, nn.Module, Tensor, Tensor, PoolPlan], ...] = (
            ("a", self.discriminator_a, real_a, fake_a.detach(), batch.pool_a),
            ("b", self.discriminator_b, real_b, fake_b.detach(), batch.pool_b),
        )
        for domain, judge, real, fake, plan in domains:
            shown = self.exchange(domain, fake, plan)
            further = batch.further.get(domain)
            more = self.send(further.real) if further else None
            old = self.earlier(domain, further.slot) if further else None
            loss = penalty = torch.zeros((), device=self.device)
            for target, images, others in ((1.0, real, more), (0.0, shown, old)):
                if others is not None:
                    images = torch.cat([images, others])
                images = images.detach().requires_grad_(recipe.gradient_penalty > 0)
                scores = judge(images)
                if recipe.gradient_penalty:
                    penalty = penalty + squared_slope(scores, images) / 2
                loss = loss + mse(scores, torch.full_like(scores, target)) / 2
            whole = loss + recipe.gradient_penalty * penalty
            whole.backward()  # type: ignore[no-untyped-call]
            losses[f"discriminator_{domain}"] = loss
        self.adam_d.step()

        self.updates += 1
        decay = min(recipe.ema, self.updates / (self.updates + 9))
        for mean, parameter in zip(self.ema, self.generators, strict=False):
            mean.mul_(decay).add_(parameter.detach(), alpha=1 - decay)
        return {name: loss.detach() for name, loss in losses.items()}

    def exchange(self, domain: str, fakes: Tensor, plan: PoolPlan) -> Tensor:
        """What the discriminator sees of new fakes and of those in the pool."""
        shown = []
        for lane, fake in enumerate(fakes):
            pool, slot = self.pools[domain][lane], int(plan.slot[lane])
            shown.append(pool[slot] if plan.swap[lane] and plan.store[lane] else fake)
            if plan.store[lane]:
                pool[slot] = fake.clone()
        return torch.stack(shown)

    def earlier(self, domain: str, slots: NDArray[np.int32]) -> Tensor:
        """Images of the pools: those named by `slots` (lanes, K)."""
        pools = self.pools[domain]
        return torch.stack(
            [pool[int(slot)] for pool, row in zip(pools, slots, strict=True) for slot in row]
        )


def require_gradients(parameters: Iterable[nn.Parameter], wanted: bool) -> None:
    """Switches gradients of parameters on or off."""
    for parameter in parameters:
        parameter.requires_grad_(wanted)


def squared_slope(scores: Tensor, images: Tensor) -> Tensor:
    """Half the mean over images of the squared gradient of their mean score."""
    means = scores.mean((1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(means, images, create_graph=True)
    return gradient.pow(2).sum((1, 2, 3)).mean() / 2
