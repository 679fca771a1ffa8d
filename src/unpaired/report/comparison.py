"""Methods compared by metrics: the part of a report that tables and verdict are derived from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from unpaired.directions import Direction, source_of
from unpaired.errors import DataError
from unpaired.metrics.metric import Kind, Metric, Value

__all__ = ["UNPAIRED", "Comparison", "Method", "MethodKind"]

MethodKind = Literal["model", "untouched", "baseline", "oracle", "floor"]
"""model: a trained model; untouched: the source images as they are; baseline: a translation
without training; oracle: fitted on true pairs, which an unpaired method never sees; floor: real
images in place of generated ones."""

UNPAIRED: tuple[MethodKind, ...] = ("model", "untouched", "baseline")
"""The methods that use no pairs; only these compete with each other."""


@dataclass(frozen=True)
class Method:
    """A row of the metric tables: a way to translate the test set, or real images as a floor."""

    name: str
    kind: MethodKind
    values: Mapping[Direction, Mapping[str, Value]]
    """By the metric's key; metrics that were not measured are absent."""
    note: str = ""
    """Shown below the name."""

    @property
    def per_class(self) -> dict[Direction, Mapping[str, float]]:
        """acc16 by class, for the directions in which the classes are known."""
        parts = {
            direction: values["macro16"].parts
            for direction, values in self.values.items()
            if "macro16" in values
        }
        return {direction: by_class for direction, by_class in parts.items() if by_class}

    def value(self, direction: Direction, metric: Metric) -> Value | None:
        """The value of a metric; None if it was not measured or is not defined (NaN)."""
        value = self.values.get(direction, {}).get(metric.key)
        return None if value is None or math.isnan(value.value) else value


@dataclass(frozen=True, eq=False)
class Comparison:
    """One model or several, their baselines and floors, and the metrics of each.

    Raises:
        DataError: no method is of kind "model", or two methods share a name.
    """

    names: tuple[str, str]
    metrics: Sequence[Metric]
    methods: Sequence[Method]
    directions: tuple[Direction, ...]

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names) or not self.of_kind("model"):
            raise DataError(f"a report needs a model and methods with distinct names, not {names}")

    @property
    def model(self) -> Method:
        """The first model: the one that the verdict is about."""
        return self.of_kind("model")[0]

    @property
    def paired(self) -> bool:
        """Whether the true translations of the test images are known."""
        return bool(self.metrics_of("paired"))

    def of_kind(self, *kinds: MethodKind) -> list[Method]:
        """The methods of these kinds, in their order."""
        return [method for method in self.methods if method.kind in kinds]

    def metrics_of(self, kind: Kind) -> list[Metric]:
        """The metrics of a kind, in their order."""
        return [metric for metric in self.metrics if metric.kind == kind]

    def ranked(
        self, direction: Direction, metric: Metric, *kinds: MethodKind
    ) -> list[tuple[Method, Value]]:
        """The methods of these kinds for which the metric is defined, best first, if one can be."""
        found = ((method, method.value(direction, metric)) for method in self.of_kind(*kinds))
        defined = [(method, value) for method, value in found if value is not None]
        if metric.better is None:
            return defined
        higher = metric.better == "higher"
        return sorted(defined, key=lambda pair: pair[1].value, reverse=higher)

    def measured(self, direction: Direction, metrics: Sequence[Metric]) -> list[Method]:
        """The rows of a table: methods with one of the metrics, if only NaN; floors come last."""
        rows = [*self.of_kind(*UNPAIRED), *self.of_kind("oracle"), *self.of_kind("floor")]
        keys = {metric.key for metric in metrics}
        return [method for method in rows if keys & method.values.get(direction, {}).keys()]

    def domain_names(self, direction: Direction) -> tuple[str, str]:
        """The names of the source and the target domain."""
        a, b = self.names
        return (a, b) if source_of(direction) == "a" else (b, a)

    def arrow(self, direction: Direction) -> str:
        """The direction as a title: "summer → winter"."""
        return " → ".join(self.domain_names(direction))
