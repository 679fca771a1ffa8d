"""The time of a batch with its images kept decoded in memory, and without, in turns.

python -m bench.kept_images DATA [--preset small]
"""

import argparse
import dataclasses
import statistics
import time
from pathlib import Path

from unpaired.data import kept
from unpaired.data.batches import Batches
from unpaired.data.layout.domains import find_data
from unpaired.presets import preset

IMAGES, TURNS, STEPS = 60, 9, 4


def milliseconds(batches: Batches, steps: range) -> float:
    """Of the processor, for a step."""
    began = time.process_time()
    for step in steps:
        batches[step]
    return (time.process_time() - began) / len(steps) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="small")
    asked = parser.parse_args()
    data = find_data(asked.data)
    few = {name: getattr(data, name).only(range(IMAGES)) for name in ("train_a", "train_b")}
    data = dataclasses.replace(data, **few)
    recipe = preset(asked.preset, {"bands_a": 3, "bands_b": 3})
    keeping, reading = (Batches(data, recipe, max_pixels=10**8) for _ in range(2))
    for step in range(IMAGES + 10):
        keeping[step]
    kept.free, real = lambda: 0, kept.free
    reading[0]
    kept.free = real
    turns = [range(100 + STEPS * k, 100 + STEPS * (k + 1)) for k in range(TURNS)]
    found = [[milliseconds(each, steps) for each in (keeping, reading)] for steps in turns]
    ratios = sorted(without / with_ for with_, without in found)
    with_, without = map(statistics.median, zip(*found, strict=True))
    print(f"{recipe.preset}: {with_:.1f} ms kept, {without:.1f} ms decoded, median ratio ", end="")
    print(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
