"""The `.pth` files of PyTorch: plain state_dicts read without running anything, and written.

The one place of `torch.load` and `torch.save`. A file of this kind is a pickle, which can run code
when it is read; `weights_only=True` reads tensors and plain containers and refuses all else.
"""

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unpaired.engines.seam import Arrays
from unpaired.errors import CheckpointError, RunError

__all__ = ["dump", "read", "read_pth"]


def read_pth(path: Path) -> dict[str, Tensor]:
    """The tensors of a plain state_dict, on the CPU, of the types they were written in.

    Raises:
        CheckpointError: damaged, no such file at all, or it holds anything besides tensors.
        RunError: the system gives no access to it.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"cannot read {path}: {reason}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its age and kind: what counts raises
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
        _require_plain(content, path)
        return {name: _whole(tensor) for name, tensor in content.items()}
    except CheckpointError:
        raise
    except Exception as error:  # whatever a strange file may cause
        raise CheckpointError(_refusal(path, error)) from error


def read(path: Path) -> Arrays:
    """As `read_pth`, in numpy; floating point of any kind comes as float32. Raises alike."""
    tensors = read_pth(path)
    try:
        return {
            name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
            for name, tensor in tensors.items()
        }
    except (TypeError, RuntimeError) as error:  # a type of numbers that numpy has not
        raise CheckpointError(_refusal(path, error)) from error


def dump(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a `.pth` file that holds `arrays` as a plain state_dict."""
    buffer = io.BytesIO()
    tensors = {
        name: torch.from_numpy(np.require(array, requirements=["C", "W"]))
        for name, array in arrays.items()
    }
    torch.save(tensors, buffer)
    return buffer.getvalue()


def _require_plain(content: Any, path: Path) -> None:
    """Lets only a dict of names and tensors pass."""
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}: a plain state_dict of tensors is needed"
        )
    others = [
        ascii(name)[:80]
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if others or not content:
        found = ", ".join(others[:4]) + (" and more" if len(others) > 4 else "")
        raise CheckpointError(
            f"{path} holds {found or 'nothing'} where only tensors may be: a plain state_dict of "
            "one network is needed, as the authors' code writes it"
        )


def _whole(tensor: Tensor) -> Tensor:
    """A tensor whose content is there: no sparse, quantised or complex one, no view beyond it."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise ValueError("a tensor of a special layout")
    if tensor.is_complex() or tensor.is_neg():
        raise ValueError("a tensor of complex numbers")
    # A view may claim any size over a small storage.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError("a tensor that is larger than its content")
    return tensor.detach()


def _refusal(path: Path, error: Exception) -> str:
    # The library's own words are many lines, and advise to read the file unsafely.
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return (
            f"{path} names {found[1]}, which is no tensor, and may run code when it is read: only "
            "plain state_dicts are read"
        )
    return f"{path} is damaged or no plain state_dict of PyTorch ({type(error).__name__})"
