"""`unpaired evaluate` and `unpaired compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from unpaired.cli.flags import Data, ModelPath, OptionFlags, given, shown, source
from unpaired.errors import ConfigError

if TYPE_CHECKING:
    from unpaired.report.report import Report

__all__ = ["compare", "evaluate"]


def evaluate(
    model: ModelPath,
    data: Data,
    evaluation: OptionFlags,
    out: Annotated[
        Path | None,
        shown("the folder for the report", "PATH", "(default: report/ in the run folder)"),
    ] = None,
) -> None:
    """Measure a model, look for known failures, and write a report page."""
    from unpaired.evaluation.evaluate import evaluate as run
    from unpaired.hub.download import is_hub

    if out is None and (model.is_file() or is_hub(model)):
        raise ConfigError(f"{model} is not a run folder: give --out, the folder for the report")
    _write(run(model, source(data), **given(evaluation)), out or model / "report")


def compare(
    models: Annotated[
        tuple[Path, ...], Positional, shown("run folders or weights files", "MODEL MODEL...")
    ],
    data: Annotated[
        str, shown("the test images: a folder, or a name from `unpaired data list`", "DATA")
    ],
    out: Annotated[Path, shown("the folder for the report")],
    evaluation: OptionFlags,
) -> None:
    """Measure several models on the same images, side by side, and write a report page."""
    from unpaired.evaluation.evaluate import compare as run

    _write(run(models, data, **given(evaluation)), out)


def _write(report: "Report", folder: Path) -> None:
    from unpaired.errors import shown as shown_path
    from unpaired.report.files import write_report
    from unpaired.report.text import as_text

    page = write_report(report, folder)
    print(f"{as_text(report)}\n\n{shown_path(page)}")
