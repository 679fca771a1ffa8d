"""The data of a training: checked, its facts for the recipe, and the validation part."""

import contextlib
import hashlib
import json
import math
import os
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unpaired.checkpoint import checkpoints
from unpaired.config import MOST_STEPS
from unpaired.console import counted, log
from unpaired.data.check.check import CheckResult, check
from unpaired.data.layout.domains import DataSet, Folder
from unpaired.directions import DOMAINS
from unpaired.errors import DataError, shown
from unpaired.storage import read_regular, write_text
from unpaired.streams import VALIDATION, stream

__all__ = ["DataFacts", "TrainingData", "prepare", "set_aside"]

FEW = 4  # training images of a domain, below which a training can hardly learn anything
_MOST_CACHED = 100_000_000  # bytes of data.json, which lists omitted images
_RENAMED = {"pictures": "images", "left_out": "omitted"}  # names of version 0.1 in data.json


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

    def settled(self, batch_size: int, validation: float = 0.0) -> dict[str, object]:
        """The recipe's fields that the data settle; `validation` is the share set aside."""
        fields = asdict(self)
        for name in ("images", "omitted", "notes", "difference"):
            del fields[name]
        trained_on = self.images - _validation_size(self.images, validation)
        return fields | {"epoch_steps": math.ceil(trained_on / batch_size)}


@dataclass(frozen=True)
class TrainingData:
    """A checked data set, without the omitted images, and its facts."""

    data: DataSet
    facts: DataFacts


def prepare(
    data: DataSet, folder: Path, *, image_size: int, skip_unreadable: bool, max_pixels: int
) -> TrainingData:
    """Checks the data of the run in `folder`, unless the same files were checked before.

    The result is cached in `data.json`, for as long as no file changes its name, size or time.
    A run that was created without unreadable images (`skip_unreadable`) omits them when it is
    resumed, too.

    Raises:
        DataError: unreadable images (lists them), or all images are smaller than the crop.
    """
    cache = folder / "data.json"
    listing = _listing(data, image_size, max_pixels)
    facts = _cached(cache, listing)
    if facts and facts.omitted and not (skip_unreadable or checkpoints(folder)):
        facts = None
    if facts is None:
        result = check(data, crop=image_size, max_pixels=max_pixels)
        facts = _facts(result, image_size, skip_unreadable or _skipped(cache, folder))
        record = _record(cache) if checkpoints(folder) else _record_of(result)
        facts = replace(facts, difference=_difference(record, result))
        known = {"listing": listing, "facts": asdict(facts), "run": record}
        write_text(cache, json.dumps(known))
    for line in (*data.remarks, *facts.notes):
        log.info(line)
    if facts.omitted:
        listed = "\n".join(f"  {shown(path)}" for path in facts.omitted)
        log.info(f"omitted as asked, {counted(len(facts.omitted), 'image')}:\n{listed}")
    kept = data.without(set(map(Path, facts.omitted)))
    for name, folder_of_name in ((facts.name_a, kept.train_a), (facts.name_b, kept.train_b)):
        if len(folder_of_name) < FEW:
            log.warning(
                f"only {counted(len(folder_of_name), 'image')} of {name} to train on: the networks "
                "learn so few by heart; hundreds are usual"
            )
    return TrainingData(kept, facts)


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
        kept, part = (
            tuple(name for i, name in enumerate(folder.names) if (i in aside) == wanted)
            for wanted in (False, True)
        )
        return replace(folder, names=kept), replace(folder, names=part)

    train_a, part_a = split(data.train_a, 0)
    train_b, part_b = split(data.train_b, 1)
    return replace(data, train_a=train_a, train_b=train_b), (part_a, part_b)


def _validation_size(images: int, share: float) -> int:
    """The number of images to set aside."""
    return min(max(2, round(share * images)), images) if share else 0


def _facts(result: CheckResult, image_size: int, skip_unreadable: bool) -> DataFacts:
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
    return DataFacts(
        name_a=data.name_a,
        name_b=data.name_b,
        bands_a=facts_a.bands,
        bands_b=facts_b.bands,
        depth_a=facts_a.depth,
        depth_b=facts_b.depth,
        images=max(len(data.train_a), len(data.train_b)),
        data_fingerprint=result.fingerprint,
        omitted=tuple(map(str, omitted)),
        notes=(*result.transparency, *result.warnings),
    )


def _listing(data: DataSet, image_size: int, max_pixels: int) -> str:
    """A hash of the names, sizes and times of all files, to detect changes."""
    total = hashlib.sha256(f"{image_size} {max_pixels} {data.train_a.reading}".encode())
    for folder in data.folders.values():
        for name in folder.names:
            row: list[object] = [str(folder.root.resolve()), name]
            row += [folder.half] if folder.half else []
            with contextlib.suppress(OSError):  # `check` reports unreadable files
                stat = os.stat(folder.root / name)
                row += [stat.st_size, stat.st_mtime_ns]
            total.update(json.dumps(row).encode())
    return total.hexdigest()


def _cached(cache: Path, listing: str) -> DataFacts | None:
    """The facts of an earlier check of the same files, or None."""
    try:
        written = _read(cache)
        if written["listing"] != listing:
            return None
        facts = {_RENAMED.get(name, name): value for name, value in written["facts"].items()}
        lists = {name: tuple(facts.get(name, ())) for name in ("omitted", "notes")}
        found = DataFacts(**facts | lists)
    except (KeyError, TypeError, AttributeError):
        return None
    return found if _is_whole(found) else None


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
        and {facts.depth_a, facts.depth_b} <= {8, 16}
    )
