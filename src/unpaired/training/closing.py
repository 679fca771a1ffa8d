"""The report of a run, written when a training ends, and at its evaluations where that is asked."""

from pathlib import Path

from unpaired.config import Config
from unpaired.data.domains import DataSet
from unpaired.engines.seam import Engine
from unpaired.errors import UnpairedError
from unpaired.evaluation.evaluate import Protocol, measure
from unpaired.evaluation.testset import FEWEST
from unpaired.report.files import write_report
from unpaired.training.run import Say
from unpaired.translation.model import Model

__all__ = ["close"]

LIMIT = 500  # test images of each domain; `unpaired evaluate` takes all


def close(
    engine: Engine,
    config: Config,
    step: int,
    data: DataSet,
    folder: Path,
    *,
    max_pixels: int,
    say: Say,
    quiet: bool,
) -> None:
    """Evaluates the engine as it stands on the test set and writes `folder/report`.

    A training is not lost for its report: what fails is said in a line.
    """
    tests = [test for test in (data.test_a, data.test_b) if test and len(test) >= FEWEST]
    if len(tests) < 2:
        return
    model = Model(
        path=folder / "model.safetensors",
        config=config,
        step=step,
        weights="ema" if config.recipe.ema else "last",
        directions=("ab", "ba"),
        translator=engine,
    )
    runtime = config.runtime
    how = Protocol(
        features=runtime.features or None,
        limit=LIMIT,
        device=runtime.device,
        threads=runtime.threads,
        max_pixels=max_pixels,
        quiet=quiet,
    )
    try:
        page = write_report(
            measure({"the model": model}, data, how, engine.judge), folder / "report"
        )
        say(f"report: {page}")
    except (UnpairedError, OSError, MemoryError) as error:
        say(f"no report: {str(error) or type(error).__name__}")
