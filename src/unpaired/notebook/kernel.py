"""The notebook that this process works for, if any: found without importing IPython.

Whoever runs in a kernel has IPython loaded; so nothing depends on it, and nothing waits for it.
"""

import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

__all__ = ["publish", "shell", "show_page"]


def shell() -> Any:
    """The shell of the Jupyter kernel that this process is; None elsewhere.

    A terminal with IPython is no notebook: it has a shell without a kernel.
    """
    ipython = sys.modules.get("IPython")
    found = getattr(ipython, "get_ipython", lambda: None)()
    return found if getattr(found, "kernel", None) is not None else None


def publish(found: Any, html: str, text: str, *, name: str = "", update: bool = False) -> None:
    """Shows HTML below the cell that runs; `text` is shown by what cannot show HTML.

    Args:
        found: what `shell` returned.
        html: the element to show.
        text: the same in words.
        name: of the display, by which it is updated.
        update: replaces what a display of this name shows, in whichever cell it is.
    """
    data = {"text/plain": text, "text/html": html}
    transient = {"display_id": name} if name else {}
    found.display_pub.publish(data=data, metadata={}, transient=transient, update=update)


def show_page(html: str, text: str) -> Path | None:
    """Shows HTML: below the cell of a notebook, elsewhere in the browser.

    Returns:
        The temporary file that the browser was given; None in a notebook.
    """
    if found := shell():
        publish(found, html, text)
        return None
    path = Path(tempfile.mkdtemp(prefix="unpaired-")) / "index.html"
    path.write_text(
        '<!DOCTYPE html>\n<meta charset="utf-8">\n'
        f"<style>iframe {{ height: 95vh !important }}</style>\n{html}\n",
        encoding="utf-8",
        errors="backslashreplace",
    )
    webbrowser.open(path.as_uri())
    return path
