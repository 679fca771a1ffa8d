"""Weights on disk: one safetensors file a state, its configuration in the header, a checksum.

`checkpoints/step-*.safetensors` hold everything that resuming a training needs;
`model.safetensors` holds what `translate` needs. Both are written atomically. No pickle is read or
written.
"""

import errno
import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from unpaired.config import MOST_STEPS, Config
from unpaired.console import log
from unpaired.errors import CheckpointError, ConfigError, RunError, quoted, reason_of
from unpaired.memory import free
from unpaired.storage import atomic_path, open_regular

__all__ = [
    "FORMAT",
    "Header",
    "checkpoint_path",
    "checkpoints",
    "fault_of",
    "generators",
    "latest_good",
    "prune",
    "read",
    "read_header",
    "write",
]

FORMAT = 2
"""The format written. Format 1, of version 0.1, is read too: its `pending` is a string of JSON."""

# What a header and its tensors may be, at most. A training writes up to 100,000 steps of losses.
_MOST_HEADER, _MOST_TABLES, _MOST_TENSORS = 64_000_000, 1_000_000, 100_000
_MOST_MADE_ON = 4096  # characters
_SMALL = 10_000_000  # bytes of a file for which the system is not asked what is free

_NETWORKS = ("generator_", "discriminator_", "ema.")
_STATE = ("moment1.", "moment2.", "pool_")
_LARGEST = 1e6
"""Of a weight, by size. Initial ones are about 0.02, and none that a training gives is over 100."""

_TYPES = {"kind": str, "config": str, "step": int, "weights": str, "pending": dict, "made_on": str}


@dataclass(frozen=True)
class Header:
    """The description of a weights file, stored in it.

    `kind` is "checkpoint" (a whole training state) or "model" (generators alone); `step` counts
    finished steps; `weights` is "ema" or "last"; `pending` is plain data (what JSON holds): the
    losses that the journal has not written yet (`losses`) and the state of the evaluations
    (`evaluations`); `made_on` names engine, device, threads and machine, on which equality bit for
    bit depends.
    """

    kind: Literal["checkpoint", "model"]
    config: Config
    step: int
    weights: Literal["ema", "last"] = "last"
    pending: Mapping[str, Any] = field(default_factory=dict)
    made_on: str = ""

    def to_json(self) -> dict[str, object]:
        """The header as plain data, as it is written."""
        values = {name: getattr(self, name) for name in _TYPES}
        return {"format": FORMAT} | values | {"config": self.config.to_toml()}

    @classmethod
    def from_json(cls, written: Mapping[str, Any], path: Path) -> "Header":
        """The header of the file at `path`, from untrusted plain data.

        Raises:
            CheckpointError: a value is missing, of another type, or no configuration of ours.
        """
        values: dict[str, Any] = {name: written.get(name) for name in _TYPES}
        if written.get("format") == 1 and isinstance(values["pending"], str):
            values["pending"] = _parsed(values["pending"], path)
        for name, kind in _TYPES.items():
            if type(values[name]) is not kind or not _valid(name, values[name]):
                raise _damaged(path, f"its header has no valid {name!r}")
        try:
            values["config"] = Config.from_toml(values["config"], f"the header of {path}")
        except ConfigError as error:
            raise _damaged(path, error) from error
        return cls(**values)


def write(path: Path, header: Header, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a weights file atomically.

    Raises:
        RunError: the system refuses to write it (full disk, no permission, ...).
    """
    written = header.to_json()
    written["checksum"] = _checksum(written, arrays)
    # One entry, since the library writes several in random order: equal states are equal files.
    metadata = {"unpaired": json.dumps(written)}
    # Not the library's `save_file`: it has temporary files of its own, which a kill leaves behind.
    content = save({k: np.asarray(v, order="C") for k, v in arrays.items()}, metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    log.debug("wrote %s, step %d, %.1f MB", path, header.step, len(content) / 1e6)


def read(path: Path) -> tuple[Header, dict[str, np.ndarray]]:
    """Reads a weights file and verifies its checksum.

    Raises:
        CheckpointError: missing, damaged, truncated, foreign, or of an unknown format; or networks
            that no training gives (see `fault_of`).
        RunError: the system gives no access to it, or it needs more memory than is free.
    """
    with _open(path) as file:
        written, arrays = _written(file, path), _arrays(file, path)
    if _checksum(written, arrays) != written.pop("checksum", None):
        raise _damaged(path, "its content does not match its checksum")
    header = Header.from_json(written, path)
    if fault := fault_of(arrays):
        raise CheckpointError(f"{path} cannot be used: {fault}")
    log.debug("read %s: %s, step %d, made on %s", path, header.kind, header.step, header.made_on)
    return header, arrays


def read_header(path: Path) -> Header:
    """Reads the header alone, without the weights. Raises as `read`."""
    with _open(path) as file:
        return Header.from_json(_written(file, path), path)


def fault_of(arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with the numbers of a training's state, or a part of it; "" if nothing is.

    Weights are finite and at most 1e6 in size, moments and image pools are finite, and the number
    of updates is a count. Arrays by other names are not looked at.

    >>> fault_of({"generator_ab.head.bias": np.array([0.5, np.nan])})
    'generator_ab.head.bias holds NaN or infinity'
    """
    for name, array in arrays.items():
        if name == "updates" and not (
            array.shape == () and array.dtype.kind in "iu" and 0 <= array <= MOST_STEPS
        ):
            return "updates is no count of steps"
        if not name.startswith(_NETWORKS + _STATE):
            continue
        if array.dtype.kind != "f":
            return f"{quoted(name)[1:-1]} holds no floating-point numbers"
        # NaN is neither below nor above anything, and remains in a minimum.
        least, most = float(array.min(initial=0)), float(array.max(initial=0))
        if not (-math.inf < least and most < math.inf):
            return f"{quoted(name)[1:-1]} holds NaN or infinity"
        if name.startswith(_NETWORKS) and max(-least, most) > _LARGEST:
            return f"{quoted(name)[1:-1]} holds numbers beyond {_LARGEST:,.0f}"
    return ""


def generators(
    header: Header, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], Literal["ema", "last"]]:
    """The generators' weights to translate with, and which they are.

    The exponential moving average (`ema.generator_*`, returned without the prefix) if `arrays` have
    one, else `generator_*`, whose kind the header tells. Empty if there is no generator.
    """
    averaged = {k.removeprefix("ema."): v for k, v in arrays.items() if k.startswith("ema.gen")}
    if averaged:
        return averaged, "ema"
    return {k: v for k, v in arrays.items() if k.startswith("generator_")}, header.weights


