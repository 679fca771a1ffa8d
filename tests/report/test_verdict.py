import math
from dataclasses import replace

import pytest

from small_report import (
    CYCLE,
    GOOD,
    KID,
    ORACLE,
    PAIRED,
    PSNR,
    WEAK,
    both,
    kid,
    report,
    scores,
)
from unpaired.metrics.metric import Metric, Value
from unpaired.report.report import Method
from unpaired.report.verdict import verdict

# ---- by the truth -------------------------------------------------------------------------


def test_above_in_all_is_a_pass_and_the_margins_are_told():
    found = verdict(report(both(GOOD, scores(25.5, 0.8, 0.7, 0.6))))
    assert found.passed
    assert (
        found.headline == "Above every unpaired baseline in both directions, in all four figures."
    )
    assert found.details == (
        "From summer to winter: 20.00 dB, 11.00 dB above the identity, 3.00 dB below the oracle.",
        "From winter to summer: 25.50 dB, 16.50 dB above the identity, 2.50 dB above the oracle.",
    )


def test_the_oracle_does_not_decide_the_verdict():
    oracle = Method("oracle", "oracle", both(scores(99.0)))
    assert verdict(report(both(GOOD), WEAK, oracle)).passed


@pytest.mark.parametrize("figure", ["psnr", "ssim", "acc16", "macro16"])
@pytest.mark.parametrize("gap", [0.0, 0.001])
def test_equal_or_below_in_one_figure_is_not_above(figure, gap):
    values = {"psnr": 20.0, "ssim": 0.8, "acc16": 0.7, "macro16": 0.6}
    ahead = scores(**dict.fromkeys(values, 0.0) | {figure: values[figure] + gap})
    rival = Method("rival", "baseline", both(scores(9.0, 0.2, 0.1, 0.1), ahead))
    found = verdict(report(both(scores(**values)), WEAK, rival, ORACLE))
    assert found.state == "mixed"
    assert found.headline == (
        "Above every unpaired baseline from summer to winter, but not the other way."
    )
    name = {"psnr": "PSNR", "ssim": "SSIM"}.get(figure, figure)
    assert f"not above rival ({name})" in found.details[1]
    assert "not above" not in found.details[0]


def test_below_in_everything_is_said_in_few_words():
    found = verdict(report(both(scores(5.0, 0.0, 0.0, 0.0))))
    assert found.state == "bad"
    assert found.headline == "Not above every unpaired baseline in either direction."
    assert all("not above identity (all figures)" in detail for detail in found.details)


def test_a_margin_under_two_decibels_is_called_noise():
    near = Method("identity", "untouched", both(scores(18.5, 0.2, 0.1, 0.1)))
    found = verdict(report(both(GOOD), near))
    assert found.passed
    assert all("1.50 dB above the identity (within the noise" in text for text in found.details)
    assert not any("noise" in text for text in verdict(report(both(GOOD))).details)
    unknown = report(both(GOOD), near, figures=[replace(PSNR, noise=None)])
    assert not any("noise" in text for text in verdict(unknown).details)


def test_a_figure_that_is_not_defined_does_not_count():
    model, weak = scores(20, 0.8, 0.7, math.nan), scores(9, 0.2, 0.1, math.nan)
    found = verdict(report(both(model), Method("identity", "untouched", both(weak))))
    assert found.passed
    assert found.headline.endswith("in all three figures.")


def test_exact_images_are_above_and_equal_ones_equal():
    exact = both(scores(math.inf, 1.0, 1.0, 1.0))
    assert verdict(report(exact)).passed
    found = verdict(report(exact, WEAK, Method("oracle", "oracle", exact)))
    assert found.details[0].endswith("equal to the oracle.")


def test_nothing_to_compare_is_no_pass():
    assert verdict(report(both(GOOD), ORACLE)).state == "mixed"
    one_way = Method("identity", "untouched", {"ab": scores(9.0, 0.2, 0.1, 0.1)})
    assert verdict(report(both(GOOD), one_way)).headline == (
        "Above every unpaired baseline from summer to winter, but not the other way."
    )
    undefined = scores(*[math.nan] * 4)
    assert verdict(report(both(undefined), WEAK)).state == "mixed"


def test_errors_are_better_where_they_are_lower():
    rmse = Metric("rmse", "RMSE", "", "paired", "lower", 1)
    model, worse = both({"rmse": Value(20.0)}), both({"rmse": Value(35.0)})
    found = verdict(report(model, Method("identity", "untouched", worse), figures=[rmse]))
    assert found.passed
    assert found.headline == "Above every unpaired baseline in both directions, in RMSE."
    assert found.details[0].endswith("20.0 RMSE, 15.0 RMSE less than the identity.")
    assert verdict(report(worse, Method("x", "baseline", model), figures=[rmse])).state == "bad"


def test_a_model_of_one_direction_is_judged_by_it():
    found = verdict(report({"ab": GOOD}, directions=("ab",)))
    assert found.passed
    assert found.headline == "Above every unpaired baseline, in all four figures."
    assert len(found.details) == 1
    poor = verdict(report({"ab": scores(1, 0, 0, 0)}, directions=("ab",)))
    assert (poor.state, poor.headline) == ("bad", "Not above every unpaired baseline.")


