"""The course: notebooks follow from the lessons, solutions pass, blanks fail and say so."""

import ast
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

from course import LESSONS, ROOT, exercises, said_of
from learn.build import as_notebook, build
from learn.check import main
from learn.checks import CHECKS, compare
from learn.lesson import Cell, notebook_path, read_lesson
from unpaired.engines.architecture import discriminator_layers, receptive_field


def test_the_course_keeps_to_the_house():
    """What test_structure.py asks of the package: signposts, short files, folders with room."""
    course = ROOT / "learn"
    files = [path for path in course.rglob("*.py") if path.parent.name != "lessons"]
    assert [path for path in files if not ast.get_docstring(ast.parse(path.read_text()))] == []
    long = [path for path in course.rglob("*.py") if len(path.read_text().splitlines()) > 400]
    assert long == []
    for folder in (course, course / "checks", course / "lessons"):
        assert sum(path.is_file() for path in folder.iterdir()) <= 12, folder


def test_there_are_five():
    assert LESSONS == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("number", LESSONS)
def test_the_notebooks_are_built_from_the_lessons(number):
    """If this fails: `python -m learn.build --force`."""
    assert json.loads(notebook_path(number).read_text(encoding="utf-8")) == as_notebook(number)


@pytest.mark.parametrize("number", LESSONS)
def test_notebooks_are_valid_and_have_no_outputs(number):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(notebook_path(number), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("number", LESSONS)
def test_blanks_hold_no_solution(number):
    notebook = json.dumps(as_notebook(number))
    assert "solution\\n" not in notebook
    found = exercises(number)
    assert 3 <= len(found) <= 6
    for name, cell in found.items():
        assert cell.solution.strip() not in cell.blank
        assert "..." in cell.blank
        ast.parse(cell.blank)
        assert f'check("{name}", {name})' in cell.blank


@pytest.mark.parametrize("number", LESSONS)
def test_lessons_have_their_parts(number):
    text = "\n".join(cell.source for cell in read_lesson(number) if cell.kind == "markdown")
    assert text.startswith(f"# {number}. ")
    for part in ("**Question:", "## What to remember", "**Continue**:"):
        assert text.count(part) == 1


def test_every_check_belongs_to_one_exercise():
    assert sorted(name for number in LESSONS for name in exercises(number)) == sorted(CHECKS)


@pytest.mark.parametrize("number", LESSONS)
def test_solutions_pass(number, tmp_path, capsys):
    build(number, tmp_path / "solved.ipynb", solved=True)
    right, said = said_of(tmp_path / "solved.ipynb")
    assert (right, said) == (True, [])
    printed = capsys.readouterr().out
    assert [f"✓ {name} is right" for name in exercises(number)] == printed.splitlines()


@pytest.mark.parametrize("number", LESSONS)
def test_blanks_fail(number, tmp_path):
    build(number, tmp_path / "blank.ipynb")
    right, said = said_of(tmp_path / "blank.ipynb")
    assert not right
    assert [line.split()[1].rstrip(":") for line in said] == list(exercises(number))
    assert all("blank" in line for line in said)


@pytest.mark.parametrize("number", LESSONS)
def test_no_hint_is_the_right_answer_or_that_of_another(number, tmp_path, monkeypatch):
    """A hint that equals the right value, or an earlier hint, would never be given."""
    seen = []

    def looked_at(found, right, about, hints=None):
        values = [compare._array(value) for value in (right, *(hints or {}).values())]
        seen.append(about)
        for index, value in enumerate(values):
            for other in values[:index]:
                assert not compare._equal(value, other), (about, index, list(hints)[index - 1])

    for module in {sys.modules[check.__module__] for check in CHECKS.values()}:
        monkeypatch.setattr(module, "expect", looked_at, raising=False)
    build(number, tmp_path / "solved.ipynb", solved=True)
    assert said_of(tmp_path / "solved.ipynb") == (True, [])
    assert seen


def test_the_command(tmp_path, capsys):
    build(5, tmp_path / "mine.ipynb", solved=True)
    assert main(["5", "--notebook", str(tmp_path / "mine.ipynb")]) == 0
    assert capsys.readouterr().out.endswith("lesson 5: all exercises are right\n")
    build(5, tmp_path / "mine.ipynb")
    assert main(["5", "--notebook", str(tmp_path / "mine.ipynb")]) == 1
    out = capsys.readouterr().out
    assert "✗ kid: it returns nothing" in out
    assert "python -m learn.check 5 --solution EXERCISE" in out
    assert main(["3", "--solution", "cycle_loss"]) == 0
    assert "abs().mean()" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="lesson 3 has no exercise 'kid': both_cycles, cycle_loss"):
        main(["3", "--solution", "kid"])
    with pytest.raises(SystemExit, match=r"cannot read .*none.ipynb as a notebook"):
        main(["3", "--notebook", str(tmp_path / "none.ipynb")])


def test_the_command_runs_from_the_root():
    """As learn/README.md has it, on the notebook that is committed: all blank."""
    command = [sys.executable, "-m", "learn.check", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("✗") == len(exercises(5))


def test_a_cell_that_fails_is_told_and_the_others_are_checked(tmp_path):
    build(4, tmp_path / "mine.ipynb", solved=True)
    notebook = json.loads((tmp_path / "mine.ipynb").read_text())
    for cell in notebook["cells"]:
        if cell["metadata"].get("learn") == "exchange":
            cell["source"] = ["def exchange(pool):\n", "    return pole\n"]
            cell["source"].append('check("exchange", exchange)')
        if cell["metadata"].get("learn") == "variety":
            cell["source"] = ["1 +"]
    (tmp_path / "mine.ipynb").write_text(json.dumps(notebook))
    here = os.getcwd()
    right, (pool, syntax) = said_of(tmp_path / "mine.ipynb")
    assert not right
    assert pool.startswith("✗ exchange: it raises TypeError: ")
    assert syntax.startswith("✗ variety: the cell raises SyntaxError: ")
    assert os.getcwd() == here


def test_a_hint_has_no_traceback_in_a_notebook():
    assert compare.Wrong("f: look again")._render_traceback_() == ["✗ f: look again"]


def test_blanks_are_where_they_are_written():
    cell = Cell(
        "code", "def f(x):\n    # solution\n    y = x  # why\n    return y\n    # end\n\n\nf"
    )
    assert cell.blank == "def f(x):\n    ...  # your code\n\n\nf"
    assert cell.solved == "def f(x):\n    y = x  # why\n    return y\n\n\nf"
    cell = Cell("code", "a = 1\n# blank\n# b = ...  # which?\n# solution\nb = 2\n# end\nc = 3")
    assert cell.blank == "a = 1\nb = ...  # which?\nc = 3"
    assert cell.solution == "b = 2"


def test_what_the_lesson_says_of_the_paper_is_so():
    assert receptive_field(discriminator_layers(3, width=64, layers=3)) == 70
    assert receptive_field(discriminator_layers(3, width=24, layers=1)) == 16
