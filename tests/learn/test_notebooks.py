"""The notebooks of the course, executed from the first cell to the last with the solutions."""

import re

import pytest

pytest.importorskip("nbclient", reason="the extra dev has nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("torch")
pytest.importorskip("jax")

import nbclient
import nbformat

from course import LESSONS, ROOT, exercises
from learn.build import build
from learn.lesson import read_lesson


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Where `seasons-lite` is drawn, once for all lessons."""
    return tmp_path_factory.mktemp("images")


@pytest.fixture
def execute(tmp_path, monkeypatch, images):
    """Runs a notebook in a folder named learn, so that `../runs` is beside it."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("UNPAIRED_DATA", str(images))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "learn").mkdir()

    def run(path, **options):
        notebook = nbformat.read(path, as_version=4)
        resources = {"metadata": {"path": str(tmp_path / "learn")}}
        return nbclient.NotebookClient(notebook, resources=resources, **options).execute()

    return run


def outputs(cell, kind):
    return [output for output in cell.get("outputs", []) if output.output_type == kind]


def printed(cells):
    return "".join(output.text for cell in cells for output in outputs(cell, "stream"))


def test_a_reader_stops_at_the_first_blank(execute, tmp_path):
    """The first cells of lesson 1: "run all" stops at the exercise, with its hint alone."""
    build(1, tmp_path / "mine.ipynb")
    notebook = nbformat.read(tmp_path / "mine.ipynb", as_version=4)
    names = [cell.exercise for cell in read_lesson(1)]
    notebook.cells = notebook.cells[: names.index("generator_loss")]
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    done = execute(tmp_path / "mine.ipynb", timeout=120, allow_errors=True)
    _, setup, *_, points, _, exercise, _ = done.cells
    assert not outputs(setup, "error")
    (shown,) = outputs(points, "execute_result")
    assert "image/png" in shown.data
    (error,) = outputs(exercise, "error")
    assert error.traceback == [f"✗ {error.evalue}"]
    assert error.evalue.startswith("discriminator_loss: it returns nothing")


@pytest.mark.nightly
@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_runs(number, execute, tmp_path):
    build(number, tmp_path / "solved.ipynb", solved=True)
    done = execute(tmp_path / "solved.ipynb", timeout=1800)
    text = printed(done.cells)
    assert [name for name in exercises(number) if f"✓ {name} is right" not in text] == []
    shown = [o.data for c in done.cells for o in outputs(c, "execute_result")]
    images = sum("image/png" in data for data in shown)
    frames = sum(data.get("text/html", "").startswith("<iframe") for data in shown)
    # Lesson 5 shows a run and a report as the product does, in frames.
    assert (images, frames) == {1: (5, 0), 2: (3, 0), 3: (4, 0), 4: (4, 0), 5: (2, 2)}[number]
    if number == 2:
        seen = re.findall(r"your number (\d+), seen (\d+) pixels", text)
        assert seen == [("16", "16"), ("34", "34")]
    if number == 3:
        without, with_cycle = (
            [float(x) for x in re.search(rf"{name} +PSNR to winter ([\d.]+) dB, to summer ([\d.]+) "
                                         r"dB; cycle error (\d+)", text).groups()]
            for name in ("without", "with")
        )  # fmt: skip
        assert with_cycle[0] > without[0]
        assert with_cycle[1] > without[1]
        assert with_cycle[2] < without[2] / 2
    if number == 4:
        said = {line[:20].strip(): line for line in text.splitlines()}
        assert "colour inversion" in said["two negatives"]
        assert "collapse" in said["mean images"]
        assert "checkerboard" in said["a chessboard"]
        assert said["the truth"].endswith("   -")
    if number == 5:
        assert "by fine features, the model or other real winters? other real winters" in text
        assert "by coarse features, the model or the mean winter? the model" in text
