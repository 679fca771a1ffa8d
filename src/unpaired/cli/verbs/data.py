"""`unpaired data`: list, make, fetch, check."""

from typing import TYPE_CHECKING, Annotated, TypeAlias

from tyro.conf import Positional, arg

from unpaired.cli.flags import (
    AlignedFlag,
    Alpha,
    Data,
    Domains,
    Frames,
    MaxPixels,
    Verb,
    shown,
    source,
    verbs,
)
from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.errors import SomeFailed

__all__ = ["data"]


def list_() -> None:
    """List the named data sets, and which are on this machine."""
    from unpaired.data.home import listing

    print(listing())


def make(
    name: Annotated[str, Positional, arg(metavar="NAME", help="seasons-lite or seasons")],
) -> None:
    """Make a data set that is drawn on this machine."""
    from unpaired.data.home import obtain

    print(obtain(name))


def fetch(
    name: Annotated[str, Positional, arg(metavar="NAME", help="a name from `unpaired data list`")],
    url: Annotated[str | None, shown("another address of the same zip file", "URL")] = None,
) -> None:
    """Download, verify and unpack a named data set; a broken download is resumed."""
    from unpaired.data.fetch.fetch import fetch as run

    fetched = run(name, url=url)
    print(f"{fetched.folder}\nimages: {fetched.counts}\nsha256: {fetched.sha256 or 'unknown'}")


def check(
    data: Data,
    image_size: Annotated[
        int | None, shown("also list images smaller than this crop", "INT")
    ] = None,
    domains: Domains = None,
    aligned: AlignedFlag = None,
    full: Annotated[bool, shown("list everything, however long")] = False,
    alpha: Alpha = "auto",
    frames: Frames = "reject",
    bands_a: Annotated[
        str, shown("bands of a that are read, by number or name, such as 4,3,2", "BANDS")
    ] = "",
    bands_b: Annotated[str, shown("likewise, of b", "BANDS")] = "",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """List broken, nearly flat and duplicate images, and files that are not images."""
    from unpaired.console import counted
    from unpaired.data.check.check import check as run
    from unpaired.data.source import find_source
    from unpaired.images.formats import Reading

    found = find_source(source(data), need_train=False, domains=domains, aligned=aligned)
    selected = (tuple(filter(None, map(str.strip, b.split(",")))) for b in (bands_a, bands_b))
    found = found.read_as(*(Reading(alpha, frames, bands) for bands in selected))
    result = run(found, crop=image_size, max_pixels=max_pixels)
    print(result.report(full=full))
    if result.stopping:
        raise SomeFailed(f"{counted(len(result.stopping), 'problem')} would stop a training")


if TYPE_CHECKING:
    DataVerb: TypeAlias = Verb
else:
    DataVerb = verbs(list_, make, fetch, check)


def data(verb: DataVerb) -> None:
    """List, make, download and check data sets."""
    verb()