def test_the_truth_leads_and_the_sets_follow():
    model = both(GOOD | kid(18, 15, 21))
    weak = Method("identity", "untouched", both(scores(9, 0.2, 0.1, 0.1) | kid(17, 14, 20)))
    found = verdict(report(model, weak, figures=(KID, *PAIRED)))
    assert found.passed
    assert [text[:40] for text in found.details[:2]] == [
        "From summer to winter: 20.00 dB, 11.00 d",
        "From winter to summer: 20.00 dB, 11.00 d",
    ]
    assert found.details[2].startswith("From summer to winter, all together: cannot be told apart")


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
    return report(model or both(MODEL), *others, *floors, **{"figures": [KID]} | changes)


def test_closer_than_all_is_a_pass():
    found = verdict(of_sets())
    assert found.passed
    assert found.headline == (
        "Closer to real images than untouched images, and than every simple method, "
        "in both directions."
    )
    # (40 - 18) / (40 - 0.4)
    assert found.details[0] == (
        "From summer to winter: 56 % of the distance from untouched images to real ones is gone; "
        "still farther from real winter than other real images are. KID × 1000: "
        "18.0 (15.0 to 21.0), untouched images 40.0, histograms 25.0, real images 0.4."
    )


def test_intervals_that_overlap_are_not_told_apart():
    """The numbers alone would say "closer"."""
    found = verdict(of_sets(untouched=(22, 20, 24)))
    assert found.state == "mixed"
    assert found.headline == (
        "Cannot be told apart from leaving the images as they are (at this number of images), "
        "in both directions."
    )
    near = verdict(of_sets(simple=(22, 20, 24)))
    assert near.state == "mixed"
    assert near.headline == (
        "Closer to real images than untouched images, but not than every simple method, "
        "in both directions."
    )
    assert "not to be told apart from histograms" in near.details[0]
    assert "Reinhard" not in near.details[0]


def test_farther_than_untouched_is_a_failure():
    found = verdict(of_sets(untouched=(10, 9, 11)))
    assert found.state == "bad"
    assert found.headline == (
        "Not better than leaving the images as they are, in either direction."
    )
    assert "1.8 times as far from real winter as the untouched images are" in found.details[0]
    assert "is gone" not in found.details[0]


def test_each_direction_has_its_own_words():
    model = both(MODEL, kid(80.0, 70.0, 90.0))
    found = verdict(of_sets(model))
    assert found.state == "mixed"
    assert found.headline == (
        "From summer to winter: closer to real winter than untouched images, and than every "
        "simple method. From winter to summer: not better than leaving the images as they are."
    )


def test_a_simple_method_that_is_closer_is_named():
    found = verdict(of_sets(simple=(5, 4, 6)))
    assert found.state == "mixed"
    assert "not as close as histograms; still" in found.details[0]


def test_the_distance_of_real_images_is_a_measure():
    real = Method("real", "floor", both(kid(6.0, 5.0, 7.0)))
    assert (
        "still 3.0 times as far from real winter as other real images are"
        in (verdict(of_sets(floor=real)).details[0])
    )
    wide = Method("real", "floor", both(kid(16.0, 14.0, 18.0)))
    assert "cannot be told apart from real images" in verdict(of_sets(floor=wide)).details[0]
    far = Method("real", "floor", both(kid(30.0, 25.0, 35.0)))
    assert (
        "closer to real winter than other real images are"
        in (verdict(of_sets(floor=far)).details[0])
    )
    assert "real images" not in verdict(of_sets(floor=None)).details[0].split("gone; ")[-1]


def test_distances_without_intervals_are_compared_by_their_numbers():
    points = {"untouched": (40,), "simple": (25,), "floor": None}
    assert verdict(of_sets(both(kid(24.9)), **points)).passed
    same = verdict(of_sets(both(kid(40)), **points))
    assert "cannot be told apart from leaving the images as they are, in" in same.headline.lower()


def test_without_untouched_images_the_simple_methods_decide():
    """Domains of different bands."""
    found = verdict(of_sets(untouched=None))
    assert found.passed
    assert found.headline.startswith("Closer to real images than every simple method, in both")
    behind = verdict(of_sets(untouched=None, simple=(5, 4, 6)))
    assert behind.state == "bad"
    alone = verdict(report(both(MODEL), FLOOR, figures=[KID]))
    assert alone.state == "mixed"
    assert alone.headline.startswith("Nothing to hold the translations against")


def test_a_direction_without_the_figure_is_not_spoken_for():
    found = verdict(of_sets({"ab": MODEL, "ba": kid(math.nan)}))
    assert found.headline.startswith("From summer to winter: closer to real winter")
    assert len(found.details) == 1


def test_one_direction_has_no_other():
    found = verdict(of_sets({"ab": MODEL}, directions=("ab",)))
    assert found.passed
    assert found.headline == (
        "Closer to real images than untouched images, and than every simple method."
    )


def test_no_figure_no_verdict():
    values = both({"cycle": Value(3.0)})
    found = verdict(report(values, WEAK, figures=[CYCLE]))
    assert (found.state, found.details) == ("mixed", ())


def test_names_keep_their_capitals():
    found = verdict(of_sets(names=("DEM", "SAR"), model=both(MODEL, kid(80, 70, 90))))
    assert "closer to real SAR than" in found.headline
