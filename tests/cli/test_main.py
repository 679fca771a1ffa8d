"""The command line: help, version, completion, verbosity, exit codes, one line for an error."""

import json
import logging
import subprocess
import sys
from importlib.metadata import version

import pytest

from command_line import SMALL_RUN, flags
from conftest import SMALL
from unpaired.cli.main import main
from unpaired.console import log
from unpaired.errors import ConfigError

# ---- help, version, usage -----------------------------------------------------------------

HELP_OF_ALL = """
import contextlib, io, json, sys
from unpaired.cli.main import main
told = {}
for words in ([], ["demo"], ["train"], ["translate"], ["evaluate"], ["compare"], ["import"],
              ["export"], ["bench"], ["data"], ["data", "list"], ["data", "make"],
              ["data", "fetch"],
              ["data", "check"]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            code = main([*words, "--help"])
        except SystemExit as exit:
            code = exit.code
    told[" ".join(words)] = (code, out.getvalue())
heavy = {"torch", "jax", "numpy", "PIL", "scipy", "rasterio", "tensorboard", "safetensors", "rich"}
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
        assert "--quiet" in text, verb
        assert "--verbose" in text, verb
    assert "--version" in told[""][1]
    for verb in (
        "demo", "train", "translate", "evaluate", "compare", "import", "export", "bench", "data",
    ):  # fmt: skip
        assert verb in told[""][1]
    for verb in ("list", "make", "fetch", "check"):
        assert verb in told["data"][1]
    for flag in ("--to", "--out", "--working-size", "--format", "--overwrite", "--device"):
        assert flag in told["translate"][1]
    for verb in ("evaluate", "compare"):
        for flag in ("--features", "--lpips", "--image-size", "--limit", "--seed", "--device"):
            assert flag in told[verb][1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_verbs_and_flags(shell, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--tyro-print-completion", shell])
    assert not exit.value.code
    script = capsys.readouterr().out
    for word in ("unpaired", "translate", "fetch", "version", "quiet", "working-size", "lpips"):
        assert word in script


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


@pytest.mark.parametrize("words", [[], ["data"], ["--quiet"], ["--verbose", "data"]])
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
        (["data", "make"], "NAME"),
    ],
)
def test_usage_errors(words, told, usage_error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in usage_error(*words)
    assert not list(tmp_path.iterdir())


# ---- quiet and verbose --------------------------------------------------------------------


def test_quiet_after_the_verb_or_before_it(fake_engine, data, tmp_path, said):
    command = ["train", data, "--out", tmp_path / "run", *SMALL_RUN]
    assert said(*command, "--quiet") == (0, "", "")
    assert said("--quiet", "train", data, "--out", tmp_path / "run", "--extend", "2") == (0, "", "")
    assert "is finished" in said(*command[:4])[2]


def test_quiet_keeps_results_and_errors(said, rejected, data):
    assert "train a: 5 images" in said("data", "check", data, "--quiet")[1]
    assert "no data set 'season'" in rejected("--quiet", "data", "make", "season")


@pytest.mark.parametrize(
    ("flag", "level"), [("--quiet", "WARNING"), ("--verbose", "DEBUG"), ("", "INFO")]
)
def test_verbosity_is_set_once(flag, level, said):
    assert said(*flag.split(), "data", "list")[0] == 0
    assert logging.getLevelName(log.level) == level


def test_quiet_and_verbose_exclude_each_other(rejected):
    line = rejected("data", "list", "--quiet", "--verbose")
    assert line == "--quiet and --verbose exclude each other: give one of them"


# ---- rejected: one line, exit code 2 -------------------------------------------------------


def test_no_such_data(rejected, tmp_path):
    line = rejected("train", "seasons-lte", "--out", tmp_path / "run")
    assert "'seasons-lte' is neither a folder nor a data set" in line
    assert "seasons-lite" in line


@pytest.mark.parametrize("count", [0, 3])
def test_one_folder_or_two(rejected, tmp_path, count):
    line = rejected("train", *["x"] * count, "--out", tmp_path / "run")
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
def test_values_out_of_range(rejected, fake_engine, data, tmp_path, given, told):
    values = SMALL | {"steps": 10} | given if "minutes" not in given else given
    line = rejected("train", data, "--out", tmp_path / "run", "--preset", "tiny", *flags(values))
    assert line == told


def test_an_engine_that_does_not_exist(usage_error, data, tmp_path):
    assert "caffe" in usage_error("train", data, "--out", tmp_path / "run", "--engine", "caffe")


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
