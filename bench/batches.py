"""Batch sizes beside each other at equal images, on paired seeds: does quality fall with the batch?

python -m bench.batches DATA [--images 8000] [--batches 1 2 4 8] [--seeds 0 1 2] [--preset tiny]
    [--rules scaled fixed] [--out FILE]

A row is a batch size and a rule: "scaled" is `--scale-with-batch` (square-root rule for learning
rates, half-lives of betas and EMA in images), "fixed" leaves the values of the preset. All rows
train on as many images of each domain and have the same first weights at one seed; rows of the
preset's own batch size are equal, so that with "fixed" is omitted. DATA must have pairs as its test
set: the quality is their PSNR, mean of both directions; beside it the criterion of a training on a
validation part. A finished (row, seed, images) is one JSON line in OUT and is not trained again.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from bench.recipes import interval

from unpaired.config import DEFAULT_MAX_PIXELS, Config, Runtime, override
from unpaired.data.batches import Batches, load_whole, prefetch
from unpaired.data.crops import DomainReader
from unpaired.data.source import find_source
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state
from unpaired.images.image import from_signed
from unpaired.metrics.paired import psnr
from unpaired.presets import PRESETS, preset, scaled_to_batch
from unpaired.storage import exclusive, read_json_lines
from unpaired.training.data import prepare, set_aside
from unpaired.training.validation import prepare_validation

VALIDATION = 0.1


def recipe_of(name, batch, rule, seed, images, facts):
    """The recipe of a row for these data, of `images` training images of each domain in all."""
    given = {"batch_size": batch, "validation": VALIDATION, "seed": seed, "schedule": "linear"}
    given["steps"] = max(1, round(images / batch))
    given = scaled_to_batch(name, given) if rule == "scaled" else given
    recipe = preset(name, given)
    settled = facts.settled(recipe.batch_size, recipe.validation)
    return override(recipe, settled, "the data")


def translations(engine, data, recipe):
    """The mean PSNR of the test pairs in each direction, in dB."""
    folders = {"a": data.test_a, "b": data.test_b}
    levels = {}
    for domain, folder in folders.items():
        reader = DomainReader.of(recipe, domain, DEFAULT_MAX_PIXELS)
        levels[domain] = load_whole(folder, range(len(folder)), reader, recipe.image_size)
    found = {}
    for direction in ("ab", "ba"):
        source, target = (levels[domain] for domain in direction)
        generated = np.concatenate([engine.translate(x[None], direction) for x in source])
        found[direction] = float(psnr(from_signed(generated, 8), from_signed(target, 8)).mean())
    return found


def train(recipe, data):
    """Trains a row: steps, processor minutes, PSNR of the test pairs and the criterion."""
    runtime = Runtime(device="cpu", threads=1, workers=1)
    training, part = set_aside(data, recipe.validation, recipe.seed)
    batches = Batches(training, recipe, max_pixels=DEFAULT_MAX_PIXELS)
    validation = prepare_validation(part, Config(recipe, runtime), DEFAULT_MAX_PIXELS)
    engine = make_engine(recipe, runtime)
    engine.load(initial_state(engine.state(), recipe))
    began = time.process_time()
    for done, batch in enumerate(prefetch(batches, 0, recipe.steps, 1)):
        engine.train_step(batch, recipe.rate_factor(done))
    minutes = (time.process_time() - began) / 60
    quality = translations(engine, data, recipe)
    names = ("learning_rate", "beta1", "beta2", "ema", "steps")
    return {"values": {name: getattr(recipe, name) for name in names}, "minutes": minutes,
            "psnr": quality, "criterion": validation.evaluate(engine).criterion,
            "made_on": engine.signature()}  # fmt: skip


def table(lines):
    """A row each: the mean PSNR and criterion, and both minus those of the first row, paired."""
    found = {}
    for line in lines:
        row = found.setdefault(f"batch {line['batch']}, {line['rule']}", {})
        row[line["seed"]] = float(np.mean(list(line["psnr"].values()))), line["criterion"]
    rows = [
        f"{'row':18} seeds  PSNR dB  minus the first [95 %]   criterion  minus the first [95 %]"
    ]
    first = next(iter(found.values()), {})
    for row, by_seed in found.items():
        told = [f"{row:18} {len(by_seed):5}"]
        for place, digits in ((0, 2), (1, 3)):
            gaps = [by_seed[seed][place] - first[seed][place] for seed in by_seed if seed in first]
            low, mean, high = interval(gaps) if gaps and by_seed is not first else (0, 0, 0)
            gap = f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]" if mean else "-"
            average = np.mean([each[place] for each in by_seed.values()])
            told.append(f"{average:7.{digits}f}  {gap:24}")
        rows.append("  ".join(told).rstrip())
    return "\n".join(rows)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rules", nargs="+", default=["scaled", "fixed"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/batches/results.jsonl"))
    asked = parser.parse_args(words)
    how = {"image_size": 8, "skip_unreadable": False, "max_pixels": DEFAULT_MAX_PIXELS}
    checked = prepare(find_source(asked.data), asked.out.parent, **how)
    same = {"data": checked.facts.data_fingerprint, "images": asked.images, "preset": asked.preset}
    own = PRESETS[asked.preset].batch_size
    rows = [(batch, rule) for rule in asked.rules for batch in asked.batches]
    rows = [(batch, rule) for batch, rule in rows if batch != own or rule == asked.rules[0]]
    with exclusive(asked.out.parent, asked.out.name):
        for rule in asked.rules:
            for seed in asked.seeds:
                for batch in (batch for batch, each in rows if each == rule):
                    key = {"batch": batch, "rule": rule, "seed": seed}
                    if any((same | key).items() <= x.items() for x in read_json_lines(asked.out)):
                        continue
                    recipe = recipe_of(asked.preset, batch, rule, seed, asked.images, checked.facts)
                    line = same | key | train(recipe, checked.data)
                    print(json.dumps(key | {"psnr": line["psnr"]}), flush=True)
                    with asked.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
        done = [x for x in read_json_lines(asked.out) if same.items() <= x.items()]
    order = {row: place for place, row in enumerate(rows)}
    print(table(sorted(done, key=lambda x: order.get((x["batch"], x["rule"]), len(order)))))


if __name__ == "__main__":
    main()
