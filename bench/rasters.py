"""Two demonstrations on single small scenes of shared/data/rasters: other bands on each side.

    python -m bench.rasters RASTERS WORK [--scenes sentinel|landsat] [--minutes 8 | --steps N]

"sentinel" goes from SAR (VV, VH) to red, green, blue and near infrared, "landsat" from the near
and middle infrared bands of Landsat 7 (4, 5, 7) to its red and green ones. Each cuts both images
into the same train and test parts (the upper three quarters and the rest), trains, evaluates on the
test part, and translates the whole scene to a GeoTIFF. One scene is no training set: nothing here
tells how well other places would be translated.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

import unpaired
from unpaired import console
from unpaired.report.files import write_report
from unpaired.report.text import as_text
from unpaired.translation.files import translate_files


@dataclass(frozen=True)
class Demonstration:
    """The files of both domains by their names, and values of the recipe."""

    files: dict[str, str]
    recipe: dict[str, str]


LANDSAT = "landsat7_6band_uint8.tif"
DEMONSTRATIONS = {
    "sentinel": Demonstration(
        {"sar": "spain_s1_vv_vh_float32.tif", "optical": "spain_s2_13band_int16.tif"},
        {"bands_b": "B4,B3,B2,B8"},
    ),
    # The six bands of this file are 1, 2, 3, 4, 5 and 7 of Landsat 7.
    "landsat": Demonstration(
        {"infrared": LANDSAT, "visible": LANDSAT}, {"bands_a": "4,5,6", "bands_b": "3,2"}
    ),
}


def striped(pixels: np.ndarray) -> np.ndarray:
    """Scenes as Landsat 7 has them since 2003: 6 of 40 rows, aslant, without data (0)."""
    rows, columns = np.mgrid[: pixels.shape[1], : pixels.shape[2]]
    return np.where((rows + columns // 4) % 40 < 6, 0, pixels).astype(pixels.dtype)


def cut(files: dict[str, str], rasters: Path, data: Path, stripes: bool) -> None:
    """Writes the train and test parts of both scenes, tiled, with their band names.

    With `stripes` the training part of the second one lacks data there.
    """
    for domain, name in files.items():
        last = stripes and domain == list(files)[-1]
        with rasterio.open(rasters / name) as scene:
            train = scene.height * 3 // 4
            parts = {"train": (0, train), "test": (train, scene.height - train)}
            for split, (top, height) in parts.items():
                window = Window(0, top, scene.width, height)
                folder = data / split / domain
                folder.mkdir(parents=True)
                profile = {
                    "driver": "GTiff", "width": scene.width, "height": height, "crs": scene.crs,
                    "count": scene.count, "dtype": scene.dtypes[0],
                    "nodata": 0 if last else scene.nodata,
                    "transform": scene.window_transform(window), "compress": "deflate",
                    "tiled": True, "blockxsize": 256, "blockysize": 256,
                }  # fmt: skip
                with rasterio.open(folder / "scene.tif", "w", **profile) as part:
                    pixels = scene.read(window=window)
                    part.write(striped(pixels) if last and split == "train" else pixels)
                    part.descriptions = scene.descriptions


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rasters", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--scenes", choices=DEMONSTRATIONS, default="sentinel")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--steps", type=int, help="in place of minutes")
    parser.add_argument("--stripes", action="store_true", help="training data of B have gaps")
    parser.add_argument("--gaps", choices=("omit", "count"), default="omit")
    parser.add_argument("--cycle", type=float, help="weight of the cycle loss")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    console.show()
    data, run = asked.work / "data", asked.work / "run"
    shutil.rmtree(data, ignore_errors=True)
    chosen = DEMONSTRATIONS[asked.scenes]
    cut(chosen.files, asked.rasters, data, asked.stripes)
    recipe = chosen.recipe | {"image_size": 64, "seed": asked.seed, "gaps": asked.gaps}
    if asked.cycle is not None:
        recipe["cycle"] = asked.cycle
    length = {"steps": asked.steps} if asked.steps else {"minutes": asked.minutes}
    runtime = {"device": "cpu", "threads": 1, "workers": 1, "evaluate_every": 0, "report": "none"}
    domains = tuple(chosen.files)
    unpaired.train(
        str(data), out=run, preset="tiny", domains=domains, **length, **recipe, **runtime,
    )  # fmt: skip
    report = unpaired.evaluate(
        run, str(data), domains=domains, paired=True, image_size=64, threads=1, device="cpu"
    )
    print(as_text(report))
    write_report(report, run / "report")
    model = unpaired.load(run, device="cpu", threads=1)
    done = translate_files(
        model,
        [asked.rasters / chosen.files[domains[0]]],
        asked.work / "out",
        to=domains[1],
        overwrite=True,
    )
    print(*done.done, *done.failed, sep="\n")


if __name__ == "__main__":
    main()
