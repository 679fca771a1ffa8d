"""Finding the images of the two domains: recognises the folder layouts in common use.

Recognised, in any letter case (`val`, `valid` or `validation` replace a missing `test`):

    trainA trainB [testA testB]     also train_a, train-a; also below `Images`
    train/A train/B [test/A test/B]
    A B                             also A/images; with A/train and A/test if they exist
    any two folders                 given as two; the domains get their names; likewise
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from unpaired.console import counted
from unpaired.directions import DOMAINS
from unpaired.errors import DataError
from unpaired.images.formats import SUFFIXES

__all__ = ["DataSet", "Folder", "Split", "find_data", "list_folder"]

Split = Literal["train_a", "train_b", "test_a", "test_b"]

_KNOWN = (
    "trainA + trainB (or train_a + train_b, also under Images), train/A + train/B, A + B,"
    " A/images + B/images; or give the two folders themselves"
)
_TEST = ("test", "val", "valid", "validation")


@dataclass(frozen=True)
class Folder:
    """The images of one domain and split."""

    root: Path
    names: tuple[str, ...]  # POSIX paths of the images, relative to `root`, sorted
    others: tuple[str, ...] = field(default=(), repr=False)  # files without an image suffix

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Returns the path of image `index`."""
        return self.root / self.names[index]


@dataclass(frozen=True)
class DataSet:
    """Two domains, with images to train on and, optionally, images to test on."""

    name_a: str
    name_b: str
    train_a: Folder  # may be empty only if `find_data` was told that no training needs it
    train_b: Folder
    test_a: Folder | None
    test_b: Folder | None

    @property
    def folders(self) -> dict[Split, Folder]:
        """The folders by split, without missing ones."""
        found: dict[Split, Folder] = {"train_a": self.train_a, "train_b": self.train_b}
        if self.test_a:
            found["test_a"] = self.test_a
        if self.test_b:
            found["test_b"] = self.test_b
        return found

    def without(self, paths: Collection[Path]) -> "DataSet":
        """Returns the data set without these images.

        Raises:
            DataError: no image of a domain would remain to train on.
        """
        rest = {
            split: replace(f, names=tuple(n for n in f.names if f.root / n not in paths))
            for split, f in self.folders.items()
        }
        for folder in (self.train_a, self.train_b):
            if folder and all(folder.root / name in paths for name in folder.names):
                raise DataError(f"{folder.root}: no image remains to train on")
        tests = rest.get("test_a") or None, rest.get("test_b") or None
        return DataSet(self.name_a, self.name_b, rest["train_a"], rest["train_b"], *tests)


def find_data(data: Path | tuple[Path, Path], *, need_train: bool = True) -> DataSet:
    """Finds the images of both domains in the folder of a data set, or in the two folders given.

    With `need_train` false, a data set of test images alone is accepted.

    Raises:
        DataError: a path that is missing or not a folder, an unknown layout, a folder without
            images, or one folder for both domains.
    """
    if isinstance(data, tuple):
        return _two_folders(*data)
    _require_folder(data)
    for root in (data, _subfolders(data).get("images")):
        if root is not None and (roots := _recognise(root)):
            return _data_set(("a", "b"), roots, need_train)
    raise DataError(f"{data}: no known layout of two domains ({_seen(data)}): need {_KNOWN}")


def _two_folders(a: Path, b: Path) -> DataSet:
    for folder in (a, b):
        _require_folder(folder)
    _require_apart(a, b)
    # Names of folders need not be UTF-8; names of domains must be.
    name_a, name_b = (
        folder.resolve().name.encode(errors="backslashreplace").decode() for folder in (a, b)
    )
    # "a" and "b" always mean the sides, so no domain may have the other side's name.
    if not name_a or not name_b or name_a.lower() in (name_b.lower(), "b") or name_b.lower() == "a":
        name_a, name_b = "a", "b"
    return _data_set((name_a, name_b), _splits("a", a) | _splits("b", b), need_train=True)


