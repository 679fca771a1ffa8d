"""The result of a benchmark as plain data, from which table, page and JSON are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unpaired.benchmark.rows import Contestant, Work

__all__ = ["Benchmark", "Row", "Spread"]


@dataclass(frozen=True)
class Spread:
    """A median over rounds, and the range of the middle four fifths of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one value for each round.

        >>> Spread.of([1.0, 2.0, 9.0])
        Spread(median=2.0, low=1.2, high=7.6)
        """
        low, median, high = np.percentile(values, (10, 50, 90)).tolist()
        return cls(_short(median), _short(low), _short(high))


@dataclass(frozen=True)
class Row:
    """A contestant's work: its rounds beside those of the plain reference and of the ceiling.

    The three sequences have one value for each round: `seconds` that the work took once, those of
    the reference, and `ceiling`, the operations a second of a large matrix product in the same
    precision. `first` are the seconds until its first result, building and compiling included;
    `memory` is the bytes it held at most, `method` the fastest way to compute in its precision, of
    those that it has. A row with a `problem` was not measured.
    """

    work: Work
    contestant: Contestant
    seconds: Sequence[float] = ()
    reference: Sequence[float] = ()
    ceiling: Sequence[float] = ()
    first: float = float("nan")
    memory: int = 0
    method: str = ""
    problem: str = ""

    @property
    def time(self) -> Spread:
        """Seconds of one step or one batch."""
        return Spread.of(self.seconds)

    @property
    def ratio(self) -> Spread:
        """How many times as fast as the plain reference in the same round."""
        pairs = zip(self.reference, self.seconds, strict=True)
        return Spread.of([reference / own for reference, own in pairs])

    @property
    def share(self) -> Spread:
        """The share of the ceiling of the same round that its convolutions reach."""
        flops = self.work.flops
        pairs = zip(self.ceiling, self.seconds, strict=True)
        return Spread.of([flops / own / ceiling for ceiling, own in pairs])

    @property
    def images_per_second(self) -> float:
        """Images a second; in a training step those of both domains count, as in metrics.jsonl."""
        return self.work.images / self.time.median

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON: what it is, its results, and the rounds they follow from."""
        named = {
            "task": self.work.task,
            "preset": self.work.preset,
            "size": self.work.size,
            "batch_size": self.work.batch_size,
            "engine": self.contestant.engine,
            "precision": self.contestant.precision,
        }
        if self.problem:
            return named | {"problem": self.problem}
        spreads = {"times_plain": self.ratio, "share_of_ceiling": self.share, "time": self.time}
        return (
            named
            | {name: dict(vars(spread)) for name, spread in spreads.items()}
            | {
                "method": self.method,
                "images_per_second": _short(self.images_per_second),
                "peak_bytes": self.memory,
                "first_seconds": _short(self.first),
                "flops": self.work.flops,
                "rounds": {
                    "seconds": list(map(_short, self.seconds)),
                    "plain_seconds": list(map(_short, self.reference)),
                    "ceiling_flops_per_second": list(map(_short, self.ceiling)),
                },
            }
        )


@dataclass(frozen=True)
class Benchmark:
    """All rows of a benchmark, and where they were measured.

    `machine` has facts by their names, `ceilings` the measured operations a second by precision,
    `omitted` says in lines what was not measured and why.
    """

    rows: Sequence[Row]
    machine: Mapping[str, str]
    ceilings: Mapping[str, Spread]
    omitted: Sequence[str] = field(default=())

    @property
    def works(self) -> dict[Work, list[Row]]:
        """The rows of each work, the plain reference first."""
        works: dict[Work, list[Row]] = {}
        for row in self.rows:
            works.setdefault(row.work, []).append(row)
        return works

    def best(self, work: Work) -> Row | None:
        """The fastest row of a work that is not the reference."""
        rows = [r for r in self.works[work] if not r.problem and r.contestant.engine != "plain"]
        return max(rows, key=lambda row: row.ratio.median, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The benchmark for JSON."""
        return {
            "machine": dict(self.machine),
            "ceilings": {name: dict(vars(spread)) for name, spread in self.ceilings.items()},
            "rows": [row.to_dict() for row in self.rows],
            "omitted": list(self.omitted),
        }


def _short(number: float) -> float:
    """A number in six digits, more than any clock here gives.

    >>> _short(1234.56789)
    1234.57
    """
    return float(f"{number:.6g}")
