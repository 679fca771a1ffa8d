"""The data set of two domains, in one folder of a known layout or in two folders."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from unpaired.console import counted
from unpaired.data.layout.folder import Folder, Half, list_folder
from unpaired.data.layout.layouts import Layout, aligned_layout, domain_names, find_layout, splits
from unpaired.directions import DOMAINS, Aligned
from unpaired.errors import ConfigError, DataError, shown
from unpaired.images.formats import SUFFIXES, Reading
from unpaired.images.raster.geo import Window

__all__ = ["HALVES", "DataSet", "Folder", "Split", "find_data", "list_folder"]

Split = Literal["train_a", "train_b", "test_a", "test_b"]

HALVES: dict[Aligned, tuple[Half, Half]] = {
    "left-right": ("left", "right"),
    "right-left": ("right", "left"),
}
"""The halves of images that show A and B side by side."""


@dataclass(frozen=True)
class DataSet:
    """Two domains, with images to train on and, optionally, images to test on."""

    name_a: str
    name_b: str
    train_a: Folder  # may be empty only if `find_data` was told that no training needs it
    train_b: Folder
    test_a: Folder | None
    test_b: Folder | None
    paired: bool = field(default=False, kw_only=True)
    """Whether images of A and B are known to be pairs where their names are equal."""
    found: str = field(default="", kw_only=True, repr=False, compare=False)
    """A line on the domains and their folders, where these do not simply have the letters A, B."""

    @property
    def folders(self) -> dict[Split, Folder]:
        """The folders by split, without missing ones."""
        found: dict[Split, Folder] = {"train_a": self.train_a, "train_b": self.train_b}
        if self.test_a:
            found["test_a"] = self.test_a
        if self.test_b:
            found["test_b"] = self.test_b
        return found

    @property
    def remarks(self) -> list[str]:
        """Lines on what was found: the domains, omitted images, several subfolders of a domain."""
        lines = [self.found] if self.found else []
        for split, folder in self.folders.items():
            lines += folder.remarks(split.replace("_", " "))
        return lines

    @property
    def swapped(self) -> "DataSet":
        """The same with A for B."""
        trains, tests = (self.train_b, self.train_a), (self.test_b, self.test_a)
        return DataSet(self.name_b, self.name_a, *trains, *tests, paired=self.paired)

    def read_as(self, a: Reading, b: Reading | None = None) -> "DataSet":
        """Returns the data set, its files to be read like this; those of B as `b`, if given."""
        readings = {"a": a, "b": b or a}
        found = {s: replace(f, reading=readings[s[-1]]) for s, f in self.folders.items()}
        return self._with(found)

    def in_parts(self, parts: Mapping[str, Mapping[str, Sequence[Window]]]) -> "DataSet":
        """Returns the data set with an image for each part of files, by split and name."""
        found = {split: f.in_parts(parts.get(split, {})) for split, f in self.folders.items()}
        return self._with(found)

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
                raise DataError(f"{shown(folder.root)}: no image remains to train on")
        return self._with({split: f for split, f in rest.items() if f.names})

    def _with(self, folders: Mapping[Split, Folder]) -> "DataSet":
        """Returns the data set with these folders by split; a missing test set is none."""
        return replace(
            self,
            train_a=folders["train_a"],
            train_b=folders["train_b"],
            test_a=folders.get("test_a"),
            test_b=folders.get("test_b"),
        )


def find_data(
    data: Path | tuple[Path, Path],
    *,
    need_train: bool = True,
    domains: tuple[str, str] | None = None,
    aligned: Aligned | None = None,
) -> DataSet:
    """Finds the images of both domains in the folder of a data set, or in the two folders given.

    Args:
        data: a folder of a known layout (see `layouts`), or the folders of A and B.
        need_train: false: a data set of test images alone is accepted.
        domains: names of the folders of A and B in `data`, where their letters do not say so; with
            `aligned` the names of the two halves.
        aligned: every image shows A and B side by side, A at the left or at the right.

    Raises:
        DataError: a path that is missing or not a folder, an unknown layout, a folder without
            images, one folder for both domains, or a control character in the name of a domain.
        ConfigError: `domains` or `aligned` for two folders, or an unknown `aligned`.
    """
    if aligned is not None and aligned not in HALVES:
        raise ConfigError(f"--aligned is {aligned!r}: choose one of {', '.join(HALVES)}")
    if isinstance(data, tuple):
        if domains or aligned:
            flag = "--domains" if domains else "--aligned"
            raise ConfigError(f"{flag} is for DATA of one folder: give that folder, or omit {flag}")
        return _two_folders(*data)
    _require_folder(data)
    if aligned is not None:
        return _data_set(aligned_layout(data, HALVES[aligned], domains), need_train, data)
    return _data_set(find_layout(data, domains), need_train, data)


def _two_folders(a: Path, b: Path) -> DataSet:
    for folder in (a, b):
        _require_folder(folder)
    _require_apart(a, b)
    names = domain_names(a.resolve().name, b.resolve().name)
    return _data_set(Layout(names, splits("a", a) | splits("b", b), chosen=False), True, a)


def _data_set(layout: Layout, need_train: bool, given: Path) -> DataSet:
    roots, halves = layout.roots, layout.halves
    for split in ("train", "test"):
        if f"{split}_a" in roots and f"{split}_b" in roots and not halves:
            _require_apart(roots[f"{split}_a"], roots[f"{split}_b"])
    found = {key: list_folder(root) for key, root in roots.items()}
    if halves:
        found = {key: replace(f, half=halves[key.endswith("b")]) for key, f in found.items()}
    if need_train:
        for side in DOMAINS:
            if f"train_{side}" not in found:
                seen = ", ".join(f"{shown(f.root)} ({len(f)})" for f in found.values())
                raise DataError(f"no train{side.upper()} to train on; images are in: {seen}")
            _require_images(found[f"train_{side}"])
    elif not any(found.values()):
        _require_images(next(iter(found.values())))
    nothing = Folder(next(iter(roots.values())).parent, ())
    return DataSet(
        *layout.names,
        found.get("train_a", nothing),
        found.get("train_b", nothing),
        found.get("test_a") or None,
        found.get("test_b") or None,
        paired=halves is not None,
        found=_found(layout, found, given) if layout.chosen or halves else "",
    )


def _found(layout: Layout, found: dict[str, Folder], given: Path) -> str:
    """A line such as "domains in photos: a is summer (train/summer), b is winter (winter)"."""
    told = []
    for side, name in zip(DOMAINS, layout.names, strict=True):
        folders = [folder for key, folder in found.items() if key.endswith(side)]
        places = " and ".join(shown(folder.root.relative_to(given)) for folder in folders)
        half = f", the {folders[0].half} halves" if layout.halves else ""
        called = side if name == side else f"{side} is {name}"
        told.append(f"{called} ({places or 'no images'}{half})")
    return f"domains in {shown(given)}: {', '.join(told)}"


def _require_folder(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{shown(path)}: no such folder")
    if not path.is_dir():
        raise DataError(
            f"{shown(path)} is a file (expected a folder): give a data set or two folders"
        )


def _require_images(folder: Folder) -> None:
    if not folder.names:
        others = f" ({counted(len(folder.others), 'other file')})" if folder.others else ""
        raise DataError(
            f"{shown(folder.root)}: no images found{others}: need {', '.join(SUFFIXES)}"
        )


def _require_apart(a: Path, b: Path) -> None:
    real_a, real_b = a.resolve(), b.resolve()
    if real_a == real_b:
        raise DataError(f"{shown(a)} and {shown(b)} are the same folder: two domains need two")
    if real_a in real_b.parents or real_b in real_a.parents:
        raise DataError(
            f"{shown(a)} and {shown(b)}: one is inside the other, so its images would be in both"
        )
