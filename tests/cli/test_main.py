"""The command line: exit codes, one line for an error, and every verb from end to end."""

import json
import signal
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from PIL import Image

import unpaired.training.loop as loop
from conftest import QUICK, SMALL, write_images
from fake_engine import FakeEngine
from unpaired.checkpoint import checkpoints, read_header
from unpaired.cli.main import main
from unpaired.errors import ConfigError, SomeFailed


def flags(values):
    return [
        word
        for name, value in values.items()
        for word in ("--" + name.replace("_", "-"), str(value))
    ]


SMALL_RUN = ["--preset", "tiny", *flags(SMALL), *flags(QUICK)]


@pytest.fixture
def said(capsys):
    """Runs a command and returns its exit code, its output and its errors."""

    def run(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.fixture
def refused(said):
    """Runs a command that is refused; returns its one line."""

    def run(*words):
        code, out, err = said(*words)
        assert (code, out) == (2, "")
        assert err.startswith("unpaired: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err.removeprefix("unpaired: ").removesuffix("\n")

    return run


def usage_error(capsys, *words):
    """What is said of a command that cannot be parsed."""
    with pytest.raises(SystemExit) as exit:
        main(list(words))
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out + err


@pytest.fixture
def fake_run(fake_engine, data, tmp_path, said, monkeypatch):
    """A finished run, and its generators loaded as fake engines too."""
    monkeypatch.setattr("unpaired.translation.model.make_translator", FakeEngine)
    assert said("train", data, "--out", tmp_path / "run", *SMALL_RUN)[0] == 0
    return tmp_path / "run"


# ---- help, version, usage -----------------------------------------------------------------

HELP_OF_ALL = """
import contextlib, io, json, sys
from unpaired.cli.main import main
told = {}
for words in ([], ["demo"], ["train"], ["translate"], ["data"], ["data", "list"], ["data", "make"],
              ["data", "fetch"], ["data", "check"]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main([*words, "--help"])
        except SystemExit as exit:
            code = exit.code
    told[" ".join(words)] = (code, out.getvalue())
heavy = {"torch", "jax", "numpy", "PIL", "scipy", "rasterio", "tensorboard", "safetensors"}
print(json.dumps([told, sorted(heavy & set(sys.modules))]))
"""


def test_help_of_every_verb_and_nothing_heavy_is_imported():
    done = subprocess.run([sys.executable, "-c", HELP_OF_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, heavy = json.loads(done.stdout)
    assert heavy == []
    for verb, (code, text) in told.items():
        assert code == 0, verb
        assert f"usage: unpaired {verb}".strip() in text
    for verb in ("demo", "train", "translate", "data"):
        assert verb in told[""][1]
    for verb in ("list", "make", "fetch", "check"):
        assert verb in told["data"][1]
    for flag in ("--to", "--out", "--working-size", "--format", "--overwrite", "--device"):
        assert flag in told["translate"][1]


def test_as_a_module():
    command = [sys.executable, "-m", "unpaired", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"unpaired {version('unpaired')}\n",
        "",
    )


def test_version(said):
    assert said("--version") == (0, f"unpaired {version('unpaired')}\n", "")


@pytest.mark.parametrize("words", [[], ["data"]])
def test_nothing_asked_is_help(words, capsys):
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 0
    assert "usage: unpaired" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["paint"], "paint"),
        (["data", "paint"], "paint"),
        (["train", "here"], "--out"),  # required
        (["train", "here", "--out", "run", "--image-sise", "8"], "--image-sise"),
        (["train", "here", "--out", "run", "--steps", "many"], "many"),
        (["train", "here", "--out", "run", "--preset", "huge"], "huge"),
        (["train", "here", "--out", "run", "--upsample", "bilinear"], "bilinear"),
        (["train", "here", "--out", "run", "--no-flip", "perhaps"], "perhaps"),
        (["translate", "run", "x.png", "--out", "there"], "--to"),
        (["translate", "run", "x.png", "--to", "b", "--out", "there", "--format", "gif"], "gif"),
        (["data", "make"], "NAME"),
    ],
)
def test_usage_errors(words, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in usage_error(capsys, *words)
    assert not list(tmp_path.iterdir())


# ---- refused: one line, exit code 2 -------------------------------------------------------


def test_no_such_data(refused, tmp_path):
    line = refused("train", "seasons-lte", "--out", tmp_path / "run")
    assert "'seasons-lte' is neither a folder nor a data set" in line
    assert "seasons-lite" in line


@pytest.mark.parametrize("count", [0, 3])
def test_one_folder_or_two(refused, tmp_path, count):
    line = refused("train", *["x"] * count, "--out", tmp_path / "run")
    assert line == f"DATA is one folder or name, or two folders; {count} were given"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"image_size": 10}, "--image-size is 10: it must be a multiple of 4"),
        ({"epochs": 2.0}, "--steps and --epochs exclude each other: give one of them"),
        ({"minutes": 0.0}, "--minutes is 0.0: it must be over 0"),
        ({"extend": -1}, "--extend is -1: it must be at least 0"),
        ({"seed": -1}, "--seed is -1: it must be at least 0"),
        ({"workers": 0}, "--workers is 0: it must be at least 1"),
    ],
)
def test_values_out_of_range(refused, fake_engine, data, tmp_path, given, told):
    values = SMALL | {"steps": 10} | given if "minutes" not in given else given
    line = refused("train", data, "--out", tmp_path / "run", "--preset", "tiny", *flags(values))
    assert line == told


