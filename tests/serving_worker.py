"""A worker of models without a framework, for tests of everything else of a server.

An image that is all 255 kills the worker, and one that is all 254 never ends. The path of `held` is
a file: while there is one, its network waits.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import small_models
from unpaired.serving.worker.main import main


def negative(images):
    levels = {round(float(image.mean() + 1) * 127.5, 2) for image in images}
    if 255.0 in levels:
        os.kill(os.getpid(), signal.SIGKILL)
    if 254.0 in levels:
        time.sleep(1000)
    return -images


def held(path, images):
    while path.exists():
        time.sleep(0.01)
    return negative(images)


def to_grey(images):
    return images[..., :1]


def to_colour(images):
    return images.repeat(3, axis=3)


def load(settings):
    models = {}
    for name, path in settings.models:
        function = partial(held, Path(path)) if name == "held" else negative
        models[name] = small_models.model(Path(path), function, function)
        if name == "grey":
            models[name] = small_models.model(Path(path), to_grey, to_colour, bands_b=1, depth_b=16)
    return models


if __name__ == "__main__":
    main(load)
