# %% [markdown]
# # 2. Patches, and least squares
# **Question: what should a discriminator of images look at, and what should it tell the generator?**
#
# In lesson 1 a discriminator judged points. For images CycleGAN uses a *PatchGAN* (Isola and others, 2017, arXiv
# 1611.07004): not one verdict for the whole image, but one for every patch of it. And it is trained with *least
# squares* (Mao and others, 2016, arXiv 1611.04076) in place of the logarithm. Both are a few lines. Why they help
# is the subject here. It takes about a minute.
# %% setup
import sys

sys.path.append("..")  # the folder that holds learn/

import torch
import torch.nn.functional as F

from learn import draw, scenes
from learn.check import check

torch.set_num_threads(1)


# %% [markdown]
# ## Exercise 1: how far does one score see?
# A PatchGAN is a plain stack of convolutions. It has no pooling over the whole image, so each of its scores
# depends on a square of pixels only: its *receptive field*. Compute the side of that square from the layers,
# given as `(kernel, stride)`, first layer first.
#
# Begin at the end: one score sees 1 value of the last layer's output. To see $n$ neighbouring outputs of a
# convolution, one has to see how many of its inputs? (Draw a kernel of 4 with stride 2, and two outputs.)
# %% exercise receptive_field
def receptive_field(layers):
    """The side in pixels of what one score sees, such as 70 for the layers below."""
    # solution
    side = 1
    for kernel, stride in reversed(layers):
        side = (side - 1) * stride + kernel  # n outputs: n - 1 strides, and one whole kernel
    return side
    # end


check("receptive_field", receptive_field)
# %% [markdown]
# Is it true? Below is a discriminator of `unpaired` with one layer before the last two, and the slopes of a score
# in the middle by the pixels of an image: white where a pixel matters to this score, black where it does not. The
# size of the white square should be your number.
# %%
from unpaired.engines.architecture import discriminator_layers
from unpaired.engines.torch.networks import Discriminator


def new_discriminator(layers):
    network = Discriminator(discriminator_layers(3, width=24, layers=layers, norm="none"))
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, 0.2)
            torch.nn.init.zeros_(layer.bias)
    return network


torch.manual_seed(0)
image = torch.randn(1, 3, 48, 48, requires_grad=True)
shapes = {}
for layers in (1, 2):
    scores = new_discriminator(layers)(image)
    middle = scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2]
    (slopes,) = torch.autograd.grad(middle, image)
    seen = slopes.abs().sum(1, keepdim=True) > 0
    side = int(seen.any(2).sum())
    sides = [(4, 2)] * layers + [(4, 1), (4, 1)]
    print(f"layers {sides}: your number {receptive_field(sides)}, seen {side} pixels")
    shapes[f"sees {side} of 48 pixels"] = draw.maps(seen.float(), 48)
draw.images(shapes, cell=192)


# %% [markdown]
# The discriminator of the paper, `[(4, 2), (4, 2), (4, 2), (4, 1), (4, 1)]`, sees 70 pixels of an image of 256.
# What lies further apart it cannot compare: two suns, or a face with three eyes. That is a weakness, and it is
# wanted: patches are many for every image, so there is much to learn from; there are few parameters; it works at
# any size. And the *large* shapes are to come from the source image anyway.
#
# ## Exercise 2: least squares, in both frameworks
# In place of a probability a score is now to be near a number: 1 for real, 0 for generated. The loss is the mean
# of $(s - target)^2$. Write it for PyTorch and for JAX. `unpaired` has two engines, each in its framework's own
# idiom, and tests that hold them together number by number; here you do both. In JAX a loss is a pure function of
# arrays; nothing is stored in them.
# %% exercise least_squares
def least_squares(scores, target):
    """Scores of any shape and the number they should be; one number, as a tensor of PyTorch."""
    # solution
    return (scores - target).square().mean()
    # end


check("least_squares", least_squares)
# %% exercise least_squares_jax
import jax.numpy as jnp


def least_squares_jax(scores, target):
    """The same of a JAX array."""
    # solution
    return jnp.square(scores - target).mean()
    # end


check("least_squares_jax", least_squares_jax)
# %% [markdown]
# The same numbers from both? And the same slopes: PyTorch records what is done with a tensor and goes back over
# it; JAX makes from a function another function, its gradient.
# %%
import jax

numbers = [-1.5, 0.25, 1.0, 4.0]
theirs = torch.tensor(numbers, requires_grad=True)
least_squares(theirs, 1.0).backward()
ours = jax.grad(least_squares_jax)(jnp.array(numbers), 1.0)
loss = least_squares(theirs, 1.0).detach()
print("PyTorch: loss", float(loss), "slopes", theirs.grad.tolist())
loss = least_squares_jax(jnp.array(numbers), 1.0)
print("JAX:     loss", float(loss), "slopes", ours.tolist())


