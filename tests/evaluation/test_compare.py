import json
import os
from dataclasses import replace

import numpy as np
import pytest

from small_models import keep, model
from unpaired.cli.main import main
from unpaired.errors import ConfigError
from unpaired.evaluation.evaluate import compare, evaluate

FLOOR = "real training images"


def values_of(report, name, direction="ab"):
    (method,) = (method for method in report.methods if method.name == name)
    return {key: value.value for key, value in method.values[direction].items()}


def names_of(report, direction="ab"):
    return [method.name for method in report.methods if direction in method.values]


@pytest.fixture
def loads(monkeypatch, tmp_path):
    """`load` gives a model by the name of its folder."""
    kinds = {
        "good": {},
        "lazy": {"ab": keep, "ba": keep},
        "identity": {"ab": keep, "ba": keep},
        "one-way": {"ba": None},
        "back": {"ab": None},
        "other": {"name_b": "autumn"},
        "deep": {"depth_b": 16},
        "large": {"image_size": 32, "load_size": 32},
    }

    def load(path, **options):
        found = model(tmp_path, **kinds[path.name])
        return replace(found, path=path / "model.safetensors")

    monkeypatch.setattr("unpaired.evaluation.evaluate.load", load)


def test_models_stand_side_by_side_beside_one_set_of_baselines(pairs, loads, features):
    report = compare(["runs/good", "runs/lazy"], pairs, features=features)
    assert [method.name for method in report.comparison.of_kind("model")] == ["good", "lazy"]
    assert len(names_of(report)) == len(set(names_of(report)))
    assert names_of(report).count("identity") == names_of(report).count(FLOOR) == 1
    assert values_of(report, "good")["psnr"] == np.inf
    lazy = values_of(report, "lazy")
    untouched = values_of(report, "identity")
    assert {key: lazy[key] for key in untouched} == untouched
    assert list(report.examples["ab"]) == ["good, at random", "lazy, at random"]
    good, other = ([e.name for e in group] for group in report.examples["ab"].values())
    assert good == other
    assert report.findings == []
    assert report.config == ""
    assert {"good", "lazy"} <= report.facts.keys()
    assert report.record["steps"] == {"good": 8, "lazy": 8}


def test_a_comparison_gives_what_an_evaluation_gives(pairs, loads, features, tmp_path):
    both = compare(["x/good", "x/lazy"], pairs, features=features)
    alone = evaluate(model(tmp_path, keep, keep), pairs, features=features)
    assert values_of(both, "lazy") == values_of(alone, "the model")


def test_names_tell_models_apart(pairs, loads):
    def names(*paths):
        return [m.name for m in compare(paths, pairs).comparison.of_kind("model")]

    assert names("x/good", "y/good") == ["x/good", "y/good"]
    assert names("x/identity", "y/good") == ["model identity", "good"]


def test_comparisons_that_make_no_sense_are_refused(pairs, loads):
    for paths, text in (
        (["x/good"], "two models or more"),
        (["x/good", "x/good"], "each given once"),
        (["x/good", "x/other"], "different domains.*winter.*autumn"),
        (["x/good", "x/deep"], "different domains.*8.*16"),
        (["x/one-way", "x/back"], "no direction in common"),
        (["x/good", "x/large"], "good at 16, large at 32 px.*--image-size"),
    ):
        with pytest.raises(ConfigError, match=text):
            compare(paths, pairs)


def test_directions_in_common_are_compared(pairs, loads):
    report = compare(["x/good", "x/one-way"], pairs)
    assert report.directions == ("ab",)
    assert "cycle" in values_of(report, "good")
    assert "cycle" not in values_of(report, "one-way")


# ---- the command line ---------------------------------------------------------------------


def test_the_verb_evaluate_writes_into_the_run(pairs, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("unpaired.evaluation.evaluate.load", lambda *each, **more: model(tmp_path))
    (tmp_path / "run").mkdir()
    assert main(["evaluate", str(tmp_path / "run"), str(pairs), "--limit", "4"]) == 0
    written = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert written["n"] == {"a": 4, "b": 4}
    assert written["scores"]["ab"]["the model"]["values"]["psnr"] == {"value": "Infinity"}
    out = capsys.readouterr().out
    assert "summer -> winter" in out
    assert out.rstrip().endswith(os.path.join("report", "index.html"))


def test_the_verb_evaluate_asks_for_a_folder_where_there_is_none(pairs, tmp_path, capsys):
    file = tmp_path / "m.safetensors"
    assert main(["evaluate", str(file), str(pairs)]) == 2
    assert f"{file} does not exist" in capsys.readouterr().err
    file.write_bytes(b"")
    assert main(["evaluate", str(file), str(pairs)]) == 2
    assert "give --out" in capsys.readouterr().err


def test_the_verb_compare(pairs, loads, tmp_path, capsys):
    words = ["compare", "x/good", "x/lazy", "--data", str(pairs), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {"good", "lazy", "identity"} <= written["scores"]["ba"].keys()
    assert sorted(os.listdir(tmp_path / "out")) == ["index.html", "pictures.png", "report.json"]
    assert main(["compare", "x/good", *words[3:]]) == 2
    assert "unpaired: compare needs two models" in capsys.readouterr().err
