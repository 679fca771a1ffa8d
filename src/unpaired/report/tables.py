"""The tables of the page as plain data: the metrics of all methods, and accuracy by class."""

from collections.abc import Mapping, Sequence

from unpaired.directions import Direction, source_of
from unpaired.metrics.metric import Metric
from unpaired.report.comparison import UNPAIRED, Comparison, Method, MethodKind
from unpaired.report.report import Report

__all__ = ["class_table", "metric_table"]

Plain = Mapping[str, object]
_ARROWS = {"higher": "\N{NO-BREAK SPACE}↑", "lower": "\N{NO-BREAK SPACE}↓", None: ""}
_STYLES: Mapping[MethodKind, str] = {"model": "own", "oracle": "aside", "floor": "aside"}


def metric_table(compared: Comparison, direction: Direction, metrics: Sequence[Metric]) -> Plain:
    """Heads and rows for the metrics that were measured in a direction; no rows if none was."""
    methods = compared.measured(direction, metrics)
    metrics = [m for m in metrics if any(m.key in each.values[direction] for each in methods)]
    rows = [
        {
            "name": method.name,
            "note": method.note,
            "swatches": (),
            "style": _STYLES.get(method.kind, ""),
            "cells": [_metric_cell(compared, method, direction, metric) for metric in metrics],
        }
        for method in methods
    ]
    heads = [f"{metric.name}{_ARROWS[metric.better]}" for metric in metrics]
    return {"title": compared.arrow(direction), "heads": heads, "rows": rows}


def class_table(report: Report, direction: Direction) -> Plain:
    """acc16 by class: of the model, the best unpaired baseline and the oracle."""
    compared = report.comparison
    columns = [
        [method.per_class.get(direction, {}) for method in methods]
        for methods in (
            [compared.model],
            compared.of_kind("untouched", "baseline"),
            compared.of_kind("oracle"),
        )
    ]
    rows = []
    for name in columns[0][0]:
        best = [max((known[name] for known in c if name in known), default=None) for c in columns]
        cells = [_cell() if share is None else _cell(f"{share:.3f}", share) for share in best]
        colours = report.swatches.get(name, ())[:: 1 if source_of(direction) == "a" else -1]
        rows.append({"name": name, "note": "", "swatches": colours, "style": "", "cells": cells})
    heads = ["model", "best baseline", "oracle"]
    return {"title": compared.arrow(direction), "heads": heads, "rows": rows}


def _metric_cell(
    compared: Comparison, method: Method, direction: Direction, metric: Metric
) -> Plain:
    value = method.value(direction, metric)
    if value is None:
        return _cell()
    full = metric.full
    if full is None:
        values = (each.value(d, metric) for d in compared.directions for each in compared.methods)
        full = max(value.value * metric.scale for value in values if value)
    # Untouched images keep all of their own content: beside the sources they do not compete.
    competing = [kind for kind in UNPAIRED if (kind, metric.kind) != ("untouched", "source")]
    ranked = compared.ranked(direction, metric, *competing) if metric.better else []
    best = method.kind in competing and len(ranked) > 1 and value.value == ranked[0][1].value
    low, high = value.interval
    interval = f"{metric.show(low)} to {metric.show(high)}" if low < high else ""
    share = value.value * metric.scale / full if full else 0
    return _cell(metric.show(value.value), share, best, interval)


def _cell(shown: str = "–", share: float = 0, best: bool = False, interval: str = "") -> Plain:
    """A value before a bar, which is `share` of a full one."""
    text = "∞" if shown == "inf" else shown.replace("-", "−")
    percent = round(100 * min(max(0, share), 1))
    return {"text": text, "bar": percent, "best": best, "interval": interval.replace("-", "−")}
