"""The result of a search for the learning rate: a suggestion with its reason, as text and SVG."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median_low

from unpaired.storage import json_number

__all__ = ["LrCurve", "Rung"]

CLOSE = 1.03
"""Criteria within this factor of the lowest count as equal; of such rates the middle one is
suggested, of two the lower: it is the farthest from where the criterion rises."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 344, 30, 180
_STYLE = (
    "svg{background:#fff;font:11px system-ui,sans-serif;fill:#444}"
    ".grid{stroke:#ddd;fill:none}.curve{stroke:#2563a8;fill:none;stroke-width:2}"
    ".rung{fill:#2563a8}.bad{fill:#b3362c}.chosen{stroke:#2a7f3f;stroke-dasharray:4 3;fill:none}"
    ".mid{text-anchor:middle}.end{text-anchor:end}"
)


@dataclass(frozen=True)
class Rung:
    """One short training of the ladder.

    Attributes:
        rate: learning rate of the generators; that of the discriminators has the recipe's ratio.
        criterion: of the validation part at its end, lower is better; NaN if it diverged.
        moved: whether the images changed enough for the criterion to mean something.
        share: median over steps of the size of an update of the generators over that of their
            weights (Euclidean norms); about 1e-4 to 1e-2 in trainings that learn.
        problem: why it counts as unstable; "" if it does not.
    """

    rate: float
    criterion: float
    moved: bool
    share: float
    problem: str = ""


@dataclass(frozen=True)
class LrCurve:
    """The rungs of a ladder of learning rates, from the lowest; `measure` is what the criterion is.

    `steps` are those of each short training, `ratio` is the discriminators' rate over the
    generators'.
    """

    rungs: tuple[Rung, ...]
    measure: str
    steps: int
    ratio: float = 1.0

    @property
    def suggestion(self) -> float | None:
        """The learning rate to train with; None if no rung is stable."""
        stable = self._candidates()
        if not stable:
            return None
        limit = CLOSE * min(rung.criterion for rung in stable)
        return median_low(rung.rate for rung in stable if rung.criterion <= limit)

    @property
    def reason(self) -> str:
        """Why this rate is suggested, in a sentence or two."""
        chosen = self.suggestion
        if chosen is None:
            return "every rate was unstable: give lower ones (--rates)"
        stable = self._candidates()
        best = min(stable, key=lambda rung: rung.criterion)
        (rung,) = (each for each in stable if each.rate == chosen)
        told = f"its criterion of {rung.criterion:.3g} is the lowest"
        if rung is not best:
            told = (
                f"it is the middle of those within {CLOSE - 1:.0%} of the lowest criterion "
                f"({best.criterion:.3g} at {best.rate:.2g})"
            )
        parts = [f"{told}; an update is {rung.share:.1e} of the weights"]
        if not any(each.moved for each in stable):
            parts.append(
                "no rate changed the images enough in so few steps: give a longer --length"
            )
        bad = [f"{each.rate:.2g} ({each.problem})" for each in self.rungs if each.problem]
        if bad:
            parts.append(f"unstable: {', '.join(bad)}")
        ends = {self.rungs[0].rate: "lower", self.rungs[-1].rate: "higher"}
        if chosen in ends and len(self.rungs) > 1:
            parts.append(f"it is the end of the ladder: {ends[chosen]} --rates may be better")
        return "; ".join(parts)

    def _candidates(self) -> Sequence[Rung]:
        """Stable rungs; those that moved, where any did."""
        stable = [rung for rung in self.rungs if not rung.problem]
        return [rung for rung in stable if rung.moved] or stable

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON: NaN as None, infinity as a string."""
        rungs = [
            asdict(rung)
            | {"criterion": json_number(rung.criterion), "share": json_number(rung.share)}
            for rung in self.rungs
        ]
        facts = {"measure": self.measure, "steps": self.steps, "ratio": self.ratio}
        return {"suggestion": self.suggestion, "reason": self.reason, **facts, "rungs": rungs}

    def to_text(self) -> str:
        """A table with bars for a terminal, and the suggestion."""
        known = [rung.criterion for rung in self.rungs if math.isfinite(rung.criterion)]
        most = max(known, default=1.0) or 1.0
        lines = [f"criterion after {self.steps:,} steps: {self.measure}; lower is better", ""]
        lines.append(f"{'rate':>9}  {'criterion':>9}  {'':24}  update/weights")
        for rung in self.rungs:
            bar = "█" * round(24 * rung.criterion / most) if rung.criterion in known else ""
            number = f"{rung.criterion:.4f}" if rung.criterion in known else "-"
            mark = "  <- suggested" if rung.rate == self.suggestion else ""
            note = f"  {rung.problem}" if rung.problem else "" if rung.moved else "  hardly moved"
            share = f"{rung.share:.1e}" if math.isfinite(rung.share) else "-"
            lines.append(f"{rung.rate:>9.2g}  {number:>9}  {bar:24}  {share:>14}{note}{mark}")
        flags = "none"
        if self.suggestion is not None:
            flags = f"--learning-rate {self.suggestion:.3g}"
            flags += f" --discriminator-rate {self.suggestion * self.ratio:.3g}"
        return "\n".join([*lines, "", f"suggestion: {flags}", f"reason: {self.reason}"])

    def to_svg(self) -> str:
        """The criterion over the learning rate, on a logarithmic axis, as a whole SVG file."""
        known = [rung for rung in self.rungs if math.isfinite(rung.criterion)]
        low, high = math.log(self.rungs[0].rate), math.log(self.rungs[-1].rate)
        most = max((rung.criterion for rung in known), default=1.0) or 1.0

        def x(rate: float) -> str:
            along = (math.log(rate) - low) / (high - low) if high > low else 0.5
            return f"{_LEFT + 14 + (_RIGHT - _LEFT - 28) * along:.1f}"

        def y(value: float) -> str:
            return f"{_BOTTOM - (_BOTTOM - _TOP) * value / most:.1f}"

        drawn = []
        for part in range(5):
            value = most * part / 4
            drawn.append(f'<path class="grid" d="M{_LEFT} {y(value)}H{_RIGHT}"/>')
            drawn.append(
                f'<text class="end" x="{_LEFT - 5}" y="{y(value)}" dy="4">{value:.2g}</text>'
            )
        for rung in self.rungs:
            at = x(rung.rate)
            drawn.append(f'<text class="mid" x="{at}" y="{_BOTTOM + 16}">{rung.rate:.2g}</text>')
            if rung not in known:
                drawn.append(f'<text class="mid bad" x="{at}" y="{_TOP + 4}">✕</text>')
        if self.suggestion is not None:
            drawn.append(f'<path class="chosen" d="M{x(self.suggestion)} {_TOP}V{_BOTTOM}"/>')
        if known:
            path = "L".join(f"{x(rung.rate)} {y(rung.criterion)}" for rung in known)
            drawn.append(f'<path class="curve" d="M{path}"/>')
        for rung in known:
            kind = "rung bad" if rung.problem else "rung"
            drawn.append(
                f'<circle class="{kind}" cx="{x(rung.rate)}" cy="{y(rung.criterion)}" r="3.5"/>'
            )
        title = f"criterion after {self.steps:,} steps by learning rate (dashed: suggested)"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 206" width="720" '
            f'height="412" role="img" aria-label="{title}"><style>{_STYLE}</style>'
            f'<text x="{_LEFT}" y="16">{title}</text>{"".join(drawn)}</svg>\n'
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.to_svg()
