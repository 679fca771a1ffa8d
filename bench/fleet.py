"""Fleets: a Ray job killed at random moments, and its throughput beside plain processes.

    python bench/fleet.py kills --images 20000 --kills 10 --folder /tmp/fleet
    python bench/fleet.py speed --images 400 --side 64 --preset small --folder /tmp/fleet

`kills` writes small images, 1 % of them damaged, into a store that counts its calls, and kills an
actor, the driver or the raylet (SIGKILL) whenever a random number of results has been stored; the
same command is called again until all is done. Results are compared with those of one plain
process. `speed` runs two actors and two plain processes at the same time, so that whatever else
the machine does is shared by both, and compares the images done while all four work.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
from PIL import Image

from unpaired import checkpoint
from unpaired.config import Config, Runtime
from unpaired.engines.choice import make_engine
from unpaired.presets import preset

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from faulty_store import plug_in

FACTS = {"name_a": "a", "name_b": "b", "bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8}
COMMAND = [sys.executable, "-m", "unpaired"]
KINDS = ("actor", "driver", "raylet")


def write_model(path, name):
    """A model of random networks."""
    recipe = replace(
        preset(name, FACTS | {"precision": "fp32"}), start="noise", steps=10, epoch_steps=5
    )
    engine = make_engine(recipe, Runtime(threads=1, device="cpu"))
    state = {n: a for n, a in engine.state().items() if n.startswith("generator_")}
    checkpoint.write(path, checkpoint.Header("model", Config(recipe, Runtime()), 0), state)


def write_images(folder, count, side, damaged=0):
    """Images of noise; every so many (0: none) is cut off. Returns the damaged ones' names."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    cut = set()
    for index in range(count):
        path = folder / f"{index % 20:02d}" / f"{index:06d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
        if damaged and index % damaged == 7:
            path.write_bytes(path.read_bytes()[:60])
            cut.add(path.relative_to(folder).as_posix())
    return cut


