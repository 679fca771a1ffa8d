import math
from dataclasses import replace

import pytest

from small_report import (
    CHANGE,
    CONTENT,
    CYCLE,
    GOOD,
    KID,
    ORACLE,
    PAIRED,
    PSNR,
    WEAK,
    beside,
    both,
    kid,
    report,
    scores,
)
from unpaired.metrics.catalogue import BLOBS
from unpaired.metrics.metric import Metric, Value
from unpaired.report.report import Method
from unpaired.report.verdict import ranking


def verdict(report):
    return report.verdict


# ---- by the truth -------------------------------------------------------------------------


def test_better_in_all_is_a_pass_with_its_margins():
    found = verdict(report(both(GOOD, scores(25.5, 0.8, 0.7, 0.6))))
    assert found.passed
    assert (
        found.headline
        == "Better than every unpaired baseline in all four metrics, in both directions."
    )
    assert found.details == (
        "From summer to winter: PSNR 20.00 dB, 11.00 dB better than the identity, "
        "3.00 dB worse than the oracle.",
        "From winter to summer: PSNR 25.50 dB, 16.50 dB better than the identity, "
        "2.50 dB better than the oracle.",
    )


def test_the_oracle_does_not_decide_the_verdict():
    oracle = Method("oracle", "oracle", both(scores(99.0)))
    assert verdict(report(both(GOOD), WEAK, oracle)).passed


@pytest.mark.parametrize("metric", ["psnr", "ssim", "acc16", "macro16"])
@pytest.mark.parametrize("gap", [0.0, 0.001])
def test_equal_or_below_in_one_metric_is_not_better(metric, gap):
    values = {"psnr": 20.0, "ssim": 0.8, "acc16": 0.7, "macro16": 0.6}
    ahead = scores(**dict.fromkeys(values, 0.0) | {metric: values[metric] + gap})
    rival = Method("rival", "baseline", both(scores(9.0, 0.2, 0.1, 0.1), ahead))
    found = verdict(report(both(scores(**values)), WEAK, rival, ORACLE))
    assert found.state == "mixed"
    assert found.headline == (
        "From summer to winter: better than every unpaired baseline in all four metrics. "
        "From winter to summer: not better than every unpaired baseline."
    )
    name = {"psnr": "PSNR", "ssim": "SSIM"}.get(metric, metric)
    assert f"not better than rival ({name})" in found.details[1]
    assert "not better" not in found.details[0]


def test_below_in_everything_is_said_in_few_words():
    found = verdict(report(both(scores(5.0, 0.0, 0.0, 0.0))))
    assert found.state == "bad"
    assert found.headline == "Not better than every unpaired baseline, in either direction."
    assert all("not better than identity (all metrics)" in detail for detail in found.details)


def test_a_margin_under_two_decibels_is_called_noise():
    near = Method("identity", "untouched", both(scores(18.5, 0.2, 0.1, 0.1)))
    found = verdict(report(both(GOOD), near))
    assert found.passed
    assert all(
        "1.50 dB better than the identity (within the variation between seeds)" in text
        for text in found.details
    )
    assert not any("within" in text for text in verdict(report(both(GOOD))).details)
    unknown = report(both(GOOD), near, metrics=[replace(PSNR, noise=None)])
    assert not any("within" in text for text in verdict(unknown).details)


def test_a_metric_that_is_not_defined_does_not_count():
    model, weak = scores(20, 0.8, 0.7, math.nan), scores(9, 0.2, 0.1, math.nan)
    found = verdict(report(both(model), Method("identity", "untouched", both(weak))))
    assert found.passed
    assert "in all three metrics" in found.headline


def test_exact_images_are_above_and_equal_ones_equal():
    exact = both(scores(math.inf, 1.0, 1.0, 1.0))
    assert verdict(report(exact)).passed
    found = verdict(report(exact, WEAK, Method("oracle", "oracle", exact)))
    assert found.details[0].endswith("equal to the oracle.")


