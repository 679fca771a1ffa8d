"""What killed translations leave is removed by the next; what others use or own stays."""

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from small_images import names_in, put
from unpaired.errors import RunError
from unpaired.translation import scratch
from unpaired.translation.files import translate_files
from unpaired.translation.scratch import scratch_folder

HOURS_AGO = time.time() - 3 * 3600


def leave(path: Path, when: float = HOURS_AGO) -> Path:
    """A leftover file, last changed at that time, as is its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    for each in (path, path.parent):
        os.utime(each, (when, when))
    return path


def test_the_folder_is_gone_in_the_end(out):
    def interrupted():
        with scratch_folder(out, []) as folder:
            leave(folder / ".a-01234567.tmp.png")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(out.iterdir()) == []


def test_what_is_left_is_swept_from_out_and_below(model, photos, out):
    put(photos / "sub/a.png")
    leave(out / ".translating-abcdefgh/.lock", time.time())  # nobody holds it
    leave(out / ".translating-01234567/.a-01234567.tmp.png")  # killed before it was made
    leave(out / ".trial-abcdefgh/pixel.png")
    leave(out / ".trial-01234567/.pixel-01234567.tmp.png")
    leave(out / "sub/.a-01234567.tmp.png")
    leave(out / ".a-01234567.tmp.png")
    assert translate_files(model, [photos], out, to="b").failed == []
    assert names_in(out) == {"sub/a.png"}
    assert {path.name for path in out.iterdir()} == {"sub"}


def test_what_may_be_in_use_or_is_not_ours_stays(model, photos, out, tmp_path):
    put(photos / "a.png")
    now = time.time()
    kept = [
        leave(out / ".translating-01234567/.a-01234567.tmp.png", now),
        leave(out / ".trial-01234567/pixel.png", now),
        leave(out / ".trial-abcdefgh/mine.txt"),
        leave(out / ".trial-of-mine/pixel.png"),
        leave(out / ".a-01234567.tmp.png", now),
        leave(out / ".a-of-mine.tmp.png"),
        leave(out / "b/.a-01234567.tmp.png"),  # nothing is written there
        leave(tmp_path / "elsewhere/.lock"),
    ]
    (out / ".translating-abcdefgh").symlink_to(tmp_path / "elsewhere")
    living = leave(out / ".translating-76543210/.lock")
    with FileLock(living):
        assert translate_files(model, [photos], out, to="b").failed == []
        assert all(path.exists() for path in [*kept, living])
    assert translate_files(model, [photos], out, to="b", overwrite=True).failed == []
    assert all(path.exists() for path in kept)
    assert not living.parent.exists()


def test_two_translations_into_one_folder(out):
    with scratch_folder(out, []) as one, scratch_folder(out, []) as two:
        assert one != two
        assert one.is_dir()


def test_a_folder_that_another_process_sweeps_at_once_is_replaced(out, monkeypatch):
    made, usual = [], scratch._lock_of

    def swept(folder):
        made.append(FileLock(folder / ".lock"))
        if len(made) == 1:
            made[0].acquire()
        return usual(folder)

    monkeypatch.setattr(scratch, "_lock_of", swept)
    with scratch_folder(out, []) as folder:
        assert folder / ".lock" == Path(made[1].lock_file)


def test_without_locks_it_works_and_old_folders_are_swept(out, monkeypatch):
    def no_locks(self, *arguments, **more):
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    old = leave(out / ".translating-abcdefgh/.a-01234567.tmp.png").parent
    new = leave(out / ".translating-01234567/.a-01234567.tmp.png", time.time()).parent
    with scratch_folder(out, []) as folder:
        assert list(folder.iterdir()) == []
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_cannot_be_written_is_one_line(out):
    out.write_text("")
    with pytest.raises(RunError, match="is a file"), scratch_folder(out, []):
        pass


def test_an_empty_folder_of_a_process_killed_before_its_lock_is_removed(tmp_path):
    (tmp_path / ".translating-abcd1234").mkdir()
    with scratch_folder(tmp_path, []) as folder:
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_removed_before_its_lock_is_made_again(tmp_path, monkeypatch):
    make = scratch.tempfile.mkdtemp

    def make_and_lose(**options):
        folder = make(**options)
        os.rmdir(folder)
        return folder

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", make_and_lose)
    with scratch_folder(tmp_path, []) as folder:
        assert (folder / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
