"""Commands run in this process, and what they write."""

import pytest

from command_line import SMALL_RUN
from fake_engine import FakeEngine
from unpaired.cli.main import main


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
def rejected(said):
    """Runs a command that is rejected; returns its one line."""

    def run(*words):
        code, out, err = said(*words)
        assert (code, out) == (2, "")
        assert err.startswith("unpaired: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err.removeprefix("unpaired: ").removesuffix("\n")

    return run


@pytest.fixture
def usage_error(capsys):
    """Runs a command that cannot be parsed; returns everything it writes."""

    def run(*words):
        with pytest.raises(SystemExit) as exit:
            main([str(word) for word in words])
        assert exit.value.code == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return out + err

    return run


@pytest.fixture
def fake_run(fake_engine, data, tmp_path, said, monkeypatch):
    """A finished run, and its generators loaded as fake engines too."""
    monkeypatch.setattr("unpaired.engines.loading.make_translator", FakeEngine)
    assert said("train", data, "--out", tmp_path / "run", *SMALL_RUN)[0] == 0
    return tmp_path / "run"
