"""Models without a framework, data sets of noise on disk, and a network of features in numpy."""

import numpy as np

from conftest import SMALL
from unpaired import checkpoint
from unpaired.checkpoint import Header
from unpaired.config import Config, Recipe, Runtime
from unpaired.engines.architecture import he_std
from unpaired.engines.seam import generators_of
from unpaired.images.formats import write_image
from unpaired.images.image import Image
from unpaired.presets import preset
from unpaired.translation.model import Model

SIDE = 16
SUMMER, WINTER = "summer", "winter"
SETTLED = {
    "image_size": SIDE, "load_size": SIDE, "discriminator_layers": 1, "name_a": SUMMER,
    "name_b": WINTER, "bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8, "epoch_steps": 4,
    "steps": 8, "data_fingerprint": "f00d",
}  # fmt: skip


def finished_run(folder, **changes):
    """A run folder with a finished model of random weights."""
    own = {"name_a": SUMMER, "name_b": WINTER, "bands_a": 3, "bands_b": 3, "depth_a": 8,
           "depth_b": 8, "start": "noise"}  # fmt: skip
    recipe = preset("tiny", SMALL | own | changes)
    rng = np.random.default_rng(0)
    arrays = {
        f"{name}.{key}": rng.normal(0, he_std(layer), shape).astype(np.float32)
        for name, layers in generators_of(recipe).items()
        for layer in layers
        for key, shape in layer.parameters.items()
    }
    header = Header("model", Config(recipe, Runtime()), 5, "ema", made_on="a test")
    checkpoint.write(folder / "model.safetensors", header, arrays)
    return folder


class ByHand:
    """A translator of a function for each direction; images in [-1, 1]."""

    memory = "host"

    def __init__(self, **functions):
        self.functions = functions
        self.most = 0

    def load_generators(self, arrays):
        raise AssertionError("nothing is loaded here")

    def translate(self, images, direction):
        self.most = max(self.most, len(images))
        return self.functions[direction](images).astype(np.float32)


def keep(images):
    return images


def negative(images):
    return -images


def model(folder, ab=negative, ba=negative, step=8, **recipe):
    """One that goes the ways it has functions for."""
    functions = {way: made for way, made in (("ab", ab), ("ba", ba)) if made}
    return Model(
        path=folder / "run" / "model.safetensors",
        config=Config(Recipe(**SETTLED | recipe), Runtime(threads=1)),
        step=step,
        weights="last",
        directions=tuple(functions),
        translator=ByHand(**functions),
    )


def smooth(count, seed, bands=3, dtype=np.uint8, side=SIDE):
    """(count, side, side, bands), each image of its own colours, nowhere flat."""
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    coarse = rng.uniform(0.1, 0.6, (count, 4, 4, bands)).repeat(side // 4, 1).repeat(side // 4, 2)
    fine = rng.uniform(0, 0.3, (count, side, side, bands))
    return np.rint((coarse + fine) * top).astype(dtype)


def write_all(folder, images, name="{:03d}.png"):
    """Files of `images`, named by their index."""
    folder.mkdir(parents=True)
    for index, pixels in enumerate(images):
        write_image(folder / name.format(index), Image(pixels))


def write_data(root, **splits):
    """A data set's folder, images by split (trainA and so on). The test sets share their names,
    that is they are pairs, where one holds the negatives of the other."""
    a, b = splits.get("testA"), splits.get("testB")
    paired = a is not None and b is not None and np.array_equal(inverted(a), b)
    for split, images in splits.items():
        suffix = "png" if images.shape[-1] in (1, 3) and images.dtype == np.uint8 else "tif"
        same = paired and split.startswith("test")
        write_all(root / split, images, f"{'' if same else split + '-'}{{:03d}}.{suffix}")
    return root


def inverted(images):
    """What `negative` makes of samples."""
    return np.iinfo(images.dtype).max - images


class Projected:
    """A network of features: random projections of means over squares of 4 x 4 pixels."""

    name = "projections of 4 x 4 means"
    width = 12

    def features(self, images):
        n, height, width, bands = images.shape
        assert (images.dtype, bands) == (np.uint8, 3)
        means = images.reshape(n, height // 4, 4, width // 4, 4, 3).mean(axis=(2, 4)) / 255
        flat = means.reshape(n, -1)
        matrix = np.random.default_rng(0).standard_normal((flat.shape[1], self.width))
        return (flat @ matrix).astype(np.float32)


class Gap:
    """A distance of pairs: the mean absolute difference."""

    name = "mean gap"

    def distance(self, x, y):
        return np.abs(x.astype(float) - y).mean(axis=(1, 2, 3))
