"""Parts of HTML for notebooks: a page in a frame of its own, and images as data."""

import base64
import io
from html import escape

import numpy as np
from PIL import Image

__all__ = ["framed", "image_data"]

LONGEST = 512  # pixels of the longer side of an image in a notebook


def framed(page: str, title: str, height: int = 640) -> str:
    """A whole page as one element: in a frame, so that its style stays inside; without scripts.

    The reader may drag its lower edge.

    >>> framed("<p>one & two</p>", "a page", 100)[:44]
    '<iframe title="a page" sandbox="" style="wid'
    """
    text = page.encode("utf-8", "backslashreplace").decode("utf-8")
    return (
        f'<iframe title="{escape(title)}" sandbox="" '
        f'style="width:100%;height:{height}px;border:0;resize:vertical" '
        f'srcdoc="{escape(text)}"></iframe>'
    )


def image_data(image: Image.Image, longest: int = LONGEST) -> str:
    """The image as a `data:` URI of a PNG in 8 bits; reduced if it is over `longest` pixels."""
    if image.mode.startswith("I"):  # 16 bits of grey, which cannot be resized
        image = Image.fromarray((np.asarray(image, np.float64) / 257).round().astype(np.uint8))
    if max(image.size) > longest:
        image = image.copy()
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
