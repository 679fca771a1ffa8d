"""The data of a training: checked, its facts for the recipe, and the validation part."""

import contextlib
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unpaired.checkpoint import checkpoints
from unpaired.config import MOST_STEPS, Recipe
from unpaired.config.domain import parse_scaling
from unpaired.console import counted, log
from unpaired.data.check.check import CheckResult, check
from unpaired.data.check.values import fitted
from unpaired.data.layout.domains import DataSet, Folder
from unpaired.directions import DOMAINS
from unpaired.errors import ConfigError, DataError, shown
from unpaired.images.raster.geo import Window
from unpaired.storage import read_regular, write_text
from unpaired.streams import VALIDATION, stream

__all__ = ["DataFacts", "TrainingData", "kept_of", "prepare", "set_aside"]

FEW = 4  # training images of a domain, below which a training can hardly learn anything
_MOST_CACHED = 100_000_000  # bytes of data.json, which lists omitted images
_ANY = Recipe()
_RENAMED = {"pictures": "images", "left_out": "omitted"}  # names of version 0.1 in data.json


Parts = Mapping[str, Mapping[str, Sequence[Sequence[int]]]]
"""By split and name: top, left, height, width of the parts of a file that crops are drawn in."""


@dataclass(frozen=True)
class DataFacts:
    """The facts of a data set that its training's recipe records, and the omitted images."""

    name_a: str
    name_b: str
    bands_a: int
    bands_b: int
    depth_a: int
    depth_b: int
    images: int  # of the larger domain
    data_fingerprint: str
    omitted: tuple[str, ...]  # paths, by --skip-unreadable
    notes: tuple[str, ...] = ()  # lines for the user, told at every start
    difference: str = ""  # from the images that the run was created with, where that is known
    rasters: Mapping[str, str | float] = field(default_factory=dict)  # fields of the recipe
    crops: str = "resize"
    parts: Parts = field(default_factory=dict)  # of rasters, where crops are native

    def settled(self, batch_size: int, validation: float = 0.0) -> dict[str, object]:
        """The recipe's fields that the data settle; `validation` is the share set aside."""
        fields = asdict(self)
        for name in ("images", "omitted", "notes", "difference", "rasters", "parts"):
            del fields[name]
        trained_on = self.images - _validation_size(self.images, validation)
        return fields | dict(self.rasters) | {"epoch_steps": math.ceil(trained_on / batch_size)}


@dataclass(frozen=True)
class TrainingData:
    """A checked data set, without the omitted images, and its facts."""

    data: DataSet
    facts: DataFacts


def prepare(
    data: DataSet,
    folder: Path,
    *,
    image_size: int,
    skip_unreadable: bool,
    max_pixels: int,
    recipe: Recipe = _ANY,
) -> TrainingData:
    """Checks the data of the run in `folder`, unless the same files were checked before.

    The result is cached in `data.json`, for as long as no file changes its name, size or time.
    A run that was created without unreadable images (`skip_unreadable`) omits them when it is
    resumed, too. `recipe` says how rasters are scaled and cropped.

    Raises:
        DataError: unreadable images (lists them), or all images are smaller than the crop.
    """
    cache = folder / "data.json"
    listing = _listing(data, image_size, max_pixels)
    asked = [recipe.crops, recipe.invalid, recipe.scaling_a, recipe.scaling_b]
    facts = _cached(cache, listing, asked)
    if facts and facts.omitted and not (skip_unreadable or checkpoints(folder)):
        facts = None
    if facts is None:
        result = check(data, crop=image_size, max_pixels=max_pixels)
        facts = _facts(result, image_size, skip_unreadable or _skipped(cache, folder), recipe)
        record = _record(cache) if checkpoints(folder) else _record_of(result)
        facts = replace(facts, difference=_difference(record, result))
        scalings = [facts.rasters.get(f"scaling_{d}", "") for d in DOMAINS]
        settled = [facts.crops, recipe.invalid, *scalings]
        known = {"how": [asked, settled], "listing": listing, "facts": asdict(facts), "run": record}
        write_text(cache, json.dumps(known))
    for line in (*data.remarks, *facts.notes):
        log.info(line)
    if facts.omitted:
        listed = "\n".join(f"  {shown(path)}" for path in facts.omitted)
        log.info(f"omitted as asked, {counted(len(facts.omitted), 'image')}:\n{listed}")
    kept = kept_of(data, facts)
    for folder_of_name in (kept.train_a, kept.train_b):
        if not folder_of_name:
            raise DataError(
                f"{shown(folder_of_name.root)}: no part of its rasters has enough data for a crop "
                f"of {image_size} pixels: give a larger --invalid or a smaller --image-size"
            )
    for name, folder_of_name in ((facts.name_a, kept.train_a), (facts.name_b, kept.train_b)):
        if len(folder_of_name) < FEW:
            log.warning(
                f"only {counted(len(folder_of_name), 'image')} of {name} to train on: the networks "
                "learn so few by heart; hundreds are usual"
            )
    return TrainingData(kept, facts)


