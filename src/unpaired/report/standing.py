"""Where a model stands by a figure of sets, among untouched, simply made and real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unpaired.directions import Direction
from unpaired.metrics.metric import Metric, Value
from unpaired.report.report import Method, Report

__all__ = ["Place", "Standing", "detail", "standings"]

Relation = Literal["better", "same", "worse"]
Place = Literal["closest", "closer", "behind", "same", "farther", "unknown"]
"""closest, closer: to real images than untouched ones, and than all or some simple methods;
behind: there are no untouched ones, and a simple method is as close; same: cannot be told apart
from untouched ones; farther: than they are; unknown: nothing to compare with."""


@dataclass(frozen=True)
class Standing:
    """The model among the others in one direction, by one figure."""

    figure: Metric
    real: str  # what images of the target are called
    own: Value
    untouched: Value | None
    simple: Sequence[tuple[Method, Value]]
    floor: Value | None

    @property
    def place(self) -> Place:
        held = self.untouched and self.relation(self.untouched)
        if held in ("same", "worse"):
            return "same" if held == "same" else "farther"
        if all(self.relation(value) == "better" for _, value in self.simple):
            return "closest" if held or self.simple else "unknown"
        return "closer" if held else "behind"

    def relation(self, other: Value) -> Relation:
        """Of the model's value to another: the same where the intervals overlap."""
        (low, high), (other_low, other_high) = self.own.interval, other.interval
        if low <= other_high and other_low <= high:
            return "same"
        return "better" if self.figure.is_better(low, other_low) else "worse"

    @property
    def at_this_n(self) -> str:
        """Why things cannot be told apart, where it is their number."""
        low, high = self.own.interval
        return " (at this number of images)" if low < high else ""

    def in_short(self, real: str) -> str:
        """What the place means, where images of the target are called `real`."""
        match self.place:
            case "unknown":
                return "nothing to hold the translations against"
            case "farther":
                return "not better than leaving the images as they are"
            case "same":
                return f"cannot be told apart from leaving the images as they are{self.at_this_n}"
            case "behind":
                return f"not closer to {real} than every simple method"
            case "closer":
                return f"closer to {real} than untouched images, but not than every simple method"
        rivals = ["untouched images"] * bool(self.untouched) + ["every simple method"] * bool(
            self.simple
        )
        return f"closer to {real} than {', and than '.join(rivals)}"


def standings(report: Report, figure: Metric) -> dict[Direction, Standing]:
    """Of the directions in which the figure of the model is defined."""
    found: dict[Direction, Standing] = {}
    for direction in report.directions:
        own = report.model.value(direction, figure)
        if own is None:
            continue
        untouched = report.valued(direction, figure, "untouched")
        floors = report.valued(direction, figure, "floor")
        found[direction] = Standing(
            figure=figure,
            real=f"real {report.ends(direction)[1]}",
            own=own,
            untouched=untouched[0][1] if untouched else None,
            simple=report.valued(direction, figure, "baseline"),
            floor=floors[0][1] if floors else None,
        )
    return found


def detail(standing: Standing) -> str:
    """How far the model came, what it does not beat, and the figures."""
    figure, own = standing.figure, standing.own
    parts = [*_way(standing), *_unbeaten(standing), *_beside_real(standing)]
    low, high = own.interval
    interval = f" ({figure.show(low)} to {figure.show(high)})" if low < high else ""
    others = {}
    if standing.untouched:
        others["untouched images"] = standing.untouched
    if standing.simple:
        method, value = standing.simple[0]
        others[method.name] = value
    if standing.floor:
        others["real images"] = standing.floor
    listed = "".join(f", {name} {figure.show(value.value)}" for name, value in others.items())
    unit = f" {figure.unit}" * bool(figure.unit)
    numbers = f"{figure.name}{unit}: {figure.show(own.value)}{interval}{listed}."
    told = "; ".join(parts)
    return f"{told}. {numbers}" if told else numbers


def _way(standing: Standing) -> list[str]:
    """The model's distance beside that of untouched images; distances alone have such a way."""
    own, untouched, floor = standing.own, standing.untouched, standing.floor
    if untouched is None or standing.figure.better == "higher":
        return []
    if standing.place == "farther" and untouched.value > 0:
        ratio = own.value / untouched.value
        return [f"{_times(ratio)} as far from {standing.real} as the untouched images are"]
    nearest = floor.value if floor else 0.0
    if standing.place not in ("closer", "closest") or not nearest <= own.value < untouched.value:
        return []
    share = (untouched.value - own.value) / (untouched.value - nearest)
    return [f"{100 * share:.0f} % of the distance from untouched images to real ones is gone"]


def _unbeaten(standing: Standing) -> list[str]:
    """The simple methods that are as close or closer; needless to tell where untouched ones are."""
    if standing.place not in ("closer", "behind"):
        return []
    parts = []
    for relation, text in (("worse", "not as close as"), ("same", "not to be told apart from")):
        names = [m.name for m, value in standing.simple if standing.relation(value) == relation]
        if names:
            parts.append(f"{text} {', '.join(names)}")
    return parts


def _beside_real(standing: Standing) -> list[str]:
    """The model's distance beside that of real images from other real ones."""
    own, floor = standing.own, standing.floor
    if floor is None:
        return []
    match standing.relation(floor):
        case "same":
            return [f"cannot be told apart from real images{standing.at_this_n}"]
        case "better":
            return [f"closer to {standing.real} than other real images are"]
    low, _ = floor.interval
    if standing.figure.better == "lower" and low > 0:
        ratio = _times(own.value / floor.value)
        return [f"still {ratio} as far from {standing.real} as other real images are"]
    return [f"still farther from {standing.real} than other real images are"]


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.1f} times"
