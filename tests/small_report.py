"""Small reports of invented values, and images of noise."""

from dataclasses import replace

import numpy as np

from unpaired.directions import DIRECTIONS
from unpaired.metrics.metric import Metric, Value
from unpaired.report.report import Example, Method, Report

PSNR = Metric("psnr", "PSNR", "in dB", "paired", "higher", 2, full=30, unit="dB", noise=2.0)
SSIM = Metric("ssim", "SSIM", "of windows", "paired", "higher", 3, full=1)
ACC16 = Metric("acc16", "acc16", "of pixels", "paired", "higher", 3, full=1)
MACRO16 = Metric("macro16", "macro16", "of classes", "paired", "higher", 3, full=1)
PAIRED = (PSNR, SSIM, ACC16, MACRO16)
KID = Metric("kid", "KID × 1000", "of features", "set", "lower", 1, full=200, scale=1000)
FID = Metric("fid", "FID (n = 9)", "of features", "set", "lower", 1)
CHANGE = Metric("change", "change", "of levels", "source", None, 2)
CONTENT = Metric("content", "content kept", "of edges", "source", "higher", 3, full=1)
CYCLE = Metric("cycle", "cycle", "of the cycle", "cycle", "lower", 2)


def noise(seed, height=8, width=8):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scores(psnr, ssim=0.5, acc16=0.5, macro16=0.5):
    values = zip(PAIRED, (psnr, ssim, acc16, macro16), strict=True)
    return {metric.key: Value(value) for metric, value in values}


def kid(value, low=None, high=None):
    """Given as it is shown, times 1000."""
    return {"kid": Value(*(None if x is None else x / 1000 for x in (value, low, high)))}


def beside(change, content, small=2.7):
    """Values of kind "source"; a change below `small` counts as none."""
    return {"change": Value(change, small=small), "content": Value(content)}


def both(ab, ba=None):
    return {"ab": ab, "ba": ab if ba is None else ba}


def with_classes(by_direction, by_class):
    """The values of both directions, with the parts of macro16."""
    return {
        direction: values | {"macro16": replace(values["macro16"], parts=by_class)}
        if "macro16" in values
        else values
        for direction, values in (by_direction or {}).items()
    }


GOOD = scores(20.0, 0.8, 0.7, 0.6)
WEAK = Method("identity", "untouched", both(scores(9.0, 0.2, 0.1, 0.1)))
ORACLE = Method("oracle", "oracle", both(scores(23.0)), "uses pairs")


def report(model, *others, **changes):
    """A report, of a paired test set unless `metrics` says else; `model`: the model's values."""
    examples = {
        direction: {
            "at random": [
                Example(
                    "scene 0007",
                    noise(seed),
                    noise(seed + 1),
                    truth=noise(seed + 2),
                    caption="12.34 dB",
                )
            ]
        }
        for seed, direction in enumerate(DIRECTIONS, 10)
    }
    fields = {
        "title": "A title",
        "summary": "A summary.",
        "names": ("summer", "winter"),
        "metrics": PAIRED,
        "methods": [
            Method("the model", "model", with_classes(model, {"sky": 0.5, "lake": 0.25})),
            *(others or [WEAK, ORACLE]),
        ],
        "examples": examples,
        "facts": {"data": "some"},
        "config": "[recipe]\n",
        "swatches": {"sky": ((1, 2, 3), (4, 5, 6))},
    }
    return Report(**fields | changes)
