"""What a tracker is told of a training, and by whom: the seam between the two."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

__all__ = ["Ending", "Opening", "Tracker"]

Ending = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class Opening:
    """What a tracker knows of a run from its beginning.

    Attributes:
        folder: the run folder; what a tracker writes on this machine is inside.
        values: recipe and runtime, by their names.
        config: the file of both.
        facts: the versions and the state of git, in words.
    """

    folder: Path
    values: Mapping[str, object]
    config: Path
    facts: Mapping[str, str]


class Tracker(Protocol):
    """An open record of a run; a method may raise anything, which costs the record alone."""

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Takes losses, learning rates, speeds or an evaluation after `step` steps."""

    def file(self, kind: str, path: Path, step: int) -> None:
        """Takes a file of `kind` "samples" (a PNG) or "report" (an HTML page)."""

    def close(self, ending: Ending) -> None:
        """Ends the record; a run that is resumed goes on with it."""
