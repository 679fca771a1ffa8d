"""The folders of the two domains, recognised by the layouts in common use.

In any letter case, alone, in a folder `images`, or in one folder too many; X and Y are the names of
the domains: A and B, or any others where exactly two folders qualify, or those that the user names.
`val`, `valid` or `validation` replace a missing `test`.

    trainX trainY [testX testY]     also train_X, train-X, X_train, X-train
    train/X train/Y [test/X test/Y]
    X Y                             with X/train and X/test, if they exist
    A/images B/images
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unpaired.data.layout.folder import Half, is_system, subfolders, walk
from unpaired.directions import DOMAINS, Domain, can_be_a_name
from unpaired.errors import DataError, shown
from unpaired.images.formats import SUFFIXES

__all__ = ["Layout", "aligned_layout", "domain_names", "find_layout", "splits"]

_TEST = ("test", "val", "valid", "validation")
_SPLITS = {"train", "training", "testing", "dev", "eval", "evaluation", *_TEST}
_KNOWN = (
    "trainA + trainB, train/A + train/B or A + B (any two names); else give the two folders, "
    "choose two of several with --domains, or split side-by-side images with --aligned left-right"
)
_DEEPEST = 4  # folders around a layout, at most


@dataclass(frozen=True)
class Layout:
    """The folders of a data set by split, such as `train_a`, and the names of the domains."""

    names: tuple[str, str]
    roots: dict[str, Path]
    chosen: bool  # the names are not simply A and B, or the folder is another than the one given
    halves: tuple[Half, Half] | None = None


def find_layout(root: Path, domains: tuple[str, str] | None) -> Layout:
    """Finds the layout in `root`; `domains` are the names of the folders of A and B, if chosen.

    Raises:
        DataError: none is found, or several; two names that cannot be told apart.
    """
    if domains is not None and domains[0].casefold() == domains[1].casefold():
        raise DataError(f"--domains {shown(' '.join(domains))}: give two different names")
    if found := _in(root, domains, root):
        return found
    if domains is None:
        raise DataError(
            f"{shown(root)}: no known layout of two domains ({_seen(root)}): need {_KNOWN}"
        )
    missing = shown(" and ".join(domains))
    raise DataError(
        f"{shown(root)}: no folders of the domains {missing} in it or in its train ({_seen(root)})"
    )


def aligned_layout(
    root: Path, halves: tuple[Half, Half], domains: tuple[str, str] | None
) -> Layout:
    """The layout of images that show A and B side by side: in `train` and `test`, or in `root`.

    `domains` are the names of the two, if given.

    Raises:
        DataError: no images.
    """
    names = domain_names(*domains) if domains else ("a", "b")
    for place in _nested(root):
        below = subfolders(place)
        kinds = {"train": ("train",), "test": _TEST}
        places = {
            kind: next((below[s] for s in spellings if s in below), None)
            for kind, spellings in kinds.items()
        }
        if not any(places.values()) and any(_images_at(place)):
            places["train"] = place
        roots = {f"{k}_{side}": path for k, path in places.items() if path for side in DOMAINS}
        if roots:
            return Layout(names, roots, place != root, halves)
    raise DataError(
        f"{shown(root)}: no images to split ({_seen(root)}): need train, test or images"
    )


def splits(side: Domain, folder: Path) -> dict[str, Path]:
    """Returns a domain's folder as a whole, or its `train` and `test` if it has a `train`."""
    inner = subfolders(folder)
    if "train" not in inner:
        return {f"train_{side}": folder}
    tests = [inner[spelling] for spelling in _TEST if spelling in inner]
    return {f"train_{side}": inner["train"]} | {f"test_{side}": test for test in tests[:1]}


def domain_names(a: str, b: str) -> tuple[str, str]:
    """The names of domains whose folders have these names: the same, or a and b.

    "a" and "b" always mean the sides, so no domain may have the other side's name. Names of folders
    need not be UTF-8; names of domains must be.

    >>> domain_names("Summer", "winter"), domain_names("b", "a"), domain_names("A", "B")
    (('Summer', 'winter'), ('a', 'b'), ('A', 'B'))

    Raises:
        DataError: a control character or a line break in a name.
    """
    for name in (a, b):
        if name and not can_be_a_name(name.encode(errors="replace").decode()):
            raise DataError(
                f"{shown(name)}: a control character in the name of a folder, which would be that "
                "of a domain: rename the folder"
            )
    a, b = shown(a), shown(b)
    if not a or not b or a.casefold() in (b.casefold(), "b") or b.casefold() == "a":
        return "a", "b"
    return a, b


