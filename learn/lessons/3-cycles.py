# %% [markdown]
# # 3. Why cycles
# **Question: who says that a summer photograph becomes *its own* winter, and not just any winter?**
#
# Lesson 1 ended with a warning: the game fixes the pile of results, and not which input becomes which output.
# Zhu, Park, Isola and Efros (2017, arXiv 1703.10593) found a remedy that needs no pairs: learn *both* directions,
# and ask that one after the other gives the original. You write that loss, train with it and without it, and
# look. It takes about two minutes.
#
# Names, here and in `unpaired`: `generator_ab` translates A (summer) to B (winter), `generator_ba` back. `fake_b`
# is the translation of `real_a`; `cycle_a` is `fake_b`, translated back.
# %% setup
import sys

sys.path.append("..")  # the folder that holds learn/

import jax
import jax.numpy as jnp
import torch

from learn import draw, scenes
from learn.check import check

torch.set_num_threads(1)


# %% [markdown]
# ## Exercise 1: both cycles
# %% exercise both_cycles
def both_cycles(generator_ab, generator_ba, real_a, real_b):
    """Returns fake_b, cycle_a, fake_a, cycle_b."""
    # blank
    # fake_b = ...
    # cycle_a = ...
    # fake_a = ...
    # cycle_b = ...
    # solution
    fake_b = generator_ab(real_a)
    cycle_a = generator_ba(fake_b)
    fake_a = generator_ba(real_b)
    cycle_b = generator_ab(fake_a)
    # end
    return fake_b, cycle_a, fake_a, cycle_b


check("both_cycles", both_cycles)


# %% [markdown]
# Mind the gradient: the error of `cycle_a` is to teach *both* generators. `generator_ba`, to make more of what it
# gets, and `generator_ab`, to leave in `fake_b` what is needed to return. What would `fake_b.detach()` do?
#
# ## Exercise 2: the cycle loss
# How far is a cycle from its original? The paper takes the mean *absolute* difference, over all pixels and bands,
# of both domains, added. (Squares punish few large errors most, and a generator that is unsure then paints the
# mean of what could be: blur.)
# %% exercise cycle_loss
def cycle_loss(real_a, cycle_a, real_b, cycle_b):
    """Images (N, 3, H, W) in [-1, 1]; one number."""
    # solution
    return (cycle_a - real_a).abs().mean() + (cycle_b - real_b).abs().mean()
    # end


check("cycle_loss", cycle_loss)


# %% [markdown]
# ## Exercise 3: the same in JAX
# %% exercise cycle_loss_jax
def cycle_loss_jax(real_a, cycle_a, real_b, cycle_b):
    """The same of JAX arrays (N, H, W, 3)."""
    # solution
    return jnp.abs(cycle_a - real_a).mean() + jnp.abs(cycle_b - real_b).mean()
    # end


check("cycle_loss_jax", cycle_loss_jax)
# %% [markdown]
# Side by side: the same loss. And the same slopes? At a pixel that is restored *exactly*, $|x|$ has a corner,
# where its slope could be anything from -1 to 1, and the two frameworks choose differently:
# %%
gap = [-0.5, 0.0, 0.5]
x = torch.tensor(gap, requires_grad=True)
x.abs().sum().backward()
print("slopes of |x| at", gap)
print("PyTorch", x.grad.tolist())
print("JAX    ", jax.grad(lambda y: jnp.abs(y).sum())(jnp.array(gap)).tolist())


# %% [markdown]
# With images from a network this hardly ever happens. It does happen everywhere at once if generators start as
# the identity (`--start identity`), where each cycle is exact in the first step: then the JAX engine of
# `unpaired` asks for 0, as PyTorch does. A test that compares both engines number by number found it. That is
# what a second implementation is good for.
#
# ## Exercise 4: what generators minimise
# Adversarial terms of both directions (least squares towards 1, lesson 2) and the cycle loss, times its weight:
# 10 in the paper. `scores_a` are what the discriminator of A gives to `fake_a`.
# %% exercise generators_total
def generators_total(scores_a, scores_b, cycle, weight):
    """Scores (N, 1, h, w) of both generated images, the cycle loss, its weight; one number."""
    # solution
    adversarial = (scores_a - 1).square().mean() + (scores_b - 1).square().mean()
    return adversarial + weight * cycle
    # end