def kept_of(data: DataSet, facts: DataFacts) -> DataSet:
    """What a data set of these facts is trained on: without omitted images, rasters in parts."""
    parts = {
        split: {name: [Window(*each) for each in found] for name, found in of_split.items()}
        for split, of_split in facts.parts.items()
    }
    return data.without(set(map(Path, facts.omitted))).in_parts(parts)


def set_aside(
    data: DataSet, share: float, seed: int
) -> tuple[DataSet, tuple[Folder, Folder] | None]:
    """Splits a data set into the part to train on and the validation part of A and of B.

    The validation part is `share` of the training images of each domain, rounded, at least 2,
    drawn at random without replacement, independently for each domain; None where `share` is 0.
    The test set stays as it is.

    Raises:
        DataError: fewer than 2 images of a domain would remain to train on.
    """
    if not share:
        return data, None

    def split(folder: Folder, index: int) -> tuple[Folder, Folder]:
        count = _validation_size(len(folder), share)
        if len(folder) - count < 2:
            raise DataError(
                f"{shown(folder.root)}: {counted(len(folder), 'image')}, too few to set some "
                "aside for choosing the best checkpoint: give --validation 0, or 4 images or more"
            )
        drawn = stream(seed, VALIDATION, index).permutation(len(folder))[:count]
        aside = set(drawn.tolist())
        kept = set(range(len(folder))) - aside
        return folder.only(kept), folder.only(aside)

    train_a, part_a = split(data.train_a, 0)
    train_b, part_b = split(data.train_b, 1)
    return replace(data, train_a=train_a, train_b=train_b), (part_a, part_b)


def _validation_size(images: int, share: float) -> int:
    """The number of images to set aside."""
    return min(max(2, round(share * images)), images) if share else 0


