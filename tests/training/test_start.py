"""`start` "auto": the trial of the discriminators, the choice, and the run that follows from it."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unpaired.training.loop as loop
import unpaired.training.start as start
from conftest import QUICK, SMALL, write_images
from fake_engine import FakeEngine
from training.test_resume import assert_equal_runs, train
from unpaired.checkpoint import checkpoints, read_header
from unpaired.config import Runtime, override
from unpaired.data.batches import Batches
from unpaired.data.layout.domains import find_data
from unpaired.engines.choice import make_engine, make_translator
from unpaired.engines.seam import initial_state
from unpaired.errors import ConfigError, Interrupted, RunError
from unpaired.presets import preset

AUTO = {"start": "auto"}
BANDS = {"bands_a": 3, "bands_b": 3}


@pytest.fixture(params=["torch", "jax"])
def runtime(request, monkeypatch):
    """A runtime of one engine, which `train` then has too."""
    pytest.importorskip(request.param, reason=f"the {request.param} engine is not installed")
    monkeypatch.setattr(
        loop, "make_engine", lambda recipe, how: make_engine(recipe, replace(how, **engine))
    )
    engine = {"engine": request.param, "device": "cpu:0" if request.param == "jax" else "cpu"}
    return Runtime(threads=1, **engine)


@pytest.fixture
def short(monkeypatch):
    """A trial of 12 steps."""
    monkeypatch.setattr(start, "STEPS", 12)


def write_unlike(root):
    """Dark images and bright ones."""
    for name, low in (("trainA", 0), ("trainB", 150)):
        (root / name).mkdir(parents=True)
        rng = np.random.default_rng(low)
        for index in range(6):
            coarse = rng.integers(low, low + 100, (3, 3, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((14, 10), Image.Resampling.BICUBIC)
            image.save(root / name / f"{index}.png")
    return root


def told(caplog):
    return [line for line in caplog.messages if line.startswith("starting from")]


class Scripted(FakeEngine):
    """Its discriminators have the loss `loss` on real and on untranslated images, in that order.

    `made` are the recipes of all such engines.
    """

    loss, made, judged = 0.25, [], 0

    def __init__(self, recipe, runtime):
        super().__init__(recipe, runtime)
        self.made.append(recipe)

    def judge(self, images, domain):
        if self.recipe.width != 1:
            return super().judge(images, domain)
        self.judged += 1
        wrong = np.sqrt(self.loss)
        return np.full((len(images), 1, 1), 1 - wrong if self.judged % 2 else wrong, np.float32)


@pytest.fixture
def scripted(monkeypatch):
    engine = type("Own", (Scripted,), {"made": []})
    monkeypatch.setattr(loop, "make_engine", engine)
    return engine


# ---- the trial ----------------------------------------------------------------------------


def test_a_trial_is_a_training_whose_generators_stand_still(runtime, short, data):
    """To the last bit: against whole generators, which cost more and give the same images."""
    recipe = preset("tiny", SMALL | BANDS | {"identity": 0.0, "pool_size": 0, "ema": 0.0})
    still = {"start": "identity", "learning_rate": 0.0}
    small = {"discriminator_rate": 2e-4, "discriminator_width": 32, "gradient_penalty": 0.0}
    whole = override(recipe, still | small | {"discriminator_norm": "instance"}, "the test")
    own = {"discriminator_rate": 0.1, "gradient_penalty": 5.0, "discriminator_norm": "none"}
    own |= {"norm": "none", "discriminator_width": 7}
    alone = start.trial_recipe(override(recipe, AUTO | own, "the test"))
    assert (alone.width, alone.blocks) == (1, 0)
    engine, trial = make_engine(whole, runtime), make_engine(alone, runtime)
    batches = Batches(find_data(data), whole, max_pixels=10_000)
    engine.load(initial_state(engine.state(), whole))
    for step in range(12):
        engine.train_step(batches[step], 1.0)
    shown = Batches(find_data(data), alone, max_pixels=10_000)
    assert list(start.trial(trial, shown, 2)) == list(range(1, 13))
    expected, found = engine.state(), trial.state()
    names = [name for name in expected if "discriminator_" in name]
    assert len(names) > 12
    for name in names:
        assert expected[name].tobytes() == found[name].tobytes(), name
    images = batches[0].real_a
    assert np.array_equal(trial.translate(images, "ab"), images)


def test_the_loss_is_that_of_a_step_on_held_out_images(runtime, data):
    """Against the step itself, on the same batches, at a rate of 0."""
    recipe = start.trial_recipe(preset("tiny", SMALL | BANDS | AUTO | {"batch_size": 3}))
    engine = make_engine(recipe, runtime)
    rng = np.random.default_rng(1)
    state = {
        name: rng.normal(0, 0.3, array.shape) if name.startswith("discriminator_") else array
        for name, array in initial_state(engine.state(), recipe).items()
    }
    engine.load(state)
    batches = Batches(find_data(data), recipe, max_pixels=10_000)
    found = start.held_out_loss(engine, batches)
    losses = [engine.train_step(batches[step], 0.0) for step in range(22)]  # 66 images: over 64
    each = [float(one[f"discriminator_{domain}"]) for one in losses for domain in "ab"]
    assert found == pytest.approx(np.mean(each), rel=1e-5)
    assert np.std(each) > 0.01


def test_held_out_images_are_not_trained_on(data, tmp_path, monkeypatch):
    trained, judged = set(), set()

    class Recorder(FakeEngine):
        def train_step(self, batch, rate_factor):
            if self.recipe.width == 1:
                trained.update(image.mean() for image in (*batch.real_a, *batch.real_b))
            return super().train_step(batch, rate_factor)

        def judge(self, images, domain):
            if self.recipe.width == 1:
                judged.update(image.mean() for image in images)
            return super().judge(images, domain)

    for seed, name in enumerate(("trainA", "trainB"), start=8):
        write_images(tmp_path / "flat" / name, 40, seed, size=(8, 8))
    monkeypatch.setattr(loop, "make_engine", Recorder)
    whole = {"load_size": 8, "flip": False, "validation": 0.1}
    train(tmp_path / "flat", tmp_path / "run", AUTO | whole)
    assert not trained & judged
    assert len(trained) == 2 * 27  # of 40, 4 are for validation, and a quarter of the rest for this
    assert len(judged) == 2 * 9


def test_the_domains_choose(runtime, tmp_path, caplog, monkeypatch):
    """Trials: domains of one distribution, and domains of no common colour.

    The trainings that follow are not those of an engine: the next tests have them.
    """
    monkeypatch.setattr(start, "STEPS", 150)
    of_trial = loop.make_engine

    def make(recipe, how):
        return of_trial(recipe, how) if recipe.width == 1 else FakeEngine(recipe, how)

    monkeypatch.setattr(loop, "make_engine", make)
    caplog.set_level("INFO")
    for seed, name in enumerate(("trainA", "trainB")):
        write_images(tmp_path / "alike" / name, 40, seed)
    chosen = [
        train(folder, tmp_path / f"run-{index}", AUTO | {"steps": 2}).config.recipe.start
        for index, folder in enumerate((tmp_path / "alike", write_unlike(tmp_path / "unlike")))
    ]
    assert chosen == ["residual", "noise"]
    alike, unlike = told(caplog)
    assert alike.startswith("starting from the images: after 150 steps discriminators of ")
    assert "--start noise chooses otherwise" in alike
    assert unlike.startswith("starting from noise: after 150 steps discriminators of ")
    assert "--start residual chooses otherwise" in unlike
    assert 0.2 < float(alike.split("loss of ")[1].split()[0]) < 0.35
    assert float(unlike.split("loss of ")[1].split()[0]) < start.LIMIT / 2


@pytest.mark.parametrize(
    ("loss", "chosen"),
    [(6.0, "residual"), (1.01, "residual"), (0.99, "noise"), (0.0, "noise"), (np.nan, "noise")],
)
def test_the_limit(scripted, data, tmp_path, loss, chosen):
    scripted.loss = loss * start.LIMIT
    assert train(data, tmp_path / "run", AUTO).config.recipe.start == chosen
    assert [(recipe.width, recipe.start) for recipe in scripted.made] == [
        (1, "residual"), (SMALL["width"], chosen),
    ]  # fmt: skip


def test_three_images_cannot_choose(scripted, data, tmp_path, caplog):
    for path in sorted((data / "trainA").iterdir())[3:]:
        path.unlink()
    caplog.set_level("INFO")
    assert train(data, tmp_path / "run", AUTO).config.recipe.start == "noise"
    assert told(caplog) == [
        "starting from noise: 4 images each of a and b are needed to choose; "
        "--start residual chooses otherwise"
    ]


# ---- the run ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_the_run_is_that_of_the_chosen_start(runtime, short, data, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(start, "LIMIT", limit)
    chosen = "noise" if limit else "residual"
    run = train(data, tmp_path / "auto", AUTO)
    train(data, tmp_path / "plain", {"start": chosen})
    assert_equal_runs(tmp_path / "auto", tmp_path / "plain")
    assert run.config.recipe.start == chosen
    settled = (tmp_path / "auto" / "config.toml").read_text()
    assert settled == (tmp_path / "plain" / "config.toml").read_text()
    assert f'\nstart = "{chosen}"' in settled
    headers = [tmp_path / "auto" / "model.safetensors", *checkpoints(tmp_path / "auto")]
    assert {read_header(path).config.recipe.start for path in headers} == {chosen}


def stop_at_step(monkeypatch, step, number=signal.SIGINT):
    engine_of = loop.make_engine

    def make(recipe, runtime):
        engine = engine_of(recipe, runtime)
        train_step, done = engine.train_step, []

        def counting(batch, factor):
            if recipe.width != 1:
                if len(done) == step:
                    signal.raise_signal(number)
                done.append(1)
            return train_step(batch, factor)

        engine.train_step = counting
        return engine

    monkeypatch.setattr(loop, "make_engine", make)


@pytest.mark.parametrize("again", [{}, AUTO, {"start": "residual"}])
def test_stopped_and_resumed(runtime, short, data, tmp_path, monkeypatch, caplog, again):
    train(data, tmp_path / "one", AUTO)
    with monkeypatch.context() as patch:
        stop_at_step(patch, 6)
        with pytest.raises(Interrupted, match="stopped at step"):
            train(data, tmp_path / "parts", AUTO)
    caplog.set_level("INFO")
    assert train(data, tmp_path / "parts", again).config.recipe.start == "residual"
    assert told(caplog) == []  # it is settled: there is no trial
    assert_equal_runs(tmp_path / "one", tmp_path / "parts")
    with pytest.raises(RunError, match=r"another recipe \(--start residual -> noise\)"):
        train(data, tmp_path / "parts", {"start": "noise"})


def test_auto_accepts_any_start_of_a_run(scripted, data, tmp_path):
    """As bands that are left to the data do."""
    train(data, tmp_path / "run", {"start": "noise"})
    assert len(scripted.made) == 1
    run = train(data, tmp_path / "run", AUTO, extend=2)
    assert (run.step, run.config.recipe.start) == (22, "noise")
    assert 1 not in {recipe.width for recipe in scripted.made}


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from conftest import QUICK, SMALL
import unpaired.training.loop as loop, unpaired.training.start as start
start.STEPS, make, done = 12, loop.make_engine, []
def making(recipe, runtime):
    engine = make(recipe, runtime)
    step = engine.train_step
    def dying(batch, factor):
        done.append(1)
        if len(done) == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(batch, factor)
    engine.train_step = dying
    return engine
loop.make_engine = making
recipe = SMALL | {{"start": "auto"}}
loop.train({data!r}, out={out!r}, preset="tiny", recipe=recipe, runtime=QUICK)
"""


