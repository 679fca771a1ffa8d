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


def run_html(folder: Path, summary: str) -> str:
    """Curves and newest samples of a run folder, in a frame; `summary` is its first line.

    What is missing or cannot be read is omitted: a run may be looked at while it trains.
    """
    style = resources.files("unpaired.report").joinpath("style.css").read_text(encoding="utf-8")
    page = (
        f"<!DOCTYPE html><meta charset='utf-8'><title>{escape(str(folder))}</title>"
        f"<style>{style} body {{ padding: .5rem }} img {{ image-rendering: auto }}</style>"
        f"<p><strong>{escape(str(folder))}</strong>: {escape(summary)}</p>"
        f"{_curves(read_json_lines(folder / 'metrics.jsonl'))}{_samples(folder)}"
    )
    return framed(page, f"run {folder}", 560)


def _curves(journal: Sequence[Mapping[str, object]]) -> str:
    drawn = draw_curves(journal)
    return f'<div class="tiles curves">{drawn}</div>' if drawn else ""


def _samples(folder: Path) -> str:
    """The newest sample grid that can be read."""
    for path in sorted((folder / "samples").glob("step-*.png"), reverse=True):
        try:
            with open_regular(path) as file, Image.open(file) as grid:
                uri = image_data(grid, _WIDEST)
        except (OSError, Image.DecompressionBombError):  # none, half written, or no image
            continue
        step = escape(path.stem.removeprefix("step-").lstrip("0") or "0")
        return f'<p class="soft">Samples of step {step}</p><img src="{uri}" alt="samples">'
    return ""
