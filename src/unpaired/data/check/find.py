"""The problems of a data set, found in looks at its images."""

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from unpaired.console import counted
from unpaired.data.check.look import Look, common_bands, range_of
from unpaired.data.check.problem import Problem, ProblemKind
from unpaired.data.check.range import percent
from unpaired.data.layout.domains import DataSet, Split
from unpaired.directions import DOMAINS

__all__ = ["find_problems", "mixed_bits"]


def find_problems(data: DataSet, looks: list[Look], crop: int | None) -> tuple[Problem, ...]:
    """The problems of a data set, the most serious kinds first; `crop` is that of a training."""
    good = [look for look in looks if look.problem is None]
    domains = [[look for look in good if look.split[-1] == domain] for domain in DOMAINS]
    bands = [problem for domain in domains for problem in _mixed_bands(domain)]
    bits = [problem for domain in domains for problem in mixed_bits(domain)]
    others = {problem.paths for problem in bands}
    found = [
        *(look.problem for look in looks if look.problem is not None),
        *bands,
        *(problem for domain in domains for problem in _mixed_samples(domain)),
        *(problem for problem in bits if problem.paths not in others),
        *_repeated(good),
        *_small_or_flat(good, crop),
        *(
            Problem("first frame", (look.path,), f"the first of {look.frames:,} frames")
            for look in good
            if look.frames > 1
        ),
        *(
            Problem("ignored", (folder.root / name,), "not the suffix of an image")
            for folder in data.folders.values()
            for name in folder.others
        ),
    ]
    order = get_args(ProblemKind).index
    # Where A and B are halves of the same files, some problems are those of both.
    return tuple(sorted(dict.fromkeys(found), key=lambda problem: order(problem.kind)))


def _mixed_bands(looks: list[Look]) -> Iterator[Problem]:
    """Finds images of one domain whose bands cannot be converted to those of the others."""
    common = common_bands(looks) if looks else 0
    for look in looks:
        if look.bands != common and {look.bands, common} != {1, 3}:
            reason = f"{counted(look.bands, 'band')}, while most have {common}"
            yield Problem("mixed bands", (look.path,), reason)


def _mixed_samples(looks: list[Look]) -> Iterator[Problem]:
    """Finds images among rasters of one domain whose samples are of another type than most."""
    kinds = [look.raster.dtype if look.raster else f"uint{look.depth}" for look in looks]
    if not any(look.raster for look in looks):
        return
    common = Counter(kinds).most_common(1)[0][0]
    for look, kind in zip(looks, kinds, strict=True):
        if kind != common:
            yield Problem("mixed bands", (look.path,), f"{kind} samples, while most have {common}")


def mixed_bits(looks: list[Look]) -> Iterator[Problem]:
    """Finds images of one domain that have other bits than most; each fills its own range."""
    looks = [look for look in looks if look.raster is None]
    common = Counter(look.depth for look in looks).most_common(1)[0][0] if looks else 0
    for look in looks:
        if look.depth != common:
            filled = percent(range_of([look]).share)
            reason = f"{look.depth} bits, while most have {common}; fills {filled} of its range"
            yield Problem("mixed bits", (look.path,), reason)


def _repeated(looks: list[Look]) -> Iterator[Problem]:
    """Finds groups of equal images; each has the most serious kind that applies."""
    groups: dict[bytes, list[Look]] = {}
    for look in looks:
        groups.setdefault(look.pixels, []).append(look)
    for group in groups.values():
        if len(group) > 1:
            splits = sorted({look.split for look in group}, key=get_args(Split).index)
            kind: ProblemKind = "duplicate"
            if len({split[-1] for split in splits}) > 1:
                kind = "in both domains"
            if len({split[:-2] for split in splits}) > 1:
                kind = "in train and test"
            reason = f"the same image in {' and '.join(splits).replace('_', ' ')}"
            yield Problem(kind, tuple(look.path for look in group), reason)


def _small_or_flat(looks: list[Look], crop: int | None) -> Iterator[Problem]:
    for look in looks:
        if crop is not None and min(look.size) < crop:
            height, width = look.size
            yield Problem("small", (look.path,), f"{width} x {height}, the crop is {crop}")
        if look.deviation is not None:
            reason = f"standard deviation {255 * look.deviation:.1f} of 255"
            yield Problem("flat", (look.path,), reason)
