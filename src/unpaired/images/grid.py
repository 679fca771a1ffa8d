"""Contact sheets: images in columns under their titles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw_grid"]

Signed = NDArray[np.floating[Any]]


def draw_grid(
    columns: Sequence[tuple[str, Sequence[Signed] | Signed]],
    *,
    cell: int = 128,
    halves: bool = False,
    captions: Sequence[Sequence[str]] = (),
) -> Image.Image:
    """Draws columns of images (H, W, bands) in [-1, 1] under their titles, in equal cells.

    An image's longer side fills its cell. Of three or more bands the first three are shown as
    RGB, else the first as grey.

    Args:
        columns: titles and images; images may differ in size, and columns in length.
        cell: side of the cells in pixels.
        halves: leaves a wider gap in the middle.
        captions: of each column, what stands below its images; none: no room is left for them.
    """
    gap, head = 4, 22
    foot = 16 if any(map(any, captions)) else 0
    pitch = cell + foot + gap  # of the rows
    rows = max(len(images) for _, images in columns)
    middle = 4 * gap if halves else 0
    size = (len(columns) * (cell + gap) + gap + middle, head + rows * pitch)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(13), ImageFont.load_default(11)
    for column, (title, images) in enumerate(columns):
        left = gap + column * (cell + gap) + (middle if 2 * column >= len(columns) else 0)
        while draw.textlength(title, font) > cell:
            title = title.rstrip("…")[:-1] + "…"
        draw.text((left + cell / 2, head / 2), title, "black", font, anchor="mm")
        for row, caption in enumerate(captions[column] if foot else ()):
            below = head + row * pitch + cell + foot / 2
            draw.text((left + cell / 2, below), caption, "black", small, anchor="mm")
        for row, image in enumerate(images):
            image = _fitted(Image.fromarray(_shown(image)), cell)
            across, down = (cell - image.width) // 2, (cell - image.height) // 2
            sheet.paste(image, (left + across, head + row * pitch + down))
    return sheet


def _fitted(image: Image.Image, cell: int) -> Image.Image:
    """Scales the longer side to the length of the cell; small images are enlarged in blocks."""
    longer = max(image.size)
    width, height = (max(1, round(side * cell / longer)) for side in image.size)
    how = Image.Resampling.LANCZOS if longer > cell else Image.Resampling.NEAREST
    return image.resize((width, height), how)


def _shown(image: Signed) -> NDArray[np.uint8]:
    bands = image[:, :, :3] if image.shape[2] >= 3 else np.repeat(image[:, :, :1], 3, axis=2)
    shown: NDArray[np.uint8] = np.rint((np.clip(bands, -1, 1) + 1) * 127.5).astype(np.uint8)
    return shown
