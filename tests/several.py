"""Programs of several processes, for tests: forked after the imports, which take the longest.

python several.py train ENGINE: reads lines [N, ARGUMENTS, FILE], as JSON, and for each forks N
processes of `unpaired train`, whose output goes to FILE; it prints their ids, and when all
have ended their exit codes.
python several.py steps FOLDER: the scenarios of `SCENARIOS`, each by the first processes of four;
every one writes its state after the steps to FOLDER. The exit codes are printed.
python several.py jax FOLDER [short]: the scenarios of `JAX` likewise, or those of `JAX_SHORT`.
"""

import importlib
import itertools
import json
import os
import signal
import socket
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np

from unpaired.config import Runtime
from unpaired.data.batches import Batch, Further, further_slots, pool_plan
from unpaired.engines.choice import join, make_engine
from unpaired.engines.seam import initial_state, lanes_of
from unpaired.errors import RunError
from unpaired.presets import preset
from unpaired.streams import FURTHER_POOL_A, FURTHER_POOL_B, POOL_A, POOL_B

STEPS = 25
RECIPE = preset("tiny", {
    "load_size": 16, "image_size": 16, "width": 2, "blocks": 1, "discriminator_width": 2,
    "discriminator_layers": 1, "bands_a": 3, "bands_b": 3, "batch_size": 4, "pool_size": 3,
    "identity": 0.5, "ema": 0.9, "gradient_penalty": 1.0, "discriminator_images": 2,
    "steps": STEPS, "epoch_steps": 5, "precision": "fp64",
})  # fmt: skip
FEW = 7  # steps of a scenario that is to differ

# name: processes, first step, last step, where the state comes from, what is changed
SCENARIOS = {
    "one": (1, 0, STEPS, "", ""),
    "two": (2, 0, STEPS, "", ""),
    "four": (4, 0, STEPS, "", ""),
    "part of two": (2, 0, 8, "", ""),
    "then of one": (1, 8, 16, "part of two", ""),
    "then of four": (4, 16, STEPS, "then of one", ""),
    "parts": (2, 0, FEW, "", "parts"),
    "exact": (1, 0, 1, "", ""),
    "single": (1, 0, 1, "", "fp32"),
    "single of two": (2, 0, 1, "", "fp32"),
    "single of four": (4, 0, 1, "", "fp32"),
    "gaps": (1, 0, FEW, "", "gaps"),
    "gaps of two": (2, 0, FEW, "", "gaps"),
    "few": (1, 0, FEW, "", ""),
    "uneven": (2, 0, FEW, "", "uneven"),
    "no exchange": (2, 0, FEW, "", "no exchange"),
    "sum for mean": (2, 0, FEW, "", "sum for mean"),
    "pool plan of its own": (2, 0, FEW, "", "pool plan of its own"),
    "ema not shared": (2, 0, FEW, "", "ema not shared"),
    "uneven, averaged": (2, 0, FEW, "", "uneven, averaged"),
    "gaps apart": (2, 0, FEW, "", "gaps apart"),
}
SHORT_SCENARIOS = {
    "short": (1, 0, FEW, "", "short"),
    "short of two": (2, 0, FEW, "", "short"),
}
SHORT = {"gradient_penalty": 0.0, "discriminator_images": 1, "identity": 0.0, "batch_size": 2}
# Those that JAX has, by their processes. A process joins others once, so it takes some in turn:
# that spares compiling, which is nearly all the time.
JAX = {
    2: ("part of two", "two"),
    1: ("one", "then of one"),
    4: ("four", "then of four"),
}
JAX_SHORT = {2: ("short of two",), 1: ("short",)}


def batch_of(recipe, step, lanes, seed=0):
    """The lanes of a batch of random images; with gaps in some of them where they are omitted."""
    rng = np.random.default_rng((recipe.seed, step))
    size, side = recipe.batch_size, recipe.image_size
    images = rng.uniform(-1, 1, (4, size, side, side, 3))
    pools = [pool_plan(replace(recipe, seed=seed), p, step, lanes) for p in (POOL_A, POOL_B)]
    further = {
        domain: Further(images[place][lanes], further_slots(recipe, pool, step, lanes))
        for place, domain, pool in ((2, "a", FURTHER_POOL_A), (3, "b", FURTHER_POOL_B))
    }
    further = further if recipe.discriminator_images > 1 else {}
    valid = {}
    if recipe.seed == 1:  # gaps, in the first half of the batch alone and of unequal sizes
        masks = np.ones((2, size, side, side), bool)
        masks[0, 0, :9], masks[1, 0, :, :5], masks[1, 1, 3:4] = False, False, False
        valid = {"a": masks[0][lanes], "b": masks[1][lanes]}
        valid = {} if all(mask.all() for mask in valid.values()) else valid
    return Batch(images[0][lanes], images[1][lanes], *pools, further, valid)


def change(engine, name, rank):
    """Makes the engine wrong, or different, in the manner of that name."""
    if name == "no exchange":
        engine.processes.add = lambda tensors: None
    elif name == "sum for mean":
        engine.share = 1.0
    elif name == "ema not shared" and rank:
        engine._update_ema = lambda: None
    elif name == "uneven, averaged":
        engine.share = 0.5


