"""The data of a training: found, checked, and the facts of it that the recipe needs."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from unpaired.checkpoint import checkpoints
from unpaired.console import Meter, counted
from unpaired.data.check import Findings, check
from unpaired.data.domains import DataSet, Folder
from unpaired.errors import DataError
from unpaired.storage import write_text
from unpaired.streams import VALIDATION, stream

__all__ = ["Facts", "Intake", "set_aside", "take_in"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Facts:
    """What the data settle of a recipe, and the images that are left out."""

    name_a: str
    name_b: str
    bands_a: int
    bands_b: int
    depth_a: int
    depth_b: int
    images: int  # of the larger domain
    data_fingerprint: str
    left_out: tuple[str, ...]  # paths from the data's folder, by --skip-unreadable

    def settled(self, batch_size: int, validation: float = 0.0) -> dict[str, object]:
        """The fields of the recipe that the data settle; `validation` is the share set aside."""
        fields = dataclasses.asdict(self)
        del fields["images"], fields["left_out"]
        trained_on = self.images - _count_aside(self.images, validation)
        return fields | {"epoch_steps": math.ceil(trained_on / batch_size)}


@dataclass(frozen=True)
class Intake:
    """A data set fit for training, and the facts of it."""

    data: DataSet
    facts: Facts


def take_in(
    data: DataSet,
    folder: Path,
    *,
    image_size: int,
    skip_unreadable: bool,
    max_pixels: int,
    threads: int,
    say: Say,
    quiet: bool,
) -> Intake:
    """Checks the data of the run in `folder`; a check of the same files is not repeated.

    Images that a run began without (`skip_unreadable`) are left out again when it goes on.

    Raises:
        DataError: unreadable images (the list of them), or all smaller than the crop.
    """
    cache = folder / "data.json"
    listing = _listing(data, image_size, max_pixels)
    facts = _remembered(cache, listing)
    if facts and facts.left_out and not (skip_unreadable or checkpoints(folder)):
        facts = None
    if facts is None:
        with Meter("checking images", quiet=quiet) as meter:
            findings = check(
                data,
                crop=image_size,
                max_pixels=max_pixels,
                threads=threads,
                progress=meter.show,
            )
        facts = _facts(data, findings, image_size, skip_unreadable, max_pixels, say)
        write_text(cache, json.dumps({"listing": listing, "facts": dataclasses.asdict(facts)}))
    if facts.left_out:
        listed = "\n".join(f"  {path}" for path in facts.left_out)
        say(f"left out as asked, {counted(len(facts.left_out), 'image')}:\n{listed}")
    return Intake(_without(data, facts.left_out), facts)


def set_aside(
    data: DataSet, share: float, seed: int
) -> tuple[DataSet, tuple[Folder, Folder] | None]:
    """The data set without its validation part, and that part of A and of B (None: no part).

    A pure function. The part is `share` of the training images of each domain, rounded, and at
    least 2, drawn without replacement, each domain on its own; the test set is left alone.

    Raises:
        DataError: fewer than 2 images of a domain would be left to train on.
    """
    if not share:
        return data, None

    def divided(folder: Folder, index: int) -> tuple[Folder, Folder]:
        count = _count_aside(len(folder), share)
        if len(folder) - count < 2:
            raise DataError(
                f"{folder.root}: of {counted(len(folder), 'image')} none can be set aside to "
                "choose the best checkpoint: give --validation 0, or 4 images or more"
            )
        drawn = stream(seed, VALIDATION, index).permutation(len(folder))[:count]
        aside = set(drawn.tolist())
        kept, part = (
            tuple(name for i, name in enumerate(folder.names) if (i in aside) == wanted)
            for wanted in (False, True)
        )
        return replace(folder, names=kept), replace(folder, names=part)

    train_a, part_a = divided(data.train_a, 0)
    train_b, part_b = divided(data.train_b, 1)
    return replace(data, train_a=train_a, train_b=train_b), (part_a, part_b)


def _count_aside(images: int, share: float) -> int:
    """How many of so many images are set aside."""
    return min(max(2, round(share * images)), images) if share else 0


def _facts(
    data: DataSet,
    findings: Findings,
    image_size: int,
    skip_unreadable: bool,
    max_pixels: int,
    say: Say,
) -> Facts:
    stopping = findings.stopping
    if stopping and not skip_unreadable:
        listed = "\n".join(f"  {path}: {item.reason}" for item in stopping for path in item.paths)
        raise DataError(
            f"{counted(len(stopping), 'image')} cannot be trained on: mend or remove them, "
            f"or give --skip-unreadable\n{listed}"
        )
    left_out = tuple(str(path) for item in stopping for path in item.paths)
    if left_out:
        say(f"left out as asked, {len(left_out)} images:\n" + "\n".join(f"  {p}" for p in left_out))
        data = _without(data, left_out)
        findings = check(data, crop=image_size, max_pixels=max_pixels)
    small = [path for item in findings.findings if item.kind == "small" for path in item.paths]
    for name, train, facts in (
        (data.name_a, data.train_a, findings.train_a),
        (data.name_b, data.train_b, findings.train_b),
    ):
        inside = {train.path(index) for index in range(len(train))}
        if inside and inside <= set(small):
            side = max(min(facts.smallest) // 4 * 4, 8)
            raise DataError(
                f"{train.root}: all {len(inside)} images of {name} are smaller than the crop of "
                f"{image_size} pixels: give --load-size {side} --image-size {side}, "
                "or larger images"
            )
    counts = {item.kind: 0 for item in findings.findings}
    for item in findings.findings:
        counts[item.kind] += len(item.paths)
    if counts:
        listed = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        say(f"images checked ({listed}): `unpaired data check` tells more")
    return Facts(
        name_a=data.name_a,
        name_b=data.name_b,
        bands_a=findings.train_a.bands,
        bands_b=findings.train_b.bands,
        depth_a=findings.train_a.depth,
        depth_b=findings.train_b.depth,
        images=max(len(data.train_a), len(data.train_b)),
        data_fingerprint=findings.fingerprint,
        left_out=left_out,
    )


def _splits(data: DataSet) -> list[Folder]:
    return [f for f in (data.train_a, data.train_b, data.test_a, data.test_b) if f]


def _listing(data: DataSet, image_size: int, max_pixels: int) -> str:
    """A hash of the names, sizes and times of all files: the same means nothing was changed."""
    total = hashlib.sha256(f"{image_size} {max_pixels}".encode())
    for folder in _splits(data):
        for name in folder.names:
            row: list[object] = [str(folder.root.resolve()), name]
            with contextlib.suppress(OSError):  # `check` tells what cannot be read
                stat = os.stat(folder.root / name)
                row += [stat.st_size, stat.st_mtime_ns]
            total.update(json.dumps(row).encode())
    return total.hexdigest()


def _remembered(cache: Path, listing: str) -> Facts | None:
    """The facts of an earlier check of the same files, or None."""
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
        if kept["listing"] != listing:
            return None
        return Facts(**kept["facts"] | {"left_out": tuple(kept["facts"]["left_out"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _without(data: DataSet, paths: tuple[str, ...]) -> DataSet:
    gone = set(paths)

    def rest(folder: Folder) -> Folder:
        names = tuple(name for name in folder.names if str(folder.root / name) not in gone)
        return replace(folder, names=names)

    left = replace(
        data,
        train_a=rest(data.train_a),
        train_b=rest(data.train_b),
        test_a=rest(data.test_a) if data.test_a else None,
        test_b=rest(data.test_b) if data.test_b else None,
    )
    for folder in (left.train_a, left.train_b):
        if not folder.names:
            raise DataError(f"{folder.root}: no image is left to train on")
    return left
