# %% [markdown]
# # 4. What keeps it steady, and how it fails
# **Question: a training has ended. Its losses look like those of any other. Did it learn the translation, or a
# way around it?**
#
# The paper has three more parts that keep the game steady: the *identity loss*, the *image pool* and the
# *schedule*. You write them. Then you build the two classic failures, *inversion* and *collapse*, measure them,
# and let the detectors of `unpaired` find them. It takes about two minutes.
# %% setup
import sys

sys.path.append("..")  # the folder that holds learn/

import numpy as np
import torch

import unpaired
from learn import draw, scenes
from learn.check import check

torch.set_num_threads(1)


# %% [markdown]
# ## Exercise 1: the identity loss
# `generator_ab` makes winter. What should it do with an image that *is* winter? Leave it alone. The mean absolute
# difference between the two is the identity loss of this direction. (In the paper its weight is half that of the
# cycle loss. It needs domains with the same bands, and it pins colours down: without it, a generator may shift
# all of them as long as the other shifts them back.)
# %% exercise identity_loss
def identity_loss(generator_ab, real_a, real_b):
    """Of generator_ab alone; images (N, 3, H, W); one number. One of the images is not needed."""
    # solution
    return (generator_ab(real_b) - real_b).abs().mean()
    # end


check("identity_loss", identity_loss)


# %% [markdown]
# ## Exercise 2: the image pool
# A discriminator that sees only the newest generated images forgets the earlier ones; generator and discriminator
# may then chase each other in a circle. So it is shown some of the past (Shrivastava and others, 2017): a pool
# keeps 50 generated images. For each new one:
#
# - While the pool is not full: store it and show it.
# - Afterwards, with probability 1/2: show a random one *of the pool*, and put the new one in its place.
# - Else: show the new one, and do not store it.
# %% exercise exchange
def exchange(pool, new, size, random):
    """Returns the image to show. `pool` is a list of at most `size` images, which may change.

    `random.random()` is a number in [0, 1); `random.integers(n)` one of 0 to n - 1.
    """
    # solution
    if len(pool) < size:
        pool.append(new)
        return new
    if random.random() < 0.5:
        place = int(random.integers(size))
        shown, pool[place] = pool[place], new
        return shown
    return new
    # end


check("exchange", exchange)
# %% [markdown]
# How old are the images that the discriminator sees? One new image a step, 2,000 steps, your pool:
# %%
random, pool = np.random.default_rng(0), []
ages = np.array([step - exchange(pool, step, 50, random) for step in range(2000)])
counts, edges = np.histogram(ages[200:], bins=40, range=(0, 400))
old = ages[ages > 0].mean()
print(f"{np.mean(ages[200:] == 0):.0%} are new; the others are {old:.0f} steps old on average")
draw.curves({"images shown": (edges[:-1], counts)}, x="age in steps")


# %% [markdown]
# ## Exercise 3: the schedule
# Two networks that learn from each other never come to rest at a constant learning rate. The paper holds it
# constant for the first half of the training, and lets it decay linearly to 0 over the second. Write the factor
# by which the rate is multiplied.
# %% exercise rate_factor
def rate_factor(step, steps):
    """The factor, 0 to 1, in the step of index `step` (from 0) of `steps`."""
    # solution
    half = steps / 2
    return 1.0 - max(0.0, step - half) / (steps - half)
    # end


check("rate_factor", rate_factor)
# %% [markdown]
# The same as that of `unpaired` (`--schedule linear`)? And that of 2017, by epochs, which is a staircase:
# %%
from unpaired.config import Recipe

by_step = Recipe(steps=2000, schedule="linear")
by_epoch = Recipe(steps=2000, schedule="epochs", epoch_steps=100)
steps = range(2000)
assert all(abs(rate_factor(k, 2000) - by_step.rate_factor(k)) < 1e-9 for k in steps)
draw.curves(
    {
        "yours": [rate_factor(k, 2000) for k in steps],
        "2017, 20 epochs": [by_epoch.rate_factor(k) for k in steps],
    }
)
# %% [markdown]
# ## What the identity loss does
# Two trainings with the product, 150 steps each, without and with the identity loss. Then both generators to
# winter are shown *winter*. Interrupt a cell if you like: the state is saved, and the cell resumes when it is run
# again.
# %%
unpaired.console.show()
shared = dict(preset="tiny", steps=150, seed=5, engine="torch", threads=1, report="none")
plain = unpaired.train("seasons-lite", out="../runs/learn-plain", identity=0.0, **shared)
pinned = unpaired.train("seasons-lite", out="../runs/learn-identity", identity=0.5, **shared)
# %%
from unpaired.diagnostics.probe import reconstruction_errors, take_probe

real = {
    "a": scenes.for_product(scenes.load("testA", 32)),
    "b": scenes.for_product(scenes.load("testB", 32)),
}


def probe_of(run):
    """Fixed test images and all that the generators make of them: what the detectors look at."""
    model = unpaired.load(run.folder, threads=1)
    return take_probe(model.translator, real, identity=True)


