"""Shards of a folder: each image once, equal to a plain translation, and only what is missing."""

import hashlib
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from fleet.conftest import results_in, rows_in, sha256
from small_images import put
from unpaired import checkpoint
from unpaired.cli.main import main
from unpaired.errors import ConfigError, DataError, RunError
from unpaired.fleet import job
from unpaired.fleet.job import translate_shard
from unpaired.fleet.one import Translation, translate_bytes
from unpaired.fleet.shards import Shard, work_list
from unpaired.storage import exclusive
from unpaired.translation.model import load

WHOLE = Shard()


def translate(translation, photos, out, shard=WHOLE, manifest=None):
    return translate_shard(translation, str(photos), str(out), shard, manifest)


# ---- which images -----------------------------------------------------------------------------


def test_a_shard_is_the_hash_of_the_name_modulo_their_number():
    for name in ("a.png", "sub/ä.jpg", "\udce9.png"):
        raw = name.encode("utf-8", "surrogateescape")
        number = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")
        assert [Shard(i, 7).has(name) for i in range(7)].index(True) == number % 7
        assert sum(Shard(i, 7).has(name) for i in range(7)) == 1


def test_shards_are_even_and_stay_when_images_are_added():
    names = {f"{k:05d}.png": 1 for k in range(6000)}
    shards = [work_list(names, Shard(i, 6), None) for i in range(6)]
    assert sorted(item.name for shard in shards for item in shard) == sorted(names)
    assert all(900 < len(shard) < 1100 for shard in shards)
    more = work_list(names | {"zz.png": 1, "0.jpg": 1}, Shard(2, 6), None)
    assert {item.name for item in shards[2]} <= {item.name for item in more}


def test_what_is_no_image_is_hidden_or_is_a_result_is_omitted():
    names = dict.fromkeys(["a.png", "b.txt", ".c.png", "@eaDir/d.png", "out/a.png", "outer/e.JPG"])
    assert [i.name for i in work_list(names, WHOLE, None, "out")] == ["a.png", "outer/e.JPG"]


def test_two_images_with_one_result_are_rejected_whatever_their_shards():
    names = {"a.gif": 1, "a.png": 1, "b.png": 1}
    for index in range(5):
        with pytest.raises(DataError, match=r"a\.gif and a\.png would both become a\.png"):
            work_list(names, Shard(index, 5), None)


@pytest.mark.parametrize("text", ["3/3", "0/0", "-1/3", "1", "1/", "a/b", "1/2/3", "0/9999999"])
def test_what_is_no_shard_is_rejected(text):
    with pytest.raises(ConfigError, match="--shard is"):
        Shard.parse(text)


# ---- what becomes of them ---------------------------------------------------------------------


def test_shards_together_are_a_plain_translation(translation, photos, plain, out):
    outcomes = [translate(translation, photos, out, Shard(i, 3)) for i in range(3)]
    assert results_in(out) == results_in(plain)
    assert sum(outcome.done for outcome in outcomes) == 11
    rows = [row for i in range(3) for row in rows_in(out / f"manifest-{i}-of-3.jsonl")]
    assert len(rows) == 12
    by_name = {row["name"]: row for row in rows}
    assert len(by_name) == 12
    for name, row in by_name.items():
        assert row["sha256_in"] == sha256(photos / name)
        assert row["model"] == sha256(translation.model.path)
        if name == "11.png":
            assert (row["status"], row["output"], row["sha256_out"]) == ("failed", "", "")
            assert "damaged" in row["error"]
            assert str(photos) not in row["error"]
        else:
            assert (row["status"], row["error"]) == ("done", "")
            assert row["sha256_out"] == sha256(out / row["output"])
            assert row["size_out"] == (out / row["output"]).stat().st_size


