import base64
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from small_report import (
    CHANGE,
    CONTENT,
    CYCLE,
    FID,
    GOOD,
    KID,
    PAIRED,
    PSNR,
    WEAK,
    beside,
    both,
    kid,
    noise,
    report,
    scores,
    with_classes,
)
from unpaired.directions import DIRECTIONS
from unpaired.metrics.metric import Value
from unpaired.report.page import render, shrunk
from unpaired.report.report import Example, Finding, Method, scaled_difference

VOID = {"meta", "img", "path"}


class Page(HTMLParser):
    """What a browser would make of the page; refuses tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tables, self.images, self.bold = [], [], [], []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "img":
            self.images.append(dict(attrs))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" in self.stack:
            return
        self.text += data
        if "td" in self.stack or "th" in self.stack:
            self.tables[-1][-1][-1] += data
        if "b" in self.stack:
            self.bold.append(data)

    def decoded_images(self):
        for image in self.images:
            kind, data = image["src"].split(",")
            assert kind == "data:image/png;base64"
            yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def test_the_page_stands_alone():
    text = render(report(both(GOOD), journal=[{"step": 1, "cycle_a": 1.0, "cycle_b": 2.0}]))
    assert not re.search(
        r"https?:|//|<script|<link|@import|url\(", re.sub(r"base64,[^\"]*", "", text)
    )
    assert set(re.findall(r'src="([a-z]+:)', text)) == {"data:"}
    assert "default-src 'none'" in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text
    Page(text)


def test_the_verdict_is_first():
    page = Page(render(report(both(GOOD))))
    verdict = page.text.index("Better than every unpaired baseline in all four metrics")
    assert verdict < page.text.index("Metrics") < page.text.index("Images")
    assert (
        "From summer to winter: PSNR 20.00\N{NO-BREAK SPACE}dB, 11.00\N{NO-BREAK SPACE}dB better"
        in (page.text)
    )


@pytest.mark.parametrize(("model", "state"), [(GOOD, "good"), (scores(20, 0.1, 0.7, 0.6), "bad")])
def test_the_verdict_has_its_colour(model, state):
    assert f'class="box {state}"' in render(report(both(model)))


# ---- metrics ------------------------------------------------------------------------------


def test_the_tables_hold_every_method_and_metric():
    rival = Method("rival", "baseline", both(scores(15, 0.9, 0.1, 0.1), scores(15, 0.1, 0.9, 0.1)))
    equal = Method("oracle", "oracle", both(GOOD), note="uses pairs")
    page = Page(render(report(both(GOOD), WEAK, equal, rival)))
    forth, back = page.tables[:2]
    assert forth[0][1:] == [f"{metric.name}\N{NO-BREAK SPACE}↑" for metric in PAIRED]
    assert forth[1:] == [
        ["the model", "20.00", "0.800", "0.700", "0.600"],
        ["identity", "9.00", "0.200", "0.100", "0.100"],
        ["rival", "15.00", "0.900", "0.100", "0.100"],
        ["oracleuses pairs", "20.00", "0.800", "0.700", "0.600"],
    ]
    assert back[3] == ["rival", "15.00", "0.100", "0.900", "0.100"]
    # The best of each metric, and never the oracle.
    assert page.bold == ["20.00", "0.700", "0.600", "0.900", "20.00", "0.800", "0.600", "0.900"]


def test_intervals_stand_beside_and_floors_last():
    floor = Method("real", "floor", both(kid(-0.4, -1.2, 0.4)))
    weak = Method("identity", "untouched", both(kid(40, 35, 45) | {"fid": Value(120.0)}))
    model = both(kid(18.24, 15, 21.5) | {"fid": Value(98.0)})
    text = render(report(model, floor, weak, metrics=[KID, FID]))
    page = Page(text)
    assert page.tables[0][0][1:] == [
        "KID × 1000\N{NO-BREAK SPACE}↓",
        "FID (n = 9)\N{NO-BREAK SPACE}↓",
    ]
    assert page.tables[0][1:] == [
        ["the model", "18.215.0 to 21.5", "98.0"],
        ["identity", "40.035.0 to 45.0", "120.0"],
        ["real", "−0.4−1.2 to 0.4", "–"],
    ]
    assert page.bold == ["18.2", "98.0"] * 2  # lower is better, and never the floor
    # Bars by `full` as it is shown, 200, else by the largest there is; none below 0 or of a dash.
    shares = re.findall(r"--share:(\d+)%", text.split("<tbody>")[1])
    assert shares == ["9", "82", "20", "100", "0", "0"]
    assert "The test set is not paired" in page.text
    assert "95 % interval" in page.text
    assert "real images in place of generated ones" in page.text


def test_every_kind_of_metric_has_tables_of_the_methods_that_have_it():
    model = both(GOOD | {"cycle": Value(3.0)}, GOOD)
    page = Page(render(report(model, metrics=(PSNR, CYCLE), journal=[])))
    assert len(page.tables) == 2 + 1 + 2  # psnr, cycle one way, classes
    assert page.tables[2] == [["", "cycle\N{NO-BREAK SPACE}↓"], ["the model", "3.00"]]
    assert page.text.index("against their true translations") < page.text.index("Cycle and iden")
    assert page.bold == ["20.00"] * 2  # of one method alone, none is the best
    assert "The test set is paired" in page.text
    assert "95 %" not in page.text


def test_change_is_in_a_table_and_never_the_best():
    model = both(kid(20.0) | beside(12.5, 0.8))
    weak = Method("identity", "untouched", both(kid(40.0) | beside(0.0, 1.0)))
    busy = Method("busy", "baseline", both(kid(60.0) | beside(60.0, 0.9)))
    page = Page(render(report(model, weak, busy, metrics=[KID, CHANGE, CONTENT])))
    assert page.tables[2] == [
        ["", "change", "content kept\N{NO-BREAK SPACE}↑"],
        ["the model", "12.50", "0.800"],
        ["identity", "0.00", "1.000"],
        ["busy", "60.00", "0.900"],
    ]
    # Untouched images keep all of themselves, which is no merit.
    assert page.bold == ["20.0"] * 2 + ["0.900"] * 2
    assert "against their sources" in page.text
    assert "in the order of their change" in page.text
    two = Method("another", "model", model)
    for found in (report(both(GOOD)), report(model, two, metrics=[KID, CHANGE, CONTENT])):
        assert "in the order of their change" not in Page(render(found)).text


def test_what_is_not_defined_is_a_dash_and_exact_is_infinite():
    model = scores(math.inf, 1.0, 1.0, math.nan)
    page = Page(render(report(both(model))))
    assert page.tables[0][1] == ["the model", "∞", "1.000", "1.000", "–"]


def test_the_class_tables_show_the_best_unpaired_baseline():
    def method(name, kind, ab, ba):
        return Method(
            name,
            kind,
            {
                **with_classes({"ab": GOOD}, ab),
                **with_classes({"ba": GOOD}, ba),
            },
        )

    methods = [
        method("model", "model", {"sky": 0.9, "lake": 0.5}, {"sky": 0.1}),
        method("one", "untouched", {"sky": 0.3, "lake": 0.1}, {"sky": 0.2}),
        method("two", "baseline", {"sky": 0.2, "lake": 0.4}, {"sky": 0.3}),
        method("oracle", "oracle", {"sky": 1.0}, {"sky": 1.0}),
    ]
    forth, back = Page(render(report(None, methods=methods))).tables[2:]
    assert [[cell.strip() for cell in row] for row in forth[1:]] == [
        ["sky", "0.900", "0.300", "1.000"],
        ["lake", "0.500", "0.400", "–"],
    ]
    assert [[cell.strip() for cell in row] for row in back[1:]] == [
        ["sky", "0.100", "0.300", "1.000"]
    ]
    assert "By class" not in render(report(None, methods=[Method("m", "model", both(GOOD)), WEAK]))


def test_swatches_stand_in_the_order_of_the_direction():
    text = render(report(both(GOOD)))
    assert re.findall(r"rgb\((.*?)\)", text) == ["1 2 3", "4 5 6", "4 5 6", "1 2 3"]


# ---- findings -----------------------------------------------------------------------------

QUIET = Finding("collapse", "summer -> winter", 0.9, 0.5, False, "outputs differ", "")
UNMADE = Finding("flat chips", "summer", math.nan, math.nan, False, "not checked: no", "")
LOUD = Finding(
    "hidden cycle", "winter -> summer", math.inf, 1.5, True, "it hides", "lower --cycle, not <i>"
)


def test_warnings_have_advice():
    text = render(report(both(GOOD), findings=[QUIET, LOUD, UNMADE, QUIET]))
    page = Page(text)
    assert "hidden cycle, winter → summer: it hides." in page.text
    assert "What to do: lower --cycle, not <i>." in page.text
    assert "<code>--cycle</code>" in text
    assert "3 checks, 1 warning (1 more could not be made)" in page.text
    assert page.tables[0][1:3] == [
        ["collapse", "summer → winter", "0.9", "0.5", "outputs differ"],
        ["hidden cycle", "winter → summer", "∞", "1.5", "it hides"],
    ]
    assert page.tables[0][3] == ["flat chips", "summer", "–", "–", "not checked: no"]
    assert page.text.index("Warnings") < page.text.index("Metrics")


def test_nothing_found_is_a_quiet_line():
    text = Page(render(report(both(GOOD), findings=[QUIET]))).text
    assert "1 check, nothing found" in text
    assert "Warnings" not in text
    assert "check" not in Page(render(report(both(GOOD), findings=[]))).text


# ---- images -----------------------------------------------------------------------------


def test_the_images_are_the_examples():
    page = Page(render(report(both(GOOD))))
    expected = []
    for seed in (10, 11):
        source, generated, truth = noise(seed), noise(seed + 1), noise(seed + 2)
        expected += [source, generated, truth, scaled_difference(generated, truth)]
    np.testing.assert_array_equal(list(page.decoded_images()), expected)
    labels = [image["alt"].split(",")[0] for image in page.images]
    assert labels == [
        *("summer", "generated winter", "true winter", "5 × difference"),
        *("winter", "generated summer", "true summer", "5 × difference"),
    ]
    assert "scene 0007, 12.34\N{NO-BREAK SPACE}dB" in page.text


def test_large_images_are_shrunk_smoothly_and_small_ones_are_not():
    wide = np.zeros((100, 1024, 3), np.uint8)
    wide[:, ::2] = 200  # stripes of a pixel
    small = shrunk(wide)
    assert small.shape == (25, 256, 3)
    assert np.abs(small[:, 2:-2].astype(int) - 100).max() < 8
    at_the_limit = noise(1, 256, 200)
    assert shrunk(at_the_limit) is at_the_limit

    examples = {"ab": {"at random": [Example("x", noise(1, 600, 300), noise(2, 600, 300))]}}
    page = Page(render(report({"ab": GOOD}, directions=("ab",), examples=examples)))
    assert [image.shape for image in page.decoded_images()] == [(256, 128, 3)] * 2


def test_the_difference_is_taken_before_the_image_is_shrunk():
    """Else differences of either sign would cancel in the mean."""
    truth = np.full((512, 512, 3), 100, np.uint8)
    generated = truth + np.where(np.indices((512, 512)).sum(0) % 2, 20, 0)[..., None].astype(
        np.uint8
    )
    examples = {"ab": {"at random": [Example("x", truth, generated, truth=truth)]}}
    page = Page(render(report({"ab": GOOD}, directions=("ab",), examples=examples)))
    off = list(page.decoded_images())[-1]
    assert off.mean() == pytest.approx(5 * 20 / 2, abs=1)


def test_what_the_difference_is_of_is_said():
    assert "difference between\ngenerated and true image" in render(report(both(GOOD)))
    for example, said in (
        (Example("x", *map(noise, range(3))), True),
        (Example("x", *map(noise, range(2))), False),
    ):
        examples = {direction: {"at random": [example]} for direction in DIRECTIONS}
        text = render(report(both(kid(1)), metrics=[KID], examples=examples))
        assert ("difference between\nan image and its reconstruction" in text) == said


# ---- the rest -----------------------------------------------------------------------------


def test_the_page_names_the_noise_that_margins_are_held_to():
    assert "differ only in their seed differ by up to about 2&nbsp;dB." in render(
        report(both(GOOD))
    )
    assert "only in their seed" not in render(report(both(kid(1)), metrics=[KID]))


def test_curves_and_configuration_are_there_where_they_are_known():
    journal = [{"step": 1, "cycle_a": 1.0, "cycle_b": 2.0}]
    text = render(report(both(GOOD), journal=journal))
    assert "Learning curves" in text
    assert "[recipe]" in text
    bare = render(report(both(GOOD), config=""))
    assert "Learning curves" not in bare
    assert "config.toml" not in bare


def test_names_are_text_and_never_markup():
    evil = "<script>alert(1)</script>\"'&"
    hostile = report(
        both(GOOD),
        methods=[
            Method("the model", "model", with_classes(both(GOOD), {evil: 0.5})),
            Method(evil, "untouched", both(scores(9.0, 0.2, 0.1, 0.1)), note=evil),
        ],
        title=evil,
        summary=evil,
        names=(evil, "winter"),
        facts={evil: evil},
        config=evil,
        examples={
            d: {evil: [Example(evil, *map(noise, range(4)), caption=evil)]} for d in DIRECTIONS
        },
        findings=[Finding(evil, evil, 1.0, 2.0, True, evil, evil)],
    )
    text = render(hostile)
    assert "<script" not in text
    page = Page(text)
    assert page.tables[1][2][0] == evil + evil
    assert page.images[0]["alt"] == f"{evil}, {evil}"
    assert page.text.count(evil) > 20


# ---- in a browser -------------------------------------------------------------------------

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
COLOURS = [(250, 20, 30), (20, 240, 40), (30, 60, 250), (240, 220, 20)]
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome is installed"
)


def look_at(text, folder, width):
    """What Chromium, to which no host is known, makes of a page.

    Returns what stands in the console, what the page asked for outside of itself, and how it looks.
    """
    (folder / "page.html").write_text(text, encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={folder / 'net.json'}",
        f"--screenshot={folder / 'seen.png'}",
        f"--window-size={width},4000",
        "--enable-logging=stderr",
        "--v=0",
    ]
    command = [CHROMIUM, *options, (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads((folder / "net.json").read_text(encoding="utf-8"))["events"]
    asked = {
        event["params"]["url"]
        for event in events
        # The browser asks for things of its own accord, too.
        if event.get("params", {}).get("initiator", "not an origin") != "not an origin"
    }
    return console, asked, np.asarray(Image.open(folder / "seen.png").convert("RGB")).astype(int)


@in_a_browser
@pytest.mark.parametrize("width", [1200, 520])
def test_a_browser_shows_it_without_a_complaint_and_asks_for_nothing(tmp_path, width):
    plain = [np.full((300, 300, 3), colour, np.uint8) for colour in COLOURS]
    one_way = report(
        {"ab": GOOD},
        directions=("ab",),
        examples={"ab": {"at random": [Example("x", *plain)]}},
        findings=[QUIET, LOUD],
        journal=[{"step": step, "cycle_a": 1.0, "cycle_b": 2.0} for step in (1, 2)],
    )
    console, asked, seen = look_at(render(one_way), tmp_path, width)
    assert console == []
    assert asked == set()
    assert seen.shape[1] == width
    for colour in COLOURS:  # every image is there, and large enough
        assert (np.abs(seen - colour) <= 2).all(axis=-1).sum() > 90**2


@in_a_browser
def test_the_browser_would_notice(tmp_path):
    url = "http://example.invalid/x.png"
    outside = f'<img src="{url}">'
    console, asked, _ = look_at(f"<!DOCTYPE html>{outside}", tmp_path, 600)
    assert asked == {url}
    text = render(report(both(GOOD))).replace("</body>", f"{outside}<script>1</script></body>")
    console, asked, _ = look_at(text, tmp_path, 600)  # the page's policy refuses both
    assert len(console) == 2
    assert asked == set()
