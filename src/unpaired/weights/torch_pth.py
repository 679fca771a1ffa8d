"""The `.pth` files of PyTorch: plain state_dicts read without running any code, and written.

The one place of `torch.load` and `torch.save`. Such a file is a pickle, which can run code when it
is read; `weights_only=True` reads tensors and plain containers and rejects everything else.
"""

import io
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unpaired.engines.seam import Arrays
from unpaired.errors import CheckpointError, RunError, reason_of
from unpaired.storage import open_regular
from unpaired.weights.pth_check import most_bytes, require_harmless

__all__ = ["dump", "read", "read_pth"]


def read_pth(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a plain state_dict, on the CPU, in the types of the file.

    Raises:
        CheckpointError: damaged, not such a file, or it holds anything besides plain tensors; or
            it takes far more memory than the file has (see `pth_check`).
        RunError: the system gives no access to it.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise RunError(f"cannot read {path}: {reason_of(error)}") from error
    try:
        with file, warnings.catch_warnings():
            require_harmless(file, path)
            size = os.fstat(file.fileno()).st_size
            warnings.simplefilter("ignore")  # of its age and kind: what matters raises
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever an untrusted file may cause
        # The library's own message has many lines, and advises to read the file unsafely.
        if named := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise CheckpointError(
                f"{path} names {named[1]}, which is not a tensor, and may run code when it is "
                "read: only plain state_dicts are read"
            ) from error
        raise CheckpointError(_damaged(path, error)) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}: a plain state_dict of tensors is needed"
        )
    others = [
        ascii(name)[:80]
        for name, value in content.items()
        if not (isinstance(name, str) and isinstance(value, Tensor) and _is_plain(value))
    ]
    if others or not content:
        found = ", ".join(others[:4]) + (" and more" if len(others) > 4 else "")
        raise CheckpointError(
            f"{path} holds {found or 'nothing'} where only plain tensors may be: a state_dict of "
            "one network is needed, as the authors' code writes it"
        )
    needed = sum(4 * tensor.numel() for tensor in content.values())
    if needed > most_bytes(size):
        raise CheckpointError(
            f"{path} has {size / 1e6:,.1f} MB and tensors of {needed / 1e6:,.1f} MB, which share "
            "their numbers: no weights do"
        )
    return {name: tensor.detach() for name, tensor in content.items()}


def read(path: Path) -> Arrays:
    """Reads as `read_pth`, into numpy; floating point of any kind becomes float32. Raises alike."""
    tensors = read_pth(path)
    try:
        return {
            name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy()
            for name, tensor in tensors.items()
        }
    except (TypeError, RuntimeError) as error:  # a type of numbers that numpy lacks
        raise CheckpointError(_damaged(path, error)) from error


def dump(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a `.pth` file that holds `arrays` as a plain state_dict."""
    buffer = io.BytesIO()
    tensors = {
        name: torch.from_numpy(np.require(array, requirements=["C", "W"]))
        for name, array in arrays.items()
    }
    torch.save(tensors, buffer)
    return buffer.getvalue()


def _is_plain(tensor: Tensor) -> bool:
    """Dense and real, on the CPU, and not a view that claims more than its storage holds."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return False
    if tensor.is_complex() or tensor.is_neg():
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} is damaged or not a plain state_dict of PyTorch ({type(error).__name__})"
