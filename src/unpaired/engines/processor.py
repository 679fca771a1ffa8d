"""What the processor of this machine can do, as the system tells it."""

from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = ["BF16_INSTRUCTIONS", "instructions"]

BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Those that multiply in bf16, on x86 and on ARM. Without them it is emulated, and slow."""


@cache
def instructions() -> frozenset[str]:
    """The names of its instruction sets, as Linux has them; none on other systems.

    >>> isinstance(instructions(), frozenset)
    True
    """
    found: set[str] = set()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                found.update(value.split())
    return frozenset(found)
