"""Divergence: NaN, infinity, or a loss that explodes."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from unpaired.diagnostics.finding import Finding, finding
from unpaired.diagnostics.probe import Probe
from unpaired.directions import Domain, source_of, target_of
from unpaired.engines.seam import LOSSES, Images

__all__ = ["LIMIT", "NAME", "check", "not_finite"]

NAME = "divergence"
LIMIT, LEAST_LOSS = 10.0, 0.1
MEDIAN_OVER, MEDIAN_AFTER = 20, 5  # lines of the journal


def check(broken: Sequence[str], where: str, lines: Sequence[Mapping[str, object]]) -> Finding:
    """Measures the largest loss over its running median; infinite where there is NaN or infinity.

    The median is over up to 20 lines before, from the sixth line on, and counts as at least .1.

    Args:
        broken: the parts of the probe with NaN or infinity (`not_finite`).
        where: both domains.
        lines: of metrics.jsonl, oldest first.
    """
    value, bad = 0.0, ""
    for loss in LOSSES:
        past: list[float] = []
        for line in lines:
            now = line.get(loss)
            if not isinstance(now, int | float):
                continue
            usual = max(float(np.median(past[-MEDIAN_OVER:])), LEAST_LOSS) if past else math.nan
            ratio = now / usual if math.isfinite(now) else math.inf
            if (len(past) >= MEDIAN_AFTER or ratio == math.inf) and ratio > value:
                times = f"{ratio:.0f} times its usual size"
                size = times if ratio < math.inf else "NaN or infinite"
                value, bad = ratio, f"the loss {loss} was {size} at step {line.get('step', 0)}"
            if math.isfinite(now):
                past.append(float(now))
    if broken:
        value, bad = math.inf, f"NaN or infinite values in {', '.join(broken)}"
    good = "no loss has exploded, no value is NaN or infinite"
    advice = "start again with a lower --learning-rate or --precision fp32"
    return finding(NAME, where, value, LIMIT, value > LIMIT, good, bad, advice)


def not_finite(probe: Probe, names: Mapping[Domain, str]) -> list[str]:
    """Descriptions of the parts of a probe that hold NaN or infinity."""
    parts: list[tuple[str, Images | None]] = []
    parts += [(f"images of {names[domain]}", images) for domain, images in probe.real.items()]
    for direction, outputs in probe.directions.items():
        source, target = names[source_of(direction)], names[target_of(direction)]
        to, back = f"translations to {target}", f"translations back to {source}"
        parts += [(to, outputs.generated), (to, outputs.identity)]
        parts += [(back, outputs.cycle), (back, outputs.noisy_cycle)]
        scores = vars(outputs.scores).values() if outputs.scores else ()
        parts += [(f"scores of the discriminator of {target}", each) for each in scores]
    broken = [part for part, x in parts if x is not None and not np.isfinite(x).all()]
    return list(dict.fromkeys(broken))
