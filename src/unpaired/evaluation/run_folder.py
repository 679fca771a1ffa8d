"""What a run folder holds beside its model: the journal and the discriminators."""

from pathlib import Path
from typing import Any

from unpaired.checkpoint import checkpoint_path, read
from unpaired.diagnostics.probe import Judge
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import require_filled
from unpaired.errors import CheckpointError, RunError, TooLarge
from unpaired.storage import read_json_lines
from unpaired.translation.model import Model

__all__ = ["journal_of", "judge_of"]


def journal_of(weights: Path) -> list[dict[str, Any]]:
    """The lines of the metrics.jsonl of a weights file's run; none where there is none."""
    for folder in (weights.parent, weights.parent.parent):
        if lines := read_json_lines(folder / "metrics.jsonl"):
            return lines
    return []


def judge_of(model: Model) -> Judge | None:
    """The discriminators of the checkpoint of the model's step; None where there is none."""
    beside = checkpoint_path(model.path.parent, model.step)
    path = beside if beside.is_file() else model.path
    try:
        header, arrays = read(path)
        if header.kind != "checkpoint":
            return None
        require_filled(header.config.recipe, arrays, whole=True)
        engine = make_engine(header.config.recipe, model.config.runtime)
    except (CheckpointError, RunError, TooLarge, OSError):
        return None
    engine.load(arrays)
    return engine.judge
