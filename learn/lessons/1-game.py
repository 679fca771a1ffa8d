# %% [markdown]
# # 1. The adversarial game
# **Question: how can a network learn to draw something, if nobody tells it what it should have drawn?**
#
# In supervised learning every input has its answer, and the loss is the distance from it. Without pairs there is
# none. There are only two piles: what we have, and what it should look like. The idea of Goodfellow and others
# (2014, arXiv 1406.2661): train a second network, the *discriminator*, to tell the two piles apart. The
# *generator* then learns to win against it. The loss is no longer written by us; it is learnt.
#
# Here the images are points in the plane, so that all of it can be seen. It takes about a minute.
#
# **How to work**: fill in what is marked `...`, run the cell. `check` says whether it is right, or gives a hint.
# The same in a terminal, from the root of the repository: `python -m learn.check 1`. Stuck: `python -m
# learn.check 1 --solution NAME`.
# %% setup
import sys

sys.path.append("..")  # the folder that holds learn/

import math

import torch
import torch.nn.functional as F

from learn import draw
from learn.check import check

torch.set_num_threads(1)


# %% [markdown]
# ## The two piles
# A is a cloud around the middle. B, the pile to be like, lies on two crescents. No point of A belongs to any
# point of B.
# %%
def draw_a(count):
    return 0.5 * torch.randn(count, 2)


def draw_b(count):
    angle = math.pi * torch.rand(count)
    side = torch.randint(0, 2, (count,)) * 2.0 - 1
    crescent = torch.stack([side * (angle.cos() - 0.5), side * (angle.sin() - 0.25)], 1)
    return 1.2 * crescent + 0.08 * torch.randn(count, 2)


torch.manual_seed(0)
draw.points({"what there is": {"B": draw_b(600), "A": draw_a(600)}}, side=260)


# %% [markdown]
# ## Exercise 1: the discriminator's loss
# A discriminator gives each point a score $s$, any number; $\sigma(s) = 1 / (1 + e^{-s})$ is the probability that
# it gives to "this point is real". It should be near 1 for real points and near 0 for generated ones. Its loss is
# the negative log-likelihood:
# $$L_D = -\,\mathrm{mean}\,\log \sigma(s_{real}) \;-\; \mathrm{mean}\,\log\,(1 - \sigma(s_{generated}))$$
# Numbers: $-\log \sigma(s)$ is `F.softplus(-s)`, and $1 - \sigma(s) = \sigma(-s)$. (Why not write the logarithm
# of the sigmoid as it stands? Try `torch.sigmoid(torch.tensor(-200.0)).log()`.)
# %% exercise discriminator_loss
def discriminator_loss(real, generated):
    """Scores (N,) of real and of generated points; one number."""
    # solution
    return F.softplus(-real).mean() + F.softplus(generated).mean()
    # end


check("discriminator_loss", discriminator_loss)


# %% [markdown]
# ## Exercise 2: the generator's loss
# The generator wants the opposite. One could take $-L_D$, of which only $\mathrm{mean}\,\log(1 -
# \sigma(s_{generated}))$ depends on it. But look at its slope where the generator is bad, at $s = -6$, say: the
# discriminator is certain, $\sigma(s)$ is nearly 0, and so is the slope. Who needs help most gets least. The
# usual remedy is to *maximise* $\log \sigma(s_{generated})$ instead: the same goal, a slope of about 1 where it
# counts. Write this one, as a loss to be minimised.
# %% exercise generator_loss
def generator_loss(generated):
    """Scores (N,) that the discriminator gives to generated points; one number."""
    # solution
    return F.softplus(-generated).mean()
    # end


check("generator_loss", generator_loss)
# %% [markdown]
# The slopes of both by the score, without their signs. Left, where the discriminator has seen through the
# generator, only one of the two still teaches.
# %%
scores = torch.linspace(-6, 6, 100)
draw.curves(
    {
        "log sigmoid(s), which we take": (scores, torch.sigmoid(-scores)),
        "log(1 - sigmoid(s)), the opposite of L_D": (scores, torch.sigmoid(scores)),
    },
    x="score of a generated point",
)


# %% [markdown]
# ## Exercise 3: one round of the game
# Both play in turn, on the same generated points:
# 1. The discriminator looks at real and generated points and takes one step with `discriminator_loss`. The
#    generator stands still: it is not its turn, so no gradient may reach it (`detach`).
# 2. The generator takes one step with `generator_loss`, judged by the new discriminator.
#
# Gradients add up in PyTorch until someone calls `zero_grad`. The backward pass of step 2 also leaves gradients
# in the discriminator: where do they go?
# %% exercise play
def play(generator, discriminator, generator_adam, discriminator_adam, source, real):
    """One round; returns both losses, the discriminator's first."""
    generated = generator(source)
    # blank
    # d_loss = ...  # 1. the discriminator's step
    # g_loss = ...  # 2. the generator's step
    # solution
    d_loss = discriminator_loss(discriminator(real), discriminator(generated.detach()))
    discriminator_adam.zero_grad()  # what the generator's loss left there goes away, too
    d_loss.backward()
    discriminator_adam.step()

    g_loss = generator_loss(discriminator(generated))
    generator_adam.zero_grad()
    g_loss.backward()
    generator_adam.step()
    # end
    return d_loss, g_loss


