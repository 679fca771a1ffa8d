"""What the answers of a study say: how often people were fooled, with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unpaired.console import counted
from unpaired.directions import DIRECTIONS, Direction
from unpaired.evaluation.options import Options
from unpaired.streams import STUDY, stream
from unpaired.study.answers import Answers, read_answers

__all__ = ["Fooled", "as_lines", "bootstrap", "score"]

RESAMPLES = 10_000
USEFUL_PARTICIPANTS, USEFUL_ANSWERS = 10, 400
PAPER = (("map", "photo", 26.8, 2.8), ("photo", "map", 23.2, 3.4))
"""Shares in percent that CycleGAN fooled at 256 px, with their deviations: Zhu, Park, Isola, Efros,
"Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", 2017, table 1."""


@dataclass(frozen=True)
class Fooled:
    """One direction: the share of answers that took the generated image for the real one.

    `deviation`, `low` and `high`: standard deviation and 95 % interval of the share, by a bootstrap
    over participants; None of one participant. `warnings` say why not to rely on it.
    """

    direction: Direction
    source: str
    target: str
    participants: int
    answers: int
    share: float
    deviation: float | None
    low: float | None
    high: float | None
    warnings: tuple[str, ...] = ()


def score(paths: Sequence[str | Path], *, seed: int = 0) -> list[Fooled]:
    """The share fooled in each direction, from files that the page of a study saved.

    Answers of practice trials do not count.

    Raises:
        ConfigError: a seed out of its range.
        DataError: none is given, one is no file of answers, or they are of several studies.
    """
    Options(seed=seed)  # within its range
    people = read_answers(paths)
    return [
        _fooled(direction, [each for each in people if direction in each.counts], seed)
        for direction in DIRECTIONS
        if any(direction in each.counts for each in people)
    ]


def bootstrap(
    fooled: Sequence[int], answers: Sequence[int], *, seed: int = 0, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Shares fooled of so many samples of participants, drawn with replacement.

    Answers of one person are not independent: resampling answers would give too small an interval.

    Args:
        fooled, answers: of each participant.
    """
    rng = stream(seed, STUDY, 2)
    people = len(answers)
    times = rng.multinomial(people, np.full(people, 1 / people), size=resamples)
    shares: NDArray[np.float64] = (times @ np.asarray(fooled)) / (times @ np.asarray(answers))
    return shares


def as_lines(results: Sequence[Fooled]) -> list[str]:
    """The result in words, beside that of the paper."""
    lines = []
    for each in results:
        of = f"{counted(each.participants, 'participant')}, {counted(each.answers, 'answer')}"
        share = f"fooled {100 * each.share:.1f} %"
        if each.low is not None and each.high is not None and each.deviation is not None:
            share += (
                f" ± {100 * each.deviation:.1f}, 95 % interval {100 * each.low:.1f} to "
                f"{100 * each.high:.1f}"
            )
        lines.append(f"{each.source} to {each.target}: {share} ({of})")
        lines += [f"  warning: {warning}" for warning in each.warnings]
    paper = ", ".join(f"{a} to {b} {share} % ± {spread}" for a, b, share, spread in PAPER)
    return [
        *lines,
        f"CycleGAN's paper, 256 px, 25 participants with 40 answers each: {paper}",
        "50 % is chance: real and generated cannot be told apart. ± is one standard deviation.",
    ]


def _fooled(direction: Direction, people: Sequence[Answers], seed: int) -> Fooled:
    counts = [each.counts[direction] for each in people]
    fooled, answers = [c.fooled for c in counts], [c.answers for c in counts]
    total = sum(answers)
    warnings = []
    if len(people) < USEFUL_PARTICIPANTS or total < USEFUL_ANSWERS:
        warnings.append(
            f"{counted(len(people), 'participant')} and {counted(total, 'answer')} are few: from "
            f"{USEFUL_PARTICIPANTS} and {USEFUL_ANSWERS} on the interval is of use"
        )
    warnings += [
        f"{each.session} always answered the same: was it read?"
        for each, count in zip(people, counts, strict=True)
        if count.answers >= USEFUL_PARTICIPANTS and count.first in (0, count.answers)
    ]
    source, target = people[0].names[direction]
    deviation = low = high = None
    if len(people) > 1:
        shares = bootstrap(fooled, answers, seed=seed)
        deviation = float(shares.std())
        low, high = (float(value) for value in np.quantile(shares, (0.025, 0.975)))
    return Fooled(
        direction, source, target, len(people), total, sum(fooled) / total, deviation, low, high,
        tuple(warnings),
    )  # fmt: skip
