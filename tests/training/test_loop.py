"""What the loop hands to the engine, to the disk and to people, seen by an engine that records."""

import signal
from dataclasses import astuple

import numpy as np
import pytest
from PIL import Image

import unpaired.training.loop as loop
import unpaired.training.run as run_folder
from conftest import QUICK, SMALL, write_images
from fake_engine import FakeEngine
from unpaired import console
from unpaired.checkpoint import checkpoints, read
from unpaired.data.batches import pool_plan
from unpaired.data.kept import KeptImages
from unpaired.errors import DataError, Interrupted, RunError
from unpaired.storage import exclusive
from unpaired.streams import POOL_A, POOL_B


class Recorder(FakeEngine):
    """Records its input in lists that are new for each test."""

    factors: list
    batches: list
    translated: list

    def train_step(self, batch, rate_factor):
        self.factors.append(rate_factor)
        self.batches.append(batch)
        return super().train_step(batch, rate_factor)

    def translate(self, images, direction):
        self.translated.append((direction, images))
        return super().translate(images, direction)


@pytest.fixture
def recorder(monkeypatch):
    """`train` with an engine that records, and its records."""
    for name in ("factors", "batches", "translated"):
        monkeypatch.setattr(Recorder, name, [], raising=False)
    monkeypatch.setattr(loop, "make_engine", Recorder)
    return Recorder


def before_each_step(monkeypatch, act):
    """`train` with an engine that calls `act` in every step, before the step's work."""

    class Acting(FakeEngine):
        def train_step(self, batch, rate_factor):
            act()
            return super().train_step(batch, rate_factor)

    monkeypatch.setattr(loop, "make_engine", Acting)


def train(data, out, recipe=None, **rest):
    rest = {"preset": "tiny", "runtime": QUICK} | rest
    return loop.train(data, out=out, recipe=SMALL | (recipe or {}), **rest)


def newest(folder):
    return read(checkpoints(folder)[-1])


# What the engine is given


@pytest.mark.parametrize(
    ("schedule", "by_hand"),
    [
        ("linear", [1.0] * 10 + [1 - k / 10 for k in range(10)]),
        ("epochs", [1.0] * 8 + [2 / 3] * 4 + [1 / 3] * 4 + [0.0] * 4),  # 5 of 4 steps, 2 fall
    ],
)
def test_each_step_has_its_own_rate(recorder, data, tmp_path, schedule, by_hand):
    recipe = train(data, tmp_path / "run", {"schedule": schedule}).config.recipe
    assert recorder.factors == [recipe.rate_factor(step) for step in range(20)]
    np.testing.assert_allclose(recorder.factors, by_hand, atol=1e-12)


