"""Exact streaming: time against one forward, memory, scratch, kills, large scenes.

python -m bench.streaming time [--size 2048] [--width 16] [--blocks 9]
python -m bench.streaming memory [--sizes 4096 12288] [--width 16] [--blocks 2]
python -m bench.streaming kills [--size 1024] [--count 10]
python -m bench.streaming scene [--size 20000] [--width 8] [--blocks 2]

Networks have random weights and scenes are drawn by this script. `memory` and `scene` translate
GeoTIFFs (extra `geo`) in processes of their own, by the command line; `kills` kills one of them
with SIGKILL at random moments, ten times, and lets it end. Files go into --folder.
"""

import argparse
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from unpaired import checkpoint
from unpaired.config import Config, Runtime
from unpaired.engines.seam import generators_of
from unpaired.engines.tiles import Region
from unpaired.presets import preset


def recipe(width, blocks, **changes):
    return preset(
        "tiny",
        {"bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8, "name_a": "summer",
         "name_b": "winter", "width": width, "blocks": blocks, **changes},
    )  # fmt: skip


def weights(wanted):
    rng = np.random.default_rng(0)
    return {
        f"{name}.{key}": rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        for name, layers in generators_of(wanted).items()
        for layer in layers
        for key, shape in layer.parameters.items()
    }


def write_model(path, width, blocks):
    wanted = recipe(width, blocks)
    header = checkpoint.Header("model", Config(wanted, Runtime()), 1)
    checkpoint.write(path, header, weights(wanted))
    return path


