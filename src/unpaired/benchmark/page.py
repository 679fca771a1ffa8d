"""The page of a benchmark: one HTML file in the style of reports, without outside requests."""

from collections.abc import Mapping

from unpaired.benchmark.result import Benchmark, Row
from unpaired.benchmark.rows import PLAIN, TASKS
from unpaired.benchmark.text import COLUMNS, headlines, labelled, spread, texts
from unpaired.console import counted
from unpaired.report.page import environment

__all__ = ["render"]


def render(benchmark: Benchmark) -> str:
    """The page: complete HTML that refers to nothing outside."""
    template = environment("unpaired.benchmark").get_template("bench.html.j2")
    machine = benchmark.machine
    measured = [row for row in benchmark.rows if not row.problem]
    rounds = sorted({len(row.seconds) for row in measured}) or [0]
    many = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else str(rounds[0])
    ceilings = ", ".join(
        f"{spread.median / 1e9:,.0f} GFLOP/s in {name}"
        for name, spread in benchmark.ceilings.items()
    )
    return template.render(
        title=f"Speed on {machine['processor'].partition(' (')[0]}",
        summary=f"{machine['date']}, {machine['device']}, {machine['threads']}: "
        f"{counted(len(measured), 'row')} in {many} rounds",
        headlines=list(headlines(benchmark)),
        groups=[
            {"title": f"{name[0].upper()}{name[1:]}", "tables": _tables(benchmark, task)}
            for task, name in TASKS.items()
            if any(row.work.task == task for row in benchmark.rows)
        ],
        omitted=[
            *(
                f"{row.work}, {row.contestant}: {row.problem}"
                for row in benchmark.rows
                if row.problem
            ),
            *benchmark.omitted,
        ],
        columns=COLUMNS,
        facts={**machine, "ceiling": ceilings},
    )


def _tables(benchmark: Benchmark, task: str) -> list[Mapping[str, object]]:
    """A table for each work of a task. Bars: ratios beside the highest, shares of all."""
    highest = max((row.ratio.high for row in benchmark.rows if not row.problem), default=1.0)
    return [
        {
            "title": f"{work.preset}, {work.size} px, batch {work.batch_size}",
            "heads": list(COLUMNS),
            "rows": [_row(row, highest, row is benchmark.best(work)) for row in rows],
        }
        for work, rows in benchmark.works.items()
        if work.task == task
    ]


def _row(row: Row, highest: float, best: bool) -> Mapping[str, object]:
    bars = {}
    if not row.problem:
        bars = {"times plain": row.ratio.median / highest, "ceiling": min(row.share.median, 1.0)}
    return {
        "name": labelled(row),
        "note": "the reference" if row.contestant == PLAIN else "",
        "swatches": (),
        "style": "own" if best else "aside" if row.contestant == PLAIN else "",
        "cells": [
            {
                "text": text.replace(" ", "\N{NO-BREAK SPACE}"),
                "bar": round(100 * bars.get(name, 0)),
                "best": best and name == "times plain",
                "interval": spread(row) if name == "times plain" else "",
            }
            for name, text in texts(row).items()
        ],
    }
