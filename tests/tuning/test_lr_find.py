"""The search for a learning rate: the ladder, what is measured and suggested, and its faces."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

import unpaired
import unpaired.tuning.lr_find as tuning
from conftest import SMALL, write_images
from fake_engine import FakeEngine
from training.test_resume import train
from unpaired.checkpoint import checkpoints, read
from unpaired.cli.main import main
from unpaired.console import duration
from unpaired.engines.choice import make_engine
from unpaired.errors import ConfigError
from unpaired.tuning.lr_curve import LrCurve, Rung
from unpaired.tuning.lr_find import lr_find

ASKED = {"preset": "tiny", "recipe": SMALL, "runtime": {"threads": 1}}


@pytest.fixture
def engines(monkeypatch):
    """The engines of a search: fake ones, whose updates are as large as their rate factor."""
    made = []

    class Following(FakeEngine):
        def __init__(self, recipe, runtime):
            super().__init__(recipe, runtime)
            self.loaded, self.seen, self.factors, self.broken = [], [], [], math.inf
            made.append(self)

        def load(self, arrays):
            self.loaded.append({k: v.copy() for k, v in arrays.items()})
            self.seen.append([])
            self.factors.append([])
            super().load(arrays)

        def train_step(self, batch, rate_factor):
            self.seen[-1].append(batch.real_a.sum())
            self.factors[-1].append(rate_factor)
            for name in list(self.arrays):
                if name.endswith(".weight"):
                    self.arrays[name] = self.arrays[name] + 0.001 * rate_factor
            loss = math.nan if rate_factor > self.broken else 0.3
            return {"cycle_a": loss, "adversarial_ab": 0.2}

    monkeypatch.setattr(tuning, "make_engine", Following)
    return made


def test_rungs_share_weights_and_batches_and_differ_in_their_rate(engines, data):
    rates = (1e-4, 4e-4, 2e-4)
    curve = lr_find(data, rates=rates, length=8, **ASKED)
    (engine,) = engines
    assert [rung.rate for rung in curve.rungs] == sorted(rates)
    assert len(engine.loaded) == 3
    for state in engine.loaded[1:]:
        for name, array in state.items():
            np.testing.assert_array_equal(array, engine.loaded[0][name])
    assert engine.seen[0] == engine.seen[1] == engine.seen[2]
    assert len(engine.seen[0]) == 8
    base = engine.recipe.learning_rate  # 4e-4 of `tiny`
    for rate, factors in zip(sorted(rates), engine.factors, strict=True):
        decay = [engine.recipe.rate_factor(step) for step in range(8)]
        np.testing.assert_allclose(factors, np.array(decay) * rate / base)
    assert decay[0] == 1 > decay[-1]  # the schedule, over the length
    assert engine.recipe.validation == 0.1
    assert (curve.steps, curve.ratio) == (8, 1)


def test_the_share_of_updates_is_that_of_the_full_rate(engines, data, monkeypatch):
    """An update adds .001 x factor to weights that are near 1: shares follow from the rates."""
    ones = tuning.initial_state

    def initial_state(shapes, recipe):
        return {n: np.ones_like(a) if n.endswith("weight") else a for n, a in shapes.items()}

    monkeypatch.setattr(tuning, "initial_state", initial_state)
    assert ones is not initial_state
    curve = lr_find(data, rates=(1e-4, 4e-4), length=8, **ASKED)
    np.testing.assert_allclose([rung.share for rung in curve.rungs], [0.00025, 0.001], rtol=0.01)


def test_above_an_unstable_rate_none_is_tried(engines, data, monkeypatch):
    class Breaking(tuning.make_engine):
        def __init__(self, recipe, runtime):
            super().__init__(recipe, runtime)
            self.broken = 1.5

    monkeypatch.setattr(tuning, "make_engine", Breaking)
    curve = lr_find(data, length=8, **ASKED)
    assert [rung.rate / 4e-4 for rung in curve.rungs] == [1 / 8, 1 / 4, 1 / 2, 1, 2]
    assert curve.rungs[-1].problem == "cycle_a is nan at step 1"
    assert math.isnan(curve.rungs[-1].criterion)
    assert curve.suggestion <= 4e-4
    assert "unstable: 0.0008 (cycle_a is nan at step 1)" in curve.reason


def test_a_loss_that_explodes_is_unstable():
    first = {"cycle_a": [0.3] * 20}
    assert tuning._problem({"cycle_a": 2.9}, first, 30) == ""
    assert tuning._problem({"cycle_a": 3.1}, first, 30) == "cycle_a is 3.1 at step 31, 0.3 at first"
    assert (
        tuning._problem({"cycle_a": 0.9}, {"cycle_a": [0.01] * 20}, 30) == ""
    )  # small in any case
    assert tuning._problem({"cycle_a": 3.1}, {"cycle_a": [0.3] * 19}, 19) == ""


@pytest.mark.parametrize("name", ["torch", pytest.param("jax", marks=pytest.mark.nightly)])
def test_a_rate_gives_what_a_training_at_that_rate_gives(data, name, monkeypatch):
    """Of a real engine: rates as factors of the recipe's are the rates of the recipe."""
    pytest.importorskip(name, reason=f"the {name} engine is not installed")
    how = {"engine": name, "threads": 1, "device": "cpu:0" if name == "jax" else "cpu"}
    states = []

    def make(recipe, runtime):
        engine = make_engine(recipe, runtime)
        states.append(engine)
        return engine

    monkeypatch.setattr(tuning, "make_engine", make)
    recipe = SMALL | {"validation": 0.3}
    at = {"preset": "tiny", "runtime": how, "length": 4, "rates": (1.6e-3,)}
    scaled = lr_find(data, recipe=recipe, **at)
    own = recipe | {"learning_rate": 1.6e-3, "discriminator_rate": 1.6e-3}
    direct = lr_find(data, recipe=own, **at)
    for key, array in states[0].state().items():
        np.testing.assert_allclose(states[1].state()[key], array, rtol=1e-4, atol=1e-6)
    assert scaled.rungs[0].criterion == pytest.approx(direct.rungs[0].criterion, rel=1e-3)
    assert 0 < scaled.rungs[0].share < 1


