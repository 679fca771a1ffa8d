"""The verdict: what the metrics say, in words for people who do not know the metrics.

With a paired test set the truth decides: in every paired metric the model is compared with every
baseline that uses no pairs. Without, the first metric of image sets decides: how far generated
images are from real ones, beside untranslated images, baselines and other real images. In either
case it says where the model hardly changes its sources, or loses their content.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from unpaired.directions import Direction
from unpaired.metrics.metric import Metric, Value
from unpaired.report.comparison import Comparison, Method, MethodKind

__all__ = ["Verdict", "ranking", "verdict", "verdicts"]

State = Literal["good", "mixed", "bad"]

# A model's place in one direction: how it counts, and its sentence. {real}: images of the target;
# {others}: what the model beats; {n}: a remark on the number of images; {all}: the metrics.
_PLACES: Mapping[str, tuple[State, str]] = {
    "ahead": ("good", "better than every unpaired baseline in {all}"),
    "not ahead": ("bad", "not better than every unpaired baseline"),
    "unknown": ("mixed", "nothing to compare the translations with"),
    "closest": ("good", "closer to {real} than {others}"),
    "closer": ("mixed", "closer to {real} than untranslated images, but not than every baseline"),
    "same": ("mixed", "not distinguishable from untranslated images{n}"),
    "farther": ("bad", "not better than untranslated images"),
    "not closest": ("bad", "not closer to {real} than every baseline"),
}
# Content kept below which it is lost. A photograph blurred by a Gaussian of 2 pixels keeps .48 of
# its content, one under noise of 25 levels .62, another photograph 0 (Yosemite, 64 px). Where the
# truth is known it decides what had to be kept: the winters of `seasons` keep .31 of their summers.
_LOST = 0.5
# Share of images with blobs from which it is told. Trainings on photographs had .4 % and 6 %.
_BLOBS = 0.02
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Verdict:
    """What the metrics say about a model, in plain words."""

    state: State
    headline: str
    details: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the model is better than everything without training, in every direction."""
        return self.state == "good"


@dataclass(frozen=True)
class _Standing:
    """The model among the others in one direction."""

    place: str
    words: Mapping[str, str]
    detail: str

    def sentence(self, **words: str) -> str:
        return _PLACES[self.place][1].format(**{**self.words, **words})


def verdict(compared: Comparison) -> Verdict:
    """Compares the first model with baselines and floors; equal is not better."""
    by_set = {
        direction: _by_set(compared, direction, metric, own)
        for metric in compared.metrics_of("set")[:1]
        for direction in compared.directions
        if (own := compared.model.value(direction, metric))
    }
    if not compared.paired:
        found = _combined(compared, by_set, "No metric says how good the translations are.")
        return replace(found, details=(*found.details, *_by_source(compared)))
    by_truth = _combined(compared, _by_truth(compared), "No paired metric is defined here.")
    more = (
        f"{_from(compared, direction)}, all images together: {at.sentence()}; {at.detail}"
        for direction, at in by_set.items()
    )
    return replace(by_truth, details=(*by_truth.details, *more, *_by_source(compared)))


def verdicts(compared: Comparison) -> dict[str, Verdict]:
    """The verdict on each model by its name, in their order."""
    models = compared.of_kind("model")
    others = [method for method in compared.methods if method.kind != "model"]
    return {model.name: verdict(replace(compared, methods=[model, *others])) for model in models}


def ranking(compared: Comparison) -> list[str]:
    """Which of several models is best by the metric that decides: a sentence per direction."""
    lines = []
    for metric in [*compared.metrics_of("paired"), *compared.metrics_of("set")][:1]:
        for direction in compared.directions:
            ranked = compared.ranked(direction, metric, "model")
            if len(ranked) > 1:
                (best, value), *rest = ranked
                near = ", ".join(method.name for method, other in rest if _overlap(value, other))
                doubt = f", but not distinguishable from {near}" if near else ""
                listed = ", ".join(f"{method.name} {metric.show(v.value)}" for method, v in ranked)
                who = f"{_from(compared, direction)}, {best.name} is best{doubt}"
                lines.append(f"{who} ({metric.name}: {listed}).")
    return lines


