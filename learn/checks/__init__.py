"""The checks of the exercises, one file a lesson; `compare` has what they share.

A check calls the reader's answer with small inputs, and compares what it gives with the right
result and with the results of common wrong answers, each of which has its hint.
"""

from collections.abc import Callable

from learn.checks import cycles, failures, game, judging, patches
from learn.checks.compare import Wrong

__all__ = ["CHECKS", "Wrong"]

CHECKS: dict[str, Callable[[object], None]] = {
    check.__name__: check
    for lesson in (game, patches, cycles, failures, judging)
    for check in lesson.EXERCISES
}
