"""The journal of a streamed translation: what a killed one has finished, to resume there.

It is written after each row of tiles, as one file that is renamed into place. What it says holds
as long as the system runs: the files of the arrays need not be on the disk yet, so a translation
that was stopped with its machine begins again.
"""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from unpaired.storage import explain_os_error
from unpaired.translation.streaming.moments import Moments

__all__ = ["Progressed", "StageJournal"]


@dataclass
class Progressed:
    """What is finished.

    Attributes:
        stage: the stage that is under way, from 0.
        row: its first row of tiles that is not finished.
        moments: those of the layers, by index; of the layer of this stage up to the row.
        valid: pixels with data by tile, (rows, columns); of a scene without a mask all.
        origin: the first slot of the stream, before this stage.
        wide: whether the arrays were widened to single precision.
    """

    stage: int = 0
    row: int = 0
    moments: dict[int, Moments] = field(default_factory=dict)
    valid: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    origin: int = 0
    wide: bool = False


class StageJournal:
    """The journal in a folder; with None, of a translation that cannot resume.

    `fingerprint` is of all that the result depends on: a journal of another is none.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self.path = None if folder is None else folder / "journal.npz"
        self.key = f"{fingerprint} {_boot()}"

    def read(self) -> Progressed | None:
        """What a killed translation had finished; None if there was none."""
        if self.path is None:
            return None
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                arrays = dict(stored)
        except (OSError, ValueError, BadZipFile, EOFError, KeyError):
            return None
        if str(arrays.get("key")) != self.key:
            return None
        kinds = ("count", "mean", "squares")
        layers = {int(name.split(".")[0]) for name in arrays if name.endswith(".count")}
        return Progressed(
            int(arrays["stage"]),
            int(arrays["row"]),
            {k: Moments(*(arrays[f"{k}.{kind}"] for kind in kinds)) for k in sorted(layers)},
            arrays["valid"],
            int(arrays["origin"]),
            bool(arrays["wide"]),
        )

    def write(self, done: Progressed) -> None:
        """Replaces what the journal says.

        Raises:
            RunError: the system does not let it write.
        """
        if self.path is None:
            return
        arrays = {
            "key": np.array(self.key),
            "stage": np.array(done.stage),
            "row": np.array(done.row),
            "valid": done.valid,
            "origin": np.array(done.origin),
            "wide": np.array(done.wide),
        }
        for layer, moments in done.moments.items():
            for kind in ("count", "mean", "squares"):
                arrays[f"{layer}.{kind}"] = getattr(moments, kind)
        packed = io.BytesIO()
        np.savez(packed, **arrays)  # type: ignore[arg-type]
        temporary = self.path.with_suffix(".tmp")
        try:
            temporary.write_bytes(packed.getbuffer())
            os.replace(temporary, self.path)
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    def remove(self) -> None:
        """Forgets all, at the end."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _boot() -> str:
    """What tells this start of the system from others, on Linux."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