def _combined(compared: Comparison, found: Mapping[Direction, _Standing], without: str) -> Verdict:
    """One verdict on all directions; `without` is the headline if nothing was found."""
    if not found:
        return Verdict("mixed", without, ())
    states = {_PLACES[at.place][0] for at in found.values()}
    sentences = {at.sentence(real="real images") for at in found.values()}
    if len(sentences) == 1 and len(found) == len(compared.directions):
        text = sentences.pop()
        both = ", in either direction" if text.startswith("no") else ", in both directions"
        headline = f"{text[0].upper()}{text[1:]}{both if len(found) > 1 else ''}."
    else:
        headline = " ".join(f"{_from(compared, d)}: {at.sentence()}." for d, at in found.items())
    details = (f"{_from(compared, direction)}: {at.detail}" for direction, at in found.items())
    return Verdict(states.pop() if len(states) == 1 else "mixed", headline, tuple(details))


def _from(compared: Comparison, direction: Direction) -> str:
    return f"From {' to '.join(compared.domain_names(direction))}"


def _overlap(one: Value, other: Value) -> bool:
    (low, high), (other_low, other_high) = one.interval, other.interval
    return low <= other_high and other_low <= high


# ---- by the sources -----------------------------------------------------------------------


def _by_source(compared: Comparison) -> Iterator[str]:
    """Where the model hardly changes the images, or loses what they show: a sentence each."""
    for direction in compared.directions:
        if change := _hardly_changes(compared, direction):
            amount = f"mean change {change} levels of 255"
            yield f"{_from(compared, direction)}: hardly changes the images ({amount})."
        content, value = _beside_sources(compared, direction, "content")
        if content and value and value.value < _LOST and not compared.paired:
            yield (
                f"{_from(compared, direction)}: loses the content of the images (content kept "
                f"{content.show(value.value)} of 1), so it blurs, replaces or inverts what they "
                "show."
            )
        metric, found = _beside_sources(compared, direction, "blobs")
        if metric and found and found.value >= _BLOBS:
            yield (
                f"{_from(compared, direction)}: {metric.show(found.value)} % of the images have a "
                "place that changed far more than the rest (a blob): look at those that changed "
                "most, and train longer or with another --seed."
            )


def _hardly_changes(compared: Comparison, direction: Direction) -> str:
    """The model's mean change where it counts as none; "" where it does not, or is not known."""
    metric, value = _beside_sources(compared, direction, "change")
    if metric is None or value is None or value.small is None or value.value >= value.small:
        return ""
    return metric.show(value.value)


def _beside_sources(
    compared: Comparison, direction: Direction, key: str
) -> tuple[Metric | None, Value | None]:
    """A metric of kind "source" and the model's value, where it was measured."""
    metric = next((m for m in compared.metrics_of("source") if m.key == key), None)
    return metric, compared.model.value(direction, metric) if metric else None


# ---- by the truth -------------------------------------------------------------------------


def _by_truth(compared: Comparison) -> dict[Direction, _Standing]:
    """By all paired metrics that are defined for the model in some direction."""
    metrics = [
        metric
        for metric in compared.metrics_of("paired")
        if metric.better
        and any(compared.model.value(direction, metric) for direction in compared.directions)
    ]
    count = _NUMBERS[len(metrics)] if len(metrics) < len(_NUMBERS) else str(len(metrics))
    words = {"all": f"all {count} metrics" if len(metrics) > 1 else _listed(metrics)}
    found = {}
    for direction in compared.directions if metrics else ():
        losses = _losses(compared, direction, metrics)
        lost = [f"{name} ({which})" for name, which in losses.items() if which]
        place = "not ahead" if lost else "ahead" if losses else "unknown"
        found[direction] = _Standing(place, words, _margins(compared, direction, lost))
    return found


def _listed(items: Sequence[Metric | Method]) -> str:
    return ", ".join(item.name for item in items)


def _losses(
    compared: Comparison, direction: Direction, metrics: Sequence[Metric]
) -> dict[str, str]:
    """The metrics in which the model does not beat an unpaired baseline, by baseline."""
    losses = {}
    for method in compared.of_kind("untouched", "baseline"):
        better = {
            metric: metric.is_better(own.value, other.value)
            for metric in metrics
            if (own := compared.model.value(direction, metric))
            and (other := method.value(direction, metric))
        }
        lost = [metric for metric in better if not better[metric]]
        if better:
            losses[method.name] = "all metrics" if len(lost) == len(metrics) else _listed(lost)
    return losses


