"""The images of one domain and split: listed by their suffix, read whole or by halves.

What people did not put there as images of the domain is omitted and counted: hidden files and
folders, the folders of systems and network drives, and run and report folders of this program.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from unpaired.console import counted
from unpaired.errors import DataError, ImageError, reason_of, shown
from unpaired.images.formats import SUFFIXES, Reading, read_image
from unpaired.images.image import Image
from unpaired.images.raster.geo import Window

__all__ = ["Folder", "Half", "is_system", "list_folder", "subfolders", "walk"]

Half = Literal["left", "right"]
"""The half of an image that shows a domain, where every file shows both side by side."""

# In lower case; besides, all that begins with a dot.
_SYSTEM = {
    "@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot",
    "$recycle.bin", "recycler", "system volume information", "lost+found", "__macosx",
    "network trash folder", "temporary items", "__pycache__", "thumbs.db", "desktop.ini",
}  # fmt: skip
_OF_RUN = ("checkpoints", "samples", "report")  # folders of a run that may hold images
_RUN = {"model.safetensors", "metrics.jsonl", "checkpoints"}
_REPORT = {"index.html", "report.json", "pictures.png"}


@dataclass(frozen=True)
class Folder:
    """The images of one domain and split."""

    root: Path
    names: tuple[str, ...]  # POSIX paths of the images, relative to `root`, sorted
    others: tuple[str, ...] = field(default=(), repr=False)  # files without an image suffix
    omitted: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    """Folders that are no part of the data (see `list_folder`), and the images in each."""
    half: Half | None = None
    reading: Reading = field(default=Reading(), repr=False)
    """What transparency is in its files, and whether files of several frames are accepted."""
    windows: tuple[Window | None, ...] = field(default=(), repr=False)
    """Empty, or of each image the part of its file that it is; None: the whole file."""

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Returns the path of image `index`."""
        return self.root / self.names[index]

    def label(self, index: int) -> str:
        """The name of image `index`; of a part of a file with its place, before the suffix.

        >>> Folder(Path("a"), ("x.tif",), windows=(Window(0, 512, 64, 64),)).label(0)
        'x@0,512.tif'
        """
        name, window = self.names[index], self.window(index)
        if window is None:
            return name
        path = PurePosixPath(name)
        return str(path.with_name(f"{path.stem}@{window.top},{window.left}{path.suffix}"))

    def window(self, index: int) -> Window | None:
        """The part of its file that image `index` is; None: the whole file."""
        return self.windows[index] if self.windows else None

    def only(self, indices: Collection[int]) -> "Folder":
        """The folder with these of its images, in their order here."""
        kept = sorted(indices)
        windows = tuple(self.windows[index] for index in kept) if self.windows else ()
        return replace(self, names=tuple(self.names[index] for index in kept), windows=windows)

    def in_parts(self, parts: Mapping[str, Sequence[Window]]) -> "Folder":
        """The folder with an image for each part of the files named in `parts`."""
        if not parts:
            return self
        found: list[tuple[str, Window | None]] = []
        for name in self.names:
            found += [(name, window) for window in parts.get(name, ())]
            found += [(name, None)] if name not in parts else []
        names, windows = zip(*found, strict=True) if found else ((), ())
        return replace(self, names=names, windows=windows)

    def read(
        self,
        index: int,
        *,
        max_pixels: int,
        bands: int | None = None,
        window: Window | None = None,
    ) -> Image:
        """Reads image `index`, or its half; of an odd width, the right half is wider by one pixel.

        `bands` are those of the domain, as for `read_image`; `window` is a part of the image. Of
        rasters the place is not read.

        Raises:
            ImageError, MissingExtra: see `read_image`; or too narrow to have two halves.
        """
        path = self.path(index)
        own = self.window(index)
        if own is not None:
            window = window.within(own) if window else own
        image = read_image(
            path,
            self.reading,
            max_pixels=max_pixels,
            bands=bands,
            window=window,
            described=False,
        )
        if self.half is None:
            return image
        middle = image.size[1] // 2
        if not middle:
            raise ImageError(f"{shown(path)}: 1 pixel wide, so it has no two halves")
        part = slice(middle) if self.half == "left" else slice(middle, None)
        alpha = None if image.alpha is None else image.alpha[:, part]
        return replace(image, pixels=image.pixels[:, part], alpha=alpha)

    def remarks(self, title: str) -> list[str]:
        """Lines about images that were omitted, and about several subfolders; `title` begins each.

        >>> Folder(Path("trainA"), ("images/1.png", "masks/1.png")).remarks("train a")[0][:53]
        'train a: images of 2 subfolders, images (1), masks (1'
        """
        lines = []
        if hidden := [(name, count) for name, count in self.omitted if count]:
            total = counted(sum(count for _, count in hidden), "image")
            lines.append(f"{title}: {total} omitted, not part of the data: {_listed(hidden, 12)}")
        places = Counter(str(PurePosixPath(name).parent) for name in self.names)
        if len(places) > 1:
            named = [("." if name == "." else name, n) for name, n in places.most_common()]
            lines.append(
                f"{title}: images of {len(places):,} subfolders, {_listed(named)}: all are used; "
                "if some are not images of this domain (masks, for example), give the folder of "
                "those that are"
            )
        return lines


