"""The baselines of an evaluation on images on disk: those that bands, depth and data allow."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unpaired.directions import Direction, Domain
from unpaired.evaluation.baselines import (
    BASELINES,
    Baseline,
    apply_colour_table,
    fit_colour_table,
)
from unpaired.evaluation.testset import Samples, Squares, TestSet, shelf
from unpaired.images.image import from_signed, to_signed
from unpaired.report.report import MethodKind

__all__ = ["RIVALS", "Rival", "ends", "known_to_baselines", "rivals"]

PIXELS = 2**24  # of images that baselines learn from or make at once: some 200 MB

RIVALS = tuple(baseline.name for baseline in BASELINES)


@dataclass(frozen=True, eq=False)
class Rival:
    """A baseline and what it makes of the test images."""

    name: str
    kind: MethodKind
    note: str
    made: Squares


def ends(direction: Direction) -> tuple[Domain, Domain]:
    """The source and the target domain."""
    return ("a", "b") if direction == "ab" else ("b", "a")


def known_to_baselines(tests: TestSet, target: Domain) -> Squares | None:
    """The training images of the target domain that baselines learn from; None: there are none.

    At most as many as memory should hold together, which matters for large ones alone.
    """
    known = tests.train.get(target)
    return None if known is None else known.first(_at_once(known))


def rivals(tests: TestSet, direction: Direction) -> Iterator[Rival]:
    """The baselines that can be had, one after the other, in the order of `BASELINES`.

    Untouched images need equal bands. Histogram matching works on 8 bits and equal bands;
    Reinhard's transfer and the oracle on RGB of 8 bits; the mean image on all.
    """
    source, target = ends(direction)
    sources, truth = tests.test[source], tests.test[target]
    known = known_to_baselines(tests, target)
    alike = sources.samples.shape[-1] == truth.samples.shape[-1]
    small = alike and sources.samples.dtype == truth.samples.dtype == np.uint8
    rgb = small and truth.samples.shape[-1] == 3
    for baseline in BASELINES:
        name = baseline.name
        if name == "identity":
            if alike:
                yield Rival(name, "untouched", "", _untouched(sources, truth))
        elif baseline.uses_pairs:
            if rgb and tests.paired:
                made = _oracle(sources, truth)
                yield Rival(name, "oracle", "uses pairs, 32 levels a band", made)
        elif known is not None:
            if name.startswith("mean image"):
                yield Rival(name, "baseline", "", _mean(sources, known))
            elif rgb or (small and name == "histogram matching"):
                yield Rival(name, "baseline", "", _simple(baseline, sources, known))


def _untouched(sources: Squares, truth: Squares) -> Squares:
    """The sources, in the depth of the target domain."""
    if sources.samples.dtype == truth.samples.dtype:
        return sources
    depth: Literal[8, 16] = 8 if truth.samples.dtype == np.uint8 else 16
    return _mapped(sources.chunks(), sources, truth, lambda x: from_signed(to_signed(x), depth))


def _simple(baseline: Baseline, sources: Squares, known: Squares) -> Squares:
    images, step = np.asarray(known.samples), _at_once(sources)
    # Many at once, since each time the baseline looks at all of `images` anew.
    parts = (sources.samples[start : start + step] for start in range(0, len(sources), step))
    return _mapped(parts, sources, known, lambda x: baseline.translate(np.asarray(x), images))


def _mean(sources: Squares, known: Squares) -> Squares:
    """The mean of the target domain's images for every source, whatever their bands and depth."""
    mean = np.rint(np.mean(known.samples, axis=0, dtype=np.float64)).astype(known.samples.dtype)
    samples = shelf((len(sources), *mean.shape), deep=mean.dtype == np.uint16)
    samples[:] = mean
    return Squares(samples, sources.names)


def _oracle(sources: Squares, truth: Squares) -> Squares:
    """`baselines.colour_table`, a few images at a time."""
    table = fit_colour_table(zip(sources.chunks(), truth.chunks(), strict=True))
    return _mapped(sources.chunks(), sources, truth, lambda x: apply_colour_table(table, x))


def _mapped(
    parts: Iterable[Samples],
    sources: Squares,
    target: Squares,
    translate: Callable[[Samples], Samples],
) -> Squares:
    """What `translate` makes of the sources, which `parts` are; in the depth of `target`."""
    samples = shelf(sources.samples.shape, deep=target.samples.dtype == np.uint16)
    done = 0
    for part in parts:
        samples[done : done + len(part)] = translate(part)
        done += len(part)
    return Squares(samples, sources.names)


def _at_once(squares: Squares) -> int:
    side = int(squares.samples.shape[1])
    return max(1, PIXELS // side**2)
