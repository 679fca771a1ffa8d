"""The site of the documentation: built strictly, complete, and asking no other server."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import yaml

import unpaired
from browser import Browser, needs_chromium
from doc_blocks import ROOT

pytest.importorskip("mkdocs", reason="mkdocs (the extra `docs`) is not installed")
sys.path.insert(0, str(ROOT))  # docs/site is no part of the package

from docs.site.assemble import apart, assemble, pages_of, relinked, unbroken
from docs.site.command_line import groups_of, help_of, verbs, write_command_line

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages put together, in Markdown."""
    folder = tmp_path_factory.mktemp("pages")
    assemble(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def site(pages, tmp_path_factory):
    """The site as `make docs` builds it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    wanted = (ROOT / "mkdocs.yml").read_text("utf-8")
    wanted = wanted.replace("build/docs", str(pages)).replace("[src]", f"[{ROOT / 'src'}]")
    (folder / "mkdocs.yml").write_text(wanted)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder / "site"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder / "site"


class Asked(HTMLParser):
    """The addresses that a page loads by itself."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in LOADED and values.get("rel") != "canonical":
            self.found.append(values.get(LOADED[tag]) or "")


def test_every_page_is_in_the_navigation():
    def listed(entry):
        if isinstance(entry, str):
            return [entry]
        return [name for item in (entry.values() if isinstance(entry, dict) else entry)
                for name in listed(item)]  # fmt: skip

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    there = set(pages_of(ROOT).values()) | {"reference/command-line.md", "reference/python.md"}
    inner = {name for name in there if name.startswith("learn/") and name.count("/") > 1}
    assert set(listed(nav)) == there - inner


@pytest.mark.nightly
def test_the_site_is_built_without_a_warning_and_asks_no_other_server(site):
    built = sorted(site.rglob("*.html"))
    assert len(built) > 30
    for path in built:
        page = Asked()
        page.feed(path.read_text("utf-8"))
        assert [url for url in page.found if re.match(r"(https?:)?//", url)] == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", path.read_text("utf-8")), path


@pytest.mark.nightly
@needs_chromium
def test_the_site_in_a_browser(site, tmp_path):
    """From a disk, at a desk and on a phone, light and dark: no other address is asked."""
    browser = Browser(tmp_path, "--allow-file-access-from-files")
    try:
        for width, dark in ((1280, False), (390, True)):
            for name in ("index", "start", "reference/command-line", "reference/python", "results"):
                browser.open(f"file://{site}/{name}.html", width, dark=dark, phone=width < 500)
                browser.wait("document.querySelector('h1')")
                wide = browser.js("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} px wide on a screen of {width}"
                broken = "[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
                assert browser.js(broken) == [], name
        assert {url.split(":")[0] for url in browser.requests} <= {"file", "data", "about", "blob"}
    finally:
        browser.close()


def test_the_reference_has_every_verb_and_flag():
    page = write_command_line()
    for words in verbs():
        text = help_of(words)
        flags = set(re.findall(r"^│ (--[\w-]+)", text, re.MULTILINE))
        rows = {name.split()[0] for group in groups_of(text) for name, _ in group.rows}
        assert flags <= rows, words
        assert f"unpaired {' '.join(words)}".strip() in page
    assert "| `--image-size INT` | side in pixels of the random crops" in page
    assert "| `MODEL` | a run folder, a model.safetensors" in page


def test_the_reference_of_python_has_every_public_name(pages):
    page = (pages / "reference" / "python.md").read_text("utf-8")
    for name in unpaired.__all__:
        assert re.search(rf"^::: unpaired\.([\w.]+\.)?{name}$", page, re.MULTILINE), name


def test_lists_and_tables_stand_apart():
    text = "Words:\n- one\n  more\n- two\n\nWords\n| a |\n|---|\n```\n- y\n```\n# T\n- z\n"
    assert apart(text) == (
        "Words:\n\n- one\n  more\n- two\n\nWords\n\n| a |\n|---|\n```\n- y\n```\n# T\n\n- z\n"
    )


def test_flags_in_tables_are_not_broken():
    assert unbroken("| `--a-b`, `x` |") == "| `--a-b`{.flag}, `x` |"
    assert unbroken("Give `--a-b`.") == "Give `--a-b`."


def test_links_hold_on_the_site(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "n.ipynb").write_text("{}")
    known = {"README.md": "index.md", "docs/a.md": "a.md", "learn/README.md": "learn/README.md"}
    assets = set()
    text = "[a](docs/a.md#b) [n](notebooks/n.ipynb) [s](src/x.py) [w](https://x.org)\n```\n[a](no)\n```\n"
    found = relinked(text, "README.md", known, (tmp_path, assets))
    assert found == ("[a](a.md#b) [n](notebooks/n.ipynb) s [w](https://x.org)\n```\n[a](no)\n```\n")
    assert assets == {"notebooks/n.ipynb"}
    back = relinked("[home](../README.md)", "learn/README.md", known, (tmp_path, assets))
    assert back == "[home](../index.md)"
