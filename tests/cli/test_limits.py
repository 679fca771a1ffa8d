"""Values without end, outputs that take nothing, Ctrl-C at once: one line each."""

import os
import signal
import subprocess
import sys
import time

import pytest

from unpaired.cli.main import main
from unpaired.errors import ConfigError

FULL = "/dev/full"
NINES = "9" * 400


@pytest.fixture
def nothing_built(monkeypatch):
    """Values that are accepted end here."""

    def stop(*arguments, **keywords):
        raise ConfigError("accepted")

    monkeypatch.setattr("unpaired.training.loop.prepare", stop)


@pytest.mark.parametrize("given", [
    "--discriminator-layers 100000000000", f"--name-a {'x' * 201}", f"--name-a {'x' * 100_000}",
    f"--seed {NINES[:250]}", f"--seed {NINES}", f"--steps {NINES}", f"--cycle {NINES[:250]}",
    "--cycle 1e308", "--epochs 1e308", "--minutes 1e308", "--epochs nan", "--learning-rate 1e308",
    "--width 1000000000", "--width 4096 --blocks 1000", "--batch-size 65536",
    "--batch-size 99999999",
    "--blocks 100000", "--image-size 1000000000", "--threads 100000", "--workers 100000",
    "--extend 99999999999999999999", "--keep -1", "--log-every 1000000000", f"--device {'c' * 250}",
    "--validation 1e308", "--pool-size 65536 --batch-size 64", f"--features {'/x' * 3000}",
])  # fmt: skip
def test_values_without_end_are_one_line_at_once(nothing_built, rejected, data, tmp_path, given):
    began = time.monotonic()
    line = rejected("train", data, "--out", tmp_path / "run", *given.split())
    assert line != "accepted"
    assert len(line) <= 400
    assert time.monotonic() - began < 10
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("given", [
    "--working-size 99999999999999", f"--working-size {NINES[:250]}", "--batch-size 100000000",
    f"--batch-size {NINES[:250]}", "--threads 100000", f"--max-pixels {NINES[:250]}",
    f"--max-pixels -{NINES[:250]}",
])  # fmt: skip
def test_translate_rejects_values_without_end(fake_run, data, tmp_path, rejected, given):
    words = ("translate", fake_run, data / "testA", "--to", "b", "--out", tmp_path / "out")
    assert len(rejected(*words, *given.split())) <= 400
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "given", ["--limit", "--seed", "--threads", "--image-size", "--max-pixels"]
)
def test_evaluate_rejects_values_without_end(tmp_path, data, rejected, given):
    (tmp_path / "run").mkdir()
    line = rejected("evaluate", tmp_path / "run", data, given, NINES[:250])
    assert line.startswith(given)
    assert len(line) <= 400


# ---- standard output and standard error -----------------------------------------------------


def run(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    command = [sys.executable, "-m", "unpaired", *map(str, words)]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, stdout=stdout, stderr=stderr, text=True, env=environment, timeout=60
    )


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full here")
@pytest.mark.parametrize("words", ["--version", "--help", "data list"])
def test_a_full_disk_behind_the_output_is_one_line(words):
    with open(FULL, "w") as full:
        done = run(*words.split(), stdout=full)
    assert done.returncode == 2
    assert done.stderr == "unpaired: cannot write the output: no space left on device\n"


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full here")
def test_a_full_disk_behind_the_errors_stops_nothing(data):
    with open(FULL, "w") as full:
        done = run("data", "check", data, stderr=full)
        assert (done.returncode, run("data", "make", "x", stderr=full).returncode) == (0, 2)
    assert "train a: 5 images" in done.stdout


@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_stops_nothing(stream):
    command = f'"{sys.executable}" -m unpaired --help {stream}>&-'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_that_the_terminal_cannot_show(tmp_path):
    home = str(tmp_path / "bäume")
    done = run("data", "list", PYTHONIOENCODING="ascii", UNPAIRED_DATA=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "b\\xe4ume" in done.stdout
    done = run("data", "check", tmp_path / "tannenbäume", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "tannenb\\xe4ume' is neither" in done.stderr


# ---- Ctrl-C before there is anything to save ------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_the_program_loads(number):
    """From the first line of `main` on, which a module imported there tells of."""
    code = """
import sys, time

class Tells:
    def find_spec(self, name, path=None, target=None):
        if name == "unpaired.cli.parser":
            print("begun", flush=True)

sys.meta_path.insert(0, Tells())
sys.argv[1:] = ["data", "list"]
from unpaired.cli.main import main
sys.exit(main())
"""
    for wait in (0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "begun\n"
        time.sleep(wait)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
        if not output:
            assert (process.returncode, errors) == (130, "unpaired: interrupted\n")


def test_a_line_break_in_a_name_breaks_no_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    translate = ["translate", "a\nb", "x.png", "--to", "b", "--out", "o"]
    for words in (["evaluate", "a\nb", "."], translate):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("unpaired: a\\nb does not exist")
