"""The page of a report: one HTML file that holds its pictures, asks for nothing and runs nothing.

`Report` is what was found out; `render` puts it into HTML, one function a section. Nothing is
measured here, so the page serves whoever has figures to show.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.engines.seam import Direction
from unpaired.evaluation.scores import TruthScores

__all__ = [
    "DIRECTIONS",
    "FIGURES",
    "Example",
    "Figure",
    "Method",
    "Report",
    "Verdict",
    "difference",
    "render",
    "verdict",
]

Pictures = NDArray[np.uint8]
Colour = tuple[int, int, int]

DIRECTIONS: tuple[Direction, Direction] = ("ab", "ba")
_NOISE = 1.0  # dB by which two trainings differ that differ in the seed alone


@dataclass(frozen=True)
class Figure:
    """A figure of TruthScores: the larger the better."""

    key: str
    name: str
    decimals: int
    meaning: str

    def of(self, scores: TruthScores) -> float:
        """The figure's value."""
        return float(getattr(scores, self.key))

    def show(self, value: float) -> str:
        """The value as people read it; a dash where it is not defined."""
        if math.isnan(value):
            return "–"
        return "∞" if math.isinf(value) else f"{value:.{self.decimals}f}"


FIGURES: tuple[Figure, ...] = (
    Figure("psnr", "PSNR", 2, "peak signal-to-noise ratio in dB, the mean over the pictures"),
    Figure("ssim", "SSIM", 3, "structural similarity in windows of 7×7, mean over the pictures"),
    Figure("acc16", "acc16", 3, "share of pixels with every channel within 16 levels of the truth"),
    Figure(
        "macro16",
        "macro16",
        3,
        "mean over the classes of acc16 on pixels of one class only, so that a large sky cannot "
        "hide a lost lake",
    ),
)


@dataclass(frozen=True)
class Method:
    """What translated the test set, and its scores both ways."""

    name: str
    scores: Mapping[Direction, TruthScores]
    uses_pairs: bool = False
    """Whether it was fitted on true pairs, which an unpaired method never sees."""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Example:
    """One translated test picture; the pictures are uint8, (height, width, 3)."""

    name: str
    source: Pictures
    made: Pictures
    truth: Pictures
    psnr: float
    """Of `made` against `truth`, dB."""


@dataclass(frozen=True, eq=False)
class Report:
    """All that the page shows."""

    title: str
    summary: str
    """What was trained on what, in one line."""
    names: tuple[str, str]
    """Of the domains a and b."""
    model: Method
    baselines: Sequence[Method]
    examples: Mapping[Direction, Mapping[str, Sequence[Example]]]
    """Per direction: how they were chosen, and the examples."""
    journal: Sequence[Mapping[str, float]]
    """The lines of metrics.jsonl."""
    facts: Mapping[str, str]
    """How it was measured: what, and the answer."""
    config: str
    """config.toml of the run."""
    swatches: Mapping[str, tuple[Colour, Colour]] = field(default_factory=dict)
    """The colours of a class in domains a and b, where they are known."""

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

    passed: bool
    """Whether the model is above every unpaired baseline, both ways, in every figure."""
    headline: str
    details: tuple[str, ...]


def verdict(report: Report) -> Verdict:
    """Compares the model with the baselines. Equal is not above."""
    behind = {direction: _behind(report, direction) for direction in DIRECTIONS}
    ways = {direction: " to ".join(report.ends(direction)) for direction in DIRECTIONS}
    good = [ways[direction] for direction in DIRECTIONS if not behind[direction]]
    bad = [ways[direction] for direction in DIRECTIONS if behind[direction]]
    if not bad:
        headline = "Above every unpaired baseline in both directions, in all four figures."
    elif good:
        headline = f"Above every unpaired baseline from {good[0]}, but not from {bad[0]}."
    else:
        headline = "Not above every unpaired baseline, in neither direction."
    details = [f"{ways[d].capitalize()}: {_detail(report, d, behind[d])}" for d in DIRECTIONS]
    return Verdict(not bad, headline, (*details, *_against_pairs(report)))


def _behind(report: Report, direction: Direction) -> dict[str, list[str]]:
    """The unpaired baselines that the model is not above, and the figures in which."""
    behind: dict[str, list[str]] = {}
    own = report.model.scores[direction]
    for method in report.unpaired:
        for figure in FIGURES:
            value, other = figure.of(own), figure.of(method.scores[direction])
            defined = not (math.isnan(value) and math.isnan(other))
            if defined and not value > other:
                behind.setdefault(method.name, []).append(figure.name)
    return behind


