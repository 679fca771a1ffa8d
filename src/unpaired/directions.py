"""The two domains and the two directions between them."""

from typing import Literal

__all__ = [
    "DIRECTIONS",
    "DOMAINS",
    "Direction",
    "Domain",
    "direction_to",
    "reverse",
    "source_of",
    "target_of",
]

Domain = Literal["a", "b"]
Direction = Literal["ab", "ba"]
"""From A to B, or from B to A."""

DOMAINS: tuple[Domain, Domain] = ("a", "b")
DIRECTIONS: tuple[Direction, Direction] = ("ab", "ba")


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
