"""Files of PyTorch: tensors are read and written, no code runs, all else is one line."""

import os
import pickle
import re
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from unpaired.errors import CheckpointError, RunError
from unpaired.weights.torch_pth import dump, read, read_pth

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.count": torch.tensor(7)}


def rejection(path):
    with pytest.raises(CheckpointError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert "weights_only" not in message  # the library advises to set it to False
    return message.removeprefix(f"{path} ")


def test_written_and_read_again(tmp_path):
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([1])}
    arrays["c"] = np.arange(6, dtype=np.float32).reshape(2, 3).T  # not contiguous
    (tmp_path / "x.pth").write_bytes(dump(arrays))
    again = read(tmp_path / "x.pth")
    assert list(again) == list(arrays)
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)
    plain = torch.load(tmp_path / "x.pth", weights_only=True)
    assert type(plain) is dict
    assert {type(value) for value in plain.values()} == {torch.Tensor}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("container", [dict, OrderedDict])
def test_files_new_and_old(tmp_path, zipped, container):
    path = tmp_path / "x.pth"
    torch.save(container(STATE), path, _use_new_zipfile_serialization=zipped)
    found = read(path)
    assert np.array_equal(found["a.weight"], STATE["a.weight"].numpy())
    assert found["a.count"] == 7
    assert found["a.count"].dtype == np.int64


def test_a_state_dict_of_a_module_with_its_metadata_and_parameters(tmp_path):
    module = torch.nn.Conv2d(2, 3, 1)
    torch.save(module.state_dict(), tmp_path / "x.pth")
    assert list(read(tmp_path / "x.pth")) == ["weight", "bias"]
    torch.save(dict(module.named_parameters()), tmp_path / "y.pth")
    assert list(read(tmp_path / "y.pth")) == ["weight", "bias"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_of_any_kind(tmp_path, dtype):
    values = torch.tensor([0.5, -1.25, 3.0], dtype=dtype)
    torch.save({"w": values}, tmp_path / "x.pth")
    found = read(tmp_path / "x.pth")["w"]
    assert found.dtype == np.float32
    assert found.tolist() == [0.5, -1.25, 3.0]
    assert read_pth(tmp_path / "x.pth")["w"].dtype == dtype


def test_views_come_as_they_look(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    torch.save({"t": base.T, "part": base[1:, ::2]}, tmp_path / "x.pth")
    found = read(tmp_path / "x.pth")
    assert found["t"].tolist() == base.T.tolist()
    assert found["part"].tolist() == base[1:, ::2].tolist()


# ---- what is rejected ---------------------------------------------------------------------


class Trap:
    """Runs a command when it is unpickled carelessly."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Evaluates(Trap):
    def __reduce__(self):
        return eval, (f"__import__('os').mkdir({str(self.mark)!r})",)


@pytest.mark.parametrize("trap", [Trap, Evaluates])
@pytest.mark.parametrize("write", ["zip", "old", "pickle 2", "pickle 4", "deep"])
def test_a_file_that_would_run_code_is_rejected_and_nothing_runs(tmp_path, trap, write):
    path, mark = tmp_path / "latest_net_G_A.pth", tmp_path / "mark"
    content = {"model.1.weight": torch.zeros(2), "more": trap(mark)}
    if write == "deep":
        content = {"model.1.weight": torch.zeros(2), "optimizer": {"state": [1, (trap(mark),)]}}
    if write.startswith("pickle"):
        path.write_bytes(pickle.dumps(content["more"], protocol=int(write[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write != "old")
    message = rejection(path)
    assert not mark.exists()
    if write != "pickle 4":  # of which the reader does not even know the words
        assert re.match(r"names (posix\.mkdir|\S*eval), which is not a tensor", message)
    # That the trap is one: read carelessly, it snaps.
    if write.startswith("pickle"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert mark.exists()


def test_a_module_saved_whole_is_rejected(tmp_path):
    torch.save(torch.nn.Sequential(torch.nn.ReLU()), tmp_path / "x.pth")
    assert "names torch.nn.modules" in rejection(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {"epoch": 3, "state_dict": STATE, "optimizer": {}, "best": 0.5, "name": "x"} | STATE,
            "holds 'epoch', 'state_dict', 'optimizer', 'best' and more where only plain tensors",
        ),
        ({"x": None}, "holds 'x' where only plain tensors may be"),
        ({"netG": STATE}, "holds 'netG' where only plain tensors may be"),
        ({3: torch.zeros(1)}, "holds 3 where only plain tensors may be"),
        ({"a\nb": 1}, r"holds 'a\\nb' where"),
        ({}, "holds nothing where only plain tensors may be"),
        ([torch.zeros(1)], "holds a list: a plain state_dict of tensors is needed"),
        (torch.zeros(1), "holds a Tensor: a plain"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "holds 'w' where only plain tensors may be"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "holds 'w' where only plain tensors may be"),
        ({"w": torch.zeros(1).expand(10**6, 10**6)}, "holds 'w' where only plain tensors may be"),
        ({"w": torch.zeros(3, device="meta")}, "holds 'w' where only plain tensors may be"),
    ],
)  # fmt: skip
def test_what_is_not_a_plain_state_dict(tmp_path, content, told):
    torch.save(content, tmp_path / "x.pth")
    assert told.replace("\\\\", "\\") in rejection(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and on", b"\x80\x02}q\x00."])
def test_what_is_not_a_file_of_pytorch(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    assert "is damaged or not a plain state_dict of PyTorch" in rejection(tmp_path / "x.pth")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short(tmp_path, share, zipped):
    torch.save({"w": torch.randn(1000)}, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: int(len(content) * share)])
    assert "is damaged" in rejection(tmp_path / "x.pth")


def test_torchscript_and_other_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("code/x.py", "print(1)")
        archive.writestr("x/constants.pkl", b"\x80\x02)\x81.")
    assert "is damaged or not a plain state_dict" in rejection(tmp_path / "x.pth")


def test_a_file_that_may_not_be_read(tmp_path):
    with pytest.raises(RunError, match=r"^cannot read .*x\.pth: no such file$"):
        read(tmp_path / "x.pth")
    with pytest.raises(RunError, match="is a folder"):
        read(tmp_path)
