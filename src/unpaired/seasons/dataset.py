"""The built-in data set `seasons`: unpaired landscapes, summer (A), winter (B), with known truth.

Training images of A and B are of different scenes; of each test scene there are both paintings
and the class map, so every translation can be scored against the truth. `landscapes.py` draws them.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.directions import Domain
from unpaired.errors import DataError
from unpaired.seasons.landscapes import (
    CLASSES,
    MIXED,
    SMALLEST,
    Level,
    Scene,
    draw,
    labels,
    paint,
    palette,
)
from unpaired.storage import explain_os_error

__all__ = [
    "CLASSES",
    "MIXED",
    "NAMED",
    "Scene",
    "SeasonsSpec",
    "draw",
    "find_truth",
    "labels",
    "paint",
    "palette",
    "read_truth",
    "scene_seed",
    "write_seasons",
]

Part = Literal["trainA", "trainB", "test"]

_PARTS: Mapping[Part, Mapping[str, Domain]] = MappingProxyType(
    {"trainA": {"trainA": "a"}, "trainB": {"trainB": "b"}, "test": {"testA": "a", "testB": "b"}}
)
"""The folders each part of a data set is written to, and the domain they are painted in."""

_FIRST_LINE = "seasons, version 1: procedural landscapes, A is summer and B is winter."


@dataclass(frozen=True)
class SeasonsSpec:
    """Everything that decides the images of a `seasons` data set."""

    size: int
    """Side of an image in pixels."""
    train: int
    """Training images of each domain, all of different scenes."""
    test: int
    """Test pairs."""
    level: Level


NAMED: Mapping[str, SeasonsSpec] = MappingProxyType(
    {
        "seasons-lite": SeasonsSpec(size=32, train=600, test=100, level="lite"),
        "seasons": SeasonsSpec(size=64, train=2000, test=200, level="full"),
    }
)


def scene_seed(part: Part, index: int) -> int:
    """Seed of one scene of a data set. Parts never share a seed, however many scenes they have."""
    return len(_PARTS) * index + list(_PARTS).index(part)


def write_seasons(
    folder: Path,
    *,
    size: int,
    train: int,
    test: int,
    level: Level,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a data set: `trainA/ trainB/ testA/ testB/ truth/` with `0000.png` ..., `README.txt`.

    Training images of A and B are of different scenes. `testA/0007.png` and `testB/0007.png` are
    the two paintings of one scene and `truth/0007.png` its class map (see `read_truth`). All is
    written beside `folder` under a temporary name and renamed at the end, so `folder` is whole or
    not there. A folder that holds this very data set is left untouched.

    Args:
        folder: where to write; missing or empty.
        size, train, test, level: see `SeasonsSpec`.
        progress: called with scenes done and scenes in all, after each scene.

    Raises:
        DataError: the folder holds something else, or `size`, `train` or `test` make no sense.
        RunError: the system refuses to write.
    """
    if size < SMALLEST or train < 0 or test < 0:
        raise DataError(
            f"cannot make seasons of size {size} with {train} training and {test} test scenes: "
            f"the size is at least {SMALLEST}, the counts not negative"
        )
    spec = SeasonsSpec(size, train, test, level)
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}.tmp")
    try:
        if _holds(folder, spec):
            return
        _write_files(temporary, spec, progress)
        _move_into_place(temporary, folder, spec)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_truth(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Class map and pure pixels of a file of `truth/`, as `labels` returns them.

    Raises:
        DataError: the file is missing, is no image, or is not a class map.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            mode, classes = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"cannot read the class map {path}: make the data set again") from error
    if mode != "L" or np.any((classes >= len(CLASSES)) & (classes != MIXED)):
        raise DataError(f"{path} is not a class map of seasons: make the data set again")
    return classes, classes != MIXED


def find_truth(
    test_folder: Path, names: Sequence[str]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
    """Finds the class maps of test images of a `seasons` data set.

    Args:
        test_folder: `testA` or `testB`; the class maps are in `truth` beside it.
        names: images of that folder.

    Returns:
        Class maps and pure pixels as `labels` returns them, stacked in the order of `names`:
        (n, size, size) each. None if the data set is not `seasons`, if an image has no class map,
        or if the class maps differ in size.

    Raises:
        DataError: a class map is damaged.
    """
    root = test_folder.absolute().parent
    try:
        readme = (root / "README.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    paths = [root / "truth" / name for name in names]
    if not readme.startswith(_FIRST_LINE) or not paths or not all(p.is_file() for p in paths):
        return None
    classes, pure = zip(*map(read_truth, paths), strict=True)
    return None if len({c.shape for c in classes}) > 1 else (np.stack(classes), np.stack(pure))


def _write_files(
    folder: Path, spec: SeasonsSpec, progress: Callable[[int, int], None] | None
) -> None:
    for name in _contents(spec):
        (folder / name).mkdir(parents=True)
    counts: dict[Part, int] = {"trainA": spec.train, "trainB": spec.train, "test": spec.test}
    total, done = sum(counts.values()), 0
    for part, count in counts.items():
        for index in range(count):
            scene = draw(scene_seed(part, index), spec.size, spec.level)
            name = f"{index:04d}.png"
            for side, domain in _PARTS[part].items():
                Image.fromarray(paint(scene, domain)).save(folder / side / name)
            if part == "test":
                Image.fromarray(labels(scene)[0]).save(folder / "truth" / name)
            done += 1
            if progress is not None:
                progress(done, total)
    (folder / "README.txt").write_text(_readme(spec), encoding="utf-8")


def _holds(folder: Path, spec: SeasonsSpec) -> bool:
    """Whether this data set is there already; false where the folder is missing or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    readme = folder / "README.txt"
    if (
        readme.is_file()
        and readme.read_text(encoding="utf-8", errors="replace") == _readme(spec)
        and all(len(list((folder / k).glob("*.png"))) == n for k, n in _contents(spec).items())
    ):
        return True
    raise DataError(
        f"{folder} is there and is not this data set: choose another folder, or remove it first"
    )


def _move_into_place(temporary: Path, folder: Path, spec: SeasonsSpec) -> None:
    """Renames; where another process was faster with the same data set, its copy stands."""
    try:
        if folder.is_dir():
            folder.rmdir()  # an empty one is no obstacle
        temporary.rename(folder)
    except OSError:
        if not _holds(folder, spec):
            raise


def _contents(spec: SeasonsSpec) -> dict[str, int]:
    """Images in each folder of a data set."""
    train, test = spec.train, spec.test
    return {"trainA": train, "trainB": train, "testA": test, "testB": test, "truth": test}


def _readme(spec: SeasonsSpec) -> str:
    """What the folder holds; it also tells one data set from another."""
    classes = ", ".join(f"{index} {name}" for index, name in enumerate(CLASSES))
    return f"""\
{_FIRST_LINE}

size {spec.size}, level {spec.level}, train {spec.train} + {spec.train}, test {spec.test} pairs

trainA/ trainB/  images of different scenes: unpaired
testA/ testB/    files of one name are two paintings of one scene
truth/           class maps of the test scenes, 8-bit grey: {MIXED} where a pixel is of several
                 classes, else {classes}

Made by unpaired; everything can be made again from the numbers above.
"""
