"""Comparing an answer with the right one, and with wrong ones that have a hint."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Wrong", "ask", "choose", "expect"]


class Wrong(Exception):
    """An answer is blank or wrong; the message says what to look at."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the hint, without the way that led to it."""
        return [f"✗ {self}"]


def ask(answer: object, *inputs: object) -> Any:
    """The result of the reader's function for some inputs.

    Raises:
        Wrong: it is no function, gives nothing, or fails.
    """
    if not callable(answer):
        raise Wrong("give the function itself, without calling it")
    try:
        found = answer(*inputs)
    except Exception as error:
        raise Wrong(f"it raises {type(error).__name__}: {error}") from error
    if found is None or found is ...:
        raise Wrong("it returns nothing: is it still blank, or is a `return` missing?")
    if isinstance(found, tuple) and any(part is ... for part in found):
        raise Wrong("a part of what it returns is still blank: put your code in place of the dots")
    return found


def expect(
    found: object, right: object, about: str, hints: Mapping[str, object] | None = None
) -> None:
    """Compares numbers or arrays, to four digits.

    Args:
        found: what the reader's answer gave.
        right: what it should give.
        about: the inputs, in words: "for two scores".
        hints: what common wrong answers give, by their hint.

    Raises:
        Wrong: they differ; with the hint of the wrong answer that it equals, if it equals one.
    """
    value, wanted = _array(found), _array(right)
    if value.shape != wanted.shape:
        shapes = f"shape {value.shape}, expected {wanted.shape}"
        raise Wrong(f"{about} it gives an array of {shapes}")
    if _equal(value, wanted):
        return
    for hint, wrong in (hints or {}).items():
        if _equal(value, _array(wrong)):
            raise Wrong(hint)
    if value.ndim == 0:
        raise Wrong(f"{about} it gives {float(value):.4g}, expected {float(wanted):.4g}")
    apart = float(np.nanmax(np.abs(value - wanted)))
    raise Wrong(f"{about} it differs from what is expected by up to {apart:.3g}")


def choose(found: object, right: object, hints: Mapping[Any, str]) -> None:
    """Compares a choice with the right one.

    Raises:
        Wrong: it is another; with the hint of that choice.
    """
    if found != right:
        raise Wrong(hints.get(found, f"{found!r} is none of the choices"))


def _array(value: object) -> np.ndarray:
    try:
        if hasattr(value, "detach"):
            value = value.detach()
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gives {type(value).__name__}, expected a number or an array") from None


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-6)
