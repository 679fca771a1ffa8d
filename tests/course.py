"""The course of `learn/` for tests: a package at the root, and no part of what is installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from learn.check import check_notebook
from learn.lesson import lessons, read_lesson

ROOT = Path(__file__).parents[1]
LESSONS = lessons()


def exercises(number):
    """The cells of a lesson that have something to fill in, by the names of the exercises."""
    return {cell.exercise: cell for cell in read_lesson(number) if cell.solution}


def said_of(path):
    """Whether all exercises of a notebook are right, and what is said of those that are not."""
    said = []
    return check_notebook(path, said.append), said
