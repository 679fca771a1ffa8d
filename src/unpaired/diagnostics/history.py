"""State that checks carry from one evaluation to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unpaired.diagnostics.probe import Probe
from unpaired.directions import DOMAINS, Domain, target_of

__all__ = ["EVALUATIONS", "History"]

EVALUATIONS = 5  # that a history holds: 5,000 steps with the default --evaluate-every


@dataclass(frozen=True)
class History:
    """The discriminators' accuracies in the last evaluations, by domain, oldest first.

    It is stored in checkpoints, so that a resumed run warns like one that was never interrupted.
    """

    accuracies: Mapping[Domain, tuple[float, ...]] = field(
        default_factory=lambda: dict.fromkeys(DOMAINS, ())
    )

    def after(self, probe: Probe) -> "History":
        """The history with the evaluation of `probe` added."""
        accuracies = dict(self.accuracies)
        for direction, outputs in probe.directions.items():
            if outputs.scores:
                domain = target_of(direction)
                accuracies[domain] = (*accuracies[domain], outputs.scores.accuracy)[-EVALUATIONS:]
        return History(accuracies)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain data; `from_dict` returns an equal history."""
        return {f"accuracy_{domain}": list(past) for domain, past in self.accuracies.items()}

    @classmethod
    def from_dict(cls, table: Mapping[str, Sequence[float]]) -> "History":
        """Reads what `to_dict` returned; an empty table is an empty history."""
        return cls({domain: tuple(table.get(f"accuracy_{domain}", ())) for domain in DOMAINS})