def _recognise(root: Path) -> dict[str, Path]:
    """Returns the folders of a layout by split, those that it has."""
    below = _subfolders(root)
    found: dict[str, Path] = {}
    for split, spellings in (("train", ("train",)), ("test", _TEST)):
        for spelling in spellings:
            inner = _subfolders(below[spelling]) if spelling in below else {}
            for side in DOMAINS:
                names = (f"{spelling}{side}", f"{spelling}_{side}", f"{spelling}-{side}")
                places = [below[name] for name in names if name in below]
                places += [inner[side]] if side in inner else []
                if places:
                    found[f"{split}_{side}"] = places[0]
            if any(key.startswith(split) for key in found):
                break
    if not found and {"a", "b"} <= below.keys():
        for side in DOMAINS:
            found |= _splits(side, _subfolders(below[side]).get("images", below[side]))
    return found


def _splits(side: str, folder: Path) -> dict[str, Path]:
    """Returns a domain's folder as a whole, or its `train` and `test` if it has a `train`."""
    inner = _subfolders(folder)
    if "train" not in inner:
        return {f"train_{side}": folder}
    tests = [inner[spelling] for spelling in _TEST if spelling in inner]
    return {f"train_{side}": inner["train"]} | {f"test_{side}": test for test in tests[:1]}


def _data_set(names: tuple[str, str], roots: dict[str, Path], need_train: bool) -> DataSet:
    for split in ("train", "test"):
        if f"{split}_a" in roots and f"{split}_b" in roots:
            _require_apart(roots[f"{split}_a"], roots[f"{split}_b"])
    found = {key: list_folder(root) for key, root in roots.items()}
    if need_train:
        for side in DOMAINS:
            if f"train_{side}" not in found:
                seen = ", ".join(f"{folder.root} ({len(folder)})" for folder in found.values())
                raise DataError(f"no train{side.upper()} to train on; images are in: {seen}")
            _require_images(found[f"train_{side}"])
    elif not any(found.values()):
        _require_images(next(iter(found.values())))
    nothing = Folder(next(iter(roots.values())).parent, ())
    return DataSet(
        *names,
        found.get("train_a", nothing),
        found.get("train_b", nothing),
        found.get("test_a") or None,
        found.get("test_b") or None,
    )


def list_folder(root: Path) -> Folder:
    """Lists all images below `root`; follows links to folders, enters each folder once.

    Raises:
        DataError: a folder that cannot be read.
    """

    def fail(error: OSError) -> None:
        raise DataError(f"{error.filename}: {(error.strerror or str(error)).lower()}") from error

    entered: set[str] = set()
    names: list[str] = []
    others: list[str] = []
    for folder, below, files in os.walk(root, followlinks=True, onerror=fail):
        place = os.path.realpath(folder)
        if place in entered:
            below.clear()
            continue
        entered.add(place)
        below[:] = sorted(name for name in below if not _is_debris(name))
        for name in files:
            if not _is_debris(name):
                path = Path(folder, name)
                (names if path.suffix.lower() in SUFFIXES else others).append(
                    path.relative_to(root).as_posix()
                )
    return Folder(root, tuple(sorted(names)), tuple(sorted(others)))


def _is_debris(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _subfolders(root: Path) -> dict[str, Path]:
    """Returns the folders in `root` by their names in lower case."""
    try:
        return {
            path.name.lower(): path
            for path in sorted(root.iterdir(), reverse=True)
            if path.is_dir() and not _is_debris(path.name)
        }
    except OSError as error:
        raise DataError(f"{root}: {(error.strerror or str(error)).lower()}") from error


def _seen(root: Path) -> str:
    """Describes the content of `root` in a few words."""
    folders = sorted(path.name for path in _subfolders(root).values())
    images = sum(path.suffix.lower() in SUFFIXES for path in root.iterdir())
    listed = ", ".join(folders[:8]) + (f" and {len(folders) - 8} more" if len(folders) > 8 else "")
    return f"folders: {listed or 'none'}; images: {images}"


def _require_folder(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path}: no such folder")
    if not path.is_dir():
        raise DataError(f"{path} is a file (expected a folder): give a data set or two folders")


def _require_images(folder: Folder) -> None:
    if not folder.names:
        others = f" ({counted(len(folder.others), 'other file')})" if folder.others else ""
        raise DataError(f"{folder.root}: no images found{others}: need {', '.join(SUFFIXES)}")


def _require_apart(a: Path, b: Path) -> None:
    real_a, real_b = a.resolve(), b.resolve()
    if real_a == real_b:
        raise DataError(f"{a} and {b} are the same folder: two domains need two")
    if real_a in real_b.parents or real_b in real_a.parents:
        raise DataError(f"{a} and {b}: one is inside the other, so its images would be in both")