def test_the_same_command_does_what_is_missing(inverters, translation, photos, plain, out):
    translate(translation, photos, out)
    assert translate(translation, photos, out).before == 11
    put(photos / "00.png", seed=99, size=(12, 16))  # an input that is another
    put(photos / "new.png", seed=50)
    (out / "01.png").unlink()
    (out / "02.png").write_bytes(b"cut")
    manifest = out / "manifest-0-of-1.jsonl"
    lines = [line for line in manifest.read_text().splitlines() if '"03.png"' not in line]
    manifest.write_text("\n".join(lines) + "\n" + lines[0][:70])  # killed while it wrote
    inverters[-1].shapes.clear()
    outcome = translate(translation, photos, out)
    assert (outcome.done, outcome.before, len(inverters[-1].shapes)) == (5, 7, 5)
    changed = results_in(out)
    assert {n: b for n, b in results_in(plain).items() if changed[n] != b}.keys() == {"00.png"}
    rows = rows_in(manifest)
    assert [row["name"] for row in rows] == sorted(
        [*(f"{k:02d}.png" for k in range(9)), "10.tif", "11.png", "new.png", "sub/deep/09.jpg"]
    )


def test_a_stop_loses_nothing_that_is_done(translation, photos, plain, out, monkeypatch):
    usual, left = job.run, 5

    def stopping(*given):
        for count, row in enumerate(usual(*given)):
            if count == left:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(job, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        translate(translation, photos, out)
    assert len(rows_in(out / "manifest-0-of-1.jsonl")) == left
    monkeypatch.setattr(job, "run", usual)
    assert translate(translation, photos, out).before == left
    assert results_in(out) == results_in(plain)
    assert len(rows_in(out / "manifest-0-of-1.jsonl")) == 12
    assert not list(out.glob(".translating-*"))


def test_another_model_or_options_are_rejected(
    inverters, translation, model_file, photos, out, tmp_path
):
    translate(translation, photos, out, Shard(0, 2))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = model_file(
        path=tmp_path / "other.safetensors",
        arrays={f"generator_{way}.stem.weight": np.zeros(3, np.float32) for way in ("ab", "ba")},
    )
    assert checkpoint.read(other)
    others = {
        "by another model": Translation.of(load(other, precision="recipe"), to="b"),
        "begun with to": Translation.of(translation.model, to="a"),
        "begun with working_size": Translation.of(translation.model, to="b", working_size=16),
        "begun with format": Translation.of(translation.model, to="b", format="tiff"),
        "begun with frames": Translation.of(translation.model, to="b", frames="first"),
        "begun with precision": Translation.of(
            load(translation.model.path, precision="fp32"), to="b"
        ),
    }
    for line, asked in others.items():
        with pytest.raises(ConfigError, match=line):
            translate(asked, photos, out, Shard(0, 2))
    with pytest.raises(ConfigError, match="begun with shards 2, this is 3"):
        translate(translation, photos, out, Shard(0, 3))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert translate(translation, photos, out, Shard(1, 2)).done > 0


def test_a_destination_with_files_of_something_else_is_rejected(translation, photos, plain):
    with pytest.raises(ConfigError, match="files already that are of no fleet"):
        translate(translation, photos, plain)
    assert not (plain / "translation.json").exists()


def test_a_source_inside_or_equal(translation, photos, plain, tmp_path):
    with pytest.raises(ConfigError, match="is the source"):
        translate(translation, photos, photos)
    assert translate(translation, photos, photos / "out").done == 11
    again = translate(translation, photos, photos / "out")
    assert (again.done, again.before) == (0, 11)
    with pytest.raises(ConfigError, match="is no folder"):
        translate(translation, photos / "00.png", tmp_path / "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in the source"):
        translate(translation, tmp_path / "empty", tmp_path / "x")


def test_a_link_does_not_lead_out(translation, photos, out, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    out.mkdir()
    (out / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"sub/deep leads out of .*, through a link"):
        translate(translation, photos, out)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_broken_device_stops_all(translation, photos, out, inverters):
    inverters[-1].error = RuntimeError("CUDA error: unspecified launch failure")
    with pytest.raises(RunError, match="8 images in a row cannot be translated: unexpected: Run"):
        translate(translation, photos, out)
    assert {row["status"] for row in rows_in(out / "manifest-0-of-1.jsonl")} <= {"failed"}
    inverters[-1].error = None
    assert translate(translation, photos, out).done == 11


def test_a_manifest_is_of_one_process(translation, photos, out, tmp_path):
    with exclusive(tmp_path, "m.jsonl"), pytest.raises(RunError, match="in use by another"):
        translate(translation, photos, out, manifest=str(tmp_path / "m.jsonl"))
    (tmp_path / "notes.txt").write_text("my notes\n")
    with pytest.raises(RunError, match="is no manifest"):
        translate(translation, photos, out, manifest=str(tmp_path / "notes.txt"))
    assert (tmp_path / "notes.txt").read_text() == "my notes\n"
    translate(translation, photos, out, manifest=str(tmp_path / "m.jsonl"))
    assert len(rows_in(tmp_path / "m.jsonl")) == 12


def test_a_precision_that_machines_choose_is_rejected(model_file, inverters):
    with pytest.raises(ConfigError, match="precision auto is measured"):
        Translation.of(load(model_file()), to="b")


# ---- translate_bytes --------------------------------------------------------------------------


def test_bytes_are_those_of_a_plain_translation(translation, photos, plain):
    for name, expected in results_in(plain).items():
        result, row = translate_bytes((photos / name).read_bytes(), name, translation)
        assert result == expected
        assert (row.name, row.output, row.status) == (name, name, "done")
        assert row.sha256_out == hashlib.sha256(expected).hexdigest()


def test_bytes_that_fail_give_a_row(translation, photos, inverters):
    for name, data, said in (
        ("11.png", (photos / "11.png").read_bytes(), "damaged"),
        ("a.png", b"", "the file is empty"),
        ("a.png", b"text", "not an image"),
        ("no.suffix", (photos / "00.png").read_bytes(), "choose one with --format"),
        ("s.vrt", b"<VRTDataset><x/></VRTDataset>", ""),
    ):
        result, row = translate_bytes(data, name, translation)
        assert (result, row.status, row.sha256_out, row.size_out) == (b"", "failed", "", 0)
        assert said in row.error
        assert row.error
        assert row.error.count("\n") == row.error.count("unpaired-") == 0
    inverters[-1].error = ZeroDivisionError("of a plug-in")
    result, row = translate_bytes((photos / "00.png").read_bytes(), "00.png", translation)
    assert (result, row.error) == (b"", "unexpected: ZeroDivisionError: of a plug-in")


def test_a_limit_holds_for_bytes_too(translation, photos):
    small = replace(translation, max_pixels=10)
    result, row = translate_bytes((photos / "00.png").read_bytes(), "00.png", small)
    assert result == b""
    assert "--max-pixels" in row.error


# ---- the command line -------------------------------------------------------------------------


def test_the_command(inverters, model_file, photos, out, capsys):
    words = ["translate", str(model_file()), str(photos), "--to", "b", "--out", str(out)]
    assert main([*words, "--shard", "0/2"]) in (0, 1)
    assert main([*words, "--shard", "1/2"]) in (0, 1)
    told, error = capsys.readouterr()
    assert told.count("translated; manifest: ") == 2
    assert error.splitlines()[:1] == ["unpaired: 1 image failed:"]
    assert error.splitlines()[1].startswith("  11.png: damaged")
    (photos / "11.png").unlink()
    assert main([*words, "--shard", "0/2"]) == 0
    capsys.readouterr()
    for more, line in (
        (["--shard", "0/2", "--batch-size", "8"], "--overwrite and --batch-size are not"),
        (["--shard", "0/2", "--dry-run"], "not for shards"),
        (["--shard", "2/2"], "--shard is 2/2"),
    ):
        assert main([*words, *more]) == 2
        assert line in capsys.readouterr().err
    two = [*words[:2], str(photos), *words[2:], "--shard", "0/2"]
    assert main(two) == 2
    assert "one folder or URL, and 2 are given" in capsys.readouterr().err
    record = json.loads((out / "translation.json").read_text())
    assert record["options"]["precision"] == "recipe"


def test_a_fleet_without_ray_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "unpaired.fleet.ray_data", raising=False)
    monkeypatch.delitem(sys.modules, "unpaired.fleet.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["fleet", str(tmp_path), str(tmp_path / "o"), str(tmp_path), "--to", "b"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("unpaired: unpaired fleet needs pyarrow, which is not installed: pip")
    assert "unpaired[ray]" in error
