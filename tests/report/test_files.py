import json
import math
import re

import numpy as np
import pytest

from small_report import (
    CYCLE,
    GOOD,
    KID,
    ORACLE,
    PAIRED,
    WEAK,
    both,
    kid,
    noise,
    report,
    scores,
)
from unpaired import storage
from unpaired.directions import DIRECTIONS
from unpaired.metrics.metric import Value
from unpaired.report import files as module
from unpaired.report.files import contact_sheet, write_report
from unpaired.report.report import Example, Finding, Method
from unpaired.report.text import as_text

FILES = ["report.json", "pictures.png", "index.html"]
LOUD = Finding("hidden cycle", "winter -> summer", math.inf, 1.5, True, "it hides", "lower --cycle")
UNMADE = Finding("collapse", "summer -> winter", math.nan, math.nan, False, "not checked: no", "")
QUIET = Finding("collapse", "winter -> summer", 0.9, 0.5, False, "outputs differ", "")


# ---- the folder ---------------------------------------------------------------------------


def test_the_index_is_written_last(tmp_path, monkeypatch):
    renamed = []
    rename = storage.os.replace

    def spy(source, target):
        renamed.append(target.name)
        rename(source, target)

    monkeypatch.setattr(storage.os, "replace", spy)
    page = write_report(report(both(GOOD)), tmp_path / "run" / "report")
    assert page == tmp_path / "run" / "report" / "index.html"
    assert renamed == FILES
    assert sorted(path.name for path in page.parent.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("fails", ["files.render", "files.contact_sheet", "report.Report.to_dict"])
def test_a_report_that_fails_leaves_the_old_one(tmp_path, monkeypatch, fails):
    def broken(*args):
        raise RuntimeError("broken")

    write_report(report(both(GOOD)), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(f"unpaired.report.{fails}", broken)
    with pytest.raises(RuntimeError, match="broken"):
        write_report(report(both(GOOD), title="Another"), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# ---- the contact sheet --------------------------------------------------------------------


def example(seed, height=8, width=8, **parts):
    return Example("x", noise(seed, height, width), noise(seed + 1, height, width), **parts)


def test_the_sheet_has_the_first_choice_of_all_directions_side_by_side():
    examples = {
        direction: {
            "at random": [example(index, cycle=noise(index + 5)) for index in (1, 2)],
            "the worst": [example(7)] * 9,
        }
        for direction in DIRECTIONS
    }
    sheet = np.asarray(contact_sheet(report(both(GOOD), examples=examples)))
    assert sheet.shape == (22 + 2 * 132, 4 + 8 * 132, 3)
    for column, seed in ((0, 1), (1, 2), (2, 6), (4, 1)):
        left = 4 + 132 * column
        np.testing.assert_array_equal(sheet[22:150:16, left : left + 128 : 16], noise(seed))


def test_the_titles_use_characters_that_the_font_has(monkeypatch):
    titles = []

    def spy(columns, cell, captions):
        titles.extend(title for title, _ in columns)
        assert captions == [["12.34 dB"] if "generated" in title else [""] for title in titles]

    monkeypatch.setattr(module, "draw_grid", spy)
    contact_sheet(report(both(GOOD)))
    assert titles[:4] == ["summer", "generated winter", "true winter", "5 x difference"]


def test_captions_stand_below_the_generated_images():
    examples = {
        "ab": {"at random": [example(1, caption="change 7.5"), example(2, caption="change 3.0")]}
    }
    sheet = np.asarray(contact_sheet(report({"ab": GOOD}, directions=("ab",), examples=examples)))
    assert sheet.shape == (22 + 2 * (132 + 16), 4 + 2 * 132, 3)
    for row in range(2):
        below = sheet[22 + 148 * row + 128 : 22 + 148 * row + 144]
        assert (below[:, :132] == 255).all()
        assert (below[:, 136:264] < 128).any()
        cell = sheet[22 + 148 * row : 22 + 148 * row + 128 : 16, 136:264:16]
        np.testing.assert_array_equal(cell, noise(row + 2))


def test_large_images_keep_their_proportion():
    examples = {"ab": {"at random": [example(1, 600, 300)]}}
    one_way = report({"ab": GOOD}, directions=("ab",), examples=examples)
    sheet = np.asarray(contact_sheet(one_way))
    assert sheet.shape == (22 + 260, 4 + 2 * 260, 3)
    cell = sheet[22:278, 4:260]
    assert (cell[:, :64] == 255).all()
    assert (cell[:, 192:] == 255).all()
    assert 60 < cell[:, 64:192].mean() < 190


# ---- JSON ---------------------------------------------------------------------------------


def test_json_holds_values_unscaled_and_is_strict():
    model = both(scores(math.inf, 1.0, 0.5, math.nan) | kid(18.0, 15.0, 21.0))
    floor = Method("real", "floor", both(kid(-0.5)))
    found = report(
        model,
        WEAK,
        floor,
        metrics=(*PAIRED, KID),
        findings=[LOUD, UNMADE],
        record={"seed": 3, "data_fingerprint": "sha256:abc"},
    )
    text = json.dumps(found.to_dict(), allow_nan=False)  # strict
    read = json.loads(text)
    assert (read["format"], read["seed"], read["data_fingerprint"]) == (1, 3, "sha256:abc")
    assert read["domains"] == {"a": "summer", "b": "winter"}
    assert read["paired"] is True
    row = read["scores"]["ba"]["the model"]
    assert row["kind"] == "model"
    assert row["values"]["psnr"] == {"value": "Infinity"}
    assert row["values"]["macro16"] == {"value": None}
    assert row["values"]["kid"] == pytest.approx({"value": 0.018, "low": 0.015, "high": 0.021})
    assert row["per_class"] == {"sky": 0.5, "lake": 0.25}
    assert read["scores"]["ab"]["real"] == {"kind": "floor", "values": {"kid": {"value": -0.0005}}}
    assert read["figures"]["kid"]["shown_times"] == 1000
    assert read["figures"]["kid"]["better"] == "lower"
    assert [finding["value"] for finding in read["findings"]] == ["Infinity", None]
    assert read["findings"][0]["advice"] == "lower --cycle"
    assert read["verdict"]["passed"] is (read["verdict"]["state"] == "good")
    assert read["verdict"]["text"][0].startswith("Better than every unpaired baseline")


def test_json_of_one_direction():
    found = report({"ba": GOOD}, directions=("ba",)).to_dict()
    assert list(found["scores"]) == ["ba"]


# ---- text ---------------------------------------------------------------------------------


def test_text_has_the_table_and_the_verdict():
    lines = as_text(report(both(GOOD))).splitlines()
    assert lines[1:5] == [
        "summer -> winter     PSNR     SSIM    acc16  macro16",
        "  the model         20.00    0.800    0.700    0.600",
        "  identity           9.00    0.200    0.100    0.100",
        "  oracle *          23.00    0.500    0.500    0.500",
    ]
    assert "  * uses pairs" in lines
    assert lines[-3].startswith(
        "Better than every unpaired baseline in all four metrics, in both d"
    )
    assert lines[-2].startswith("  From summer to winter: PSNR 20.00 dB")


def test_text_has_a_table_for_each_kind_and_is_plain():
    model = both(kid(18.24, 15, 21.5) | {"cycle": Value(3.0)})
    weak = Method("identity", "untouched", both(kid(40.0)))
    text = as_text(report(model, weak, metrics=[KID, CYCLE]))
    text.encode("ascii")
    assert text.splitlines()[1:7] == [
        "summer -> winter         KID x 1000",
        "  the model       18.2 (15.0..21.5)",
        "  identity                     40.0",
        "",
        "summer -> winter    cycle",
        "  the model          3.00",
    ]


def test_text_has_the_warnings():
    text = as_text(report(both(GOOD), WEAK, findings=[QUIET, LOUD, UNMADE]))
    assert text.endswith("Warning: hidden cycle (winter -> summer): it hides\n  lower --cycle")
    quiet = as_text(report(both(GOOD), WEAK, findings=[QUIET, UNMADE]))
    assert quiet.endswith("\n1 check for common failures, nothing found.")
    assert not re.search("check|Warning", as_text(report(both(GOOD), WEAK, ORACLE)))