def checkpoint_path(folder: Path, step: int) -> Path:
    """The path of the checkpoint after `step` steps in a run folder."""
    return folder / "checkpoints" / f"step-{step:08d}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    return sorted((folder / "checkpoints").glob("step-*.safetensors"), key=_place)


def latest_good(
    folder: Path,
) -> tuple[Path, Header, dict[str, np.ndarray], list[CheckpointError]] | None:
    """The newest readable checkpoint of a run folder, and the errors of newer ones.

    None where the folder has no checkpoint at all.

    Raises:
        CheckpointError: there are checkpoints and none of them can be read.
    """
    errors: list[CheckpointError] = []
    for path in reversed(checkpoints(folder)):
        try:
            header, arrays = read(path)
            return path, header, arrays, errors
        except CheckpointError as error:
            errors.append(error)
    if errors:
        raise CheckpointError(
            f"none of the {len(errors)} checkpoints of {folder} can be read "
            f"(the newest: {errors[0]}): restore one from a copy, or choose another --out"
        )
    return None


def prune(folder: Path, keep: int, newest: int) -> None:
    """Removes all but the `keep` newest checkpoints up to step `newest` of a run folder.

    Checkpoints of a later step are damaged, or the run would have resumed from them: they do not
    count.
    """
    last = _place(checkpoint_path(folder, newest))
    for path in [path for path in checkpoints(folder) if _place(path) <= last][:-keep]:
        path.unlink(missing_ok=True)


def _place(path: Path) -> tuple[int, str]:
    """Orders checkpoints by their steps, which from 100,000,000 on have more digits."""
    return len(path.name), path.name


def _open(path: Path) -> safe_open:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{path} does not exist: give a run folder or a weights file"
        ) from error
    except OSError as error:
        if isinstance(error, IsADirectoryError) or error.errno == errno.EINVAL:
            reason = reason_of(error).removeprefix("is ")
            raise CheckpointError(
                f"{path} is {reason}: give a run folder or a weights file"
            ) from error
        raise RunError(f"cannot read {path}: {reason_of(error)}") from error
    if size > _SMALL and size > (available := free()):
        raise RunError(
            f"{path} needs {size / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are free: "
            "free some"
        )
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, reason_of(error)) from error


def _valid(name: str, value: Any) -> bool:
    match name:
        case "kind":
            return value in ("checkpoint", "model")
        case "weights":
            return value in ("ema", "last")
        case "step":
            return bool(0 <= value <= MOST_STEPS)
        case "made_on":
            return len(value) <= _MOST_MADE_ON
    return True


def _written(file: Any, path: Path) -> dict[str, Any]:
    """The header as it stands in the file, of a format that is read here."""
    metadata = file.metadata() or {}
    if "unpaired" not in metadata:
        raise CheckpointError(
            f"{path} has no header of unpaired: give a run folder or a model.safetensors "
            "that `unpaired train` wrote"
        )
    written = _parsed(metadata["unpaired"], path)
    if not isinstance(written, dict):
        raise _damaged(path, "its header is not a table")
    if written.get("format") not in (1, FORMAT):
        raise CheckpointError(
            f"{path} has format {quoted(written.get('format'))}, this version reads formats 1 and "
            f"{FORMAT}: use the version of unpaired that wrote it"
        )
    return written


def _parsed(text: str, path: Path) -> Any:
    if len(text) > _MOST_HEADER or text.count("[") + text.count("{") > _MOST_TABLES:
        raise _damaged(path, "its header is longer than that of any training")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, reason_of(error)) from error


def _arrays(file: Any, path: Path) -> dict[str, np.ndarray]:
    try:
        if len(names := file.keys()) > _MOST_TENSORS:
            raise _damaged(path, f"it has {len(names):,} tensors, more than any training")
        # Copies: arrays must not depend on a file that may be replaced.
        return {name: np.array(file.get_tensor(name)) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> CheckpointError:
    return CheckpointError(f"{path} is damaged or not a weights file: {reason}")


def _checksum(written: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> str:
    """CRC-32 over header and tensors: detects damage, does not protect against forgery."""
    header = {name: value for name, value in written.items() if name != "checksum"}
    total = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return f"crc32:{total:08x}"
