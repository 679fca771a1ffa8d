"""Trackers: what MLflow and Weights & Biases are told of a training, and that nothing else is."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conftest import QUICK, SMALL
from unpaired import train
from unpaired.config import Config, Runtime
from unpaired.errors import ConfigError, Interrupted, MissingExtra, RunError
from unpaired.presets import preset
from unpaired.training.trackers import git, tracked
from unpaired.training.trackers.tracked import Tracked, open_tracked

RECIPE = SMALL | {"validation": 0.4}
OFTEN = QUICK | {"evaluate_every": 10}


class Told:
    """A tracker that keeps what it is told, and fails at the `fails`-th telling."""

    def __init__(self, fails=None):
        self.told, self.fails = [], fails

    def _keep(self, *what):
        if self.fails == len(self.told):
            raise OSError("the store\nis gone")
        self.told.append(what)

    def numbers(self, step, values):
        self._keep("numbers", step, dict(values))

    def file(self, kind, path, step):
        self._keep(kind, step, path.read_bytes()[:4])

    def close(self, ending):
        self._keep("close", ending)


@pytest.fixture
def opened(monkeypatch):
    """The openings, and the tracker that each gets, in place of installed trackers."""
    found = []

    def open_one(name, opening):
        found.append((name, opening, Told()))
        return found[-1][2]

    monkeypatch.setattr(tracked, "_open", open_one)
    return found


def test_a_training_tells_losses_rates_evaluations_samples_config_and_git(
    fake_engine, data, tmp_path, opened
):
    out = tmp_path / "run"
    train(data, out=out, preset="tiny", track="wandb, mlflow", **RECIPE | OFTEN)
    assert [name for name, _, _ in opened] == ["wandb", "mlflow"]
    _, opening, tracker = opened[0]
    assert opening.folder == out
    assert opening.values["width"] == 2
    assert opening.values["log_every"] == 3
    assert "width = 2" in opening.config.read_text()
    assert {"unpaired", "git_commit", "git_state"} <= opening.facts.keys()

    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    told = [(step, values) for kind, step, values in tracker.told[:-1] if kind == "numbers"]
    losses = [line for line in lines if "learning_rate" in line]
    assert [told[0] for told in told if "learning_rate" in told[1]] == [x["step"] for x in losses]
    for line in losses:
        (values,) = (v for step, v in told if step == line["step"] and "learning_rate" in v)
        assert values == {name: x for name, x in line.items() if name != "step"}
    validated = {step: v for step, v in told if "validation/criterion" in v}
    assert list(validated) == [10, 20]
    for line in lines:
        if "validation" in line:
            assert (
                validated[line["step"]]["validation/criterion"] == line["validation"]["criterion"]
            )
    samples = [(step, start) for kind, step, start in tracker.told[:-1] if kind == "samples"]
    assert samples == [(10, b"\x89PNG"), (20, b"\x89PNG")]
    assert tracker.told[-1] == ("close", "finished")
    assert opened[1][2].told == tracker.told


def test_the_report_is_told(tmp_path, fake_engine, many_tests, opened):
    train(many_tests, out=tmp_path / "run", preset="tiny", track="mlflow", **RECIPE | OFTEN)
    kinds = [what[0] for what in opened[0][2].told]
    assert kinds[-2:] == ["report", "close"]


@pytest.fixture
def many_tests(data):
    """The data, with 3 test images each: enough for a report."""
    for name in ("testA", "testB"):
        first = next((data / name).iterdir())
        (data / name / "more.png").write_bytes(
            (data / name.replace("test", "train") / "00.png").read_bytes()
        )
        assert first.exists()
    return data


def test_without_the_flag_none_is_opened(fake_engine, data, tmp_path, opened):
    train(data, out=tmp_path / "run", preset="tiny", **RECIPE | OFTEN)
    assert opened == []


@pytest.mark.parametrize(
    ("error", "ending"), [(Interrupted("x"), "stopped"), (ValueError("x"), "failed")]
)
def test_an_ending_is_told(tmp_path, opened, error, ending):
    config = Config(preset("tiny"), Runtime(track="mlflow"))
    with pytest.raises(type(error)), open_tracked(tmp_path, config):
        raise error
    assert opened[0][2].told == [("close", ending)]


def test_a_tracker_that_fails_is_omitted_and_said_once(caplog):
    good, bad = Told(), Told(fails=1)
    both = Tracked({"bad": bad, "good": good})
    for step in (1, 2, 3):
        both.numbers(step, {"x": 1.0})
    both.close("finished")
    assert len(bad.told) == 1
    assert len(good.told) == 4
    (said,) = caplog.messages
    assert said.startswith("bad takes nothing more (the store")
    assert "\n" not in said


def test_unknown_trackers_are_rejected():
    with pytest.raises(ConfigError, match=r"--track 'mlfow': choose of mlflow, wandb"):
        Runtime(track="wandb,mlfow")
    assert Runtime(track=" wandb,mlflow,wandb").trackers == ("wandb", "mlflow")


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_not_installed_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    config = Config(preset("tiny"), Runtime(track=name))
    with (
        pytest.raises(MissingExtra, match=rf"--track {name} needs {name}.*unpaired\[{name}\]"),
        open_tracked(tmp_path, config),
    ):
        pytest.fail("opened")


def test_the_state_of_git(tmp_path):
    assert git.git_state(tmp_path) == {}
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        names = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", *names, *words], cwd=tmp_path, check=True)
    clean = git.git_state(tmp_path)
    assert len(clean["git_commit"]) == 40
    assert clean["git_state"] == "clean"
    (tmp_path / "file").write_text("two")
    assert git.git_state(tmp_path) == clean | {"git_state": "changed"}


# ---- the trackers themselves, each in a process of its own ---------------------------------

# Every connection and every name asked for is kept; those beyond this machine are refused.
ALONE = """
import ipaddress, json, logging, socket, sys
asked = []
def is_here(address):
    if not isinstance(address, tuple):
        return True  # a socket of the file system
    try:
        return ipaddress.ip_address(address[0].split("%")[0]).is_loopback
    except ValueError:
        return address[0] == "localhost"