def rungs(*criteria, **more):
    rates = [1e-4 * 2**index for index in range(len(criteria))]
    return tuple(
        Rung(rate, value, True, 1e-3, "" if math.isfinite(value) else "it broke", **more)
        for rate, value in zip(rates, criteria, strict=True)
    )


def curve_of(*criteria):
    return LrCurve(rungs(*criteria), "colours", 300, 0.5)


def test_the_lowest_criterion_is_suggested_and_the_middle_of_equals():
    assert curve_of(0.9, 0.5, 0.7).suggestion == 2e-4
    assert "its criterion of 0.5 is the lowest" in curve_of(0.9, 0.5, 0.7).reason
    assert curve_of(0.9, 0.51, 0.5).suggestion == 2e-4
    flat = curve_of(0.9, 0.51, 0.51, 0.5, 0.9)
    assert flat.suggestion == 4e-4
    assert "the middle of those within 3% of the lowest criterion (0.5 at 0.0008)" in flat.reason
    assert curve_of(0.9, 0.52, 0.5).suggestion == 4e-4
    assert "it is the end of the ladder: higher --rates" in curve_of(0.9, 0.52, 0.5).reason
    assert "lower --rates" in curve_of(0.5, 0.9).reason
    none = curve_of(math.nan)
    assert none.suggestion is None
    assert none.reason.startswith("every rate was unstable")
    assert "suggestion: none" in none.to_text()


def test_rates_that_left_images_as_they_are_do_not_win():
    first, second = rungs(0.4, 0.6)
    curve = LrCurve((replace(first, moved=False), second), "m", 300)
    assert curve.suggestion == second.rate
    still = LrCurve((replace(first, moved=False), replace(second, moved=False)), "m", 300)
    assert still.suggestion == first.rate
    assert "give a longer --length" in still.reason


