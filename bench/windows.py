"""The cost of crops out of large scenes: a pair of windows, as training draws them.

    python -m bench.windows WORK [--side 20000] [--crop 256] [--block 512] [--pairs 200]

Makes two scenes of SIDE x SIDE pixels where they are missing (float32 of 2 bands and int16 of 4,
tiled, deflate), and draws pairs of crops from random places in one thread. Also says what of a
pair is opening the files, and what reading the whole scenes would take.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from unpaired.config import Recipe
from unpaired.data.batches import Batches
from unpaired.data.check.raster import cells_of
from unpaired.data.source import find_source
from unpaired.images.raster.scene import open_scene

SCENES = {"sar": ("float32", 2), "optical": ("int16", 4)}
NOISE = 512


def make(path: Path, side: int, dtype: str, bands: int, block: int) -> None:
    """Writes a scene of noise, the worst case for decoding, in shifted copies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).gamma(4, 100, (bands, 2 * NOISE, 2 * NOISE)).astype(dtype)
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": bands, "dtype": dtype,
        "tiled": True, "blockxsize": block, "blockysize": block, "compress": "deflate",
        "zlevel": 1, "bigtiff": "YES", "crs": "EPSG:32630", "nodata": 0,
        "transform": Affine(10, 0, 500_000, 0, -10, 4_000_000),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as scene:
        for top in range(0, side, NOISE):
            for left in range(0, side, NOISE):
                height, width = min(NOISE, side - top), min(NOISE, side - left)
                y, x = (top * 7 // NOISE) % NOISE, (left * 11 // NOISE) % NOISE
                part = noise[:, y : y + height, x : x + width]
                scene.write(part, window=Window(left, top, width, height))


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--block", type=int, default=512)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=200)
    asked = parser.parse_args(words)
    for domain, (dtype, bands) in SCENES.items():
        path = asked.work / domain / "scene.tif"
        if not path.is_file():
            make(path, asked.side, dtype, bands, asked.block)
        print(f"{path}: {path.stat().st_size / 1e9:.2f} GB")
    cells = [cell for row in cells_of((asked.side, asked.side), 2 * asked.crop) for cell in row]
    data = find_source((str(asked.work / "sar"), str(asked.work / "optical")))
    parts = {f"train_{domain}": {"scene.tif": cells} for domain in "ab"}
    recipe = Recipe(
        image_size=asked.crop, load_size=asked.crop, crops="native", bands_a=2, bands_b=4,
        depth_a=32, depth_b=16, dtype_a="float32", dtype_b="int16", scaling_a="1:1500",
        scaling_b="1:1500",
    )  # fmt: skip
    batches = Batches(data.in_parts(parts), recipe, max_pixels=10**8)
    batches[0]
    seconds, cores = [], []
    for step in range(1, asked.pairs + 1):
        wall, core = time.perf_counter(), time.process_time()
        batches[step]
        seconds.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    opening = []
    for _ in range(50):
        core = time.process_time()
        for domain in SCENES:
            with open_scene(asked.work / domain / "scene.tif"):
                pass
        opening.append(time.process_time() - core)
    print(
        f"a pair of crops of {asked.crop} px: {1e3 * np.median(cores):.1f} ms of a core (90 %: "
        f"{1e3 * np.percentile(cores, 90):.1f}), {1e3 * np.median(seconds):.1f} ms by the clock; "
        f"{1e3 * np.median(opening):.1f} ms of it open the files"
    )


if __name__ == "__main__":
    main()
