"""Loading pairs of 256-px JPEGs as batches: threads over `batches[step]` against grain.

python -m bench.loader DATA [--steps 400]        (grain is optional: pip install grain)

Processor time per pair is the cost on one core; wall time shows the gain of two loader threads.
"""

import argparse
import time
from pathlib import Path

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.data.batches import Batches, prefetch
from unpaired.data.layout.domains import find_data
from unpaired.presets import preset


def threads(batches, steps, workers):
    return prefetch(batches, 0, steps, workers)


def grain(batches, steps, workers):
    import grain.python as pygrain

    class Source:
        def __len__(self):
            return steps

        def __getitem__(self, step):
            return batches[int(step)]

    options = pygrain.ReadOptions(num_threads=workers, prefetch_buffer_size=2 * workers + 1)
    return iter(pygrain.MapDataset.source(Source()).to_iter_dataset(options))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    recipe = preset("paper", {"bands_a": 3, "bands_b": 3, "steps": asked.steps})
    batches = Batches(find_data(asked.data), recipe, max_pixels=DEFAULT_MAX_PIXELS)
    for number in range(2):  # the first round warms the file cache
        for name, loader in (("threads", threads), ("grain", grain)):
            for workers in (1, 2):
                wall, cpu = time.perf_counter(), time.process_time()
                count = sum(1 for _ in loader(batches, asked.steps, workers))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if number:
                    print(
                        f"{name:8} {workers} workers: {cpu / count * 1e3:.2f} ms of a core each, "
                        f"{count / wall:.0f} pairs/s"
                    )


if __name__ == "__main__":
    main()
