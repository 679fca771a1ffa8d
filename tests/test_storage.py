"""Files are whole or not there, whatever fails; a folder has one owner."""

import errno
import os
import subprocess
import sys

import pytest

from unpaired.errors import RunError
from unpaired.storage import (
    atomic_path,
    exclusive,
    explain_os_error,
    read_json_lines,
    sweep,
    write_text,
)


@pytest.fixture
def old(tmp_path):
    """A file with its old content."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def write_half(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text("ne")
        raise error


def test_a_new_file_in_a_new_folder(tmp_path):
    path = tmp_path / "some" / "where" / "file.png"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent  # so that renaming stays in one file system
        assert temporary.suffix == ".png"  # writers choose a format by it
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stands_until_the_new_one_is_whole(old):
    with atomic_path(old) as temporary:
        temporary.write_text("ne")
        assert old.read_text() == "old"
        temporary.write_text("new")
    assert old.read_text() == "new"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_what_fails_leaves_the_old_file_and_no_other(old, error):
    with pytest.raises(type(error)):
        write_half(old, error)
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_a_refusal_of_the_system_is_one_line(old):
    with pytest.raises(RunError) as refused:
        write_half(old, OSError(errno.ENOSPC, "No space left on device"))
    assert str(refused.value) == (
        f"cannot write {old}: the disk is full: free some space and start again"
    )
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("refuses", ["fsync", "replace"])
def test_a_refusal_at_the_very_end(old, monkeypatch, refuses):
    def refuse(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(os, refuses, refuse)
        with pytest.raises(RunError, match="the disk quota is used up"):
            write_text(old, "new")
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_content_is_on_the_disk_before_the_name_is(old, monkeypatch):
    """File synced, renamed, folder synced: in this order a crash leaves the old or the new one."""
    calls = []
    sync, replace = os.fsync, os.replace

    def record_sync(handle):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        sync(handle)

    def record_replace(source, target):
        calls.append("rename")
        replace(source, target)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc to tell files from folders by")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", record_sync)
        patch.setattr(os, "replace", record_replace)
        write_text(old, "new")
    assert calls == ["file", "rename", "folder"]


def test_a_file_where_a_folder_is_needed(old):
    with pytest.raises(RunError, match="a part of it is a file"):
        write_text(old / "below.txt", "new")
    assert old.read_text() == "old"


def test_a_folder_where_a_file_is_needed(tmp_path):
    (tmp_path / "name").mkdir()
    with pytest.raises(RunError, match="cannot write") as refused:
        write_text(tmp_path / "name", "new")
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


@pytest.mark.skipif(os.name == "nt", reason="no umask there")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_permissions_are_as_umask_says(tmp_path, umask):
    """As of a file opened plainly, not the closed ones of a temporary file."""
    before = os.umask(umask)
    try:
        write_text(tmp_path / "new.txt", "")
        (tmp_path / "plain.txt").write_text("")
        after = os.umask(umask)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()]
    assert modes == [0o666 & ~umask] * 2
    assert after == umask


def test_the_umask_of_the_process_is_left_alone(tmp_path, monkeypatch):
    """Images are written by several threads at once, and the umask belongs to all of them."""
    touched = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "umask", lambda mask: touched.append(mask) or 0o022)
        write_text(tmp_path / "new.txt", "")
    assert touched == []


def test_text_is_written_in_utf_8_as_it_is(tmp_path):
    write_text(tmp_path / "x", "é\n日本\r\n\U0001f600")
    assert (tmp_path / "x").read_bytes() == "é\n日本\r\n\U0001f600".encode()


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EFBIG, "larger than the limit"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "is a file (expected a folder)"),
        (errno.EIO, os.strerror(errno.EIO)),
    ],
)
def test_refusals_of_the_system_in_words(tmp_path, number, told):
    line = str(explain_os_error(OSError(number, os.strerror(number)), tmp_path / "x"))
    assert line.startswith(f"cannot write {tmp_path / 'x'}: ")
    assert told in line
    assert "\n" not in line


def test_a_refusal_without_a_number(tmp_path):
    assert str(explain_os_error(OSError("odd"), tmp_path)) == f"cannot write {tmp_path}: odd"


# ---- the lock -----------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from unpaired.storage import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_process_dies_with_it(tmp_path):
    folder = tmp_path / "new" / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(RunError, match="in use by another process") as refused,
            exclusive(folder),
        ):
            pass
        assert "\n" not in str(refused.value)
        assert str(folder) in str(refused.value)
        holder.kill()
        holder.wait()
    with exclusive(folder):
        pass


def test_the_lock_is_given_back_also_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="x"), exclusive(tmp_path):
        raise ValueError("x")
    with exclusive(tmp_path), pytest.raises(RunError), exclusive(tmp_path):
        pass
    with exclusive(tmp_path), exclusive(tmp_path / "another"):
        pass


def test_the_lock_of_a_folder_that_cannot_be(old):
    with (
        pytest.raises(RunError, match="a part of it is a file"),
        exclusive(old / "run"),
    ):
        pass


def test_sweep_removes_what_killed_writers_left_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = (
        ".model-0a1b2c3d.tmp.safetensors",
        "checkpoints/.step-00000010-0a1b2c3d.tmp.safetensors",
    )
    mine = (
        "model.safetensors",
        "checkpoints/step-00000010.safetensors",
        ".lock",
        ".hidden",
        "a.tmp",
    )
    for name in (*left, *mine):
        (tmp_path / name).write_bytes(b"x")
    sweep(tmp_path, tmp_path / "checkpoints")
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert there == set(mine)


def test_json_lines_are_read_without_those_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_json_lines(path) == []
    assert read_json_lines(tmp_path) == []  # a folder
    path.write_bytes(
        b'{"step": 1, "loss": NaN}\n{"st\n\n7\n[1]\n{"text": "\xff\\u2028"}\n{"step": 3'
    )
    first, second = read_json_lines(path)
    assert first["step"] == 1
    assert first["loss"] != first["loss"]
    assert second == {"text": "\ufffd\u2028"}
