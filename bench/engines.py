"""Steps per second of the engines, PyTorch against JAX, in turn in one process; fp32 by default.

python -m bench.engines [--size 64] [--width 32] [--blocks 6] [--batch 1] [--rounds 15]

Also prints the time of the first step, which compiles in JAX. Both engines start from the same
state and get the same batches; their losses after the timed steps are printed beside the times.
"""

import argparse
import statistics
import time

import numpy as np

from unpaired.config import Runtime
from unpaired.data.batches import Batch, pool_plan
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B


def batch_of(recipe, step):
    rng = np.random.default_rng((3, step + 1))
    shape = (recipe.batch_size, recipe.image_size, recipe.image_size, 3)
    return Batch(
        rng.uniform(-1, 1, shape).astype(np.float32),
        rng.uniform(-1, 1, shape).astype(np.float32),
        pool_plan(recipe, POOL_A, step, slice(None)),
        pool_plan(recipe, POOL_B, step, slice(None)),
    )


def timed(engine, batch):
    began = time.perf_counter()
    losses = {name: float(x) for name, x in engine.train_step(batch, 1.0).items()}
    return time.perf_counter() - began, losses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--upsample", default="resize")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    recipe = preset(
        "small",
        {"load_size": asked.size, "image_size": asked.size, "width": asked.width,
         "blocks": asked.blocks, "batch_size": asked.batch, "precision": asked.precision,
         "upsample": asked.upsample, "bands_a": 3, "bands_b": 3},
    )  # fmt: skip
    engines = {
        name: make_engine(recipe, Runtime(engine=name, device=asked.device, threads=asked.threads))
        for name in ("torch", "jax")
    }
    print(
        f"{asked.size} px, width {asked.width}, {asked.blocks} blocks, batch {asked.batch}, ",
        end="",
    )
    print(asked.precision)
    for name, engine in engines.items():
        engine.load(initial_state(engine.state(), recipe))
        seconds, _ = timed(engine, batch_of(recipe, 0))
        print(f"{name:6} {engine.signature()}: first step {seconds:.1f} s")
    times = {name: [] for name in engines}
    losses = {}
    for step in range(1, asked.rounds + 1):
        for name, engine in engines.items():
            seconds, losses[name] = timed(engine, batch_of(recipe, step))
            times[name].append(seconds)
    ratios = [torch / jax for torch, jax in zip(times["torch"], times["jax"], strict=True)]
    for name in engines:
        shown = ", ".join(
            f"{loss} {losses[name][loss]:.4f}" for loss in ("cycle_a", "discriminator_b")
        )
        print(f"{name:6} {1 / statistics.median(times[name]):.2f} steps per second ({shown})")
    print(
        f"jax is {statistics.median(ratios):.2f} times as fast as torch "
        f"(rounds {min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
