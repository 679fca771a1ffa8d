"""The part of the range of its bits that the images of a domain fill."""

from dataclasses import dataclass

__all__ = ["LITTLE", "Range", "percent"]

LITTLE = 0.3
"""Share of the range of its bits below which a domain is said to use little of it.

14 bits in files of 16 fill 25 %, 12 bits 6 %; photographs of 8 bits seldom fill less than 80 %.
"""


@dataclass(frozen=True)
class Range:
    """The part of the range of its bits that the samples of a domain fill, robustly.

    >>> Range(0, 4000, 16, 4095).share > Range(0, 250, 8, 255).share
    False
    """

    low: int  # 0.1 % of the samples are below it
    high: int  # 0.1 % are above it
    depth: int
    highest: int  # of all samples

    @property
    def share(self) -> float:
        """The share of the range, 0 to 1."""
        return (self.high - self.low) / ((1 << self.depth) - 1)

    def advice(self, name: str) -> str:
        """A line for a domain that uses little of the range: what it means and what to do."""
        top = (1 << self.depth) - 1
        less = f"subtract {self.low:,}, then " if self.low > top // 4 else ""
        factor = top // max(self.highest - (self.low if less else 0), 1)
        do = f"{less}multiply by {factor}" if factor > 1 else "stretch the samples"
        return (
            f"{name}: the samples fill {percent(self.share)} of the range of {self.depth} bits "
            f"({self.low:,} to {self.high:,} of {top:,}), and networks see the whole range, so "
            f"little contrast: write the images again with all samples scaled alike ({do})"
        )


def percent(share: float) -> str:
    """A share in percent, in two digits where it is small.

    >>> percent(0.976), percent(0.0624), percent(0.0031)
    ('98 %', '6.2 %', '0.31 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0995 or not share else f"{100 * share:.2g} %"