def _facts(
    result: CheckResult, image_size: int, skip_unreadable: bool, recipe: Recipe
) -> DataFacts:
    stopping = result.stopping
    if stopping and not skip_unreadable:
        listed = "\n".join(
            f"  {shown(path)}: {problem.reason}" for problem in stopping for path in problem.paths
        )
        raise DataError(
            f"{counted(len(stopping), 'image')} cannot be trained on: fix or remove them, "
            f"or give --skip-unreadable\n{listed}"
        )
    omitted = tuple(path for problem in stopping for path in problem.paths)
    if omitted:
        result = result.without(omitted)
    data, facts_a, facts_b = result.data, result.facts["train_a"], result.facts["train_b"]
    small = {path for item in result.problems if item.kind == "small" for path in item.paths}
    for name, train, facts in (
        (data.name_a, data.train_a, facts_a),
        (data.name_b, data.train_b, facts_b),
    ):
        paths = {train.path(index) for index in range(len(train))}
        if paths and paths <= small:
            side = max(min(facts.smallest) // 4 * 4, 8)
            every = f"all {len(paths):,} images of {name} are"
            if len(paths) == 1:
                every = f"the one image of {name} is"
            raise DataError(
                f"{shown(train.root)}: {every} smaller than the crop of {image_size} pixels: "
                f"give --load-size {side} --image-size {side}, "
                "or larger images"
            )
    counts: Counter[str] = Counter()
    for problem in result.problems:
        counts[problem.kind] += len(problem.paths)
    if counts:
        listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        log.info(f"images checked ({listed}): `unpaired data check` shows the details")
    rasters, lines = _settled_rasters(result, recipe)
    crops, parts = _native_parts(result, image_size, recipe)
    images = []
    for domain, train in zip(DOMAINS, (data.train_a, data.train_b), strict=True):
        of_names = parts.get(f"train_{domain}", {})
        images.append(sum(len(of_names[n]) if n in of_names else 1 for n in train.names))
    return DataFacts(
        name_a=data.name_a,
        name_b=data.name_b,
        bands_a=facts_a.bands,
        bands_b=facts_b.bands,
        depth_a=facts_a.depth,
        depth_b=facts_b.depth,
        images=max(*images, 1),
        data_fingerprint=result.fingerprint,
        omitted=tuple(map(str, omitted)),
        notes=(*lines, *result.transparency, *result.warnings),
        rasters=rasters,
        crops=crops,
        parts=parts,
    )


def _settled_rasters(
    result: CheckResult, recipe: Recipe
) -> tuple[dict[str, str | float], list[str]]:
    """The fields of the recipe that the rasters of both domains settle, and lines on them."""
    fields: dict[str, str | float] = {}
    lines: list[str] = []
    for domain, facts in result.rasters.items():
        name = result.data.name_a if domain == "a" else result.data.name_b
        asked = getattr(recipe, f"scaling_{domain}")
        if facts is None or (facts.dtype == "uint16" and not facts.placed and asked == "auto"):
            curve, ends = parse_scaling(asked)
            if facts is None and curve and not ends:
                raise ConfigError(
                    f"--scaling-{domain} {asked}: percentiles are of rasters, and {name} has none: "
                    "give the two ends, such as 0:3000"
                )
            fields[f"scaling_{domain}"] = "full" if asked == "auto" else asked
            continue
        scaling, told = fitted(facts, asked, name)
        lines += told
        settled = facts.settled(scaling)
        fields |= {f"{fact}_{domain}": value for fact, value in settled.items()}
    return fields, lines


def _native_parts(
    result: CheckResult, crop: int, recipe: Recipe
) -> tuple[str, dict[str, dict[str, list[list[int]]]]]:
    """How crops are made, and the parts of rasters they are drawn in; those with data enough."""
    rasters = [look for look in result.looks if look.raster]
    crops = recipe.crops
    if crops == "auto":
        crops = "native" if rasters else "resize"
    parts: dict[str, dict[str, list[list[int]]]] = {}
    for look in rasters if crops == "native" else ():
        assert look.raster is not None
        if min(look.size) < crop:
            continue
        root = result.data.folders[look.split].root
        name = look.path.relative_to(root).as_posix()
        parts.setdefault(look.split, {})[name] = [
            [cell.top, cell.left, cell.height, cell.width]
            for cell, invalid in look.raster.cells
            if invalid <= recipe.invalid and min(cell.size) >= crop
        ]
    return crops, parts


def _listing(data: DataSet, image_size: int, max_pixels: int) -> str:
    """A hash of the names, sizes and times of all files, to detect changes."""
    readings = sorted({str(folder.reading) for folder in (data.train_a, data.train_b)})
    total = hashlib.sha256(f"{image_size} {max_pixels} {' '.join(readings)}".encode())
    for folder in data.folders.values():
        for name in folder.names:
            row: list[object] = [str(folder.root.resolve()), name]
            row += [folder.half] if folder.half else []
            with contextlib.suppress(OSError):  # `check` reports unreadable files
                stat = os.stat(folder.root / name)
                row += [stat.st_size, stat.st_mtime_ns]
            total.update(json.dumps(row).encode())
    return total.hexdigest()


def _cached(cache: Path, listing: str, asked: Sequence[object]) -> DataFacts | None:
    """The facts of an earlier check of the same files, or None.

    `asked` is what was asked of rasters, or what that was settled to.
    """
    try:
        written = _read(cache)
        before = [["resize", asked[1], "full", "full"]]  # of a version that had no choice
        if written["listing"] != listing or list(asked) not in written.get("how", before):
            return None
        facts = {_RENAMED.get(name, name): value for name, value in written["facts"].items()}
        lists = {name: tuple(facts.get(name, ())) for name in ("omitted", "notes")}
        found = DataFacts(**facts | lists)
        return found if _is_whole(found) else None
    except (KeyError, TypeError, AttributeError):
        return None


def _skipped(cache: Path, folder: Path) -> bool:
    """Whether the run in `folder` was created without unreadable images, as its cache says."""
    facts = _read(cache).get("facts")
    return bool(checkpoints(folder) and isinstance(facts, dict) and facts.get("omitted"))


def _record(cache: Path) -> dict[str, str]:
    """The record of the images that a run was created with; empty where there is none."""
    record = _read(cache).get("run")
    if not isinstance(record, dict) or {type(v) for v in record.values()} - {str}:
        return {}
    return record if record.keys() == set(DOMAINS) else {}


def _record_of(result: CheckResult) -> dict[str, str]:
    """Eight hexadecimal digits of each training image, in one text for each domain."""
    return {domain: "".join(result.marks(domain).values()) for domain in DOMAINS}


def _difference(record: dict[str, str], result: CheckResult) -> str:
    """How the training images differ from those of a record; empty if they do not, or unknown.

    An image that was renamed counts as removed and added, which is told as changed.
    """
    now = _record_of(result)
    if not record or record == now:
        return ""
    if (record["a"], record["b"]) == (now["b"], now["a"]):
        return "A and B have changed places"
    parts = []
    for domain, name in zip(DOMAINS, (result.data.name_a, result.data.name_b), strict=True):
        text, marks = record[domain], result.marks(domain)
        before = {text[start : start + 8] for start in range(0, len(text), 8)}
        new = [image for image, mark in marks.items() if mark not in before]
        gone = len(before - set(marks.values()))
        both = min(len(new), gone)
        for count, what in (
            (len(new) - both, "added"), (gone - both, "removed"), (both, "changed or renamed"),
        ):  # fmt: skip
            if count:
                such = f" (such as {shown(new[0])})" if new and what != "removed" else ""
                parts.append(f"{counted(count, 'image')} of {name} {what}{such}")
    return ", ".join(parts)


def _read(cache: Path) -> dict[str, Any]:
    """What `data.json` holds; empty where it cannot be read."""
    try:
        written = json.loads(read_regular(cache, _MOST_CACHED))
    except (OSError, ValueError, RecursionError):
        return {}
    return written if isinstance(written, dict) else {}


def _is_whole(facts: DataFacts) -> bool:
    """Whether facts from a file, which anybody may edit, are of the right types and possible."""
    texts = (facts.name_a, facts.name_b, facts.data_fingerprint, *facts.omitted, *facts.notes)
    texts += (facts.difference,)
    numbers = (facts.bands_a, facts.bands_b, facts.depth_a, facts.depth_b, facts.images)
    return (
        all(type(text) is str for text in texts)
        and all(type(number) is int and 0 < number <= MOST_STEPS for number in numbers)
        and {facts.depth_a, facts.depth_b} <= {8, 16, 32}
        and facts.crops in ("resize", "native")
        and isinstance(facts.rasters, dict)
        and all(type(value) in (str, float) for value in facts.rasters.values())
        and all(
            type(number) is int and 0 <= number <= 2**31
            for of_split in facts.parts.values()
            for found in of_split.values()
            for part in found
            for number in part
        )
    )
