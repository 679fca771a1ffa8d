"""The comparison of recipes (bench/recipes.py): pairing, resuming, and the interval."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from fake_engine import FakeEngine
from unpaired.presets import preset

ROOT = Path(__file__).parents[1]
TINY = 'preset = "tiny"\nload_size = 12\nimage_size = 8\ndiscriminator_layers = 1\nbatch_size = 1\n'


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("recipes", ROOT / "bench" / "recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = []

    def make(recipe, runtime):
        made.append(recipe)
        return FakeEngine(recipe, runtime)

    monkeypatch.setattr(module, "make_engine", make)
    return module, made


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_are_paired_and_finished_ones_are_skipped(bench, data, tmp_path, capsys):
    module, made = bench
    rows, out = tmp_path / "rows.toml", tmp_path / "out" / "results.jsonl"
    rows.write_text(f"[one]\n{TINY}\n[other]\n{TINY}cycle = 2.0\n")
    words = [str(data), "--rows", str(rows), "--out", str(out), "--validation", "0.4"]
    words += ["--at", "2", "4", "--seeds", "0", "1"]
    module.main([*words, "--steps", "5", "--only", "one"])
    module.main([*words, "--steps", "5"])
    module.main([*words, "--steps", "5"])
    assert [(x["row"], x["seed"]) for x in lines_of(out)] == [
        ("one", 0), ("one", 1), ("other", 0), ("other", 1),
    ]  # fmt: skip
    assert [(recipe.seed, recipe.cycle) for recipe in made] == [(0, 10), (1, 10), (0, 2), (1, 2)]
    by_row = {(x["row"], x["seed"]): x["criteria"] for x in lines_of(out)}
    assert list(by_row["one", 0]) == ["2", "4", "5"]
    # The fake engine has no losses, so rows that differ in their weights alone are equal.
    assert by_row["one", 0] == by_row["other", 0] != by_row["one", 1]
    assert "+0 [+0, +0]" in capsys.readouterr().out.splitlines()[-1]
    module.main([*words, "--steps", "3", "--only", "one"])  # another budget is another line
    assert [x["steps"] for x in lines_of(out)] == [5, 5, 5, 5, 3, 3]


def test_a_budget_in_minutes_sets_the_steps(bench, data, tmp_path, monkeypatch):
    module, _ = bench
    rows, out = tmp_path / "rows.toml", tmp_path / "results.jsonl"
    rows.write_text(f"[one]\n{TINY}")
    monkeypatch.setattr(module, "seconds_per_step", lambda engine, batches: 0.5)
    words = [str(data), "--rows", str(rows), "--out", str(out), "--validation", "0.4"]
    module.main([*words, "--minutes", "0.1", "--seeds", "3"])
    (line,) = lines_of(out)
    assert (line["steps"], list(line["criteria"])) == (12, ["12"])


def test_a_row_that_changed_is_rejected(bench, data, tmp_path, capsys):
    module, _ = bench
    rows, out = tmp_path / "rows.toml", tmp_path / "results.jsonl"
    words = [str(data), "--rows", str(rows), "--out", str(out), "--validation", "0.4"]
    words += ["--steps", "1", "--seeds", "0"]
    rows.write_text(f"[one]\n{TINY}")
    module.main(words)
    rows.write_text(f"[one]\n{TINY}cycle = 2.0\n")
    with pytest.raises(SystemExit):
        module.main(words)
    assert "give it another name" in capsys.readouterr().err
    assert len(lines_of(out)) == 1


def test_the_interval_is_that_of_a_paired_t_test(bench):
    module, _ = bench
    x, y = np.random.default_rng(3).normal(size=(2, 6))
    low, mean, high = module.interval(list(x - y))
    expected = scipy.stats.ttest_rel(x, y).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean == pytest.approx((x - y).mean())
    assert module.interval([0.5]) == (-math.inf, 0.5, math.inf)


def test_the_rows_at_hand_are_recipes(bench):
    rows = bench[0].tomllib.loads((ROOT / "bench" / "recipes.toml").read_text())
    for values in rows.values():
        preset(values["preset"], {k: v for k, v in values.items() if k != "preset"})
