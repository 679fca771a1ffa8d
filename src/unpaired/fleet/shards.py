"""The share of one process in a fleet, and the name of each result: functions of input names."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Self

from unpaired.data.layout.folder import is_system
from unpaired.errors import ConfigError, DataError, quoted, shown
from unpaired.images.formats import SUFFIXES
from unpaired.translation.jobs import renamed

__all__ = ["MOST_SHARDS", "Item", "Shard", "output_of", "work_list"]

MOST_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """One of `count` shards; `index` counts from 0. A name is in the same shard on any machine.

    >>> sorted(i for i in range(3) if Shard(i, 3).has("sub/photo.jpg"))
    [1]

    Raises:
        ConfigError: no shard of so many.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= MOST_SHARDS:
            raise ConfigError(
                f"--shard is {self.index}/{self.count}: give I/N with I from 0 to N - 1, and N up "
                f"to {MOST_SHARDS:,}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that "I/N" means.

        Raises:
            ConfigError: it is none.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if found is None:
            raise ConfigError(f"--shard is {quoted(text)}: give I/N, such as 0/8 to 7/8")
        return cls(int(found[1]), int(found[2]))

    def has(self, name: str) -> bool:
        """Whether an input is in this shard: by blake2b of its relative name, modulo `count`."""
        digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index


@dataclass(frozen=True)
class Item:
    """An input: its name relative to the source with `/`, its bytes, and the name of its result."""

    name: str
    size: int | None
    output: str


def output_of(name: str, format: str | None) -> str:
    """The name of the result of an input, relative to the destination, as `jobs.plan` gives it.

    >>> output_of("a/photo.gif", None), output_of("photo.jpg", "tiff")
    ('a/photo.png', 'photo.tiff')
    """
    return renamed(Path(name), format).as_posix()


def work_list(
    sizes: Mapping[str, int | None], shard: Shard, format: str | None, inside: str = ""
) -> list[Item]:
    """The images of a shard among the files of a source, sorted by name.

    Files without the suffix of an image are omitted, as are hidden ones and system folders, and
    what is below `inside`, the destination where that is in the source.

    Raises:
        DataError: no image in the whole source, or two that would have one result.
    """
    items, owners = [], dict[str, str]()
    for name in sorted(_images(sizes, inside)):
        output = output_of(name, format)
        if (other := owners.setdefault(output, name)) != name:
            raise DataError(
                f"{shown(other)} and {shown(name)} would both become {shown(output)}: rename one"
                + (", or give no --format" if format is not None else "")
            )
        if shard.has(name):
            items.append(Item(name, sizes[name], output))
    if not owners:
        raise DataError(f"no images in the source ({', '.join(SUFFIXES)})")
    return items


def _images(names: Iterable[str], inside: str) -> Iterable[str]:
    for name in names:
        path = PurePosixPath(name)
        below = bool(inside) and name.startswith(f"{inside}/")
        hidden = any(map(is_system, path.parts))
        if path.suffix.lower() in SUFFIXES and not (below or hidden):
            yield name