def write_scene(path, size):
    """A GeoTIFF of smooth shapes and noise, by strips."""
    import rasterio

    rng = np.random.default_rng(0)
    across = np.arange(size) / 200
    profile = {"driver": "GTiff", "height": size, "width": size, "count": 3, "dtype": "uint8",
               "tiled": True, "blockxsize": 512, "blockysize": 512, "crs": "EPSG:32633",
               "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5000000)}  # fmt: skip
    with rasterio.open(path, "w", **profile) as scene:
        for top in range(0, size, 512):
            rows = np.arange(top, min(top + 512, size))[:, None] / 300
            shapes = 90 + 60 * np.sin(across + rows) * np.cos(rows * 0.7 + top / 20000)
            noise = rng.integers(0, 60, (3, len(rows), size))
            scene.write(
                (shapes + noise).astype(np.uint8), window=((top, top + len(rows)), (0, size))
            )
    return path


DRY = ("--dry-run", "--overwrite")


def command(model, scene, out, *more):
    given = [str(model), str(scene), "--to", "winter", "--out", str(out), "--threads", "1"]
    return [sys.executable, "-m", "unpaired", "translate", *given, *more]


def time_of(args):
    """Streaming against one forward, in turns, by processor time: other programs matter less."""
    from unpaired.engines.torch.translator import TorchTranslator
    from unpaired.translation.streaming.driver import Driver, Network
    from unpaired.translation.streaming.options import choose_side
    from unpaired.translation.streaming.windows import ArraySource

    size = args.size
    for upsample in ("transposed", "resize"):
        wanted = recipe(args.width, args.blocks, upsample=upsample, precision="fp32")
        translator = TorchTranslator(wanted, Runtime(device="cpu", threads=1))
        translator.load_generators(weights(wanted))
        layers = generators_of(wanted)["generator_ab"]
        image = np.random.default_rng(0).uniform(-1, 1, (size, size, 3)).astype(np.float32)
        side = choose_side(wanted, (size, size), 2e9, halo=0, host=True)
        network = Network(translator, layers, "ab")

        def whole(translator=translator, image=image):
            return translator.translate(image[None], "ab")[0]

        def streamed(network=network, image=image, side=side):
            sink = Kept(image.shape[:2])
            Driver(network, ArraySource(image), sink, side, args.folder / "scratch").run()
            return sink.result

        (args.folder / "scratch").mkdir(exist_ok=True)
        ratios = []
        for _ in range(args.rounds):
            spent = []
            for way in (whole, streamed):
                began = time.process_time()
                way()
                spent.append(time.process_time() - began)
            ratios.append(spent[1] / spent[0])
        print(
            f"{upsample}: one forward {spent[0]:.1f} s, streamed with tiles of {side} px "
            f"{spent[1]:.1f} s; median ratio of {args.rounds} {statistics.median(ratios):.3f}"
        )


class Kept:
    bands, dtype = 3, np.uint8

    def __init__(self, size):
        self.size = size

    def encode(self, signed, valid):
        return np.rint((signed + 1) * 127.5).astype(np.uint8)

    def save(self, read):
        self.result = read(Region((0, self.size[0]), (0, self.size[1])))


def memory_of(args, sizes):
    model = write_model(
        args.folder / f"w{args.width}b{args.blocks}.safetensors", args.width, args.blocks
    )
    for size in sizes:
        scene = args.folder / f"scene-{size}.tif"
        if not scene.exists():
            write_scene(scene, size)
        out = args.folder / f"out-{size}"
        limits = ["--memory", str(args.memory), "--max-pixels", "100000000000"]
        plan = subprocess.run(
            command(model, scene, out, *limits, *("--tile", str(args.tile)), *DRY),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        print(plan.stdout.strip(), flush=True)
        began = time.monotonic()
        process = subprocess.Popen(
            command(model, scene, out, *limits, "--tile", str(args.tile), "--overwrite")
        )
        most, peak = 0, 0
        while process.poll() is None:
            most = max(
                most, sum(p.stat().st_blocks * 512 for p in alive(out.glob(".streaming-*/*")))
            )
            peak = max(peak, resident(process.pid))
            time.sleep(0.2)
        took = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = used.ru_utime + used.ru_stime
        print(
            f"{size} px: exit {process.returncode}, peak {peak / 1e9:.2f} GB, scratch "
            f"{most / 1e9:.2f} GB, {took:.0f} s, {spent:.0f} s of processor time so far",
            flush=True,
        )


def alive(paths):
    for path in paths:
        try:
            path.stat()
        except FileNotFoundError:
            continue
        yield path


def resident(pid):
    """The peak resident memory of a process so far, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def kills(args):
    model = write_model(args.folder / "kills.safetensors", args.width, args.blocks)
    scene = write_scene(args.folder / "kills.tif", args.size)
    limits = ["--memory", "0.12", "--tile", "128"]
    began = time.monotonic()
    subprocess.run(command(model, scene, args.folder / "calm", *limits, "--overwrite"), check=True)
    took = time.monotonic() - began
    draw, killed = random.Random(args.seed), 0
    out = args.folder / "killed"
    while True:
        process = subprocess.Popen(command(model, scene, out, *limits, "--overwrite"))
        if killed == args.count:
            process.wait()
            break
        try:
            process.wait(draw.uniform(3, max(took / 3, 6)))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    same = (out / "kills.tif").read_bytes() == (args.folder / "calm" / "kills.tif").read_bytes()
    print(f"killed {killed} times; the results are {'identical' if same else 'DIFFERENT'}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["time", "memory", "kills", "scene"])
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--sizes", type=int, nargs="*", default=[4096, 12288])
    parser.add_argument("--width", type=int, default=None)
    parser.add_argument("--blocks", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=float, default=0.5, help="GB")
    parser.add_argument("--tile", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/streaming"))
    args = parser.parse_args()
    sizes = {"time": 2048, "kills": 1024, "scene": 20000}
    args.size = args.size or sizes.get(args.what)
    args.width = args.width or (8 if args.what == "scene" else 16)
    args.blocks = (9 if args.what == "time" else 2) if args.blocks is None else args.blocks
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.what == "time":
        import torch

        torch.set_num_threads(1)
        time_of(args)
    elif args.what == "kills":
        kills(args)
    else:
        memory_of(args, [args.size] if args.what == "scene" else args.sizes)


if __name__ == "__main__":
    main()