@pytest.mark.parametrize(("step", "trials"), [
    pytest.param(7, 1, marks=pytest.mark.nightly), (12, 1), (13, 0),
    pytest.param(19, 0, marks=pytest.mark.nightly),
])  # fmt: skip
def test_killed(short, data, tmp_path, caplog, step, trials):
    """In the trial, which begins anew, or after it, when its choice is in a checkpoint."""
    pytest.importorskip("torch", reason="the torch engine is not installed")
    facts = {"tests": str(Path(__file__).parents[1]), "data": str(data), "step": step}
    script = KILLED.format(**facts, out=str(tmp_path / "killed"))
    process = subprocess.run([sys.executable, "-c", script], timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert bool(checkpoints(tmp_path / "killed")) == (not trials)
    train(data, tmp_path / "one", AUTO)
    caplog.set_level("INFO")
    assert train(data, tmp_path / "killed", AUTO).config.recipe.start == "residual"
    assert len(told(caplog)) == trials
    assert_equal_runs(tmp_path / "one", tmp_path / "killed")


def test_minutes_are_those_of_the_training(monkeypatch, data, tmp_path):
    """A step of the trial takes a thousand seconds by a clock of our own, one of the training 2."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    class Clocked(FakeEngine):
        def train_step(self, batch, rate_factor):
            now[0] += 1000 if self.recipe.width == 1 else 2
            return super().train_step(batch, rate_factor)

    monkeypatch.setattr(loop, "make_engine", Clocked)
    recipe = {name: value for name, value in SMALL.items() if name != "steps"}
    loop.train(data, out=tmp_path / "run", preset="tiny", recipe=recipe | AUTO, minutes=1,
               runtime=QUICK)  # fmt: skip
    assert read_header(checkpoints(tmp_path / "run")[-1]).config.recipe.steps == 30


class Idle(FakeEngine):
    """Translations are the images, and the discriminators of dark A and bright B see that."""

    def translate(self, images, direction):
        return images

    def judge(self, images, domain):
        return super().judge(images, domain) * (1 if domain == "b" else -1)


def warned(caplog):
    """The steps at which "does nothing" was warned of."""
    lines = [line for line in caplog.messages if "does nothing" in line]
    return [int(line.split("step ")[1].split(",")[0]) for line in lines]


@pytest.mark.parametrize(
    ("start", "every", "steps"),
    [("identity", 5, [10, 10]), ("noise", 5, [5, 5]), ("residual", 0, [20, 20])],
)
def test_does_nothing_is_told_after_the_beginning(
    data, tmp_path, monkeypatch, caplog, start, every, steps
):
    """Not at the first evaluation of a start from the images, unless it is the last one."""
    monkeypatch.setattr(loop, "make_engine", Idle)
    unlike = write_unlike(tmp_path / "unlike")
    asked = {"recipe": {"start": start}, "runtime": {"evaluate_every": every, "report": "none"}}
    train(unlike, tmp_path / "one", **asked)
    assert warned(caplog) == steps
    with monkeypatch.context() as patch:
        stop_at_step(patch, 6)
        with pytest.raises(Interrupted):
            train(unlike, tmp_path / "parts", **asked)
    train(unlike, tmp_path / "parts", **asked)
    assert_equal_runs(tmp_path / "one", tmp_path / "parts")


# ---- bands and configurations -------------------------------------------------------------


def make_grey(folder):
    for path in sorted(folder.iterdir()):
        Image.open(path).convert("L").save(path)


def test_unequal_bands_start_from_noise_without_a_trial(scripted, data, tmp_path, caplog):
    make_grey(data / "trainB")
    caplog.set_level("INFO")
    run = train(data, tmp_path / "run", AUTO)
    assert run.config.recipe.start == "noise"
    assert [recipe.width for recipe in scripted.made] == [SMALL["width"]]
    (line,) = [record for record in caplog.records if "--start" in record.message]
    assert line.message == (
        "--start residual needs equal bands, and a has 3 and b 1: starting from noise"
    )
    assert line.levelname == "INFO"  # nothing that was asked for is missing
    caplog.clear()
    assert train(data, tmp_path / "run", AUTO, extend=2).step == 22
    assert "--start" not in caplog.text


def test_grey_read_as_rgb_has_a_trial(scripted, data, tmp_path):
    make_grey(data / "trainB")
    run = train(data, tmp_path / "run", AUTO | {"bands_b": 3})
    assert run.config.recipe.start == "residual"


def test_no_network_is_made_of_auto(runtime):
    recipe = preset("tiny", SMALL | BANDS | AUTO)
    for make in (make_engine, make_translator):
        with pytest.raises(ConfigError, match="--start auto is for new runs"):
            make(recipe, runtime)


def test_a_trial_that_is_interrupted_leaves_no_run(fake_engine, data, tmp_path, monkeypatch):
    class Stopping(FakeEngine):
        def train_step(self, batch, rate_factor):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_engine", Stopping)
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "run", AUTO)
    assert not checkpoints(tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert train(data, tmp_path / "run", AUTO).step == 20


def test_the_command_line_offers_it(tmp_path):
    data = tmp_path / "data"
    for seed, name in enumerate(("trainA", "trainB"), start=1):
        write_images(data / name, 4, seed)
    words = [sys.executable, "-m", "unpaired", "train"]
    shown = subprocess.run(
        [*words, "--help"], capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"}
    )
    assert "--start {auto,noise,residual,identity}" in shown.stdout