def test_an_engine_that_does_not_exist(capsys, data, tmp_path):
    assert "caffe" in usage_error(
        capsys, "train", str(data), "--out", str(tmp_path / "run"), "--engine", "caffe"
    )


def test_debug_shows_where_it_was_raised(monkeypatch, data, tmp_path):
    monkeypatch.setenv("UNPAIRED_DEBUG", "1")
    with pytest.raises(ConfigError):
        main(["train", str(data), "--out", str(tmp_path / "run"), "--image-size", "10"])


# ---- interrupted: 130 ---------------------------------------------------------------------


def test_interrupted_where_nothing_is_to_be_saved(said, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr("unpaired.data.home.listing", interrupt)
    assert said("data", "list") == (130, "", "unpaired: interrupted\n")


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
        f"unpaired: stopped at step 7 of 20, all saved in {run}: "
        "run the same command to resume"
    )
    monkeypatch.setattr(loop, "make_engine", FakeEngine)
    code, out, err = said("train", data, "--out", run)
    assert (code, out) == (0, "")
    assert "resuming at step 7: 20 steps of preset tiny" in err
    header = read_header(checkpoints(run)[-1])
    assert header.step == 20
    assert header.config.recipe.width == SMALL["width"]
    assert header.config.runtime.log_every == QUICK["log_every"]


# ---- train --------------------------------------------------------------------------------


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


def test_epochs_and_extend(fake_engine, data, tmp_path, said, refused):
    run = tmp_path / "run"
    without = {name: value for name, value in SMALL.items() if name != "steps"}
    command = ["train", data, "--out", run]
    assert said(*command, "--preset", "tiny", *flags(without), "--epochs", "1.5")[0] == 0
    assert read_header(checkpoints(run)[-1]).step == 6  # 4 steps are one epoch
    assert said(*command, "--extend", "3")[0] == 0
    assert read_header(checkpoints(run)[-1]).step == 9
    line = refused(*command, "--seed", "1")
    assert line.startswith(f"{run} holds a run of another recipe (--seed 0 -> 1): ")


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


# ---- translate ----------------------------------------------------------------------------


def test_translate_a_file_and_a_folder(fake_run, data, tmp_path, said):
    out = tmp_path / "out"
    images = data / "testA"
    code, told, err = said("translate", fake_run, images, "--to", "b", "--out", out / "folder")
    assert (code, told, err) == (0, f"2 images translated into {out / 'folder'}\n", "")
    one = images / "00.png"
    code, told, _ = said("translate", fake_run, one, "--to", "b", "--out", out / "file")
    assert (code, told) == (0, f"1 image translated into {out / 'file'}\n")
    assert (out / "file" / "00.png").read_bytes() == (out / "folder" / "00.png").read_bytes()
    with Image.open(out / "file" / "00.png") as made, Image.open(one) as source:
        assert (made.size, made.mode) == (source.size, source.mode)
        assert not np.array_equal(np.asarray(made), np.asarray(source))


def test_translate_by_the_names_of_the_domains(fake_engine, data, tmp_path, said, monkeypatch):
    monkeypatch.setattr("unpaired.translation.model.make_translator", FakeEngine)
    names = flags({"name_a": "day", "name_b": "night"})
    assert said("train", data, "--out", tmp_path / "run", *SMALL_RUN, *names)[0] == 0
    for to in ("night", "b", "day", "a"):
        command = ["translate", tmp_path / "run", data / "testA", "--to", to]
        assert said(*command, "--out", tmp_path / to)[0] == 0
    for one, other in (("night", "b"), ("day", "a")):
        made = [(tmp_path / name / "01.png").read_bytes() for name in (one, other)]
        assert made[0] == made[1]


