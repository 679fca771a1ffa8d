"""Check of a data set: decodes every image once, lists problems and the facts a training needs."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self, get_args

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.console import counted, progress
from unpaired.data.ahead import in_order
from unpaired.data.check.find import find_problems, mixed_bits
from unpaired.data.check.look import FLAT, Look, common_bands, look_at, range_of
from unpaired.data.check.problem import MEANING, Problem, ProblemKind
from unpaired.data.check.range import LITTLE, Range, percent
from unpaired.data.check.values import RasterFacts, resolutions_differ, together
from unpaired.data.layout.domains import DataSet, Split
from unpaired.directions import DOMAINS, Domain
from unpaired.errors import shown

__all__ = ["FLAT", "CheckResult", "FolderFacts", "Problem", "ProblemKind", "check"]

_VALUES = 2**22  # pixels of all rasters together whose values are kept


@dataclass(frozen=True)
class FolderFacts:
    """What the readable images of a folder have in common; all 0 if it has none."""

    images: int
    bands: int  # 1 if all are grey, 3 if some are in colour, else the most frequent number
    depth: int  # 16 bits if any image has 16, else 8
    smallest: tuple[int, int]  # the least height and the least width, upright


@dataclass(frozen=True)
class CheckResult:
    """The problems and the facts of a data set."""

    problems: tuple[Problem, ...]  # the most serious kinds first
    facts: Mapping[Split, FolderFacts]
    fingerprint: str  # SHA-256 over names and contents of the training files, in hexadecimal
    data: DataSet = field(repr=False)
    crop: int | None
    looks: tuple[Look, ...] = field(repr=False)

    @property
    def ranges(self) -> dict[Domain, Range]:
        """The range that the readable images of each domain fill together."""
        good = [look for look in self.looks if look.samples]
        of: dict[Domain, list[Look]] = {d: [x for x in good if x.split[-1] == d] for d in DOMAINS}
        return {domain: range_of(looks) for domain, looks in of.items() if looks}

    @cached_property
    def rasters(self) -> dict[Domain, RasterFacts | None]:
        """What the rasters of each domain have in common; None of a domain without."""
        return {
            domain: together([x.raster for x in self.looks if x.raster and x.split[-1] == domain])
            for domain in DOMAINS
        }

    @property
    def transparency(self) -> list[str]:
        """Lines on what was decided where files mark a band as transparency by a tag alone."""
        asked = self.data.train_a.reading.alpha != "auto"
        lines = []
        for domain, name in zip(DOMAINS, (self.data.name_a, self.data.name_b), strict=True):
            found = [look.marked for look in self.looks if look.marked and look.split[-1] == domain]
            if found and "band" in found:
                why = "as asked" if asked else "its values are no mask; --alpha mask says otherwise"
                taken = f"a band of the image ({why})"
            elif found:
                why = "as asked" if asked else "its values are a mask; --alpha band says otherwise"
                taken = f"transparency ({why})"
            if found:
                files = counted(len(found), "file")
                lines.append(f"{name}: the band that {files} mark as transparency is {taken}")
        return lines

    @property
    def warnings(self) -> list[str]:
        """Lines on domains that use little of their range, and on mixed bits, with what to do."""
        names: dict[Domain, str] = {"a": self.data.name_a, "b": self.data.name_b}
        lines = [r.advice(names[d]) for d, r in self.ranges.items() if r.share < LITTLE]
        for domain, name in names.items():
            looks = [x for x in self.looks if x.split[-1] == domain and x.problem is None]
            if mixed := list(mixed_bits(looks)):
                first = shown(mixed[0].paths[0])
                lines.append(
                    f"{name}: {counted(len(mixed), 'image')} of {len(looks):,} with other bits "
                    f"than the rest ({first}: {mixed[0].reason}): write all images in the same bits"
                )
            if facts := self.rasters[domain]:
                lines += facts.warnings(name)
        if differ := resolutions_differ(self.rasters["a"], self.rasters["b"], list(names.values())):
            lines.append(differ)
        return lines

    def _name(self, domain: Domain) -> str:
        return self.data.name_a if domain == "a" else self.data.name_b

    def marks(self, domain: Domain) -> dict[str, str]:
        """Eight hexadecimal digits of the content and name of each training image, by its name."""
        train = self.data.train_a if domain == "a" else self.data.train_b
        contents = [look.content for look in self.looks if look.split == f"train_{domain}"]
        return {
            name: hashlib.sha256(os.fsencode(name) + content.encode()).hexdigest()[:8]
            for name, content in zip(train.names, contents, strict=True)
        }

    @property
    def stopping(self) -> tuple[Problem, ...]:
        """The problems that prevent a training."""
        return tuple(p for p in self.problems if p.kind in get_args(ProblemKind)[:4])

    def without(self, paths: Iterable[Path]) -> Self:
        """Returns the result of a check without these images; decodes nothing again.

        Raises:
            DataError: no image would be left to train on.
        """
        gone = frozenset(paths)
        looks = [look for look in self.looks if look.path not in gone]
        return self._of(self.data.without(gone), looks, self.crop)

    @classmethod
    def _of(cls, data: DataSet, looks: list[Look], crop: int | None) -> Self:
        good = [look for look in looks if look.problem is None]
        return cls(
            find_problems(data, looks, crop),
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
        for domain, found in self.rasters.items():
            if found:
                first, *rest = found.told()
                lines += [f"rasters of {self._name(domain)}: {first}", *rest]
        shares = [f"{percent(r.share)} by {domain}" for domain, r in self.ranges.items()]
        if shares:
            lines.append(f"range of the bits used: {', '.join(shares)}")
        lines += [*self.data.remarks, *self.transparency, *self.warnings]
        for kind in get_args(ProblemKind):
            group = [problem for problem in self.problems if problem.kind == kind]
            if not group:
                continue
            count = sum(len(problem.paths) for problem in group)
            lines.append(f"\n{kind} ({count:,}): {MEANING[kind]}")
            listed = group if full or len(group) <= 6 else group[:5]
            for problem in listed:
                paths = " = ".join(
                    shown(path.absolute().relative_to(root).as_posix()) for path in problem.paths
                )
                lines.append(f"  {paths}: {problem.reason}")
            if len(group) > len(listed):
                lines.append(f"  and {len(group) - len(listed)} more")
        if not (self.problems or self.warnings):
            lines.append("no problems found")
        return "\n".join(lines)


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
        (split, folder, index)
        for split, folder in dataset.folders.items()
        for index in range(len(folder))
    ]
    looks = []
    most = max(_VALUES // max(len(tasks), 1), 256)
    with progress("checking images", len(tasks)) as meter:
        for look in in_order(
            lambda task: look_at(*task, max_pixels, crop, most),
            tasks,
            threads=threads,
            ahead=4 * threads,
        ):
            looks.append(look)
            meter.advance()
    # A band that is no mask in one image is a mask in none of its domain.
    decided = {look.split[-1] for look in looks if look.marked == "band"}
    for place, (split, folder, index) in enumerate(tasks):
        if looks[place].marked == "mask" and split[-1] in decided:
            as_band = replace(folder, reading=replace(folder.reading, alpha="band"))
            looks[place] = look_at(split, as_band, index, max_pixels, crop, most)
    return CheckResult._of(dataset, looks, crop)


def _facts(looks: list[Look]) -> FolderFacts:
    if not looks:
        return FolderFacts(0, 0, 0, (0, 0))
    heights, widths = zip(*(look.size for look in looks), strict=True)
    depth = max(look.depth for look in looks)
    return FolderFacts(len(looks), common_bands(looks), depth, (min(heights), min(widths)))


def _fingerprint(data: DataSet, looks: list[Look]) -> str:
    digest = hashlib.sha256()
    for split, folder in (("train_a", data.train_a), ("train_b", data.train_b)):
        half = f" {folder.half}" if folder.half else ""
        digest.update(f"{split}{half} {len(folder)}\n".encode())
        contents = [look.content for look in looks if look.split == split]
        for name, content in zip(folder.names, contents, strict=True):
            digest.update(os.fsencode(name) + f"\0{content}\n".encode())
    return digest.hexdigest()
