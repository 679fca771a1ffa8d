"""Runs all checks on a probe."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from unpaired.diagnostics.checks import (
    checkerboard,
    collapse,
    discriminator_wins,
    divergence,
    does_nothing,
    flat_images,
    hidden_cycle,
    inversion,
    memorises,
)
from unpaired.diagnostics.evidence import Evidence
from unpaired.diagnostics.finding import Finding, unchecked
from unpaired.diagnostics.history import History
from unpaired.diagnostics.probe import Probe
from unpaired.directions import DIRECTIONS, DOMAINS, Domain, source_of, target_of
from unpaired.engines.architecture import Start

__all__ = ["CHECKS", "detect"]


class Check(Protocol):
    """A module of `unpaired.diagnostics.checks` that looks at one direction."""

    NAME: str

    def check(self, seen: Evidence) -> Finding: ...


# A new check is a file in `checks` and its line here.
CHECKS: tuple[Check, ...] = (
    inversion,
    hidden_cycle,
    collapse,
    does_nothing,
    discriminator_wins,
    memorises,
    checkerboard,
)


def detect(
    probe: Probe,
    history: History,
    names: Mapping[Domain, str],
    *,
    files: Mapping[Domain, Sequence[str]] | None = None,
    lines: Sequence[Mapping[str, object]] = (),
    start: Start = "noise",
    beginning: bool = False,
) -> list[Finding]:
    """All findings of one evaluation, whether they fired or not.

    Args:
        probe: as `take_probe` returned it.
        history: of all evaluations, this one included (`History.after`).
        names: of the domains, for the messages.
        files: file names of the real images, for the messages.
        lines: of metrics.jsonl, oldest first.
        start: of the generators, as the recipe has it.
        beginning: whether this is the first evaluation of a training that is to go on.
    """
    broken = divergence.not_finite(probe, names)
    findings = [divergence.check(broken, ", ".join(names[domain] for domain in DOMAINS), lines)]
    for check in CHECKS:
        for direction in DIRECTIONS:
            source, target = source_of(direction), target_of(direction)
            where = f"{names[source]} -> {names[target]}"
            outputs = probe.directions.get(direction)
            if broken:
                findings.append(unchecked(check.NAME, where, "there are NaN or infinite values"))
            elif outputs is None:
                reason = f"the model does not translate {where}"
                findings.append(unchecked(check.NAME, where, reason))
            else:
                called = names[source], names[target]
                real = probe.real[source], probe.real[target]
                past = history.accuracies[target]
                seen = Evidence(where, *called, *real, outputs, past, start, beginning)
                findings.append(check.check(seen))
    for domain in DOMAINS:
        known = (files or {}).get(domain, ())
        findings.append(flat_images.check(names[domain], probe.real[domain], known))
    return findings
