"""`unpaired fleet` on a local Ray cluster; skipped where the extra `ray` is not installed.

Actors are processes of their own, so the model is a real one of tests/files. `bench/fleet.py kills`
kills processes of a large job at random moments.
"""

# ruff: noqa: E402
import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="the extra `ray` is not installed")
pytest.importorskip("ray", reason="the extra `ray` is not installed")

import faulty_store
from fleet.conftest import results_in
from small_images import put
from unpaired.cli.main import main
from unpaired.errors import ConfigError, RunError
from unpaired.fleet import places
from unpaired.fleet.manifest import ManifestRow
from unpaired.fleet.parquet import decode, encode, merge, read_manifest
from unpaired.fleet.places import LocalPlace
from unpaired.fleet.ray_data import Actor, Cluster, JobOrder, _blocks
from unpaired.fleet.shards import Item
from unpaired.storage import exclusive
from unpaired.translation.files import translate_files
from unpaired.translation.model import load

MODEL = Path(__file__).parents[1] / "files/v0.1/expected"


def row(name, status="done", finished=1.0):
    return ManifestRow(name, name, status, "", "a" * 64, "b" * 64, 3, 4, "c" * 64, 0.5, finished)


def test_parts_are_put_together(tmp_path):
    place = LocalPlace(tmp_path)
    place.write("p/1.parquet", encode([row("a"), row("b", "failed", 5.0)]))
    place.write("p/2.parquet", encode([row("b", "done", 2.0), row("a", "failed", 9.0)]))
    place.write("m.parquet", encode([row("c")]))
    merge(place, "m.parquet", ["p/1.parquet", "p/2.parquet"])
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]
    table = pq.read_table(tmp_path / "m.parquet").to_pylist()
    assert [(r["name"], r["status"]) for r in table] == [(n, "done") for n in "abc"]
    assert read_manifest(place, "m.parquet", [])["a"] == row("a")
    assert decode(encode([]), "x") == []
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunError, match="is no manifest"):
        read_manifest(place, "m.parquet", [])


def test_blocks_are_whole_batches_of_all_names():
    items = [Item(f"{k}.png", k or None, f"{k}.png") for k in range(1000)]
    for cluster in (Cluster(), Cluster(actors=(1, 8), batch=7), Cluster(batch=5000)):
        blocks = _blocks(items, cluster)
        rows = [len(block) for block in blocks]
        assert all(count % cluster.batch == 0 for count in rows[:-1])
        assert [n for b in blocks for n in b["name"].to_pylist()] == [i.name for i in items]
    assert blocks[0]["size"].to_pylist()[:2] == [-1, 1]


@pytest.mark.parametrize(
    "wrong", [{"actors": (2, 1)}, {"actors": (0, 1)}, {"batch": 0}, {"cpus": -1}, {"memory": -1}]
)
def test_resources_that_cannot_be(wrong):
    with pytest.raises(ConfigError):
        Cluster(**wrong)


