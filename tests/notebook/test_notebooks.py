"""Notebooks run from the first cell to the last: a small one always, the example in the nightly."""

from pathlib import Path

import pytest

from conftest import QUICK, SMALL, write_images

nbclient = pytest.importorskip("nbclient", reason="the extra dev has nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("torch")

EXAMPLE = Path(__file__).parents[2] / "notebooks" / "first-look.ipynb"
CELLS = (
    f"""
import unpaired
unpaired.console.show()
run = unpaired.train("data", out="run", preset="tiny", engine="torch",
                     **{SMALL | QUICK | {"steps": 3, "report": "none"}})
run
""",
    """
report = unpaired.evaluate(run.folder, "data")
report.show()
model = unpaired.load(run.folder)
model.before_after("data/testA/00.png", to="b")
""",
)


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs a notebook in a folder of its own; returns it with its outputs."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "UNPAIRED_DATA"):
        monkeypatch.setenv(name, str(tmp_path / name))

    def run(notebook):
        resources = {"metadata": {"path": str(tmp_path)}}
        client = nbclient.NotebookClient(notebook, timeout=600, resources=resources)
        return client.execute()

    return run


def outputs_of(cell, kind):
    return [output for output in cell.outputs if output.output_type == kind]


def test_two_cells_train_and_show(execute, data):
    import nbformat.v4 as v4

    for seed, split in enumerate(("testA", "testB"), start=5):
        write_images(data / split, 4, seed)
    done = execute(v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in CELLS]))
    trained, shown = done.cells
    (bar,) = outputs_of(trained, "display_data")
    assert "step 3/3" in bar.data["text/plain"]
    assert "width:" not in bar.data["text/html"]  # what is finished has no bar
    (run,) = outputs_of(trained, "execute_result")
    assert "step 3 of 3" in run.data["text/html"]
    assert "&lt;svg" in run.data["text/html"]
    *_, report = outputs_of(shown, "display_data")
    assert report.data["text/html"].startswith("<iframe")
    assert "Metrics" in report.data["text/html"]
    (both,) = outputs_of(shown, "execute_result")
    assert both.data["text/html"].count("<img") == 2


def test_the_example_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(EXAMPLE, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert len(code) > 3
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.nightly
def test_the_example_runs(execute):
    nbformat = pytest.importorskip("nbformat")
    done = execute(nbformat.read(EXAMPLE, as_version=4))
    frames = [
        output.data["text/html"]
        for cell in done.cells
        if cell.cell_type == "code"
        for output in outputs_of(cell, "execute_result")
    ]
    run, report, both = frames
    assert "step 600 of 600" in run
    assert "Learning curves" in report
    assert both.count("<img") == 2
    assert "generated winter" in both
