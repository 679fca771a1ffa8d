"""Bombs: small `.pth` files that would take gigabytes or for ever are rejected unread."""

import os
import struct
import time
import zipfile

import numpy as np
import pytest
import torch

from unpaired.errors import CheckpointError, RunError
from unpaired.weights import torch_pth
from unpaired.weights.torch_pth import read


def rejection(path, monkeypatch):
    """The line that rejects a file which PyTorch has not seen."""
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(CheckpointError) as error:
        read(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= 400
    return str(error.value)


def zipped(path, pickle=b"\x80\x02}.", **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle)
        archive.writestr("a/version", "3\n")
        for name, content in entries.items():
            archive.writestr(f"a/data/{name}", content)
    return path


def test_a_zip_bomb(tmp_path, monkeypatch):
    path = zipped(tmp_path / "x.pth", **{str(k): bytes(30_000_000) for k in range(2)})
    assert path.stat().st_size < 100_000
    assert "has 0.1 MB and unpacks to 60.0 MB" in rejection(path, monkeypatch)


def test_a_zip_file_beyond_the_free_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("unpaired.weights.pth_check.free", lambda: 1_000_000)
    torch.save({"w": torch.randn(500_000)}, tmp_path / "x.pth")
    assert "more memory than is free" in rejection(tmp_path / "x.pth", monkeypatch)


def test_entries_that_share_their_bytes(tmp_path, monkeypatch):
    """Each entry of the directory points to the same content."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data/0", os.urandom(200_000))
        first = archive.infolist()[-1]
        for k in range(1, 200):
            info = zipfile.ZipInfo(f"a/data/{k}")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(info, name, getattr(first, name))
            archive.filelist.append(info)
    assert "unpacks to 40.0 MB" in rejection(path, monkeypatch)


def nested(depth, key):
    """A pickle with tuples that hold one twice, `depth` times; as a key, or as a value."""
    value = b"K\x01\x85" + b"q\x01h\x01\x86" * depth
    return b"\x80\x02}" + (value + b"K\x01" if key else b"K\x01" + value) + b"s."


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("key", [False, True])
def test_tuples_without_end(tmp_path, monkeypatch, old, key):
    path = tmp_path / "x.pth"
    path.write_bytes(nested(60, key)) if old else zipped(path, nested(60, key))
    began = time.monotonic()
    assert "is damaged or not a plain state_dict" in rejection(path, monkeypatch)
    assert time.monotonic() - began < 5  # it would take longer than anybody waits


def call(name, *arguments):
    return b"\x80\x02c" + name.replace(".", "\n").encode() + b"\n" + b"".join(arguments) + b"R."


@pytest.mark.parametrize(
    "pickle",
    [
        call("builtins.bytearray", b"J" + struct.pack("<i", 2**31 - 1), b"\x85"),
        call("_codecs.encode", b"X\1\0\0\0aX\6\0\0\0utf-32\x86"),
        call("collections.Counter", b")"), call("builtins.eval", b"X\1\0\0\0aX\1\0\0\0b\x86"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("old", [False, True])
def test_calls_that_grow(tmp_path, monkeypatch, pickle, old):
    path = tmp_path / "x.pth"
    path.write_bytes(pickle) if old else zipped(path, pickle)
    assert "which is not a tensor, and may run code" in rejection(path, monkeypatch)


def test_a_pickle_of_millions(tmp_path, monkeypatch):
    path = zipped(tmp_path / "x.pth", b"\x80\x02" + os.urandom(9_000_000))
    assert "is rejected: it is no state_dict" in rejection(path, monkeypatch)


def test_tensors_that_share_their_numbers(tmp_path):
    base = torch.zeros(200_000, dtype=torch.float16)
    torch.save({f"w{k}": base.view(-1) for k in range(100)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="which share their numbers"):
        read(tmp_path / "x.pth")
    torch.save({f"w{k}": base.view(-1) for k in range(3)}, tmp_path / "x.pth")
    assert [array.dtype for array in read(tmp_path / "x.pth").values()] == [np.float32] * 3


@pytest.mark.parametrize("zipped_now", [True, False])
def test_large_plain_files_are_read(tmp_path, zipped_now):
    state = {f"model.{k}.weight": torch.full((64, 64, 3, 3), float(k)) for k in range(20)}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped_now)
    assert len(read(tmp_path / "x.pth")) == 20


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_only_regular_files_are_read(tmp_path, kind):
    path = tmp_path / "x.pth"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(RunError, match="not a regular file"):
        torch_pth.read_pth(path)
