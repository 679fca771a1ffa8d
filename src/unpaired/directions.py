"""The two domains and the two directions between them."""

import re
from typing import Literal

__all__ = [
    "DIRECTIONS",
    "DOMAINS",
    "Aligned",
    "Direction",
    "Domain",
    "can_be_a_name",
    "direction_to",
    "reverse",
    "source_of",
    "target_of",
]

Domain = Literal["a", "b"]
Direction = Literal["ab", "ba"]
"""From A to B, or from B to A."""
Aligned = Literal["left-right", "right-left"]
"""Where A and B are in images that show both side by side."""

DOMAINS: tuple[Domain, Domain] = ("a", "b")
DIRECTIONS: tuple[Direction, Direction] = ("ab", "ba")


def can_be_a_name(name: str) -> bool:
    """Whether a domain may have this name: one line of text without control characters.

    >>> can_be_a_name("Sommer 2020"), can_be_a_name("two" + chr(10) + "lines"), can_be_a_name("")
    (True, False, False)
    """
    return bool(name) and not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", name)


def source_of(direction: Direction) -> Domain:
    """The domain a direction translates from."""
    return "a" if direction == "ab" else "b"


def target_of(direction: Direction) -> Domain:
    """The domain a direction translates to."""
    return "b" if direction == "ab" else "a"


def direction_to(domain: Domain) -> Direction:
    """The direction that translates to a domain."""
    return "ab" if domain == "b" else "ba"


def reverse(direction: Direction) -> Direction:
    """The opposite direction."""
    return "ba" if direction == "ab" else "ab"
