"""A report on disk and on a terminal: its folder of page, JSON and contact sheet, and text."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unpaired.console import counted
from unpaired.directions import Direction
from unpaired.images.grid import draw_grid
from unpaired.images.image import to_signed
from unpaired.metrics.metric import Metric, Value
from unpaired.report.page import LONGEST, render, shrunk
from unpaired.report.report import Finding, Method, Report
from unpaired.report.verdict import Verdict, ranking, verdicts
from unpaired.storage import atomic_path

__all__ = ["as_json", "as_text", "contact_sheet", "write_report"]


def write_report(report: Report, folder: Path) -> Path:
    """Writes `report.json`, the contact sheet `pictures.png` and, last, the page `index.html`.

    Every file is whole under a temporary name before the first is renamed; what fails leaves an
    older report as it was.

    Returns:
        The page.

    Raises:
        RunError: the system refuses to write.
    """
    page = folder / "index.html"
    with (
        atomic_path(page) as index,
        atomic_path(folder / "pictures.png") as images,
        atomic_path(folder / "report.json") as table,
    ):
        index.write_text(render(report), encoding="utf-8")
        contact_sheet(report).save(images, format="PNG")
        table.write_text(json.dumps(as_json(report), indent=1) + "\n", encoding="utf-8")
    return page


def contact_sheet(report: Report) -> Image.Image:
    """The examples of the first choice, of all directions side by side.

    With several models a choice is of one model: then all choices, which show the same images,
    stand side by side under the models' names.
    """
    columns: dict[tuple[Direction, str], list[np.ndarray]] = {}
    longest = 1
    several = len(report.of_kind("model")) > 1
    for direction in report.directions:
        source, target = report.ends(direction)
        for place, (choice, examples) in enumerate(report.examples[direction].items()):
            if place and not several:
                break
            for example in examples:
                longest = max(longest, *example.source.shape[:2])
                shown = example.images(source, target)
                if several:
                    first = {source: example.source} if place == 0 else {}
                    shown = first | {choice.rpartition(", ")[0]: example.made}
                for label, image in shown.items():
                    columns.setdefault((direction, label), []).append(to_signed(shrunk(image)))
    cell = 128 if longest <= 128 else LONGEST
    titled = [(_plain(label), images) for (_, label), images in columns.items()]
    return draw_grid(titled, cell=cell)


def _plain(text: str) -> str:
    """As the sheet's font and every terminal can show it."""
    return text.replace("×", "x")


# ---- JSON ---------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, object]:
    """What report.json holds: strict JSON, figures unscaled, NaN as null, infinity as a string."""
    found = verdicts(report)
    return {
        "format": 1,
        "title": report.title,
        **report.record,
        "domains": dict(zip("ab", report.names, strict=True)),
        "paired": report.paired,
        "verdict": _verdict(found[report.model.name]),
        **({"verdicts": {n: _verdict(v) for n, v in found.items()}} if len(found) > 1 else {}),
        "figures": {figure.key: _figure(figure) for figure in report.figures},
        "scores": {
            direction: {method.name: _scores(method, direction) for method in report.methods}
            for direction in report.directions
        },
        "findings": [_finding(finding) for finding in report.findings],
        "facts": dict(report.facts),
    }


def _verdict(found: Verdict) -> dict[str, object]:
    text = [found.headline, *found.details]
    return {"passed": found.passed, "state": found.state, "text": text}


def _figure(figure: Metric) -> dict[str, object]:
    facts = {"name": figure.name, "meaning": figure.meaning, "better": figure.better}
    return facts | {"kind": figure.kind, "unit": figure.unit, "shown_times": figure.scale}


def _scores(method: Method, direction: Direction) -> dict[str, object]:
    values = {key: _value(value) for key, value in method.values.get(direction, {}).items()}
    per_class = method.per_class.get(direction)
    return {"kind": method.kind, "values": values} | (
        {"per_class": dict(per_class)} if per_class is not None else {}
    )


def _value(value: Value) -> dict[str, object]:
    """The interval is there where there is one."""
    numbers = {"value": value.value, "low": value.low, "high": value.high}
    return {name: _number(number) for name, number in numbers.items() if number is not None}


def _finding(finding: Finding) -> dict[str, object]:
    return {**vars(finding), "value": _number(finding.value), "limit": _number(finding.limit)}


def _number(number: float) -> float | str | None:
    if math.isnan(number):
        return None
    return number if math.isfinite(number) else "Infinity" if number > 0 else "-Infinity"


# ---- text ---------------------------------------------------------------------------------


def as_text(report: Report) -> str:
    """The tables of the page, its verdict and warnings, for a terminal."""
    lines = []
    for direction in report.directions:
        for kind in dict.fromkeys(figure.kind for figure in report.figures):
            lines += _table(report, direction, report.figures_of(kind))
    lines += [f"  * {method.note}" for method in report.of_kind("oracle") if method.note]
    found = verdicts(report)
    lines += [""] * (len(found) > 1) + ranking(report)
    for name, said in found.items():
        headline = said.headline if len(found) == 1 else f"{name}: {said.headline}"
        lines += ["", headline, *(f"  {detail}" for detail in said.details)]
    return _plain("\n".join([*lines, *_warnings(report)]))


def _table(report: Report, direction: Direction, figures: Sequence[Metric]) -> list[str]:
    """Lines of the methods that have one of the figures; none where no method has."""
    there = report.measured(direction, figures)
    if not there:
        return []
    labels = [f"  {method.name}{' *' if method.kind == 'oracle' else ''}" for method in there]
    columns = [
        [figure.name, *(_shown(method, direction, figure) for method in there)]
        for figure in figures
    ]
    return ["", *_aligned([" -> ".join(report.ends(direction)), *labels], columns)]


def _shown(method: Method, direction: Direction, figure: Metric) -> str:
    value = method.value(direction, figure)
    if value is None:
        return "-"
    low, high = value.interval
    interval = f" ({figure.show(low)}..{figure.show(high)})" if low < high else ""
    return figure.show(value.value) + interval


def _aligned(first: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
    """A column to the left and others to the right of theirs, at least nine characters wide."""
    width = max(map(len, first))
    rows = [f"{label:{width}}" for label in first]
    for column in columns:
        room = max(9, max(map(len, column)) + 2)
        rows = [row + f"{cell:>{room}}" for row, cell in zip(rows, column, strict=True)]
    return rows


def _warnings(report: Report) -> list[str]:
    if not report.findings:
        return []
    fired = [finding for finding in report.findings if finding.fired]
    if not fired:
        made = sum(not math.isnan(finding.value) for finding in report.findings)
        return ["", f"{counted(made, 'check')} of what commonly goes wrong, nothing found."]
    lines = [""]
    for finding in fired:
        lines.append(f"Warning: {finding.name} ({finding.where}): {finding.message}")
        lines.append(f"  {finding.advice}")
    return lines
