"""What a metric is and what it gives: shared by measuring, report and verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.metrics.image_set import ImageSet

__all__ = ["Compute", "Kind", "Measurement", "Metric", "Value", "measure"]

Kind = Literal["set", "paired", "source", "cycle"]
"""set: all generated images against all real ones; paired: each against its true translation;
source: each against its source; cycle: each against its source, after both directions."""


@dataclass(frozen=True, eq=False)
class Value:
    """A metric of one method in one direction, in the metric's own unit, unscaled."""

    value: float
    """NaN where it is not defined; infinity is the PSNR of equal images."""
    low: float | None = None
    """End of the 95 % interval, where there is one; both ends or none."""
    high: float | None = None
    per_image: NDArray[np.float64] | None = field(default=None, repr=False)
    """(n,), the values of the single images that it was pooled from, if it was."""
    small: float | None = None
    """Below this it counts as none, where that is known."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The values that it is the mean of, by name, such as the classes of a class map."""

    @property
    def interval(self) -> tuple[float, float]:
        """The interval; of no width where there is none."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high


Compute = Callable[[ImageSet, ImageSet], Value]
"""(generated, reference) -> value, a pure function; for metrics of kind "source" the reference are
the sources."""


@dataclass(frozen=True)
class Metric:
    """A metric: how it is computed, and how people read it."""

    key: str
    """In report.json and in `Measurement.values`."""
    name: str
    """With its factor, where it is shown with one: "KID × 1000"."""
    meaning: str
    kind: Kind
    better: Literal["higher", "lower"] | None
    """None: neither, as of the amount of change."""
    decimals: int
    """Number of decimals shown."""
    full: float | None = None
    """Value of a full bar, as shown; None: the largest value there is."""
    unit: str = ""
    scale: float = 1
    """Factor by which it is shown: 1000 for KID."""
    noise: float | None = None
    """How much trainings of other seeds may differ, as shown; None: not known."""
    compute: Compute | None = field(default=None, repr=False, compare=False)
    """None: measured on the model's networks, not on a set of images (kind "cycle")."""
    applies: Callable[[int], bool] = field(default=lambda bands: True, repr=False, compare=False)
    """Whether it is defined for images of so many bands."""

    def show(self, value: float) -> str:
        """A value as people read it, without its unit; NaN is a dash.

        >>> Metric("kid", "KID × 1000", "...", "set", "lower", 1, scale=1000).show(0.01234)
        '12.3'
        """
        if math.isnan(value):
            return "-"
        shown = f"{value * self.scale:.{self.decimals}f}"
        return shown.removeprefix("-") if float(shown) == 0 else shown

    def is_better(self, value: float, than: float) -> bool:
        """Whether one value is better than another; never if they are equal, or if none can be."""
        if self.better is None:
            return False
        return value > than if self.better == "higher" else value < than


@dataclass(frozen=True, eq=False)
class Measurement:
    """The values of one set of images, by the key of the metric."""

    values: Mapping[str, Value]

    @property
    def per_image(self) -> dict[str, NDArray[np.float64]]:
        """(n,) values of the single images, for the metrics that pool such values."""
        found = {key: value.per_image for key, value in self.values.items()}
        return {key: values for key, values in found.items() if values is not None}


def measure(
    generated: ImageSet,
    reference: ImageSet,
    metrics: Sequence[Metric],
    sources: ImageSet | None = None,
) -> Measurement:
    """Measures generated images against real images of the target domain.

    Args:
        generated: images of one method, (n, side, side, bands).
        reference: real images. For metrics of kind "paired" image i is the true translation that
            image i of `generated` is compared with.
        metrics: what to measure; those of kind "cycle" and those that are not defined for so many
            bands are omitted.
        sources: image i is what image i of `generated` was generated from; None: metrics of kind
            "source" are omitted.

    Raises:
        DataError: sizes, bands or numbers do not fit a metric.
    """
    values = {}
    for metric in metrics:
        beside = sources if metric.kind == "source" else reference
        if metric.compute is None or beside is None:
            continue
        if metric.applies(reference.bands) and metric.applies(beside.bands):
            values[metric.key] = metric.compute(generated, beside)
    return Measurement(values)