@pytest.fixture
def images(tmp_path):
    """A store with 24 images, two of them damaged, and what a plain translation makes of them."""
    folder = tmp_path / "store" / "b" / "in"
    for k in range(24):
        put(folder / f"{k % 2}" / f"{k:02d}.png", seed=k, size=(8, 12))
    for name in ("0/06.png", "1/13.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:50])
    model = load(MODEL, device="cpu", threads=1, precision="recipe")
    summary = translate_files(model, [folder], tmp_path / "plain", to="b", batch_size=1)
    assert len(summary.failed) == 2
    return folder


def work_of(images, tmp_path, source, out):
    model = load(MODEL, device="cpu", threads=1, precision="recipe").path
    places.open_place(out).write("model.safetensors", model.read_bytes())
    mark = hashlib.sha256(model.read_bytes()).hexdigest()
    loading = {"device": "cpu", "threads": 1, "precision": "recipe"}
    return JobOrder(source, out, "model.safetensors", mark, loading, {"to": "b"}, "parts", "run")


def test_an_actor_does_a_batch_once(images, tmp_path, monkeypatch, quick):
    """Through a store that fails; a batch that Ray runs again is not done again."""
    faulty_store.install()
    log = tmp_path / "calls.txt"
    monkeypatch.setenv("STORE_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("STORE_LOG", str(log))
    monkeypatch.setenv("STORE_FAULTS", "0.3")
    actor = Actor(work_of(images, tmp_path, "faulty://b/in", "faulty://b/out"))
    names = sorted(p.relative_to(images).as_posix() for p in images.rglob("*.png"))
    sizes = [(images / name).stat().st_size for name in names]
    batch = {"name": names, "size": sizes, "output": names}
    first = actor(batch)
    assert first["name"] == names
    assert Counter(first["status"]) == {"done": 22, "failed": 2}
    out = tmp_path / "store" / "b" / "out"
    assert results_in(out).pop("model.safetensors")
    images_out = {n: b for n, b in results_in(out).items() if n.endswith(".png")}
    assert images_out == results_in(tmp_path / "plain")
    before = log.read_text().count("get b/in/")
    assert before >= 24
    assert actor(batch) == first
    assert log.read_text().count("get b/in/") == before
    actor.held.close()
    (part,) = (out / "parts").glob("*.parquet")
    assert len(pq.read_table(part)) == 24


@pytest.mark.nightly
def test_a_job(images, tmp_path):
    """The whole command, twice: the second does what is missing."""
    out = tmp_path / "store" / "b" / "out"
    env = os.environ | {
        "PYTHONPATH": faulty_store.plug_in(tmp_path / "plug"),
        "STORE_ROOT": str(tmp_path / "store"),
        "STORE_LOG": str(tmp_path / "calls.txt"),
        "STORE_FAULTS": "0.1",
    }
    words = ["fleet", "faulty://b/in", "faulty://b/out", str(MODEL), "--to", "b", "--batch", "4"]

    def call(*more):
        command = [sys.executable, "-m", "unpaired", *words, *more]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
        rows = pq.read_table(out / "manifest.parquet").to_pylist()
        assert sorted(Counter(row["name"] for row in rows).values()) == [1] * 24
        images_out = {n: b for n, b in results_in(out).items() if n.endswith(".png")}
        assert images_out == results_in(tmp_path / "plain")
        return done

    first = call("--actors", "2", "2")
    assert first.returncode == 1, first.stderr
    assert first.stdout.startswith("22 images translated; manifest: faulty://b/out/manifest.parq")
    lines = first.stderr.splitlines()
    assert lines[-3] == "unpaired: 2 images failed:"
    assert [line.split(":")[0] for line in lines[-2:]] == ["  0/06.png", "  1/13.png"]
    assert not (out / "manifest-parts").exists() or not list((out / "manifest-parts").iterdir())
    (out / "0" / "00.png").unlink()
    for name in ("0/06.png", "1/13.png"):
        (images / name).unlink()
    (tmp_path / "calls.txt").unlink()
    rows = pq.read_table(out / "manifest.parquet").to_pylist()
    assert len(rows) == 24
    done = subprocess.run(
        [sys.executable, "-m", "unpaired", *words], env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout[:30]) == (0, "1 image translated, 21 before;"), done.stderr
    reads = {
        n for n in (tmp_path / "calls.txt").read_text().split("\n") if n.startswith("get b/in")
    }
    assert reads == {"get b/in/0/00.png"}
    images_out = {n: b for n, b in results_in(out).items() if n.endswith(".png")}
    assert images_out == results_in(tmp_path / "plain")


def test_the_command_rejects_before_a_cluster_starts(images, tmp_path, capsys):
    words = ["fleet", str(images), str(tmp_path / "plain"), str(MODEL), "--to", "b"]
    for more, line in (
        ([], "has files already that are of no fleet"),
        (["--shard", "2/2"], "--shard is 2/2"),
        (["--actors", "2", "1"], "--actors is 2 1"),
        (["--format", "gif"], "--format is 'gif'"),
    ):
        assert main([*words, *more]) == 2
        error = capsys.readouterr().err
        assert line in error
        assert error.count("\n") == 1
    words[2] = str(tmp_path / "out")
    with exclusive(tmp_path / "out", "manifest.parquet"):
        assert main(words) == 2
    assert "manifest.parquet is in use by another process" in capsys.readouterr().err