def run(name, framework, folder):
    """Takes the steps of a scenario, and writes the state and this process's lanes."""
    _, first, last, source, changed = (SCENARIOS | SHORT_SCENARIOS)[name]
    recipe = RECIPE
    if changed == "fp32":
        recipe = replace(recipe, precision="fp32")
    if changed == "short":
        recipe = replace(recipe, **SHORT)
    if "gaps" in changed:
        recipe = replace(recipe, seed=1)
    runtime = Runtime(engine=framework, device="cpu", threads=1)
    if changed == "parts":
        runtime = replace(runtime, accumulate=2)
    processes = join(runtime)
    if changed.startswith("uneven"):
        import unpaired.engines.torch.engine as module

        module.lanes_of = lambda size, count: [slice(0, 3), slice(3, 4)]
    engine = make_engine(recipe, runtime, processes)
    rank, count = engine.shard
    lanes = getattr(engine, "lanes", lanes_of(recipe.batch_size, count))[rank]
    if source:
        state = dict(np.load(folder / f"{source}.0.npz"))
    else:
        state = initial_state(engine.state(), recipe)
    engine.load(state if rank == 0 else {})
    change(engine, changed, rank)
    if changed == "gaps apart":
        import unpaired.engines.torch.engine as module

        engine._pixel_weights = module.pixel_weights
    for step in range(first, last):
        seed = rank if changed == "pool plan of its own" else 0
        losses = engine.train_step(batch_of(recipe, step, lanes, seed), recipe.rate_factor(step))
    told = {"lanes": [lanes.start, lanes.stop], "unequal": False}
    try:
        state = engine.state()
    except RunError:  # in all of them
        told["unequal"] = True
        sys.modules[type(engine).__module__].require_equal = lambda processes, state: None
        state = engine.state()
    np.savez(folder / f"{name}.{rank}.npz", **state)
    told["losses"] = {loss: float(value) for loss, value in losses.items()}
    (folder / f"{name}.{rank}.json").write_text(json.dumps(told))
    processes.close()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def place(rank, count, port):
    """Sets the variables that tell this process its place."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip


def forked(count, work):
    """Forks processes that do `work(rank)`; returns their ids."""
    ids = []
    for rank in range(count):
        sys.stdout.flush()
        if child := os.fork():
            ids.append(child)
            continue
        code = 1
        try:
            code = work(rank) or 0
            if "jax" in sys.modules:  # as at the end of a program
                sys.modules["jax"].distributed.shutdown()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return ids


def steps(folder):
    """All scenarios in PyTorch, one after another."""
    import unpaired.engines.torch.engine as module
    import unpaired.engines.torch.processes as meeting

    lanes, check, ports = module.lanes_of, module.require_equal, free_ports(len(SCENARIOS))

    def work(rank):
        for (name, (count, *_)), port in zip(SCENARIOS.items(), ports, strict=True):
            module.lanes_of, module.require_equal = lanes, check
            meeting._RUNS = itertools.count()  # not all have joined as often
            if rank < count:
                place(rank, count, port)
                run(name, "torch", folder)

    return forked(4, work)


def train(count, words, said):
    """Processes of `unpaired train`, whose output is appended to a file."""
    from unpaired.cli.main import main

    (port,) = free_ports(1)

    def work(rank):
        file = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for each in (1, 2):  # gloo prints to standard output
            os.dup2(file, each)
        place(rank, count, port)
        sys.argv = ["unpaired", "train", *words]
        return main()

    return forked(count, work)


def jax(folder, scenarios):
    """The scenarios that JAX has, one after another."""
    for count, names in scenarios.items():
        (port,) = free_ports(1)

        def work(rank, names=names, count=count, port=port):
            place(rank, count, port)
            for name in names:
                run(name, "jax", folder)

        if any(codes := ended(forked(count, work))):
            sys.exit(f"the processes of {names} ended with {codes}")


def ended(ids, *, all_needed=True):
    """The exit codes of processes, after all have ended.

    Where `all_needed`, the others are killed once one has failed: they would wait for it.
    """
    codes = {}
    while len(codes) < len(ids):
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        if codes[child] and all_needed:
            for each in set(ids) - codes.keys():
                os.kill(each, signal.SIGKILL)
    return [codes[each] for each in ids]


def is_alive(process):
    """Whether a process runs or is stopped: it has not ended, and waits for nobody to read how."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().split(") ")[1][0] != "Z"


def serve(framework):
    """Starts trainings as standard input asks for them, after the imports of all."""
    import unpaired.cli.parser
    import unpaired.evaluation.evaluate
    import unpaired.training.loop  # noqa: F401

    importlib.import_module(f"unpaired.engines.{framework}.engine")
    for line in sys.stdin:
        ids = train(*json.loads(line))
        print(json.dumps(ids), flush=True)
        print(json.dumps(ended(ids, all_needed=False)), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["steps", folder]:
            print(json.dumps(ended(steps(Path(folder)))))
        case ["train", framework]:
            serve(framework)
        case ["jax", folder, *short]:
            importlib.import_module("unpaired.engines.jax.engine")
            jax(Path(folder), JAX_SHORT if short else JAX)
        case _:
            sys.exit(__doc__)