def _detail(report: Report, direction: Direction, behind: Mapping[str, list[str]]) -> str:
    own = report.model.scores[direction].psnr
    text = f"{FIGURES[0].show(own)} dB"
    if behind:
        listed = (f"{name} in {_and(figures)}" for name, figures in behind.items())
        return f"{text}; not above {'; '.join(listed)}."
    if not report.unpaired:
        return f"{text}."
    best = max(report.unpaired, key=lambda method: method.scores[direction].psnr)
    margin = own - best.scores[direction].psnr
    text += f", {FIGURES[0].show(margin)} dB above the best of them ({best.name})"
    return text + (", which is within the noise of single trainings." if margin < _NOISE else ".")


def _against_pairs(report: Report) -> Iterator[str]:
    """Where the model stands beside methods that know pairs: no shame to be below."""
    for method in report.baselines:
        if method.uses_pairs:
            shown = [FIGURES[0].show(method.scores[d].psnr) for d in DIRECTIONS]
            over = [
                " to ".join(report.ends(d))
                for d in DIRECTIONS
                if report.model.scores[d].psnr > method.scores[d].psnr
            ]
            stands = f"above it from {_and(over)}" if over else "below it both ways"
            yield (
                f"For scale, the {method.name}, has {_and(shown)} dB; the model is {stands} in PSNR."
            )


def difference(made: Pictures, truth: Pictures) -> Pictures:
    """Five times the absolute difference, cut at 255: black where they agree."""
    gap = 5 * np.abs(made.astype(np.int16) - truth)
    return np.minimum(gap, 255).astype(np.uint8)


