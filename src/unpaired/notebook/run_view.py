"""A run as a page for notebooks: its learning curves and its newest samples."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from PIL import Image

from unpaired.notebook.html import framed, image_data
from unpaired.report.curves import draw_curves
from unpaired.storage import open_regular, read_json_lines

__all__ = ["run_html"]

_WIDEST = 1200  # pixels of a sample grid
_WIDTH = 850  # pixels of a usual notebook, by which the height is estimated
_ROW = 200  # pixels of a row of two curves
_TALLEST = 1100


def run_html(folder: Path, summary: str) -> str:
    """Curves and newest samples of a run folder, in a frame; `summary` is its first line.

    What is missing or cannot be read is omitted: a run may be looked at while it trains.
    """
    style = resources.files("unpaired.report").joinpath("style.css").read_text(encoding="utf-8")
    samples, height = _samples(folder)
    curves = _curves(read_json_lines(folder / "metrics.jsonl"))
    rows = (curves.count("<svg") + 1) // 2
    page = (
        f"<!DOCTYPE html><meta charset='utf-8'><title>{escape(str(folder))}</title>"
        f"<style>{style} body {{ padding: .5rem }} img {{ image-rendering: auto }}</style>"
        f"<p><strong>{escape(str(folder))}</strong>: {escape(summary)}</p>{curves}{samples}"
    )
    return framed(page, f"run {folder}", min(60 + rows * _ROW + height, _TALLEST))


def _curves(journal: Sequence[Mapping[str, object]]) -> str:
    drawn = draw_curves(journal)
    return f'<div class="tiles curves">{drawn}</div>' if drawn else ""


def _samples(folder: Path) -> tuple[str, int]:
    """The newest sample grid that can be read, and its height in a notebook in pixels."""
    for path in sorted((folder / "samples").glob("step-*.png"), reverse=True):
        try:
            with open_regular(path) as file, Image.open(file) as grid:
                uri, height = image_data(grid, _WIDEST), _WIDTH * grid.height // grid.width
        except (OSError, Image.DecompressionBombError):  # none, half written, or no image
            continue
        step = escape(path.stem.removeprefix("step-").lstrip("0") or "0")
        title = f'<p class="soft">Samples of step {step}</p>'
        return f'{title}<img src="{uri}" alt="samples">', height + 40
    return "", 0
