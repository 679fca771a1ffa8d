"""Fine-tuning with `--init` beside training from drawn weights, on drawn scenes and photographs.

python -m bench.init seasons [--out FOLDER] [--before 7500] [--steps 2500] [--seeds 0]
python -m bench.init photos DATA [--out FOLDER] [--before 2000] [--fresh 2000] [--steps 500]

seasons: preset `tiny` is trained on scenes of other seeds, painted with a shifted palette, then for
a third of the demo's steps on `seasons-lite`, from that model and from drawn weights; both are
evaluated on the held-out pairs as the demo is. photos: preset `small` is trained on every other
image of DATA; on the rest it is trained from that model, and from drawn weights for longer; the
criterion is that of the same validation part. Trainings are run folders in OUT, so it resumes.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from unpaired import console, evaluate, train
from unpaired.data.source import find_source
from unpaired.seasons.dataset import NAMED
from unpaired.seasons.landscapes import draw, paint
from unpaired.storage import read_json_lines

OTHER_SEEDS = 1_000_000  # beyond those of all named data sets
SHIFT = {"a": (25, -20, 30), "b": (-30, 10, 15)}  # levels added to red, green and blue
BAR = {"ab": (22.0, 0.62), "ba": (26.6, 0.80)}  # of the demo: PSNR, macro16 (docs/results.md)
HOW = {"report": "none", "threads": 1, "workers": 1, "device": "cpu", "sample_every": 0}


def write_other_seasons(folder, count):
    """Training images like those of `seasons-lite`, of other scenes and other colours."""
    spec = NAMED["seasons-lite"]
    for start, (name, domain) in enumerate((("trainA", "a"), ("trainB", "b"))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            path = folder / name / f"{index:04d}.png"
            if not path.exists():
                scene = draw(OTHER_SEEDS + 2 * index + start, spec.size, spec.level)
                shifted = paint(scene, domain).astype(int) + np.array(SHIFT[domain])
                Image.fromarray(np.clip(shifted, 0, 255).astype(np.uint8)).save(path)
    return folder


def write_halves(data, folder):
    """The training images of a data set in two halves, as links, every other image in each."""
    found = find_source(data)
    for half in (0, 1):
        for name, domain in (("trainA", found.train_a), ("trainB", found.train_b)):
            target = folder / f"half{half}" / name
            target.mkdir(parents=True, exist_ok=True)
            for index in range(half, len(domain), 2):
                path = domain.path(index).absolute()
                if not (target / path.name).exists():
                    (target / path.name).symlink_to(path)
    return folder / "half0", folder / "half1"


def criteria(folder):
    """The validation criterion by step."""
    lines = read_json_lines(folder / "metrics.jsonl")
    return {x["step"]: x["validation"]["criterion"] for x in lines if "validation" in x}


def seasons(asked):
    other = write_other_seasons(asked.out / "other", NAMED["seasons-lite"].train)
    for seed in asked.seeds:
        common = {"preset": "tiny", "seed": seed, **HOW}
        before = asked.out / f"before-{seed}"
        train(other, out=before, steps=asked.before, **common)
        rows = {"init": {"init": before}, "fresh": {}}
        for name, how in rows.items():
            run = asked.out / f"{name}-{seed}-{asked.steps}"
            train("seasons-lite", out=run, steps=asked.steps, **common, **how)
            tell(f"{name:6} seed {seed}, {asked.steps} steps", run)
        tell(f"before seed {seed}, not fine-tuned", before)
    print("bar    " + ", ".join(f"{d}: {p:.2f} dB, macro16 {m:.3f}" for d, (p, m) in BAR.items()))


def tell(name, run):
    report = evaluate(run, "seasons-lite", threads=1, device="cpu")
    found = {d: (report.value(d, "psnr"), report.value(d, "macro16")) for d in BAR}
    each = ", ".join(f"{d}: {p:.2f} dB, macro16 {m:.3f}" for d, (p, m) in found.items())
    print(f"{name}: {each}", flush=True)


def photos(asked):
    first, second = write_halves(asked.data, asked.out)
    for seed in asked.seeds:
        every = {"evaluate_every": 100, "checkpoint_every": 250}
        common = {"preset": "small", "seed": seed, **HOW, **every}
        before = asked.out / f"before-{seed}"
        drawn = {"start": "residual"}  # what --start auto chooses for summer and winter
        train(first, out=before, steps=asked.before, **drawn, **common)
        runs = {
            "init": (asked.steps, {"init": before}),
            "fresh": (asked.fresh, drawn),
        }
        for name, (steps, how) in runs.items():
            run = asked.out / f"{name}-{seed}-{steps}"
            train(second, out=run, steps=steps, **common, **how)
            each = ", ".join(f"{step}: {value:.4f}" for step, value in criteria(run).items())
            print(f"{name:6} seed {seed}: criterion by step {each}", flush=True)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["seasons", "photos"])
    parser.add_argument("data", nargs="?")
    parser.add_argument("--out", type=Path, default=Path("runs/init"))
    parser.add_argument("--before", type=int)
    parser.add_argument("--fresh", type=int, default=2000)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    asked = parser.parse_args(words)
    lengths = {"seasons": (7500, 2500), "photos": (2000, 500)}[asked.kind]
    asked.before, asked.steps = asked.before or lengths[0], asked.steps or lengths[1]
    asked.out = asked.out / asked.kind
    console.show()
    began = time.process_time()
    {"seasons": seasons, "photos": photos}[asked.kind](asked)
    print(f"{time.process_time() - began:.0f} s of a processor")


if __name__ == "__main__":
    main()
