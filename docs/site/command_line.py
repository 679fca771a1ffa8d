"""The reference of the command line, read from what its own parser prints as help."""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from unittest import mock

from unpaired.cli.main import main

ABOUT = """# Command line
Every verb and flag, as `unpaired VERB --help` prints them: this page is written from the parser.
A value of the recipe (`--image-size 64`) is also a keyword in Python (`image_size=64`).
Exit codes: 0 done, 1 some inputs failed (the others are done), 2 rejected, 130 stopped and saved.
"""
COLUMNS = "120"  # one column of boxes; with more, two stand side by side
BOX = re.compile(r"╭─ (?P<name>.+?) ─+╮\n(?P<rows>.*?)\n╰─+╯", re.DOTALL)
VERBS = re.compile(r"usage: [^\n]*\{([\w,-]+)\}\n")


@dataclass
class Group:
    """A box of the help: its name and rows of (flag or argument with what it takes, meaning)."""

    name: str
    rows: list[tuple[str, str]] = field(default_factory=list)


def write_command_line() -> str:
    """The page, in Markdown."""
    parts = [ABOUT]
    for words in verbs():
        if words:
            text = help_of(words)
            usage = re.match(r"usage: (.*?)\n\n", text, re.DOTALL)[1]  # type: ignore[index]
            about = re.split(r"\n\n", text)[1]
            parts.append(f"## unpaired {' '.join(words)}\n{' '.join(about.split())}\n")
            parts.append(f"```text\n{' '.join(usage.split())}\n```\n")
        else:
            text = help_of(())
            parts.append("## Flags of every verb\n")
        groups = groups_of(text)
        if not words:  # one table of the few flags
            groups = [Group("options", [row for group in groups for row in group.rows])]
        for group in groups:
            if group.name == "subcommands" or (words and group.name == "output options"):
                continue
            if group.name == "positional arguments":
                parts.append("| argument | |\n|---|---|")
            else:
                kind = "flag" if group.name in ("options", "output options") else group.name
                parts.append(f"| {kind.removesuffix(' options')} | |\n|---|---|")
            parts += [f"| `{code(name)}` | {plain(meaning)} |" for name, meaning in group.rows]
            parts.append("")
    return "\n".join(parts)


def verbs(words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of the command itself (none), of every verb, and of the verbs below a verb."""
    yield words
    below = VERBS.match(help_of(words))
    for word in below[1].split(",") if below else ():
        yield from verbs((*words, word))


def help_of(words: tuple[str, ...]) -> str:
    """What `unpaired WORDS --help` prints."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # its boxes need an encoding
    width = mock.patch.dict(os.environ, {"COLUMNS": COLUMNS})
    with width, contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    printed.flush()
    return printed.buffer.getvalue().decode()


def groups_of(text: str) -> list[Group]:
    """The boxes of a help text, but for empty ones and `--help` itself."""
    groups = []
    for box in BOX.finditer(text):
        group = Group(box["name"])
        for line in box["rows"].split("\n"):
            row = line.strip("│").rstrip()[1:]
            if row.startswith(" ") and group.rows:  # the meaning, continued
                name, meaning = group.rows[-1]
                group.rows[-1] = (name, f"{meaning} {row.strip()}".strip())
            elif row.startswith("-") or row.split(" ")[0].rstrip(".").isupper():
                name, _, meaning = row.partition("  ")
                group.rows.append((name.strip(), meaning.strip()))
        group.rows = [row for row in group.rows if not row[0].startswith("-h, --help")]
        if group.rows:
            groups.append(group)
    return groups


def code(text: str) -> str:
    """Text between backticks in a table."""
    return text.replace("|", "\\|")


def plain(text: str) -> str:
    """Text in a table that no sign of Markdown changes, but for `code`."""
    parts = text.split("`")
    shown = [re.sub(r"([|*_<>\[\]])", r"\\\1", part) for part in parts[::2]]
    within = [f"`{code(part)}`" for part in parts[1::2]]
    return "".join(word for pair in zip(shown, [*within, ""], strict=False) for word in pair)
