"""What a metric is, and what it gives: one value each, shared by measuring, report and verdict."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from unpaired.metrics.image_set import ImageSet

__all__ = ["Compute", "Kind", "Metric", "Value"]

Kind = Literal["set", "paired", "cycle"]
"""set: all generated images against all real ones; paired: each against its true translation;
cycle: each against its source, after both directions."""


@dataclass(frozen=True, eq=False)
class Value:
    """A metric of one method in one direction, in the metric's own unit, unscaled."""

    value: float
    """NaN where it is not defined; infinity is the PSNR of equal images."""
    low: float | None = None
    """End of the 95 % interval, where there is one; both ends or none."""
    high: float | None = None
    per_image: NDArray[np.float64] | None = field(default=None, repr=False)
    """(n,), for metrics that are a mean over the images."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What the value is the mean of, by name, such as the classes of a class map."""

    @property
    def interval(self) -> tuple[float, float]:
        """The interval; of no width where there is none."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high


Compute = Callable[["ImageSet", "ImageSet"], Value]
"""(generated, reference) -> value; a pure function."""


@dataclass(frozen=True)
class Metric:
    """A metric: how it is computed, and how people read it."""

    key: str
    """In report.json and in `Measurement.values`."""
    name: str
    """With its factor, where it is shown with one: "KID × 1000"."""
    meaning: str
    kind: Kind
    better: Literal["higher", "lower"]
    decimals: int
    """That are shown."""
    full: float | None = None
    """Where a bar is full, as it is shown; None: at the largest value there is."""
    unit: str = ""
    scale: float = 1
    """By which it is shown: 1000 for KID."""
    noise: float | None = None
    """By how much trainings of other seeds may differ, as it is shown; None: not known."""
    compute: Compute | None = None
    """None: measured on the model's networks, not on a set of images (kind "cycle")."""

    def show(self, value: float) -> str:
        """A value as people read it, without its unit; NaN is a dash."""
        if math.isnan(value):
            return "-"
        shown = f"{value * self.scale:.{self.decimals}f}"
        return shown.removeprefix("-") if float(shown) == 0 else shown

    def is_better(self, value: float, than: float) -> bool:
        """Whether it is, by the numbers alone; equal is not better."""
        return value > than if self.better == "higher" else value < than
