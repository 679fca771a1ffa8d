"""The 2017 training step restated plainly in PyTorch, as a reference for tests.

Written from the paper and recipe.md alone: standard modules, contiguous layout, one forward for
each input, a list as image pool, Adam with its defaults. Nothing of `unpaired` is used here.
"""

import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, bands_in=3, bands_out=3, width=64, blocks=9, start="noise"):
        super().__init__()
        self.start = start

        def block():
            c = width * 4
            return nn.Sequential(
                nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=False), nn.InstanceNorm2d(c),
                nn.ReLU(), nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=False),
                nn.InstanceNorm2d(c),
            )  # fmt: skip

        def up(inner, outer):
            return [
                nn.ConvTranspose2d(inner, outer, 3, 2, padding=1, output_padding=1, bias=False),
                nn.InstanceNorm2d(outer), nn.ReLU(),
            ]  # fmt: skip

        w = width
        self.begin = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(bands_in, w, 7, bias=False), nn.InstanceNorm2d(w),
            nn.ReLU(), nn.Conv2d(w, 2 * w, 3, 2, 1, bias=False), nn.InstanceNorm2d(2 * w),
            nn.ReLU(), nn.Conv2d(2 * w, 4 * w, 3, 2, 1, bias=False), nn.InstanceNorm2d(4 * w),
            nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(block() for _ in range(blocks))
        self.end = nn.Sequential(
            *up(4 * w, 2 * w), *up(2 * w, w), nn.ReflectionPad2d(3), nn.Conv2d(w, bands_out, 7),
        )  # fmt: skip

    def forward(self, x):
        y = self.begin(x)
        for block in self.blocks:
            y = y + block(y)
        y = self.end(y)
        if self.start == "noise":
            return torch.tanh(y)
        if self.start == "residual":
            return x + y
        u = 0.98 * torch.clamp(x, -1.019, 1.019)
        beneath = (torch.log(1 + u) - torch.log(1 - u)) / 2  # the inverse of tanh
        return torch.tanh(beneath + y) / 0.98


class Discriminator(nn.Sequential):
    def __init__(self, bands=3, width=64):
        def layer(inner, outer, stride):
            return [
                nn.Conv2d(inner, outer, 4, stride, 1, bias=False),
                nn.InstanceNorm2d(outer), nn.LeakyReLU(0.2),
            ]  # fmt: skip

        w = width
        super().__init__(
            nn.Conv2d(bands, w, 4, 2, 1), nn.LeakyReLU(0.2), *layer(w, 2 * w, 2),
            *layer(2 * w, 4 * w, 2), *layer(4 * w, 8 * w, 1), nn.Conv2d(8 * w, 1, 4, 1, 1),
        )  # fmt: skip


class Step:
    """One training step; the image pool keeps at most 50 fakes and follows instructions."""

    def __init__(
        self, width=64, blocks=9, discriminator_width=64, rate=2e-4, identity=0.5, start="noise"
    ):
        self.g_ab, self.g_ba = (
            Generator(width=width, blocks=blocks, start=start) for _ in range(2)
        )
        self.d_a, self.d_b = (Discriminator(width=discriminator_width) for _ in range(2))
        self.identity, self.rate = identity, rate
        self.pool_a, self.pool_b = [], []
        self.make_optimisers()

    def make_optimisers(self):
        generators = [*self.g_ab.parameters(), *self.g_ba.parameters()]
        discriminators = [*self.d_a.parameters(), *self.d_b.parameters()]
        self.adam_g = torch.optim.Adam(generators, self.rate, (0.5, 0.999))
        self.adam_d = torch.optim.Adam(discriminators, self.rate, (0.5, 0.999))

    def __call__(self, real_a, real_b, chance_a=None, chance_b=None):
        mse, l1 = nn.MSELoss(), nn.L1Loss()
        fake_b, fake_a = self.g_ab(real_a), self.g_ba(real_b)
        cycle_a, cycle_b = self.g_ba(fake_b), self.g_ab(fake_a)
        for p in [*self.d_a.parameters(), *self.d_b.parameters()]:
            p.requires_grad_(False)
        said_b, said_a = self.d_b(fake_b), self.d_a(fake_a)
        adversarial_ab = mse(said_b, torch.ones_like(said_b))
        adversarial_ba = mse(said_a, torch.ones_like(said_a))
        loss_cycle_a, loss_cycle_b = l1(cycle_a, real_a), l1(cycle_b, real_b)
        total = adversarial_ab + adversarial_ba + 10 * loss_cycle_a + 10 * loss_cycle_b
        losses = {
            "adversarial_ab": adversarial_ab, "adversarial_ba": adversarial_ba,
            "cycle_a": loss_cycle_a, "cycle_b": loss_cycle_b,
        }  # fmt: skip
        if self.identity:
            losses["identity_a"] = l1(self.g_ba(real_a), real_a)
            losses["identity_b"] = l1(self.g_ab(real_b), real_b)
            total = total + 10 * self.identity * (losses["identity_a"] + losses["identity_b"])
        self.adam_g.zero_grad()
        total.backward()
        self.adam_g.step()

        for p in [*self.d_a.parameters(), *self.d_b.parameters()]:
            p.requires_grad_(True)
        self.adam_d.zero_grad()
        for name, judge, real, fake, pool, chance in (
            ("discriminator_a", self.d_a, real_a, fake_a, self.pool_a, chance_a),
            ("discriminator_b", self.d_b, real_b, fake_b, self.pool_b, chance_b),
        ):
            shown = self.through_pool(pool, fake.detach(), chance)
            on_real, on_fake = judge(real), judge(shown)
            loss = mse(on_real, torch.ones_like(on_real)) + mse(on_fake, torch.zeros_like(on_fake))
            losses[name] = loss / 2
            losses[name].backward()
        self.adam_d.step()
        return {name: loss.item() for name, loss in losses.items()}

    @staticmethod
    def through_pool(pool, fake, chance):
        """The paper's pool; `chance` is (slot, swap) once the pool is full."""
        if len(pool) < 50:
            pool.append(fake.clone())
            return fake
        slot, swap = chance or (0, False)
        if not swap:
            return fake
        old = pool[slot]
        pool[slot] = fake.clone()
        return old
