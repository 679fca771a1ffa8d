"""How far a long work has come: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

__all__ = ["Meter", "counted", "duration"]

LINE_EVERY = 15.0  # seconds between two lines where there is no terminal


class Meter:
    """Shows what is done, the rate, the time left and losses, on standard error.

    Args:
        title: what is counted, such as "steps".
        unit: what the rate counts.
        first: what was done before this work began; it does not count into the rate.
        quiet: show nothing.
    """

    def __init__(
        self, title: str, *, unit: str = "pictures", first: int = 0, quiet: bool = False
    ) -> None:
        self.title, self.unit, self.first, self.quiet = title, unit, first, quiet
        self.began = self.spoke = time.monotonic()
        self.bar: Progress | None = None
        if not quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
            text = TextColumn("{task.completed}/{task.total}  {task.fields[text]}")
            self.bar = Progress(*columns, text, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(title, total=None, completed=first, text="")
            self.bar.start()

    def show(
        self,
        done: int,
        total: int | None,
        losses: Mapping[str, float] | None = None,
        *,
        units: int = 1,
    ) -> None:
        """`done` of `total` are done (None: nobody knows how many), each of `units`."""
        now = time.monotonic()
        if self.quiet or now - self.spoke < (0.2 if self.bar else LINE_EVERY):
            return
        self.spoke = now
        rate = (done - self.first) / max(now - self.began, 1e-9)
        parts = [f"{_short(rate * units)} {self.unit}/s"]
        if total and rate:
            parts.append(f"{duration((total - done) / rate)} left")
        if losses:
            parts.append(_by_kind(losses))
        if self.bar:
            self.bar.update(self.task, completed=done, total=total, text=", ".join(parts))
        else:
            line = f"{self.title} {done}/{total or '?'}, {', '.join(parts)}"
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Takes the bar away."""
        if self.bar:
            self.bar.stop()


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, thing: str) -> str:
    """A number of things: 1 picture, 2 pictures."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _short(number: float) -> str:
    """A number in about three digits: 0.25, 12.3, 840, 5.1 M."""
    if number >= 1e6:
        return f"{number / 1e6:.1f} M"
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _by_kind(losses: Mapping[str, float]) -> str:
    """The losses of a step by kind, the mean of both directions."""
    kinds: dict[str, float] = {}
    for name, value in losses.items():
        kind = name.rsplit("_", 1)[0]
        kinds[kind] = kinds.get(kind, 0.0) + value / 2
    return ", ".join(f"{kind} {value:.3f}" for kind, value in kinds.items())
