"""The start that the data choose: `start` "auto" of a recipe becomes "residual" or "noise".

Generators whose first output is their input show the discriminators untranslated images. If these
tell them from real images at once, the domains differ in nearly everything: the start is rejected
and hardly ever moves. Otherwise it saves the phase in which generators learn to copy
(docs/results.md).
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from unpaired.config import SETTLED, Recipe, override
from unpaired.console import log, progress
from unpaired.data.batches import Batches, prefetch
from unpaired.data.layout.domains import DataSet
from unpaired.directions import DOMAINS, Domain
from unpaired.engines.architecture import Start
from unpaired.engines.seam import Engine, Images, initial_state
from unpaired.training.data import set_aside

__all__ = ["HELD_OUT", "LIMIT", "STEPS", "choose_start", "held_out_loss", "trial", "trial_recipe"]

STEPS = 400  # of the trial
HELD_OUT = 0.25  # share of the training images that the trial does not train on
JUDGED = 64  # crops of held-out images of each domain
LIMIT = 0.08  # of the loss on them, which is .25 where nothing can be told apart: docs/results.md
FEWEST = 4  # images of a domain: 2 to train on and 2 held out

# A trial has these of the recipe; all else is as LIMIT was measured: below, or the recipe of 2017.
KEPT = (
    "load_size", "image_size", "alpha", "frames", "crops", "invalid", "gaps",
    "select_a", "select_b", "flip", "batch_size", "precision", "seed",
    *SETTLED,
)  # fmt: skip
GENERATORS: Mapping[str, object] = {
    "start": "residual", "width": 1, "blocks": 0, "learning_rate": 0.0, "identity": 0.0,
    "pool_size": 0,
}  # fmt: skip
WIDTH, LAYERS = 32, 2  # of the discriminators


def trial_recipe(recipe: Recipe) -> Recipe:
    """The recipe of a trial: generators that give their input, and discriminators of one kind.

    The generators are as small as they can be and never change, so that a step costs little more
    than that of the discriminators. Images, batches, seed and arithmetic are those of `recipe`.
    """
    layers = min(LAYERS, recipe.discriminator_layers)  # more need not fit into the crops
    discriminators = {"discriminator_width": WIDTH, "discriminator_layers": layers}
    kept = {name: getattr(recipe, name) for name in KEPT}
    return override(Recipe(), kept | discriminators | {**GENERATORS}, "the trial of a start")


def trial(engine: Engine, batches: Batches, workers: int) -> Iterator[int]:
    """Takes the steps of a trial, and yields the number of those done.

    `engine` and `batches` are of the `trial_recipe`.
    """
    engine.load(initial_state(engine.state(), batches.recipe))
    with progress("trial step", STEPS) as meter:
        for done, batch in enumerate(prefetch(batches, 0, STEPS, workers), start=1):
            engine.train_step(batch, 1.0)
            meter.update(done, units=2 * batches.recipe.batch_size)
            yield done


def held_out_loss(engine: Engine, batches: Batches) -> float:
    """The mean loss of both discriminators: real images against untranslated ones.

    That of least squares, .25 where nothing can be told apart and 0 where everything is. On images
    that they were not trained on: they soon know a few by heart, whatever the domains are.
    """

    def squares(images: Images, domain: Domain, target: float) -> float:
        return float(np.mean(np.square(engine.judge(images, domain) - target), dtype=np.float64))

    losses = []
    for step in range(math.ceil(JUDGED / batches.recipe.batch_size)):
        batch = batches[step]
        reals: dict[Domain, Images] = {"a": batch.real_a, "b": batch.real_b}
        if (seen := batch.seen) is not None:
            for images in reals.values():
                images[~seen] = 0
        for domain in DOMAINS:
            (other,) = (images for name, images in reals.items() if name != domain)
            losses.append((squares(reals[domain], domain, 1) + squares(other, domain, 0)) / 2)
    return float(np.mean(losses))


def choose_start(
    engine: Engine, recipe: Recipe, training: DataSet, *, workers: int, max_pixels: int
) -> Start:
    """Chooses the start by a trial, and logs why and how to choose otherwise.

    A function of recipe, data, seed and the engine's arithmetic. `recipe` is the `trial_recipe`,
    of which `engine` is too; `training` are the images of the training.

    Raises:
        ImageError: an image can no longer be read.
        TooLarge: the device has too little memory.
    """
    a, b = recipe.name_a, recipe.name_b
    if min(len(training.train_a), len(training.train_b)) < FEWEST:
        log.info(
            f"starting from noise: {FEWEST} images each of {a} and {b} are needed to choose; "
            "--start residual chooses otherwise"
        )
        return "noise"
    learnt, part = set_aside(training, HELD_OUT, recipe.seed)
    train_a, train_b = part or (training.train_a, training.train_b)
    held_out = DataSet(a, b, train_a, train_b, None, None)
    shown, judged = (
        Batches(data, recipe, shard=engine.shard, max_pixels=max_pixels)
        for data in (learnt, held_out)
    )
    for _ in trial(engine, shown, workers):
        pass
    loss = held_out_loss(engine, judged)
    measured = f"after {STEPS} steps discriminators of untranslated {a} and {b} have a loss of"
    if loss >= LIMIT:
        log.info(
            f"starting from the images: {measured} {loss:.3f} (limit {LIMIT}): the domains have "
            "much in common; --start noise chooses otherwise"
        )
        return "residual"
    log.info(
        f"starting from noise: {measured} {loss:.3f} (limit {LIMIT}): the domains differ in "
        "nearly everything; --start residual chooses otherwise"
    )
    return "noise"
