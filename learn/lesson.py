"""A lesson as it is written: text, code, exercises and their solutions in one Python file.

A file of `lessons/` is divided into cells by lines that begin with `# %%`:

    # %% [markdown]             text, each line behind "# "
    # %%                        code
    # %% setup                  code that every exercise needs: imports
    # %% exercise NAME          code with a part to fill in

The part to fill in stands between `# solution` and `# end`. A notebook has `...  # your code` in
its place, or the lines that follow a `# blank` before it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HERE", "Cell", "lesson_path", "lessons", "notebook_path", "read_lesson"]

HERE = Path(__file__).parent
_BLANK = re.compile(
    r"^(?P<indent> *)(?:# blank\n(?P<blank>(?:(?! *# solution\n).*\n)*))?"
    r" *# solution\n(?P<solution>(?:(?! *# end\n).*\n)*) *# end\n",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson.

    `kind` is "markdown" or "code"; `exercise` the name of the exercise, "setup" for code that all
    exercises need, else "".
    """

    kind: str
    source: str
    exercise: str = ""

    @property
    def solved(self) -> str:
        """The source with its solution."""
        return _BLANK.sub(lambda found: found["solution"], self.source + "\n").strip("\n")

    @property
    def blank(self) -> str:
        """The source without its solution, as a reader finds it."""

        def emptied(found: re.Match[str]) -> str:
            lines = found["blank"] or f"{found['indent']}# ...  # your code\n"
            return re.sub(r"^( *)# ", r"\1", lines, flags=re.MULTILINE)

        return _BLANK.sub(emptied, self.source + "\n").strip("\n")

    @property
    def solution(self) -> str:
        """The solution alone."""
        return "\n".join(found["solution"].strip("\n") for found in _BLANK.finditer(self.source))


def lessons() -> list[int]:
    """The numbers of the lessons."""
    return sorted(int(path.name.split("-")[0]) for path in (HERE / "lessons").glob("*.py"))


def lesson_path(number: int) -> Path:
    """The file of `lessons/` that a lesson is written in.

    Raises:
        SystemExit: there is no such lesson.
    """
    found = sorted((HERE / "lessons").glob(f"{number}-*.py"))
    if not found:
        raise SystemExit(f"no lesson {number}: choose one of {', '.join(map(str, lessons()))}")
    return found[0]


def notebook_path(number: int) -> Path:
    """The notebook of a lesson."""
    return HERE / f"{lesson_path(number).stem}.ipynb"


def read_lesson(number: int) -> list[Cell]:
    """The cells of a lesson, in their order."""
    text = lesson_path(number).read_text(encoding="utf-8")
    _, *parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)
    cells = []
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        word = title.strip()
        if word == "[markdown]":
            source = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
            cells.append(Cell("markdown", source.strip("\n")))
        else:
            cells.append(Cell("code", body.strip("\n"), word.removeprefix("exercise").strip()))
    return cells
