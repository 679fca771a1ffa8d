"""Recipes beside each other on paired seeds, within one budget of processor time or of steps.

python -m bench.recipes DATA (--minutes 6 | --steps 4000) [--rows bench/recipes.toml]
    [--only ROW ...] [--seeds 0 1 2] [--at 500 1000 2000] [--features FILE] [--out FILE]

A row is a table of ROWS: a name, and the values of a recipe that it changes (`preset` among them).
Rows of one seed have the same first weights, images, crops and pairs, unless they change them, and
the same validation part, on which `training.validation` measures them; lower is better. Minutes are
processor time of steps on one thread: 20 are timed, which sets their number and the decay of rates.

A finished (row, seed, budget) is one JSON line in OUT and is not trained again, so it resumes and
anyone may add a row. The table has the rows of OUT of this budget, data and measure; a difference
is to the first row of ROWS, over common seeds, with its 95 % interval (Student's t).
"""

import argparse
import json
import math
import time
import tomllib
from pathlib import Path

import numpy as np
from scipy import stats

from unpaired.config import DEFAULT_MAX_PIXELS, Config, Runtime, override
from unpaired.data.batches import Batches, prefetch
from unpaired.data.source import find_source
from unpaired.engines.choice import make_engine, settle_precision
from unpaired.engines.seam import initial_state
from unpaired.presets import preset
from unpaired.storage import exclusive, read_json_lines
from unpaired.training.data import prepare, set_aside
from unpaired.training.validation import prepare_validation

WARM_UP, TIMED = 3, 20


def recipe_of(values, seed, validation, facts):
    """The recipe of a row for these data; its number of steps is settled by the budget."""
    own = {name: value for name, value in values.items() if name != "preset"}
    common = {"validation": validation, "schedule": "linear", "seed": seed}
    recipe = preset(values.get("preset", "small"), common | own)
    settled = facts.settled(recipe.batch_size, recipe.validation)
    return override(recipe, settled | own, "the data")


def seconds_per_step(engine, batches):
    """Processor seconds; the engine's state is another afterwards."""
    for index, batch in enumerate(prefetch(batches, 0, WARM_UP + TIMED, 1)):
        if index == WARM_UP:
            began = time.process_time()
        engine.train_step(batch, 1.0)
    return (time.process_time() - began) / TIMED


def train(recipe, data, asked):
    """Trains one row with one seed: steps, processor minutes, and the criterion at some steps."""
    runtime = Runtime(device="cpu", threads=1, workers=1, features=asked.features)
    training, part = set_aside(data, recipe.validation, recipe.seed)
    batches = Batches(training, recipe, max_pixels=DEFAULT_MAX_PIXELS)
    validation = prepare_validation(part, Config(recipe, runtime), DEFAULT_MAX_PIXELS)
    recipe = settle_precision(recipe, runtime)
    engine = make_engine(recipe, runtime)
    state = initial_state(engine.state(), recipe)
    engine.load(state)
    steps = asked.steps or max(1, round(60 * asked.minutes / seconds_per_step(engine, batches)))
    engine.load(state)  # steps that were timed have changed it
    recipe = override(recipe, {"steps": steps}, "the budget")
    seconds, criteria, began = 0.0, {}, time.process_time()
    for done, batch in enumerate(prefetch(batches, 0, steps, 1), start=1):
        engine.train_step(batch, recipe.rate_factor(done - 1))
        if done == steps or done in asked.at:
            seconds += time.process_time() - began
            found = validation.evaluate(engine)
            each = {direction: x["distance"] for direction, x in found.metrics.items()}
            criteria[str(done)] = {"mean": found.criterion} | each
            print(f"  step {done} of {steps}, {seconds / 60:.1f} min: {found.criterion:.4g}")
            began = time.process_time()
    return {"steps": steps, "minutes": seconds / 60, "start": recipe.start, "criteria": criteria,
            "measure": validation.name, "made_on": engine.signature()}  # fmt: skip


def interval(differences):
    """(low, mean, high): the 95 % interval of a mean; infinite for a single value."""
    mean, count = float(np.mean(differences)), len(differences)
    if count == 1:
        return -math.inf, mean, math.inf
    half = stats.t.ppf(0.975, count - 1) * float(np.std(differences, ddof=1)) / math.sqrt(count)
    return mean - half, mean, mean + half


def table(lines, first):
    """The text of the table of `lines`, all of one budget; differences are to the row `first`."""
    finals, curves = {}, {}
    for line in lines:
        for step, found in line["criteria"].items():
            curves.setdefault(line["row"], {}).setdefault(int(step), []).append(found["mean"])
        finals.setdefault(line["row"], {})[line["seed"]] = found["mean"]  # the last step's
    shown = [f"{'row':24} seeds    end   minus {first} [95 %]".ljust(68) + "at steps"]
    for row, by_seed in finals.items():
        gaps = [x - finals[first][s] for s, x in by_seed.items() if s in finals.get(first, {})]
        compared = gaps and row != first
        told = "{1:+.3g} [{0:+.3g}, {2:+.3g}]".format(*interval(gaps)) if compared else "-"
        curve = ", ".join(f"{s}: {np.mean(x):.3g}" for s, x in sorted(curves[row].items()))
        end = f"{len(by_seed):5} {np.mean(list(by_seed.values())):6.4g}"
        shown.append(f"{row:24} {end}   {told}".ljust(68) + curve)
    return "\n".join(shown)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--steps", type=int)
    parser.add_argument("--rows", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--at", type=int, nargs="*", default=[500, 1000, 2000, 4000, 8000])
    parser.add_argument("--validation", type=float, default=0.1)
    parser.add_argument("--features", default="")
    parser.add_argument("--out", type=Path, default=Path("runs/recipes/results.jsonl"))
    asked = parser.parse_args(words)
    rows = tomllib.loads(asked.rows.read_text(encoding="utf-8"))
    source = find_source(asked.data[0] if len(asked.data) == 1 else tuple(asked.data))
    how = {"image_size": 8, "skip_unreadable": False, "max_pixels": DEFAULT_MAX_PIXELS}
    checked = prepare(source, asked.out.parent, **how)
    same = {"data": checked.facts.data_fingerprint, "features": Path(asked.features).name}
    same |= {"validation": asked.validation, "budget": [asked.minutes, asked.steps]}
    with exclusive(asked.out.parent, asked.out.name):
        for seed in asked.seeds:
            for row in asked.only or rows:
                done = [x for x in read_json_lines(asked.out) if same.items() <= x.items()]
                if any(x["values"] != rows[row] for x in done if x["row"] == row):
                    parser.error(f"{row} has other values in {asked.out}: give it another name")
                if any((x["row"], x["seed"]) == (row, seed) for x in done):
                    continue
                print(f"{row}, seed {seed}: {rows[row]}")
                recipe = recipe_of(rows[row], seed, asked.validation, checked.facts)
                line = {"row": row, "seed": seed, "values": rows[row]} | same
                line |= train(recipe, checked.data, asked)
                with asked.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
        done = [x for x in read_json_lines(asked.out) if same.items() <= x.items()]
    print(table(done, next(iter(rows))))


if __name__ == "__main__":
    main()
