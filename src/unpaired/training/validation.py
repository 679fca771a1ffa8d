"""The criterion for the best checkpoint: the distance of translations from real images.

It is computed on the validation part, which is set aside from the training images; never on the
test set. Lower is better, and only criteria of one measure are comparable. Beside it, each
evaluation says how much the images changed and how much of their content is kept.

The criterion alone is won by doing nothing wherever the others are still a bit worse than
untranslated images, as in the first evaluations of a start from the image. So an evaluation can be
the best only if it `moved`: if the mean change is at least 4 % of the contrast of the sources, in
each direction; on photographs 2.7 levels of 255, what a JPEG of quality 95 changes
(`metrics.source.HARDLY`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unpaired.config import Config, Recipe
from unpaired.data.batches import load_whole
from unpaired.data.crops import DomainReader
from unpaired.data.layout.domains import Folder
from unpaired.diagnostics.probe import Translates
from unpaired.directions import DIRECTIONS, DOMAINS, Direction, Domain, source_of, target_of
from unpaired.engines.seam import Images
from unpaired.errors import ConfigError, DataError
from unpaired.features.choice import make_features
from unpaired.features.extract import extract
from unpaired.features.seam import FeatureNetwork
from unpaired.images.image import from_signed
from unpaired.metrics.distributions import kid
from unpaired.metrics.source import HARDLY, change, content_kept, contrast, to_levels
from unpaired.metrics.weightless import (
    SMALLEST_SIDE,
    Description,
    colour_distance,
    describe,
    patch_distance,
    spectrum_distance,
)
from unpaired.storage import json_number

__all__ = ["WITHOUT_WEIGHTS", "Validated", "Validation", "prepare_validation"]

Uint8Images = NDArray[np.uint8]
Metrics = Mapping[str, float]
Measure = Callable[[Iterable[Uint8Images], Direction], Metrics]
"""Compares generated images of a direction with the real images of its target domain."""

WITHOUT_WEIGHTS = "colour x patches x spectrum, 1 is untranslated"

_TOGETHER = 8  # images translated at once
_NEARLY_ZERO = 1e-6


@dataclass(frozen=True)
class Validated:
    """The metrics of one evaluation on the validation part.

    `criterion` is the mean of `distance` over both directions. The other metrics of a direction are
    the interval (`low`, `high`) of a KID, or the factors (`colour`, `patches`, `spectrum`) of a
    weight-free distance, in the units of `metrics.weightless`; and `change`, in levels of 255, and
    `content` (see `metrics.source`), means over the images, NaN if defined for none.

    `moved`: whether the images changed enough, in each direction, for this to be the best.
    """

    criterion: float
    measure: str
    metrics: Mapping[Direction, Metrics]
    images: tuple[int, int]  # of A and of B
    moved: bool = True

    def to_dict(self) -> dict[str, object]:
        """The metrics as metrics.jsonl holds them."""
        facts = {"criterion": self.criterion, "measure": self.measure, "pictures": self.images}
        directions = {
            direction: {**found, "content": json_number(found["content"])}
            for direction, found in self.metrics.items()
        }
        return facts | directions | {"moved": self.moved}

    def told(self, step: int) -> str:
        """The evaluation in a line."""
        each = [self.metrics[direction] for direction in DIRECTIONS]
        changes = " and ".join(f"{found['change']:.1f}" for found in each)
        contents = " and ".join(f"{found['content']:.2f}" for found in each)
        return (
            f"step {step}: criterion {self.criterion:.4g}, change {changes} levels of 255, "
            f"content kept {contents} (A to B, B to A)"
        )


@dataclass(frozen=True)
class ValidationImages:
    """The images of the validation part: whole, resized to the recipe's crop."""

    part: Mapping[Domain, Folder]
    recipe: Recipe
    max_pixels: int

    def load(self, domain: Domain) -> Iterator[NDArray[np.float32]]:
        """Reads the images of a domain, 8 at a time: (n, side, side, bands) in [-1, 1].

        Raises:
            ImageError: an image can no longer be read.
        """
        folder = self.part[domain]
        reader = DomainReader.of(self.recipe, domain, self.max_pixels)
        for start in range(0, len(folder), _TOGETHER):
            indices = range(start, min(start + _TOGETHER, len(folder)))
            yield load_whole(folder, indices, reader, self.recipe.image_size)

    def real(self, domain: Domain) -> Iterator[Uint8Images]:
        """The images of a domain in 8 bits."""
        return map(_in_8_bits, self.load(domain))

    def levels(self, domain: Domain) -> Iterator[NDArray[np.float64]]:
        """The images of a domain in levels of 255, as exact as their depth."""
        return (self.in_levels(images, domain) for images in self.load(domain))

    def in_levels(self, images: Images, domain: Domain) -> NDArray[np.float64]:
        """Images of a domain in levels of 255, rounded to its depth."""
        deep = self.recipe.domains[domain].depth > 8
        return to_levels(from_signed(images, 16 if deep else 8))


@dataclass(frozen=True)
class BesideSources:
    """Changes and kept contents of the translations that pass through it, an array a batch."""

    images: ValidationImages
    direction: Direction
    changes: list[NDArray[np.float64]] = field(default_factory=list)
    contents: list[NDArray[np.float64]] = field(default_factory=list)

    def translate(self, networks: Translates) -> Iterator[Uint8Images]:
        """The translations of the images of the source domain, in 8 bits."""
        source, target = source_of(self.direction), target_of(self.direction)
        for images in self.images.load(source):
            generated = networks.translate(images, self.direction)
            before = self.images.in_levels(images, source)
            after = self.images.in_levels(generated, target)
            self.changes.append(change(after, before))
            self.contents.append(content_kept(after, before))
            yield _in_8_bits(generated)

    def means(self) -> Metrics:
        """`change` and `content`."""
        contents = np.concatenate(self.contents)
        defined = contents[np.isfinite(contents)]
        content = float(np.mean(defined)) if len(defined) else math.nan
        return {"change": float(np.mean(np.concatenate(self.changes))), "content": content}


