"""What a destination was begun with: nothing of another model or other options is mixed into it."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from unpaired.errors import ConfigError, RunError, quoted, shown
from unpaired.fleet.one import Translation
from unpaired.fleet.places import Place

__all__ = ["RECORD", "begin", "confirm"]

RECORD = "translation.json"
"""The name of the record in a destination."""


def begin(
    place: Place, translation: Translation, shards: int, rows: str, held: Collection[str]
) -> None:
    """Writes the record of a destination, or compares it with what is asked for now.

    Args:
        place: the destination.
        translation: what is asked for.
        shards: their number.
        rows: how manifests are kept: "jsonl" or "parquet".
        held: results that the destination already had, listed before this call.

    Raises:
        ConfigError: it was begun with another model or other options, or has results of something
            else.
        RunError: it cannot be read or written.
    """
    wanted = _facts(translation, shards, rows)
    found = _read(place)
    if found is None:
        if held:
            raise ConfigError(
                f"{place} has files already that are of no fleet, such as {shown(min(held))}: "
                "choose another destination"
            )
        place.write(RECORD, json.dumps(wanted, indent=1).encode() + b"\n")
        found = _read(place)
    _compare(place, found, wanted)


def confirm(place: Place, translation: Translation, shards: int, rows: str) -> None:
    """Compares the record at the end: two that began at one moment may have overwritten it.

    Raises:
        ConfigError, RunError: as `begin`.
    """
    _compare(place, _read(place), _facts(translation, shards, rows))


def _facts(translation: Translation, shards: int, rows: str) -> dict[str, Any]:
    options = dict(translation.options) | {"shards": shards, "manifest": rows}
    return {"format": 1, "model": translation.fingerprint, "options": options}


def _read(place: Place) -> Mapping[str, Any] | None:
    content = place.read(RECORD)
    if content is None:
        return None
    try:
        found = json.loads(content)
        if isinstance(found["model"], str) and isinstance(found["options"], dict):
            return dict(found)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise RunError(f"{place}/{RECORD} is damaged: choose another destination")


def _compare(place: Place, found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> None:
    if found is None:
        raise RunError(f"{place}/{RECORD} has been removed: start again")
    if found["model"] != wanted["model"]:
        raise ConfigError(
            f"{place} has translations by another model ({quoted(found['model'][:12])}, this is "
            f"{wanted['model'][:12]}): choose another destination"
        )
    before, now = found["options"], wanted["options"]
    for name in now:
        if before.get(name) != now[name]:
            raise ConfigError(
                f"{place} was begun with {name} {quoted(before.get(name))}, this is "
                f"{quoted(now[name])}: give the same options, or choose another destination"
            )
