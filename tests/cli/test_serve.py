"""`unpaired serve` as people run it: real models, its self-test, its help, what it rejects."""

import subprocess
import sys
from pathlib import Path

import pytest

from unpaired.cli.main import main

MODEL = Path(__file__).parents[1] / "files" / "v0.1" / "expected"


def test_check():
    """Starts a worker with PyTorch, and tests the server from outside."""
    words = ("serve", MODEL, "--check", "--threads", "1")
    command = [sys.executable, "-m", "unpaired", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILS" not in done.stdout
    assert "holds: expected translates 16 x 16 px to b" in done.stdout
    assert "holds: a body over the limit is rejected unread" in done.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 lets other machines in: give --token-file FILE"),
        (["--queue", "0"], "--queue is 0: it must be at least 1"),
        (["--token-file", "/none"], "cannot read --token-file /none: no such file"),
        (["--port", "70000"], "cannot listen at 127.0.0.1 port 70000"),
    ],
)
def test_what_is_rejected(words, line, capsys):
    assert main(["serve", str(MODEL), *words]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_a_missing_model(capsys, tmp_path):
    assert main(["serve", str(tmp_path / "none"), "--port", "0"]) == 2
    assert "none does not exist" in capsys.readouterr().err


def test_help(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    said = capsys.readouterr().out
    for flag in ("--max-pixels", "--token-file", "--insecure", "--in-flight", "--check"):
        assert flag in said