check("play", play)


# %% [markdown]
# ## The game
# Your three functions, 1,500 rounds. Watch the orange points (the cloud A, moved by the generator) look for the
# blue ones.
# %%
def network(outputs):
    layers = [torch.nn.Linear(2, 48), torch.nn.LeakyReLU(0.2)]
    layers += [torch.nn.Linear(48, 48), torch.nn.LeakyReLU(0.2), torch.nn.Linear(48, outputs)]
    return torch.nn.Sequential(*layers)


def train(rounds, seed):
    torch.manual_seed(seed)
    generator, discriminator = network(2), network(1)
    adams = [torch.optim.Adam(n.parameters(), 1e-3, (0.5, 0.9)) for n in (generator, discriminator)]
    fixed, panels, losses = draw_a(400), {}, []
    for done in range(rounds + 1):
        if done in (0, 100, 400, rounds):
            moved = generator(fixed).detach()
            panels[f"after {done} rounds"] = {"B": draw_b(400), "generated": moved}
        each = play(generator, discriminator, *adams, draw_a(128), draw_b(128))
        losses.append([float(loss.detach()) for loss in each])
    return generator, discriminator, panels, torch.tensor(losses)


generator, discriminator, panels, losses = train(1500, seed=1)
draw.points(panels)


# %% [markdown]
# ## Exercise 4: the best discriminator there is
# Say that near some point $x$ real points have the density $p_{real}(x)$ and generated ones $p_{generated}(x)$,
# and that a judge sees as many of the one as of the other. What is the probability that a point found at $x$ is
# real? That is what the best discriminator answers, whatever the generator is.
# %% exercise best_discriminator
def best_discriminator(p_real, p_generated):
    """Densities (N,) at N places; the probabilities (N,) that a point found there is real."""
    # solution
    return p_real / (p_real + p_generated)
    # end


check("best_discriminator", best_discriminator)
# %% [markdown]
# ## Exercise 5: how does it end?
# Suppose the generator has won: its points are spread exactly as the real ones. What does your
# `best_discriminator` say then, everywhere? And what is `discriminator_loss` of a discriminator that says so?
# Give the number (an expression is fine).
# %% exercise even_loss
# blank
# even_loss = ...
# solution
# It says 1/2 everywhere: -log(1/2) for the real ones, and -log(1/2) for the generated.
even_loss = 2 * math.log(2)
# end

check("even_loss", even_loss)
# %% [markdown]
# Here are the losses of the training above, averaged over 25 rounds, with your number as a dashed line. **They do
# not fall as points become better**: they are the score of a game, and a good game is a draw. A discriminator far
# *below* the line is winning. So the losses of a GAN say whether the game is balanced, and nothing about how good
# the result is. Lesson 5 is about what does.
# %%
smooth = losses[:1500].reshape(60, 25, 2).mean(1)
steps = torch.arange(60) * 25
draw.curves(
    {"discriminator": (steps, smooth[:, 0]), "generator": (steps, smooth[:, 1])},
    marks={"a draw": even_loss},
    x="round",
)
# %% [markdown]
# ## One thing the game does not settle
# The same game from three other first weights. Colour shows where a point *came from*: the left half of A or its
# right half. Each time the crescents are covered, more or less; each time other points end up in other places.
# The discriminator sees where points are, and never where they came from: to it all of these are equally good.
# When A and B are summer and winter, "where it came from" is your photograph. Keep this for lesson 3.
# %%
found = {}
for seed in (2, 3, 4):
    generator, *_ = train(1000, seed)
    source = draw_a(500)
    moved, left = generator(source).detach(), source[:, 0] < 0
    found[f"first weights {seed}"] = {
        "B": draw_b(200),
        "from the right": moved[~left],
        "from the left": moved[left],
    }
draw.points(found)
# %% [markdown]
# ## What to remember
# - A discriminator turns "does it look like B?" into a loss, without any pairs.
# - The two play in turn; only the one whose turn it is takes a step.
# - The generator takes the loss whose slope is large where it is bad.
# - A draw is the goal: the discriminator's loss goes to $2 \log 2$ here, not to 0.
# - The game fixes the *pile* of results, not *which input becomes which output*.
#
# **Continue**: [lesson 2](2-patches.ipynb), where the points become images and the discriminator looks at
# patches.
