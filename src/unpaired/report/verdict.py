"""What the figures of a report say, in words for people who do not know the figures.

With a paired test set the truth decides: the model is held against every baseline that knows no
pairs, in every figure. Without, the first figure of sets does: how far made images are from real
ones, beside untouched images, simple methods, and real images among each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from unpaired.directions import Direction
from unpaired.metrics.metric import Metric, Value
from unpaired.report.report import Method, Report
from unpaired.report.standing import Standing, detail, standings

__all__ = ["Verdict", "ranking", "verdict", "verdicts"]

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Verdict:
    """What the figures say, in plain words."""

    state: Literal["good", "mixed", "bad"]
    headline: str
    details: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the model is better than all that costs no training, in every direction."""
        return self.state == "good"


def verdict(report: Report) -> Verdict:
    """Compares the model with baselines and floors; equal is not better."""
    figure = report.leading
    by_sets = {} if figure is None else standings(report, figure)
    if not report.paired:
        return _by_sets(report, by_sets)
    by_truth = _by_truth(report)
    more = (
        f"From {_route(report, d)}, all together: {s.in_short(s.real)}; {detail(s)}"
        for d, s in by_sets.items()
    )
    return replace(by_truth, details=(*by_truth.details, *more))


def verdicts(report: Report) -> dict[str, Verdict]:
    """The verdict of each model by its name, in their order."""
    models = report.of_kind("model")
    others = [method for method in report.methods if method.kind != "model"]
    return {model.name: verdict(replace(report, methods=[model, *others])) for model in models}


def ranking(report: Report) -> list[str]:
    """Which of several models is best, a line a direction, by the figure that leads."""
    paired = report.figures_of("paired")
    figure = paired[0] if paired else report.leading
    lines: list[str] = []
    if figure is None:
        return lines
    for direction in report.directions:
        ranked = report.valued(direction, figure, "model")
        if len(ranked) < 2:
            continue
        (best, value), *rest = ranked
        near = [method.name for method, other in rest if _overlap(value, other)]
        listed = ", ".join(f"{method.name} {figure.show(v.value)}" for method, v in ranked)
        doubt = f", not to be told apart from {', '.join(near)}" if near else ""
        numbers = f"{figure.name}: {listed}"
        lines.append(f"From {_route(report, direction)}, best is {best.name}{doubt} ({numbers}).")
    return lines


def _overlap(one: Value, other: Value) -> bool:
    (low, high), (other_low, other_high) = one.interval, other.interval
    return low <= other_high and other_low <= high


def _state(good: Sequence[bool], bad: Sequence[bool]) -> Literal["good", "mixed", "bad"]:
    """Of flags for each direction."""
    return "good" if all(good) else "bad" if all(bad) else "mixed"


def _route(report: Report, direction: Direction) -> str:
    return " to ".join(report.ends(direction))


# ---- by the truth -------------------------------------------------------------------------


def _by_truth(report: Report) -> Verdict:
    figures = [
        figure
        for figure in report.figures_of("paired")
        if any(report.model.value(direction, figure) for direction in report.directions)
    ]
    if not figures:
        return Verdict("mixed", "No figure against the truth is defined for these images.", ())
    behind = {direction: _behind(report, direction, figures) for direction in report.directions}
    if all(rivals is None for rivals in behind.values()):
        return Verdict("mixed", "There is no baseline to hold the translations against.", ())
    above = [direction for direction in report.directions if behind[direction] == {}]
    number = _WORDS[len(figures)] if len(figures) < len(_WORDS) else str(len(figures))
    count = f"all {number} figures" if len(figures) > 1 else figures[0].name
    match above, len(report.directions):
        case [], 1:
            headline = "Not above every unpaired baseline."
        case [], _:
            headline = "Not above every unpaired baseline in either direction."
        case [_], 1:
            headline = f"Above every unpaired baseline, in {count}."
        case [direction], _:
            route = _route(report, direction)
            headline = f"Above every unpaired baseline from {route}, but not the other way."
        case _:
            headline = f"Above every unpaired baseline in both directions, in {count}."
    flags = [direction in above for direction in report.directions]
    details = [
        f"From {_route(report, direction)}: {_margins(report, direction, behind[direction])}."
        for direction in report.directions
    ]
    return Verdict(_state(flags, [not flag for flag in flags]), headline, tuple(details))


def _behind(
    report: Report, direction: Direction, figures: Sequence[Metric]
) -> dict[str, str] | None:
    """The unpaired baselines that the model is not above, and in which figures.

    None where there is nothing to compare.
    """
    behind: dict[str, list[str]] = {}
    compared = False
    for figure in figures:
        own = report.model.value(direction, figure)
        for method, other in report.valued(direction, figure, "untouched", "baseline"):
            if own:
                compared = True
                if not figure.is_better(own.value, other.value):
                    behind.setdefault(method.name, []).append(figure.name)
    listed = {
        method.name: ", ".join(names) if len(names) < len(figures) else "all figures"
        for method in report.methods
        if (names := behind.get(method.name))
    }
    return listed if compared else None


def _margins(report: Report, direction: Direction, behind: Mapping[str, str] | None) -> str:
    """By the first figure: the model's value, and how far it is from the others."""
    figure = report.figures_of("paired")[0]
    own = report.model.value(direction, figure)
    if own is None:
        return f"{figure.name} is not defined"

    def margin(method: Method, other: Value) -> str:
        if own.value == other.value:
            return f"equal to the {method.name}"
        gain = own.value - other.value
        more, less = ("above", "below") if figure.better == "higher" else ("more than", "less than")
        unsure = figure.noise is not None and abs(gain) * figure.scale < figure.noise
        doubt = " (within the noise between trainings)" if unsure else ""
        return f"{_amount(figure, abs(gain))} {more if gain > 0 else less} the {method.name}{doubt}"

    rivals = report.valued(direction, figure, "untouched", "baseline")
    parts = [_amount(figure, own.value)]
    if behind:
        listed = ", ".join(f"{name} ({figures})" for name, figures in behind.items())
        parts.append(f"not above {listed}")
    elif rivals:
        parts.append(margin(*rivals[0]))
    return ", ".join(parts + [margin(*pair) for pair in report.valued(direction, figure, "oracle")])


def _amount(figure: Metric, value: float) -> str:
    return f"{figure.show(value)} {figure.unit or figure.name}"


# ---- by sets ------------------------------------------------------------------------------


def _by_sets(report: Report, by_sets: Mapping[Direction, Standing]) -> Verdict:
    if not by_sets:
        return Verdict("mixed", "No figure says how good the translations are.", ())
    in_general = {standing.in_short("real images") for standing in by_sets.values()}
    places = [standing.place for standing in by_sets.values()]
    if len(in_general) > 1 or len(by_sets) < len(report.directions):
        said = [f"From {_route(report, d)}: {s.in_short(s.real)}." for d, s in by_sets.items()]
    else:
        negative = places[0] in ("behind", "farther")
        ways = ", in either direction" if negative else ", in both directions"
        text = in_general.pop() + (ways if len(by_sets) > 1 else "")
        said = [f"{text[0].upper()}{text[1:]}."]
    state = _state(
        [place == "closest" for place in places],
        [place in ("behind", "farther") for place in places],
    )
    details = (f"From {_route(report, d)}: {detail(s)}" for d, s in by_sets.items())
    return Verdict(state, " ".join(said), tuple(details))
