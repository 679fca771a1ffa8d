"""The data a user names: a folder, two folders, or a name of the catalogue."""

import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

from unpaired.data.catalogue import Counts, entries, nearest
from unpaired.data.domains import DataSet, Split, find_data
from unpaired.data.home import data_home, obtain
from unpaired.errors import DataError

__all__ = ["Source", "find_source", "resolve"]

Source = str | Path | tuple[str | Path, str | Path]
"""A folder, a name of the catalogue, or two folders."""


def find_source(source: Source, *, need_train: bool = True) -> DataSet:
    """Finds the data set that `source` names; a known one has its domains' names.

    Raises:
        DataError: see `resolve` and `find_data`.
    """
    if isinstance(source, tuple):
        return find_data((Path(source[0]), Path(source[1])), need_train=need_train)
    folder = resolve(source)
    data = find_data(folder, need_train=need_train)
    counts = Counts(**{split: len(data.folders.get(split, ())) for split in get_args(Split)})
    known = {entry.name: entry for entry in entries()}.get(folder.resolve().name)
    # Outside the data home, a folder of a known name may hold anything.
    if known and (known.counts == counts or folder.parent == data_home()):
        return replace(data, name_a=known.name_a, name_b=known.name_b)
    return data


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
        raise DataError(f"{folder} is a file (expected a folder): give the folder of the images")
    if any(text == known.name for known in entries()):
        return obtain(text, home=home)
    raise DataError(
        f"{text!r} is neither a folder nor a data set{nearest(text)}: "
        f"`unpaired data list` lists the data sets"
    )