def test_text_svg_and_plain_data():
    curve = curve_of(0.8, 0.5, 0.6, math.nan)
    text = curve.to_text()
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()[:1].isdigit()}
    assert lines["0.0002"].endswith("<- suggested")
    assert lines["0.0001"].count("█") == 24
    assert lines["0.0002"].count("█") == 15
    assert "it broke" in lines["0.0008"]
    assert "suggestion: --learning-rate 0.0002 --discriminator-rate 0.0001" in text
    svg = ET.fromstring(curve.to_svg())
    spots = [e for e in svg.iter() if e.tag.endswith("circle")]
    assert len(spots) == 3
    heights = [float(each.get("cy")) for each in spots]
    assert max(heights) == heights[1]  # the lowest criterion is the farthest down
    wide = [float(each.get("cx")) for each in spots]
    np.testing.assert_allclose(wide[1] - wide[0], wide[2] - wide[1], atol=0.2)  # logarithmic
    assert curve._repr_html_() == curve.to_svg()
    found = curve.to_dict()
    assert found["suggestion"] == 2e-4
    assert found["rungs"][3]["criterion"] is None
    assert ET.fromstring(curve_of(math.nan).to_svg()) is not None
    assert ET.fromstring(curve_of(0.5).to_svg()) is not None


def test_the_command_writes_a_curve_and_touches_no_run(engines, data, tmp_path, capsys, shown):
    monkey = tmp_path / "run"
    monkey.mkdir()
    words = ["lr-find", str(data), "--preset", "tiny", "--length", "4", "--rates", "1e-4", "4e-4"]
    words += [f"--{n.replace('_', '-')}={v}" for n, v in SMALL.items() if n not in ("steps",)]
    before = sorted(tmp_path.rglob("*"))
    assert main([*words, "--out", str(tmp_path / "lr.svg")]) == 0
    assert sorted({*tmp_path.rglob("*")} - {*before}) == [tmp_path / "lr.svg"]
    out = capsys.readouterr().out
    assert "suggestion: --learning-rate" in out
    ET.parse(tmp_path / "lr.svg")
    assert duration(0) == "0 s"


def test_progress_is_over_all_rates(engines, data, on_progress):
    seen = []
    on_progress(lambda done, total: seen.append((done, total)))
    lr_find(data, rates=(1e-4, 2e-4), length=4, **ASKED)
    assert [each for each in seen if each[1] == 8] == [(done, 8) for done in range(1, 9)]


def test_from_the_weights_of_a_run(data, tmp_path):
    pytest.importorskip("torch", reason="the torch engine is not installed")
    run = train(data, tmp_path / "run", recipe={"steps": 4}, runtime={"report": "none"}).folder
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    old = read(checkpoints(run)[-1])[1]["generator_ab.stem.weight"]
    held = []

    def begin_from(*given, usual=tuning.begin_from):
        state, told = usual(*given)
        held.append(state)
        return state, told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "begin_from", begin_from)
        curve = unpaired.lr_find(data, init=run, rates=(1e-4,), length=2, **ASKED)
    np.testing.assert_array_equal(held[0]["generator_ab.stem.weight"], old)
    assert curve.rungs[0].criterion > 0
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "asked", [{"rates": (0.0,)}, {"rates": (-1e-4, 1.0)}, {"length": 0}, {"rates": (math.nan,)}]
)
def test_rates_and_lengths_that_cannot_be(data, asked):
    with pytest.raises(ConfigError, match="give up to 100 rates over 0"):
        lr_find(data, **ASKED, **asked)


def test_values_that_a_run_settles_are_settled(engines, data, monkeypatch):
    """`small` asks for automatic precision and start; every engine has both settled."""
    monkeypatch.setattr(tuning, "choose_start", lambda *given, **how: "residual")
    recipe = {n: v for n, v in SMALL.items() if n not in ("upsample", "steps")}
    lr_find(data, preset="small", recipe=recipe, rates=(1e-4,), length=2, runtime={"threads": 1})
    assert engines[-1].recipe.precision in ("fp32", "bf16")
    assert engines[-1].recipe.start == "residual"
    assert engines[-1].recipe.cycle == 1


def test_data_of_two_folders(engines, tmp_path):
    for seed, name in enumerate(("day", "night")):
        write_images(tmp_path / name, 4, seed)
    curve = lr_find((tmp_path / "day", tmp_path / "night"), rates=(1e-4,), length=3, **ASKED)
    assert curve.measure.startswith("colour x patches")
