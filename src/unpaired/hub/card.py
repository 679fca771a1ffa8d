"""The model card of a run: what its files know, in Markdown, for the front page of a hub.

Facts of the data, recipe, metrics with intervals and findings are read from the model's header, the
run's journal, its record of the data and its report. No path and no name of an image is written.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from unpaired.checkpoint import Header
from unpaired.config import Recipe
from unpaired.config.config import differences
from unpaired.directions import DOMAINS, Direction, Domain, source_of, target_of
from unpaired.presets import ABOUT, PRESETS
from unpaired.storage import read_json_lines, read_regular

__all__ = ["RunFacts", "model_card"]

_MOST_REPORT = 100_000_000  # bytes of a report.json or data.json


@dataclass(frozen=True)
class RunFacts:
    """What is known of a model beside its weights; everything is empty where there is no run.

    `images` counts training images by domain, before some were set aside; `report` is the content
    of report.json; `journal` are the lines of metrics.jsonl.
    """

    images: Mapping[Domain, int]
    report: Mapping[str, Any]
    journal: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, run: Path) -> "RunFacts":
        """Reads a run folder; files that are missing or damaged count as empty."""
        record = _json(run / "data.json").get("run")
        marks = record if isinstance(record, dict) else {}
        images = {d: len(marks[d]) // 8 for d in DOMAINS if isinstance(marks.get(d), str)}
        report = _json(run / "report" / "report.json")
        return cls(images, report, read_json_lines(run / "metrics.jsonl"))

    @property
    def findings(self) -> Sequence[Mapping[str, Any]] | None:
        """The findings of the report, else of the last evaluation; None if nothing was checked."""
        if isinstance(found := self.report.get("findings"), list) and found:
            return [each for each in found if isinstance(each, dict)]
        for line in reversed(self.journal):
            if isinstance(found := line.get("findings"), list) and found:
                return [each for each in found if isinstance(each, dict)]
        return None


def model_card(
    header: Header,
    directions: Sequence[Direction],
    facts: RunFacts,
    *,
    repository: str,
    licence: str,
    samples: str = "",
) -> str:
    """The text of README.md: a header in YAML, then Markdown.

    Args:
        header: of the model's file.
        directions: those it translates in.
        facts: what is known of its run.
        repository: owner and name.
        licence: of the weights, an identifier of the hub such as "cc-by-4.0".
        samples: the name of an image beside the card; "": none.
    """
    recipe = header.config.recipe
    a, b = (_plain(recipe.domains[domain].name) for domain in DOMAINS)
    arrow = "↔" if len(directions) == 2 else "→"
    first, second = (a, b) if "ab" in directions else (b, a)
    sections = [
        f"---\nlicense: {licence}\nlibrary_name: unpaired\npipeline_tag: image-to-image\n"
        "tags:\n- cyclegan\n- unpaired-image-translation\n- safetensors\n---",
        f"# {first} {arrow} {second}",
        f"A CycleGAN that translates images of {first} to {second}"
        + (" and back" if len(directions) == 2 else "")
        + ". It was trained on unpaired images, with `unpaired`.",
        _use(repository, second),
    ]
    if samples:
        sections.append(
            f"![Samples: images, their translations, and the translations of those]({samples})"
        )
    sections += [
        "## Intended use\n" + _intended(recipe, directions),
        "## Data\n" + _data(recipe, facts),
        "## Recipe\n" + _recipe(header),
        "## Metrics\n" + _metrics(header, directions, facts),
        "## Known failures\n" + _failures(facts),
    ]
    return "\n\n".join(sections) + "\n"


def _use(repository: str, to: str) -> str:
    return (
        "```python\nimport unpaired  # pip install 'unpaired[torch,hub]'\n\n"
        f'model = unpaired.load("hf://{repository}")  # prints its revision, to pin it\n'
        f'model.translate("photo.jpg", to={json.dumps(to)})\n```'
    )


def _intended(recipe: Recipe, directions: Sequence[Direction]) -> str:
    names = {domain: _plain(recipe.domains[domain].name) for domain in DOMAINS}
    told = " and ".join(f"{names[source_of(d)]} to {names[target_of(d)]}" for d in directions)
    return (
        f"Translating images like those it was trained on: {told}, at about {recipe.image_size} "
        "pixels (larger images: `--working-size`, `--detail keep`). A generated image looks like "
        "one of the other domain and shows nothing that was measured: it is no evidence, no "
        "observation and no diagnosis. Images of other kinds give arbitrary results."
    )


def _data(recipe: Recipe, facts: RunFacts) -> str:
    rows = []
    for domain, each in recipe.domains.items():
        count = f"{facts.images[domain]:,} images, " if domain in facts.images else ""
        kind = f"{each.bands} band{'s' if each.bands != 1 else ''} of {each.depth} bits"
        more = ""
        for label, text in (
            ("bands", each.band_names),
            ("units", each.units),
            ("scaled from", each.scaling if each.scaling not in ("auto", "full") else ""),
        ):
            more += f"; {label} {_plain(text)}" if text else ""
        if each.resolution:
            more += f"; {each.resolution:g} m a pixel"
        rows.append(f"- {domain}, **{_plain(each.name)}**: {count}{kind}{more}")
    if recipe.validation:
        rows.append(f"- {recipe.validation:.0%} of them were set aside for validation.")
    if recipe.data_fingerprint:
        rows.append(f"- fingerprint of the training images: `{_plain(recipe.data_fingerprint)}`")
    return "\n".join(rows)


def _recipe(header: Header) -> str:
    recipe = header.config.recipe
    known = recipe.preset in PRESETS
    about = {str(name): text for name, text in ABOUT.items()}.get(recipe.preset, "")
    lines = [
        f"Preset `{_plain(recipe.preset)}`" + (f" ({about})" if about else "")
        + f", {header.step:,} steps, seed {recipe.seed}, weights: "
        + ("running mean (EMA)" if header.weights == "ema" else "last") + "."
    ]  # fmt: skip
    if known:
        own = {item.name for item in fields(recipe)} - _OF_DATA
        base = PRESETS[recipe.preset]
        changed = differences(base, {name: getattr(recipe, name) for name in own})
        shown = [
            f"`{_plain(line.split(' ')[0])} {_plain(line.split(' -> ')[1])}`" for line in changed
        ]
        lines.append("Changed from it: " + ", ".join(sorted(shown)) + "." if shown else "")
    if recipe.init_fingerprint:
        lines.append(f"It started from other weights (`{_plain(recipe.init_fingerprint)}`).")
    return "\n".join(filter(None, lines))


_OF_DATA = {
    "preset", "seed", "crops", "epoch_steps", "data_fingerprint", "init_fingerprint",
    *(f"{fact}_{d}" for d in DOMAINS for fact in (
        "name", "bands", "depth", "select", "scaling", "dtype", "band_names", "units", "nodata",
        "resolution",
    )),
}  # fmt: skip


def _metrics(header: Header, directions: Sequence[Direction], facts: RunFacts) -> str:
    """Tables by direction of the report's model beside untouched images, else the criterion."""
    try:
        found = [_table(header, direction, facts.report) for direction in directions]
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        found = []
    tables = list(filter(None, found))
    if tables:
        steps = facts.report.get("steps")
        other = isinstance(steps, dict) and header.step not in steps.values()
        note = "\n\nMeasured at another step than that of these weights." if other else ""
        verdict = facts.report.get("verdict")
        text = verdict.get("text") if isinstance(verdict, dict) else None
        said = f"{_plain(str(text[0]))}\n\n" if isinstance(text, list) and text else ""
        return said + "\n\n".join(tables) + note
    lines = [line for line in facts.journal if isinstance(line.get("validation"), dict)]
    for line in reversed(lines):
        if line.get("step") == header.step:
            measure = _plain(str(line["validation"].get("measure")))
            value = line["validation"].get("criterion")
            if isinstance(value, int | float):
                return (
                    f"Criterion on the validation part: {value:.4g} ({measure}; lower is better)."
                )
    return "Nothing was measured on a test set."


