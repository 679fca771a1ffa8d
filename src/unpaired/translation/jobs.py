"""The images to translate and the file for each, planned before any work begins."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unpaired.data.domains import list_folder
from unpaired.errors import ConfigError, DataError, reason_of
from unpaired.images.formats import SUFFIXES

__all__ = ["Failure", "Job", "plan"]

Failure = tuple[Path, str]  # an input, and the reason why it was not translated
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
    and `**` for folders at any depth) unless it is itself the name of a file. Below a folder, and
    below the leading parts of a pattern without such characters, relative paths are kept; a file
    keeps its name. Folders and patterns give files with an image's suffix, except those in `out`
    if that is inside them. With `format`, a key of SUFFIXES without its dot, names get that suffix
    unless theirs means the same.

    These inputs fail, without stopping the rest: a missing one, one that the system gives no access
    to, a broken link, a target that exists already where `overwrite` is false, a target that links
    in `out` would put elsewhere.

    Raises:
        ConfigError: an unknown format.
        DataError: no image at all, two images with one target, or a target that is itself an
            input, unless `overwrite` is true and it is replaced by its own translation.
    """
    if format is not None and f".{format}" not in SUFFIXES:
        names = ", ".join(suffix[1:] for suffix in SUFFIXES)
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
        except OSError as error:
            failed.append((source, _absence(source, error)))
            continue
        job = Job(source, out / _renamed(relative, format))
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
    """Every image of the inputs with its path below `out`; missing inputs go to `failed`."""
    for item in inputs:
        path = Path(item)
        found: list[tuple[Path, Path]] = []
        reason = ""
        # os.path, since the methods of a Path raise where the system denies access.
        try:
            if os.path.isfile(path):
                found = [(path, Path(path.name))]
            elif os.path.isdir(path):
                found = list(_below(path, out))
                reason = f"no images in it ({', '.join(SUFFIXES)})"
            elif glob.has_magic(str(item)) and not os.path.exists(path):
                found = list(_matches(str(item), out))
                reason = "no image matches"
            else:
                os.stat(path)
                reason = "neither a file nor a folder"
        except DataError as error:  # a folder that may not be read
            reason = str(error).removeprefix(f"{path}: ")
        except (OSError, ValueError) as error:
            reason = _absence(path, error)
        yield from found
        if not found:
            failed.append((path, reason))


def _below(folder: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    inside = _inside(out, folder)
    for name in list_folder(folder).names:
        if not (inside and _inside(folder / name, out)):
            yield folder / name, Path(name)


def _matches(pattern: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """The images that a pattern matches, those in matching folders included."""
    plain = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        plain.append(part)
    base = Path(*plain)
    inside = _inside(out, base)
    for match in sorted(glob.glob(pattern, recursive=True)):
        path = Path(match)
        relative = path.relative_to(base)
        if ".." in relative.parts:
            relative = Path(path.name)
        if os.path.isdir(path):
            yield from ((file, relative / below) for file, below in _below(path, out))
        elif path.suffix.lower() in SUFFIXES and not (inside and _inside(path, out)):
            yield path, relative


def _renamed(relative: Path, format: str | None) -> Path:
    """The path with the suffix of `format`, unless its own means the same."""
    if format is None or SUFFIXES.get(relative.suffix.lower()) == SUFFIXES[f".{format}"]:
        return relative
    return relative.with_suffix(f".{format}")


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
