"""The demo: draw landscapes, learn to translate them, evaluate the model, show a page.

Everything is made on this machine. The results are in the run folder's `report/`.
"""

import dataclasses
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from unpaired.checkpoint import read_header
from unpaired.console import duration
from unpaired.evaluation.evaluate import evaluate
from unpaired.report.files import write_report
from unpaired.report.report import Report
from unpaired.report.text import as_text
from unpaired.storage import read_json_lines
from unpaired.training.loop import Run, train

__all__ = ["demo"]

DATA = "seasons-lite"


def demo(
    out: Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    runtime: Mapping[str, object] | None = None,
) -> Path:
    """Trains preset `tiny` on `seasons-lite` in the run folder `out` and evaluates the model.

    An interrupted training is resumed; a finished one is evaluated again. Writes
    `out/report/report.json`, `pictures.png` and, last of all, `index.html`.

    Args:
        out: the run folder.
        seed: seed of the training.
        steps: training steps, if not the preset's.
        runtime: values of the runtime by name (see Runtime).

    Returns:
        The page, `out/report/index.html`.

    Raises:
        ConfigError, DataError, RunError, CheckpointError, MissingExtra: rejected; nothing is lost.
        Interrupted: by a signal; the state is saved, and the same call resumes it.
    """
    began = time.monotonic()
    recipe = {"seed": seed} if steps is None else {"seed": seed, "steps": steps}
    how = {"report": "none", **(runtime or {})}  # the demo writes its own
    run = train(DATA, out=out, preset="tiny", recipe=recipe, runtime=how)
    options = run.config.runtime
    report = evaluate(out, DATA, device=options.device, threads=options.threads)
    report = _introduced(report, run)
    page = write_report(report, out / "report")
    print(as_text(report))
    print(f"\n{page} ({duration(time.monotonic() - began)} in all)")
    return page


def _introduced(report: Report, run: Run) -> Report:
    """The report with the demo's title, summary and facts of the training."""
    recipe = run.config.recipe
    a, b = report.names
    seconds = _training_seconds(run.folder)
    facts = {
        "data": f"{DATA}: drawn landscapes; no scene is in both domains' training images",
        "training": f"{run.step:,} steps of {recipe.batch_size} + {recipe.batch_size} images, "
        f"seed {recipe.seed}, {duration(seconds)}",
        "machine": read_header(run.folder / "model.safetensors").made_on,
    }
    return dataclasses.replace(
        report,
        title=f"unpaired demo: {a} and {b}",
        summary=(
            f"A CycleGAN was trained on images of {a} and images of {b}, never on a pair ({DATA}, "
            f"preset {recipe.preset}, {run.step:,} steps). Here it translates held-out scenes "
            "whose true translations are known."
        ),
        facts={**facts, **report.facts},
        record={**report.record, "data": DATA, "preset": recipe.preset},
    )


def _training_seconds(folder: Path) -> float:
    """Duration of the training by its journal, whose clock starts again when a run is resumed."""
    lines = read_json_lines(folder / "metrics.jsonl")
    clock = [float(s) for line in lines if isinstance(s := line.get("seconds"), int | float)]
    ends = [now for now, then in pairwise(clock) if then < now]
    return sum(ends) + (clock[-1] if clock else 0)
