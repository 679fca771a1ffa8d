"""A discriminator that wins: its gradient no longer teaches the generator."""

from unpaired.diagnostics.evidence import NO_DISCRIMINATOR, Evidence
from unpaired.diagnostics.finding import Finding, finding, unchecked
from unpaired.diagnostics.history import EVALUATIONS

__all__ = ["LIMIT", "NAME", "check"]

NAME = "discriminator wins"
LIMIT = 0.95  # of patches


def check(seen: Evidence) -> Finding:
    """Measures the lowest of its accuracies in the last five evaluations."""
    if not seen.accuracies:
        return unchecked(NAME, seen.target, NO_DISCRIMINATOR)
    value = min(seen.accuracies)
    fired = value > LIMIT and len(seen.accuracies) >= EVALUATIONS
    judge = f"the discriminator of {seen.target}"
    good = f"{judge} tells real from generated in {seen.accuracies[-1]:.0%} of patches"
    bad = (
        f"{judge} has told real from generated in over {LIMIT:.0%} of patches for {EVALUATIONS} "
        "evaluations: the generator no longer learns from it"
    )
    advice = "train on more images, or start again with a lower --discriminator-rate"
    return finding(NAME, seen.target, value, LIMIT, fired, good, bad, advice)
