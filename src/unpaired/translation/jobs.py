"""The images to translate and the file for each, planned before any work begins."""

import glob
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from unpaired.data.layout.domains import list_folder
from unpaired.errors import ConfigError, DataError, reason_of
from unpaired.images.formats import SUFFIXES, ImageFormat

__all__ = ["Failure", "Job", "plan", "renamed"]

Failure = tuple[Path, str]  # an input, and the reason why it was not translated
_NOT_REGULAR = "not a regular file (a pipe, a socket or a device)"
Identity = tuple[int, int]  # of a file, whatever its name: device and inode


@dataclass(frozen=True)
class Job:
    """An image, and the file for its translation."""

    source: Path
    target: Path


def plan(
    inputs: Sequence[str | Path], out: Path, *, format: str | None = None, overwrite: bool = False
) -> tuple[list[Job], list[Failure]]:
    """Finds the images among `inputs` with their targets in `out`, and the inputs that fail.

    An input is a file, a folder with everything below it, or a pattern of names (`*`, `?`, `[ ]`,
    and `**` for folders at any depth) unless it is itself the name of a file; so are the leading
    parts of a pattern that exist as they are written. Below a folder, and below the leading parts
    of a pattern without such characters, relative paths are kept; a file keeps its name. Folders
    and patterns give files with an image's suffix, except those in `out` if that is inside them.
    With `format`, a key of SUFFIXES without its dot, names get that suffix unless theirs means the
    same; without it, those of a format that is not written get the suffix of PNG, VRTs of TIFF.

    These inputs fail, without stopping the rest: a missing one, a file or a subfolder that the
    system gives no access to, a broken link, a pipe or a device, a target that exists already where
    `overwrite` is false, a target that links in `out` would put elsewhere.

    Raises:
        ConfigError: an unknown format.
        DataError: no image at all, two images with one target, or a target that is itself an
            input, unless `overwrite` is true and it is replaced by its own translation.
    """
    written = [suffix[1:] for suffix, kind in SUFFIXES.items() if kind.written]
    if format is not None and format not in written:
        names = ", ".join(written)
        raise ConfigError(f"--format is {format!r}: choose one of {names}")
    failed: list[Failure] = []
    jobs: dict[str, Job] = {}  # by target
    sources: dict[Identity, Job] = {}
    seen: set[str] = set()
    for source, relative in _found(inputs, out, failed):
        if (name := os.path.abspath(source)) in seen:
            continue
        seen.add(name)
        try:
            identities = _identities(source)
            regular = stat.S_ISREG(os.stat(source).st_mode)
        except OSError as error:
            failed.append((source, _absence(source, error)))
            continue
        if not regular:
            failed.append((source, _NOT_REGULAR))
            continue
        job = Job(source, out / renamed(relative, format))
        other = jobs.setdefault(os.path.normcase(job.target), job)
        if other is not job and not os.path.samefile(other.source, job.source):
            raise DataError(
                f"{other.source} and {job.source} would both become {job.target}: translate them "
                "in two calls with an --out each"
                + (", or without --format" if format is not None else "")
            )
        if other is job:
            sources.update(dict.fromkeys(identities, job))
    if not jobs:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in failed[:3])
        raise DataError(f"nothing to translate: {reasons or 'give files, folders or patterns'}")
    places: dict[Path, bool] = {}
    possible = []
    for job in jobs.values():
        if reason := _obstacle(job, out, sources, places, overwrite):
            failed.append((job.source, reason))
        else:
            possible.append(job)
    return possible, failed


def _found(
    inputs: Sequence[str | Path], out: Path, failed: list[Failure]
) -> Iterator[tuple[Path, Path]]:
    """Every image of the inputs with its path below `out`; what is missing goes to `failed`."""
    for item in inputs:
        path = Path(item)
        found: list[tuple[Path, Path]] = []
        closed: list[Failure] = []
        reason = ""
        # os.path, since the methods of a Path raise where the system denies access.
        try:
            if os.path.isfile(path):
                found = [(path, Path(path.name))]
            elif os.path.isdir(path):
                found = list(_below(path, out, closed))
                reason = f"no images in it ({', '.join(SUFFIXES)})"
            elif glob.has_magic(str(item)) and not os.path.exists(path):
                found = list(_matches(str(item), out, closed))
                reason = "no image matches"
            else:
                os.stat(path)
                reason = _NOT_REGULAR
        except (OSError, ValueError) as error:
            reason = _absence(path, error)
        yield from found
        failed += [failure for failure in dict.fromkeys(closed) if failure not in failed]
        if not found and not closed:
            failed.append((path, reason))


