"""One training step of preset `paper`: this package against the same step written plainly.

python -m bench.training_step [--size 128] [--rounds 5] [--threads N] [--device cpu]

The plain step (tests/plain.py) is fp32, contiguous, one forward for each input, Adam with its
defaults. All are timed in turn, round by round, so that a drift of the machine affects all alike.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import torch

sys.path.insert(0, "tests")
import plain
from unpaired.config import Runtime
from unpaired.data.batches import Batch, PoolPlan
from unpaired.engines.seam import initial_state
from unpaired.engines.torch.engine import TorchEngine
from unpaired.presets import preset


def ours(size, precision, runtime):
    recipe = preset(
        "paper",
        {"load_size": size, "image_size": size, "bands_a": 3, "bands_b": 3, "steps": 1000,
         "precision": precision, "pool_size": 50},
    )  # fmt: skip
    engine = TorchEngine(recipe, runtime)
    engine.load(initial_state(engine.state(), recipe))
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (2, 1, size, size, 3)).astype(np.float32)
    swap = PoolPlan(np.array([0]), np.array([True]), np.array([True]))
    batch = Batch(*images, swap, swap)

    def step():
        losses = engine.train_step(batch, 1.0)
        return [float(loss) for loss in losses.values()]

    return step


def theirs(size, device):
    step = plain.Step()
    for network in (step.g_ab, step.g_ba, step.d_a, step.d_b):
        network.to(device)
    step.make_optimisers()
    a, b = torch.rand(2, 1, 3, size, size, device=device) * 2 - 1
    return lambda: step(a, b)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    runtime = Runtime(device=asked.device, threads=asked.threads)
    torch.set_num_threads(asked.threads)
    steps = {
        "plain fp32": theirs(asked.size, asked.device),
        "unpaired fp32": ours(asked.size, "fp32", runtime),
        "unpaired bf16": ours(asked.size, "bf16", runtime),
    }
    times = {name: [] for name in steps}
    for _ in range(asked.rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - began)
    print(f"{asked.size} px, batch 1, {asked.threads} threads, torch {torch.__version__}")
    reference = times["plain fp32"][1:]
    for name, all_times in times.items():
        counted = all_times[1:]  # the first round warms up
        ratios = [slow / quick for slow, quick in zip(reference, counted, strict=True)]
        print(
            f"{name:14}  {statistics.median(counted):.3f} s per step, "
            f"{statistics.median(ratios):.2f} times as fast as plain "
            f"(rounds {min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
