"""Every image of a data set looked at once: what is wrong, and what a training has to know."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from unpaired.data.domains import DataSet, Folder
from unpaired.errors import ImageError, MissingExtra
from unpaired.images.header import format_of
from unpaired.images.image import DEFAULT_MAX_PIXELS, Pixels, over_white, read_image

__all__ = ["FLAT", "Finding", "Findings", "FolderFacts", "Kind", "check"]

FLAT = 2 / 255
"""Below this standard deviation in every band, of a range of 1, an image is nearly flat.

Instance norm divides by the deviation of each feature map: where there is none to speak of, it
turns the noise of an image's last bits into full contrast. Two levels of 255 are about the noise
of JPEG in an even sky.
"""

Kind = Literal[
    "unreadable",
    "not an image",
    "mixed bands",
    "in train and test",
    "in both domains",
    "twice",
    "small",
    "flat",
    "left out",
]
"""The kinds of findings, the gravest first. The first three stop a training."""

Split = Literal["train_a", "train_b", "test_a", "test_b"]

_MEANING: dict[Kind, str] = {
    "unreadable": "cannot be read, which stops a training",
    "not an image": "have an image's suffix and another content, which stops a training",
    "mixed bands": "do not go with the others of their domain, which stops a training",
    "in train and test": "stand in both, so scores on them flatter",
    "in both domains": "stand on both sides",
    "twice": "stand more than once in a folder, so count more than others",
    "small": "are smaller than the crop and are enlarged",
    "flat": "hardly vary, so that instance norm amplifies their noise",
    "left out": "are not read: no image's suffix",
}


@dataclass(frozen=True)
class Finding:
    """One thing found: its kind, the image or the images, and why."""

    kind: Kind
    paths: tuple[Path, ...]
    reason: str


@dataclass(frozen=True)
class FolderFacts:
    """What the readable images of a folder have in common; all 0 where there are none."""

    images: int
    bands: int  # 1 where all are grey, 3 where some are in colour, else the number that all have
    depth: int  # 16 where some are, else 8
    smallest: tuple[int, int]  # the least height and the least width, upright


@dataclass(frozen=True)
class Findings:
    """The outcome of a check."""

    root: Path  # what all folders have in common; the report's paths start below it
    findings: tuple[Finding, ...]  # the gravest kinds first
    train_a: FolderFacts
    train_b: FolderFacts
    test_a: FolderFacts
    test_b: FolderFacts
    fingerprint: str  # SHA-256 over names and contents of the files to train on, in hexadecimal

    @property
    def stopping(self) -> tuple[Finding, ...]:
        """What a training must not start with."""
        return tuple(
            finding
            for finding in self.findings
            if finding.kind in ("unreadable", "not an image", "mixed bands")
        )

    def report(self, *, full: bool = False) -> str:
        """The findings as text, by kind; of long lists the first five lines unless `full`."""
        lines = []
        for split in get_args(Split):
            facts: FolderFacts = getattr(self, split)
            if facts.images:
                height, width = facts.smallest
                lines.append(
                    f"{split.replace('_', ' ')}: {facts.images} images of {facts.bands} band"
                    f"{'s' if facts.bands > 1 else ''} and {facts.depth} bits, none narrower than"
                    f" {width} or lower than {height} pixels"
                )
        for kind in get_args(Kind):
            group = [finding for finding in self.findings if finding.kind == kind]
            if not group:
                continue
            images = sum(len(finding.paths) for finding in group)
            lines.append(f"\n{kind}: {images} {_MEANING[kind]}")
            shown = group if full or len(group) <= 6 else group[:5]
            for finding in shown:
                paths = " = ".join(_printable(path, self.root) for path in finding.paths)
                lines.append(f"  {paths}: {finding.reason}")
            if len(group) > len(shown):
                lines.append(f"  and {len(group) - len(shown)} more")
        if not self.findings:
            lines.append("nothing found")
        return "\n".join(lines)


def check(
    dataset: DataSet,
    *,
    crop: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
    threads: int = 2,
) -> Findings:
    """Decodes every image of `dataset` once and tells what it found.

    Two files are the same image if their pixels are, over white and upright. The fingerprint
    takes in the relative names and the bytes of the files of train, and so depends neither on
    where the folders lie, nor on times, nor on the version of a decoder.

    Args:
        dataset: what `find_data` found.
        crop: side of the training crop in pixels; None leaves out the kind "small".
        max_pixels: images with more are not decoded and count as unreadable.
        progress: called with (images done, images in all) after each.
        threads: images decoded at a time.
    """
    folders: dict[Split, Folder] = {"train_a": dataset.train_a, "train_b": dataset.train_b}
    if dataset.test_a:
        folders["test_a"] = dataset.test_a
    if dataset.test_b:
        folders["test_b"] = dataset.test_b
    tasks = [
        (split, folder.path(index))
        for split, folder in folders.items()
        for index in range(len(folder))
    ]
    looks: dict[Split, list[_Look]] = {split: [] for split in get_args(Split)}
    for done, look in enumerate(_look_at_all(tasks, max_pixels, threads), start=1):
        looks[look.split].append(look)
        if progress is not None:
            progress(done, len(tasks))
    every = [look for split in looks.values() for look in split]
    findings = [
        *(look.trouble for look in every if look.trouble is not None),
        *_mixed(looks["train_a"] + looks["test_a"]),
        *_mixed(looks["train_b"] + looks["test_b"]),
        *_repeated(every),
        *_small(every, crop),
        *_flat(every),
        *(
            Finding("left out", (folder.root / name,), "no image's suffix")
            for folder in folders.values()
            for name in folder.others
        ),
    ]
    kinds = get_args(Kind)
    return Findings(
        Path(os.path.commonpath([folder.root.absolute() for folder in folders.values()])),
        tuple(sorted(findings, key=lambda finding: kinds.index(finding.kind))),
        **{split: _facts(seen) for split, seen in looks.items()},
        fingerprint=_fingerprint(dataset, looks),
    )


@dataclass(frozen=True)
class _Look:
    """What is kept of one image."""

    split: Split
    path: Path
    content: str  # digest of the file
    trouble: Finding | None = None
    image: bytes = b""  # digest of the pixels
    size: tuple[int, int] = (0, 0)
    bands: int = 0
    depth: int = 0
    deviation: float | None = None  # only of a flat one


def _look_at_all(
    tasks: Iterable[tuple[Split, Path]], max_pixels: int, threads: int
) -> Iterator[_Look]:
    """Looks at the images on several threads, a few ahead, and yields in the order given."""
    pool = ThreadPoolExecutor(threads)
    ahead: deque[Future[_Look]] = deque()
    try:
        for split, path in tasks:
            ahead.append(pool.submit(_look_at, split, path, max_pixels))
            if len(ahead) > 4 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


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
        kind: Kind = "unreadable" if known else "not an image"
        trouble = Finding(kind, (path,), reason.removeprefix(f"{path}: "))
        return _Look(split, path, content, trouble)
    pixels = over_white(image)
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return _Look(
        split,
        path,
        content,
        image=digest.digest(),
        size=image.size,
        bands=image.bands,
        depth=image.depth,
        deviation=_deviation_if_flat(pixels),
    )


def _deviation_if_flat(pixels: Pixels) -> float | None:
    """The greatest standard deviation of a band, of a range of 1, if it is below `FLAT`."""
    scale = np.iinfo(pixels.dtype).max
    # The squared deviations of every 16th sample are a part of all of them: where that part alone
    # makes the mean large enough, the rest need not be looked at.
    if pixels[::4, ::4].std(axis=(0, 1)).max() >= 4 * FLAT * scale:
        return None
    deviation = float(pixels.std(axis=(0, 1)).max() / scale)
    return deviation if deviation < FLAT else None


def _facts(looks: list[_Look]) -> FolderFacts:
    seen = [look for look in looks if look.trouble is None]
    if not seen:
        return FolderFacts(0, 0, 0, (0, 0))
    heights, widths = zip(*(look.size for look in seen), strict=True)
    depth = max(look.depth for look in seen)
    return FolderFacts(len(seen), _common_bands(seen), depth, (min(heights), min(widths)))


def _common_bands(looks: Iterable[_Look]) -> int:
    """Grey and RGB go together as RGB; of several other counts the most frequent."""
    counts = Counter(look.bands for look in looks)
    most = counts.most_common(1)[0][0]
    return max(band for band in counts if band in (1, 3)) if most in (1, 3) else most


def _mixed(looks: list[_Look]) -> Iterator[Finding]:
    """The images of a domain whose bands cannot be brought to those of the others."""
    seen = [look for look in looks if look.trouble is None]
    common = _common_bands(seen) if seen else 0
    for look in seen:
        if look.bands != common and {look.bands, common} != {1, 3}:
            reason = f"{look.bands} bands, where most have {common}"
            yield Finding("mixed bands", (look.path,), reason)


def _repeated(looks: list[_Look]) -> Iterator[Finding]:
    """Groups of files that show the same image, each told by the gravest place it is in."""
    groups: dict[bytes, list[_Look]] = {}
    for look in looks:
        if look.trouble is None:
            groups.setdefault(look.image, []).append(look)
    for group in groups.values():
        if len(group) > 1:
            splits = sorted({look.split for look in group}, key=get_args(Split).index)
            kind: Kind = "twice"
            if len({split[-1] for split in splits}) > 1:
                kind = "in both domains"
            if len({split[:-2] for split in splits}) > 1:
                kind = "in train and test"
            reason = f"the same image in {' and '.join(splits).replace('_', ' ')}"
            yield Finding(kind, tuple(look.path for look in group), reason)


def _small(looks: list[_Look], crop: int | None) -> Iterator[Finding]:
    for look in looks:
        if crop is not None and look.trouble is None and min(look.size) < crop:
            height, width = look.size
            yield Finding("small", (look.path,), f"{width} x {height}, the crop is {crop}")


def _flat(looks: list[_Look]) -> Iterator[Finding]:
    for look in looks:
        if look.deviation is not None:
            reason = f"standard deviation {255 * look.deviation:.1f} of 255"
            yield Finding("flat", (look.path,), reason)


def _fingerprint(dataset: DataSet, looks: dict[Split, list[_Look]]) -> str:
    digest = hashlib.sha256()
    sides: tuple[tuple[Split, Folder], ...] = (
        ("train_a", dataset.train_a),
        ("train_b", dataset.train_b),
    )
    for split, folder in sides:
        digest.update(f"{split} {len(folder)}\n".encode())
        for name, look in zip(folder.names, looks[split], strict=True):
            digest.update(os.fsencode(name) + f"\0{look.content}\n".encode())
    return digest.hexdigest()


def _printable(path: Path, root: Path) -> str:
    """The path below `root`; names that are no valid text, or break lines, are escaped."""
    text = path.absolute().relative_to(root).as_posix()
    text = text.encode(errors="backslashreplace").decode()
    return text if text.isprintable() else ascii(text)