def render(report: Report) -> str:
    """The page: complete HTML that stands alone."""
    parts = (
        _verdict_section(report),
        _scores_section(report),
        _pictures_section(report),
        _classes_section(report),
        _curves_section(report),
        _method_section(report),
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{escape(report.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(report.title)}</h1>
<p class="soft">{escape(report.summary)}</p>
</header>
<main>
{"".join(part for part in parts if part)}</main>
</body>
</html>
"""


def _section(title: str, text: str, content: str) -> str:
    return f'<section>\n<h2>{title}</h2>\n<p class="soft">{text}</p>\n{content}</section>\n'


def _verdict_section(report: Report) -> str:
    found = verdict(report)
    kind, sign = ("good", "✓") if found.passed else ("bad", "✗")
    details = "".join(f"<li>{escape(detail)}</li>" for detail in found.details)
    return (
        f'<div class="verdict {kind}"><p><span aria-hidden="true">{sign}</span> '
        f"<strong>{escape(found.headline)}</strong></p><ul>{details}</ul></div>\n"
    )


def _scores_section(report: Report) -> str:
    tables = "".join(_scores_table(report, direction) for direction in DIRECTIONS)
    text = "Of the held-out pictures against the truth; higher is better. Bold: best without pairs."
    meanings = "".join(f"<dt>{f.name}</dt><dd>{escape(f.meaning)}</dd>" for f in FIGURES)
    return _section("Scores", text, f'<div class="pair">{tables}</div><dl>{meanings}</dl>\n')


def _scores_table(report: Report, direction: Direction) -> str:
    fair = [report.model, *report.unpaired]
    best = {f.key: _largest(f.of(m.scores[direction]) for m in fair) for f in FIGURES}
    full = {f.key: 1.0 for f in FIGURES} | {"psnr": 30.0}
    rows = []
    for method in (*fair, *(m for m in report.baselines if m.uses_pairs)):
        cells = []
        for figure in FIGURES:
            value = figure.of(method.scores[direction])
            share = 0.0 if math.isnan(value) else min(max(value / full[figure.key], 0), 1)
            shown = figure.show(value)
            if not method.uses_pairs and value == best[figure.key]:
                shown = f"<b>{shown}</b>"
            cells.append(f'<td style="--share:{share:.1%}">{shown}</td>')
        notes = ", ".join(filter(None, ("uses pairs" if method.uses_pairs else "", method.note)))
        small = f"<small>{escape(notes)}</small>" if notes else ""
        kind = "own" if method is report.model else "pairs" if method.uses_pairs else ""
        name = f'<th scope="row">{escape(method.name)}{small}</th>'
        rows.append(f'<tr class="{kind}">{name}{"".join(cells)}</tr>\n')
    heads = "".join(f'<th scope="col">{figure.name}</th>' for figure in FIGURES)
    return _table(report, direction, f"<th></th>{heads}", rows)


def _classes_section(report: Report) -> str:
    names = {name for d in DIRECTIONS for name in report.model.scores[d].per_class}
    if not names:
        return ""
    tables = "".join(_classes_table(report, direction) for direction in DIRECTIONS)
    text = (
        "acc16 on the pixels that are of one class only. Classes that share a colour in the "
        "source can be told apart by shape and place alone."
    )
    return _section("By class", text, f'<div class="pair">{tables}</div>\n')


def _classes_table(report: Report, direction: Direction) -> str:
    share = FIGURES[2]
    columns = {"model": [report.model], "best unpaired": report.unpaired}
    columns["with pairs"] = [method for method in report.baselines if method.uses_pairs]
    columns = {head: methods for head, methods in columns.items() if methods}
    rows = []
    for name in report.model.scores[direction].per_class:
        cells = []
        for methods in columns.values():
            scores = (method.scores[direction].per_class for method in methods)
            value = _largest(of.get(name, math.nan) for of in scores)
            width = 0.0 if math.isnan(value) else value
            cells.append(f'<td style="--share:{width:.1%}">{share.show(value)}</td>')
        label = f'<th scope="row">{_swatch(report, direction, name)}{escape(name)}</th>'
        rows.append(f"<tr>{label}{''.join(cells)}</tr>\n")
    heads = "".join(f'<th scope="col">{head}</th>' for head in columns)
    return _table(report, direction, f"<th></th>{heads}", rows)


def _swatch(report: Report, direction: Direction, name: str) -> str:
    if name not in report.swatches:
        return ""
    a, b = report.swatches[name]
    pair = (a, b) if direction == "ab" else (b, a)
    dots = (f'<i style="background:rgb({r},{g},{b})"></i>' for r, g, b in pair)
    return f'<span class="swatch">{"".join(dots)}</span>'


def _table(report: Report, direction: Direction, head: str, rows: Sequence[str]) -> str:
    caption = escape(" → ".join(report.ends(direction)))
    return (
        f"<div><table><caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def _pictures_section(report: Report) -> str:
    parts = []
    for direction in DIRECTIONS:
        source, target = map(escape, report.ends(direction))
        for choice, examples in report.examples[direction].items():
            figures = "".join(_example(example, source, target) for example in examples)
            parts.append(f"<h3>{source} → {target}, {escape(choice)}</h3>\n")
            parts.append(f'<div class="examples">\n{figures}</div>\n')
    text = "Held-out scenes. The difference is of made and true, five times, black where equal."
    return _section("Pictures", text, "".join(parts))


def _example(example: Example, source: str, target: str) -> str:
    """One row of pictures. `source` and `target` are escaped names of domains."""
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
    caption = f"scene {name}, {FIGURES[0].show(example.psnr)} dB"
    return f"<figure><figcaption>{caption}</figcaption>{cells}</figure>\n"


def _data_uri(pixels: Pictures) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


_PANELS = {
    "adversarial": ("adversarial_ab", "adversarial_ba"),
    "discriminator": ("discriminator_a", "discriminator_b"),
    "cycle": ("cycle_a", "cycle_b"),
    "identity": ("identity_a", "identity_b"),
    "rates": ("learning_rate", "discriminator_rate"),
}


def _curves_section(report: Report) -> str:
    panels = []
    for title, keys in _PANELS.items():
        curves = {key: _curve(report.journal, key) for key in keys}
        if title == "rates" and curves[keys[0]] == curves[keys[1]]:
            curves = {"learning_rate": curves[keys[0]]}  # one line where one would hide the other
        if any(curves.values()):
            panels.append(_panel(title, {key: curve for key, curve in curves.items() if curve}))
    if not panels:
        return ""
    text = (
        "Losses by step, before their weights. A least-squares discriminator that cannot tell "
        "real from fake has .25, and so has the adversarial loss then (dashed)."
    )
    return _section("Learning curves", text, f'<div class="pair">{"".join(panels)}</div>\n')


def _curve(journal: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in journal if key in line]


def _panel(title: str, curves: Mapping[str, list[tuple[float, float]]]) -> str:
    """An SVG of one or two curves over the steps, the axes from 0."""
    left, right, top, bottom = 46, 352, 26, 150
    last = max(x for curve in curves.values() for x, _ in curve) or 1
    highest = max(y for curve in curves.values() for _, y in curve) or 1
    steps, levels = _ticks(last), _ticks(highest)
    ceiling = max(highest, levels[-1])

    def place(x: float, y: float) -> str:
        return (
            f"{left + (right - left) * x / last:.1f},{bottom - (bottom - top) * y / ceiling:.1f}"
        )

    drawn = []
    for level in levels:
        y = place(0, level).split(",")[1]
        drawn.append(f'<path class="grid" d="M{left},{y}H{right}"/>')
        drawn.append(f'<text class="end" x="{left - 6}" y="{y}" dy="4">{level:g}</text>')
    for step in steps:
        x = place(step, 0).split(",")[0]
        drawn.append(f'<text class="mid" x="{x}" y="{bottom + 16}">{step:,.0f}</text>')
    if title in ("adversarial", "discriminator") and ceiling >= 0.25:
        drawn.append(f'<path class="even" d="M{place(0, 0.25)}L{place(last, 0.25)}"/>')
    legend = []
    for number, (key, curve) in enumerate(curves.items(), 1):
        points = " ".join(place(x, y) for x, y in curve)
        drawn.append(f'<polyline class="line{number}" points="{points}"/>')
        if len(curve) == 1:
            x, y = place(*curve[0]).split(",")
            drawn.append(f'<circle class="line{number}" cx="{x}" cy="{y}" r="2"/>')
        legend.append(f'<tspan class="line{number}">― {escape(key)}</tspan>')
    return (
        f'<svg viewBox="0 0 360 172" role="img" aria-label="{escape(title)}">'
        f'<text x="{left}" y="14">{"  ".join(legend)}</text>{"".join(drawn)}</svg>\n'
    )


def _ticks(top: float) -> list[float]:
    """Three to six round numbers from 0 up to at most `top`."""
    power = 10 ** math.floor(math.log10(top))
    step = next(m * power for m in (0.2, 0.5, 1.0, 2.0) if top / (m * power) < 6)
    return [index * step for index in range(math.floor(top / step + 1e-9) + 1)]


def _method_section(report: Report) -> str:
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in report.facts.items())
    text = "Every training differs a little: less than 1 dB between single runs says nothing."
    recipe = f"<details><summary>config.toml</summary><pre>{escape(report.config)}</pre></details>"
    return _section("How it was measured", text, f"<dl>{rows}</dl>\n{recipe}\n")


def _largest(values: Iterator[float]) -> float:
    """The largest of the numbers, NaN where all are NaN."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--soft:#5a6570;--rule:#d8dee4;
--bar:#d9e8f8;--panel:#f5f7f9;--one:#1f66b5;--two:#bf5413;--good:#1a7f37;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ground:#13171c;--ink:#e3e8ed;--soft:#98a4b0;
--rule:#303841;--bar:#1e3a57;--panel:#1b2127;--one:#6fb2f6;--two:#f29a5d;--good:#4cc26b;
--bad:#ff7b72}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:70rem;background:var(--ground);
color:var(--ink);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.25;margin:0}
h2{font-size:1.25rem;margin:2.5rem 0 0}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.25rem 0}
.soft,dd,small,figcaption,figure span{color:var(--soft)}
.verdict{margin-top:1.25rem;padding:.75rem 1rem;background:var(--panel);border-radius:.4rem;
border-left:.35rem solid var(--mark)}
.verdict.good{--mark:var(--good)}.verdict.bad{--mark:var(--bad)}
.verdict p{font-size:1.15rem}.verdict span{color:var(--mark)}
.verdict ul{margin:.4rem 0 0;padding-left:1.2rem}
.pair{display:grid;gap:1rem 2rem;margin:1rem 0;
grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr))}
.pair>div{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding-bottom:.25rem}
th{text-align:left;font-weight:400}thead th{color:var(--soft);text-align:right}
th,td{padding:.3rem .4rem;border-bottom:1px solid var(--rule)}
td{text-align:right;width:4.2rem;background:linear-gradient(var(--bar) 0 0) left bottom/
var(--share) .2rem no-repeat}
small{display:block}
.own{background:var(--panel)}.own th{font-weight:600}
.pairs th,.pairs td{color:var(--soft);font-style:italic}
.swatch i{display:inline-block;width:.9rem;height:.9rem;vertical-align:-.1rem;
border:1px solid var(--rule)}
.swatch{margin-right:.5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0;
font-size:.9rem}
dd{margin:0}
.examples{display:grid;gap:1rem 2rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr))}
figure{margin:0;display:grid;grid-template-columns:repeat(4,1fr);gap:.35rem}
figcaption{grid-column:1/-1;font-size:.85rem}
figure span{font-size:.75rem;line-height:1.3}
img{display:block;width:100%;image-rendering:pixelated;border-radius:2px}
svg{width:100%;height:auto;font-size:11px;fill:var(--soft)}
svg .grid{stroke:var(--rule)}svg .even{stroke:var(--soft);stroke-dasharray:4 3}
svg .end{text-anchor:end}svg .mid{text-anchor:middle}
polyline{fill:none;stroke-width:1.5;stroke-linejoin:round}
polyline.line1{stroke:var(--one)}polyline.line2{stroke:var(--two)}
tspan.line1,circle.line1{fill:var(--one)}tspan.line2,circle.line2{fill:var(--two)}
pre{overflow-x:auto;font-size:.8rem;background:var(--panel);padding:.75rem}
@media print{.verdict,.own{break-inside:avoid}figure{break-inside:avoid}}
"""