def _table(header: Header, direction: Direction, report: Mapping[str, Any]) -> str:
    methods = report["scores"][direction]
    model = next(each["values"] for each in methods.values() if each["kind"] == "model")
    untouched = methods.get("identity", {}).get("values", {})
    floors = [each["values"] for each in methods.values() if each["kind"] == "floor"]
    floor = floors[0] if floors else {}
    names = header.config.recipe.domains
    source, target = (_plain(names[d(direction)].name) for d in (source_of, target_of))
    rows = [
        f"{source} → {target}",
        "",
        "| metric | this model | interval (95 %) | untouched images | real images |",
        "|---|---|---|---|---|",
    ]
    for key, value in model.items():
        about = report["figures"][key]
        times, unit = float(about["shown_times"]), _plain(str(about["unit"]))
        better = {"lower": " (lower is better)", "higher": " (higher is better)"}
        low, high = (_number(value.get(end), times) for end in ("low", "high"))
        rows.append(
            f"| {_plain(str(about['name']))}{better.get(about['better'], '')} "
            f"| {_number(value.get('value'), times)} {unit} "
            f"| {f'{low} to {high}' if low != '–' else '–'} "
            f"| {_number(untouched.get(key, {}).get('value'), times)} "
            f"| {_number(floor.get(key, {}).get('value'), times)} |"
        )
    return "\n".join(rows)


def _failures(facts: RunFacts) -> str:
    findings = facts.findings
    if findings is None:
        return "Not checked."
    fired = [each for each in findings if each.get("fired")]
    checked = f"{len(findings)} checks for known failures of such trainings"
    if not fired:
        return f"{checked}: nothing found. Others are possible: look at many translations."
    lines = [f"{checked}:", ""]
    for each in fired:
        name, where = _plain(str(each.get("name"))), _plain(str(each.get("where")))
        # The message about flat images names files of whoever trained.
        message = "" if name == "flat images" else f": {_plain(str(each.get('message')))}"
        lines.append(f"- **{name}** ({where}){message}")
    return "\n".join(lines)


def _number(value: object, times: float) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value * times:.3g}"


def _plain(text: str) -> str:
    """Untrusted text as plain text in Markdown: one line, no markup, at most 200 characters."""
    line = " ".join(text.split())[:200]
    for character in "\\`*_[]<>|#!":
        line = line.replace(character, f"\\{character}" if character != "`" else "'")
    return line


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(read_regular(path, _MOST_REPORT))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
