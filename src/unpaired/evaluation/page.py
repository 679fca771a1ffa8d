"""The page of a report: one HTML file that holds its pictures, asks for nothing and runs nothing.

`Report` is what was found out; `render` puts it into HTML, one function a section. Nothing is
measured here, so the page serves whoever has figures to show.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.engines.seam import LOSSES, Direction
from unpaired.evaluation.scores import TruthScores

__all__ = [
    "DIRECTIONS",
    "FIGURES",
    "Example",
    "Method",
    "Report",
    "difference",
    "render",
    "verdict",
]

Pictures = NDArray[np.uint8]

DIRECTIONS: tuple[Direction, Direction] = ("ab", "ba")
NOISE = 2.0  # dB by which two trainings may differ that differ in the seed alone


@dataclass(frozen=True)
class Figure:
    """A figure of TruthScores: the larger, the better."""

    name: str
    decimals: int
    full: float  # where a bar is full
    meaning: str

    def of(self, scores: TruthScores) -> float:
        """The figure's value."""
        return float(getattr(scores, self.name.lower()))

    def show(self, value: float) -> str:
        """The value as people read it."""
        return f"{value:.{self.decimals}f}"


PSNR = Figure("PSNR", 2, 30, "peak signal-to-noise ratio in dB, mean over the pictures")
SSIM = Figure("SSIM", 3, 1, "structural similarity in windows of 7 × 7, mean over the pictures")
ACC16 = Figure("acc16", 3, 1, "share of pixels with every channel within 16 levels of the truth")
MACRO16 = Figure("macro16", 3, 1, "mean over classes of acc16 on the pixels of one class only")
FIGURES = (PSNR, SSIM, ACC16, MACRO16)


@dataclass(frozen=True)
class Method:
    """What translated the test set, and its scores in both directions."""

    name: str
    scores: Mapping[Direction, TruthScores]
    uses_pairs: bool = False  # fitted on true pairs, which an unpaired method never sees
    note: str = ""  # shown below the name


@dataclass(frozen=True, eq=False)
class Example:
    """One translated test picture; pictures are uint8, (height, width, 3)."""

    name: str
    source: Pictures
    made: Pictures
    truth: Pictures
    psnr: float  # of `made` against `truth`, dB


@dataclass(frozen=True, eq=False)
class Report:
    """All that the page shows."""

    title: str
    summary: str  # what was trained on what, in a sentence or two
    names: tuple[str, str]  # of the domains a and b
    model: Method
    baselines: Sequence[Method]  # at least one of them unpaired
    examples: Mapping[Direction, Mapping[str, Sequence[Example]]]  # by how they were chosen
    journal: Sequence[Mapping[str, float]]  # the lines of metrics.jsonl
    facts: Mapping[str, str]  # how it was measured: questions and answers
    config: str  # config.toml
    swatches: Mapping[str, Sequence[Sequence[float]]]  # RGB of a class in domains a and b

    def ends(self, direction: Direction) -> tuple[str, str]:
        """Names of the source and the target domain."""
        a, b = self.names
        return (a, b) if direction == "ab" else (b, a)

    @property
    def unpaired(self) -> list[Method]:
        """The baselines that know no pairs, as the model knows none."""
        return [method for method in self.baselines if not method.uses_pairs]


@dataclass(frozen=True)
class Verdict:
    """What the figures say, in plain words."""

    passed: bool  # above every unpaired baseline in both directions and every figure
    headline: str
    details: tuple[str, ...]


def verdict(report: Report) -> Verdict:
    """Compares the model with the baselines; equal is not above."""
    behind = {direction: _behind(report, direction) for direction in DIRECTIONS}
    routes = {direction: " to ".join(report.ends(direction)) for direction in DIRECTIONS}
    match [routes[direction] for direction in DIRECTIONS if not behind[direction]]:
        case []:
            headline = "Not above every unpaired baseline in either direction."
        case [route]:
            headline = f"Above every unpaired baseline from {route}, but not the other way."
        case _:
            headline = "Above every unpaired baseline in both directions, in all four figures."
    details = tuple(f"From {routes[d]}: {_margins(report, d, behind[d])}." for d in DIRECTIONS)
    return Verdict(not any(behind.values()), headline, details)


