"""The report of a run, written at its end and, if asked for, at its evaluations."""

import traceback
from pathlib import Path

from unpaired.config import Config
from unpaired.console import log
from unpaired.data.layout.domains import DataSet
from unpaired.directions import DIRECTIONS
from unpaired.engines.seam import Engine
from unpaired.errors import shown
from unpaired.evaluation.evaluate import evaluate_models
from unpaired.evaluation.options import FEWEST, Options
from unpaired.report.files import write_report
from unpaired.translation.model import Model

__all__ = ["write_run_report"]

LIMIT = 500  # test images of each domain; `unpaired evaluate` takes all


def write_run_report(
    engine: Engine, config: Config, step: int, data: DataSet, folder: Path, *, max_pixels: int
) -> None:
    """Evaluates the engine in its present state on the test set and writes `folder/report`.

    Writes nothing if a domain has fewer than 3 test images. A failure is logged and does not stop
    the training.
    """
    tests = [test for test in (data.test_a, data.test_b) if test and len(test) >= FEWEST]
    if len(tests) < 2:
        return
    model = Model(
        path=folder / "model.safetensors",
        config=config,
        step=step,
        weights="ema" if config.recipe.ema else "last",
        directions=DIRECTIONS,
        translator=engine,
    )
    options = Options(
        features=config.runtime.features or None,
        limit=LIMIT,
        device=config.runtime.device,
        threads=config.runtime.threads,
        max_pixels=max_pixels,
    )
    try:
        report = evaluate_models({"the model": model}, data, options, engine.judge)
        log.info(f"report: {shown(write_report(report, folder / 'report'))}")
    except Exception as error:  # whatever fails here, the training is done and saved
        log.warning(f"no report: {shown(str(error) or type(error).__name__)}")
        log.debug("%s", traceback.format_exc())
