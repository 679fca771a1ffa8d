"""What the program tells people while it works: lines, warnings, progress.

The library logs to the logger `unpaired` and shows nothing by itself. The command line calls
`show`, and so may whoever uses the library; verbosity and rank are held here and nowhere else.
"""

import logging
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self

from unpaired.errors import shown
from unpaired.notebook.bar import NotebookBar, bar_for
from unpaired.notebook.kernel import shell

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["Progress", "Verbosity", "counted", "duration", "log", "progress", "show"]

Verbosity = Literal["silent", "quiet", "normal", "verbose"]
"""silent: nothing; quiet: warnings; normal: lines and progress too; verbose: details too."""

LINE_EVERY = 15.0  # seconds between two lines of progress where there is no terminal
GROUND = 2.0  # seconds of measured work before a rate and a time left are shown

log = logging.getLogger("unpaired")
log.addHandler(logging.NullHandler())


def _escaped(record: logging.LogRecord) -> bool:
    """Escapes control characters and bytes that are no text, for whichever handler there is."""
    record.msg, record.args = "\n".join(map(shown, record.getMessage().split("\n"))), None
    return True


log.addFilter(_escaped)

_LEVELS: Mapping[Verbosity, int] = {
    "silent": logging.CRITICAL + 1,
    "quiet": logging.WARNING,
    "normal": logging.INFO,
    "verbose": logging.DEBUG,
}


def _write(line: str, *, problem: bool = False) -> None:
    """Writes a line, or several, on standard error, control characters escaped.

    In a notebook, where standard error looks like a failure, only a problem is written there. A
    full disk behind it is no reason to stop the work.
    """
    file = sys.stdout if shell() and not problem else sys.stderr
    try:
        print("\n".join(map(shown, line.split("\n"))), file=file, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


class _Lines(logging.Handler):
    """Writes each record as a plain line on standard error, whatever that is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        _write(record.getMessage(), problem=record.levelno >= logging.WARNING)


_lines = _Lines()
_progress_shown = False
_bar: "Bar | NotebookBar | None" = None  # the display of all progress that is under way


def show(verbosity: Verbosity = "normal", *, rank: int = 0) -> None:
    """Shows lines and progress on standard error from now on.

    Of several processes only that of rank 0 speaks; the others are silent.
    """
    global _progress_shown
    if rank:
        verbosity = "silent"
    log.removeHandler(_lines)
    if verbosity != "silent":
        log.addHandler(_lines)
    log.setLevel(_LEVELS[verbosity])
    log.propagate = verbosity == "silent"
    _progress_shown = verbosity in ("normal", "verbose")


class Progress:
    """Shows what is done, the rate, the time left and losses. Made by `progress`.

    The rate is measured from the end of the first unit on, which may have taken much longer than
    the others: in it networks are compiled, caches filled and connections opened.
    """

    def __init__(self, title: str, total: int | None, unit: str, first: int) -> None:
        self.title, self.total, self.unit, self.first, self.done = title, total, unit, first, first
        self.spoke = time.monotonic()
        self.measured_from: tuple[float, int] | None = None  # the moment, and what was done then
        self.bar: Bar | NotebookBar | None = None

    def update(
        self,
        done: int,
        total: int | None = None,
        *,
        losses: Mapping[str, float] | None = None,
        units: int = 1,
        left: float | None = None,
    ) -> None:
        """`done` of `total` are done (None: as before, or unknown), each of them `units`.

        `left` are the seconds left, where the caller knows them better than the rate does.
        """
        self.done, self.total = done, total or self.total
        now = time.monotonic()
        if self.measured_from is None and done > self.first:
            self.measured_from = now, done
        if not _progress_shown or now - self.spoke < (0.2 if self.bar else LINE_EVERY):
            return
        self.spoke = now
        parts = []
        began, before = self.measured_from or (now, done)
        if left is not None:
            parts.append(f"{duration(left)} left")
        elif done > before and now - began >= GROUND:
            rate = (done - before) / (now - began)
            parts.append(f"{_short(rate * units)} {self.unit}/s")
            if self.total:
                parts.append(f"{duration((self.total - done) / rate)} left")
        if losses:
            parts.append(_by_kind(losses))
        if self.bar:
            self.bar.update(self.task, completed=done, total=self.total, text=", ".join(parts))
        else:
            line = ", ".join([f"{self.title} {done}/{self.total or '?'}", *parts])
            _write(line)

    def advance(self, count: int = 1) -> None:
        """`count` more are done."""
        self.update(self.done + count)

    def __enter__(self) -> Self:
        global _bar
        if _progress_shown and (sys.stderr.isatty() or shell()):
            self.first_bar = _bar is None
            if _bar is None:
                _bar = _new_bar()
                _bar.start()
            self.bar = _bar
            self.task = _bar.add_task(self.title, total=self.total, completed=self.first, text="")
        return self

    def __exit__(self, *error: object) -> None:
        """Removes the bar; of nested ones the outer bar holds them all."""
        global _bar
        if self.bar:
            self.bar.update(self.task, completed=self.done, total=self.total)
            self.bar.remove_task(self.task)
            if self.first_bar:
                self.bar.stop()
                _bar = None


def _new_bar() -> "Bar | NotebookBar":
    """A display below the cell of a notebook, else on standard error.

    The package of the latter is imported for it alone: that takes a while.
    """
    if found := shell():
        return bar_for(found)
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    text = TextColumn("{task.completed}/{task.total}  {task.fields[text]}")
    return Bar(*columns, text, console=Console(stderr=True), transient=True)


def progress(
    title: str, total: int | None = None, *, unit: str = "images", first: int = 0
) -> Progress:
    """The progress of one piece of work, as a context manager.

    Args:
        title: what is counted, such as "steps".
        total: how many there are; None where nobody knows yet.
        unit: what the rate counts.
        first: what was done before this work began; it does not count towards the rate.
    """
    return Progress(title, total, unit, first)


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(45), duration(720), duration(12_000)
    ('45 s', '12 min', '3 h 20 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "image"), counted(2_000, "image")
    ('1 image', '2,000 images')
    """
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