def test_nothing_to_compare_is_no_pass():
    assert verdict(report(both(GOOD), ORACLE)).state == "mixed"
    one_way = Method("identity", "untouched", {"ab": scores(9.0, 0.2, 0.1, 0.1)})
    found = verdict(report(both(GOOD), one_way))
    assert found.state == "mixed"
    assert found.headline == (
        "From summer to winter: better than every unpaired baseline in all four metrics. "
        "From winter to summer: nothing to compare the translations with."
    )
    undefined = scores(*[math.nan] * 4)
    assert verdict(report(both(undefined), WEAK)).state == "mixed"


def test_errors_are_better_where_they_are_lower():
    rmse = Metric("rmse", "RMSE", "", "paired", "lower", 1)
    model, worse = both({"rmse": Value(20.0)}), both({"rmse": Value(35.0)})
    found = verdict(report(model, Method("identity", "untouched", worse), metrics=[rmse]))
    assert found.passed
    assert found.headline == "Better than every unpaired baseline in RMSE, in both directions."
    assert found.details[0].endswith(": RMSE 20.0, 15.0 better than the identity.")
    assert verdict(report(worse, Method("x", "baseline", model), metrics=[rmse])).state == "bad"


def test_a_model_of_one_direction_is_judged_by_it():
    found = verdict(report({"ab": GOOD}, directions=("ab",)))
    assert found.passed
    assert found.headline == "Better than every unpaired baseline in all four metrics."
    assert len(found.details) == 1
    poor = verdict(report({"ab": scores(1, 0, 0, 0)}, directions=("ab",)))
    assert (poor.state, poor.headline) == ("bad", "Not better than every unpaired baseline.")


def test_the_truth_leads_and_the_sets_follow():
    model = both(GOOD | kid(18, 15, 21))
    weak = Method("identity", "untouched", both(scores(9, 0.2, 0.1, 0.1) | kid(17, 14, 20)))
    found = verdict(report(model, weak, metrics=(KID, *PAIRED)))
    assert found.passed
    assert [text[:40] for text in found.details[:2]] == [
        "From summer to winter: PSNR 20.00 dB, 11",
        "From winter to summer: PSNR 20.00 dB, 11",
    ]
    assert found.details[2].startswith(
        "From summer to winter, all images together: not distinguishable from untranslated images"
    )


# ---- by sets ------------------------------------------------------------------------------

MODEL = kid(18.0, 15.0, 21.0)
FLOOR = Method("real test vs real train", "floor", both(kid(0.4, -1.0, 1.8)))


def of_sets(model=None, untouched=(40, 35, 45), simple=(25, 22, 28), floor=FLOOR, **changes):
    others = [
        Method(name, kind, both(kid(*values)))
        for name, kind, values in (
            ("identity", "untouched", untouched),
            ("Reinhard", "baseline", (60, 50, 70)),
            ("histograms", "baseline", simple),
        )
        if values
    ]
    floors = [floor] if floor else []
    return report(model or both(MODEL), *others, *floors, **{"metrics": [KID]} | changes)


def test_closer_than_all_is_a_pass():
    found = verdict(of_sets())
    assert found.passed
    assert found.headline == (
        "Closer to real images than untranslated images and every baseline, in both directions."
    )
    # (40 - 18) / (40 - 0.4)
    assert found.details[0] == (
        "From summer to winter: removes 56 % of the distance between untranslated and real images; "
        "farther from real winter than other real images. KID × 1000: "
        "18.0 (15.0 to 21.0), untranslated images 40.0, histograms 25.0, real images 0.4."
    )


def test_values_whose_intervals_overlap_are_not_distinguishable():
    """The numbers alone would say "closer"."""
    found = verdict(of_sets(untouched=(22, 20, 24)))
    assert found.state == "mixed"
    assert found.headline == (
        "Not distinguishable from untranslated images (with this number of images), "
        "in either direction."
    )
    near = verdict(of_sets(simple=(22, 20, 24)))
    assert near.state == "mixed"
    assert near.headline == (
        "Closer to real images than untranslated images, but not than every baseline, "
        "in both directions."
    )
    assert "not distinguishable from histograms" in near.details[0]
    assert "Reinhard" not in near.details[0]


