"""Detail kept at full size: what it is worth, how long it takes, how much memory.

python -m bench.detail quality [RUN PHOTOGRAPHS --to NAME] [--side 768] [--working-size 64]
python -m bench.detail speed [--megapixels 24] [--working-size 512] [--width 64] [--blocks 9]
python -m bench.detail images --out docs/images

`quality` compares ways to full size. A true translation is reduced to the working size, as if the
network were perfect there, and carried to full size; PSNR is to the true one, content kept to the
original. Truths: drawn landscapes with grain, as summer and winter, and, with a folder of
photographs and a model, its translations of whole photographs; then also what the network itself
gives at the working size.

`images` draws the first landscape in both directions: original, enlarged, kept, true.

`speed` writes two photographs of that size as JPEGs (a drawn landscape with grain) and translates
them in a fresh process, with a model of random weights that is loaded and has translated once.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from unpaired.images.formats import SUFFIXES, read_image, write_image
from unpaired.images.image import Image, from_signed, luminance, to_signed, with_bands
from unpaired.images.resize import resize
from unpaired.metrics.source import content_kept
from unpaired.seasons.landscapes import draw, paint
from unpaired.translation import detail
from unpaired.translation.model import load

LIMITS = (-1, 1)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(required=True)
    quality = parts.add_parser("quality")
    quality.add_argument("run", nargs="?", type=Path)
    quality.add_argument("photographs", nargs="?", type=Path)
    quality.add_argument("--to")
    quality.add_argument("--side", type=int, default=768)
    quality.add_argument("--working-size", type=int, default=64)
    quality.set_defaults(do=compare)
    speed = parts.add_parser("speed")
    speed.add_argument("--megapixels", type=float, default=24)
    speed.add_argument("--working-size", type=int, default=512)
    speed.add_argument("--width", type=int, default=64)
    speed.add_argument("--blocks", type=int, default=9)
    speed.add_argument("--precision", default="auto")
    speed.set_defaults(do=time_it)
    images = parts.add_parser("images")
    images.add_argument("--out", type=Path, required=True)
    images.set_defaults(do=draw_images)
    asked = parser.parse_args(words)
    asked.do(asked)


# ---- quality ------------------------------------------------------------------------------------


def enlarged(original, small, translated):
    return resize(translated, original.shape[:2], LIMITS)


def difference(original, small, translated):
    change = translated - small
    return (original + resize(change, original.shape[:2], (-2, 2))).clip(-1, 1)


def stretched_difference(original, small, translated):
    stretch = detail._stretched
    change = resize(stretch(translated) - stretch(small), original.shape[:2], (-9, 9))
    return (np.tanh(stretch(original) + change) / 0.9).clip(-1, 1)


def guided_by_luminance(original, small, translated):
    x, own = (luminance(detail._stretched(image))[..., np.newaxis] for image in (small, original))
    change = detail._stretched(translated) - detail._stretched(small)
    planes = [np.moveaxis(values, 2, 0).astype(float) for values in (x, change)]
    fitted = detail._fit(*planes, slice(0, len(small)))  # (bands, 2, height, width)
    gain, offset = (
        resize(np.moveaxis(fitted[:, part], 0, 2), original.shape[:2], (-99, 99)) for part in (0, 1)
    )
    return (np.tanh(detail._stretched(original) + gain * own + offset) / 0.9).clip(-1, 1)


def guided_by_each_band(original, small, translated):
    bands = [
        guided_by_all(*(image[:, :, band : band + 1] for image in (original, small, translated)))
        for band in range(original.shape[2])
    ]
    return np.concatenate(bands, axis=2)


def guided_by_all(original, small, translated):
    change = detail.Change.of(small, translated)
    return change.apply(original, 0, original.shape[:2]).clip(-1, 1)


WAYS = {
    "enlarged (--detail none)": enlarged,
    "difference": difference,
    "difference, stretched": stretched_difference,
    "guided by luminance": guided_by_luminance,
    "guided by each band": guided_by_each_band,
    "guided by all bands (keep)": guided_by_all,
}


def compare(asked):
    cases = {"landscapes": [(*pair, None) for pair in landscapes(asked.side)]}
    if asked.run:
        model = load(asked.run)
        direction = model.direction(asked.to or model.name_b)

        def network(image):
            height, width = image.shape[:2]
            padded = np.pad(image, [(0, -height % 4), (0, -width % 4), (0, 0)], mode="reflect")
            return model.translator.translate(padded[None], direction)[0, :height, :width]

        found = [path for path in sorted(asked.photographs.iterdir()) if path.suffix in SUFFIXES]
        images = [photograph(path, asked.side) for path in found]
        cases["photographs"] = [(image, network(image), network) for image in images]
    print(f"{asked.side} px, working size {asked.working_size}: PSNR in dB and content kept")
    columns = ["landscapes"] + (["photographs", "photographs, by the network"] if asked.run else [])
    print(" " * 28 + "  ".join(columns))
    for name, way in {"the truth": None, **WAYS}.items():
        cells = []
        for column in columns:
            values = []
            for original, truth, network in cases[column.split(",")[0]]:
                size = [max(round(n * asked.working_size / asked.side), 1) for n in truth.shape[:2]]
                small = resize(original, tuple(size), LIMITS)
                translated = resize(truth, tuple(size), LIMITS)
                if "network" in column:
                    translated = network(small)
                result = way(original, small, translated) if way else truth
                error = np.mean((result.astype(float) - truth) ** 2)
                kept = content_kept(127.5 * result, 127.5 * original)
                values.append((10 * np.log10(4 / max(error, 1e-12)), kept))
            psnr, kept = np.mean(values, axis=0)
            cells.append(f"{psnr:6.2f} {kept:6.3f}" if way else f"     - {kept:6.3f}")
        print(f"{name:28s}" + "  ".join(cells), flush=True)


def draw_images(asked):
    for name, (original, truth) in zip(("winter", "summer"), landscapes(768), strict=False):
        small, translated = (resize(image, (64, 64), LIMITS) for image in (original, truth))
        ways = [way(original, small, translated) for way in (enlarged, guided_by_all)]
        panels = [image[240:600, 200:560] for image in (original, *ways, truth)]
        image = Image(from_signed(np.concatenate(panels, axis=1), 8))
        write_image(asked.out / f"detail-to-{name}.png", image)


def landscapes(side):
    """Drawn scenes in two seasons, in both directions, under the same grain."""
    for seed in range(4):
        scene = draw(5000 + seed, side, "full")
        grain = noise((side, side, 3), seed)
        pair = [(to_signed(paint(scene, domain)) + grain).clip(-1, 1) for domain in ("a", "b")]
        yield pair
        yield pair[::-1]


def noise(shape, seed):
    """Grain of a photograph: 5 levels of 255, a pixel wide, alike in all bands but a little."""
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    values += np.roll(values, 1, 0) + np.roll(values, 1, 1)
    values += values.mean(axis=2, keepdims=True)
    return values * np.float32(5 / 127.5 / values.std())


def photograph(path, side):
    """A photograph, reduced to a longer side."""
    image = with_bands(read_image(path).pixels, 3)
    scale = min(side / max(image.shape[:2]), 1)
    size = [max(round(n * scale), 1) for n in image.shape[:2]]
    return resize(to_signed(image), tuple(size), LIMITS)


# ---- speed --------------------------------------------------------------------------------------

RUN = """
import sys, time
from pathlib import Path
from unpaired.console import show
from unpaired.translation.files import translate_files
from unpaired.translation.model import load