def _in(root: Path, domains: tuple[str, str] | None, given: Path) -> Layout | None:
    """The layout in `root`, or in a folder around it that holds nothing else."""
    for place in _nested(root):
        inner = subfolders(place).get("images")
        for folder in filter(None, (place, inner)):
            roots = _recognise(folder, domains or DOMAINS)
            if roots:
                names = domain_names(*domains) if domains else DOMAINS
                return Layout(names, roots, domains is not None or place != given)
        if domains is None:
            for folder in filter(None, (place, inner)):
                pair = _two_names(folder)
                if pair and (roots := _recognise(folder, pair)):
                    return Layout(domain_names(*pair), roots, True)
    return None


def _nested(root: Path) -> Iterator[Path]:
    """`root`, and while one subfolder holds all images there are, that subfolder."""
    for _ in range(_DEEPEST):
        yield root
        inner = [path for path in subfolders(root).values() if _has_images(path)]
        if len(inner) != 1 or any(_images_at(root)):
            return
        root = inner[0]


def _recognise(root: Path, sides: tuple[str, str]) -> dict[str, Path]:
    """Returns the folders of the domains by split, those that exist."""
    below = subfolders(root)
    found: dict[str, Path] = {}
    for split, spellings in (("train", ("train",)), ("test", _TEST)):
        for spelling in spellings:
            inner = subfolders(below[spelling]) if spelling in below else {}
            for domain, side in zip(DOMAINS, (side.lower() for side in sides), strict=True):
                names = [f"{spelling}{mark}{side}" for mark in ("", "_", "-")]
                names += [f"{side}{mark}{spelling}" for mark in ("_", "-")]
                places = [below[name] for name in names if name in below]
                places += [inner[side]] if side in inner else []
                if places:
                    found[f"{split}_{domain}"] = places[0]
            if any(key.startswith(split) for key in found):
                break
    a, b = (below.get(side.lower()) for side in sides)
    if a and b and not any(key.startswith("train") for key in found):
        for domain, folder in (("a", a), ("b", b)):
            found |= splits(domain, subfolders(folder).get("images", folder))
    return found


def _two_names(root: Path) -> tuple[str, str] | None:
    """The names of the two domains by the folders in `root`, sorted; None where they are not two.

    Raises:
        DataError: the two are data sets themselves.
    """
    below = {path.name: path for path in subfolders(root).values()}
    for split in ("(?i:train)", "(?i:test)"):
        pattern = f"{split}[_-](.+)|{split}([A-Z0-9].*)|(.+)[_-]{split}"
        matches = [re.fullmatch(pattern, name) for name in below]
        stems = sorted({next(filter(None, match.groups())) for match in matches if match})
        if len(stems) == 2:
            return stems[0], stems[1]
    for split in ("train", *_TEST):
        inner = next((path for name, path in below.items() if name.lower() == split), None)
        if inner and len(names := _with_images(inner)) == 2:
            return names[0], names[1]
    if len(names := _with_images(root)) != 2:
        return None
    sets = [name for name in names if _recognise(below[name], DOMAINS)]
    if sets:
        raise DataError(
            f"{shown(root)} holds other data sets ({shown(', '.join(sets))}): give one of them"
        )
    return names[0], names[1]


def _with_images(root: Path) -> list[str]:
    """The names of the folders in `root` with images in them that are not a split, sorted."""
    return sorted(
        path.name
        for name, path in subfolders(root).items()
        if name not in _SPLITS and _has_images(path)
    )


def _has_images(folder: Path) -> bool:
    return any(_is_image(name) for _, files, _, _ in walk(folder) for name in files)


def _images_at(root: Path) -> Iterator[str]:
    return (path.name for path in root.iterdir() if _is_image(path.name) and not path.is_dir())


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not is_system(name)


def _seen(root: Path) -> str:
    """Describes the content of `root` in a few words."""
    folders = sorted(shown(path.name) for path in subfolders(root).values())
    images = sum(1 for _ in _images_at(root))
    listed = ", ".join(folders[:8]) + (f" and {len(folders) - 8} more" if len(folders) > 8 else "")
    return f"folders: {listed or 'none'}; images: {images}"
