"""Files of a run folder that somebody edited or exchanged: one line, or no harm; never a wait."""

import json
import os

import pytest

import unpaired.training.loop as loop
from conftest import QUICK, SMALL
from unpaired import checkpoint
from unpaired.checkpoint import checkpoints, read
from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.errors import CheckpointError, UnpairedError
from unpaired.presets import preset
from unpaired.storage import read_json_lines
from unpaired.training.journal import Journal
from unpaired.training.watch import Remembered

STRANGE = [None, True, "x", 3, -1, 10**400, 1e308, float("nan"), [], ["x"], [[3]], {}, {"x": []}]


def train(data, out, **rest):
    return loop.train(data, out=out, preset="tiny", recipe=SMALL, runtime=QUICK, **rest)


@pytest.fixture
def run(fake_engine, data, tmp_path):
    train(data, tmp_path / "run")
    for path in checkpoints(tmp_path / "run")[1:]:
        path.unlink()
    return tmp_path / "run"


def outcome(data, run):
    """The one line that rejects a resume, or the steps done."""
    told = ""
    try:
        return train(data, run).step
    except UnpairedError as error:
        told = str(error)
    assert "\n" not in told
    assert len(told) <= 400
    return told


def places(value, at=()):
    """Every place inside plain data."""
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value or ()):
        if isinstance(inner, dict | list):
            yield from places(inner, (*at, key))
        else:
            yield (*at, key)


def forged(value, at, new):
    """A copy of plain data with another value in one place."""
    if not at:
        return new
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return copy


PENDING = {
    "losses": [{"cycle_a": 0.5, "cycle_b": 1}, {"cycle_a": 0.25, "cycle_b": 2}],
    "evaluations": {
        "history": {"accuracy_a": [0.5, 1.0], "accuracy_b": []}, "firing": ["collapse: a to b"],
        "best": 0.5, "best_step": 4, "measure": "KID", "waited": 2, "stopped": False,
    },
}  # fmt: skip


def test_a_forged_pending_is_one_line_or_harmless(tmp_path):
    """Wrong types in any place; all that reads it."""
    recipe, rejected = preset("tiny", {}), []
    for at in [None, *places(PENDING)]:
        for new in STRANGE:
            changed = PENDING if at is None else forged(PENDING, at, new)
            try:
                Remembered.from_pending(changed if at else PENDING).to_dict()
                journal = Journal(tmp_path, recipe, 20, changed if at else {}, tensorboard=False)
                journal.means()
                journal.close()
            except CheckpointError as error:
                rejected.append(str(error))
    assert len(rejected) > 100
    assert all("is damaged: what it has of " in line and "\n" not in line for line in rejected)


@pytest.mark.parametrize(
    "pending", [{"losses": 3}, {"losses": [{"cycle_a": "x"}]}, {"evaluations": []},
                {"evaluations": {"history": None}}]
)  # fmt: skip
def test_a_resume_with_a_forged_pending(run, data, pending):
    (path,) = checkpoints(run)
    header, arrays = read(path)
    forgery = checkpoint.Header("checkpoint", header.config, 8, pending=pending)
    checkpoint.write(path, forgery, arrays)
    assert "is damaged: what it has of " in outcome(data, run)


FOREIGN_LINES = (
    b"\xff\xfe\x00", b'{"step": "x"}\n{"step": null}\n{"step": []}', b"[" * 50_000,
    b'{"step": 1' + b"0" * 4000 + b"}", b'{"step": 1, "seconds": {}}', b'{"step":1}' * 20_000,
    b'{"step": 1, "findings": 3, "validation": {"criterion": []}}', b"3", b"",
    b'{"step": 1, "cycle_a": "x", "cycle_b": null, "learning_rate": []}',
)  # fmt: skip


def test_a_journal_with_foreign_content(run, data):
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b"\n".join(FOREIGN_LINES))
    assert outcome(data, run) == 20
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 20, "cycle_a": 1' + b"0" * 400 + b"}\n")
    assert read_json_lines(run / "metrics.jsonl")[-1]["cycle_a"] == float("inf")


def test_data_json_with_foreign_content_is_made_again(run, data):
    cache = run / "data.json"
    whole = json.loads(cache.read_text())
    contents = [b"\xff", b"3", b"[]", b"[" * 10**5, b"{}", b'{"listing": 3}']
    for name in (*whole["facts"], None):
        for new in (None, -1, [[3]], {"x": []}):
            facts = {**whole["facts"], name: new} if name else new
            contents.append(json.dumps(whole | {"facts": facts}).encode())
    limits = {"image_size": 8, "skip_unreadable": False, "max_pixels": DEFAULT_MAX_PIXELS}
    for content in contents:
        cache.write_bytes(content)
        prepared = loop.prepare(loop.find_source(data), run, **limits)
        assert prepared.facts.data_fingerprint == whole["facts"]["data_fingerprint"] or (
            b'"data_fingerprint": "x"' in content
        )


@pytest.mark.parametrize("name", ["config.toml", "metrics.jsonl", "data.json"])
@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_only_regular_files_are_opened(run, data, name, kind):
    path = run / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    told = outcome(data, run)
    if name == "data.json" and kind != "folder":
        assert told == 20
    else:
        assert f"{path}: " in told
        assert ("is a " if kind == "folder" else "not a regular file") in told.lower()


def test_a_checkpoint_that_is_a_pipe(run, data):
    (path,) = checkpoints(run)
    path.unlink()
    os.mkfifo(path)
    assert "none of the 1 checkpoints" in outcome(data, run)
    path.unlink()
    (run / "model.safetensors").unlink()
    os.mkfifo(run / "model.safetensors")
    assert "no checkpoints to resume from" in outcome(data, run)
    assert read_json_lines(run / "model.safetensors") == []