folder, size, precision = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
model = load(folder / "model.safetensors", **({"precision": precision} if precision else {}))
keep = {"to": "b", "working_size": size, "detail": "keep", "overwrite": True}
translate_files(model, [folder / "in" / "0.jpg"], folder / "warm", **keep)
for run in range(3):
    start, cpu = time.perf_counter(), time.process_time()
    summary = translate_files(model, [folder / "in"], folder / "out", **keep)
    assert len(summary.done) == 2, summary.failed
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"{took / 2:.2f} s a photograph, {cpu / 2:.2f} s of CPU", flush=True)
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(f"peak memory {peak / 1024:.0f} MiB")
"""


def time_it(asked):
    from unpaired import checkpoint
    from unpaired.config import Config, Runtime
    from unpaired.engines.choice import make_engine
    from unpaired.engines.seam import initial_state
    from unpaired.presets import preset

    facts = {"bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8}
    recipe = preset("paper", facts | {"width": asked.width, "blocks": asked.blocks})
    height = round((asked.megapixels * 1e6 * 2 / 3) ** 0.5)
    size = height, height * 3 // 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state = initial_state(make_engine(recipe, Runtime()).state(), recipe)
        arrays = {name: state[name] for name in state if name.startswith("generator_ab.")}
        header = checkpoint.Header("model", Config(recipe, Runtime()), 1)
        checkpoint.write(folder / "model.safetensors", header, arrays)
        (folder / "in").mkdir()
        for index in range(2):
            scene = to_signed(paint(draw(5000 + index, 1024, "full"), "a"))[:682]
            image = resize(scene, size, LIMITS) + noise((*size, 3), index)
            write_image(folder / "in" / f"{index}.jpg", Image(from_signed(image, 8)), quality=92)
        print(f"two JPEGs of {size[1]} x {size[0]}, working size {asked.working_size}", flush=True)
        words = [str(folder), str(asked.working_size), asked.precision]
        subprocess.run([sys.executable, "-c", RUN, *words], check=True)


if __name__ == "__main__":
    main()
