"""`unpaired train` from end to end, with the fake engine."""

import signal
import sys

import pytest

import unpaired.training.loop as loop
from command_line import SMALL_RUN, flags
from conftest import QUICK, SMALL, write_images
from fake_engine import FakeEngine
from unpaired.checkpoint import checkpoints, read_header


def test_train_with_every_flag_it_was_given(fake_engine, data, tmp_path, said):
    run = tmp_path / "run"
    more = {"learning_rate": 1e-3, "beta1": 0.25, "keep": 1, "name_a": "night sky"}
    code, out, err = said("train", data, "--out", run, *SMALL_RUN, *flags(more), "--no-flip")
    assert (code, out) == (0, "")
    assert f"finished: unpaired translate {run} IMAGES --to b --out" in err
    config = read_header(run / "model.safetensors").config
    for name, value in (SMALL | QUICK | more | {"flip": False}).items():
        home = config.recipe if hasattr(config.recipe, name) else config.runtime
        assert getattr(home, name) == value, name
    assert config.recipe.preset == "tiny"
    assert [path.stem for path in checkpoints(run)] == ["step-00000020"]


def test_two_folders_as_data(fake_engine, tmp_path, said):
    for seed, name in enumerate(("sunny", "rainy")):
        write_images(tmp_path / name, 4, seed)
    places = tmp_path / "sunny", tmp_path / "rainy"
    code, _, err = said("train", *places, "--out", tmp_path / "run", *SMALL_RUN)
    assert code == 0
    assert "4 images of sunny, 4 of rainy" in err
    recipe = read_header(tmp_path / "run" / "model.safetensors").config.recipe
    assert (recipe.name_a, recipe.name_b) == ("sunny", "rainy")


def test_epochs_and_extend(fake_engine, data, tmp_path, said, rejected):
    run = tmp_path / "run"
    without = {name: value for name, value in SMALL.items() if name != "steps"}
    command = ["train", data, "--out", run]
    assert said(*command, "--preset", "tiny", *flags(without), "--epochs", "1.5")[0] == 0
    assert read_header(checkpoints(run)[-1]).step == 6  # 4 steps are one epoch
    assert said(*command, "--extend", "3")[0] == 0
    assert read_header(checkpoints(run)[-1]).step == 9
    line = rejected(*command, "--seed", "1")
    assert line.startswith(f"{run} holds a run of another recipe (--seed 0 -> 1): ")
    line = rejected(*command, "--image-size", "64")  # whatever the load size
    assert line.startswith(f"{run} holds a run of another recipe (--image-size 8 -> 64): ")


def test_skip_unreadable(fake_engine, data, tmp_path, said):
    (data / "trainA" / "00.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    command = ["train", data, "--out", tmp_path / "run", *SMALL_RUN]
    code, _, err = said(*command)
    assert code == 2
    assert "--skip-unreadable" in err
    assert "00.png" in err
    assert said(*command, "--skip-unreadable")[0] == 0


def test_resume_without_flags_where_the_images_must_be_checked_again(fake_run, data, said):
    (data / "trainA" / "00.png").touch()
    assert said("train", data, "--out", fake_run, "--extend", "4")[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text exist on Linux")
def test_folders_whose_names_are_no_text(fake_engine, tmp_path, said):
    places = tmp_path / "caf\udce9", tmp_path / "b\udcff"
    for seed, place in enumerate(places):
        write_images(place, 4, seed)
    assert said("train", *places, "--out", tmp_path / "run", *SMALL_RUN)[0] == 0
    assert read_header(tmp_path / "run" / "model.safetensors").step == 20


def test_interrupted_training_and_its_resume_without_the_flags(data, tmp_path, said, monkeypatch):
    class Interrupting(FakeEngine):
        def train_step(self, batch, rate_factor):
            if self.arrays["updates"] == 6:
                signal.raise_signal(signal.SIGINT)
            return super().train_step(batch, rate_factor)

    run = tmp_path / "run"
    monkeypatch.setattr(loop, "make_engine", Interrupting)
    code, out, err = said("train", data, "--out", run, *SMALL_RUN)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == (
        f"unpaired: stopped at step 7 of 20, all saved in {run}: run the same command to resume"
    )
    monkeypatch.setattr(loop, "make_engine", FakeEngine)
    code, out, err = said("train", data, "--out", run)
    assert (code, out) == (0, "")
    assert "resuming at step 7: 20 steps of preset tiny" in err
    header = read_header(checkpoints(run)[-1])
    assert header.step == 20
    assert header.config.recipe.width == SMALL["width"]
    assert header.config.runtime.log_every == QUICK["log_every"]
