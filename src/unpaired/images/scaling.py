"""Samples of a domain as the [-1, 1] of networks, and back: the one place that knows its values."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unpaired.config import DomainFacts
from unpaired.config.domain import Curve, Ends, parse_scaling
from unpaired.errors import ConfigError
from unpaired.images.image import Pixels, from_signed, to_signed

__all__ = ["Scaling"]

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scaling:
    """The values of a domain that networks see as -1 and as 1, by band.

    Without `ends` it is the whole range of unsigned samples, of 8 or of 16 bits each by itself, as
    of photographs. With them values outside are clipped, and so are results: a network gives no
    value beyond the ends.
    """

    dtype: str = "uint8"
    curve: Curve = "linear"
    ends: Ends = ()

    @classmethod
    def of(cls, facts: DomainFacts) -> Self:
        """The scaling of a domain of a recipe.

        Raises:
            ConfigError: the data has not settled it, and samples have no range of their own.
        """
        curve, ends = parse_scaling(facts.scaling)
        if not ends:
            if facts.samples not in ("uint8", "uint16"):
                raise ConfigError(
                    f"{facts.name}: {facts.samples} samples have no whole range: give the values "
                    "that are scaled, such as 0:3000"
                )
            return cls(facts.samples)
        if len(ends) == 1:
            ends *= max(facts.bands, 1)
        if facts.bands and len(ends) != facts.bands:
            raise ConfigError(
                f"{facts.name}: a scaling of {len(ends)} bands, and it has {facts.bands}: give a "
                "pair of values for each band, or one for all"
            )
        return cls(facts.samples, curve or "linear", ends)

    @property
    def text(self) -> str:
        """As a recipe holds it (see `parse_scaling`).

        >>> Scaling("int16", "linear", ((0, 2500.5),)).text
        'linear 0:2500.5'
        """
        if not self.ends:
            return "full"
        return " ".join([self.curve, *(f"{low:.9g}:{high:.9g}" for low, high in self.ends)])

    def to_signed(
        self, pixels: Pixels, valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Maps samples (height, width, bands) to float32 in [-1, 1]; those not valid to 0.

        >>> Scaling("int16", "linear", ((0, 200),)).to_signed(np.array([[[50], [999]]])).tolist()
        [[[-0.5], [1.0]]]
        """
        if not self.ends:
            signed = to_signed(pixels)
        else:
            signed = np.empty(pixels.shape, np.float32)
            for band, (low, high) in enumerate(self.ends):
                signed[..., band] = self._signed(pixels[..., band], low, high)
        if valid is not None:
            signed[~valid] = 0
        return signed

    def _signed(self, band: NDArray[Any], low: float, high: float) -> Floats:
        exact = band.dtype == np.int32 or self.curve != "linear"
        values: Floats = band.astype(np.float64 if exact else np.float32)
        if band.dtype.kind == "f":
            values[np.isnan(values)] = low
        np.clip(values, low, high, out=values)
        values = bend(values, self.curve)
        start, stop = (float(bend(np.array(end, np.float64), self.curve)) for end in (low, high))
        return (values - start) * (2 / (stop - start)) - 1

    def from_signed(self, signed: NDArray[np.floating[Any]]) -> Pixels:
        """Maps [-1, 1], clipped, to samples in the domain's own values and type.

        >>> Scaling("int16", "linear", ((0, 200),)).from_signed(np.array([[[-0.5]]])).tolist()
        [[[50]]]
        """
        if not self.ends:
            return from_signed(signed, 16 if self.dtype == "uint16" else 8)
        kind = np.dtype(self.dtype)
        samples = np.empty(signed.shape, kind)
        for band, (low, high) in enumerate(self.ends):
            start, stop = (
                float(bend(np.array(end, np.float64), self.curve)) for end in (low, high)
            )
            values = np.clip(signed[..., band], -1, 1).astype(np.float64)
            values += 1
            values *= (stop - start) / 2
            values += start
            values = np.clip(unbend(values, self.curve), low, high)
            if kind.kind != "f":
                limits = np.iinfo(kind)
                values = np.rint(values).clip(limits.min, limits.max)
            samples[..., band] = values
        return samples


def bend(values: Floats, curve: Curve) -> Floats:
    """Applies a curve: dB of positive values, or a logarithm that takes 0 and negative ones.

    >>> bend(np.array([1.0, 100.0]), "db").tolist(), bend(np.array([0.0]), "log").tolist()
    ([0.0, 20.0], [0.0])
    """
    if curve == "db":
        return np.asarray(10 * np.log10(values))
    if curve == "log":
        return np.asarray(np.sign(values) * np.log1p(np.abs(values)))
    return values


def unbend(values: Floats, curve: Curve) -> Floats:
    """Inverts `bend`."""
    if curve == "db":
        return np.asarray(10 ** (values / 10))
    if curve == "log":
        return np.asarray(np.sign(values) * np.expm1(np.abs(values)))
    return values
