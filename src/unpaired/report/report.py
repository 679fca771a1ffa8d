"""The result of an evaluation as plain data, from which page, text and JSON are made.

Nothing is measured or drawn here, so a report can be built from any metrics.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unpaired.diagnostics.finding import Finding
from unpaired.directions import DIRECTIONS, Direction
from unpaired.errors import ConfigError, DataError
from unpaired.metrics.metric import Metric, Value
from unpaired.notebook.html import framed
from unpaired.notebook.kernel import show_page
from unpaired.report.comparison import Comparison, Method, MethodKind
from unpaired.report.verdict import Verdict, verdict, verdicts
from unpaired.storage import json_number

__all__ = ["Example", "Finding", "Method", "MethodKind", "Report", "scaled_difference"]

Images8 = NDArray[np.uint8]
K = TypeVar("K", bound=str)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Example:
    """One translated test image; all images are uint8, (height, width, 3), of one size.

    Raises:
        DataError: an image has another type or size.
    """

    name: str
    source: Images8
    generated: Images8
    cycle: Images8 | None = None
    """The source as reconstructed from `generated`; None if the model has one direction."""
    truth: Images8 | None = None
    """None if the test set is not paired."""
    caption: str = ""
    """Shown beside the name, such as "21.30 dB"."""

    def __post_init__(self) -> None:
        for image in (self.source, self.generated, self.cycle, self.truth):
            if image is not None and (
                image.dtype != np.uint8 or image.shape != (*self.source.shape[:2], 3)
            ):
                raise DataError(
                    f"the images of an example must be 8-bit RGB and of one size: {self.name} has "
                    f"one of {image.dtype} {image.shape} beside {self.source.shape}"
                )

    @property
    def difference(self) -> Images8 | None:
        """Five times the difference between generated image and truth, else of the cycle."""
        if self.truth is not None:
            return scaled_difference(self.generated, self.truth)
        return None if self.cycle is None else scaled_difference(self.source, self.cycle)

    def images(self, source: str, target: str) -> dict[str, Images8]:
        """All images by their labels, in the order of display, given the domains' names."""
        shown = {
            source: self.source,
            f"generated {target}": self.generated,
            f"reconstructed {source}": self.cycle,
            f"true {target}": self.truth,
            "5 × difference": self.difference,
        }
        return {label: image for label, image in shown.items() if image is not None}