def test_farther_than_untranslated_images_is_a_failure():
    found = verdict(of_sets(untouched=(10, 9, 11)))
    assert found.state == "bad"
    assert found.headline == "Not better than untranslated images, in either direction."
    assert "1.8 times as far from real winter as untranslated images" in found.details[0]
    assert "removes" not in found.details[0]


def test_each_direction_has_its_own_words():
    model = both(MODEL, kid(80.0, 70.0, 90.0))
    found = verdict(of_sets(model))
    assert found.state == "mixed"
    assert found.headline == (
        "From summer to winter: closer to real winter than untranslated images and every "
        "baseline. From winter to summer: not better than untranslated images."
    )


def test_a_baseline_that_is_closer_is_named():
    found = verdict(of_sets(simple=(5, 4, 6)))
    assert found.state == "mixed"
    assert "not as close as histograms; farther" in found.details[0]


def test_the_distance_of_real_images_is_a_measure():
    real = Method("real", "floor", both(kid(6.0, 5.0, 7.0)))
    assert (
        "3.0 times as far from real winter as other real images"
        in (verdict(of_sets(floor=real)).details[0])
    )
    wide = Method("real", "floor", both(kid(16.0, 14.0, 18.0)))
    assert "not distinguishable from other real images" in verdict(of_sets(floor=wide)).details[0]
    far = Method("real", "floor", both(kid(30.0, 25.0, 35.0)))
    assert (
        "closer to real winter than other real images" in (verdict(of_sets(floor=far)).details[0])
    )
    assert "real images" not in verdict(of_sets(floor=None)).details[0].split("images. ")[-1]


def test_distances_without_intervals_are_compared_by_their_numbers():
    points = {"untouched": (40,), "simple": (25,), "floor": None}
    assert verdict(of_sets(both(kid(24.9)), **points)).passed
    same = verdict(of_sets(both(kid(40)), **points))
    assert same.headline == "Not distinguishable from untranslated images, in either direction."


def test_without_untranslated_images_the_baselines_decide():
    """Domains of different bands."""
    found = verdict(of_sets(untouched=None))
    assert found.passed
    assert found.headline.startswith("Closer to real images than every baseline, in both")
    behind = verdict(of_sets(untouched=None, simple=(5, 4, 6)))
    assert behind.state == "bad"
    alone = verdict(report(both(MODEL), FLOOR, metrics=[KID]))
    assert alone.state == "mixed"
    assert alone.headline.startswith("Nothing to compare the translations with")


def test_a_direction_without_the_metric_is_not_judged():
    found = verdict(of_sets({"ab": MODEL, "ba": kid(math.nan)}))
    assert found.headline.startswith("From summer to winter: closer to real winter")
    assert len(found.details) == 1


def test_one_direction_has_no_other():
    found = verdict(of_sets({"ab": MODEL}, directions=("ab",)))
    assert found.passed
    assert found.headline == ("Closer to real images than untranslated images and every baseline.")


def test_no_metric_no_verdict():
    values = both({"cycle": Value(3.0)})
    found = verdict(report(values, WEAK, metrics=[CYCLE]))
    assert (found.state, found.details) == ("mixed", ())


def test_names_keep_their_capitals():
    found = verdict(of_sets(names=("DEM", "SAR"), model=both(MODEL, kid(80, 70, 90))))
    assert "closer to real SAR than" in found.headline


# ---- several models -----------------------------------------------------------------------