def _margins(compared: Comparison, direction: Direction, lost: Sequence[str]) -> str:
    """By the first paired metric: the model's value and how far it is from the others."""
    metric = compared.metrics_of("paired")[0]
    own = compared.model.value(direction, metric)
    if own is None:
        return f"{metric.name} is not defined."

    def shown(value: float) -> str:
        return f"{metric.show(value)} {metric.unit}".rstrip()

    def margin(method: Method, other: Value) -> str:
        if own.value == other.value:
            return f"equal to the {method.name}"
        gap = abs(own.value - other.value)
        word = "better" if metric.is_better(own.value, other.value) else "worse"
        unsure = metric.noise is not None and gap * metric.scale < metric.noise
        doubt = " (within the variation between seeds)" if unsure else ""
        return f"{shown(gap)} {word} than the {method.name}{doubt}"

    best = compared.ranked(direction, metric, "untouched", "baseline")[:1]
    pairs = [*best, *compared.ranked(direction, metric, "oracle")]
    told = ", ".join([f"{metric.name} {shown(own.value)}", *(margin(*pair) for pair in pairs)])
    return f"{told}; not better than {', '.join(lost)}." if lost else f"{told}."


# ---- by image sets ------------------------------------------------------------------------


def _by_set(compared: Comparison, direction: Direction, metric: Metric, own: Value) -> _Standing:
    """By a metric of image sets, in which values are the same if their intervals overlap."""
    real = f"real {compared.domain_names(direction)[1]}"
    baselines = compared.ranked(direction, metric, "baseline")
    untouched = _best(compared, direction, metric, "untouched")
    floor = _best(compared, direction, metric, "floor")
    low, high = own.interval
    n = " (with this number of images)" if low < high else ""

    def relation(other: Value) -> str:
        if _overlap(own, other):
            return "same"
        return "closer" if metric.is_better(low, other.interval[0]) else "farther"

    beaten = all(relation(value) == "closer" for _, value in baselines)
    place = relation(untouched) if untouched else "not closest" if baselines else "unknown"
    if beaten and place in ("closer", "not closest"):
        place = "closest"
    if _hardly_changes(compared, direction) and place in ("closer", "closest"):
        place = "same"  # a metric without an interval tells any two sets of images apart

    parts: list[str] = []
    if untouched and metric.better == "lower":
        parts += _progress(place, real, own.value, untouched.value, floor.value if floor else 0)
    if place in ("closer", "not closest"):
        for kind, text in (("farther", "not as close as"), ("same", "not distinguishable from")):
            names = _listed([method for method, value in baselines if relation(value) == kind])
            parts += [f"{text} {names}"] if names else []
    if floor:
        far = f"farther from {real} than"
        if metric.better == "lower" and floor.interval[0] > 0:
            far = f"{_times(own.value, floor.value)} as far from {real} as"
        beside = {"same": "not distinguishable from", "closer": f"closer to {real} than"}
        among = relation(floor)
        parts.append(f"{beside.get(among, far)} other real images{n if among == 'same' else ''}")

    first = [(method.name, value) for method, value in baselines[:1]]
    others = [("untranslated images", untouched), *first, ("real images", floor)]
    listed = "".join(f", {name} {metric.show(value.value)}" for name, value in others if value)
    interval = f" ({metric.show(low)} to {metric.show(high)})" if low < high else ""
    name = f"{metric.name} {metric.unit}".rstrip()
    numbers = f"{name}: {metric.show(own.value)}{interval}{listed}"

    beats = ["untranslated images"] * bool(untouched) + ["every baseline"] * bool(baselines)
    words = {"real": real, "others": " and ".join(beats), "n": n}
    told = f"{'; '.join(parts)}. " if parts else ""
    return _Standing(place, words, f"{told}{numbers}.")


def _best(
    compared: Comparison, direction: Direction, metric: Metric, kind: MethodKind
) -> Value | None:
    return next((value for _, value in compared.ranked(direction, metric, kind)), None)


def _progress(place: str, real: str, own: float, start: float, goal: float) -> Iterator[str]:
    """The share of the distance that the model removed, or by how much it grew."""
    if place == "farther" and start > 0:
        yield f"{_times(own, start)} as far from {real} as untranslated images"
    elif place in ("closer", "closest") and goal <= own < start:
        share = 100 * (start - own) / (start - goal)
        yield f"removes {share:.0f} % of the distance between untranslated and real images"


def _times(one: float, other: float) -> str:
    ratio = one / other
    return f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.1f} times"
