"""The page of a report: one HTML file that holds its images and asks for nothing else."""

import base64
import io
import math
import re
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.console import counted
from unpaired.report.curves import draw_curves
from unpaired.report.report import Example, Finding, Report
from unpaired.report.sections import classes, route, scores, section, terms
from unpaired.report.style import STYLE
from unpaired.report.verdict import Verdict, ranking, verdicts

__all__ = ["render", "shrunk"]

Images8 = NDArray[np.uint8]

LONGEST = 256  # pixels of an image's longer side on the page
_BLOCKS = 96  # pixels of the longer side up to which images are enlarged in blocks

_SIGNS = {"good": "✓", "mixed": "≈", "bad": "✗"}


def render(report: Report) -> str:
    """The page: complete HTML that stands alone."""
    parts = (_verdict, _findings, scores, _images, classes, _curves, _method)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(report.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(report.title)}</h1>
<p class="soft">{escape(report.summary)}</p>
{"".join(part(report) for part in parts)}</body>
</html>
"""


def shrunk(image: Images8, longest: int = LONGEST) -> Images8:
    """The image with its longer side `longest` pixels, smoothly, or as it is if it is smaller."""
    longer = max(image.shape[:2])
    if longer <= longest:
        return image
    height, width = (max(1, round(side * longest / longer)) for side in image.shape[:2])
    small = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(small)


# ---- verdict and findings -----------------------------------------------------------------


def _verdict(report: Report) -> str:
    """What the figures say; with several models which is best, and then of each."""
    found = verdicts(report)
    if len(found) == 1:
        return _box(next(iter(found.values())))
    lines = "".join(f"<li>{_prose(line)}</li>" for line in ranking(report))
    boxes = [f"<h3>{escape(name)}</h3>\n{_box(said)}" for name, said in found.items()]
    return f"<ul>{lines}</ul>\n{''.join(boxes)}"


def _box(found: Verdict) -> str:
    details = "".join(f"<li>{_prose(text)}</li>" for text in found.details)
    headline = f"<strong>{_prose(found.headline)}</strong>"
    sign = f'<span aria-hidden="true">{_SIGNS[found.state]}</span>'
    return f'<div class="box {found.state}"><p>{sign} {headline}</p><ul>{details}</ul></div>\n'


def _prose(text: str) -> str:
    """Text as HTML: units and flags are not torn from what they belong to."""
    whole = re.sub(r" (?=(dB|%)(\W|$))", "&nbsp;", escape(text))
    return re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"<code>\g<0></code>", whole)


def _findings(report: Report) -> str:
    """What detectors found, with advice; where that is nothing, one quiet line."""
    if not report.findings:
        return ""
    fired = [finding for finding in report.findings if finding.fired]
    unmade = sum(not finding.fired and math.isnan(finding.value) for finding in report.findings)
    made = counted(len(report.findings) - unmade, "check")
    result = f"{counted(len(fired), 'warning')}" if fired else "nothing found"
    left = f" ({unmade} more could not be made)" if unmade else ""
    rows = "".join(map(_finding_row, report.findings))
    head = "".join(f'<th scope="col">{name}</th>' for name in ("where", "value", "limit", "seen"))
    all_checks = (
        f"<details><summary>{made}, {result}{left}</summary>\n"
        f'<div class="wide"><table class="checks"><thead><tr><td></td>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div></details>"
    )
    if not fired:
        return f'<section class="soft">\n{all_checks}\n</section>\n'
    text = "What commonly goes wrong, looked for in a few held-out images."
    return section("Warnings", text, "".join(map(_warning, fired)) + all_checks)


def _warning(finding: Finding) -> str:
    where = escape(finding.where).replace("-&gt;", "→")
    return (
        f'<div class="box mixed"><p><span aria-hidden="true">!</span> '
        f"<strong>{escape(finding.name)}</strong>, {where}: {_prose(finding.message)}.</p>"
        f"<p>What to do: {_prose(finding.advice)}.</p></div>\n"
    )


def _finding_row(finding: Finding) -> str:
    cells = (finding.where.replace("->", "→"), _plain(finding.value), _plain(finding.limit))
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in (*cells, finding.message))
    kind = ' class="own"' if finding.fired else ""
    return f'<tr{kind}><th scope="row">{escape(finding.name)}</th>{shown}</tr>\n'


def _plain(value: float) -> str:
    return "–" if math.isnan(value) else "∞" if value == math.inf else f"{value:.3g}"


# ---- images -----------------------------------------------------------------------------


def _images(report: Report) -> str:
    parts = []
    text = "Held-out images."
    for direction in report.directions:
        for choice, examples in report.examples.get(direction, {}).items():
            drawn = "".join(_example(example, *report.ends(direction)) for example in examples)
            parts.append(f"<h3>{route(report, direction)}, {escape(choice)}</h3>\n")
            parts.append(f'<div class="tiles{_layout(examples)}">\n{drawn}</div>\n')
            if any(example.off is not None for example in examples):
                of = "of made and true" if report.paired else "of an image and its way back"
                text = f"Held-out images. The difference is {of}, five times, black where equal."
    return section("Images", text, "".join(parts)) if parts else ""


def _layout(examples: Sequence[Example]) -> str:
    """Small images are shown in blocks; many large ones take the page's whole width."""
    large = any(max(example.source.shape[:2]) > _BLOCKS for example in examples)
    many = any(len(example.images("source", "target")) > 3 for example in examples)
    return (" photos" if large else "") + (" broad" if large and many else "")


def _example(example: Example, source: str, target: str) -> str:
    """One row of images."""
    name = escape(example.name)
    images = example.images(source, target)
    cells = "".join(
        f'<span><img src="{_data_uri(shrunk(pixels))}" alt="{escape(label)}, {name}">'
        f"{escape(label)}</span>"
        for label, pixels in images.items()
    )
    caption = f"{name}, {_prose(example.caption)}" if example.caption else name
    across = f"--n:{len(images)};--few:{2 if len(images) == 4 else 3}"  # a desk, a phone
    return f'<figure style="{across}"><figcaption>{caption}</figcaption>{cells}</figure>\n'


def _data_uri(pixels: Images8) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


# ---- curves, method -----------------------------------------------------------------------


def _curves(report: Report) -> str:
    drawn = draw_curves(report.journal)
    text = (
        "Losses by step, before their weights. Dashed: .25, the loss of a least-squares "
        "discriminator that cannot tell made from real, and the adversarial loss against it."
    )
    return (
        section("Learning curves", text, f'<div class="tiles curves">{drawn}</div>')
        if drawn
        else ""
    )


def _method(report: Report) -> str:
    noise = [
        f"up to about {figure.noise:g} {figure.unit or figure.name}"
        for figure in report.figures
        if figure.noise is not None
    ]
    text = f"Trainings that differ in the seed alone differ by {', '.join(noise)}." if noise else ""
    recipe = f"<details><summary>config.toml</summary><pre>{escape(report.config)}</pre></details>"
    content = terms(report.facts) + (recipe if report.config else "")
    return section("How it was measured", _prose(text), content)
