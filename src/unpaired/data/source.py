"""The data a user means: a folder, two folders, or a name of the catalogue."""

from dataclasses import replace
from pathlib import Path

from unpaired.console import Meter
from unpaired.data.catalogue import Counts, data_home, entries, resolve
from unpaired.data.domains import DataSet, find_data

__all__ = ["Source", "find_source"]

Source = str | Path | tuple[str | Path, str | Path]
"""A folder, a name of the catalogue, or two folders."""


def find_source(source: Source, *, need_train: bool = True, quiet: bool = False) -> DataSet:
    """The data set meant by `source`, its domains named by the catalogue where it is there.

    Raises:
        DataError: as `resolve` and `find_data`.
    """
    if isinstance(source, tuple):
        return find_data((Path(source[0]), Path(source[1])), need_train=need_train)
    with Meter(f"making {source}", unit="scenes", quiet=quiet) as meter:
        folder = resolve(source, progress=meter.show)
    data = find_data(folder, need_train=need_train)
    splits = (data.train_a, data.train_b, data.test_a, data.test_b)
    counts = Counts(*(len(split) if split else 0 for split in splits))
    known = {entry.name: entry for entry in entries()}.get(folder.resolve().name)
    # Elsewhere than in the data home the name alone may be anybody's folder.
    if known and (known.counts == counts or folder.parent == data_home()):
        return replace(data, name_a=known.name_a, name_b=known.name_b)
    return data
