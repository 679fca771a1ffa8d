"""The configuration: a recipe and a runtime, `config.toml`, and values that override others.

`config.toml` in a run folder and the header of every weights file hold it in full.
"""

import dataclasses
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from unpaired.config.fields import flag, require_values
from unpaired.config.recipe import Recipe
from unpaired.config.runtime import Runtime
from unpaired.errors import ConfigError, quoted, reason_of

__all__ = ["Config", "differences", "drop_quiet", "override"]

_MOST_TEXT = 100_000  # characters of a config.toml; ours have some 5,000

Table = TypeVar("Table", Recipe, Runtime)


@dataclass(frozen=True)
class Config:
    """The two tables of `config.toml`."""

    recipe: Recipe
    runtime: Runtime

    def to_toml(self) -> str:
        """The text of `config.toml`, every value with its explanation."""
        tables = []
        for title, table in (("recipe", self.recipe), ("runtime", self.runtime)):
            rows = [f"[{title}]"]
            for item in dataclasses.fields(table):
                value = _toml(getattr(table, item.name))
                rows.append(f"{item.name} = {value}  # {item.metadata['help']}")
            tables.append("\n".join(rows) + "\n")
        return "\n".join(tables)

    @classmethod
    def from_toml(cls, text: str, where: str) -> "Config":
        """Reads `config.toml`; errors name its location `where`.

        Raises:
            ConfigError: not TOML, an unknown key, a wrong type or a value out of range.
        """
        if len(text) > _MOST_TEXT:
            raise ConfigError(f"{where} has {len(text):,} characters: no configuration is so long")
        try:
            tables = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where} is not valid TOML: {reason_of(error)}") from error
        if unknown := sorted(set(tables) - {"recipe", "runtime"}):
            raise ConfigError(f"{where} has an unknown table or value {quoted(unknown[0])}")
        if wrong := [name for name, table in tables.items() if not isinstance(table, dict)]:
            raise ConfigError(f"{where} has no table [{wrong[0]}], but a value of that name")
        # Before these values existed, images were read like this.
        before = {"alpha": "mask", "frames": "first", "crops": "resize"}
        before |= {"scaling_a": "full", "scaling_b": "full", "gaps": "count"}
        recipe = before | tables["recipe"] if "recipe" in tables else {}
        return cls(
            recipe=override(Recipe(), recipe, where),
            runtime=override(Runtime(), tables.get("runtime", {}), where),
        )


def differences(old: Recipe, new: Recipe | Mapping[str, object]) -> list[str]:
    """Lines `--flag old -> new`, one for every value in which two recipes differ.

    Of a mapping, which may have a few values only, those are compared.
    """
    values = new if isinstance(new, Mapping) else vars(new)
    return [
        f"{flag(item.name)} {getattr(old, item.name)} -> {values[item.name]}"
        for item in dataclasses.fields(Recipe)
        if item.name in values and getattr(old, item.name) != values[item.name]
    ]


def override(base: Table, values: Mapping[str, object], where: str) -> Table:
    """`base`, a Recipe or Runtime, with `values` replaced; errors name their source `where`.

    Raises:
        ConfigError: an unknown name (the nearest known one is suggested), a wrong type, or a value
            out of its range.
    """
    return dataclasses.replace(base, **require_values(type(base), values, where))


def drop_quiet(values: Mapping[str, Any], stacklevel: int = 3) -> dict[str, Any]:
    """Keywords without `quiet`, which earlier versions took; warns the caller's caller about it."""
    if "quiet" in values:
        told = "quiet has no effect: nothing is shown unless unpaired.console.show() was called"
        warnings.warn(told, DeprecationWarning, stacklevel=stacklevel)
    return {name: value for name, value in values.items() if name != "quiet"}


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
    return repr(value)