probes = {"without": probe_of(plain), "identity loss": probe_of(pinned)}
for name, probe in probes.items():
    print(name, {key: round(value, 1) for key, value in reconstruction_errors(probe).items()})
draw.images({"winter": real["b"]} | {n: p.directions["ab"].identity for n, p in probes.items()})


# %% [markdown]
# The numbers are in levels of 255; `identity_b` is the error of the images that you see.
#
# ## Exercise 4: inversion
# Lesson 3 showed that two negatives are free of cycle loss, and a training that went half that far. How would a
# program see it, that has no truth to compare with? By the *luminance* of an image before and after: the
# correlation between the two, over its pixels. It is above 0 where light stays light. Compute it for every image;
# one number for all is the median, which a few odd images do not move.
# %% exercise light_stays_light
def light_stays_light(before, after):
    """Luminances (N, H, W), numpy; the median over the images of the correlation of each."""
    # solution
    pairs = zip(before, after)
    return np.median([np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in pairs])
    # end


check("light_stays_light", light_stays_light)


# %% [markdown]
# ## Exercise 5: collapse
# The other classic: whatever goes in, nearly the same comes out, an image that the discriminator happens to like.
# Each result looks fine alone! To see it, look at *many* results: how much do they differ from each other? Take
# the standard deviation over the images, at each pixel and band; of these the root mean square; and divide by the
# same of real images.
# %% exercise variety
def variety(generated, real):
    """Images (N, H, W, 3), numpy; about 1 where generated images differ as much as real ones."""

    # solution
    def spread(images):
        return np.sqrt(images.var(axis=0).mean())

    return spread(generated) / spread(real)
    # end


check("variety", variety)
# %% [markdown]
# ## The rogues' gallery
# Some "generators" that fail in a known way, the two trainings from above, and the truth (the other painting of
# each test scene). Your measures, and what the detectors of `unpaired` say, which every training and every report
# runs. They know more than these two failures.
# %%
from unpaired.diagnostics.detect import detect
from unpaired.diagnostics.history import History
from unpaired.images.image import luminance


class Made:
    """A pair of "generators" written by hand."""

    def __init__(self, to_winter, to_summer):
        self.functions = {"ab": to_winter, "ba": to_summer}

    def translate(self, images, direction):
        return self.functions[direction](images).astype(np.float32)


def collapsed(domain):
    return lambda images: 0.95 * real[domain].mean(0) + 0.05 * images


def chessboard(images):
    rows, columns = np.indices(images.shape[1:3])
    return np.clip(images + 0.2 * ((rows + columns) % 2 * 2 - 1)[None, :, :, None], -1, 1)


made = {
    "two negatives": Made(np.negative, np.negative),
    "mean images": Made(collapsed("b"), collapsed("a")),
    "a chessboard": Made(chessboard, chessboard),
    "the truth": Made(lambda _: real["b"], lambda _: real["a"]),
}
gallery = {name: take_probe(networks, real) for name, networks in made.items()}
gallery |= {"150 steps": probes["without"], "identity loss": probes["identity loss"]}
print(f"{'':20s}{'light stays':>12s}{'variety':>9s}{'cycle error':>13s}   what the detectors say")
for name, probe in gallery.items():
    outputs = probe.directions["ab"]
    light = light_stays_light(luminance(real["a"]), luminance(outputs.generated))
    spread = variety(outputs.generated, real["b"])
    cycle = reconstruction_errors(probe)["cycle_a"]
    found = detect(probe, History(), {"a": "summer", "b": "winter"})
    fired = sorted({each.name for each in found if each.fired})
    print(f"{name:20s}{light:12.2f}{spread:9.2f}{cycle:13.1f}   {', '.join(fired) or '-'}")
draw.images({"summer": real["a"]} | {n: p.directions["ab"].generated for n, p in gallery.items()})
# %% [markdown]
# Read the table by columns.
#
# - **The cycle error** of two negatives is 0: by the losses it is the best of all. A low cycle loss is no proof.
# - **Variety** finds the mean images. Their cycle error is hardly above that of the trainings: an average does not
#   tell "a little blurred" from "always the same". A network can even *hide* the source in such an image as a
#   faint pattern and restore it without an error (Chu and others, 2017, arXiv 1712.02950); for that there is a
#   detector, too, which adds a little noise and looks whether the cycle falls apart.
# - **The truth** has no finding. A detector that fires on the truth would be useless. But see how far its value
#   is from 1: summer and winter differ in what is light. So limits are set with room.
# - Half a failure stays within that room. The training at the end of lesson 3 kept -0.17 of its content, and the
#   detector of inversion, whose limit is -0.3, was silent: its value was -0.08. Metrics and images say more than
#   an alarm that was not raised.
#
# ## What to remember
# - The identity loss pins colours; the pool keeps the past in mind; the decay brings the game to rest.
# - Inversion and collapse are invisible in the losses. They are seen in images: before beside after, and many
#   beside each other.
# - A detector is a measure with a limit. Know what it measures, and what it says of the truth.
# - `unpaired` runs its detectors during a training (warnings with advice) and in each report.
#
# **Continue**: [lesson 5](5-judging.ipynb): nothing is broken. But is it good?