def test_one_failing_image_leaves_the_others(fake_run, data, tmp_path, said):
    (data / "testA" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (data / "testA" / "text.jpg").write_text("not an image")
    out = tmp_path / "out"
    code, told, err = said("translate", fake_run, data / "testA", "--to", "b", "--out", out)
    assert (code, told) == (1, f"2 images translated into {out}\n")
    head, *listed = err.splitlines()
    assert head == "unpaired: 2 images failed:"
    assert len(listed) == 2
    for name in ("broken.png", "text.jpg"):
        assert any(line.startswith(f"  {data / 'testA' / name}: ") for line in listed)
    assert sorted(path.name for path in out.iterdir()) == ["00.png", "01.png"]


def test_existing_results_stay_unless_overwritten(fake_run, data, tmp_path, said):
    command = ["translate", fake_run, data / "testB", "--to", "a", "--out", tmp_path / "out"]
    assert said(*command)[0] == 0
    (tmp_path / "out" / "00.png").write_bytes(b"mine")
    code, _, err = said(*command)
    assert code == 1
    assert "exists already: --overwrite replaces it" in err
    assert (tmp_path / "out" / "00.png").read_bytes() == b"mine"
    assert said(*command, "--overwrite")[0] == 0
    assert (tmp_path / "out" / "00.png").read_bytes() != b"mine"


def test_translate_refuses_in_one_line(fake_run, data, tmp_path, refused):
    rest = ["--to", "b", "--out", tmp_path / "out"]
    assert "no domain 'winter'" in refused(
        "translate", fake_run, data / "testA", "--to", "winter", "--out", tmp_path / "out"
    )
    assert "does not exist" in refused("translate", tmp_path / "gone", data / "testA", *rest)
    assert "gone.png" in refused("translate", fake_run, tmp_path / "gone.png", *rest)
    assert "nothing" in refused("translate", fake_run, *rest)
    assert "--working-size is 3" in refused(
        "translate", fake_run, data / "testA", *rest, "--working-size", "3"
    )
    assert not list(tmp_path.glob("out/**/*.png"))


def test_translate_formats_and_sizes(fake_run, data, tmp_path, said):
    given = flags({"to": "b", "out": tmp_path / "out", "format": "tiff", "working_size": 12})
    assert said("translate", fake_run, data / "testA", *given)[0] == 0
    with Image.open(tmp_path / "out" / "00.tiff") as made:
        assert (made.format, made.size) == ("TIFF", (14, 10))


def test_debug_raises_what_failed(fake_run, data, tmp_path, monkeypatch):
    monkeypatch.setenv("UNPAIRED_DEBUG", "1")
    (data / "testA" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    words = ["translate", fake_run, data / "testA", "--to", "b", "--out", tmp_path / "out"]
    with pytest.raises(SomeFailed):
        main([str(word) for word in words])


# ---- data ---------------------------------------------------------------------------------


def test_data_list_names_them_all(said, tmp_path, monkeypatch):
    from unpaired.data.catalogue import entries

    monkeypatch.setenv("UNPAIRED_DATA", str(tmp_path / "home"))
    code, out, err = said("data", "list")
    assert (code, err) == (0, "")
    for entry in entries():
        assert any(line.split()[:1] == [entry.name] for line in out.splitlines()), entry.name
    assert not (tmp_path / "home").exists()


def test_data_check_of_good_images(data, said):
    code, out, err = said("data", "check", data)
    assert (code, err) == (0, "")
    assert "train a: 5 images of 3 bands and 8 bits" in out
    assert "nothing found" in out


def test_data_check_names_a_broken_file(data, said):
    whole = (data / "trainA" / "02.png").read_bytes()
    (data / "trainA" / "02.png").write_bytes(whole[:60])
    code, out, err = said("data", "check", data)
    assert code == 1
    assert "trainA/02.png: " in out
    assert err == "unpaired: 1 problem would stop a training\n"


def test_data_check_of_two_folders_and_small_images(data, said):
    code, out, _ = said("data", "check", data / "trainA", data / "trainB", "--image-size", "12")
    assert code == 0  # they are enlarged
    assert "small: 12 are smaller than the crop" in out
    full = said("data", "check", data / "trainA", data / "trainB", "--image-size", "12", "--full")
    assert out.count("the crop is 12") < full[1].count("the crop is 12") == 12


def test_data_check_of_nothing(refused, tmp_path):
    assert "neither a folder nor a data set" in refused("data", "check", tmp_path / "gone")


def test_data_make_and_fetch_know_the_names(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("UNPAIRED_DATA", str(tmp_path / "home"))
    assert "there is no data set 'season'" in refused("data", "make", "season")
    assert "there is no data set 'horse2zebr'" in refused("data", "fetch", "horse2zebr")