def results_in(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


def calls(log, verb, folder):
    """How often each name below a folder of the store was called."""
    found = Counter()
    start = f"{verb} {folder}/"
    if log.exists():
        for line in log.read_text().splitlines():
            if line.startswith(start) and line.endswith(".png"):
                found[line.removeprefix(start)] += 1
    return found


def descendants(process, word):
    try:
        found = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    named = []
    for each in found:
        try:
            if word in " ".join(each.cmdline()):
                named.append(each)
        except psutil.Error:
            continue
    return named


def kill(kind, driver, rng):
    """Kills one process; whether there was one."""
    if kind == "driver":
        driver.kill()
        return True
    word = "ray::MapWorker" if kind == "actor" else "raylet/raylet"
    found = descendants(psutil.Process(driver.pid), word)
    if not found:
        return False
    rng.choice(found).kill()
    return True


def kills(args):
    root = args.folder
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    model = root / "model.safetensors"
    write_model(model, args.preset)
    bucket = root / "store" / "b"
    cut = write_images(bucket / "in", args.images, args.side, damaged=100)
    began = time.time()
    plain = ["translate", str(model), str(bucket / "in"), "--out", str(root / "plain"), "--to", "b"]
    plain += ["--batch-size", "1", "--precision", "recipe", "--threads", "1", "--quiet"]
    subprocess.run([*COMMAND, *plain], check=False, stderr=subprocess.DEVNULL)
    print(f"plain process: {time.time() - began:.0f} s", flush=True)
    log = root / "calls.txt"
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([plug_in(root / "plug"), os.environ.get("PYTHONPATH", "")]),
        "STORE_ROOT": str(root / "store"),
        "STORE_LOG": str(log), "STORE_FAULTS": str(args.faults), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    job = ["fleet", "faulty://b/in", "faulty://b/out", str(model), "--to", "b", "--quiet"]
    job += ["--actors", "2", "2", "--batch", str(args.batch)]
    rng = random.Random(args.seed)
    moments = sorted(rng.sample(range(args.images // 50, args.images * 95 // 100), args.kills))
    kinds = [KINDS[index % 3] for index in range(args.kills)]
    rng.shuffle(kinds)
    done, code, starts, began = [], None, 0, time.time()
    while True:
        starts += 1
        output = open(root / f"output-{starts}.txt", "w")  # noqa: SIM115
        driver = subprocess.Popen(
            [*COMMAND, *job], env=env, stdout=output, stderr=subprocess.STDOUT
        )
        raylet_gone = None
        while driver.poll() is None:
            time.sleep(0.2)
            if raylet_gone and time.time() - raylet_gone > 600:
                print("the driver did not end within 600 s of its raylet", flush=True)
                driver.kill()
            stored = len(calls(log, "put", "b/out"))
            if raylet_gone is None and len(done) < args.kills and stored >= moments[len(done)]:
                kind = kinds[len(done)]
                if kill(kind, driver, rng):
                    done.append((kind, stored))
                    print(f"{time.time() - began:.0f} s: killed {kind} at {stored}", flush=True)
                    raylet_gone = time.time() if kind == "raylet" else None
        code = driver.returncode
        print(f"{time.time() - began:.0f} s: exit code {code}", flush=True)
        if code in (0, 1):
            break
    while psutil.pids() and descendants(psutil.Process(), "ray"):
        time.sleep(0.5)
    rows = pq.read_table(bucket / "out" / "manifest.parquet").to_pylist()
    names = Counter(row["name"] for row in rows)
    inputs = {p.relative_to(bucket / "in").as_posix() for p in (bucket / "in").rglob("*.png")}
    failed = {row["name"] for row in rows if row["status"] == "failed"}
    got, expected = results_in(bucket / "out"), results_in(root / "plain")
    reads, puts = calls(log, "get", "b/in"), calls(log, "put", "b/out")
    again = sum(count - 1 for name, count in reads.items() if name not in cut)
    report = {
        "images": args.images, "kills": dict(Counter(kind for kind, _ in done)), "starts": starts,
        "exit code": code,
        "each input has one row": names.keys() == inputs and set(names.values()) == {1},
        "each whole input has one result, equal to the plain process": got == expected
        and set(expected) == inputs - cut,
        "damaged inputs listed": f"{len(failed)} of {len(cut)}, {failed == cut}",
        "read again (upper bound of computed twice)": f"{again} = {again / args.images:.2%}",
        "stored again": sum(count - 1 for count in puts.values()),
        "seconds": round(time.time() - began),
    }  # fmt: skip
    print(json.dumps(report, indent=1))


def speed(args):
    root = args.folder
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    model = root / "model.safetensors"
    write_model(model, args.preset)
    write_images(root / "in", args.images, args.side)
    # Ray's workers are of nice 15: beside anything else they would get less of the processor.
    env = os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    options = [str(model), str(root / "in"), "--to", "b", "--threads", "1", "--quiet"]
    words = [
        ["translate", *options, "--out", str(root / "plain"), "--shard", f"{index}/2"]
        for index in range(2)
    ]
    fleet = ["fleet", str(root / "in"), str(root / "ray"), str(model), "--to", "b", "--quiet"]
    words.append([*fleet, "--actors", "2", "2"])
    running = [subprocess.Popen([*COMMAND, *words.pop()], env=env)]
    while len(results_in(root / "ray")) < args.images // 20:  # Ray takes longer to start
        time.sleep(1)
    running += [subprocess.Popen([*COMMAND, *each], env=env) for each in words]
    samples = []  # time, CPU seconds of the actors, of the plain processes
    while all(each.poll() is None for each in running):
        actors = descendants(psutil.Process(running[0].pid), "ray::MapWorker")
        used = [
            sum(sum(p.cpu_times()[:2]) for p in group)
            for group in (actors, [psutil.Process(each.pid) for each in running[1:]])
        ]
        samples.append((time.time(), *used))
        time.sleep(1)
    for each in running:
        each.wait()
    shards = [
        [json.loads(line)["finished"] for line in path.read_text().splitlines()]
        for path in sorted((root / "plain").glob("manifest-*.jsonl"))
    ]
    jobs = [row["finished"] for row in pq.read_table(root / "ray/manifest.parquet").to_pylist()]
    assert sum(map(len, shards)) == len(jobs) == args.images
    start = max(min(times) for times in (*shards, sorted(jobs)[args.images // 20 :]))
    end = min(max(times) for times in (*shards, sorted(jobs)[: -args.images // 20]))
    within = [each for each in samples if start <= each[0] <= end]
    (start, *first), (end, *last) = within[0], within[-1]
    plain = sum(start < t <= end for times in shards for t in times)
    actors = sum(start < t <= end for t in jobs)
    each = [(b - a) / n for a, b, n in zip(first, last, (actors, plain), strict=True)]
    print(f"CPU time an image: {each[0] * 1e3:.1f} ms in actors, {each[1] * 1e3:.1f} ms in plain")
    print(f"processes: {each[1] / each[0]:.3f}")
    print(f"while all four worked, {end - start:.1f} s: {plain} by plain processes, {actors} by")
    print(f"actors: {actors / max(plain, 1):.3f} of two plain processes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "speed"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    {"kills": kills, "speed": speed}[given.what](given)