@dataclass(frozen=True)
class Validation:
    """The validation part and how translations of it are measured (see `prepare_validation`)."""

    images: ValidationImages
    name: str  # of the measure
    measure: Measure
    contrast: Mapping[Domain, float]  # of the real images, in levels of 255

    def evaluate(self, networks: Translates) -> Validated:
        """Translates the validation part in both directions and measures the result.

        Raises:
            ImageError: an image can no longer be read.
        """
        metrics = {direction: self._of(networks, direction) for direction in DIRECTIONS}
        criterion = float(np.mean([found["distance"] for found in metrics.values()]))
        moved = all(
            found["change"] >= HARDLY * self.contrast[source_of(direction)]
            for direction, found in metrics.items()
        )
        part = self.images.part
        return Validated(criterion, self.name, metrics, (len(part["a"]), len(part["b"])), moved)

    def _of(self, networks: Translates, direction: Direction) -> Metrics:
        beside = BesideSources(self.images, direction)
        distances = self.measure(beside.translate(networks), direction)
        return {**distances, **beside.means()}


def prepare_validation(part: tuple[Folder, Folder], config: Config, max_pixels: int) -> Validation:
    """Reads and describes the real images of the validation part, once for all evaluations.

    With a file of feature weights the distance of a direction is 1000 times the KID of all
    translations against all real images. Without, it is weight-free: the geometric mean of the
    colour, patch and spectrum distances of translations to real images, each divided by that of
    the images before translation. None of the three suffices alone: patches hardly distinguish
    summer from winter, and colours do not register blur. Their units differ, and for a blurred
    image the spectrum distance alone is ten times too large; in a geometric mean each counts by
    its ratio, so none needs a weight and none dominates. 1 is as far as untranslated images; 0 is
    equal.

    Images to translate are read again at each evaluation, so memory does not grow with their
    number.

    Raises:
        ConfigError: the feature network does not take images of so many bands.
        DataError: fewer than 3 images of a domain, which KID needs.
        ImageError: an image can no longer be read.
        MissingExtra, CheckpointError: see `make_features`.
    """
    recipe, runtime = config.recipe, config.runtime
    images = ValidationImages(dict(zip(DOMAINS, part, strict=True)), recipe, max_pixels)
    if not runtime.features:
        return Validation(images, WITHOUT_WEIGHTS, _without_weights(images), _contrasts(images))
    _require_fit_for_kid(part, recipe)
    network = make_features(Path(runtime.features), runtime.device, runtime.threads)
    by_features = _by_features(network, images)
    return Validation(images, f"KID x 1000, {network.name}", by_features, _contrasts(images))


def _contrasts(images: ValidationImages) -> Mapping[Domain, float]:
    return {domain: contrast(images.levels(domain)) for domain in DOMAINS}


def _by_features(network: FeatureNetwork, images: ValidationImages) -> Measure:
    real = {domain: extract(network, images.real(domain)) for domain in DOMAINS}

    def measure(generated: Iterable[Uint8Images], direction: Direction) -> Metrics:
        found = kid(extract(network, generated), real[target_of(direction)])
        return {
            "distance": 1000 * found.value,
            "low": 1000 * found.low,
            "high": 1000 * found.high,
        }

    return measure


def _without_weights(images: ValidationImages) -> Measure:
    side = max(images.recipe.image_size, SMALLEST_SIDE)
    real = {domain: describe(images.real(domain), side=side) for domain in DOMAINS}

    def untranslated(direction: Direction) -> Metrics:
        bands = images.recipe.domains[target_of(direction)].bands
        source = _with_bands(images.real(source_of(direction)), bands)
        return _distances(describe(source, side=side), real[target_of(direction)])

    before = {direction: untranslated(direction) for direction in DIRECTIONS}

    def measure(generated: Iterable[Uint8Images], direction: Direction) -> Metrics:
        now = _distances(describe(generated, side=side), real[target_of(direction)])
        ratios = [now[name] / max(before[direction][name], _NEARLY_ZERO) for name in now]
        return {"distance": float(np.prod(ratios) ** (1 / len(ratios))), **now}

    return measure


def _distances(x: Description, y: Description) -> Metrics:
    return {
        "colour": colour_distance(x, y),
        "patches": patch_distance(x, y),
        "spectrum": spectrum_distance(x, y),
    }


def _in_8_bits(images: Images) -> Uint8Images:
    return from_signed(images, 8).astype(np.uint8, copy=False)


def _with_bands(batches: Iterable[Uint8Images], bands: int) -> Iterator[Uint8Images]:
    """Untranslated images with the bands of the other domain: unchanged, or grey in all bands."""
    for batch in batches:
        if batch.shape[-1] == bands:
            yield batch
        else:
            grey = np.rint(batch.mean(axis=-1, keepdims=True)).astype(np.uint8)
            yield np.repeat(grey, bands, axis=-1)


def _require_fit_for_kid(part: tuple[Folder, Folder], recipe: Recipe) -> None:
    bands_a, bands_b = (recipe.domains[domain].bands for domain in DOMAINS)
    if not {bands_a, bands_b} <= {1, 3}:
        raise ConfigError(
            f"--features: feature networks take grey or RGB, and the domains have {bands_a} and "
            f"{bands_b} bands: omit --features"
        )
    if min(map(len, part)) < 3:
        raise DataError(
            f"--features: KID needs 3 images or more of each domain, and {len(part[0])} and "
            f"{len(part[1])} are set aside: omit --features, or start with a larger --validation"
        )
