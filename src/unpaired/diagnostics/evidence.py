"""The input of the checks of one direction, and what several of them share."""

from dataclasses import dataclass

from unpaired.diagnostics.probe import DirectionProbe
from unpaired.engines.architecture import Start
from unpaired.engines.seam import Images

__all__ = ["FLAT", "NO_DISCRIMINATOR", "Evidence"]

FLAT = 0.1  # level; smaller variances are below the 1e-5 that instance norm adds
NO_DISCRIMINATOR = "this needs the discriminators, which a run folder has and a model alone has not"


@dataclass(frozen=True)
class Evidence:
    """One direction of a probe, from the domain named `source` to the one named `target`.

    `where` is the direction as messages name it; `accuracies` are those of the target's
    discriminator in the last evaluations, oldest first. `start` is that of the generators, and
    `beginning` whether this is the first evaluation of a training that is to go on.
    """

    where: str
    source: str
    target: str
    real: Images
    real_target: Images
    outputs: DirectionProbe
    accuracies: tuple[float, ...]
    start: Start = "noise"
    beginning: bool = False
