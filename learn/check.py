"""Checks of the exercises: in a notebook, `check("cycle_loss", cycle_loss)`; in a terminal,

    python -m learn.check 3
    python -m learn.check 3 --solution cycle_loss

The first reads the notebook of lesson 3 as it is saved, runs its exercises alone, and says for each
whether it is right, or what is wrong with it; it ends with code 1 unless all are right. The second
prints a solution.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from learn.checks import CHECKS, Wrong
from learn.lesson import HERE, lessons, notebook_path, read_lesson

__all__ = ["check", "check_notebook", "main", "solution"]


def check(name: str, answer: object) -> None:
    """Says that an answer is right.

    Raises:
        Wrong: it is not; the message is a hint.
    """
    if name not in CHECKS:
        raise Wrong(f"there is no exercise {name!r}; there are: {', '.join(CHECKS)}")
    if answer is ... or (isinstance(answer, set) and ... in answer):
        raise Wrong(f"{name} is still blank: put your answer in place of the three dots")
    try:
        CHECKS[name](answer)
    except Wrong as error:
        raise Wrong(f"{name}: {error}") from None
    print(f"✓ {name} is right")


def check_notebook(path: Path, say: Callable[[str], None] = print) -> bool:
    """Runs the exercises of a notebook as it is saved, and says what is wrong with them.

    Returns:
        Whether all are right.

    Raises:
        SystemExit: the file is missing, or no notebook.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"cannot read {path} as a notebook: {error}") from None
    space: dict[str, Any] = {"__name__": "lesson"}
    before, right = Path.cwd(), True
    os.chdir(HERE)  # where a notebook runs
    try:
        for cell in cells:
            if name := cell.get("metadata", {}).get("learn"):
                right &= _run(name, "".join(cell["source"]), space, say)
    finally:
        os.chdir(before)
    return right


def solution(number: int, exercise: str) -> str:
    """The solution of an exercise of a lesson.

    Raises:
        SystemExit: the lesson has no such exercise.
    """
    found = {cell.exercise: cell.solution for cell in read_lesson(number) if cell.solution}
    if exercise not in found:
        raise SystemExit(f"lesson {number} has no exercise {exercise!r}: {', '.join(found)}")
    return found[exercise]


def main(arguments: list[str] | None = None) -> int:
    """`python -m learn.check N`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m learn.check", description="Checks the exercises of a lesson."
    )
    parser.add_argument("lesson", type=int, choices=lessons(), help="its number")
    parser.add_argument("--notebook", type=Path, help="where it is, if not in learn/")
    parser.add_argument("--solution", metavar="EXERCISE", help="print a solution instead")
    given = parser.parse_args(arguments)
    if given.solution:
        print(solution(given.lesson, given.solution))
        return 0
    if check_notebook(given.notebook or notebook_path(given.lesson)):
        print(f"lesson {given.lesson}: all exercises are right")
        return 0
    print(f"a solution: python -m learn.check {given.lesson} --solution EXERCISE")
    return 1


def _run(name: str, code: str, space: dict[str, Any], say: Callable[[str], None]) -> bool:
    try:
        exec(compile(code, f"<{name}>", "exec"), space)
    except Wrong as error:
        say(f"✗ {error}")
    except ModuleNotFoundError as error:
        say(f"✗ {name}: {error.name} is not installed: see learn/README.md")
    except Exception as error:
        say(f"✗ {name}: the cell raises {type(error).__name__}: {error}")
    else:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
