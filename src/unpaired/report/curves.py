"""Learning curves as SVG: losses by step; criterion, change and content on the validation part."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from unpaired.config import LOSS_KINDS
from unpaired.directions import DIRECTIONS, Direction

__all__ = ["draw_curves"]

_POINTS = 320  # of a curve, at most: about one per pixel
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 352, 26, 150
_FARTHEST = 1e15  # of a step, and of a value
_EVEN = 0.25  # loss of an undecided least-squares discriminator, and adversarial loss against it

Journal = Sequence[Mapping[str, object]]
Curve = Sequence[tuple[float, float]]


def draw_curves(journal: Journal) -> str:
    """SVG diagrams of the losses in metrics.jsonl, each with both directions or domains.

    The last ones show the validation criterion, and the change and content kept in each direction,
    if there were validations. Long curves are reduced to means over neighbouring lines. Returns ""
    if nothing was logged.
    """
    diagrams = []
    for kind, sides in LOSS_KINDS.items():
        curves = {f"{kind}_{side}": _curve(journal, f"{kind}_{side}") for side in sides}
        if all(curves.values()):
            even = _EVEN if kind in ("adversarial", "discriminator") else None
            diagrams.append(_diagram(curves, even))
    evaluated = [
        {"step": line.get("step"), **found}
        for line in journal
        if isinstance(found := line.get("validation"), dict)
    ]
    if criterion := _curve(evaluated, "criterion"):
        diagrams.append(_diagram({"validation criterion": criterion}, None))
    for kind, title in (("change", "change"), ("content", "content kept")):
        curves = {f"{title} {d}": _curve(_of(evaluated, d), kind) for d in DIRECTIONS}
        if all(curves.values()):
            diagrams.append(_diagram(curves, None))
    return "".join(diagrams)


def _of(evaluated: Journal, direction: Direction) -> Journal:
    """The metrics of one direction, by step."""
    return [
        {**found, "step": line["step"]}
        for line in evaluated
        if isinstance(found := line.get(direction), dict)
    ]


def _curve(lines: Journal, name: str) -> Curve:
    """(step, value) of the lines in which both are numbers that can be drawn, thinned out."""
    points = []
    for line in lines:
        step, value = line.get("step"), line.get(name)
        if not isinstance(step, int | float) or not isinstance(value, int | float):
            continue
        if 0 <= step <= _FARTHEST and abs(value) <= _FARTHEST:  # and not NaN
            points.append((float(step), float(value)))
    if len(points) <= _POINTS:
        return points
    each = math.ceil(len(points) / _POINTS)
    groups = [points[start : start + each] for start in range(0, len(points), each)]
    return [
        (sum(step for step, _ in group) / len(group), sum(v for _, v in group) / len(group))
        for group in groups
    ]


def _diagram(curves: Mapping[str, Curve], even: float | None) -> str:
    """An SVG of curves by step; both axes start at 0, or at the lowest value if it is negative."""
    last = max(step for curve in curves.values() for step, _ in curve) or 1
    values = [value for curve in curves.values() for _, value in curve]
    highest = max(even or 0.0, *values, 0.0) or 1
    lowest = min(0.0, *values)

    def x(step: float) -> str:
        return f"{_LEFT + (_RIGHT - _LEFT) * step / last:.1f}"

    def y(value: float) -> str:
        return f"{_BOTTOM - (_BOTTOM - _TOP) * (value - lowest) / (highest - lowest):.1f}"

    drawn = [f'<path class="even" d="M{_LEFT} {y(even)}H{_RIGHT}"/>'] if even else []
    for value in _ticks(highest):
        drawn.append(f'<path class="grid" d="M{_LEFT} {y(value)}H{_RIGHT}"/>')
        drawn.append(f'<text class="end" x="{_LEFT - 6}" y="{y(value)}" dy="4">{value:g}</text>')
    for step in _ticks(last):
        drawn.append(f'<text class="mid" x="{x(step)}" y="{_BOTTOM + 16}">{step:,.9g}</text>')
    names = []
    for index, (name, curve) in enumerate(curves.items()):
        path = "L".join(f"{x(step)} {y(value)}" for step, value in curve)
        drawn.append(f'<path class="curve side{index}" d="M{path}h0"/>')
        names.append(f'<tspan class="side{index}">― {escape(name)}</tspan>')
    label = escape(" and ".join(curves))
    return (
        f'<svg viewBox="0 0 360 172" role="img" aria-label="{label} by step">'
        f'<text x="{_LEFT}" y="14">{" ".join(names)}</text>{"".join(drawn)}</svg>\n'
    )


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 up to `top`, at most six."""
    power = 10.0 ** math.floor(math.log10(top))
    step = next(part * power for part in (0.2, 0.5, 1, 2) if top / (part * power) < 6)
    return [index * step for index in range(int(top / step + 1e-9) + 1)]
