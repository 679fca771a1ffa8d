"""Sentinel-1 to Sentinel-2 on the one small scene of shared/data/rasters: a demonstration.

    python -m bench.rasters RASTERS WORK [--minutes 8]

Cuts both images into the same train and test parts (the upper three quarters and the rest), trains
from SAR (VV, VH) to red, green, blue and near infrared, evaluates on the test part, and translates
the whole SAR image to a GeoTIFF. One scene is no training set: nothing here tells how well other
places would be translated.
"""

import argparse
import shutil
from pathlib import Path

import rasterio
from rasterio.windows import Window

import unpaired
from unpaired import console
from unpaired.report.files import write_report
from unpaired.report.text import as_text
from unpaired.translation.files import translate_files

SCENES = {"sar": "spain_s1_vv_vh_float32.tif", "optical": "spain_s2_13band_int16.tif"}


def cut(rasters: Path, data: Path) -> None:
    """Writes the train and test parts of both scenes, tiled, with their band names."""
    for domain, name in SCENES.items():
        with rasterio.open(rasters / name) as scene:
            train = scene.height * 3 // 4
            parts = {"train": (0, train), "test": (train, scene.height - train)}
            for split, (top, height) in parts.items():
                window = Window(0, top, scene.width, height)
                folder = data / split / domain
                folder.mkdir(parents=True)
                profile = {
                    "driver": "GTiff", "width": scene.width, "height": height, "crs": scene.crs,
                    "count": scene.count, "dtype": scene.dtypes[0], "nodata": scene.nodata,
                    "transform": scene.window_transform(window), "compress": "deflate",
                    "tiled": True, "blockxsize": 256, "blockysize": 256,
                }  # fmt: skip
                with rasterio.open(folder / "spain.tif", "w", **profile) as part:
                    part.write(scene.read(window=window))
                    part.descriptions = scene.descriptions


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rasters", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    console.show()
    data, run = asked.work / "data", asked.work / "run"
    shutil.rmtree(data, ignore_errors=True)
    cut(asked.rasters, data)
    recipe = {"image_size": 64, "bands_b": "B4,B3,B2,B8", "seed": asked.seed}
    runtime = {"device": "cpu", "threads": 1, "workers": 1, "evaluate_every": 0, "report": "none"}
    domains = ("sar", "optical")
    unpaired.train(
        str(data), out=run, preset="tiny", minutes=asked.minutes, domains=domains,
        **recipe, **runtime,
    )  # fmt: skip
    report = unpaired.evaluate(
        run, str(data), domains=domains, paired=True, image_size=64, threads=1, device="cpu"
    )
    print(as_text(report))
    write_report(report, run / "report")
    model = unpaired.load(run, device="cpu", threads=1)
    done = translate_files(
        model, [asked.rasters / SCENES["sar"]], asked.work / "out", to="optical", overwrite=True
    )
    print(*done.done, *done.failed, sep="\n")


if __name__ == "__main__":
    main()