@dataclass(frozen=True, eq=False)
class Report:
    """The result of an evaluation.

    Raises:
        DataError: no method is of kind "model", or two methods share a name.
    """

    title: str
    summary: str
    """One or two sentences: which model, on which images."""
    names: tuple[str, str]
    """Of the domains A and B."""
    metrics: Sequence[Metric]
    """In the order of the columns. If none is of kind "paired", the verdict rests on the first of
    kind "set"."""
    methods: Sequence[Method]
    """In the order of the rows. The verdict is about the first of kind "model"."""
    examples: Mapping[Direction, Mapping[str, Sequence[Example]]] = field(repr=False)
    """By how they were chosen ("at random", "the worst"); the contact sheet shows the first
    choice. At least one example in each direction."""
    facts: Mapping[str, str]
    """How it was measured: subjects and sentences."""
    directions: tuple[Direction, ...] = DIRECTIONS
    """The directions of the model."""
    findings: Sequence[Finding] = ()
    """Results of all checks, fired or not; empty: no checks were run."""
    journal: Sequence[Mapping[str, object]] = field(default=(), repr=False)
    """The lines of metrics.jsonl."""
    config: str = field(default="", repr=False)
    """The text of config.toml."""
    swatches: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict, repr=False)
    """RGB of each class in domains A and B."""
    record: Mapping[str, object] = field(default_factory=dict)
    """Further entries of report.json: data fingerprint, steps, seed; JSON types only."""
    draw: "Callable[[Report], str] | None" = field(default=None, repr=False)
    """Makes its page: `unpaired.report.page.render`, given by `evaluate` and `compare`."""
    comparison: Comparison = field(init=False, repr=False)

    def __post_init__(self) -> None:
        compared = Comparison(self.names, self.metrics, self.methods, self.directions)
        object.__setattr__(self, "comparison", compared)

    @property
    def verdict(self) -> Verdict:
        """What the metrics say about the (first) model, in plain words."""
        return verdict(self.comparison)

    def _repr_html_(self) -> str | None:
        """For notebooks: the page, in a frame."""
        return self.draw and framed(self.draw(self), self.title, 720)

    def show(self) -> Path | None:
        """Shows the page below the cell of a notebook, elsewhere in the browser.

        Returns the temporary file that the browser was given; None in a notebook, or where there
        is no page (`draw`).
        """
        return (
            show_page(framed(self.draw(self), self.title, 720), self.title) if self.draw else None
        )

    @property
    def figures(self) -> Sequence[Metric]:
        """Deprecated: use `metrics`."""
        warnings.warn("Report.figures is now Report.metrics", DeprecationWarning, stacklevel=2)
        return self.metrics

    def value(self, direction: Direction, key: str, method: str | None = None) -> float:
        """The value of a metric, unscaled, such as `report.value("ab", "kid")`.

        Args:
            key: of the metric, as in report.json.
            method: the name of a row, such as "identity"; None: the model.

        Returns:
            NaN if the metric is not defined for these images.

        Raises:
            ConfigError: no such direction, metric or method; the message lists those there are.
        """
        methods = {each.name: each for each in self.methods}
        chosen = self.comparison.model if method is None else _chosen(methods, method, "method")
        values = _chosen(chosen.values, direction, f"direction of {chosen.name}")
        return _chosen(values, key, f"metric of {chosen.name} in direction {direction}").value

    def to_dict(self) -> dict[str, object]:
        """The content of report.json: values unscaled, NaN as None, infinity as a string."""
        found = verdicts(self.comparison)
        by_model = {name: _verdict_entry(each) for name, each in found.items()}
        return {
            "format": 1,
            "title": self.title,
            **self.record,
            "domains": dict(zip("ab", self.names, strict=True)),
            "paired": self.comparison.paired,
            "verdict": by_model[self.comparison.model.name],
            **({"verdicts": by_model} if len(by_model) > 1 else {}),
            "figures": {metric.key: _metric_entry(metric) for metric in self.metrics},
            "scores": {
                direction: {each.name: _method_entry(each, direction) for each in self.methods}
                for direction in self.directions
            },
            "findings": [finding.to_dict() for finding in self.findings],
            "facts": dict(self.facts),
        }


def scaled_difference(one: Images8, other: Images8) -> Images8:
    """Five times the absolute difference, clipped at 255: black where the images agree.

    >>> scaled_difference(np.uint8([10, 10, 10]), np.uint8([10, 12, 200])).tolist()
    [0, 10, 255]
    """
    gap: Images8 = np.minimum(5 * np.abs(one.astype(np.int16) - other), 255).astype(np.uint8)
    return gap


def _chosen(known: Mapping[K, T], key: K, what: str) -> T:
    if key not in known:
        listed = ", ".join(known) or "none"
        raise ConfigError(f"the report has no {what} named {key!r}; it has: {listed}")
    return known[key]


# ---- JSON ---------------------------------------------------------------------------------


def _verdict_entry(found: Verdict) -> dict[str, object]:
    text = [found.headline, *found.details]
    return {"passed": found.passed, "state": found.state, "text": text}


def _metric_entry(metric: Metric) -> dict[str, object]:
    facts = {"name": metric.name, "meaning": metric.meaning, "better": metric.better}
    return facts | {"kind": metric.kind, "unit": metric.unit, "shown_times": metric.scale}


def _method_entry(method: Method, direction: Direction) -> dict[str, object]:
    values = {key: _value_entry(value) for key, value in method.values.get(direction, {}).items()}
    by_class = method.per_class.get(direction)
    classes = {} if by_class is None else {"per_class": dict(by_class)}
    return {"kind": method.kind, "values": values, **classes}


def _value_entry(value: Value) -> dict[str, object]:
    """Value and, if there is one, interval."""
    numbers = {"value": value.value, "low": value.low, "high": value.high}
    return {name: json_number(number) for name, number in numbers.items() if number is not None}