def test_several_models_are_ranked_by_the_metric_that_decides():
    second = Method("second", "model", both(kid(25, 22, 28), kid(19, 16, 22)))
    methods = [Method("first", "model", both(MODEL)), second, FLOOR]
    found = report(None, methods=methods, metrics=[CYCLE, KID])
    assert ranking(found.comparison) == [
        "From summer to winter, first is best (KID × 1000: first 18.0, second 25.0).",
        "From winter to summer, first is best, but not distinguishable from second "
        "(KID × 1000: first 18.0, second 19.0).",
    ]
    assert ranking(of_sets().comparison) == []


# ---- beside the sources -------------------------------------------------------------------

SOURCE = (KID, CHANGE, CONTENT)
UNTOUCHED = Method("identity", "untouched", both(kid(40.0) | beside(0.0, 1.0)))
BUSY = Method("busy", "baseline", both(kid(60.0) | beside(60.0, 0.9)))


def said(ab, ba, **changes):
    """The sentences of the verdict about the sources."""
    own = {"ab": kid(20.0) | ab, "ba": kid(20.0) | ba}
    found = report(own, UNTOUCHED, BUSY, **{"metrics": SOURCE} | changes)
    return [line for line in found.verdict.details if "KID" not in line and "PSNR" not in line]


def test_a_model_that_hardly_changes_the_images_is_told():
    assert said(beside(1.234, 0.98), beside(2.7, 0.98)) == [
        "From summer to winter: hardly changes the images (mean change 1.23 levels of 255)."
    ]
    assert said(beside(1.0, 0.98, small=0.9), beside(9.0, 0.98)) == []
    assert said(beside(0.0, 1.0, small=None), beside(math.nan, math.nan)) == []


def test_a_model_that_loses_the_content_is_told():
    assert said(beside(30.0, 0.5), beside(30.0, 0.4321)) == [
        "From winter to summer: loses the content of the images (content kept 0.432 of 1), so it "
        "blurs, replaces or inverts what they show."
    ]
    assert len(said(beside(30.0, -1.0), beside(0.1, 0.2))) == 3


def test_images_with_blobs_are_told_from_two_in_a_hundred_on():
    some, few = {"blobs": Value(0.0634)}, {"blobs": Value(0.0199)}
    seen = beside(9.0, 0.98)
    assert said(seen | some, seen | few, metrics=(KID, CHANGE, CONTENT, BLOBS)) == [
        "From summer to winter: 6.3 % of the images have a place that changed far more than the "
        "rest (a blob): look at those that changed most, and train longer or with another --seed."
    ]


def test_where_the_truth_is_known_it_decides_what_is_to_be_kept():
    metrics = (*PAIRED, *SOURCE)
    found = report(both(GOOD | beside(30.0, 0.1), GOOD | beside(0.0, 1.0)), WEAK, metrics=metrics)
    assert found.verdict.passed
    assert found.verdict.details[2:] == (
        "From winter to summer: hardly changes the images (mean change 0.00 levels of 255).",
    )


def test_what_hardly_changes_the_images_is_never_closer_than_they_are():
    """A metric without an interval tells any two sets of images apart."""
    model = both(kid(39.0) | beside(0.1, 1.0), kid(41.0) | beside(0.1, 1.0))
    found = report(model, UNTOUCHED, BUSY, metrics=SOURCE).verdict
    assert found.headline == (
        "From summer to winter: not distinguishable from untranslated images. "
        "From winter to summer: not better than untranslated images."
    )
    assert found.details[0].startswith("From summer to winter: KID")


@pytest.mark.parametrize("change", [2.8, 20.0, 200.0])
@pytest.mark.parametrize("content", [0.1, 0.9])
def test_change_and_content_have_no_vote(change, content):
    plain = report(both(kid(20.0)), UNTOUCHED, BUSY, metrics=[KID]).verdict
    found = report(both(kid(20.0) | beside(change, content)), UNTOUCHED, BUSY, metrics=SOURCE)
    assert (found.verdict.state, found.verdict.headline) == (plain.state, plain.headline)
    assert found.verdict.details[:2] == plain.details
