"""Cost of the checks: a probe and its findings against the training between two of them.

python -m bench.detectors [--images 8] [--every 500] [--rounds 5] [--steps 10] [--threads N]
    [--preset small] [--identity] [--device cpu]

In every round some training steps, the networks' part of a probe and its numpy part are timed one
after the other, so that drift of the machine affects all of them alike.
"""

import argparse
import statistics
import time

import numpy as np

from unpaired.config import Runtime
from unpaired.data.batches import Batch, pool_plan
from unpaired.diagnostics.detect import detect
from unpaired.diagnostics.history import History
from unpaired.diagnostics.probe import take_probe
from unpaired.directions import DOMAINS
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B


class Clocked:
    """An engine that sums up the seconds that its networks take."""

    def __init__(self, engine):
        self.engine = engine
        self.seconds = 0.0

    def translate(self, images, direction):
        return self._timed(self.engine.translate, images, direction)

    def judge(self, images, domain):
        return self._timed(self.engine.judge, images, domain)

    def _timed(self, function, *arguments):
        began = time.perf_counter()
        result = function(*arguments)
        self.seconds += time.perf_counter() - began
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--identity", action="store_true")
    asked = parser.parse_args()

    recipe = preset(asked.preset, {"bands_a": 3, "bands_b": 3, "steps": 20_000})
    engine = make_engine(recipe, Runtime(device=asked.device, threads=asked.threads))
    engine.load(initial_state(engine.state(), recipe))
    rng = np.random.default_rng(0)
    side = recipe.image_size

    def images(count):
        return rng.uniform(-1, 1, (count, side, side, 3)).astype(np.float32)

    step = 0

    def train():
        nonlocal step
        plans = [pool_plan(recipe, pool, step, slice(None)) for pool in (POOL_A, POOL_B)]
        batch = Batch(images(recipe.batch_size), images(recipe.batch_size), *plans)
        for loss in engine.train_step(batch, 1.0).values():
            float(loss)
        step += 1

    real, train_images = ({domain: images(asked.images) for domain in DOMAINS} for _ in range(2))
    lines = [{"step": 50 * i, "cycle_a": 0.3, "discriminator_a": 0.2} for i in range(400)]
    rows = []
    for _ in range(asked.rounds + 1):
        began = time.perf_counter()
        for _ in range(asked.steps):
            train()
        one_step = (time.perf_counter() - began) / asked.steps
        clocked = Clocked(engine)
        began = time.perf_counter()
        probe = take_probe(
            clocked, real, train_images, judge=clocked.judge, identity=asked.identity
        )
        detect(probe, History().after(probe), {"a": "a", "b": "b"}, lines=lines)
        rows.append((one_step, clocked.seconds, time.perf_counter() - began - clocked.seconds))
    rows = rows[1:]  # the first round warms up
    one_step, networks, plain = (statistics.median(column) for column in zip(*rows, strict=True))
    shares = [100 * (row[1] + row[2]) / (asked.every * row[0]) for row in rows]
    print(
        f"{asked.preset}, {side} px, {recipe.precision}, {asked.threads} threads, "
        f"{engine.signature()}; {asked.images} images of each domain"
    )
    print(f"a training step   {1000 * one_step:8.1f} ms")
    print(f"a probe, networks {1000 * networks:8.1f} ms")
    print(f"a probe, numpy    {1000 * plain:8.1f} ms")
    print(
        f"share of {asked.every} steps: {statistics.median(shares):.2f} % "
        f"(rounds {min(shares):.2f} to {max(shares):.2f})"
    )


if __name__ == "__main__":
    main()
