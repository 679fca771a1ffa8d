"""The folder of a report: page, JSON and contact sheet."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from unpaired.directions import Direction
from unpaired.images.grid import draw_grid
from unpaired.images.image import to_signed
from unpaired.report.page import LONGEST, render, shrunk
from unpaired.report.report import Report
from unpaired.report.text import plain
from unpaired.storage import atomic_path, sweep, uninterrupted

__all__ = ["contact_sheet", "write_report"]


def write_report(report: Report, folder: Path) -> Path:
    """Writes `report.json`, the contact sheet `pictures.png` and, last, the page `index.html`.

    All files are complete under temporary names before the first is renamed, so a failure leaves
    an older report as it was, and so does an interrupt, which waits until all are renamed.

    Returns:
        The path of the page.

    Raises:
        RunError: a file cannot be written.
    """
    page = folder / "index.html"
    sweep(folder, age=3600)
    with (
        uninterrupted(),
        atomic_path(page) as index,
        atomic_path(folder / "pictures.png") as sheet,
        atomic_path(folder / "report.json") as table,
    ):
        # Names that are no text are escaped; `json.dumps` does so by itself.
        index.write_text(render(report), encoding="utf-8", errors="backslashreplace")
        contact_sheet(report).save(sheet, format="PNG")
        table.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    return page


def contact_sheet(report: Report) -> Image.Image:
    """The examples of the first choice, with all directions side by side and captions below them.

    With several models each choice belongs to one model, and all show the same images: then the
    sources stand beside the generated images of every model, under the models' names.
    """
    columns: dict[tuple[Direction, str], list[np.ndarray]] = {}
    captions: dict[tuple[Direction, str], list[str]] = {}
    longest = 1
    several = len(report.comparison.of_kind("model")) > 1
    for direction in report.directions:
        source, target = report.comparison.domain_names(direction)
        choices = list(report.examples[direction].items())
        for place, (choice, examples) in enumerate(choices if several else choices[:1]):
            for example in examples:
                longest = max(longest, *example.source.shape[:2])
                shown, generated = example.images(source, target), f"generated {target}"
                if several:
                    shown = {} if place else {source: example.source}
                    generated = choice.rpartition(", ")[0]
                    shown[generated] = example.generated
                for label, image in shown.items():
                    columns.setdefault((direction, label), []).append(to_signed(shrunk(image)))
                    below = plain(example.caption) if label == generated else ""
                    captions.setdefault((direction, label), []).append(below)
    titled = [(plain(label), images) for (_, label), images in columns.items()]
    cell = 128 if longest <= 128 else LONGEST
    return draw_grid(titled, cell=cell, captions=list(captions.values()))
