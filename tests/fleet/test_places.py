"""Stores behind URLs: equal results through faults, and what cannot be stored or reached."""

import os
import subprocess
import sys
import time
import urllib.request
import weakref
from contextlib import closing, suppress
from socket import socket

import pytest

import faulty_store
from fleet.conftest import results_in, rows_in
from small_images import put
from unpaired.errors import ConfigError, ImageError, MissingExtra, RunError
from unpaired.fleet import manifest, places
from unpaired.fleet.job import translate_shard
from unpaired.fleet.places import LocalPlace, open_place
from unpaired.fleet.shards import Shard

fsspec = pytest.importorskip("fsspec")
WHOLE = Shard()


@pytest.fixture
def store(tmp_path, monkeypatch, quick):
    """A store whose bucket `b` is a folder; a function sets the share of calls that fail."""
    faulty_store.install()
    faulty_store.Store.told.clear()
    faulty_store.Store._in_a_row.clear()
    monkeypatch.setattr(faulty_store.Store, "broken", {})
    monkeypatch.setenv("STORE_ROOT", str(tmp_path / "store"))

    def failing(share, seed=0):
        faulty_store.Store._rng.seed(seed)
        monkeypatch.setenv("STORE_FAULTS", str(share))

    return failing


def in_store(tmp_path, photos):
    (tmp_path / "store" / "b").mkdir(parents=True)
    photos.rename(tmp_path / "store" / "b" / "in")
    return tmp_path / "store" / "b"


@pytest.mark.parametrize("seed", range(3))
def test_faults_change_nothing(translation, photos, plain, tmp_path, store, seed):
    bucket = in_store(tmp_path, photos)
    store(0.4, seed)
    outcome = translate_shard(translation, "faulty://b/in", "faulty://b/out", WHOLE)
    assert (outcome.done, list(outcome.failed)) == (11, ["11.png"])
    assert results_in(bucket / "out") == results_in(plain)
    rows = rows_in(bucket / "out" / "manifest-0-of-1.jsonl")
    assert len(rows) == len({row["name"] for row in rows}) == 12
    assert {"503", "timeout", "short", "late timeout"} <= faulty_store.Store.told.keys()
    again = translate_shard(translation, "faulty://b/in", "faulty://b/out", WHOLE)
    assert (again.done, again.before) == (0, 11)


def test_a_short_read_is_never_taken_for_the_file(
    translation, photos, tmp_path, store, monkeypatch
):
    bucket = in_store(tmp_path, photos)
    monkeypatch.setattr(faulty_store, "IN_A_ROW", 10**9)
    store(0.9)
    monkeypatch.setattr(faulty_store.Store, "_fault", lambda self, verb, *a: "short")
    with pytest.raises(ImageError, match=r"a short read: \d+ of \d+ bytes \(5 attempts\)"):
        open_place("faulty://b/in").fetch("00.png", (bucket / "in/00.png").stat().st_size, tmp_path)
    assert not list(tmp_path.glob("*.png"))


def test_what_cannot_be_read_or_stored_is_a_row_and_done_later(
    translation, photos, plain, tmp_path, store, monkeypatch
):
    bucket = in_store(tmp_path, photos)
    broken = {
        "b/in/00.png": OSError("503: slow down"),
        "b/in/01.png": PermissionError(13, "Access denied"),
        "b/out/02.png": TimeoutError(),
    }
    monkeypatch.setattr(faulty_store.Store, "broken", broken)
    first = translate_shard(translation, "faulty://b/in", "faulty://b/out", WHOLE)
    assert first.done == 8
    assert {n: e for n, e in first.failed.items() if n != "11.png"} == {
        "00.png": "cannot read faulty://b/in/00.png: 503: slow down (5 attempts)",
        "01.png": "access denied",
        "02.png": "cannot write faulty://b/out/02.png: TimeoutError (5 attempts)",
    }
    broken.clear()
    second = translate_shard(translation, "faulty://b/in", "faulty://b/out", WHOLE)
    assert (second.done, second.before, len(second.failed)) == (3, 8, 1)
    assert results_in(bucket / "out") == results_in(plain)
    assert len(rows_in(bucket / "out" / "manifest-0-of-1.jsonl")) == 12


def test_a_destination_that_takes_nothing_stops_all(
    translation, photos, tmp_path, store, monkeypatch
):
    bucket = in_store(tmp_path, photos)
    names = [f"b/out/{k:02d}.png" for k in range(9)]
    broken = dict.fromkeys(names, PermissionError(13, "Access denied"))
    monkeypatch.setattr(faulty_store.Store, "broken", broken)
    with pytest.raises(RunError, match=r"cannot write faulty://b/out/\d+.png: access denied"):
        translate_shard(translation, "faulty://b/in", "faulty://b/out", WHOLE)
    broken.update(dict.fromkeys(names, OSError("503")))
    monkeypatch.setattr(places, "_IN_A_ROW", 4)
    with pytest.raises(RunError, match=r"b/out failed 4 times in a row: .*503 \(5 attempts\)"):
        translate_shard(translation, "faulty://b/in", "faulty://b/out", WHOLE)
    broken.clear()
    for k in range(9):
        broken[f"b/in/{k:02d}.png"] = PermissionError(13, "The token has expired")
    with pytest.raises(RunError, match=r"b/in failed 4 times in a row: .*token has expired"):
        translate_shard(translation, "faulty://b/in", "faulty://b/out", WHOLE)
    assert rows_in(bucket / "out" / "manifest-0-of-1.jsonl") is not None


