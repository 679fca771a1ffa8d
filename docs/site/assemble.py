"""The pages of the site, put together from where they are kept, with links that still hold.

README is the first page, docs/*.md are the pages, learn/ is the course, and the two references are
written. What a page links or shows beside pages (images, notebooks) comes along.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from docs.site.command_line import write_command_line
from docs.site.python_api import write_python_api

# Files outside docs/ that are pages, with their names on the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|#", re.IGNORECASE)
FLAG = re.compile(r"(`--[\w-]+`)")
ITEM = re.compile(r"([-*+]|1\.) ")


def assemble(root: Path, into: Path) -> None:
    """Writes the pages of the repository at `root` into the folder `into`, which is emptied."""
    shutil.rmtree(into, ignore_errors=True)
    pages = pages_of(root)
    for source, name in pages.items():
        text = (root / source).read_text(encoding="utf-8")
        assets: set[str] = set()
        text = relinked(text, source, pages, (root, assets))
        put(into / name, outside_fences(apart(text), unbroken))
        for asset in assets:
            (into / place_of(asset)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / asset, into / place_of(asset))
    shutil.copyfile(root / "docs" / "site" / "site.css", into / "site.css")
    put(into / "reference" / "command-line.md", write_command_line())
    put(into / "reference" / "python.md", write_python_api())


def pages_of(root: Path) -> dict[str, str]:
    """The pages, by their paths in the repository, with their names on the site."""
    pages = dict(PAGES)
    pages |= {f"docs/{path.name}": path.name for path in sorted((root / "docs").glob("*.md"))}
    course = sorted((root / "learn").rglob("*.md"))
    return pages | {str(path := one.relative_to(root).as_posix()): path for one in course}


def place_of(path: str) -> str:
    """Where a file of the repository is on the site: docs/ is its root."""
    return path.removeprefix("docs/")


def put(path: Path, text: str) -> None:
    """Writes a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def unbroken(line: str) -> str:
    """A line of a table with its flags marked, which would be broken at their hyphens."""
    return FLAG.sub(r"\1{.flag}", line) if line.startswith("|") else line


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """The text with `change` applied to every line that is not inside of a fenced block."""
    return "\n".join(line if fenced else change(line) for fenced, line in lines_of(text))


def lines_of(text: str) -> Iterator[tuple[bool, str]]:
    """(whether it belongs to a fenced block, line) of all lines."""
    inside = False
    for line in text.split("\n"):
        mark = line.lstrip().startswith("```")
        yield inside or mark, line
        inside ^= mark


def relinked(text: str, source: str, pages: dict[str, str], found: tuple[Path, set[str]]) -> str:
    """The text with its links as they hold on the site; files that come along are added to `found`.

    A link to anything else of the repository becomes its text: the site has no copy of it.
    """
    root, assets = found

    def link(match: re.Match[str]) -> str:
        picture, label, target = match.groups()
        if ELSEWHERE.match(target):
            return match[0]
        path, _, anchor = target.partition("#")
        full = normpath(str(PurePosixPath(source).parent / path))
        if full in pages:
            to = pages[full]
        elif (root / full).is_file():
            assets.add(full)
            to = place_of(full)
        else:
            return label
        to = relpath(to, str(PurePosixPath(pages[source]).parent))
        return f"{picture}[{label}]({to}{'#' if anchor else ''}{anchor})"

    # Links may run over the end of a line, but not into a fence: those are put aside.
    parts = re.split(r"(^```.*?^```[^\n]*$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def apart(text: str) -> str:
    """The text with an empty line before each list and table.

    GitHub needs none after a paragraph; Markdown in Python takes the list for a part of it.
    """
    out: list[str] = []
    within = ""  # the kind of block that the line before belongs to
    for fenced, line in lines_of(text):
        if fenced or not line.strip() or line.startswith("#"):
            within = ""
        else:
            kind = "list" if ITEM.match(line) else "table" if line.startswith("|") else ""
            if kind and kind != within and out and out[-1].strip():
                out.append("")
            within = kind or within or "text"
        out.append(line)
    return "\n".join(out)
