"""The images of one process: files are read and written ahead and behind, while one is translated.

So memory does not grow with their number. Each is translated by itself: its result is the same
whatever was done before it, and by whom.
"""

import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from unpaired.errors import RunError
from unpaired.fleet.manifest import ManifestRow
from unpaired.fleet.one import Translation, Under
from unpaired.fleet.places import LocalPlace, Place
from unpaired.fleet.shards import Item

__all__ = ["run"]

_LOCAL, _REMOTE = 4, 16  # threads that read and write: a store answers slowly, and many at once

_IN_A_ROW = (
    8  # images at which networks fail unexpectedly, after which a device is taken for broken
)


def run(
    translation: Translation, items: Iterable[Item], source: Place, out: Place, scratch: Path
) -> Iterator[ManifestRow]:
    """Translates images from one place to another; yields a row each, once it is written.

    `scratch` is a folder for what is not whole; with a local `out` it is inside that.

    Raises:
        ConfigError, RunError: no image can be translated or stored; the device is broken.
    """
    local = isinstance(source, LocalPlace) and isinstance(out, LocalPlace)
    threads = _LOCAL if local else _REMOTE
    upcoming, broken = iter(items), 0
    reading: deque[Future[Under]] = deque()
    writing: deque[Future[ManifestRow]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="images")
    try:
        for item in islice(upcoming, threads):
            reading.append(pool.submit(_read, translation, item, source, scratch))
        while reading:
            under = reading.popleft().result()
            if (item_next := next(upcoming, None)) is not None:
                reading.append(pool.submit(_read, translation, item_next, source, scratch))
            read = not under.error
            with under.step():
                under.translate()
            broken = broken + 1 if read and under.error.startswith("unexpected: ") else 0
            if broken == _IN_A_ROW:
                raise RunError(f"{broken} images in a row cannot be translated: {under.error}")
            writing.append(pool.submit(_write, under, source, out, scratch))
            while writing and (len(writing) > threads or writing[0].done()):
                yield writing.popleft().result()
        while writing:
            yield writing.popleft().result()
    finally:
        for waiting in reading:
            waiting.cancel()
        pool.shutdown()  # what is being written is finished


def _read(translation: Translation, item: Item, source: Place, scratch: Path) -> Under:
    under = Under(translation, item)
    with under.step():
        under.read(source.fetch(item.name, item.size, scratch))
    return under


def _write(under: Under, source: Place, out: Place, scratch: Path) -> ManifestRow:
    name = under.item.output
    with under.step():
        if isinstance(out, LocalPlace):
            under.write(out.root / name, scratch, sync=True)
        elif not under.error:
            made = scratch / f"{secrets.token_hex(8)}{Path(name).suffix}"
            try:
                under.write(made, scratch, sync=False)
                out.put(made, name)
            finally:
                made.unlink(missing_ok=True)
    if under.source.name:
        source.drop(under.source)
    return under.row()
