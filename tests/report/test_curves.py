import math
import re

import numpy as np
import pytest

from unpaired.engines.seam import LOSSES
from unpaired.report.curves import draw_curves


def points_of(svg):
    """The points of each curve, (n, 2), on the screen."""
    paths = re.findall(r'class="curve side\d" d="M([^"]*)h0"', svg)
    return [np.array([pair.split() for pair in path.split("L")], float) for path in paths]


def names_of(svg):
    return re.findall(r'aria-label="([\w ]+) by step"', svg)


def test_a_curve_goes_through_its_losses():
    losses = {0: 0.5, 50: 1.0, 100: 0.25}
    journal = [
        {"step": step, "cycle_a": loss, "cycle_b": loss / 2, "seconds": 1.0}
        for step, loss in losses.items()
    ]
    journal.insert(1, {"step": 50, "extended_from": 50})  # a line that is not of losses
    svg = draw_curves(journal)
    assert svg.count("<svg") == 1
    points = points_of(svg)
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
    svg = draw_curves([{"step": 2} | dict.fromkeys(names, 0.5)])
    assert names_of(svg) == ["adversarial_ab and adversarial_ba", "identity_a and identity_b"]
    assert svg.count('class="even"') == 1
    assert draw_curves([]) == ""
    assert draw_curves([{"step": 0, "extended_from": 0}, {"step": 4, "findings": []}]) == ""


def test_the_validation_criterion_has_a_diagram():
    journal = [
        {"step": step, "validation": {"criterion": value, "measure": "KID", "ab": {}}}
        for step, value in ((10, 4.0), (20, -1.0), (30, 2.0))
    ]
    svg = draw_curves(journal)
    assert names_of(svg) == ["validation criterion"]
    ((_, high), (_, low), (_, middle)) = points_of(svg)[0]
    assert high == pytest.approx(26)  # at the top
    assert low == pytest.approx(150)  # under 0, at the bottom
    assert (low - middle) / (low - high) == pytest.approx(3 / 5, abs=1e-3)


def test_change_and_content_have_diagrams_where_they_were_measured():
    def line(step, change, content):
        each = {"distance": 1.0, "change": change, "content": content}
        validation = {"criterion": 1.0, "ab": each, "ba": each | {"change": 2 * change}}
        return {"step": step, "validation": validation}

    old = {"step": 5, "validation": {"criterion": 1.0, "ab": {"distance": 1.0}}}
    svg = draw_curves([old, line(10, 0.5, 1.0), line(20, 1.0, None)])
    assert names_of(svg)[1:] == ["change ab and change ba", "content kept ab and content kept ba"]
    _, forth, back, kept, _ = points_of(svg)
    assert len(forth) == len(back) == 2
    assert len(kept) == 1
    bottom = 150
    assert (bottom - back[1][1]) / (bottom - forth[0][1]) == pytest.approx(4, abs=1e-2)


def test_long_curves_are_drawn_as_means():
    steps = np.arange(1, 10_001)
    waves = 1 + np.where(steps % 2, 0.5, -0.5)
    journal = [
        {"step": int(step), "cycle_a": float(wave), "cycle_b": 2.0}
        for step, wave in zip(steps, waves, strict=True)
    ]
    one, other = points_of(draw_curves(journal))
    assert 150 < len(one) <= 320
    np.testing.assert_allclose(one[:, 1], 150 - 124 / 2)  # the mean, half of the other's
    np.testing.assert_allclose(other[:, 1], 26)
    assert (np.diff(one[:, 0]) > 0).all()


def test_what_is_no_number_is_omitted():
    journal = [
        {"step": step, "cycle_a": value, "cycle_b": 1.0}
        for step, value in enumerate([1.0, math.nan, math.inf, None, "x", 0.5])
    ]
    one, other = points_of(draw_curves(journal))
    assert (len(one), len(other)) == (2, 6)


@pytest.mark.parametrize("last", [1, 2, 7, 60, 99, 5600, 1_000_000])
@pytest.mark.parametrize("loss", [0.0, 1e-4, 0.25, 0.99, 6.0, 123.0])
def test_the_axes_have_a_few_round_numbers(last, loss):
    svg = draw_curves([{"step": step, "cycle_a": loss, "cycle_b": 0.0} for step in (0, last)])
    for kind, top in (("mid", last), ("end", loss or 1)):
        shown = re.findall(rf'class="{kind}"[^>]*>([^<]*)<', svg)
        values = [float(value.replace(",", "")) for value in shown]
        assert 3 <= len(values) <= 6
        assert values[0] == 0
        assert top / 2 < values[-1] <= top * (1 + 1e-9)
        np.testing.assert_allclose(np.diff(values), values[1], rtol=1e-6)
        assert f"{values[1]:e}"[0] in "125"
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ (-?[\d.]+)", svg)]
    assert min(heights) >= 26  # under the names of the curves
    assert max(heights) == 150


def test_every_loss_has_a_place():
    svg = draw_curves([{"step": 1} | dict.fromkeys(LOSSES, 0.5)])
    assert all(f"― {name}<" in svg for name in LOSSES)
    assert svg.count("<svg") == 4