def test_a_resumed_run_has_the_rates_of_its_steps(recorder, data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        before_each_step(patch, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted, match="stopped at step 1 of 20"):
            train(data, tmp_path / "run")
    recipe = train(data, tmp_path / "run").config.recipe
    assert recorder.factors == [recipe.rate_factor(step) for step in range(1, 20)]


def test_each_pool_has_a_plan_of_its_own(recorder, data, tmp_path):
    recipe = train(data, tmp_path / "run").config.recipe

    def plans(pools):
        return [np.stack(astuple(pool)).tolist() for pool in pools]

    def planned(name):
        return plans(pool_plan(recipe, name, step, slice(None)) for step in range(20))

    given_a = plans(batch.pool_a for batch in recorder.batches)
    given_b = plans(batch.pool_b for batch in recorder.batches)
    assert given_a == planned(POOL_A)
    assert given_b == planned(POOL_B)
    full = slice(recipe.pool_size, None)  # while they fill, both plans are the same
    assert sum(a != b for a, b in zip(given_a[full], given_b[full], strict=True)) > 8


def whole_images(folder):
    """The images of a folder as an engine of crops of 8 pixels is given them whole."""
    return np.stack(
        [
            np.asarray(Image.open(path).resize((8, 8), Image.Resampling.BICUBIC)) / 127.5 - 1
            for path in sorted(folder.iterdir())
        ]
    )


def test_samples_show_the_test_images(recorder, data, tmp_path):
    train(data, tmp_path / "run")
    (way_a, a), (way_b, b), *_ = recorder.translated
    assert (way_a, way_b) == ("ab", "ba")
    np.testing.assert_allclose(a, whole_images(data / "testA"), atol=1e-6)
    np.testing.assert_allclose(b, whole_images(data / "testB"), atol=1e-6)


def test_samples_show_training_images_where_there_are_no_others(recorder, data, tmp_path):
    train((data / "trainA", data / "trainB"), tmp_path / "run")
    (_, a), (_, b), *_ = recorder.translated
    np.testing.assert_allclose(a, whole_images(data / "trainA")[:4], atol=1e-6)
    np.testing.assert_allclose(b, whole_images(data / "trainB")[:4], atol=1e-6)


# How long


PAPER = {name: value for name, value in SMALL.items() if name not in ("steps", "schedule")}


@pytest.mark.parametrize(
    ("recipe", "length", "steps", "schedule"),
    [
        ({"steps": 6}, {}, 6, "linear"),
        ({"steps": 6, "schedule": "epochs"}, {}, 6, "epochs"),
        ({}, {"minutes": 1e-9}, 1, "linear"),
        ({"schedule": "epochs"}, {"minutes": 1e-9}, 1, "epochs"),
        ({}, {"epochs": 2}, 8, "epochs"),
    ],
)
def test_the_schedule_of_the_paper_is_for_epochs_or_if_asked_for(
    fake_engine, data, tmp_path, recipe, length, steps, schedule
):
    run = loop.train(
        data,
        out=tmp_path / "run",
        preset="paper",
        recipe=PAPER | recipe,
        runtime=QUICK,
        **length,
    )
    assert (run.step, run.config.recipe.schedule) == (steps, schedule)
    assert newest(tmp_path / "run")[0].config.recipe.schedule == schedule


def test_the_paper_trains_for_200_epochs(data, tmp_path, monkeypatch):
    before_each_step(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match="step 1 of 800"):  # 7 images, two a step
        loop.train(data, out=tmp_path / "run", preset="paper", recipe=PAPER)
    assert newest(tmp_path / "run")[0].config.recipe.schedule == "epochs"


# What is written


@pytest.mark.parametrize(("ema", "weights", "prefix"), [(0.9, "ema", "ema."), (0.0, "last", "")])
def test_the_model_holds_the_running_means_or_the_last_weights(
    fake_engine, data, tmp_path, ema, weights, prefix
):
    train(data, tmp_path / "run", {"ema": ema})
    header, model = read(tmp_path / "run" / "model.safetensors")
    assert (header.kind, header.step, header.weights) == ("model", 20, weights)
    assert set(model) == {"generator_ab.gain.weight", "generator_ba.gain.weight"}
    _, state = newest(tmp_path / "run")
    assert any(name.startswith("ema.") for name in state) == bool(ema)
    for name, array in model.items():
        assert np.array_equal(array, state[prefix + name])
        assert not ema or not np.array_equal(state[name], array)  # they can be told apart


def test_the_model_is_written_before_its_checkpoint(fake_engine, data, tmp_path, monkeypatch):
    """A run that has its last checkpoint is finished: its model must be there by then."""
    written, write = [], run_folder.write

    def recording(path, header, arrays):
        written.append((path.name, header.step))
        write(path, header, arrays)

    monkeypatch.setattr(run_folder, "write", recording)
    train(data, tmp_path / "run")
    saved = (0, 4, 8, 12, 16, 20)
    expected = [(("model.safetensors", k), (f"step-{k:08d}.safetensors", k)) for k in saved]
    assert written == [one for pair in expected for one in pair]


# What is logged, and limits


def test_the_library_is_silent_unless_asked(fake_engine, data, tmp_path, capsys):
    train(data, tmp_path / "run")
    assert capsys.readouterr() == ("", "")
    console.show()
    train(data, tmp_path / "run", extend=4)
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("resuming at step 20: 24 steps of preset tiny, 5 images of a, 7 of b")
    assert told[-1].startswith("finished: unpaired translate ")


def test_quiet_is_deprecated(fake_engine, data, tmp_path):
    with pytest.warns(DeprecationWarning, match="quiet has no effect") as warned:
        train(data, tmp_path / "run", quiet=True)
    assert warned[0].filename == __file__


def test_going_on_with_another_machine_is_told(fake_engine, data, tmp_path, shown, monkeypatch):
    train(data, tmp_path / "run")
    loop.train(data, out=tmp_path / "run", extend=4)
    assert "bit for bit" not in shown()
    monkeypatch.setattr(FakeEngine, "signature", lambda self: "another")
    loop.train(data, out=tmp_path / "run", extend=4)
    told = shown()
    assert "started on fake, " in told
    assert "resuming on another, " in told
    assert "not equal bit for bit" in told


def test_a_second_ctrl_c_stops_at_once(data, tmp_path, monkeypatch):
    steps = []

    def interrupt_twice():
        steps.append(1)
        if len(steps) == 6:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before_each_step(monkeypatch, interrupt_twice)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run")
    assert len(steps) == 6
    assert newest(tmp_path / "run")[0].step == 4  # nothing was saved for it
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with exclusive(tmp_path / "run"):
        pass


def test_images_over_the_limit_are_refused(fake_engine, data, tmp_path):
    write_images(data / "trainA", 1, seed=9, size=(20, 20))
    with pytest.raises(DataError, match="20 x 20 pixels are over the limit of 200"):
        train(data, tmp_path / "run", max_pixels=200)
    assert not checkpoints(tmp_path / "run")
    train(data, tmp_path / "run", max_pixels=400)


def test_images_grown_over_the_limit_on_the_way_are_refused(data, tmp_path, monkeypatch):
    write_images(tmp_path / "grown", 5, seed=9, size=(20, 20))

    def grow():
        for path in (tmp_path / "grown").iterdir():
            path.replace(data / "trainA" / path.name)  # whole at any time: others read it

    monkeypatch.setattr(KeptImages, "get", lambda self, key, read: read())  # none is kept
    before_each_step(monkeypatch, grow)
    with pytest.raises(DataError, match="20 x 20 pixels are over the limit of 200"):
        train(data, tmp_path / "run", max_pixels=200)
    assert newest(tmp_path / "run")[0].step < 20


def test_the_folder_is_locked_while_it_trains(data, tmp_path, monkeypatch):
    refused = []

    class Intruding(FakeEngine):
        def intrude(self):
            with pytest.raises(RunError, match="in use"), exclusive(tmp_path / "run"):
                pass
            refused.append(1)

        def train_step(self, batch, rate_factor):
            self.intrude()
            return super().train_step(batch, rate_factor)

        def state(self):  # asked for when a checkpoint is written
            self.intrude()
            return super().state()

    monkeypatch.setattr(loop, "make_engine", Intruding)
    train(data, tmp_path / "run")
    assert len(refused) > 20
    with exclusive(tmp_path / "run"):
        pass