check("generators_total", generators_total)
# %% [markdown]
# ## The experiment
# A whole CycleGAN, small: the networks of `unpaired` (preset `tiny`, a little narrower), your losses, 300 steps
# on `seasons-lite`, twice. The *only* difference is the weight of the cycle loss. (The penalty in the
# discriminators' loss keeps them from winning; lesson 4.)
# %%
from unpaired.engines.architecture import discriminator_layers, generator_layers
from unpaired.engines.torch.networks import Discriminator, Generator

STEPS = 300
train_a, train_b = scenes.load("trainA"), scenes.load("trainB")
test_a, test_b = scenes.load("testA"), scenes.load("testB")  # the same scenes, painted twice


def new_networks():
    layers = generator_layers(3, 3, width=12, blocks=0, upsample="resize")
    judged = discriminator_layers(3, width=16, layers=2, norm="none")
    generators = [Generator(layers, "noise") for _ in "ab"]
    discriminators = [Discriminator(judged) for _ in "ab"]
    networks = [(g, layers) for g in generators] + [(d, judged) for d in discriminators]
    for network, described in networks:
        for layer in described:
            torch.nn.init.normal_(network.get_parameter(f"{layer.name}.weight"), std=layer.std)
            if layer.bias:
                torch.nn.init.zeros_(network.get_parameter(f"{layer.name}.bias"))
    return generators, discriminators


def discriminators_total(discriminator, real, generated):
    images = torch.cat([real, generated.detach()]).requires_grad_()
    scores = discriminator(images)
    on_real, on_fake = scores.chunk(2)
    loss = 0.5 * ((on_real - 1).square().mean() + on_fake.square().mean())
    (slopes,) = torch.autograd.grad(scores.mean((1, 2, 3)).sum(), images, create_graph=True)
    return loss + 0.5 * slopes.square().sum((1, 2, 3)).mean()


def train(weight, steps=STEPS, seed=0):
    torch.manual_seed(seed)
    (ab, ba), (judge_a, judge_b) = new_networks()
    adam_g = torch.optim.Adam([*ab.parameters(), *ba.parameters()], 5e-4, (0.5, 0.999))
    adam_d = torch.optim.Adam([*judge_a.parameters(), *judge_b.parameters()], 5e-4, (0.5, 0.999))
    errors = []
    for _ in range(steps):
        real_a = train_a[torch.randint(len(train_a), (4,))]
        real_b = train_b[torch.randint(len(train_b), (4,))]
        fake_b, cycle_a, fake_a, cycle_b = both_cycles(ab, ba, real_a, real_b)
        cycle = cycle_loss(real_a, cycle_a, real_b, cycle_b)
        loss = generators_total(judge_a(fake_a), judge_b(fake_b), cycle, weight)
        adam_g.zero_grad()
        loss.backward()
        adam_g.step()
        judged = discriminators_total(judge_a, real_a, fake_a)
        judged = judged + discriminators_total(judge_b, real_b, fake_b)
        adam_d.zero_grad()
        judged.backward()
        adam_d.step()
        errors.append(float(cycle.detach()))
    return ab, ba, errors


without = train(weight=0.0)
with_cycle = train(weight=10.0)


# %%
def show(ab, ba):
    with torch.no_grad():
        fake_b, cycle_a, fake_a, _ = both_cycles(ab, ba, test_a, test_b)
    columns = {"summer": test_a, "to winter": fake_b, "true winter": test_b, "and back": cycle_a}
    return draw.images(columns | {"winter": test_b, "to summer": fake_a, "true summer": test_a})


print("without the cycle loss")
show(*without[:2])
# %%
print("with the cycle loss, weight 10")
show(*with_cycle[:2])


