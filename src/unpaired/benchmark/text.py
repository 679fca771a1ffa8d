"""A benchmark in words and as tables for a terminal; the page has the same words."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from unpaired.benchmark.result import Benchmark, Row
from unpaired.benchmark.rows import PLAIN, Work

__all__ = ["COLUMNS", "headlines", "labelled", "print_tables", "spread", "texts", "titled"]

COLUMNS = {
    "time": "of one step or one batch, the median over rounds",
    "images/s": "in a training step the images of both domains count, as in metrics.jsonl",
    "times plain": "how many times as fast as the plain reference, whose turn came in the same "
    "round: the median, and the range of the middle four fifths of the rounds",
    "ceiling": "the share of the operations a second of a large matrix product, in the same "
    "precision and round, that the convolutions reach; their operations are counted from the "
    "layers, so Winograd's, which need fewer, may exceed it",
    "memory": "the most that its process held beyond the imported framework; on a GPU, that its "
    "tensors took there",
    "first": "seconds until the first result, while networks are built and kernels compiled",
}
"""The columns of a table and what they mean."""

_WIDTHS = (19, 7, 8, 19, 7, 7, 6)  # of a row's name and of the columns: 80 characters with gaps


def texts(row: Row) -> dict[str, str]:
    """The values of a row by the names of COLUMNS."""
    if row.problem:
        return dict.fromkeys(COLUMNS, "–")
    return {
        "time": _time(row.time.median),
        "images/s": _digits(row.images_per_second),
        "times plain": f"{row.ratio.median:.2f}",
        "ceiling": _percent(row.share.median),
        "memory": f"{row.memory / 1e9:.2f} GB",
        "first": f"{row.first:.1f} s",
    }


def spread(row: Row) -> str:
    """The range of its ratio to the reference; empty for the reference itself."""
    if row.problem or row.contestant == PLAIN:
        return ""
    return f"{row.ratio.low:.2f} to {row.ratio.high:.2f}"


def labelled(row: Row) -> str:
    """Who computed it, and by which method of its precision."""
    return f"{row.contestant.engine} {row.method or row.contestant.precision}"


def titled(work: Work) -> str:
    """A work as a title.

    >>> titled(Work("train", "paper", 128, 1))
    'Training step, paper, 128 px, batch 1'
    """
    text = str(work)
    return text[0].upper() + text[1:]


def headlines(benchmark: Benchmark) -> Iterator[str]:
    """The fastest contestant of each work, in words."""
    for work in benchmark.works:
        if best := benchmark.best(work):
            yield (
                f"{titled(work)}: {labelled(best)} is {best.ratio.median:.2f} times as fast as "
                f"the plain reference and reaches {_percent(best.share.median)} of the ceiling"
            )


def print_tables(benchmark: Benchmark) -> None:
    """Prints a table for each work, where it was measured, and what was not."""
    console = Console(highlight=False, markup=False)
    for work, rows in benchmark.works.items():
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 0))
        for name, width in zip(("", *COLUMNS), _WIDTHS, strict=True):
            table.add_column(
                name, justify="right" if name else "left", min_width=width, no_wrap=True
            )
        for row in rows:
            values = texts(row)
            if interval := spread(row):
                values["times plain"] += f" ({interval})"
            best = row is benchmark.best(work)
            table.add_row(labelled(row), *values.values(), style="bold" if best else "")
        console.print(titled(work), style="bold")
        console.print(table)
        console.print()
    for row in benchmark.rows:
        if row.problem:
            console.print(f"failed: {row.work}, {row.contestant}: {row.problem}")
    for name, ceiling in benchmark.ceilings.items():
        console.print(f"ceiling in {name}: {ceiling.median / 1e9:,.0f} GFLOP/s")
    for name, fact in benchmark.machine.items():
        console.print(f"{name}: {fact}")
    for line in benchmark.omitted:
        console.print(f"not measured: {line}")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _time(seconds: float) -> str:
    """A time in three digits.

    >>> _time(0.017), _time(0.25), _time(2.5)
    ('17.0 ms', '250 ms', '2.50 s')
    """
    number, unit = (seconds, "s") if seconds >= 0.9995 else (seconds * 1000, "ms")
    return f"{_digits(number)} {unit}"


def _digits(number: float) -> str:
    """A number in three digits.

    >>> _digits(13.0), _digits(221.4), _digits(12345.6)
    ('13.0', '221', '12,346')
    """
    return f"{number:,.0f}" if number >= 999.5 else f"{number:#.3g}".removesuffix(".")
