"""Tables of a report in HTML, of all methods and by class, and what all sections are made of."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from unpaired.directions import Direction
from unpaired.metrics.metric import Kind, Metric
from unpaired.report.report import Method, MethodKind, Report

__all__ = ["classes", "route", "scores", "section", "terms"]

_KINDS: Mapping[Kind, str] = {
    "set": "Made images, all together, against real ones",
    "paired": "Each made image against its truth",
    "cycle": "There and back",
}
_BESIDE = 4  # figures up to which the tables of both directions stand beside each other
_FAIR: tuple[MethodKind, ...] = ("model", "untouched", "baseline")  # methods that know no pairs


def section(title: str, text: str, content: str) -> str:
    """A section of the page; all given as HTML."""
    return f'<section>\n<h2>{title}</h2>\n<p class="soft">{text}</p>\n{content}\n</section>\n'


def route(report: Report, direction: Direction) -> str:
    """The names of both ends, an arrow between them, as HTML."""
    return escape(" → ".join(report.ends(direction)))


def terms(meanings: Mapping[str, str]) -> str:
    """Terms and what is said of them, given as text."""
    rows = (f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in meanings.items())
    return f"<dl>{''.join(rows)}</dl>\n"


# ---- scores -------------------------------------------------------------------------------


def scores(report: Report) -> str:
    """The section of the scores: for each kind of figures a table in each direction."""
    kinds = list(dict.fromkeys(figure.kind for figure in report.figures))
    parts = []
    for kind in kinds:
        figures = report.figures_of(kind)
        tables = "".join(_scores_table(report, d, figures) for d in report.directions)
        heading = f"<h3>{_KINDS[kind]}</h3>\n" if len(kinds) > 1 else ""
        meanings = {figure.name: figure.meaning for figure in figures}
        wide = " broad" if len(figures) > _BESIDE else ""
        parts.append(f'{heading}<div class="tiles{wide}">{tables}</div>{terms(meanings)}')
    return section("Scores", " ".join(_how_to_read(report)), "".join(parts))


def _how_to_read(report: Report) -> Iterable[str]:
    if report.paired:
        yield "The test set is paired: the truth of every image is known."
    else:
        yield (
            "The test set is not paired: no image has a truth to be held against, so all made "
            "images are held against all real ones."
        )
    yield "↑ higher is better, ↓ lower. Bold: the best of those that know no pairs."
    values = [
        value for method in report.methods for by_key in method.values.values()
        for value in by_key.values()
    ]  # fmt: skip
    if any(value.low is not None for value in values):
        yield "Small: the 95 % interval; figures whose intervals overlap cannot be told apart."
    if report.of_kind("floor"):
        yield "Last row: real images in place of made ones; nothing made need come nearer."


def _scores_table(report: Report, direction: Direction, figures: Sequence[Metric]) -> str:
    """Of the methods and the figures that have a value in this direction; "" if there is none."""
    methods = report.measured(direction, figures)
    figures = [
        figure
        for figure in figures
        if any(figure.key in method.values[direction] for method in methods)
    ]
    rows = []
    for method in methods:
        cells = "".join(_score(report, method, direction, figure) for figure in figures)
        kind = {"model": "own", "oracle": "aside", "floor": "aside"}.get(method.kind, "")
        name = f"{escape(method.name)}<small>{escape(method.note)}</small>"
        rows.append(f'<tr class="{kind}"><th scope="row">{name}</th>{cells}</tr>\n')
    arrows = {"higher": "↑", "lower": "↓"}
    heads = [f"{escape(figure.name)}&nbsp;{arrows[figure.better]}" for figure in figures]
    return _table(route(report, direction), heads, rows) if rows else ""


def _score(report: Report, method: Method, direction: Direction, figure: Metric) -> str:
    value = method.value(direction, figure)
    if value is None:
        return "<td>–</td>"
    full = figure.full
    if full is None:
        values = (m.value(d, figure) for d in report.directions for m in report.methods)
        full = max(v.value * figure.scale for v in values if v)
    fair = report.valued(direction, figure, *_FAIR)
    bold = method.kind in _FAIR and len(fair) > 1 and value.value == fair[0][1].value
    low, high = value.interval
    ends = _minus(f"{figure.show(low)} to {figure.show(high)}")
    interval = f"<small>{ends}</small>" if low < high else ""
    return _cell(
        figure.show(value.value), value.value * figure.scale / full if full else 0, bold, interval
    )


def _cell(shown: str, share: float, bold: bool = False, below: str = "") -> str:
    shown = "∞" if shown == "inf" else _minus(shown)
    shown = f"<b>{shown}</b>" if bold else shown
    return f'<td style="--share:{min(max(0, share), 1):.0%}">{shown}{below}</td>'


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _table(caption: str, heads: Sequence[str], rows: Sequence[str]) -> str:
    """All given as HTML."""
    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        f'<div class="wide"><table class="scores"><caption>{caption}</caption>\n'
        f"<thead><tr><td></td>{head}</tr></thead>\n"
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


# ---- classes ------------------------------------------------------------------------------


def classes(report: Report) -> str:
    """The section of the classes; "" where none are known."""
    if not report.model.per_class:
        return ""
    tables = "".join(_classes_table(report, direction) for direction in report.directions)
    text = (
        "acc16 on the pixels of one class only, whose colours before and after stand beside it. "
        "Classes that share a colour can be told apart by shape and place alone."
    )
    return section("By class", text, f'<div class="tiles">{tables}</div>')


def _classes_table(report: Report, direction: Direction) -> str:
    columns = [
        [method.per_class.get(direction, {}) for method in methods]
        for methods in (
            [report.model],
            report.of_kind("untouched", "baseline"),
            report.of_kind("oracle"),
        )
    ]
    rows = []
    for name in columns[0][0]:
        best = [max((share[name] for share in c if name in share), default=None) for c in columns]
        cells = "".join("<td>–</td>" if s is None else _cell(f"{s:.3f}", s) for s in best)
        colours = report.swatches.get(name, ())[:: 1 if direction == "ab" else -1]
        swatch = "".join(f'<i style="background:rgb({r} {g} {b})"></i>' for r, g, b in colours)
        rows.append(f'<tr><th scope="row">{swatch} {escape(name)}</th>{cells}</tr>\n')
    return _table(route(report, direction), ["model", "best unpaired", "with pairs"], rows)
