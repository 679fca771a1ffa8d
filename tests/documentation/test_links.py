"""Links of README and the docs lead to files and headings that are there; no network is asked."""

import re
from pathlib import Path

import pytest

from doc_blocks import FENCE, ROOT, pages

PAGES = pages() | {"CHANGELOG.md": (ROOT / "CHANGELOG.md").read_text("utf-8")}
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
NAMED = re.compile(r"(?<![\w/.])(docs/[\w-]+\.md)")


def without_fences(text):
    return FENCE.sub("", text)


def anchors(text):
    """The anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", without_fences(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", title)
        plain = re.sub(r"[^\w\- ]", "", plain.lower()).strip()
        found.add(re.sub(r" +", "-", plain))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    wrong = []
    for target in LINK.findall(without_fences(PAGES[page])):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        there = file.exists()
        if not there or (anchor and anchor not in anchors(file.read_text("utf-8"))):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_that_are_named_are_there(page):
    """Also where a sentence names docs/page.md without a link."""
    assert [name for name in NAMED.findall(PAGES[page]) if not (ROOT / name).exists()] == []


def test_every_page_is_linked_from_another():
    linked = set()
    for page, text in PAGES.items():
        for target in LINK.findall(without_fences(text)):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z]+:", target):
                linked.add(((ROOT / page).parent / path).resolve())
    course = {name for name in PAGES if name.startswith("learn/")}
    alone = {name for name in PAGES if (ROOT / name).resolve() not in linked}
    assert alone - course - {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} == set()


def test_broken_links_are_seen():
    """Guards the tests above."""
    assert LINK.findall("a [b\nc](d.md#e) ![f](g.png) [`h`](i)") == ["d.md#e", "g.png", "i"]
    assert anchors("# A `b`: c\n```\n# not\n```\n## Two  words") == {"a-b-c", "two-words"}
    assert not (ROOT / "docs" / "gone.md").exists()
    assert Path(ROOT / "docs").is_dir()
