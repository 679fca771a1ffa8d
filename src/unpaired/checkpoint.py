"""Weights on disk: one safetensors file a state, its configuration in the header, checked by sum.

`checkpoints/step-*.safetensors` hold all that a training needs to go on; `model.safetensors` holds
what `translate` needs. Both are written whole or not at all. No pickle is read or written.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from unpaired.config import Config
from unpaired.errors import CheckpointError, RunError, UnpairedError
from unpaired.storage import atomic_path

__all__ = [
    "FORMAT",
    "Header",
    "checkpoint_path",
    "checkpoints",
    "latest_good",
    "prune",
    "read",
    "read_header",
    "write",
]

FORMAT = 1


@dataclass(frozen=True)
class Header:
    """What a weights file says of itself.

    `kind` is "checkpoint" (a whole training state) or "model" (generators alone); `step` counts
    finished steps; `weights` is "ema" or "last"; `pending` is JSON: the journal's unwritten part
    (`losses`) and what the evaluations so far leave behind (`evaluations`);
    `made_on` names engine, device, threads and machine, for which runs are equal bit for bit.
    """

    kind: Literal["checkpoint", "model"]
    config: Config
    step: int
    weights: Literal["ema", "last"] = "last"
    pending: str = "{}"
    made_on: str = ""

    def to_json(self) -> dict[str, object]:
        """The header as it is written."""
        return {
            "format": FORMAT,
            "kind": self.kind,
            "config": self.config.to_toml(),
            "step": self.step,
            "weights": self.weights,
            "pending": self.pending,
            "made_on": self.made_on,
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any], path: Path) -> "Header":
        """The header of the file at `path`."""
        return cls(
            kind=written["kind"],
            config=Config.from_toml(written["config"], f"the header of {path}"),
            step=int(written["step"]),
            weights=written["weights"],
            pending=written["pending"],
            made_on=written["made_on"],
        )


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


def read(path: Path) -> tuple[Header, dict[str, np.ndarray]]:
    """Reads a weights file and verifies its checksum.

    Raises:
        CheckpointError: missing, damaged, truncated, foreign, or of an unknown format.
    """
    with _opened(path) as (written, file):
        # Copies: arrays must not lean on a file that may be replaced.
        arrays = {name: np.array(array) for name, array in _tensors(file)}
        rest = {key: value for key, value in written.items() if key != "checksum"}
        if _checksum(rest, arrays) != written.get("checksum"):
            raise CheckpointError(f"{path} is damaged: its content does not fit its checksum")
        return Header.from_json(written, path), arrays


def read_header(path: Path) -> Header:
    """The header alone, without reading the weights. Raises as `read`."""
    with _opened(path) as (written, _):
        return Header.from_json(written, path)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies in a run folder."""
    return folder / "checkpoints" / f"step-{step:08d}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    return sorted((folder / "checkpoints").glob("step-*.safetensors"))


def latest_good(
    folder: Path,
) -> tuple[Path, Header, dict[str, np.ndarray], list[CheckpointError]] | None:
    """The newest checkpoint of a run folder that reads whole, and the errors of newer ones.

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

    What is of a later step is damaged, or it would have been gone on with: it does not count.
    """
    last = checkpoint_path(folder, newest)
    for path in [path for path in checkpoints(folder) if path <= last][:-keep]:
        path.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], safe_open]]:
    """A weights file's header and the open file; the library's errors turned into ours."""
    if not path.is_file():
        raise CheckpointError(f"{path} is not there: give a run folder or a weights file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise RunError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "unpaired" not in metadata:
                raise CheckpointError(
                    f"{path} has no header of unpaired: give a run folder or a model.safetensors "
                    "that `unpaired train` wrote"
                )
            written = json.loads(metadata["unpaired"])
            if not isinstance(written, dict):
                raise CheckpointError(f"{path} is damaged: its header is not a table")
            if written.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} has format {written.get('format')}, this version reads format "
                    f"{FORMAT}: use the version of unpaired that wrote it"
                )
            yield written, file
    except CheckpointError:
        raise
    except (
        SafetensorError,
        UnpairedError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:
        raise CheckpointError(f"{path} is damaged or not a weights file: {error}") from error


def _tensors(file: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name in file.keys():  # noqa: SIM118 (the library has no iteration)
        yield name, file.get_tensor(name)


def _checksum(written: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> str:
    """CRC-32 over header and tensors: finds damage, is no protection against forgery."""
    total = zlib.crc32(json.dumps(written, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8).data, total)
    return f"crc32:{total:08x}"