def _below(folder: Path, out: Path, closed: list[Failure]) -> Iterator[tuple[Path, Path]]:
    """The images below a folder; its subfolders that cannot be read go to `closed`."""
    inside = _inside(out, folder)
    for name in list_folder(folder, closed=_into(closed)).names:
        if not (inside and _inside(folder / name, out)):
            yield folder / name, Path(name)


def _matches(pattern: str, out: Path, closed: list[Failure]) -> Iterator[tuple[Path, Path]]:
    """The images that a pattern matches, those in matching folders included."""
    base, rest = Path(), Path(pattern).parts
    while rest[1:] and not (glob.has_magic(rest[0]) and not os.path.lexists(base / rest[0])):
        base, rest = base / rest[0], rest[1:]
    only_folders = [""] if pattern.endswith("/") else []
    inside = _inside(out, base)
    for match in sorted(
        glob.glob(os.path.join(glob.escape(str(base)), *rest, *only_folders), recursive=True)
    ):
        path = Path(match)
        relative = path.relative_to(base)
        if ".." in relative.parts:
            relative = Path(path.name)
        if os.path.isdir(path):
            yield from ((file, relative / below) for file, below in _below(path, out, closed))
        elif path.suffix.lower() in SUFFIXES and not (inside and _inside(path, out)):
            yield path, relative
    for folder, below, _ in os.walk(base, onerror=_into(closed)):  # `glob` omits them silently
        depth = Path(folder).relative_to(base).parts
        below[:] = [name for name in below if _looks_into((*depth, name), rest)]


def _looks_into(folder: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether matches of `pattern` may lie in `folder`, both given part by part.

    >>> _looks_into(("summer",), ("*", "*.png")), _looks_into(("summer",), ("*.png",))
    (True, False)
    """
    if not folder or not pattern:
        return bool(pattern)
    if pattern[0] == "**" and not folder[0].startswith("."):
        return _looks_into(folder, pattern[1:]) or _looks_into(folder[1:], pattern)
    hidden = folder[0].startswith(".") and not pattern[0].startswith(".")
    return (
        not hidden and fnmatchcase(folder[0], pattern[0]) and _looks_into(folder[1:], pattern[1:])
    )


def _into(closed: list[Failure]) -> Callable[[OSError], None]:
    """Appends folders that cannot be read."""

    def note(error: OSError) -> None:
        path = Path(error.filename)
        closed.append((path, _absence(path, error)))

    return note


def renamed(relative: Path, format: str | None) -> Path:
    """The path with the suffix of `format`, unless its own means the same.

    Without `format`, images of a format that is read and not written become PNG files.
    """
    own = SUFFIXES.get(relative.suffix.lower())
    if format is None:
        return relative if own is None or own.written else _written(relative, own)
    return relative if own == SUFFIXES[f".{format}"] else relative.with_suffix(f".{format}")


def _written(relative: Path, own: ImageFormat) -> Path:
    """The name of the result of an image whose own format is not written."""
    return relative.with_suffix(".tif" if own.driver == "VRT" else ".png")


def _obstacle(
    job: Job,
    out: Path,
    sources: dict[Identity, Job],
    places: dict[Path, bool],
    overwrite: bool,
) -> str | None:
    """The reason why this image cannot be written; `places` caches which folders are in `out`.

    Raises:
        DataError: the target is itself an input, and may not be replaced.
    """
    folder, target = job.target.parent, job.target
    if target.suffix.lower() not in SUFFIXES:
        return f"no format is known by the suffix {target.suffix!r}: choose one with --format"
    if folder not in places:
        places[folder] = folder == out or _inside(folder, out)
    if not places[folder]:
        return f"{target} would lie outside of {out}, through a link"
    if not os.path.lexists(target):
        return None
    for identity in _identities(target, follow=False):
        owner = sources.get(identity)
        if owner and not (overwrite and owner is job):
            raise DataError(
                f"{target} is itself an input: choose another --out"
                + (", or --overwrite to replace it" if owner is job else "")
            )
    if os.path.isdir(target):
        return f"{target} is a folder"
    return None if overwrite else f"{target} exists already: --overwrite replaces it"


def _inside(path: Path, folder: Path) -> bool:
    """Whether `path` lies below `folder`, both with their links resolved."""
    try:
        return folder.resolve() in path.resolve().parents
    except (OSError, RuntimeError):  # a circle of links
        return False


def _absence(path: Path, error: Exception) -> str:
    """The reason why the system has no file of that name."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "a broken link" if os.path.islink(path) else "does not exist"
    return reason_of(error)


def _identities(path: Path, *, follow: bool = True) -> list[Identity]:
    """The identity of a file, and with `follow` also of what it links to."""
    stats = [os.lstat(path)] + ([os.stat(path)] if follow else [])
    return [(stat.st_dev, stat.st_ino) for stat in stats]
