"""The built-in data set `seasons`: unpaired landscapes, summer (A) and winter (B), known truth.

Training images of A and B are of different scenes; each test scene has both paintings and a class
map, so every translation can be compared with the truth. `landscapes.py` draws the scenes.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unpaired.console import Progress, progress
from unpaired.directions import Domain
from unpaired.errors import DataError
from unpaired.seasons.landscapes import CLASSES, MIXED, SMALLEST, Level, draw, labels, paint
from unpaired.storage import explain_os_error, open_regular

__all__ = [
    "NAMED",
    "SeasonsSpec",
    "find_truth",
    "is_seasons",
    "read_truth",
    "scene_seed",
    "write_seasons",
]

Part = Literal["trainA", "trainB", "test"]

_PARTS: Mapping[Part, Mapping[str, Domain]] = MappingProxyType(
    {"trainA": {"trainA": "a"}, "trainB": {"trainB": "b"}, "test": {"testA": "a", "testB": "b"}}
)
"""The folders of each part of a data set, and the domain in which they are painted."""

_FIRST_LINE = "seasons, version 1: procedural landscapes, A is summer and B is winter."


@dataclass(frozen=True)
class SeasonsSpec:
    """Everything that determines the images of a `seasons` data set."""

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
    """Returns the seed of a scene. Parts never share a seed, however many scenes they have."""
    return len(_PARTS) * index + list(_PARTS).index(part)


def write_seasons(folder: Path, spec: SeasonsSpec) -> None:
    """Writes a data set: `trainA/ trainB/ testA/ testB/ truth/` with `0000.png` ..., `README.txt`.

    Training images of A and B are of different scenes. `testA/0007.png` and `testB/0007.png` are
    the two paintings of one scene and `truth/0007.png` is its class map (see `read_truth`). Files
    are written beside `folder` under a temporary name and renamed at the end, so `folder` is either
    complete or missing. A folder that already holds this very data set is left untouched.

    Args:
        folder: where to write; missing or empty.
        spec: the images to draw.

    Raises:
        DataError: the folder holds something else, or a number of `spec` is out of range.
        RunError: the folder cannot be written.
    """
    if spec.size < SMALLEST or spec.train < 0 or spec.test < 0:
        raise DataError(
            f"cannot draw seasons of size {spec.size} with {spec.train} training and {spec.test} "
            f"test scenes: the size must be at least {SMALLEST}, the counts not negative"
        )
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}.tmp")
    try:
        if _holds(folder, spec):
            return
        with progress("drawing scenes", 2 * spec.train + spec.test, unit="scenes") as shown:
            _write_files(temporary, spec, shown)
        _move_into_place(temporary, folder, spec)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_truth(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Reads the class map and pure pixels of a file of `truth/`, as `labels` returns them.

    Raises:
        DataError: the file is missing, not an image, or not a class map.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            mode, classes = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"cannot read the class map {path}: draw the data set again") from error
    if mode != "L" or np.any((classes >= len(CLASSES)) & (classes != MIXED)):
        raise DataError(f"{path} is not a class map of seasons: draw the data set again")
    return classes, classes != MIXED


def is_seasons(folder: Path) -> bool:
    """Whether a folder is a `seasons` data set by its README, so that its test images are pairs."""
    try:
        with open_regular(folder / "README.txt") as file:
            return file.read(len(_FIRST_LINE)) == _FIRST_LINE.encode()
    except OSError:
        return False


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
    paths = [root / "truth" / name for name in names]
    if not is_seasons(root) or not paths or not all(p.is_file() for p in paths):
        return None
    classes, pure = zip(*map(read_truth, paths), strict=True)
    return None if len({c.shape for c in classes}) > 1 else (np.stack(classes), np.stack(pure))


def _write_files(folder: Path, spec: SeasonsSpec, shown: Progress) -> None:
    for name in _contents(spec):
        (folder / name).mkdir(parents=True)
    counts: dict[Part, int] = {"trainA": spec.train, "trainB": spec.train, "test": spec.test}
    for part, count in counts.items():
        for index in range(count):
            scene = draw(scene_seed(part, index), spec.size, spec.level)
            name = f"{index:04d}.png"
            for side, domain in _PARTS[part].items():
                Image.fromarray(paint(scene, domain)).save(folder / side / name)
            if part == "test":
                Image.fromarray(labels(scene)[0]).save(folder / "truth" / name)
            shown.advance()
    (folder / "README.txt").write_text(_readme(spec), encoding="utf-8")


def _holds(folder: Path, spec: SeasonsSpec) -> bool:
    """Tells whether the folder holds this data set; false if it is missing or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    readme = folder / "README.txt"
    if (
        readme.is_file()
        and readme.read_text(encoding="utf-8", errors="replace").startswith(_identity(spec))
        and all(len(list((folder / k).glob("*.png"))) == n for k, n in _contents(spec).items())
    ):
        return True
    raise DataError(
        f"{folder} exists and is not this data set: choose another folder, or remove it first"
    )


def _move_into_place(temporary: Path, folder: Path, spec: SeasonsSpec) -> None:
    """Renames; if another process was faster with the same data set, keeps its copy."""
    try:
        if folder.is_dir():
            folder.rmdir()  # empty
        temporary.rename(folder)
    except OSError:
        if not _holds(folder, spec):
            raise


def _contents(spec: SeasonsSpec) -> dict[str, int]:
    """Returns the number of images in each folder of a data set."""
    train, test = spec.train, spec.test
    return {"trainA": train, "trainB": train, "testA": test, "testB": test, "truth": test}


def _identity(spec: SeasonsSpec) -> str:
    """Returns the beginning of README.txt, by which a data set is recognised."""
    numbers = f"train {spec.train} + {spec.train}, test {spec.test} pairs"
    return f"{_FIRST_LINE}\n\nsize {spec.size}, level {spec.level}, {numbers}\n"


def _readme(spec: SeasonsSpec) -> str:
    classes = ", ".join(f"{index} {name}" for index, name in enumerate(CLASSES))
    return f"""\
{_identity(spec)}
trainA/ trainB/  images of different scenes: unpaired
testA/ testB/    files of the same name are two paintings of one scene
truth/           class maps of the test scenes, 8-bit grey: {MIXED} where a pixel is of several
                 classes, else {classes}

Drawn by unpaired; the numbers above determine every image.
"""
