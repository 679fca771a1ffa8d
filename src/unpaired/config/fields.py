"""Fields of a configuration: their help, the values that they may take, and checks of both."""

import dataclasses
import difflib
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any, Literal, TypeVar, get_args, get_origin

from unpaired.errors import ConfigError, quoted

__all__ = [
    "MOST_IMAGES",
    "MOST_NAME",
    "MOST_PATH",
    "MOST_PIXELS",
    "MOST_SEED",
    "MOST_STEPS",
    "MOST_THREADS",
    "MOST_WIDTH",
    "check",
    "choices_of",
    "flag",
    "option",
    "require_values",
    "require_within",
    "unknown_name",
]

# Far above what anybody trains, and low enough that nothing which follows from them is without end.
MOST_PIXELS = 65_536  # of a side
MOST_IMAGES = 65_536  # of a batch, of an image pool
MOST_WIDTH = 4096
MOST_STEPS = 10**12
MOST_THREADS = 1024
MOST_NAME, MOST_PATH = 200, 4096  # characters
MOST_SEED = 2**64 - 1

T = TypeVar("T")

_BOUNDS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "at_least": ("at least", operator.ge),
    "at_most": ("at most", operator.le),
    "below": ("below", operator.lt),
    "multiple_of": ("a multiple of", lambda value, factor: value % factor == 0),
}


def option(
    default: T,
    text: str,
    *,
    at_least: float = 0,
    at_most: float | None = None,
    below: float | None = None,
    multiple_of: int | None = None,
    longest: int = MOST_NAME,
    choices: tuple[object, ...] = (),
    metavar: str = "",
    shown: str = "",
    negative: str = "",
) -> T:
    """A dataclass field with its help, the values it may take, and the look of its flag.

    Args:
        default: its default.
        text: its explanation: the help of the flag and the comment in `config.toml`.
        at_least, at_most, below, multiple_of: bounds of a number.
        longest: characters of a text, at most.
        choices: the values it may take; a `Literal` needs none.
        metavar: how the help shows its value, where the type is not enough.
        shown: how the help shows its default, where the value is not enough.
        negative: of a field that is true, false or neither (None), the explanation of false; it is
            two flags, of which that for false begins with "un".
    """
    bounds = {"at_least": at_least, "at_most": at_most, "below": below, "multiple_of": multiple_of}
    about = {"help": text, "choices": choices, "metavar": metavar, "shown": shown}
    about["negative"] = negative
    item: T = field(default=default, metadata=about | bounds | {"longest": longest})
    return item


def choices_of(item: "dataclasses.Field[Any]") -> tuple[object, ...]:
    """The values that a field made by `option` may take; empty: any."""
    known = get_args(item.type) if get_origin(item.type) is Literal else ()
    return known or tuple(item.metadata["choices"])


def check(table: Any) -> None:
    """Checks every field of a dataclass made of `option` against its choices and bounds.

    Raises:
        ConfigError: a value is out of its range; the flag and the value are named.
    """
    for item in dataclasses.fields(table):
        _check_value(item, getattr(table, item.name))


def _check_value(item: "dataclasses.Field[Any]", value: object) -> None:
    choices, wrong = choices_of(item), ""
    if choices and value not in choices:
        wrong = f"choose one of {', '.join(map(str, choices))}"
    elif isinstance(value, float) and not math.isfinite(value):
        wrong = "it must be a number"
    elif isinstance(value, int | float):
        for name, (words, holds) in _BOUNDS.items():
            bound = item.metadata[name]
            if bound is not None and not holds(value, bound):
                wrong = wrong or f"it must be {words} {bound}"
    elif isinstance(value, str) and len(value) > item.metadata["longest"]:
        wrong = f"it has {len(value):,} characters, at most {item.metadata['longest']} are allowed"
    if wrong:
        raise ConfigError(f"{flag(item.name)} is {quoted(value)}: {wrong}")


def require_within(name: str, value: float, least: float, most: float) -> None:
    """Requires that the number given for the flag `name` is in its range, both ends included.

    Raises:
        ConfigError: it is not; the message has the range.
    """
    if not value >= least:
        raise ConfigError(f"{name} is {quoted(value)}: it must be at least {least}")
    if value > most:
        raise ConfigError(f"{name} is {quoted(value)}: it must be at most {most}")


def require_values(kind: type[Any], values: Mapping[str, object], where: str) -> dict[str, Any]:
    """The `values` for fields of `kind`, each of the right type and within its own bounds.

    What they must be together is for `kind` itself to say.

    Raises:
        ConfigError: an unknown name (the nearest known one is suggested), a wrong type, or a value
            out of its range.
    """
    items: dict[str, dataclasses.Field[Any]] = {i.name: i for i in dataclasses.fields(kind)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in items:
            raise unknown_name(name, items, where)
        if type(value) is int and abs(value) >= 2**64:
            raise ConfigError(f"{name} in {where} is too large: it must be below 2^64")
        wanted = items[name].type
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if wanted in (int, float, str, bool) and type(value) is not wanted:
            raise ConfigError(
                f"{name} in {where} is {quoted(value)}: it must be of type {wanted.__name__}"
            )
        _check_value(items[name], value)
        checked[name] = value
    return checked


def unknown_name(name: str, known: Iterable[str], where: str) -> ConfigError:
    """The error about a name that is not among the `known` ones; it suggests the nearest."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f": did you mean {near[0]!r}?" if near else f", which has {', '.join(known)}"
    return ConfigError(f"unknown key {quoted(name)} in {where}{hint}")


def flag(name: str) -> str:
    """The flag of the field of that name."""
    return "--" + name.replace("_", "-")
