"""The result of one check."""

import math
from dataclasses import asdict, dataclass

from unpaired.storage import json_number

__all__ = ["Finding", "finding", "unchecked"]


@dataclass(frozen=True)
class Finding:
    """The result of one check for one direction or domain.

    It fired where `value` is beyond `limit`: above or below, depending on the check. A check that
    could not be made has the value NaN, has not fired, and gives the reason in `message`. `advice`
    is "" unless the check fired.
    """

    name: str
    where: str
    value: float
    limit: float
    fired: bool
    message: str
    advice: str

    def to_dict(self) -> dict[str, object]:
        """The finding for strict JSON: see `storage.json_number`."""
        numbers = {"value": json_number(self.value), "limit": json_number(self.limit)}
        return asdict(self) | numbers


def finding(
    name: str, where: str, value: float, limit: float, fired: bool, good: str, bad: str, advice: str
) -> Finding:
    """The finding of a check, with the message `bad` and the advice if it fired, else `good`."""
    said = (bad, advice) if fired else (good, "")
    return Finding(name, where, value, limit, fired, *said)


def unchecked(name: str, where: str, reason: str) -> Finding:
    """The finding of a check that could not be made."""
    return Finding(name, where, math.nan, math.nan, False, f"not checked: {reason}", "")
