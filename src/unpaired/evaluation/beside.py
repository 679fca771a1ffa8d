"""What lies beside a model in its run folder: the journal, and the discriminators."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unpaired.checkpoint import checkpoint_path, read
from unpaired.diagnostics.probe import Judge
from unpaired.engines.choice import make_engine
from unpaired.errors import CheckpointError
from unpaired.translation.model import Model

__all__ = ["journal_of", "judge_of"]


def journal_of(model: Path) -> list[dict[str, Any]]:
    """The lines of the metrics.jsonl beside a weights file; none where there is none."""
    for folder in (model.parent, model.parent.parent):
        path = folder / "metrics.jsonl"
        if path.is_file():
            return list(_lines(path))
    return []


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Its lines, without such as a running training has written in part."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for written in text.splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(written)
            if isinstance(line, dict):
                yield line


def judge_of(model: Model) -> Judge | None:
    """The discriminators of the checkpoint of the model's step; None where it is not there."""
    beside = checkpoint_path(model.path.parent, model.step)
    path = beside if beside.is_file() else model.path
    try:
        header, arrays = read(path)
        if header.kind != "checkpoint":
            return None
    except (CheckpointError, OSError):
        return None
    engine = make_engine(header.config.recipe, model.config.runtime)
    engine.load(arrays)
    return engine.judge