def _behind(report: Report, direction: Direction) -> dict[str, str]:
    """The unpaired baselines that the model is not above, and in which figures."""
    behind = {}
    for method in report.unpaired:
        names = []
        for figure in FIGURES:
            own, other = (figure.of(m.scores[direction]) for m in (report.model, method))
            if not own > other and not math.isnan(own + other):
                names.append(figure.name)
        if names:
            behind[method.name] = "all figures" if len(names) == len(FIGURES) else ", ".join(names)
    return behind


def _margins(report: Report, direction: Direction, behind: Mapping[str, str]) -> str:
    def margin(other: Method) -> str:
        gain = psnr - other.scores[direction].psnr
        place = "above" if gain > 0 else "below"
        doubt = " (within the noise between trainings)" if abs(gain) < NOISE else ""
        return f"{PSNR.show(abs(gain))} dB {place} the {other.name}{doubt}"

    psnr = report.model.scores[direction].psnr
    best = max(report.unpaired, key=lambda method: method.scores[direction].psnr)
    listed = ", ".join(f"{name} ({figures})" for name, figures in behind.items())
    parts = [f"{PSNR.show(psnr)} dB", f"not above {listed}" if behind else margin(best)]
    return ", ".join(parts + [margin(method) for method in report.baselines if method.uses_pairs])


def difference(made: Pictures, truth: Pictures) -> Pictures:
    """Five times the absolute difference, cut at 255: black where they agree."""
    gap: Pictures = np.minimum(5 * np.abs(made.astype(np.int16) - truth), 255).astype(np.uint8)
    return gap


def render(report: Report) -> str:
    """The page: complete HTML that stands alone."""
    sections = (_verdict, _scores, _pictures, _classes, _curves, _method)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(report.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(report.title)}</h1>
