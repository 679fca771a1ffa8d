"""Progress in a notebook: one display for each cell, updated in place.

The bar of `rich` needs ipywidgets there, and without them shows nothing or a line at a time. The
messages of Jupyter that update a display are understood by every front end.
"""

import secrets
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from unpaired.notebook.kernel import publish

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["NotebookBar", "bar_for"]

_MOST_FINISHED = 8  # titles that stay in view once they are done


@dataclass
class _Task:
    title: str
    total: float | None
    completed: float
    text: str = ""

    @property
    def line(self) -> str:
        """Its numbers in words."""
        of = "" if self.total is None else f"/{self.total:.0f}"
        return f"{self.title} {self.completed:.0f}{of}" + (f", {self.text}" if self.text else "")

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(self.completed / self.total, 1.0) if self.total else 0.0


class NotebookBar:
    """The progress of a cell, all its tasks in one display; used as `rich.progress.Progress` is.

    Of what is finished one line stays in view for each title.
    """

    def __init__(self, shell: Any) -> None:
        self.shell, self.cell = shell, shell.execution_count
        self.name = f"unpaired-{secrets.token_hex(8)}"
        self.tasks: dict[TaskID, _Task] = {}
        self.finished: dict[str, _Task] = {}
        self.count = 0
        self.visible = ""  # what it shows

    def start(self) -> None:
        """Nothing: the first task makes it visible."""

    def stop(self) -> None:
        """Nothing: what is finished stays in view."""

    def add_task(self, title: str, *, total: float | None, completed: float, text: str) -> "TaskID":
        """Adds a task below the others; returns what `update` and `remove_task` call it."""
        self.count += 1
        task: TaskID = self.count  # type: ignore[assignment]  # a NewType of int
        self.tasks[task] = _Task(title, total, completed, text)
        self._publish()
        return task

    def update(
        self, task: "TaskID", *, completed: float, total: float | None, text: str | None = None
    ) -> None:
        """Shows what a task has done; without `text` that stays as it was."""
        found = self.tasks[task]
        found.completed, found.total = completed, total
        found.text = found.text if text is None else text
        self._publish()

    def remove_task(self, task: "TaskID") -> None:
        """Removes a task; if no other is under way its numbers stay in view."""
        gone = self.tasks.pop(task)
        if not self.tasks:
            gone.text = ""
            self.finished.pop(gone.title, None)
            self.finished[gone.title] = gone
            for title in list(self.finished)[:-_MOST_FINISHED]:
                del self.finished[title]
        self._publish()

    def _publish(self) -> None:
        """Makes the display, or replaces what it shows."""
        # A copy: another thread may add or remove a task.
        tasks, finished = list(self.tasks.values()), list(self.finished.values())
        lines = [*(each.line for each in finished), *(each.line for each in tasks)]
        shown = "".join(
            f'<div style="opacity:.7">{escape(each.line)}</div>' for each in finished
        ) + "".join(_drawn(each) for each in tasks)
        html = f'<div style="font:.85em/1.6 monospace">{shown}</div>'
        if html != self.visible:
            update, self.visible = bool(self.visible), html
            publish(self.shell, html, "\n".join(lines), name=self.name, update=update)


_latest: NotebookBar | None = None


def bar_for(shell: Any) -> NotebookBar:
    """The display of the cell that runs: that of earlier work in this cell, or a new one."""
    global _latest
    if _latest is None or _latest.shell is not shell or _latest.cell != shell.execution_count:
        _latest = NotebookBar(shell)
    return _latest


def _drawn(task: _Task) -> str:
    """A task as HTML whose style is its own: a line of text above a bar."""
    bar = (
        '<div style="height:6px;border-radius:3px;max-width:40em;background:#8884">'
        '<div style="height:6px;border-radius:3px;background:#3b82c4;'
        f'width:{100 * task.share:.1f}%"></div></div>'
    )
    return f"<div>{escape(task.line)}{bar}</div>"
