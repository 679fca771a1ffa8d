"""A report as plain text for a terminal: metrics, verdict, warnings."""

import math
from collections.abc import Iterator, Sequence

from unpaired.console import counted
from unpaired.diagnostics.finding import Finding
from unpaired.directions import Direction
from unpaired.metrics.metric import Metric
from unpaired.report.comparison import Comparison, Method
from unpaired.report.report import Report
from unpaired.report.verdict import ranking, verdicts

__all__ = ["as_text", "plain"]


def as_text(report: Report) -> str:
    """The tables of the page, its verdict and its warnings."""
    return plain("\n".join(_lines(report)))


def plain(text: str) -> str:
    """The text in characters that every terminal and Pillow's font can show."""
    return text.replace("×", "x")


def _lines(report: Report) -> Iterator[str]:
    compared = report.comparison
    for direction in report.directions:
        for kind in dict.fromkeys(metric.kind for metric in report.metrics):
            yield from _table(compared, direction, compared.metrics_of(kind))
    yield from (f"  * {method.note}" for method in compared.of_kind("oracle") if method.note)
    found = verdicts(compared)
    if len(found) > 1:
        yield from ("", *ranking(compared))
    for name, verdict in found.items():
        headline = verdict.headline if len(found) == 1 else f"{name}: {verdict.headline}"
        yield from ("", headline, *(f"  {detail}" for detail in verdict.details))
    yield from _warnings(report.findings)


def _table(compared: Comparison, direction: Direction, metrics: Sequence[Metric]) -> Iterator[str]:
    """The lines of the methods for which one of the metrics was measured."""
    methods = compared.measured(direction, metrics)
    if not methods:
        return
    stars = {"oracle": " *"}
    names = [f"  {method.name}{stars.get(method.kind, '')}" for method in methods]
    first = [" -> ".join(compared.domain_names(direction)), *names]
    width = max(map(len, first))
    lines = [f"{label:{width}}" for label in first]
    for metric in metrics:
        column = [metric.name, *(_shown(method, direction, metric) for method in methods)]
        width = max(9, max(map(len, column)) + 2)
        lines = [line + f"{cell:>{width}}" for line, cell in zip(lines, column, strict=True)]
    yield from ("", *lines)


def _shown(method: Method, direction: Direction, metric: Metric) -> str:
    value = method.value(direction, metric)
    if value is None:
        return "-"
    low, high = value.interval
    interval = f" ({metric.show(low)}..{metric.show(high)})" if low < high else ""
    return metric.show(value.value) + interval


def _warnings(findings: Sequence[Finding]) -> Iterator[str]:
    fired = [finding for finding in findings if finding.fired]
    if findings:
        yield ""
    for finding in fired:
        yield f"Warning: {finding.name} ({finding.where}): {finding.message}"
        yield f"  {finding.advice}"
    if findings and not fired:
        made = sum(not math.isnan(finding.value) for finding in findings)
        yield f"{counted(made, 'check')} for common failures, nothing found."
