"""The named data sets: `seasons`, drawn on this machine, and those of the CycleGAN paper."""

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from unpaired.errors import DataError
from unpaired.seasons.dataset import NAMED

__all__ = ["Counts", "Entry", "entries", "entry", "nearest"]


@dataclass(frozen=True)
class Counts:
    """Images in the four folders of a data set."""

    train_a: int
    train_b: int
    test_a: int
    test_b: int

    def __str__(self) -> str:
        return f"{self.train_a} + {self.train_b}, test {self.test_a} + {self.test_b}"


@dataclass(frozen=True)
class Entry:
    """A data set of the catalogue. One without an address is drawn on this machine."""

    name: str
    name_a: str
    name_b: str
    counts: Counts | None
    description: str
    pixels: int = 256
    """Side of an image; 0 if images are not all square and of one size."""
    url: str | None = None
    mirrors: tuple[str, ...] = ()
    """Further addresses of the same file, tried in turn if `url` fails."""
    bytes: int | None = None
    """Size of the zip file."""
    sha256: str | None = None
    """SHA-256 of the zip file at `url` and its mirrors."""
    paired: bool = False
    """Whether test images of one name are true translations of each other."""


@cache
def paper() -> tuple[Entry, ...]:
    """The data sets of the CycleGAN paper; the table is read when it is first asked for."""
    text = files("unpaired.data").joinpath("paper.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    patterns = table.pop("addresses")
    found = []
    for name, row in table.items():
        url, *mirrors = (pattern.format(name=name) for pattern in patterns)
        name_a, name_b = row.pop("domains")
        counts = Counts(*row.pop("counts")) if "counts" in row else None
        found.append(Entry(name, name_a, name_b, counts, url=url, mirrors=tuple(mirrors), **row))
    return tuple(found)


SEASONS = tuple(
    Entry(
        name,
        "summer",
        "winter",
        Counts(spec.train, spec.train, spec.test, spec.test),
        f"drawn landscapes with known truth, {spec.level}",
        spec.size,
        paired=True,
    )
    for name, spec in NAMED.items()
)


def entries() -> tuple[Entry, ...]:
    """Returns all named data sets."""
    return SEASONS + paper()


def entry(name: str) -> Entry:
    """Returns the data set of that name.

    Raises:
        DataError: no data set has this name; the message suggests the nearest one.
    """
    for known in entries():
        if known.name == name:
            return known
    raise DataError(
        f"there is no data set {name!r}{nearest(name)}: `unpaired data list` lists them all"
    )


def nearest(name: str) -> str:
    """Returns ", did you mean ..." with the name most similar to `name`, or an empty string."""
    names = [known.name for known in entries()]
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f", did you mean {near[0]}" if near else ""
