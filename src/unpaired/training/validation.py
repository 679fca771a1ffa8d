"""The criterion by which the best checkpoint is chosen: how far translations are from real ones.

It is measured on the validation part, which is set aside from the training images; never on the
test set. Lower is better, and figures of one measure alone compare.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unpaired.config import Config, Recipe
from unpaired.data.batches import load_whole
from unpaired.data.domains import Folder
from unpaired.diagnostics.probe import Translates
from unpaired.directions import DIRECTIONS, Direction
from unpaired.engines.choice import make_features
from unpaired.engines.seam import Images
from unpaired.errors import ConfigError, DataError
from unpaired.features.extract import FeatureNetwork, extract
from unpaired.images.image import from_signed
from unpaired.metrics.distributions import kid
from unpaired.metrics.weightless import (
    Description,
    colour_distance,
    describe,
    patch_distance,
    spectrum_distance,
)

__all__ = ["WITHOUT_WEIGHTS", "Validated", "Validation"]

Images8 = NDArray[np.uint8]
Figures = Mapping[str, float]
Measure = Callable[[Iterable[Images8], Direction], Figures]

WITHOUT_WEIGHTS = "colour x patches x spectrum, 1 is untranslated"

_TOGETHER = 8  # images translated at once
_SMALLEST = 16  # pixels a side that weight-free distances need
_NOTHING = 1e-6


@dataclass(frozen=True)
class Validated:
    """What one evaluation measured on the validation part.

    `criterion` is the mean of `distance` over both directions. The other figures of a direction are
    the interval (`low`, `high`) of a KID, or the parts (`colour`, `patches`, `spectrum`) of a
    weight-free distance, in the units of `evaluation.distances`.
    """

    criterion: float
    measure: str
    figures: Mapping[Direction, Figures]
    images: tuple[int, int]  # of A and of B

    def to_json(self) -> dict[str, object]:
        """As it stands in metrics.jsonl."""
        facts = {"criterion": self.criterion, "measure": self.measure, "pictures": self.images}
        return facts | {direction: dict(found) for direction, found in self.figures.items()}


class Validation:
    """The validation part, and the measure it is looked at with.

    With a file of feature weights the distance of a direction is 1000 times the KID of all
    translations against all real images. Without, it is weight-free: the geometric mean of the
    colour, patch and spectrum distances of translations to real images, each over that of the
    images before translation. None of the three suffices (patches hardly see summer from winter,
    colours see no blur), their units differ, and of a blurred image the spectrum alone is ten
    times too far: in a geometric mean each counts by its ratio, so that none has to be weighted and
    none drowns the others. 1 is no nearer than images left as they are; 0 is equal.

    Images are whole, resized to the recipe's crop, in 8 bits. Real ones are read and described
    once, here; those to translate are read anew each time, so memory does not grow with their
    number.

    Raises:
        ConfigError: the network of features takes no images of so many bands.
        DataError: fewer than 3 images of a domain, which KID needs; ImageError: see `load_whole`.
        MissingExtra, CheckpointError: see `make_features`.
    """

    def __init__(self, part: tuple[Folder, Folder], config: Config, max_pixels: int) -> None:
        recipe, runtime = config.recipe, config.runtime
        self.part = part
        self._recipe = recipe
        self._max_pixels = max_pixels
        self._measure: Measure
        if runtime.features:
            _require_fit_for_kid(part, recipe)
            network = make_features(Path(runtime.features), runtime.device, runtime.threads)
            self.measure = f"KID x 1000, {network.name}"
            self._measure = _by_features(network, self._real("a"), self._real("b"))
        else:
            self.measure = WITHOUT_WEIGHTS
            self._measure = self._without_weights()

    def take(self, networks: Translates) -> Validated:
        """Translates the part both ways and measures it.

        Raises:
            ImageError: an image can no longer be read.
        """
        figures: dict[Direction, Figures] = {
            direction: self._measure(self._translated(networks, direction), direction)
            for direction in DIRECTIONS
        }
        criterion = float(np.mean([figures[direction]["distance"] for direction in DIRECTIONS]))
        images = (len(self.part[0]), len(self.part[1]))
        return Validated(criterion, self.measure, figures, images)

    def _loaded(self, domain: str) -> Iterator[NDArray[np.float32]]:
        """The images of a domain in [-1, 1], a few at a time."""
        folder, bands = (
            (self.part[0], self._recipe.bands_a)
            if domain == "a"
            else (self.part[1], self._recipe.bands_b)
        )
        for start in range(0, len(folder), _TOGETHER):
            indices = range(start, min(start + _TOGETHER, len(folder)))
            side = self._recipe.image_size
            yield load_whole(folder, indices, bands=bands, side=side, max_pixels=self._max_pixels)

    def _real(self, domain: str) -> Iterator[Images8]:
        return (_in_8_bits(images) for images in self._loaded(domain))

    def _translated(self, networks: Translates, direction: Direction) -> Iterator[Images8]:
        for images in self._loaded(direction[0]):
            yield _in_8_bits(networks.translate(images, direction))

    def _without_weights(self) -> Measure:
        side = max(self._recipe.image_size, _SMALLEST)
        bands = {"a": self._recipe.bands_a, "b": self._recipe.bands_b}
        real = {domain: describe(self._real(domain), side=side) for domain in "ab"}
        before = {
            direction: _distances(
                describe(_in_bands(self._real(direction[0]), bands[direction[1]]), side=side),
                real[direction[1]],
            )
            for direction in DIRECTIONS
        }

        def measure(made: Iterable[Images8], direction: Direction) -> Figures:
            now = _distances(describe(made, side=side), real[direction[1]])
            ratios = [now[name] / max(before[direction][name], _NOTHING) for name in now]
            return {"distance": float(np.prod(ratios) ** (1 / len(ratios))), **now}

        return measure


def _by_features(
    network: FeatureNetwork, real_a: Iterable[Images8], real_b: Iterable[Images8]
) -> Measure:
    real = {"a": extract(network, real_a), "b": extract(network, real_b)}

    def measure(made: Iterable[Images8], direction: Direction) -> Figures:
        found = kid(extract(network, made), real[direction[1]])
        return {
            "distance": 1000 * found.value,
            "low": 1000 * found.low,
            "high": 1000 * found.high,
        }

    return measure


def _distances(x: Description, y: Description) -> dict[str, float]:
    return {
        "colour": colour_distance(x, y),
        "patches": patch_distance(x, y),
        "spectrum": spectrum_distance(x, y),
    }


def _in_8_bits(images: Images) -> Images8:
    return from_signed(images, 8).astype(np.uint8, copy=False)


def _in_bands(batches: Iterable[Images8], bands: int) -> Iterator[Images8]:
    """Untranslated images in the bands of the other domain: as they are, or grey throughout."""
    for batch in batches:
        if batch.shape[-1] == bands:
            yield batch
        else:
            grey = np.rint(batch.mean(axis=-1, keepdims=True)).astype(np.uint8)
            yield np.repeat(grey, bands, axis=-1)


def _require_fit_for_kid(part: tuple[Folder, Folder], recipe: Recipe) -> None:
    if not {recipe.bands_a, recipe.bands_b} <= {1, 3}:
        raise ConfigError(
            f"--features: networks of features take grey or RGB, and the domains have "
            f"{recipe.bands_a} and {recipe.bands_b} bands: leave --features away"
        )
    if min(map(len, part)) < 3:
        raise DataError(
            f"--features: KID needs 3 images or more of each domain, and {len(part[0])} and "
            f"{len(part[1])} are set aside: leave --features away, or begin with a larger "
            "--validation"
        )