# %% [markdown]
# ## Exercise 3: what the slope says
# Why squares? Consider one generated patch of score $s$; the generator's loss for it is $(s - 1)^2$. By hand:
# what is its slope, the derivative by $s$?
# %% exercise pull
def pull(score):
    """The derivative of (score - 1)^2 by the score."""
    # solution
    return 2 * (score - 1)
    # end


check("pull", pull)
# %% [markdown]
# Beside it the slope of lesson 1's $-\log \sigma(s)$. On the left both push the score up; least squares the
# harder, the worse the patch is. On the right, where the discriminator already takes the patch for real, the
# logarithm lets go. Least squares pulls *back* towards 1: it asks generated patches to look like real ones,
# rather than "more real than real". So there is always a slope, and it is what Mao and others found to be the
# steadier game.
# %%
scores = torch.linspace(-3, 5, 120)
draw.curves(
    {
        "(s - 1)^2, least squares": (scores, pull(scores)),
        "-log sigmoid(s), lesson 1": (scores, torch.sigmoid(scores) - 1),
    },
    marks={"no slope": 0.0},
    x="score of a generated patch",
)


# %% [markdown]
# ## Exercise 4: the discriminator's loss
# Real patches towards 1, generated ones towards 0, with your `least_squares`. The paper halves it, so that the
# discriminator learns more slowly than the generator: a discriminator that wins teaches little (lesson 4).
# %% exercise squares_for_discriminator
def squares_for_discriminator(real, generated):
    """Scores (N, 1, h, w) of real and of generated images; one number."""
    # solution
    return 0.5 * (least_squares(real, 1.0) + least_squares(generated, 0.0))
    # end


check("squares_for_discriminator", squares_for_discriminator)
# %% [markdown]
# ## What a map of scores shows
# A discriminator that sees 16 pixels learns to tell winter landscapes of `seasons-lite` from blurred ones: its
# "generated images" are these, since a generator's first results are blurred, too. Then it is given images of
# which only the *right* half is blurred.
# %%
winter = scenes.load("trainB")


def blurred(images):
    return F.interpolate(F.avg_pool2d(images, 4), scale_factor=4, mode="bilinear")


torch.manual_seed(1)
discriminator = new_discriminator(layers=1)
adam = torch.optim.Adam(discriminator.parameters(), 1e-3, (0.5, 0.999))
losses = []
for step in range(150):
    real = winter[torch.randint(len(winter), (16,))]
    loss = squares_for_discriminator(discriminator(real), discriminator(blurred(real)))
    adam.zero_grad()
    loss.backward()
    adam.step()
    losses.append(float(loss.detach()))
print(f"loss at first {losses[0]:.2f}, at the end {losses[-1]:.3f}")

half = scenes.load("testB", 5).clone()
half[..., 16:] = blurred(half)[..., 16:]
with torch.no_grad():
    scores = discriminator(half)
print("scores of an image:", tuple(scores.shape[2:]), "- each of a patch of 16 pixels")
draw.images({"right half blurred": half, "scores": draw.maps(scores, 32)}, cell=112)
# %% [markdown]
# White is "real", black "generated". The map says *where* an image is wrong, and through its slopes the
# generator is told so patch by patch. One score for the whole image could only have said "something is wrong".
# Flat sky is grey: sharp or blurred, it looks the same, and the honest score is in between.
#
# ## Exercise 5: a draw
# When the generator has won, real and generated patches are spread alike, and the discriminator cannot do better
# than give every patch the same score $c$. Which $c$ makes `squares_for_discriminator` smallest, and how large is
# the loss then?
# %% exercise even_squares
# blank
# even_squares = ...
# solution
even_squares = 0.25  # c = 1/2: half of (1/2)^2 + (1/2)^2
# end

check("even_squares", even_squares)
# %% [markdown]
# This number is the dashed line in the learning curves that `unpaired` draws of a run (a cell that ends with
# `run` shows them). A discriminator's loss far below it is one that is winning.
#
# ## What to remember
# - A PatchGAN gives a score for every patch; its receptive field is what it can compare. Layers and strides set
#   it.
# - Less sight means more examples, fewer parameters, any size; large shapes are left to the source image.
# - Least squares always has a slope, and pulls from both sides. A draw has a loss of 1/4.
# - A framework is an idiom: the same loss in PyTorch and JAX gives the same numbers and slopes.
#
# **Continue**: [lesson 3](3-cycles.ipynb): the results look real, patch by patch. But are they of *your*
# photograph?
