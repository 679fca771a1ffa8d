"""A translation beside its original: what `Model.before_after` returns, for notebooks."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from unpaired.notebook.html import image_data
from unpaired.notebook.kernel import show_page

__all__ = ["BeforeAfter"]

_SMALLEST = 192  # pixels of the longer side in view: smaller images are enlarged in blocks


@dataclass(frozen=True, eq=False)
class BeforeAfter:
    """An image, its translation, and the names of their domains."""

    before: Image.Image
    after: Image.Image
    names: tuple[str, str]

    def _repr_html_(self) -> str:
        """For notebooks: both side by side."""
        labels = (self.names[0], f"generated {self.names[1]}")
        images = zip(labels, (self.before, self.after), strict=True)
        shown = "".join(_labelled(label, image) for label, image in images)
        return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{shown}</div>'

    def show(self) -> Path | None:
        """Shows both below the cell of a notebook, elsewhere in the browser.

        Returns the temporary file that the browser was given; None in a notebook.
        """
        return show_page(self._repr_html_(), repr(self))


def _labelled(label: str, image: Image.Image) -> str:
    """An image above its label; small ones are enlarged in blocks."""
    small = max(image.size) < _SMALLEST
    side = "width" if image.width >= image.height else "height"
    style = f"{side}:{_SMALLEST}px;image-rendering:pixelated" if small else "max-width:100%"
    name = escape(label)
    return (
        f'<div style="font:.85em/1.6 sans-serif"><img src="{image_data(image)}" alt="{name}" '
        f'style="{style};display:block">{name}</div>'
    )
