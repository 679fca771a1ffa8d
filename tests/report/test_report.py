import math

import numpy as np
import pytest

from small_report import CHANGE, FID, GOOD, KID, ORACLE, PSNR, WEAK, both, kid, noise, report
from unpaired.errors import ConfigError, DataError
from unpaired.metrics.metric import Metric, Value
from unpaired.report.report import Example, Method, scaled_difference


def test_values_are_shown_as_people_read_them():
    assert KID.show(0.01824) == "18.2"
    assert KID.show(-0.0011) == "-1.1"
    assert KID.show(-0.00004) == "0.0"  # not minus zero
    assert PSNR.show(math.inf) == "inf"
    assert PSNR.show(math.nan) == "-"


@pytest.mark.parametrize(("better", "high_wins"), [("higher", True), ("lower", False)])
def test_which_way_is_better(better, high_wins):
    metric = Metric("x", "X", "", "set", better, 1)
    assert metric.is_better(2, 1) is high_wins
    assert metric.is_better(1, 2) is not high_wins
    assert not metric.is_better(1, 1)


def test_where_neither_way_is_better_nothing_is():
    assert not CHANGE.is_better(2, 1)
    assert not CHANGE.is_better(1, 2)


def test_a_value_without_an_interval_is_a_point():
    assert Value(3.0).interval == (3.0, 3.0)
    assert Value(3.0, 2.0, 5.0).interval == (2.0, 5.0)


def test_what_is_not_defined_has_no_value():
    zero = Value(0.0)
    method = Method("x", "model", {"ab": {"psnr": Value(math.nan), "kid": zero}})
    assert method.value("ab", PSNR) is None
    assert method.value("ab", FID) is None
    assert method.value("ba", KID) is None
    assert method.value("ab", KID) is zero


def test_difference_is_five_times_the_absolute_one():
    one, other = noise(1), noise(2)
    expected = [
        min(255, 5 * abs(int(a) - int(b))) for a, b in zip(one.flat, other.flat, strict=True)
    ]
    assert scaled_difference(one, other).dtype == np.uint8
    assert scaled_difference(one, other).ravel().tolist() == expected


def test_an_example_shows_what_it_has():
    source, generated, cycle, truth = map(noise, range(4))
    whole = Example("x", source, generated, cycle, truth).images("summer", "winter")
    labels = [
        *("summer", "generated winter", "reconstructed summer"),
        *("true winter", "5 × difference"),
    ]
    assert list(whole) == labels
    for label, image in zip(labels, (source, generated, cycle, truth), strict=False):
        np.testing.assert_array_equal(whole[label], image)
    np.testing.assert_array_equal(whole["5 × difference"], scaled_difference(generated, truth))

    unpaired = Example("x", source, generated, cycle).images("summer", "winter")
    assert list(unpaired) == [labels[0], labels[1], labels[2], labels[4]]
    np.testing.assert_array_equal(unpaired["5 × difference"], scaled_difference(source, cycle))
    assert list(Example("x", source, generated).images("summer", "winter")) == labels[:2]


@pytest.mark.parametrize(
    "wrong",
    [noise(1, 8, 9), noise(1)[:, :, :1], noise(1).astype(np.float32), noise(1)[:, :, 0]],
)
@pytest.mark.parametrize("place", ["source", "generated", "cycle", "truth"])
def test_images_of_an_example_that_do_not_fit_are_rejected(wrong, place):
    images = {name: noise(0) for name in ("source", "generated", "cycle", "truth")}
    with pytest.raises(DataError, match=r"leaf\.png has one"):
        Example("leaf.png", **images | {place: wrong})


@pytest.fixture
def found():
    own = {"ab": GOOD | {"kid": Value(0.018), "fid": Value(math.nan)}, "ba": GOOD}
    return report(own, WEAK, metrics=(KID, PSNR))


def test_a_value_is_found_by_direction_key_and_method(found):
    assert found.value("ab", "kid") == 0.018
    assert found.value("ab", "psnr", method="identity") == 9.0
    assert math.isnan(found.value("ab", "fid"))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("ab", "lpips"), r"no metric .*'lpips'; it has: psnr, ssim, acc16, macro16, kid, fid"),
        (("ba", "kid"), r"metric of the model in direction ba named 'kid'"),
        (("b", "kid"), r"no direction of the model named 'b'; it has: ab, ba"),
        (("ab", "psnr", "oracle"), r"no method named 'oracle'; it has: the model, identity"),
    ],
)
def test_an_unknown_value_is_an_error_that_names_the_known_ones(found, wanted, message):
    with pytest.raises(ConfigError, match=message):
        found.value(*wanted)


def test_figures_is_a_deprecated_name_of_metrics(found):
    with pytest.warns(DeprecationWarning, match=r"Report\.metrics"):
        assert found.figures == found.metrics


def test_the_classes_are_the_parts_of_macro16(found):
    assert found.methods[0].per_class == both({"sky": 0.5, "lake": 0.25})
    assert WEAK.per_class == {}


def test_a_report_needs_a_model_and_names_that_differ():
    with pytest.raises(DataError, match="a model"):
        report(both(GOOD), methods=[WEAK, ORACLE])
    with pytest.raises(DataError, match=r"identity.*identity"):
        report(both(GOOD), WEAK, WEAK)


def test_rows_stand_by_their_kind():
    floor = Method("real", "floor", both(kid(0.1)))
    second = Method("second", "model", both(GOOD))
    late = Method("late", "baseline", both(GOOD))
    found = report(both(GOOD), floor, ORACLE, WEAK, second, late).comparison
    names = ["the model", "identity", "second", "late", "oracle", "real"]
    assert [method.name for method in found.measured("ab", [PSNR, KID])] == names
    assert found.model.name == "the model"
    assert [m.name for m in found.measured("ab", [KID])] == ["real"]
    assert found.measured("ab", [FID]) == []


@pytest.mark.parametrize(
    ("metric", "order"), [(PSNR, "high low"), (KID, "low high"), (CHANGE, "low high")]
)
def test_the_best_comes_first(metric, order):
    def method(name, value):
        return Method(name, "baseline", both({metric.key: Value(value)}))

    others = [method("low", 1.0), method("none", math.nan), method("high", 2.0)]
    ranked = report(both(GOOD), *others).comparison.ranked("ab", metric, "baseline")
    assert " ".join(method.name for method, _ in ranked) == order


def test_metrics_have_kinds_and_directions_have_names():
    found = report(both(GOOD), metrics=(PSNR, FID, KID)).comparison
    assert found.paired
    assert found.metrics_of("set") == [FID, KID]
    assert not report(both(GOOD), metrics=(KID,)).comparison.paired
    assert report(both(GOOD), metrics=(PSNR,)).comparison.metrics_of("set") == []
    assert found.domain_names("ab") == ("summer", "winter")
    assert found.domain_names("ba") == ("winter", "summer")