def list_folder(root: Path, *, closed: Callable[[OSError], None] | None = None) -> Folder:
    """Lists all images below `root`; follows links to folders, enters each folder once.

    Files are listed by their suffix and not opened: what only looks like an image, a pipe or a
    device too, is found by the check of the data. Hidden files and folders, system folders, report
    folders, and in run folders their samples, report and checkpoints are omitted and counted.

    Raises:
        DataError: a folder that cannot be read, unless `closed` takes such errors.
    """

    def fail(error: OSError) -> None:
        raise DataError(f"{shown(error.filename)}: {reason_of(error)}") from error

    names: list[str] = []
    others: list[str] = []
    omitted: Counter[str] = Counter()
    for folder, files, gone, own in walk(root, closed or fail):
        for path in gone:
            name = path.name if is_system(path.name) else path.relative_to(root).as_posix()
            omitted[name] += _count(path)
        for name in files:
            path = folder / name
            if is_system(name):
                omitted["hidden files"] += path.suffix.lower() in SUFFIXES
            elif path.suffix.lower() in SUFFIXES:
                names.append(path.relative_to(root).as_posix())
            elif not own:
                others.append(path.relative_to(root).as_posix())
    return Folder(root, tuple(sorted(names)), tuple(sorted(others)), tuple(omitted.most_common()))


def walk(
    root: Path, onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str], list[Path], bool]]:
    """Walks the folders below `root` that may hold data; each is entered once, links included.

    Yields:
        A folder, the names of its files, the folders that are omitted (those in it, or itself), and
        whether it is a run folder.
    """
    entered: set[str] = set()
    for name, below, files in os.walk(root, followlinks=True, onerror=onerror):
        folder, place = Path(name), os.path.realpath(name)
        if place in entered:
            below.clear()
            continue
        entered.add(place)
        kind = _own({*below, *files})
        if kind == "report" and folder != root:
            below.clear()
            yield folder, [], [folder], False
            continue
        gone = {n for n in below if is_system(n) or (kind == "run" and n in _OF_RUN)}
        below[:] = sorted(set(below) - gone)
        yield folder, files, [folder / n for n in sorted(gone)], kind == "run"


def is_system(name: str) -> bool:
    """Whether a file or folder of this name belongs to the system, a drive or an archive.

    >>> is_system("@eaDir"), is_system(".Trash-1000"), is_system("summer")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM


def subfolders(root: Path) -> dict[str, Path]:
    """Returns the folders in `root` that may hold data, by their names in lower case.

    Raises:
        DataError: a folder that cannot be read.
    """
    try:
        found = sorted(root.iterdir(), reverse=True)
        run = _own({path.name for path in found}) == "run"
        return {
            path.name.lower(): path
            for path in found
            if not (is_system(path.name) or (run and path.name in _OF_RUN)) and path.is_dir()
        }
    except OSError as error:
        raise DataError(f"{shown(error.filename or root)}: {reason_of(error)}") from error


def _own(names: Collection[str]) -> Literal["run", "report"] | None:
    """Tells by the names in a folder whether it is a run folder or a report; else None."""
    if "config.toml" in names and not _RUN.isdisjoint(names):
        return "run"
    return "report" if _REPORT.issubset(names) else None


def _count(folder: Path) -> int:
    """The images in a folder that is omitted, as far as it can be read."""
    return sum(
        Path(name).suffix.lower() in SUFFIXES for _, _, files in os.walk(folder) for name in files
    )


def _listed(counts: list[tuple[str, int]], most: int = 6) -> str:
    """The first folders with their counts.

    >>> _listed([("images", 1200), ("masks", 3)])
    'images (1,200), masks (3)'
    """
    listed = ", ".join(f"{shown(name)} ({count:,})" for name, count in counts[:most])
    return listed + (f" and {len(counts) - most} more" if len(counts) > most else "")
