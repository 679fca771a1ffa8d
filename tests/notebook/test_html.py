"""What notebooks show, without a notebook: HTML of runs, reports and translations."""

import base64
import html
import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from browser import Browser, needs_chromium
from small_models import model
from small_report import GOOD, both, report
from unpaired import console
from unpaired.config import Config, Recipe, Runtime
from unpaired.errors import Interrupted
from unpaired.notebook import kernel
from unpaired.notebook.before_after import BeforeAfter
from unpaired.notebook.html import framed, image_data
from unpaired.notebook.kernel import show_page
from unpaired.report.page import render
from unpaired.training.loop import Run


def inside(frame):
    """The page in a frame, and the attributes around it."""
    (found,) = re.findall(r'<iframe ([^>]*) srcdoc="([^"]*)"></iframe>', frame, re.DOTALL)
    return html.unescape(found[1]), found[0]


def images_of(text):
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


@pytest.fixture
def notebook(monkeypatch):
    """A shell with a kernel, as IPython has one; gives what it is told to show."""
    told = []
    shell = SimpleNamespace(
        kernel=object(),
        execution_count=1,
        display_pub=SimpleNamespace(publish=lambda **message: told.append(message)),
    )
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    shell.told = told
    return shell


def test_a_page_stays_in_its_frame():
    page = "<style>p { color: red }</style><p title=\"a\">1 < 2 & 'x'</p>"
    found, around = inside(framed(page, 'a "title"'))
    assert found == page
    assert 'sandbox=""' in around
    assert "&quot;title&quot;" in around


def test_a_report_is_its_page_and_says_little_in_words():
    made = report(both(GOOD), draw=render)
    page, _ = inside(made._repr_html_())
    assert page == render(made)
    assert len(repr(made)) < len(page) / 4
    assert "array" not in repr(made)


def test_a_report_without_a_page_is_shown_in_words():
    assert report(both(GOOD))._repr_html_() is None
    assert report(both(GOOD)).show() is None


def test_a_run_shows_curves_and_its_newest_samples(tmp_path):
    run = Run(tmp_path, Config(Recipe(steps=30), Runtime()), 20)
    page, _ = inside(run._repr_html_())
    assert "step 20 of 30" in page
    assert "<svg" not in page
    assert "<img" not in page
    line = '{"step": %d, "cycle_a": 0.5, "cycle_b": 0.25}\n'
    (tmp_path / "metrics.jsonl").write_text(line % 10 + line % 20 + '{"step": 30, "cyc')
    (tmp_path / "samples").mkdir()
    for step, width in ((10, 40), (20, 50)):
        Image.new("RGB", (width, 10)).save(tmp_path / "samples" / f"step-{step:08d}.png")
    (tmp_path / "samples" / "step-00000030.png").write_bytes(b"half a fi")
    page, _ = inside(run._repr_html_())
    assert page.count("<svg") == 1
    assert "cycle_a" in page
    assert "Samples of step 20<" in page
    assert [image.size for image in images_of(page)] == [(50, 10)]


def test_names_are_text(tmp_path):
    folder = tmp_path / "<b>run"
    page, _ = inside(Run(folder, Config(Recipe(steps=3), Runtime()), 0)._repr_html_())
    assert "<b>run" not in page
    assert "&lt;b&gt;run" in page
    shown = BeforeAfter(Image.new("L", (1, 1)), Image.new("L", (1, 1)), ("<i>", "x"))
    assert "<i>" not in shown._repr_html_()


@pytest.mark.parametrize(
    ("to", "labels"), [("b", ["summer", "generated winter"]), ("a", ["winter", "generated summer"])]
)
def test_a_translation_is_shown_beside_its_original(tmp_path, to, labels):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    made = model(tmp_path)
    for given in (tmp_path / "image.png", Image.fromarray(pixels)):
        found = made.before_after(given, to=to)
        assert found.names[1] == made.config.recipe.domains[to].name
        before, after = images_of(found._repr_html_())
        assert np.array_equal(np.asarray(before), pixels)
        assert np.array_equal(np.asarray(after), np.asarray(made.translate(given, to=to)))
        assert not np.array_equal(np.asarray(after), pixels)
    assert re.findall(r'alt="([^"]*)"', found._repr_html_()) == labels


