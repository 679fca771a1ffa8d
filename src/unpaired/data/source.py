"""The data a user names: a folder, two folders, or a name of the catalogue."""

import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

from unpaired.data.catalogue import Counts, entries, nearest
from unpaired.data.home import data_home, obtain
from unpaired.data.layout.domains import DataSet, Split, find_data
from unpaired.directions import Aligned
from unpaired.errors import DataError, shown
from unpaired.seasons.dataset import is_seasons

__all__ = ["Source", "find_source", "resolve"]

Source = str | Path | tuple[str | Path, str | Path]
"""A folder, a name of the catalogue, or two folders."""


def find_source(
    source: Source,
    *,
    need_train: bool = True,
    domains: tuple[str, str] | None = None,
    aligned: Aligned | None = None,
) -> DataSet:
    """Finds the data set that `source` names; a known one has its domains' names.

    A known data set also tells whether its images of equal names are pairs. The other arguments are
    those of `find_data`.

    Raises:
        ConfigError, DataError: see `resolve` and `find_data`.
    """
    if isinstance(source, tuple):
        both = Path(source[0]), Path(source[1])
        return find_data(both, need_train=need_train, domains=domains, aligned=aligned)
    folder = resolve(source)
    data = find_data(folder, need_train=need_train, domains=domains, aligned=aligned)
    counts = Counts(**{split: len(data.folders.get(split, ())) for split in get_args(Split)})
    known = {entry.name: entry for entry in entries()}.get(folder.resolve().name)
    # Outside the data home, a folder of a known name may hold anything.
    usual = not domains and aligned is None
    if known and usual and (known.counts == counts or folder.parent == data_home()):
        paired = known.paired or data.paired
        return replace(data, name_a=known.name_a, name_b=known.name_b, paired=paired)
    root = (data.test_a or data.train_a).root.absolute().parent
    return replace(data, paired=data.paired or is_seasons(root))


def resolve(data: str | Path, *, home: Path | None = None) -> Path:
    """Returns the folder that `data` names: a folder, or a name of the catalogue (see `obtain`).

    If it is both, the folder wins: `obtain` takes names alone.

    Raises:
        DataError: it is neither, or a data set that is not on this machine.
    """
    text = os.fspath(data)
    folder = Path(os.path.expanduser(text))
    if text and os.path.isdir(folder):
        return folder
    if os.path.isfile(folder):
        raise DataError(
            f"{shown(folder)} is a file (expected a folder): give the folder of the images"
        )
    if any(text == known.name for known in entries()):
        return obtain(text, home=home)
    raise DataError(
        f"{text!r} is neither a folder nor a data set{nearest(text)}: "
        f"`unpaired data list` lists the data sets"
    )
