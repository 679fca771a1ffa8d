# %% [markdown]
# # 5. Judging
# **Question: the samples look nice. Is it good?**
#
# There is no loss to read it from (lesson 1), a low cycle error proves nothing (lesson 4), and ten chosen images
# prove that somebody can choose. What is needed: a number for a whole set of images, its uncertainty, something
# to compare it with, and a look at what fails. It takes about two minutes.
# %% setup
import sys

sys.path.append("..")  # the folder that holds learn/

import numpy as np

import unpaired
from learn import draw, scenes
from learn.check import check

# %% [markdown]
# ## A model to judge
# Not a good one: 500 steps. The demo of `unpaired` takes 7,500.
# %%
unpaired.console.show()
run = unpaired.train(
    "seasons-lite",
    preset="tiny",
    steps=500,
    seed=3,
    engine="torch",
    report="none",
    out="../runs/learn-judged",
)
run


# %% [markdown]
# ## Exercise 1: a distance of two sets
# Unpaired results have no right answer, but they should be *distributed* as real winters are. First each image
# becomes a list of numbers, its *features*. Usually those are activations of a network that was trained on
# photographs (Inception, AlexNet); `unpaired evaluate --features` takes such a file. To need no download,
# features here are colours and contrasts of a 4 x 4 grid: crude, and good enough to learn with.
#
# The *Kernel Inception Distance* (Bińkowski and others, 2018, arXiv 1801.01401) compares two sets of features
# with the kernel $k(a, b) = (a \cdot b / d + 1)^3$ of two images, where $d$ is the number of features:
# $$\mathrm{KID} = \underset{i \neq j}{\mathrm{mean}}\;k(x_i, x_j) \;+\; \underset{i \neq j}{\mathrm{mean}}\;k(y_i, y_j) \;-\; 2\,\underset{i, j}{\mathrm{mean}}\;k(x_i, y_j)$$
# How alike is each set within itself, and how alike are the two? An image with itself does not count ($i \neq
# j$): it would say how alike *one* image is to itself, and pull the distance up the more, the fewer images there
# are. Without it the estimate is unbiased; for two samples of the same distribution it is 0 *on average*, so it
# may be negative.
# %% exercise kid
def kid(x, y):
    """Features (n, d) and (m, d); one number."""

    # solution
    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a):
        n = len(a)
        table = kernel(a, a)
        return (table.sum() - np.trace(table)) / (n * (n - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()
    # end


check("kid", kid)
# %% [markdown]
# ## Floors and baselines
# A KID of 0.2: is that much? A number alone says nothing. It needs two ends:
#
# - **The floor**: real winters against *other* real winters. Nothing can be expected to be better.
# - **Baselines**: what one gets without learning anything. Untouched summer images; the colours of winter
#   transferred (Reinhard and others, 2001); the mean winter, for every input.
#
# With each goes its 95 % interval, since another 100 test images would give another number. `unpaired` computes
# the same KID as you do, and the interval by the jackknife: it omits each image once, and looks how much the
# number moves.
# %%
from unpaired.evaluation.baselines import fit_histograms, fit_mean, fit_reinhard
from unpaired.metrics.distributions import kid as kid_of_unpaired

test_a, test_b = scenes.load("testA"), scenes.load("testB")
others_b = scenes.as_levels(scenes.load("trainB", 100))
model = unpaired.load(run.folder)
summer, winter = scenes.as_levels(test_a), scenes.as_levels(test_b)
generated = model.translator.translate(scenes.for_product(test_a), "ab")

sets = {
    "other real winters": others_b,
    "the model": scenes.as_levels(generated),
    "untouched summers": summer,
    "colours transferred": fit_reinhard([others_b])(summer),
    "histograms matched": fit_histograms([others_b])(summer),
    "the mean winter": fit_mean(others_b)(summer),
}


def squares(values):
    """Means over a grid of 4 x 4 squares, (n, 48)."""
    return values.reshape(len(values), 4, 8, 4, 8, 3).mean((2, 4)).reshape(len(values), -1)


def coarse(images):
    """Mean and contrast of each square and band."""
    means = squares(images / 255)
    return np.hstack([means, np.sqrt(np.maximum(squares((images / 255) ** 2) - means**2, 0))])


def fine(images):
    """The same, and how much neighbouring pixels differ: sharpness, grain, patterns."""
    x = images / 255
    steps = [np.abs(np.diff(x, axis=axis, append=np.take(x, [-1], axis))) for axis in (1, 2)]
    return np.hstack([coarse(images), *map(squares, steps)])


def distances_by(features):
    real = features(winter)
    centre, scale = real.mean(0), real.std(0) + 0.02
    real, found = (real - centre) / scale, {}
    for name, images in sets.items():
        x = (features(images) - centre) / scale
        found[name] = kid_of_unpaired(x, real)
        assert np.isclose(kid(x, real), found[name].value), "yours and that of unpaired differ"
    return found


by_coarse, by_fine = distances_by(coarse), distances_by(fine)
print(f"{'':20s}{'coarse features':>30s}{'fine features':>30s}")
for name in sets:
    row = [
        f"{d[name].value:10.3f} ({d[name].low:7.3f} to {d[name].high:7.3f})"
        for d in (by_coarse, by_fine)
    ]
    print(f"{name:20s}{row[0]:>30s}{row[1]:>30s}")
shown = {
    title: {
        name: (d[name].value, d[name].low, d[name].high)
        for name in ("other real winters", "the model")
    }
    for title, d in {"coarse features": by_coarse, "fine features": by_fine}.items()
}
draw.bars(shown, "KID, lower is better")


# %% [markdown]
# The baselines are far away. And the model? By the coarse features it is close to real winters: its large shapes and
# colours are right. Look at its samples again: they are blurred and patterned. The fine features see that.
# **A distance of sets sees what its features see, and nothing else.** That is why the network for the features is
# named beside each KID, and why numbers of different features are never compared.
#
# ## Exercise 2: may one say "better"?
# Two methods, each with its interval. Which is better, if that can be told? Lower is better. Where the intervals
# overlap, the honest answer is that these images do not tell. (That errs on the careful side: two intervals may
# overlap a little and the difference still be real. Then take more images, or compare the two *image by image*.)
# %% exercise better_of
def better_of(one, other):
    """Intervals with .low and .high; "one", "other" or "cannot tell"."""
    # solution
    if one.high < other.low:
        return "one"
    if other.high < one.low:
        return "other"
    return "cannot tell"
    # end


check("better_of", better_of)
# %%
for title, found in {"coarse": by_coarse, "fine": by_fine}.items():
    for name in ("other real winters", "the mean winter"):
        said = better_of(found["the model"], found[name])
        said = {"one": "the model", "other": name}.get(said, said)
        print(f"by {title} features, the model or {name}? {said}")
# %% [markdown]
# ## The report
# `unpaired evaluate` measures the model beside baselines and floors, in both directions, and says in its first
# line whether it worked. On `seasons-lite` the true winter of each test scene is known, so there are *paired*
# metrics as well, such as PSNR (the mean squared error, in decibels) and `macro16`, the share of pixels within 16
# levels of the truth, averaged over the classes. For your own photographs there is no truth, and distances of
# sets, change, and content kept are what there is.
# %%
report = unpaired.evaluate(run.folder, "seasons-lite")
report


# %% [markdown]
# ## Exercise 3: what it has to beat
# Given the values of one metric by method: which methods are *at least as good* as the model? If the list is not
# empty, the training has not yet paid.
# %% exercise at_least_as_good
def at_least_as_good(values, model, higher_is_better):
    """The names, sorted, of all other methods whose value is as good as that of `model` or better."""

    # solution
    def good(value):
        return value >= values[model] if higher_is_better else value <= values[model]

    return sorted(name for name, value in values.items() if name != model and good(value))
    # end


check("at_least_as_good", at_least_as_good)
# %%
competing = [m for m in report.methods if m.kind in ("model", "untouched", "baseline")]
for direction, target in (("ab", "winter"), ("ba", "summer")):
    for key in ("psnr", "macro16"):
        values = {m.name: report.value(direction, key, m.name) for m in competing}
        shown = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
        print(f"to {target}, {key}: {shown}")
        good = at_least_as_good(values, competing[0].name, True)
        print("   at least as good as the model:", ", ".join(good) or "none")
# %% [markdown]
# Who is the best of the baselines by PSNR? The mean image: one and the same blur for all. An image without detail is
# never far wrong. So is that metric bad? It answers one question, how far the pixels are from the truth; `macro16`
# answers another, and a set distance a third. **Each metric has an image that fools it.** That is why a report has
# several, and images.
#
# ## Look at what fails
# Not the best images, and not "some": a random choice, and the worst. Here are the worst.
# %%
worst = list(report.examples["ab"]["the worst, by PSNR"])[:5]


def column(images):
    return np.stack(list(images)) / 127.5 - 1


draw.images(
    {
        "summer": column(e.source for e in worst),
        "generated": column(e.generated for e in worst),
        "true winter": column(e.truth for e in worst),
        "5 x difference": column(e.difference for e in worst),
    }
)
# %%
for target, direction in (("winter", "ab"), ("summer", "ba")):
    shares = competing[0].per_class[direction]
    print(f"to {target}:", ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
# %% [markdown]
# ## Exercise 4: why these?
# The scenes are drawn with a trap. Look at the colours of the seven classes of `seasons-lite` in both seasons.
# Which pairs of classes have the *same* colour in summer, and different ones in winter? No table of colours can
# translate these: a method has to see *shape and place*. Compare with the classes that your model is worst at.
# %%
from unpaired.seasons.landscapes import CLASSES, palette

for name in ("sky", "rock", "meadow", "lake", "broadleaf", "conifer", "hill"):
    a, b = (palette(domain)[CLASSES.index(name)].astype(int).tolist() for domain in ("a", "b"))
    print(f"{name:10s} summer {a!s:18s} winter {b}")
# %% exercise same_in_summer
# blank
# same_in_summer = {...}  # pairs of names, such as {("sky", "rock"), ("lake", "hill")}
# solution
same_in_summer = {("sky", "lake"), ("meadow", "hill"), ("broadleaf", "conifer")}
# end

check("same_in_summer", same_in_summer)
# %% [markdown]
# When this was written the model's worst classes in winter were conifers (4 % of their pixels within 16 levels of the
# truth), broadleaf trees (8 %), lakes (11 %) and hills (21 %). Each shares its summer colour with another class;
# the larger one of the pair, sky or meadow, does better. After 500 steps the model is still half a table of colours.
#
# ## Exercise 5: honest reading
# From the results of this project (docs/results.md, 2026-11-27): fine-tuning on `seasons-lite`, PSNR to winter on
# 100 test pairs, *one training each*. Earlier in this project, trainings that differed in nothing but their seed
# were up to 1 dB apart.
#
# | | PSNR, dB |
# |---|---|
# | from drawn weights, 1,500 steps | 17.97 |
# | from drawn weights, 2,500 steps | 19.17 |
# | from another model (`--init`), 1,500 steps | 21.24 |
# | from another model, 2,500 steps | 21.72 |
# | the bar that had been set before | 22.0 |
#
# Which of these sentences follow from the table?
#
# - `"a"`: On this data, 1,500 steps from that model gave a better result than 2,500 steps from drawn weights.
# - `"b"`: Fine-tuning saves at least 1,000 steps.
# - `"c"`: From that model, 2,500 steps are better than 1,500.
# - `"d"`: The bar was missed.
# - `"e"`: 21.72 is 22 when rounded, so the bar was met.
# %% exercise follows
# blank
# follows = {...}  # a set of letters, such as {"b", "e"}
# solution
follows = {"a", "d"}
# end

check("follows", follows)
# %% [markdown]
# ## What to remember
# - Judge sets by distances of sets, with an interval, beside a floor and baselines.
# - Overlapping intervals: say "cannot tell". One training is one draw: say so, or train several seeds.
# - A distance of sets sees what its features see. Each metric has an image that fools it: use several, and look at
#   random and at the worst images.
# - Set the bar before you measure, and report what it was.
# - A failure has a reason. Find it in the data, in the loss or in what the network can see.
#
# **Continue**: your own images. `unpaired data check photos/`, then `unpaired train photos/ --out runs/mine
# --preset small --minutes 30`; `docs/recipes.md` says what each element of a recipe does, and `unpaired study`
# builds the test that the paper used: can people tell?
