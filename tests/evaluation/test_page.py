import base64
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from unpaired.evaluation.page import (
    DIRECTIONS,
    FIGURES,
    Example,
    Method,
    Report,
    difference,
    render,
    verdict,
)
from unpaired.evaluation.scores import TruthScores

VOID = {"meta", "img", "path"}


class Page(HTMLParser):
    """What a browser would make of the page; refuses tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.tables, self.images, self.paths = [], [], [], []
        self.text, self.bold = "", []
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
        elif tag == "path":
            self.paths.append(dict(attrs))

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

    def pictures(self):
        for image in self.images:
            kind, data = image["src"].split(",")
            assert kind == "data:image/png;base64"
            yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def scores(psnr, ssim=0.5, acc16=0.5, macro16=0.5, **per_class):
    return TruthScores(psnr, ssim, acc16, macro16, per_class or {"sky": acc16, "lake": 0.25})


def both(ab, ba=None):
    return {"ab": ab, "ba": ab if ba is None else ba}


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def report(model, *baselines, **changes):
    examples = {
        direction: {
            "at random": [Example("0007", noise(seed), noise(seed + 1), noise(seed + 2), 12.345)]
        }
        for seed, direction in enumerate(DIRECTIONS, 10)
    }
    fields = {
        "title": "A title",
        "summary": "A summary.",
        "names": ("summer", "winter"),
        "model": Method("the model", model),
        "baselines": baselines or [WEAK, ORACLE],
        "examples": examples,
        "journal": [],
        "facts": {"data": "some"},
        "config": "[recipe]\n",
        "swatches": {"sky": ((1, 2, 3), (4, 5, 6))},
    }
    return Report(**fields | changes)


WEAK = Method("identity", both(scores(9.0, 0.2, 0.1, 0.1)))
ORACLE = Method("oracle", both(scores(23.0)), uses_pairs=True, note="uses pairs")
GOOD = scores(20.0, 0.8, 0.7, 0.6)


def test_above_in_all_is_a_pass_and_the_margins_are_told():
    found = verdict(report(both(GOOD, scores(25.5, 0.8, 0.7, 0.6))))
    assert found.passed
    assert found.headline.startswith("Above every unpaired baseline in both directions")
    assert found.details == (
        "From summer to winter: 20.00 dB, 11.00 dB above the identity, 3.00 dB below the oracle.",
        "From winter to summer: 25.50 dB, 16.50 dB above the identity, 2.50 dB above the oracle.",
    )


def test_the_oracle_does_not_decide_the_verdict():
    assert verdict(report(both(GOOD), WEAK, Method("oracle", both(scores(99.0)), True))).passed


@pytest.mark.parametrize("figure", ["psnr", "ssim", "acc16", "macro16"])
@pytest.mark.parametrize("gap", [0.0, 0.001])
def test_equal_or_below_in_one_figure_is_not_above(figure, gap):
    values = {"psnr": 20.0, "ssim": 0.8, "acc16": 0.7, "macro16": 0.6}
    rival = Method(
        "rival",
        both(
            scores(9.0, 0.2, 0.1, 0.1),
            scores(**dict.fromkeys(values, 0.0) | {figure: values[figure] + gap}),
        ),
    )
    found = verdict(report(both(scores(**values)), WEAK, rival, ORACLE))
    assert not found.passed
    assert found.headline == (
        "Above every unpaired baseline from summer to winter, but not the other way."
    )
    name = {"psnr": "PSNR", "ssim": "SSIM"}.get(figure, figure)
    assert f"not above rival ({name})" in found.details[1]
    assert "not above" not in found.details[0]


def test_below_in_everything_is_said_in_few_words():
    found = verdict(report(both(scores(5.0, 0.0, 0.0, 0.0))))
    assert not found.passed
    assert found.headline == "Not above every unpaired baseline in either direction."
    assert all("not above identity (all figures)" in detail for detail in found.details)


def test_a_margin_under_two_decibels_is_called_noise():
    near = Method("identity", both(scores(18.5, 0.2, 0.1, 0.1)))
    found = verdict(report(both(GOOD), near))
    assert found.passed
    assert all("1.50 dB above the identity (within the noise" in text for text in found.details)
    assert not any("noise" in text for text in verdict(report(both(GOOD))).details)


def test_the_page_names_the_noise_that_margins_are_held_to():
    assert "differ in the seed alone differ by up to about 2 dB." in render(report(both(GOOD)))


def test_a_figure_that_is_not_defined_does_not_count():
    model, weak = scores(20, 0.8, 0.7, math.nan), scores(9, 0.2, 0.1, math.nan)
    undefined = report(both(model), Method("identity", both(weak)))
    assert verdict(undefined).passed
    assert Page(render(undefined)).tables[0][1] == ["the model", "20.00", "0.800", "0.700", "nan"]


def test_exact_pictures_are_above():
    exact = report(both(scores(math.inf, 1.0, 1.0, 1.0)))
    assert verdict(exact).passed
    assert Page(render(exact)).tables[0][1][1] == "inf"


def test_difference_is_five_times_the_absolute_one():
    made, truth = noise(1), noise(2)
    expected = [
        min(255, 5 * abs(int(a) - int(b))) for a, b in zip(made.flat, truth.flat, strict=True)
    ]
    assert difference(made, truth).dtype == np.uint8
    assert difference(made, truth).ravel().tolist() == expected


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


def test_the_tables_hold_every_method_and_figure():
    rival = Method("rival", both(scores(15.0, 0.9, 0.1, 0.1), scores(15.0, 0.1, 0.9, 0.1)))
    equal = Method("oracle", both(GOOD), uses_pairs=True, note="uses pairs")
    page = Page(render(report(both(GOOD), WEAK, equal, rival)))
    forth, back = page.tables[:2]
    assert forth[0][1:] == [figure.name for figure in FIGURES]
    assert forth[1:] == [
        ["the model", "20.00", "0.800", "0.700", "0.600"],
        ["identity", "9.00", "0.200", "0.100", "0.100"],
        ["rival", "15.00", "0.900", "0.100", "0.100"],
        ["oracleuses pairs", "20.00", "0.800", "0.700", "0.600"],
    ]
    assert back[3] == ["rival", "15.00", "0.100", "0.900", "0.100"]
    # The best of each figure, and never the oracle.
    assert page.bold == ["20.00", "0.700", "0.600", "0.900", "20.00", "0.800", "0.600", "0.900"]


def test_the_class_tables_show_the_best_unpaired_baseline():
    model = both(scores(20.0, sky=0.9, lake=0.5), scores(20.0, sky=0.1))
    one = Method("one", both(scores(9.0, sky=0.3, lake=0.1), scores(9.0, sky=0.2)))
    two = Method("two", both(scores(9.0, sky=0.2, lake=0.4), scores(9.0, sky=0.3)))
    oracle = Method("oracle", both(scores(9.0, sky=1.0, lake=0.7), scores(9.0, sky=1.0)), True)
    forth, back = Page(render(report(model, one, two, oracle))).tables[2:]
    assert [[cell.strip() for cell in row] for row in forth[1:]] == [
        ["sky", "0.900", "0.300", "1.000"],
        ["lake", "0.500", "0.400", "0.700"],
    ]
    assert [[cell.strip() for cell in row] for row in back[1:]] == [
        ["sky", "0.100", "0.300", "1.000"]
    ]


def test_swatches_stand_in_the_order_of_the_direction():
    text = render(report(both(GOOD)))
    assert re.findall(r"rgb\((.*?)\)", text) == ["1 2 3", "4 5 6", "4 5 6", "1 2 3"]


def test_the_pictures_are_the_examples():
    page = Page(render(report(both(GOOD))))
    expected = []
    for seed in (10, 11):
        source, made, truth = noise(seed), noise(seed + 1), noise(seed + 2)
        expected += [source, made, truth, difference(made, truth)]
    np.testing.assert_array_equal(list(page.pictures()), expected)
    labels = [image["alt"].split(",")[0] for image in page.images]
    assert labels == [
        *("summer", "made winter", "true winter", "5 × difference"),
        *("winter", "made summer", "true summer", "5 × difference"),
    ]
    assert "scene 0007, 12.35 dB" in page.text or "scene 0007, 12.34 dB" in page.text


def test_names_are_text_and_never_markup():
    evil = "<script>alert(1)</script>\"'&"
    hostile = report(
        both(scores(20.0, **{evil: 0.5})),
        Method(evil, both(scores(9.0, 0.2, 0.1, 0.1, **{evil: 0.5})), note=evil),
        title=evil,
        summary=evil,
        names=(evil, "winter"),
        facts={evil: evil},
        config=evil,
        examples={d: {evil: [Example(evil, *map(noise, range(3)), 1.0)]} for d in DIRECTIONS},
    )
    text = render(hostile)
    assert "<script" not in text
    page = Page(text)
    assert page.tables[0][2][0] == evil + evil
    assert page.images[0]["alt"] == f"{evil}, scene {evil}"
    assert page.text.count(evil) > 12


def test_a_curve_goes_through_its_losses():
    losses = {0: 0.5, 50: 1.0, 100: 0.25}
    journal = [
        {"step": step, "cycle_a": loss, "cycle_b": loss / 2, "seconds": 1.0}
        for step, loss in losses.items()
    ]
    journal.insert(1, {"step": 50, "extended_from": 50})  # a line that is not of losses
    text = render(report(both(GOOD), journal=journal))
    assert text.count("<svg") == 1
    curves = [path["d"] for path in Page(text).paths if path["class"].startswith("curve")]
    points = [
        np.array([pair.split() for pair in curve.strip("Mh0").split("L")], float)
        for curve in curves
    ]
    for curve, share in zip(points, (1, 0.5), strict=True):
        xs, ys = curve.T
        np.testing.assert_allclose((xs - xs[0]) / (xs[2] - xs[0]), [0, 0.5, 1])
        # Downwards on the screen, in proportion to the loss, on one scale for both curves.
        unit = (points[0][0][1] - points[0][1][1]) / 0.5
        bottom = points[0][0][1] + 0.5 * unit
        np.testing.assert_allclose(
            (bottom - ys) / unit, share * np.array(list(losses.values())), atol=1e-3
        )


def test_only_losses_that_were_logged_have_a_diagram():
    names = ("adversarial_ab", "adversarial_ba", "identity_a", "identity_b")
    line = {"step": 2} | dict.fromkeys(names, 0.5)
    text = render(report(both(GOOD), journal=[line]))
    assert re.findall(r'aria-label="([a-z_ ]+) by step"', text) == [
        "adversarial_ab and adversarial_ba",
        "identity_a and identity_b",
    ]
    assert sum(path["class"] == "even" for path in Page(text).paths) == 1
    assert "Learning curves" not in render(report(both(GOOD)))


@pytest.mark.parametrize("last", [1, 2, 7, 60, 99, 5600, 1_000_000])
@pytest.mark.parametrize("loss", [0.0, 1e-4, 0.25, 0.99, 6.0, 123.0])
def test_the_axes_have_a_few_round_numbers(last, loss):
    journal = [{"step": step, "cycle_a": loss, "cycle_b": 0.0} for step in (0, last)]
    text = render(report(both(GOOD), journal=journal))
    for kind, top in (("mid", last), ("end", loss or 1)):
        shown = re.findall(rf'class="{kind}"[^>]*>([^<]*)<', text)
        values = [float(value.replace(",", "")) for value in shown]
        assert 3 <= len(values) <= 6
        assert values[0] == 0
        assert top / 2 < values[-1] <= top * (1 + 1e-9)
        np.testing.assert_allclose(np.diff(values), values[1], rtol=1e-6)
        assert f"{values[1]:e}"[0] in "125"
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ (-?[\d.]+)", text)]
    assert min(heights) >= 26  # under the names of the curves
    assert max(heights) == 150
