"""What an evaluation found out, as plain data: the report that page, text and JSON are made of.

Nothing is measured here and nothing is drawn, so it serves whoever has figures to show.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.diagnostics.detectors import Finding
from unpaired.directions import DIRECTIONS, Direction
from unpaired.errors import DataError
from unpaired.metrics.metric import Kind, Metric, Value

__all__ = [
    "Example",
    "Finding",
    "Method",
    "MethodKind",
    "Report",
    "difference",
]

Images8 = NDArray[np.uint8]

MethodKind = Literal["model", "untouched", "baseline", "oracle", "floor"]
"""model: what was trained; untouched: the images as they are; baseline: a translation that
nothing was trained for; oracle: fitted on true pairs, which an unpaired method never sees; floor:
real images in place of made ones."""


@dataclass(frozen=True)
class Method:
    """What stands in a row of the scores: a way to translate the test set, or a floor."""

    name: str
    kind: MethodKind
    values: Mapping[Direction, Mapping[str, Value]]
    """By the key of the figure; what was not measured is not there."""
    note: str = ""
    """Shown below the name."""
    per_class: Mapping[Direction, Mapping[str, float]] = field(default_factory=dict)
    """acc16 by class, where classes are known."""

    def value(self, direction: Direction, figure: Metric) -> Value | None:
        """The value of a figure; None where it was not measured or is not defined."""
        value = self.values.get(direction, {}).get(figure.key)
        return None if value is None or math.isnan(value.value) else value


@dataclass(frozen=True, eq=False)
class Example:
    """One translated test image; all images are uint8, (height, width, 3), of one size.

    Raises:
        DataError: they are not.
    """

    name: str
    source: Images8
    made: Images8
    back: Images8 | None = None
    """What is made back out of `made`; None of a model of one direction."""
    truth: Images8 | None = None
    """None where the test set is not paired."""
    caption: str = ""
    """Shown beside the name, such as "21.30 dB"."""

    def __post_init__(self) -> None:
        for image in (self.source, self.made, self.back, self.truth):
            if image is not None and (
                image.dtype != np.uint8 or image.shape != (*self.source.shape[:2], 3)
            ):
                raise DataError(
                    f"an example's images are RGB of 8 bits and of one size: {self.name} has one "
                    f"of {image.dtype} {image.shape} beside {self.source.shape}"
                )

    @property
    def off(self) -> Images8 | None:
        """Five times the difference: of made and truth, or of source and back; None: of neither."""
        if self.truth is not None:
            return difference(self.made, self.truth)
        return None if self.back is None else difference(self.source, self.back)

    def images(self, source: str, target: str) -> dict[str, Images8]:
        """All that is to be shown, in order, by what it is called."""
        shown = {
            source: self.source,
            f"made {target}": self.made,
            f"{source} again": self.back,
            f"true {target}": self.truth,
            "5 × difference": self.off,
        }
        return {label: image for label, image in shown.items() if image is not None}


@dataclass(frozen=True, eq=False)
class Report:
    """All that the page shows.

    Raises:
        DataError: no method is of the kind "model", or two have one name.
    """

    title: str
    summary: str
    """What was measured on what, in a sentence or two."""
    names: tuple[str, str]
    """Of the domains A and B."""
    figures: Sequence[Metric]
    """In the order of the columns. The first of kind "set" is the one that the verdict rests on
    where none is of kind "paired"."""
    methods: Sequence[Method]
    """In the order of the rows. The verdict is of the first of kind "model"."""
    examples: Mapping[Direction, Mapping[str, Sequence[Example]]]
    """By how they were chosen ("at random", "the worst"); the first choice is on the contact
    sheet. At least one example in each direction."""
    facts: Mapping[str, str]
    """How it was measured: questions and answers."""
    directions: tuple[Direction, ...] = DIRECTIONS
    """That the model goes."""
    findings: Sequence[Finding] = ()
    """Of the detectors, what fired and what did not; empty: none looked."""
    journal: Sequence[Mapping[str, object]] = ()
    """The lines of metrics.jsonl."""
    config: str = ""
    """config.toml."""
    swatches: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    """RGB of a class in domains A and B."""
    record: Mapping[str, object] = field(default_factory=dict)
    """What else report.json holds: data fingerprint, steps, seed and the like, fit for JSON."""

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names) or not self.of_kind("model"):
            raise DataError(f"a report needs a model and names that differ, not {names}")

    @property
    def model(self) -> Method:
        """The one that the verdict is of."""
        return self.of_kind("model")[0]

    @property
    def rows(self) -> list[Method]:
        """All methods as they are shown: first those that know no pairs, floors last."""
        fair = self.of_kind("model", "untouched", "baseline")
        return [*fair, *self.of_kind("oracle"), *self.of_kind("floor")]

    @property
    def paired(self) -> bool:
        """Whether the truth of the test images is known."""
        return any(figure.kind == "paired" for figure in self.figures)

    @property
    def leading(self) -> Metric | None:
        """The figure that says first how far made images are from real ones."""
        return next((figure for figure in self.figures if figure.kind == "set"), None)

    def of_kind(self, *kinds: MethodKind) -> list[Method]:
        """The methods of these kinds, in their order."""
        return [method for method in self.methods if method.kind in kinds]

    def valued(
        self, direction: Direction, figure: Metric, *kinds: MethodKind
    ) -> list[tuple[Method, Value]]:
        """The methods of these kinds where the figure is defined, with it, the best first."""
        found = ((method, method.value(direction, figure)) for method in self.of_kind(*kinds))
        return sorted(
            ((method, value) for method, value in found if value is not None),
            key=lambda pair: pair[1].value,
            reverse=figure.better == "higher",
        )

    def figures_of(self, kind: Kind) -> list[Metric]:
        """The figures of a kind, in their order."""
        return [figure for figure in self.figures if figure.kind == kind]

    def measured(self, direction: Direction, figures: Sequence[Metric]) -> list[Method]:
        """The rows of a table of these figures: the methods that have one of them, if only NaN."""
        keys = {figure.key for figure in figures}
        return [method for method in self.rows if keys & method.values.get(direction, {}).keys()]

    def ends(self, direction: Direction) -> tuple[str, str]:
        """Names of the source and the target domain."""
        a, b = self.names
        return (a, b) if direction == "ab" else (b, a)


def difference(one: Images8, other: Images8) -> Images8:
    """Five times the absolute difference, cut at 255: black where they agree."""
    gap: Images8 = np.minimum(5 * np.abs(one.astype(np.int16) - other), 255).astype(np.uint8)
    return gap
