"""What was measured on this machine, remembered in the user's cache folder.

A file that is missing, damaged or cannot be written costs another measurement and nothing else.
"""

import json
import math
import platform
import zlib
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import platformdirs

from unpaired.errors import UnpairedError
from unpaired.storage import read_regular, write_text

__all__ = ["Choice", "ChoiceFile", "cache_file", "processor"]

_MOST_BYTES, _MOST_CHOICES = 10**6, 500
_SILENT = (OSError, UnpairedError, ValueError, TypeError, KeyError, RecursionError, RuntimeError)


@dataclass(frozen=True)
class Choice:
    """A method, how many times as fast as the usual one, and its mean error in levels of 255."""

    method: str
    gain: float
    error: float


def cache_file() -> Path | None:
    """`precision.json` in the user's cache folder; None where there is none."""
    try:
        folder = platformdirs.user_cache_path("unpaired", appauthor=False, opinion=False)
        return folder.expanduser() / "precision.json"
    except RuntimeError:
        return None


@dataclass(frozen=True)
class ChoiceFile:
    """Choices by what they depend on, in a file of JSON; None: none are kept."""

    path: Path | None

    def get(self, name: str, methods: Collection[str]) -> Choice | None:
        """The choice of that name, if it is one of `methods`."""
        found = self._read().get(name)
        try:
            choice = Choice(str(found["method"]), float(found["gain"]), float(found["error"]))  # type: ignore[index]
        except _SILENT:
            return None
        whole = math.isfinite(choice.gain) and math.isfinite(choice.error)
        return choice if whole and choice.method in methods else None

    def put(self, name: str, choice: Choice) -> None:
        """Adds a choice; the oldest are forgotten."""
        if self.path is None:
            return
        choices = self._read()
        choices.pop(name, None)
        choices[name] = asdict(choice)
        latest = dict(list(choices.items())[-_MOST_CHOICES:])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps({"choices": latest}, indent=1))
        except _SILENT:
            pass

    def _read(self) -> dict[str, object]:
        try:
            choices = json.loads(read_regular(self.path, _MOST_BYTES))["choices"]  # type: ignore[arg-type]
            return dict(choices)
        except _SILENT:
            return {}


@cache
def processor() -> str:
    """The processor's name and a code of what it can do."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    able = " ".join(facts.get(name, "") for name in ("cpu family", "model", "flags", "Features"))
    name = facts.get("model name") or platform.machine()
    return f"{name} {zlib.crc32(able.encode()):08x}"
