"""The page of a report: one HTML file that contains its images and requests nothing else."""

import base64
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from unpaired.console import counted
from unpaired.diagnostics.finding import Finding
from unpaired.metrics.metric import Kind
from unpaired.report.curves import draw_curves
from unpaired.report.report import Example, Report
from unpaired.report.tables import class_table, metric_table
from unpaired.report.verdict import ranking, verdicts

__all__ = ["LONGEST", "environment", "render", "shrunk"]

Images8 = NDArray[np.uint8]

LONGEST = 256  # pixels of an image's longer side on the page
_BLOCKS = 96  # pixels of the longer side up to which images are enlarged in blocks
_NARROW = 4  # metrics up to which the tables of both directions fit beside each other
_KINDS: Mapping[Kind, str] = {
    "set": "Generated images against real images",
    "paired": "Generated images against their true translations",
    "source": "Generated images against their sources",
    "cycle": "Cycle and identity",
}


def render(report: Report) -> str:
    """The page: complete HTML that refers to nothing outside."""
    compared = report.comparison
    values = [
        value for row in report.methods for by in row.values.values() for value in by.values()
    ]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            compared=compared,
            verdicts=verdicts(compared),
            ranking=ranking(compared),
            checks=_summary(report.findings),
            metrics=list(_metric_groups(report)),
            intervals=any(value.low is not None for value in values),
            images=list(_image_groups(report)),
            changes=bool(compared.metrics_of("source")) and len(compared.of_kind("model")) == 1,
            classes=[class_table(report, direction) for direction in report.directions],
            curves=Markup(draw_curves(report.journal)),
            noise=", ".join(f"{m.noise:g} {m.unit or m.name}" for m in report.metrics if m.noise),
        )
    )


def environment(*packages: str) -> Environment:
    """Templates of the report, and of other packages whose pages share its style and macros."""
    places = [PackageLoader(package, ".") for package in ("unpaired.report", *packages)]
    templates = Environment(
        loader=ChoiceLoader(places),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"prose": _prose, "number": _number, "arrow": _arrow}
    return templates


def shrunk(image: Images8, longest: int = LONGEST) -> Images8:
    """The image, smoothly reduced if its longer side is over `longest` pixels."""
    longer = max(image.shape[:2])
    if longer <= longest:
        return image
    height, width = (max(1, round(side * longest / longer)) for side in image.shape[:2])
    small = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _prose(text: str) -> Markup:
    """Text as HTML in which units stay with their numbers and flags are code."""
    whole = re.sub(r" (?=(dB|%)(\W|$))", "&nbsp;", str(escape(text)))
    return Markup(re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"<code>\g<0></code>", whole))


def _arrow(where: str) -> str:
    return where.replace("->", "→")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else "∞" if value == math.inf else f"{value:.3g}"


def _summary(findings: Sequence[Finding]) -> str:
    """The numbers of checks and of warnings."""
    fired = sum(finding.fired for finding in findings)
    unchecked = sum(not finding.fired and math.isnan(finding.value) for finding in findings)
    result = counted(fired, "warning") if fired else "nothing found"
    more = f" ({unchecked} more could not be made)" if unchecked else ""
    return f"{counted(len(findings) - unchecked, 'check')}, {result}{more}"


def _metric_groups(report: Report) -> Iterator[Mapping[str, object]]:
    """The metrics by kind, each with a table in every direction."""
    for kind in dict.fromkeys(metric.kind for metric in report.metrics):
        metrics = report.comparison.metrics_of(kind)
        yield {
            "title": _KINDS[kind],
            "wide": len(metrics) > _NARROW,
            "tables": [metric_table(report.comparison, d, metrics) for d in report.directions],
            "meanings": {metric.name: metric.meaning for metric in metrics},
        }


def _image_groups(report: Report) -> Iterator[Mapping[str, object]]:
    """The examples by direction and choice."""
    for direction in report.directions:
        names = report.comparison.domain_names(direction)
        for choice, examples in report.examples.get(direction, {}).items():
            figures = [(example, _data_uris(example, *names)) for example in examples]
            large = any(max(example.source.shape[:2]) > _BLOCKS for example in examples)
            many = any(len(uris) > 3 for _, uris in figures)
            yield {
                "title": f"{report.comparison.arrow(direction)}, {choice}",
                "style": (" photos" if large else "") + (" broad" if large and many else ""),
                "difference": any(example.difference is not None for example in examples),
                "figures": figures,
            }


def _data_uris(example: Example, source: str, target: str) -> dict[str, str]:
    """The images of an example by their labels."""
    uris = {}
    for label, pixels in example.images(source, target).items():
        file = io.BytesIO()
        Image.fromarray(shrunk(pixels)).save(file, format="PNG", optimize=True)
        encoded = base64.b64encode(file.getvalue()).decode("ascii")
        uris[label] = f"data:image/png;base64,{encoded}"
    return uris