<p class="soft">{escape(report.summary)}</p>
{"".join(section(report) for section in sections)}</body>
</html>
"""


def _section(title: str, text: str, content: str) -> str:
    return f'<section>\n<h2>{title}</h2>\n<p class="soft">{text}</p>\n{content}\n</section>\n'


def _verdict(report: Report) -> str:
    found = verdict(report)
    kind, sign = ("good", "✓") if found.passed else ("bad", "✗")
    details = "".join(f"<li>{escape(text)}</li>" for text in found.details)
    headline = f'<span aria-hidden="true">{sign}</span> <strong>{escape(found.headline)}</strong>'
    details = details.replace(" dB", "&nbsp;dB")
    return f'<div class="verdict {kind}"><p>{headline}</p><ul>{details}</ul></div>\n'


def _scores(report: Report) -> str:
    tables = "".join(_scores_table(report, direction) for direction in DIRECTIONS)
    text = "Against the truth; higher is better. Bold: the best of those that know no pairs."
    meanings = {figure.name: figure.meaning for figure in FIGURES}
    return _section("Scores", text, f'<div class="tiles">{tables}</div>{_terms(meanings)}')


def _scores_table(report: Report, direction: Direction) -> str:
    fair = [report.model, *report.unpaired]
    best = {figure: max(figure.of(m.scores[direction]) for m in fair) for figure in FIGURES}
    rows = []
    for method in (*fair, *(m for m in report.baselines if m.uses_pairs)):
        values = [(figure, figure.of(method.scores[direction])) for figure in FIGURES]
        cells = "".join(_cell(f, v, method in fair and v == best[f]) for f, v in values)
        kind = "own" if method is report.model else "pairs" if method.uses_pairs else ""
        name = f"{escape(method.name)}<small>{escape(method.note)}</small>"
        rows.append(f'<tr class="{kind}"><th scope="row">{name}</th>{cells}</tr>\n')
    return _table(report, direction, [figure.name for figure in FIGURES], rows)


def _classes(report: Report) -> str:
    tables = "".join(_classes_table(report, direction) for direction in DIRECTIONS)
    text = (
        "acc16 on the pixels of one class only, whose colours before and after stand beside it. "
        "Classes that share a colour can be told apart by shape and place alone."
    )
    return _section("By class", text, f'<div class="tiles">{tables}</div>')


def _classes_table(report: Report, direction: Direction) -> str:
    with_pairs = [method for method in report.baselines if method.uses_pairs]
    columns = [
        [method.scores[direction].per_class for method in methods]
        for methods in ([report.model], report.unpaired, with_pairs)
    ]
    rows = []
    for name in report.model.scores[direction].per_class:
        best = (max((shares[name] for shares in c), default=math.nan) for c in columns)
        cells = "".join(_cell(ACC16, share) for share in best)
        colours = report.swatches.get(name, ())[:: 1 if direction == "ab" else -1]
        swatch = "".join(f'<i style="background:rgb({r} {g} {b})"></i>' for r, g, b in colours)
        rows.append(f'<tr><th scope="row">{swatch} {escape(name)}</th>{cells}</tr>\n')
    return _table(report, direction, ["model", "best unpaired", "with pairs"], rows)


def _table(report: Report, direction: Direction, heads: Sequence[str], rows: Sequence[str]) -> str:
    caption = escape(" → ".join(report.ends(direction)))
    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        f"<div><table><caption>{caption}</caption>\n<thead><tr><td></td>{head}</tr></thead>\n"
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def _cell(figure: Figure, value: float, bold: bool = False) -> str:
    share = min(max(0, value / figure.full), 1)  # 0 where the value is NaN
    shown = f"<b>{figure.show(value)}</b>" if bold else figure.show(value)
    return f'<td style="--share:{share:.0%}">{shown}</td>'


def _pictures(report: Report) -> str:
    parts = []
    for direction in DIRECTIONS:
        source, target = map(escape, report.ends(direction))
        for choice, examples in report.examples[direction].items():
            figures = "".join(_example(example, source, target) for example in examples)
            parts.append(f"<h3>{source} → {target}, {escape(choice)}</h3>\n")
            parts.append(f'<div class="tiles">\n{figures}</div>\n')
    text = "Held-out scenes. The difference is of made and true, five times, black where equal."
    return _section("Pictures", text, "".join(parts))


def _example(example: Example, source: str, target: str) -> str:
    """One row of pictures; `source` and `target` are escaped names of domains."""
    pictures = {
        source: example.source,
        f"made {target}": example.made,
        f"true {target}": example.truth,
        "5 × difference": difference(example.made, example.truth),
    }
    name = escape(example.name)
    cells = "".join(
        f'<span><img src="{_data_uri(pixels)}" alt="{label}, scene {name}">{label}</span>'
        for label, pixels in pictures.items()
    )
    caption = f"<figcaption>scene {name}, {PSNR.show(example.psnr)} dB</figcaption>"
    return f"<figure>{caption}{cells}</figure>\n"


def _data_uri(pixels: Pictures) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _curves(report: Report) -> str:
    """A diagram for each kind of loss that metrics.jsonl has, both sides in it."""
    diagrams = []
    for sides in zip(LOSSES[::2], LOSSES[1::2], strict=True):
        curves = {
            name: [(line["step"], line[name]) for line in report.journal if name in line]
            for name in sides
        }
        if all(curves.values()):
            diagrams.append(_diagram(curves))
    text = (
        "Losses by step, before their weights. Dashed: .25, the loss of a least-squares "
        "discriminator that cannot tell made from real, and the adversarial loss against it."
    )
    content = f'<div class="tiles curves">{"".join(diagrams)}</div>'
    return _section("Learning curves", text, content) if diagrams else ""


def _diagram(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """An SVG of curves over the steps, both axes from 0."""
    left, right, top, bottom = 34, 352, 26, 150
    even = 0.25 if curves.keys() & {"adversarial_ab", "discriminator_a"} else 0.0
    last = max(step for curve in curves.values() for step, _ in curve) or 1
    highest = max(even, *(loss for curve in curves.values() for _, loss in curve)) or 1

    def x(step: float) -> str:
        return f"{left + (right - left) * step / last:.1f}"

    def y(loss: float) -> str:
        return f"{bottom - (bottom - top) * loss / highest:.1f}"

    drawn = [f'<path class="even" d="M{left} {y(even)}H{right}"/>'] if even else []
    for loss in _ticks(highest):
        drawn.append(f'<path class="grid" d="M{left} {y(loss)}H{right}"/>')
        drawn.append(f'<text class="end" x="{left - 6}" y="{y(loss)}" dy="4">{loss:g}</text>')
    for step in _ticks(last):
        drawn.append(f'<text class="mid" x="{x(step)}" y="{bottom + 16}">{step:,.9g}</text>')
    names = []
    for index, (name, curve) in enumerate(curves.items()):
        path = "L".join(f"{x(step)} {y(loss)}" for step, loss in curve)
        drawn.append(f'<path class="curve side{index}" d="M{path}h0"/>')
        names.append(f'<tspan class="side{index}">― {name}</tspan>')
    return (
        f'<svg viewBox="0 0 360 172" role="img" aria-label="{" and ".join(curves)} by step">'
        f'<text x="{left}" y="14">{" ".join(names)}</text>{"".join(drawn)}</svg>\n'
    )


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 up to `top`, at most six."""
    power = 10.0 ** math.floor(math.log10(top))
    step = next(part * power for part in (0.2, 0.5, 1, 2) if top / (part * power) < 6)
    return [index * step for index in range(int(top / step + 1e-9) + 1)]


