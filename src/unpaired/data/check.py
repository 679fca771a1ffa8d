"""Check of a data set: decodes every image once, lists problems and the facts a training needs."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.console import counted, progress
from unpaired.data.ahead import in_order
from unpaired.data.domains import DataSet, Split
from unpaired.errors import ImageError, MissingExtra
from unpaired.images.formats import format_of, read_image
from unpaired.images.image import Pixels, over_white

__all__ = ["FLAT", "CheckResult", "FolderFacts", "Problem", "ProblemKind", "check"]

FLAT = 2 / 255
"""Standard deviation, for a range of 1, below which an image is nearly flat, in every band.

Instance norm divides by the deviation of each feature map: if there is next to none, it amplifies
the noise in an image's last bits to full contrast. Two levels of 255 are about the noise of JPEG
in a uniform sky.
"""

ProblemKind = Literal[
    "unreadable",
    "not an image",
    "mixed bands",
    "in train and test",
    "in both domains",
    "duplicate",
    "small",
    "flat",
    "ignored",
]
"""The kinds of problems, the most serious first. The first three stop a training."""

_MEANING: dict[ProblemKind, str] = {
    "unreadable": "cannot be decoded; stops a training",
    "not an image": "the suffix of an image but other content; stops a training",
    "mixed bands": "other bands than the rest of the domain; stops a training",
    "in train and test": "seen in training, so test metrics are too good",
    "in both domains": "the same image in A and in B",
    "duplicate": "more than once in a folder, so weighs more than others",
    "small": "smaller than the crop, so enlarged",
    "flat": "hardly varies, so instance norm amplifies its noise",
    "ignored": "not the suffix of an image, so not read",
}


@dataclass(frozen=True)
class Problem:
    """A problem of one image, or of a group of equal images."""

    kind: ProblemKind
    paths: tuple[Path, ...]
    reason: str


@dataclass(frozen=True)
class FolderFacts:
    """What the readable images of a folder have in common; all 0 if it has none."""

    images: int
    bands: int  # 1 if all are grey, 3 if some are in colour, else the most frequent number
    depth: int  # 16 bits if any image has 16, else 8
    smallest: tuple[int, int]  # the least height and the least width, upright


@dataclass(frozen=True)
class _Look:
    """What is kept of one image file."""

    split: Split
    path: Path
    content: str  # SHA-256 of the file
    problem: Problem | None = None  # why it cannot be decoded
    pixels: bytes = b""  # digest of the pixels
    size: tuple[int, int] = (0, 0)
    bands: int = 0
    depth: int = 0
    deviation: float | None = None  # of a flat image only


@dataclass(frozen=True)
class CheckResult:
    """The problems and the facts of a data set."""

    problems: tuple[Problem, ...]  # the most serious kinds first
    facts: Mapping[Split, FolderFacts]
    fingerprint: str  # SHA-256 over names and contents of the training files, in hexadecimal
    data: DataSet = field(repr=False)
    crop: int | None
    looks: tuple[_Look, ...] = field(repr=False)

    @property
    def stopping(self) -> tuple[Problem, ...]:
        """The problems that prevent a training."""
        return tuple(p for p in self.problems if p.kind in get_args(ProblemKind)[:3])

    def without(self, paths: Iterable[Path]) -> Self:
        """Returns the result of a check without these images; decodes nothing again.

        Raises:
            DataError: no image would be left to train on.
        """
        gone = frozenset(paths)
        looks = [look for look in self.looks if look.path not in gone]
        return self._of(self.data.without(gone), looks, self.crop)

    @classmethod
    def _of(cls, data: DataSet, looks: list[_Look], crop: int | None) -> Self:
        good = [look for look in looks if look.problem is None]
        problems = [
            *(look.problem for look in looks if look.problem is not None),
            *_mixed([look for look in good if look.split.endswith("a")]),
            *_mixed([look for look in good if look.split.endswith("b")]),
            *_repeated(good),
            *_small_or_flat(good, crop),
            *(
                Problem("ignored", (folder.root / name,), "not the suffix of an image")
                for folder in data.folders.values()
                for name in folder.others
            ),
        ]
        return cls(
            tuple(sorted(problems, key=lambda problem: get_args(ProblemKind).index(problem.kind))),
            {split: _facts([x for x in good if x.split == split]) for split in get_args(Split)},
            _fingerprint(data, looks),
            data,
            crop,
            tuple(looks),
        )

    def report(self, *, full: bool = False) -> str:
        """Returns the result as text, by kind; long lists are cut to five lines unless `full`."""
        root = Path(os.path.commonpath([f.root.absolute() for f in self.data.folders.values()]))
        lines = []
        for split, facts in self.facts.items():
            if facts.images:
                height, width = facts.smallest
                lines.append(
                    f"{split.replace('_', ' ')}: {counted(facts.images, 'image')} of "
                    f"{counted(facts.bands, 'band')} and {facts.depth} bits, at least {width} "
                    f"pixels wide and {height} high"
                )
        for kind in get_args(ProblemKind):
            group = [problem for problem in self.problems if problem.kind == kind]
            if not group:
                continue
            count = sum(len(problem.paths) for problem in group)
            lines.append(f"\n{kind} ({count:,}): {_MEANING[kind]}")
            shown = group if full or len(group) <= 6 else group[:5]
            for problem in shown:
                paths = " = ".join(_printable(path, root) for path in problem.paths)
                lines.append(f"  {paths}: {problem.reason}")
            if len(group) > len(shown):
                lines.append(f"  and {len(group) - len(shown)} more")
        return "\n".join(lines if self.problems else [*lines, "no problems found"])


def check(
    dataset: DataSet,
    *,
    crop: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    threads: int = 2,
) -> CheckResult:
    """Decodes every image of `dataset` once and reports problems and facts.

    Two files are the same image if their pixels are, over white and upright. The fingerprint
    covers the relative names and the bytes of the training files; it does not depend on the
    location of the folders, on times, or on the version of a decoder.

    Args:
        dataset: a data set from `find_data`.
        crop: side of the training crop in pixels; None omits the kind "small".
        max_pixels: images with more pixels are not decoded and count as unreadable.
        threads: number of images decoded at the same time.
    """
    tasks = [
        (split, folder.path(index))
        for split, folder in dataset.folders.items()
        for index in range(len(folder))
    ]
    looks = []
    with progress("checking images", len(tasks)) as shown:
        for look in in_order(
            lambda task: _look_at(*task, max_pixels), tasks, threads=threads, ahead=4 * threads
        ):
            looks.append(look)
            shown.advance()
    return CheckResult._of(dataset, looks, crop)


def _look_at(split: Split, path: Path, max_pixels: int) -> _Look:
    content, start = "", b""
    try:
        with open(path, "rb") as file:
            start = file.read(16)
            file.seek(0)
            content = hashlib.file_digest(file, "sha256").hexdigest()
        image = read_image(path, max_pixels=max_pixels)
    except (ImageError, MissingExtra, OSError) as error:
        known = isinstance(error, OSError) or format_of(start) is not None
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        kind: ProblemKind = "unreadable" if known else "not an image"
        problem = Problem(kind, (path,), reason.removeprefix(f"{path}: "))
        return _Look(split, path, content, problem)
    pixels = over_white(image)
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    facts = (image.size, image.bands, image.depth, _deviation_if_flat(pixels))
    return _Look(split, path, content, None, digest.digest(), *facts)


def _deviation_if_flat(pixels: Pixels) -> float | None:
    """Returns the greatest standard deviation of a band, for a range of 1, if below `FLAT`."""
    scale = np.iinfo(pixels.dtype).max
    # The squared deviations of every 16th sample are part of the sum over all samples: if that
    # part alone makes the mean large enough, the rest need not be computed.
    if pixels[::4, ::4].std(axis=(0, 1)).max() >= 4 * FLAT * scale:
        return None
    deviation = float(pixels.std(axis=(0, 1)).max() / scale)
    return deviation if deviation < FLAT else None


def _facts(looks: list[_Look]) -> FolderFacts:
    if not looks:
        return FolderFacts(0, 0, 0, (0, 0))
    heights, widths = zip(*(look.size for look in looks), strict=True)
    depth = max(look.depth for look in looks)
    return FolderFacts(len(looks), _common_bands(looks), depth, (min(heights), min(widths)))


def _common_bands(looks: Iterable[_Look]) -> int:
    """Returns the most frequent number of bands; grey and RGB images together are RGB."""
    counts = Counter(look.bands for look in looks)
    most = counts.most_common(1)[0][0]
    return max(band for band in counts if band in (1, 3)) if most in (1, 3) else most


def _mixed(looks: list[_Look]) -> Iterator[Problem]:
    """Finds images of one domain whose bands cannot be converted to those of the others."""
    common = _common_bands(looks) if looks else 0
    for look in looks:
        if look.bands != common and {look.bands, common} != {1, 3}:
            reason = f"{look.bands} bands, while most have {common}"
            yield Problem("mixed bands", (look.path,), reason)


def _repeated(looks: list[_Look]) -> Iterator[Problem]:
    """Finds groups of equal images; each has the most serious kind that applies."""
    groups: dict[bytes, list[_Look]] = {}
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


def _small_or_flat(looks: list[_Look], crop: int | None) -> Iterator[Problem]:
    for look in looks:
        if crop is not None and min(look.size) < crop:
            height, width = look.size
            yield Problem("small", (look.path,), f"{width} x {height}, the crop is {crop}")
        if look.deviation is not None:
            reason = f"standard deviation {255 * look.deviation:.1f} of 255"
            yield Problem("flat", (look.path,), reason)


def _fingerprint(data: DataSet, looks: list[_Look]) -> str:
    digest = hashlib.sha256()
    for split, folder in (("train_a", data.train_a), ("train_b", data.train_b)):
        digest.update(f"{split} {len(folder)}\n".encode())
        contents = [look.content for look in looks if look.split == split]
        for name, content in zip(folder.names, contents, strict=True):
            digest.update(os.fsencode(name) + f"\0{content}\n".encode())
    return digest.hexdigest()


def _printable(path: Path, root: Path) -> str:
    """Returns the path below `root`; names that are not valid text, or break lines, are escaped."""
    text = path.absolute().relative_to(root).as_posix()
    text = text.encode(errors="backslashreplace").decode()
    return text if text.isprintable() else ascii(text)
