"""Weights & Biases: files in the run folder, for `wandb sync`; online if WANDB_MODE says so."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unpaired.storage import write_text
from unpaired.training.trackers.tracker import Ending, Opening

__all__ = ["WandbTracker", "open_wandb"]


class WandbTracker:
    """An open run of Weights & Biases."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """A line of the history; `step` is one of its values and the axis of all others."""
        self.run.log({"step": step, **values})

    def file(self, kind: str, path: Path, step: int) -> None:
        """Samples as an image and the report as a page, both in the history."""
        import wandb

        item: Any
        if kind == "report":
            item = wandb.Html(path.read_text(encoding="utf-8"), inject=False)
        else:
            item = wandb.Image(str(path))
        self.run.log({"step": step, kind: item})

    def close(self, ending: Ending) -> None:
        """Ends the run."""
        self.run.finish(exit_code=0 if ending == "finished" else 1)


def open_wandb(opening: Opening) -> WandbTracker:
    """Begins a run, or goes on with that of the run folder, which has its id.

    Error reports, statistics of the machine, code and a list of packages are switched off.

    Raises:
        ModuleNotFoundError: wandb is not installed.
        Exception: whatever `wandb.init` raises.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    path = opening.folder.resolve() / "wandb" / "id"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        name = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        name = ""
    if not (name.isalnum() and name.isascii()):
        name = secrets.token_hex(4)
        write_text(path, name + "\n")
    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        save_code=False,
        silent=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT") or "unpaired",
        name=opening.folder.resolve().name,
        dir=str(opening.folder.resolve()),
        mode=os.environ.get("WANDB_MODE") or "offline",  # type: ignore[arg-type, unused-ignore]
        id=name,
        resume="allow",
        config={**opening.values, **opening.facts},
        settings=settings,
    )
    run.define_metric("*", step_metric="step")
    return WandbTracker(run)