def _method(report: Report) -> str:
    text = f"Trainings that differ in the seed alone differ by up to about {NOISE:.0f} dB."
    recipe = f"<details><summary>config.toml</summary><pre>{escape(report.config)}</pre></details>"
    return _section("How it was measured", text, _terms(report.facts) + recipe)


def _terms(meanings: Mapping[str, str]) -> str:
    rows = (f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in meanings.items())
    return f"<dl>{''.join(rows)}</dl>\n"


_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--soft:#5a6570;--rule:#d8dee4;
--bar:#d9e8f8;--panel:#f5f7f9;--side0:#1f66b5;--side1:#bf5413;--good:#1a7f37;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ground:#13171c;--ink:#e3e8ed;--soft:#98a4b0;
--rule:#303841;--bar:#1d3d5e;--panel:#1b2127;--side0:#6fb2f6;--side1:#f29a5d;--good:#4cc26b;
--bad:#ff7b72}}*{box-sizing:border-box}
body{margin:auto;padding:1.5rem 1rem 4rem;max-width:70rem;background:var(--ground);
color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.25;margin:0}h2{font-size:1.25rem;margin:2.5rem 0 0}
h3{font-size:1rem;margin:1.5rem 0 .5rem}p{margin:.25rem 0}ul{margin:.4rem 0 0;padding-left:1.2rem}
.soft,dd,small,figcaption,figure span,thead,.pairs{color:var(--soft)}.pairs{font-style:italic}
.verdict{margin:1.25rem 0;padding:.75rem 1rem;background:var(--panel);border-radius:.4rem;
border-left:.35rem solid var(--mark)}.verdict p{font-size:1.15rem}.verdict span{color:var(--mark)}
.good{--mark:var(--good)}.bad{--mark:var(--bad)}dd{margin:0;overflow-wrap:anywhere}
.tiles{display:grid;gap:1rem 2rem;margin:1rem 0;--least:26rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--least)),1fr))}.curves{--least:20rem}
table{width:100%;border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600}tr{border-bottom:1px solid var(--rule)}
th{text-align:left;font-weight:400}thead th{text-align:right;vertical-align:bottom}
th,td{padding:.3rem .4rem}tbody td{text-align:right;width:4.5rem;background:
linear-gradient(var(--bar) 0 0) .3rem/calc(var(--share)*.93) 1.4em no-repeat}
.own{background:var(--panel)}.own th{font-weight:600}small{display:block}
i{display:inline-block;width:.9em;height:.9em;vertical-align:-.1em;border:1px solid var(--rule)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;font-size:.9rem}
figure{margin:0;display:grid;grid-template-columns:repeat(4,1fr);gap:.35rem}
figcaption{grid-column:1/-1;font-size:.85rem}figure span{font-size:.75rem;line-height:1.3}
img{display:block;width:100%;image-rendering:pixelated;border-radius:2px}
svg{width:100%;font-size:11px;fill:var(--soft)}.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:var(--rule)}.even{stroke:var(--soft);stroke-dasharray:4 3}
.curve{fill:none;stroke-width:1.5;stroke-linejoin:round;stroke-linecap:round}
path.side0{stroke:var(--side0)}tspan.side0{fill:var(--side0)}
path.side1{stroke:var(--side1)}tspan.side1{fill:var(--side1)}
pre{overflow-x:auto;font-size:.8rem;background:var(--panel);padding:.75rem}
@media(max-width:30rem){table{font-size:.8rem}th,td{padding:.25rem .2rem}tbody td{width:3.4rem}
dl{display:block}dd{margin:0 0 .5rem}}
"""