# %% [markdown]
# Compare the columns *to winter* and *true winter* row by row. Without cycles there is snow below and sky above,
# and there are dark things that might be trees: **somewhere**. The discriminator cannot object: there are winters
# with trees there. With cycles, trees, lakes and the ridge stay where they were, since they must be found again
# in the cycle. (Both are early: the demo of `unpaired` trains 25 times as long.)
#
# In numbers, for these test scenes, of which the true winter is known. The generators never saw a pair.
# %%
def psnr(images, truth):
    return float(10 * torch.log10(4 / (images - truth).square().mean()))


for name, (ab, ba, _) in {"without": without, "with": with_cycle}.items():
    with torch.no_grad():
        fake_b, cycle_a, fake_a, _ = both_cycles(ab, ba, test_a, test_b)
    levels = float((cycle_a - test_a).abs().mean()) * 127.5
    print(f"{name:8s} PSNR to winter {psnr(fake_b, test_b):.1f} dB, ", end="")
    print(f"to summer {psnr(fake_a, test_a):.1f} dB; cycle error {levels:.0f} levels of 255")
print("the cycle loss, without its weight:")
draw.curves({"without": without[2], "with, weight 10": with_cycle[2]})
# %% [markdown]
# ## Exercise 5: what the cycle loss does not forbid
# Cycle consistency is necessary. Is it enough? For which of these pairs of generators is the cycle loss **exactly
# 0**?
#
# - `"nothing"`: both return their input.
# - `"negative"`: both return the negative, $-x$.
# - `"mean"`: both return the mean image of their target domain.
# - `"mirror"`: both mirror the image left to right.
# - `"grey"`: to B: the image without its colours; to A: the same.
# - `"channels"`: to B: red, green and blue become green, blue and red; to A: the other way round.
# %% exercise free_of_cycle_loss
# blank
# free_of_cycle_loss = {...}  # a set of names, such as {"nothing", "grey"}
# solution
free_of_cycle_loss = {"nothing", "negative", "mirror", "channels"}  # whatever can be undone
# end

check("free_of_cycle_loss", free_of_cycle_loss)
# %% [markdown]
# So whatever can be undone is free: the cycle loss asks only that nothing is *lost*. That the result looks like
# winter is up to the discriminators; that it is not a negative or mirrored is up to nobody, except that
# convolutions find the straight path easier.
#
# Does that happen? The same training, with the cycle loss, from other first weights. *Content kept* is a metric
# of `unpaired`: the correlation of the edges before and after. 1: all edges are where and as they were; 0:
# unrelated; below 0: turned round.
# %%
from unpaired.metrics.source import content_kept

inverted = train(weight=10.0, steps=200, seed=2)


def kept(ab):
    with torch.no_grad():
        images = scenes.as_levels(ab(test_a)).astype(float)
    return content_kept(images, scenes.as_levels(test_a).astype(float)).mean()


for name, found in {"first weights 0": with_cycle, "first weights 2": inverted}.items():
    print(f"{name}: cycle loss {found[2][-1]:.2f}, content kept {kept(found[0]):.2f}")
show(*inverted[:2])
# %% [markdown]
# Look at the trees in *to winter*. (Measured on one machine: content kept is -0.17 in this training. On yours,
# sums may be rounded in another order, and a training may take another turn.) The cycle is nearly as good as
# above, the piles look as they should, and dark things became light. Lesson 4 is about seeing this without
# looking.
#
# ## What to remember
# - The adversarial loss says "look like B"; the cycle loss says "lose nothing". Only together do they mean
#   "translate".
# - The error of a cycle teaches both generators; nothing is detached.
# - Cycle consistency is necessary, not sufficient: every translation that can be undone is free.
# - What one framework does at a corner the other may do differently. Tests with numbers find it.
#
# **The same with the product**: `unpaired.train("seasons-lite", preset="tiny", out="runs/none", cycle=0.0,
# steps=300)`.
#
# **Continue**: [lesson 4](4-failures.ipynb).