def test_images_are_shown_in_8_bits_and_reduced():
    deep = Image.fromarray(np.full((4, 6), 257 * 200, np.uint16))
    assert deep.mode == "I;16"

    def shown(image):
        return images_of(f'<img src="{image_data(image)}">')[0]

    assert np.asarray(shown(deep)).tolist() == [[200] * 6] * 4
    large = Image.new("RGBA", (1024, 256))
    assert (shown(large).size, shown(large).mode) == ((512, 128), "RGBA")
    assert large.size == (1024, 256)


def test_outside_a_notebook_a_browser_shows_it(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(kernel.webbrowser, "open", opened.append)
    monkeypatch.setattr(kernel.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    path = show_page("<p>here</p>", "words")
    assert path == tmp_path / "index.html"
    assert "<p>here</p>" in path.read_text()
    assert opened == [path.as_uri()]


def test_a_terminal_with_ipython_is_no_notebook(monkeypatch):
    terminal = SimpleNamespace(get_ipython=lambda: SimpleNamespace(execution_count=1))
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert kernel.shell() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert kernel.shell() is None


def test_in_a_notebook_it_is_below_the_cell(notebook):
    assert show_page("<p>here</p>", "words") is None
    (told,) = notebook.told
    assert told["data"] == {"text/html": "<p>here</p>", "text/plain": "words"}


def test_progress_of_a_cell_is_one_display(notebook, monkeypatch):
    monkeypatch.setattr(console.time, "monotonic", iter(range(1000)).__next__)
    console.show()
    for _ in range(2):  # one after the other, in one cell
        with console.progress("step", 4) as outer:
            outer.update(2)
            with console.progress("measuring <", None) as inner:
                inner.advance()
            outer.update(3)
    first, *rest = notebook.told
    assert not first["update"]
    assert all(each["update"] for each in rest)
    assert {each["transient"]["display_id"] for each in rest} == {first["transient"]["display_id"]}
    words = [each["data"]["text/plain"] for each in notebook.told]
    assert words[0] == "step 0/4"
    assert "measuring < 1" in words[3]
    assert words[-1] == "step 3/4"  # the last that was done; nested ones are gone
    assert "measuring &lt;" in rest[2]["data"]["text/html"]
    assert "width:75.0%" in "".join(each["data"]["text/html"] for each in rest)
    notebook.execution_count = 2
    with console.progress("images", 1):
        pass
    assert not notebook.told[len(words)]["update"]


def test_nothing_is_shown_unless_asked_for(notebook):
    console.show("quiet")
    with console.progress("step", 4) as meter:
        meter.update(2)
    assert notebook.told == []


def test_lines_are_no_failures_in_a_notebook(notebook, capsys):
    console.show()
    console.log.info("a line")
    console.log.warning("a problem")
    assert capsys.readouterr() == ("a line\n", "a problem\n")


def test_errors_have_no_traceback():
    assert Interrupted("saved")._render_traceback_() == ["Interrupted: saved"]


def test_the_frame_of_a_run_is_as_tall_as_its_content(tmp_path):
    run = Run(tmp_path, Config(Recipe(steps=30), Runtime()), 20)

    def height():
        return int(re.search(r"height:(\d+)px", run._repr_html_())[1])

    heights = [height()]
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "cycle_a": 0.5, "cycle_b": 0.2}\n')
    heights.append(height())
    (tmp_path / "samples").mkdir()
    Image.new("RGB", (400, 100)).save(tmp_path / "samples" / "step-00000001.png")
    heights.append(height())
    Image.new("RGB", (100, 4000)).save(tmp_path / "samples" / "step-00000002.png")
    heights.append(height())
    assert heights == sorted(set(heights))
    assert heights[-1] < 1200


@needs_chromium
def test_in_a_browser_the_style_of_a_page_stays_in_its_frame(tmp_path):
    page = (
        "<style>body, p, div { background: #f00 }</style><script>top.alien = 1</script><p>red</p>"
    )
    around = f"<body style='margin:0'><div>{framed(page, 'a page', 100)}</div><div id=x>below</div>"
    (tmp_path / "page.html").write_text(around)
    browser = Browser(tmp_path)
    try:
        browser.open((tmp_path / "page.html").as_uri(), 300, 300)

        def red():
            return browser.see().getpixel((150, 50)) == (255, 0, 0)

        browser.until(red)
        box = browser.js("(r => [r.x, r.y])(document.getElementById('x').getBoundingClientRect())")
        assert box[1] >= 100
        assert browser.see().getpixel((290, int(box[1]) + 5)) == (255, 255, 255)
        assert browser.js("window.alien") is None  # no script of it ran
    finally:
        browser.close()
