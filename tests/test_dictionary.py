"""The dictionary: no message, help text or guide holds a retired word.

These tests read the string literals of `src` (docstrings excepted), its templates and catalogues,
the output of `--help`, the README, the docs and the course. docs/results.md and the changelog quote
the past.
"""

import ast
import re
from pathlib import Path

import pytest

from unpaired.cli.main import main

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "unpaired"
SOURCES = sorted(SOURCE.rglob("*.py"))
TEMPLATES = sorted(
    path for kind in ("j2", "toml", "html", "js") for path in SOURCE.rglob(f"*.{kind}")
)
GUIDES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "learn" / "README.md",
    *sorted((ROOT / "learn").rglob("*.py")),
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "results.md"),
]

# The word to use, and patterns of what it replaces. A space stands for any white space. An
# underscore is part of a word, so `pictures_per_second` and `fake_b` are other words.
RETIRED = {
    "image": [r"pictures?(?!\.\w)"],
    "metric": [r"(?<![</.])figures?"],
    "generated": [
        "made (images?|ones)", "(from|or|and) made", "fakes?(?! engine)", "translated set",
    ],
    "baseline": ["rivals?", "simple methods?"],
    "direction": [
        "(both|either|each) ways", "((goes|go|going) )?one[- ]way", "way back", "way there",
        "on the way to",
    ],
    "initialise, create": ["born", "bears?", "bore"],
    "resume, continue": ["(goes|go|going|gone|went) on( (with|from|at|as))?"],
    "reject": ["refus(e|es|ed|ing|al)(?! connections?)"],
    "omit": [r"(leave|leaves|leaving|left)( \w+)? (away|out)"],
    "learning-rate decay": ["fall(s|ing)? of the rates?", "rates? falls?", "rates? of Adam"],
    "not available": ["((is|are|was|were) )?not there"],
    "is a file, is a folder": ["stands? where", "stood where"],
    "fix": [r"mend(s|ed|ing)?"],
    "random, reservoir sample": ["by lot", "lots? (draws?|drawn)"],
    "estimated": ["fore(tell|tells|told)"],
    "batch": ["gains? from company"],
    "computed": [r"reckon(s|ed|ing)?"],
    "untrusted": ["(of )?strangers"],
    "identity error": ["own kind"],
    "cycle error": ["there and back"],
    "disk array": ["shelf", "shelves"],
    "request, data": ["wish(es|ed)?", "intake"],
    "again": ["anew"],
    "(say it plainly)": ["drowns?", "such as have"],
}  # fmt: skip
PATTERNS = [
    (use, re.compile(rf"\b(?:{pattern})\b".replace(" ", r"\s+"), re.IGNORECASE))
    for use, patterns in RETIRED.items()
    for pattern in patterns
]
# Literals that are keys of JSON files already written, or kinds of problems compared by name.
ALLOWED = re.compile("figures|pictures|left out", re.IGNORECASE)


def hits(text, place, line=1):
    """Lines 'place:line: "phrase", use: word' for what is retired; `line` is that of the text."""
    found = {}
    for use, pattern in PATTERNS:
        for match in pattern.finditer(text):
            at = line + text.count("\n", 0, match.start())
            said = " ".join(match[0].split())
            found[f'{place}:{at}: "{said}", use: {use}'] = at
    return sorted(found, key=found.__getitem__)


def literals(tree):
    """(line, text) of all strings that are not docstrings; an f-string inserts "{}"."""
    silent = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            silent.add(node.value)
        if isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            silent.update(parts)
            yield node.lineno, "".join(p.value if p in parts else "{}" for p in node.values)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in silent:
            yield node.lineno, node.value


def messages(code):
    """The literals that people may read."""
    for line, text in literals(ast.parse(code)):
        if not ALLOWED.fullmatch(text):
            yield line, text


def where(path):
    return str(path.relative_to(ROOT))


def help_of(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


def commands(capsys, words=()):
    """The words and the help of a command and of all commands below it."""
    text = help_of(words, capsys)
    yield words, text
    below = re.match(r"usage: [^\n]*\{([\w,-]+)\}\n", text)
    for word in below[1].split(",") if below else ():
        yield from commands(capsys, (*words, word))


def test_messages():
    found = [
        hit
        for path in SOURCES
        for line, text in messages(path.read_text("utf-8"))
        for hit in hits(text, where(path), line)
    ]
    assert found == [], "\n" + "\n".join(found)


def test_page_and_catalogues():
    found = []
    for path in TEMPLATES:
        text = path.read_text("utf-8")
        for comment in re.findall(r"\{#.*?#\}", text, re.DOTALL):
            text = text.replace(comment, "\n" * comment.count("\n"))
        found += hits(text, where(path))
    assert found == [], "\n" + "\n".join(found)


def test_help(capsys):
    found = []
    for words, text in commands(capsys):
        plain = re.sub(r"[│╭╮╰╯─]", " ", text)
        found += hits(plain, " ".join(["unpaired", *words, "--help"]))
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize("path", GUIDES, ids=where)
def test_guides(path):
    found = hits(path.read_text("utf-8"), where(path))
    assert found == [], "\n" + "\n".join(found)


# ---- the search itself --------------------------------------------------------------------


def test_every_command_is_read(capsys):
    found = {words for words, _ in commands(capsys)}
    assert {(), ("train",), ("translate",), ("evaluate",), ("data",), ("data", "check")} <= found


def test_retired_words_are_found_with_their_lines():
    code = '''"""A docstring may say picture."""
def f(x):
    """So may this one."""
    raise ValueError("the file is not"
                     " there: start anew")
    log(f"a picture of {x} by "
        f"lot")
    return {"pictures_per_second": 1, "figures": "pictures.png"}, "\\n\\na made\\nimage"
'''
    found = [hit for line, text in messages(code) for hit in hits(text, "x.py", line)]
    assert sorted(found) == [
        'x.py:10: "made image", use: generated',
        'x.py:4: "anew", use: again',
        'x.py:4: "is not there", use: not available',
        'x.py:6: "by lot", use: random, reservoir sample',
        'x.py:6: "picture", use: image',
    ]


@pytest.mark.parametrize(
    "text",
    [
        "an image is omitted", "fake_b, cycle_a", "<figure></figure>", "the pictures.png format",
        "the server refuses connections", "a recommended amendment", "one direction",
        "Report.figures",
    ],
)  # fmt: skip
def test_other_words_are_not_found(text):
    assert hits(text, "x") == []
