"""`python -m learn.build`: writes the notebooks, with blanks, from the lessons.

A notebook that a reader has filled in is kept: give `--force` to write it again.
"""

import argparse
import json
from pathlib import Path

from learn.lesson import Cell, lessons, notebook_path, read_lesson

__all__ = ["as_notebook", "build", "main"]


def as_notebook(number: int, *, solved: bool = False) -> dict[str, object]:
    """The notebook of a lesson as JSON, without outputs; with blanks, or with the solutions."""
    cells = [_cell(index, cell, solved) for index, cell in enumerate(read_lesson(number))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def build(number: int, path: Path, *, solved: bool = False) -> None:
    """Writes the notebook of a lesson."""
    text = json.dumps(as_notebook(number, solved=solved), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Writes the notebooks that do not exist; with `--force` all of them."""
    parser = argparse.ArgumentParser(prog="python -m learn.build", description=__doc__)
    parser.add_argument("--force", action="store_true", help="write notebooks that exist again")
    force = parser.parse_args().force
    for number in lessons():
        path = notebook_path(number)
        if path.exists() and not force:
            print(f"{path.name} exists, and is kept: --force writes it again, without its answers")
        else:
            build(number, path)
            print(f"{path.name} written")


def _cell(index: int, cell: Cell, solved: bool) -> dict[str, object]:
    lines = (cell.solved if solved else cell.blank).splitlines(keepends=True)
    metadata = {"learn": cell.exercise} if cell.exercise else {}
    base: dict[str, object] = {
        "cell_type": cell.kind,
        "id": f"cell-{index}",
        "metadata": metadata,
        "source": lines,
    }
    return base if cell.kind == "markdown" else base | {"execution_count": None, "outputs": []}


if __name__ == "__main__":
    main()
