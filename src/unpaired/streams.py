"""Random streams: what training and evaluation draw is a pure function of (seed, stream, index)."""

import numpy as np

__all__ = [
    "CROP",
    "EXAMPLES",
    "FURTHER_CROP",
    "FURTHER_ORDER_A",
    "FURTHER_ORDER_B",
    "FURTHER_POOL_A",
    "FURTHER_POOL_B",
    "INIT",
    "NOISE",
    "ORDER_A",
    "ORDER_B",
    "POOL_A",
    "POOL_B",
    "SAMPLE",
    "STUDY",
    "VALIDATION",
    "stream",
]

# A named stream for each use; docs/concepts.md lists what the index of each counts. Their values
# are part of the recipe: another value gives other weights.
INIT = 1  # initial weights
ORDER_A, ORDER_B = 2, 3  # order of a domain in one pass
CROP = 4  # crops and flips of a step
POOL_A, POOL_B = 5, 6  # plan of an image pool in a step
NOISE = 7  # noise of a probe
VALIDATION = 8  # the validation part
SAMPLE = 9  # images of an evaluation
EXAMPLES = 10  # examples of a report
FURTHER_ORDER_A, FURTHER_ORDER_B = 11, 12  # order of a domain in one pass, for discriminators alone
FURTHER_CROP = 13  # crops and flips of further images of a step
FURTHER_POOL_A, FURTHER_POOL_B = 14, 15  # further images of a pool shown in a step
STUDY = 16  # pairs of a study with people, and the bootstrap of its answers


def stream(seed: int, name: int, index: int) -> np.random.Generator:
    """The random generator of one use (`name` >= 1) at one index (from 0).

    The last entry is never 0: numpy reads the seeds (5), (5, 0) and (5, 0, 0) as one.
    """
    return np.random.default_rng((seed, name, index + 1))
