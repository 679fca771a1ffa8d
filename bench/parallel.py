"""Data-parallel training beside one process: images a second, in turns, at the same global batch.

python -m bench.parallel [--processes 2] [--preset small] [--batch 2] [--engine torch] [--turns 5]
    [--steps 6] [--precision fp32]

One process of one thread, and several of one thread each, take the same steps on random images, in
turns, so that what else the machine does meets both. Each turn is timed from the word to begin
until all processes have the losses. The ratio is that of the medians; `ratios` are of each turn.
Where other work wants the cores, a step waits for the slowest process and the ratio says little;
`processor_ratio` is that of processor seconds, of one process to the busiest of several: the limit
that the work itself sets, without waiting.
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import time

import numpy as np

from unpaired.presets import preset


def worker(pipe, rank, count, port, recipe, engine):
    """Takes as many steps as it is told to, and answers with their seconds, until told none."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                   "OMP_NUM_THREADS": "1"}  # fmt: skip
    from unpaired.config import Runtime
    from unpaired.data.batches import Batch, Further, further_slots, pool_plan
    from unpaired.engines.choice import join, make_engine
    from unpaired.engines.seam import initial_state, lanes_of
    from unpaired.streams import FURTHER_POOL_A, FURTHER_POOL_B, POOL_A, POOL_B

    runtime = Runtime(engine=engine, device="cpu", threads=1)
    processes = join(runtime)
    made = make_engine(recipe, runtime, processes)
    state = initial_state(made.state(), recipe)
    made.load(state if rank == 0 else {})
    lanes = lanes_of(recipe.batch_size, count)[rank]
    many, side = recipe.discriminator_images - 1, recipe.image_size
    rng = np.random.default_rng(0)

    def images(number):
        return rng.uniform(-1, 1, (number, side, side, 3)).astype(np.float32)

    def batch(step):
        own = lanes.stop - lanes.start
        plans = [pool_plan(recipe, name, step, lanes) for name in (POOL_A, POOL_B)]
        further = {
            domain: Further(images(own * many), further_slots(recipe, name, step, lanes))
            for domain, name in (("a", FURTHER_POOL_A), ("b", FURTHER_POOL_B))
        }
        return Batch(images(own), images(own), *plans, further if many else {})

    step = 0
    while steps := pipe.recv():
        batches = [batch(step + index) for index in range(steps)]
        processes.sum([0.0])
        began, worked = time.perf_counter(), time.process_time()
        for each in batches:
            losses = made.train_step(each, 1.0)
        for loss in losses.values():
            float(loss)
        pipe.send((time.perf_counter() - began, time.process_time() - worked))
        step += steps
    processes.close()


class Contestant:
    """Processes that train together."""

    def __init__(self, count, recipe, engine):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        spawn = multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(count):
            ours, theirs = spawn.Pipe()
            given = (theirs, rank, count, port, recipe, engine)
            process = spawn.Process(target=worker, args=given)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def take(self, steps):
        """Seconds, and processor seconds, of the processes that needed most for the steps."""
        for pipe in self.pipes:
            pipe.send(steps)
        return [max(found) for found in zip(*[pipe.recv() for pipe in self.pipes], strict=True)]

    def end(self):
        for pipe in self.pipes:
            pipe.send(0)
        for process in self.processes:
            process.join()


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--engine", default="torch", choices=["torch", "jax"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    asked = parser.parse_args(words)
    values = {"batch_size": asked.batch, "bands_a": 3, "bands_b": 3, "start": "residual"}
    recipe = preset(asked.preset, values | {"precision": asked.precision})
    contestants = {n: Contestant(n, recipe, asked.engine) for n in (1, asked.processes)}
    for each in contestants.values():
        each.take(2)  # compiles, fills caches
    rates, processor = {n: [] for n in contestants}, {n: [] for n in contestants}
    for _ in range(asked.turns):
        for n, each in contestants.items():
            seconds, worked = each.take(asked.steps)
            rates[n].append(2 * asked.batch * asked.steps / seconds)
            processor[n].append(worked / asked.steps)
    for each in contestants.values():
        each.end()
    ratios = [many / one for one, many in zip(*rates.values(), strict=True)]
    medians = {n: statistics.median(found) for n, found in rates.items()}
    work = {n: statistics.median(found) for n, found in processor.items()}
    told = {"preset": asked.preset, "precision": asked.precision, "batch": asked.batch,
            "engine": asked.engine, "images_per_second": medians,
            "ratio": medians[asked.processes] / medians[1], "ratios": ratios,
            "processor_seconds_per_step": work, "processor_ratio": work[1] / work[asked.processes],
            "load": os.getloadavg()}  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main()
