"""How well discriminators tell untranslated images from real ones, the measure of `--start auto`.

python -m bench.start DATA [DATA ...] [--preset small] [--seeds 0 1 2] [--set NAME=VALUE ...]

DATA is a folder, a name of the catalogue, or two folders with a comma between. Prints, of each
seed, the mean loss of both discriminators on held-out images (.25: nothing is told apart) after
100, 200,
"""

import argparse
import tempfile
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np

from unpaired.config import DEFAULT_MAX_PIXELS, Runtime, override
from unpaired.data.batches import Batches, prefetch
from unpaired.data.source import find_source
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state
from unpaired.metrics.weightless import colour_distance, describe
from unpaired.presets import preset
from unpaired.training.data import prepare, set_aside
from unpaired.training.start import HELD_OUT, STEPS, held_out_loss, trial, trial_recipe

TIMED = 8
COMPARED = 100  # images of each domain whose colours are compared


def seconds_per_step(recipe, data, runtime):
    """Processor seconds of a step of the training itself."""
    engine = make_engine(recipe, runtime)
    engine.load(initial_state(engine.state(), recipe))
    batches = Batches(data, recipe, max_pixels=DEFAULT_MAX_PIXELS)
    for index, batch in enumerate(prefetch(batches, 0, TIMED + 2, 1)):
        if index == 2:
            began = time.process_time()
        engine.train_step(batch, 1.0)
    return (time.process_time() - began) / TIMED


def colours(batches):
    """The colour distance of the first crops of both domains: see metrics.weightless."""
    count = range(-(-COMPARED // batches.recipe.batch_size))
    reals = zip(*((batches[step].real_a, batches[step].real_b) for step in count), strict=True)
    levels = ((np.concatenate(each) + 1) * 127.5 for each in reals)
    described = (describe(np.rint(each).astype(np.uint8), side=16) for each in levels)
    return colour_distance(*described)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], dest="values")
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--timed", action="store_true", help="time steps of the training too")
    parser.add_argument("--colours", action="store_true", help="compare colours alone: no trial")
    asked = parser.parse_args(words)
    values = tomllib.loads("\n".join(asked.values))
    runtime = Runtime(engine=asked.engine, device="cpu", threads=1, workers=1)
    for name in asked.data:
        source = find_source(tuple(name.split(",")) if "," in name else name)
        with tempfile.TemporaryDirectory() as folder:
            how = {"image_size": 8, "skip_unreadable": True, "max_pixels": DEFAULT_MAX_PIXELS}
            checked = prepare(source, Path(folder), **how)
        for seed in asked.seeds:
            recipe = preset(asked.preset, values | {"seed": seed, "start": "residual"})
            settled = checked.facts.settled(recipe.batch_size, recipe.validation)
            recipe = override(recipe, settled, "the data")
            training, _ = set_aside(checked.data, recipe.validation, seed)
            alone = trial_recipe(recipe)
            learnt, part = set_aside(training, HELD_OUT, seed)
            rest = replace(training, train_a=part[0], train_b=part[1])
            shown, judged = (
                Batches(x, alone, max_pixels=DEFAULT_MAX_PIXELS) for x in (learnt, rest)
            )
            apart = f"colours {colours(shown):5.1f}"
            if asked.colours:
                print(f"{name:40} seed {seed}: {apart}", flush=True)
                continue
            engine, told, took, began = make_engine(alone, runtime), [], 0.0, time.process_time()
            for done in trial(engine, shown, 1):
                if done % 100 == 0:
                    took += time.process_time() - began
                    told.append(f"{held_out_loss(engine, judged):.3f}")
                    began = time.process_time()
            real = f" of {seconds_per_step(recipe, training, runtime):.4f}" if asked.timed else ""
            curve = " ".join(told)
            print(f"{name:40} seed {seed}: {curve} {apart} {took / STEPS:.4f} s{real}", flush=True)


if __name__ == "__main__":
    main()
