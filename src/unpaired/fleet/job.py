"""`unpaired translate SRC --out DST --shard I/N`: the share of one process, or what is left."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from unpaired.console import counted, log, progress
from unpaired.errors import ConfigError, shown
from unpaired.fleet.manifest import missing, open_manifest
from unpaired.fleet.one import Translation
from unpaired.fleet.pipeline import run
from unpaired.fleet.places import LocalPlace, Place, is_url, open_place
from unpaired.fleet.record import begin, confirm
from unpaired.fleet.shards import Item, Shard, work_list
from unpaired.translation.scratch import scratch_folder

__all__ = ["Outcome", "Plan", "plan_shard", "scratch_of", "translate_shard"]

_LISTED = 20  # failures that are listed; the manifest has all


@dataclass
class Outcome:
    """What a job did: the images of this call, those of earlier ones, and what failed."""

    manifest: str
    done: int = 0
    before: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Names with the reasons."""

    def count(self, name: str, error: str) -> None:
        """Counts an image of this call, and why it failed if it did."""
        if error:
            self.failed[name] = error
        else:
            self.done += 1

    @property
    def line(self) -> str:
        """What was done, in one line."""
        earlier = f", {self.before:,} before" if self.before else ""
        return f"{counted(self.done, 'image')} translated{earlier}; manifest: {self.manifest}"

    @property
    def failures(self) -> str:
        """What failed, as lines; empty if nothing did."""
        if not self.failed:
            return ""
        first = sorted(self.failed.items())[:_LISTED]
        lines = [f"  {shown(name)}: {error}" for name, error in first]
        if (more := len(self.failed) - len(first)) > 0:
            lines.append(f"  and {more:,} more, all in {self.manifest}")
        return "\n".join([f"{counted(len(self.failed), 'image')} failed:", *lines])


@dataclass(frozen=True)
class Plan:
    """The places of a job, the images of its shard, and the bytes of what its destination has."""

    source: Place
    out: Place
    items: Sequence[Item]
    held: dict[str, int | None]


def plan_shard(source: str, out: str, translation: Translation, shard: Shard, rows: str) -> Plan:
    """Lists both places, and begins or continues the destination.

    Raises:
        ConfigError: the places cannot be used, or the destination is of something else.
        DataError: no images, or two with one result.
        RunError: a place cannot be listed, read or written.
    """
    came, goes = open_place(source), open_place(out)
    if isinstance(came, LocalPlace) and not came.root.is_dir():
        raise ConfigError(
            f"{came} is no folder: a shard is a part of a folder, or of what a URL has"
        )
    inside = _inside(came, goes)
    if inside == ".":
        raise ConfigError(f"{goes} is the source: choose another destination")
    items = work_list(came.sizes(), shard, translation.format, inside)
    if isinstance(goes, LocalPlace):
        _require_inside(goes.root, items)
    held = goes.sizes()
    begin(goes, translation, shard.count, rows, {item.output for item in items} & held.keys())
    return Plan(came, goes, items, held)


def translate_shard(
    translation: Translation, source: str, out: str, shard: Shard, manifest: str | None = None
) -> Outcome:
    """Translates what is missing of a shard of the images below `source`.

    `source` and `out` are folders or URLs of fsspec. The manifest is a file or a URL, by default
    `manifest-I-of-N.jsonl` in `out`; each shard needs one of its own. An image counts as done if
    its row says so, by this model, and both files have the bytes that it says; all others are
    translated, those that failed before too.

    Raises:
        ConfigError, DataError, RunError: as `plan_shard`; the disk is full, or another process has
            the manifest.
    """
    plan = plan_shard(source, out, translation, shard, "jsonl")
    place, name = plan.out, f"manifest-{shard.index}-of-{shard.count}.jsonl"
    if manifest is not None:
        folder, _, name = manifest.rpartition("/")
        place = open_place(folder or ("/" if manifest.startswith("/") else "."))
        if not name or (is_url(manifest) and not folder.partition("://")[2]):
            raise ConfigError(f"--manifest is {manifest!r}: give the name of a file")
    with open_manifest(place, name) as rows, scratch_of(plan) as scratch:
        left = [
            item
            for item in plan.items
            if missing(
                rows.rows.get(item.name), item.size, plan.held.get(item.output),
                translation.fingerprint,
            )
        ]  # fmt: skip
        outcome = Outcome(str(rows), before=len(plan.items) - len(left))
        translation.require_formats(left, scratch)
        if outcome.before:
            log.info(f"{outcome.before:,} of {len(plan.items):,} images are done already")
        with progress("images", len(plan.items), first=outcome.before) as shown_progress:
            for row in run(translation, left, plan.source, plan.out, scratch):
                rows.add(row)
                outcome.count(row.name, row.error)
                shown_progress.advance()
        confirm(plan.out, translation, shard.count, "jsonl")
    return outcome


def _require_inside(root: Path, items: Sequence[Item]) -> None:
    """Requires that no folder in a destination is a link to somewhere else."""
    top = root.resolve()
    for folder in sorted({(root / item.output).parent for item in items}):
        if not folder.resolve().is_relative_to(top):
            raise ConfigError(f"{folder} leads out of {root}, through a link: remove it")


@contextmanager
def scratch_of(plan: Plan) -> Iterator[Path]:
    """A folder for what is not whole: inside a local destination, else among temporary files."""
    if isinstance(plan.out, LocalPlace):
        root = plan.out.root
        with scratch_folder(root, (root / item.output for item in plan.items)) as scratch:
            yield scratch
        return
    with tempfile.TemporaryDirectory(prefix="unpaired-") as folder:
        yield Path(folder)


def _inside(source: Place, out: Place) -> str:
    """The relative name of a destination that is below the source, "." if it is the source."""
    if isinstance(source, LocalPlace) and isinstance(out, LocalPlace):
        here, there = source.root.resolve(), out.root.resolve()
        return there.relative_to(here).as_posix() if there.is_relative_to(here) else ""
    first, second = str(source).rstrip("/"), str(out).rstrip("/")
    if first == second:
        return "."
    return second.removeprefix(f"{first}/") if second.startswith(f"{first}/") else ""
