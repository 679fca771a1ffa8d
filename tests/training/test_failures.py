"""Failures on real machines: one clear line each, and nothing is lost."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unpaired.training.loop as loop
from conftest import QUICK, SMALL
from fake_engine import FakeEngine
from other_user import let_everybody_in
from unpaired.checkpoint import checkpoints, latest_good, read
from unpaired.errors import CheckpointError, DataError, Diverged, RunError, TooLarge
from unpaired.storage import exclusive, read_json_lines


def train(data, out, recipe=None, **rest):
    rest = {"runtime": QUICK} | rest
    return loop.train(data, out=out, preset="tiny", recipe=SMALL | (recipe or {}), **rest)


def one_line(error):
    return "\n" not in str(error.value)


class Poisoned(FakeEngine):
    """Losses turn into NaN after step 9."""

    poison = "losses"

    def train_step(self, batch, rate_factor):
        losses = super().train_step(batch, rate_factor)
        if self.arrays["updates"] > 9:
            if self.poison == "losses":
                losses["cycle_a"] = np.float32("nan")
            else:
                self.arrays["pool_b"][:] = np.inf
        return losses


def test_nan_in_a_loss_stops_with_the_step_and_the_last_good(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "make_engine", Poisoned)
    with pytest.raises(Diverged, match=r"cycle_a is nan at step 12.*step-00000008") as error:
        train(data, tmp_path / "run")
    assert one_line(error)
    header, arrays = read(checkpoints(tmp_path / "run")[-1])
    assert header.step == 8
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_infinity_in_the_state_is_never_written(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "make_engine", Poisoned)
    monkeypatch.setattr(Poisoned, "poison", "pool")
    with pytest.raises(Diverged, match="pool_b holds NaN or infinity after step 12"):
        train(data, tmp_path / "run")
    assert read(checkpoints(tmp_path / "run")[-1])[0].step == 8


@pytest.mark.parametrize("where", ["header", "length", "middle", "end"])
def test_a_flipped_bit_is_found_and_the_older_checkpoint_taken(
    fake_engine, data, tmp_path, shown, where
):
    train(data, tmp_path / "whole")
    train(data, tmp_path / "run")
    newest = checkpoints(tmp_path / "run")[-1]
    content = bytearray(newest.read_bytes())
    header = int.from_bytes(content[:8], "little")
    place = {"length": 2, "header": 300, "middle": 8 + header + 40, "end": len(content) - 1}[where]
    content[place] ^= 0x04
    newest.write_bytes(bytes(content))
    with pytest.raises(CheckpointError):
        read(newest)
    train(data, tmp_path / "run")
    assert "resuming from step-00000016.safetensors instead" in shown()
    assert newest.read_bytes() == checkpoints(tmp_path / "whole")[-1].read_bytes()


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_truncated_checkpoint_is_found(fake_engine, data, tmp_path, size):
    train(data, tmp_path / "run")
    newest = checkpoints(tmp_path / "run")[-1]
    newest.write_bytes(newest.read_bytes()[:size])
    path, header, _, errors = latest_good(tmp_path / "run")
    assert (path.stem, header.step, len(errors)) == ("step-00000016", 16, 1)


def test_no_good_checkpoint_is_refused_not_begun_anew(fake_engine, data, tmp_path):
    train(data, tmp_path / "run")
    for path in checkpoints(tmp_path / "run"):
        path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="none of the 3 checkpoints") as error:
        train(data, tmp_path / "run")
    assert one_line(error)
    assert all(path.read_bytes() == b"nonsense" for path in checkpoints(tmp_path / "run"))


def test_a_file_of_another_program_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no header of unpaired"):
        read(tmp_path / "model.safetensors")


def test_a_second_process_on_the_folder_is_refused(fake_engine, data, tmp_path):
    with (
        exclusive(tmp_path / "run"),
        pytest.raises(RunError, match="in use by another process") as error,
    ):
        train(data, tmp_path / "run")
    assert one_line(error)
    train(data, tmp_path / "run")  # the lock goes with its holder


def test_out_is_a_file(fake_engine, data, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="a part of it is a file"):
        train(data, tmp_path / "run")


def test_a_image_lost_on_the_way_saves_the_state(data, tmp_path, monkeypatch):
    class Remover(FakeEngine):
        def train_step(self, batch, rate_factor):
            for path in (data / "trainA").iterdir():
                path.unlink()
            return super().train_step(batch, rate_factor)

    monkeypatch.setattr(loop, "make_engine", Remover)
    monkeypatch.setattr("unpaired.data.kept.free", lambda: 0)  # no image is kept in memory
    with pytest.raises(DataError, match="trainA"):
        train(data, tmp_path / "run", runtime=QUICK | {"workers": 1, "checkpoint_every": 100})
    header, arrays = read(checkpoints(tmp_path / "run")[-1])
    assert header.step == arrays["updates"] > 0


def test_unreadable_images_stop_with_the_list_or_are_skipped(fake_engine, data, tmp_path, shown):
    (data / "trainA" / "broken.png").write_bytes((data / "trainA" / "00.png").read_bytes()[:60])
    (data / "trainB" / "text.jpg").write_text("not an image")
    with pytest.raises(DataError) as error:
        train(data, tmp_path / "run")
    assert "broken.png" in str(error.value)
    assert "text.jpg" in str(error.value)
    assert "--skip-unreadable" in str(error.value)
    assert not checkpoints(tmp_path / "run")
    run = train(data, tmp_path / "run", skip_unreadable=True)
    told = shown()
    assert "omitted as asked, 2 images:\n" in told
    assert told.count("broken.png") == told.count("text.jpg") == 1
    assert run.config.recipe.epoch_steps == 4
    train(data, tmp_path / "run", extend=4)  # the flag need not be repeated
    assert shown().count("broken.png") == 1


def test_the_cache_of_version_0_1_is_read(fake_engine, data, tmp_path, monkeypatch):
    """The images that its run omitted stay omitted, and nothing is checked again."""
    (data / "trainA" / "broken.png").write_bytes(b"nothing")
    train(data, tmp_path / "run", skip_unreadable=True)
    cache = tmp_path / "run" / "data.json"
    written = cache.read_text()
    assert '"omitted": ["' in written
    cache.write_text(written.replace('"omitted"', '"left_out"').replace('"images"', '"pictures"'))
    monkeypatch.setattr("unpaired.training.data.check", None)
    assert train(data, tmp_path / "run", extend=4).step == 24


def test_domains_smaller_than_the_crop_are_refused(fake_engine, data, tmp_path):
    with pytest.raises(DataError, match=r"smaller than the crop of 32.*--image-size 8"):
        train(data, tmp_path / "run", {"load_size": 32, "image_size": 32})


def test_the_same_folder_twice_is_refused(fake_engine, data, tmp_path):
    with pytest.raises(DataError, match="same folder"):
        train((data / "trainA", data / "trainA"), tmp_path / "run")


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import os, resource
from conftest import QUICK, SMALL
from fake_engine import FakeEngine
import unpaired.checkpoint, unpaired.images.formats, unpaired.training.journal
import unpaired.training.loop as loop
from unpaired.data.catalogue import entries
entries()  # what is imported when first needed is imported here: the user may not read Python
from unpaired.errors import UnpairedError
loop.make_engine = FakeEngine
{prepare}
try:
    loop.train({data!r}, out={out!r}, preset="tiny", recipe=SMALL, runtime=QUICK)
except UnpairedError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""


def in_a_process(data, out, prepare):
    """What a process says that trains after `prepare`."""
    script = SCRIPT.format(
        tests=str(Path(__file__).parents[1]), data=str(data), out=str(out), prepare=prepare
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_folder_the_user_may_not_write(data, tmp_path):
    let_everybody_in(data)
    (tmp_path / "run").mkdir(mode=0o755)
    told = in_a_process(data, tmp_path / "run", "os.setgid(65534); os.setuid(65534)")
    assert told.startswith("RunError: cannot write"), told
    assert "permission denied: choose a folder you can write to" in told
    assert told.count("\n") == 1


def test_a_file_over_the_limit(data, tmp_path):
    """The system refuses in the middle of a checkpoint: the older ones stand."""
    train_kb = "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    told = in_a_process(data, tmp_path / "run", train_kb)
    assert told.startswith("RunError: cannot write"), told
    assert "larger than the limit" in told
    assert not list((tmp_path / "run").rglob("*.tmp*"))


@pytest.fixture
def little_disk(tmp_path):
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", str(place).encode(), b"tmpfs", 0, b"size=64k") != 0:
        pytest.skip("this user may not mount a file system")
    yield place
    libc.umount(str(place).encode())


def test_a_full_disk(data, tmp_path, little_disk, monkeypatch):
    """After space is freed, the run resumes and ends with the same weights."""
    monkeypatch.setattr(loop, "make_engine", FakeEngine)
    filler = little_disk / "filler"
    filler.write_bytes(b"x" * 24_000)
    with pytest.raises(RunError, match="the disk is full") as error:
        train(data, little_disk / "run")
    assert one_line(error)
    assert not list((little_disk / "run").rglob("*.tmp*"))
    for path in checkpoints(little_disk / "run"):
        read(path)
    filler.unlink()
    train(data, little_disk / "run", runtime=QUICK | {"keep": 1, "sample_every": 0})
    train(data, tmp_path / "whole")
    header, arrays = read(checkpoints(little_disk / "run")[-1])
    _, expected = read(checkpoints(tmp_path / "whole")[-1])
    assert header.step == 20
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert array.tobytes() == expected[name].tobytes(), name


# ---- a state that is halfway through a step or an evaluation is never saved ------------------


class OutOfMemory(FakeEngine):
    """Runs out of memory in step 10, when its generators are updated already."""

    at = 10

    def train_step(self, batch, rate_factor):
        before = self.arrays["updates"]
        losses = super().train_step(batch, rate_factor)
        if self.arrays["updates"] == self.at:
            self.arrays["updates"] = before
            raise TooLarge("the device has too little memory to train on images of 8 x 8 pixels")
        return losses


def arrays_of(run):
    return read(checkpoints(run)[-1])[1]


def test_a_step_that_runs_out_of_memory_saves_no_half_step(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "make_engine", OutOfMemory)
    with pytest.raises(TooLarge, match="too little memory"):
        train(data, tmp_path / "run")
    assert read(checkpoints(tmp_path / "run")[-1])[0].step == 8
    monkeypatch.setattr(loop, "make_engine", FakeEngine)
    train(data, tmp_path / "run")
    train(data, tmp_path / "whole")
    resumed, whole = arrays_of(tmp_path / "run"), arrays_of(tmp_path / "whole")
    assert all(resumed[name].tobytes() == array.tobytes() for name, array in whole.items())


def test_a_last_evaluation_that_fails_is_made_again(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "make_engine", FakeEngine)
    evaluate, failing = loop.Watch.evaluate, [True]

    def broken(watch, step, journal):
        if failing.pop() if failing else False:
            raise DataError("testA/00.png: no such file")
        return evaluate(watch, step, journal)

    monkeypatch.setattr(loop.Watch, "evaluate", broken)
    with pytest.raises(DataError, match="no such file"):
        train(data, tmp_path / "run")
    assert read(checkpoints(tmp_path / "run")[-1])[0].step < 20
    run = train(data, tmp_path / "run")
    assert run.step == 20
    assert any("findings" in line for line in read_json_lines(run.folder / "metrics.jsonl"))
