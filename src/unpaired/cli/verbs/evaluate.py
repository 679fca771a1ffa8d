"""`unpaired evaluate`, `unpaired compare` and `unpaired study`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from tyro.conf import Positional, arg

from unpaired.cli.flags import (
    Data,
    ModelPath,
    OptionFlags,
    Verb,
    given,
    shown,
    source,
    verbs,
)
from unpaired.errors import ConfigError

if TYPE_CHECKING:
    from unpaired.report.report import Report

__all__ = ["compare", "evaluate", "study"]


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


def make(
    model: ModelPath,
    data: Data,
    out: Annotated[Path, shown("the folder for the page")],
    to: Annotated[
        str | None, shown("one direction alone, by the domain it leads to", "DOMAIN", "")
    ] = None,
    trials: Annotated[int, arg(help="trials in each direction")] = 40,
    practice: Annotated[int, arg(help="trials before them that say who was right")] = 10,
    seed: Annotated[int, arg(help="of the images, and of their order")] = 0,
    image_size: Annotated[
        int | None, shown("side in pixels of the images", "INT", "(default: as trained)")
    ] = None,
    overwrite: Annotated[bool, shown("replace an existing page")] = False,
) -> None:
    """Write a page that asks people which of two images is real (`make` may be omitted)."""
    from unpaired.console import log
    from unpaired.study.build import make_study

    page = make_study(
        model, source(data), out, to=to, trials=trials, practice=practice, seed=seed,
        image_size=image_size, overwrite=overwrite,
    )  # fmt: skip
    print(f"{page.path}: {page.bytes / 1e6:.1f} MB")
    log.info(f"study {page.study}: send the page to people; score what it saves with "
             "`unpaired study score ANSWERS...`")  # fmt: skip


def score(
    answers: Annotated[
        tuple[Path, ...], Positional, shown("files that the page saved", "ANSWERS...")
    ],
    seed: Annotated[int, arg(help="of the bootstrap")] = 0,
) -> None:
    """Tell how often people were fooled, with its interval, beside the results of the paper."""
    from unpaired.study.score import as_lines
    from unpaired.study.score import score as run

    print("\n".join(as_lines(run(answers, seed=seed))))


if TYPE_CHECKING:
    StudyVerb: TypeAlias = Verb
else:
    StudyVerb = verbs(make, score)


def study(verb: StudyVerb) -> None:
    """Ask people which images are real: a page for them, and the score of their answers."""
    verb()


def _write(report: "Report", folder: Path) -> None:
    from unpaired.errors import shown as shown_path
    from unpaired.report.files import write_report
    from unpaired.report.text import as_text

    page = write_report(report, folder)
    print(f"{as_text(report)}\n\n{shown_path(page)}")