def test_a_manifest_in_a_store_is_kept_while_it_grows(
    translation, photos, tmp_path, store, monkeypatch
):
    bucket = in_store(tmp_path, photos)
    monkeypatch.setattr(manifest, "_PUT_EVERY", 0.0)
    monkeypatch.setattr(manifest, "_PUT_SHARE", 0)
    held = []
    usual = manifest.Manifest.add

    def add(self, row):
        usual(self, row)
        held.append(len(rows_in(bucket / "m" / "part.jsonl")))

    monkeypatch.setattr(manifest.Manifest, "add", add)
    target = "faulty://b/m/part.jsonl"
    translate_shard(translation, "faulty://b/in", str(tmp_path / "out"), WHOLE, target)
    assert held[1:] == list(range(2, 13))


def test_from_a_folder_to_memory_and_back(translation, photos, plain, tmp_path):
    fs = fsspec.filesystem("memory")
    translate_shard(translation, str(photos), "memory://fleet-test/one", WHOLE)
    try:
        got = fs.cat(fs.find("/fleet-test/one"))
        images = {n.removeprefix("/fleet-test/one/"): c for n, c in got.items() if ".json" not in n}
        assert images == results_in(plain)
        for name in images:
            fs.pipe_file(f"/fleet-test/in/{name}", (photos / name).read_bytes())
        outcome = translate_shard(translation, "memory://fleet-test/in", str(tmp_path / "o"), WHOLE)
        assert outcome.done == 11
        assert results_in(tmp_path / "o") == results_in(plain)
    finally:
        fs.rm("/fleet-test", recursive=True)


def test_where_files_are_visible_before_they_are_whole_they_are_renamed(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "_RENAMING", {"memory"})
    fs, place = fsspec.filesystem("memory"), open_place("memory://fleet-test")
    seen = []
    usual = fs.put_file

    def put_file(here, there, **more):
        seen.append(there)
        usual(here, there, **more)

    monkeypatch.setattr(fs, "put_file", put_file)
    (tmp_path / "made.png").write_bytes(b"made")
    try:
        place.put(tmp_path / "made.png", "sub/a.png")
        place.put(tmp_path / "made.png", "sub/a.png")
        assert fs.find("/fleet-test") == ["/fleet-test/sub/a.png"]
        assert all(name.startswith("/fleet-test/sub/a.png.") for name in seen)
        assert len(set(seen)) == 2
    finally:
        fs.rm("/fleet-test", recursive=True)


def test_places_that_cannot_be(tmp_path, monkeypatch):
    assert open_place(f"file://{tmp_path}") == LocalPlace(tmp_path)
    with pytest.raises(ConfigError, match="s3x://a cannot be used: Protocol not known"):
        open_place("s3x://a")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtra, match=r"needs fsspec.*unpaired\[cloud\]"):
        open_place("s3://bucket/x")


# ---- a stand-in of S3 -------------------------------------------------------------------------


def close_sessions(kind):
    """Closes what s3fs would close when it is collected, and complain of while a process ends."""
    kind.clear_instance_cache()
    for each in list(weakref.finalize._registry):
        found = each.peek()
        if found and isinstance(found[0], kind):
            _, close, given, _ = each.detach()
            with suppress(Exception):
                close(*given)


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """A server of moto on this machine, with an empty bucket `fleet`."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    pytest.importorskip("flask_cors")
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-W", "ignore", "-c", "from moto.server import main; main()"]
    server = subprocess.Popen(
        [*command, "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | {"AWS_DEFAULT_REGION": "us-east-1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        fs.mkdir("fleet")
        yield fs
        close_sessions(type(fs))
    finally:
        server.kill()
        server.wait()


@pytest.mark.filterwarnings("ignore")  # of botocore and aiohttp
def test_s3(s3, translation, photos, plain, tmp_path):
    s3.put(f"{photos}/", "fleet/in/", recursive=True)
    s3.pipe_file("fleet/in/notes.txt", b"no image")
    for index in range(2):
        translate_shard(translation, "s3://fleet/in", "s3://fleet/out", Shard(index, 2))
    s3.invalidate_cache()
    s3.get("fleet/out/", f"{tmp_path}/got/", recursive=True)
    assert results_in(tmp_path / "got") == results_in(plain)
    s3.rm_file("fleet/out/04.png")
    put(tmp_path / "new.png", seed=77)
    s3.put_file(str(tmp_path / "new.png"), "fleet/in/new.png")
    again = [
        translate_shard(translation, "s3://fleet/in", "s3://fleet/out", Shard(index, 2))
        for index in range(2)
    ]
    assert (sum(o.done for o in again), sum(o.before for o in again)) == (2, 10)
    with pytest.raises(RunError, match=r"cannot write s3://gone/out/translation\.json"):
        translate_shard(translation, "s3://fleet/in", "s3://gone/out", Shard())