def guarded(name):
    real = getattr(socket.socket, name)
    def call(self, *given):
        if not is_here(given[-1]):
            asked.append([name, str(given[-1])])
            raise OSError("refused by the test")
        return real(self, *given)
    setattr(socket.socket, name, call)
for name in ("connect", "connect_ex", "sendto"):
    guarded(name)
real_look_up = socket.getaddrinfo
def look_up(host, *given, **named):
    if not is_here((host or "localhost",)):
        asked.append(["getaddrinfo", str(host)])
        raise OSError("refused by the test")
    return real_look_up(host, *given, **named)
socket.getaddrinfo = look_up
"""
TRAIN = """
sys.path.insert(0, {tests!r})
import conftest
from fake_engine import FakeEngine
from unpaired.training import loop
from unpaired import train
loop.make_engine = FakeEngine
for steps in (20, 24):
    extend = dict(extend=4) if steps == 24 else dict()
    recipe = {recipe!r} if steps == 20 else dict()
    train({data!r}, out={out!r}, preset="tiny", recipe=recipe, runtime={runtime!r}, **extend)
"""


def run_alone(code, tmp_path, under=()):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_"))}
    program = ALONE + textwrap.dedent(code) + "\nprint(json.dumps(asked))"
    done = subprocess.run(
        [*under, sys.executable, "-c", program],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
        env=clean | {"HOME": str(tmp_path), "GIT_CEILING_DIRECTORIES": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "INFO" not in done.stderr  # the trackers are as silent as the library
    return json.loads(done.stdout.splitlines()[-1])


def test_the_guard_sees_what_leaves_the_machine(tmp_path):
    code = """
    for call in (
        lambda: socket.create_connection(("example.invalid", 443), 1),
        lambda: socket.socket().connect(("192.0.2.1", 443)),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
    ):
        try:
            call()
        except OSError:
            pass
    """
    assert [name for name, _ in run_alone(code, tmp_path)] == ["getaddrinfo", "connect", "sendto"]


def addresses_of_all_processes(code, tmp_path):
    """The lines of strace, also of programs that a tracker starts, which name other machines."""
    log = tmp_path / "strace"
    words = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", log]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("strace is not installed, or not allowed to trace")
    assert run_alone(code, tmp_path, words) == []
    lines = log.read_text(errors="replace").splitlines()
    here = ('"127.', '"::1"')
    return [line for line in lines if "AF_INET" in line and not any(x in line for x in here)]


def test_strace_sees_what_a_program_asks_for(tmp_path):
    child = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
    code = f"import subprocess; subprocess.run([sys.executable, '-c', {child!r}])"
    (line,) = addresses_of_all_processes(code, tmp_path)
    assert "192.0.2.1" in line


@pytest.mark.parametrize("track", ["mlflow", "wandb"])
def test_no_program_of_a_tracker_asks_for_another_machine(tmp_path, many_tests, track):
    pytest.importorskip(track, reason=f"{track} (the extra `{track}`) is not installed")
    code = training(many_tests, tmp_path / "run", track)
    assert addresses_of_all_processes(code, tmp_path) == []


def training(data, out, track):
    return TRAIN.format(
        tests=str(Path(__file__).parents[1]), data=str(data), out=str(out), recipe=RECIPE,
        runtime=OFTEN | {"track": track},
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of MLflow's own imports
def test_mlflow_keeps_a_training_and_tells_nobody(tmp_path, many_tests, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow (the extra `mlflow`) is not installed")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    out = tmp_path / "run"
    assert run_alone(training(many_tests, out, "mlflow"), tmp_path) == []

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{out / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("unpaired")
    (run,) = client.search_runs([experiment.experiment_id])  # that of the resumed training too
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["width"] == "2"
    assert run.data.params["track"] == "mlflow"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for name in ("cycle_a", "learning_rate", "discriminator_rate"):
        told = client.get_metric_history(run.info.run_id, name)
        assert [(x.step, x.value) for x in told] == [
            (x["step"], x[name]) for x in lines if name in x
        ]
    told = client.get_metric_history(run.info.run_id, "validation/criterion")
    assert [x.step for x in told] == [10, 20, 24]
    kept = {path.relative_to(out / "mlflow" / "artifacts").as_posix().split("/", 2)[2]
            for path in (out / "mlflow" / "artifacts").rglob("*") if path.is_file()}  # fmt: skip
    assert {"config.toml", "samples/step-00000020.png", "report/index.html"} <= kept


def test_wandb_keeps_a_training_offline_and_tells_nobody(tmp_path, many_tests):
    pytest.importorskip("wandb", reason="wandb (the extra `wandb`) is not installed")
    out = tmp_path / "run"
    assert run_alone(training(many_tests, out, "wandb"), tmp_path) == []

    folders = sorted((out / "wandb").glob("offline-run-*"))
    assert len(folders) == 2  # the second goes on with the first: they have one id
    name = (out / "wandb" / "id").read_text().strip()
    for folder in folders:
        (store,) = folder.glob(f"run-{name}.wandb")
        held = store.read_bytes()
        for word in (b"cycle_a", b"learning_rate", b"validation/criterion", b"width", b"unpaired"):
            assert word in held, word
        media = {path.suffix for path in (folder / "files" / "media").rglob("*") if path.is_file()}
        assert media == {".png", ".html"}
        assert not (folder / "files" / "requirements.txt").exists()


def test_a_store_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow (the extra `mlflow`) is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://x")
    (tmp_path / "config.toml").write_text("")
    config = Config(preset("tiny"), Runtime(track="mlflow"))
    with (
        pytest.raises(RunError, match="--track mlflow cannot begin: "),
        open_tracked(tmp_path, config),
    ):
        pytest.fail("opened")
