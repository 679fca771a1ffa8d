"""The images of an evaluation: squares of one size on disk, so that memory does not grow."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from unpaired.config import Recipe
from unpaired.console import counted, progress
from unpaired.data.batches import load_whole
from unpaired.data.domains import DataSet, Folder
from unpaired.directions import DOMAINS, Direction, Domain, source_of, target_of
from unpaired.errors import DataError, ImageError
from unpaired.evaluation.options import FEWEST
from unpaired.images.disk_array import disk_array
from unpaired.images.image import from_signed
from unpaired.metrics.catalogue import ClassMaps
from unpaired.metrics.image_set import ImageSet
from unpaired.seasons.dataset import find_truth
from unpaired.seasons.landscapes import CLASSES
from unpaired.streams import SAMPLE, stream

__all__ = ["REFERENCE", "TestSet", "gather", "is_paired"]

REFERENCE = 1000  # training images, at most, for floors and baselines


@dataclass(frozen=True, eq=False)
class TestSet:
    """The images a model is measured on, and training images for floors and baselines."""

    __test__ = False  # not a class of tests

    test: dict[Domain, ImageSet]
    train: dict[Domain, ImageSet]  # in random order; a domain without images is omitted
    paired: bool  # images of one index are true translations of each other, by their file names
    held_out: bool  # False where there is no test set and training images are used instead
    classes: ClassMaps | None = None  # of the test images, where they are known

    def sources(self, direction: Direction) -> ImageSet:
        """The test images to translate."""
        return self.test[source_of(direction)]

    def reference(self, direction: Direction) -> ImageSet:
        """The real images of the target domain; true translations where they are paired."""
        return self.test[target_of(direction)]

    def known(self, direction: Direction) -> ImageSet | None:
        """Training images of the target domain, which baselines may learn from."""
        return self.train.get(target_of(direction))

    def floor(self, direction: Direction) -> ImageSet | None:
        """Real training images of the target domain, as many as there are sources if possible.

        None where there are too few, or where they are the test images themselves.
        """
        known = self.known(direction)
        if known is None or len(known) < FEWEST or not self.held_out:
            return None
        return known.first(len(self.sources(direction)))


def gather(
    data: DataSet, recipe: Recipe, *, side: int, limit: int, seed: int, max_pixels: int
) -> TestSet:
    """Reads the images of a data set at `side` x `side` pixels, resized with antialiasing.

    Args:
        recipe: bands and depth of the domains.
        limit: images of each test set at most, drawn by `seed` (0: all); else at least 3.

    Raises:
        DataError: a domain has fewer than 3 images.
        ImageError: an image cannot be read, or its bands do not fit.
    """
    held_out = data.test_a is not None and data.test_b is not None
    test_a, test_b = data.train_a, data.train_b
    if data.test_a is not None and data.test_b is not None:
        test_a, test_b = data.test_a, data.test_b
    for folder in (test_a, test_b):
        if len(folder) < FEWEST:
            available = counted(len(folder), "image")
            raise DataError(f"{folder.root}: {available} to evaluate on: give {FEWEST} or more")
    paired = is_paired(test_a, test_b)
    chosen_a, chosen_b = (_draw(len(f), limit, seed, i) for i, f in ((0, test_a), (1, test_b)))
    if paired:
        chosen_b = chosen_a
    order_a, order_b = _by_stem(test_a), _by_stem(test_b)
    plan: list[tuple[Folder, list[int], Domain]] = [
        (test_a, [order_a[i] for i in chosen_a], "a"),
        (test_b, [order_b[i] for i in chosen_b], "b"),
        (data.train_a, _shuffle(len(data.train_a), seed, 2)[:REFERENCE], "a"),
        (data.train_b, _shuffle(len(data.train_b), seed, 3)[:REFERENCE], "b"),
    ]
    sets = []
    with progress("reading", sum(len(indices) for _, indices, _ in plan)) as meter:
        for folder, indices, domain in plan:
            facts = recipe.domains[domain]
            kind = np.uint16 if facts.depth == 16 else np.uint8
            samples = disk_array((len(indices), side, side, facts.bands), kind)
            for place, index in enumerate(indices):
                signed = _load(folder, index, facts.bands, side, max_pixels)
                samples[place] = from_signed(signed, 16 if facts.depth == 16 else 8)
                meter.advance()
            sets.append(ImageSet(samples, tuple(folder.names[index] for index in indices)))
    tests, train = (dict(zip(DOMAINS, two, strict=True)) for two in (sets[:2], sets[2:]))
    classes = _classes(test_a, tests["a"]) if paired else None
    known = {domain: images for domain, images in train.items() if len(images)}
    return TestSet(tests, known, paired, held_out, classes)


def is_paired(a: Folder, b: Folder) -> bool:
    """Whether every stem of A has its B and vice versa; a few shared names are chance."""
    stems_a, stems_b = ([PurePosixPath(name).stem for name in f.names] for f in (a, b))
    return sorted(stems_a) == sorted(stems_b) and len(set(stems_a)) == len(stems_a)


def _classes(folder: Folder, images: ImageSet) -> ClassMaps | None:
    """The class maps of test images, where they are known at the size of the evaluation."""
    found = find_truth(folder.root, images.names)
    if found is None or found[0].shape != images.samples.shape[:3]:
        return None
    return (*found, CLASSES)


def _by_stem(folder: Folder) -> list[int]:
    return sorted(range(len(folder)), key=lambda i: PurePosixPath(folder.names[i]).stem)


def _draw(count: int, limit: int, seed: int, index: int) -> list[int]:
    """All of `count` in order, or a random `limit` of them."""
    if not limit or count <= limit:
        return list(range(count))
    return sorted(_shuffle(count, seed, index)[:limit])


def _shuffle(count: int, seed: int, index: int) -> list[int]:
    """0 to `count` - 1 in random order."""
    order: list[int] = stream(seed, SAMPLE, index).permutation(count).tolist()
    return order


def _load(folder: Folder, index: int, bands: int, side: int, max_pixels: int) -> np.ndarray:
    """One image as `load_whole` gives it; an error names it where its bands do not fit."""
    try:
        one = load_whole(folder, [index], bands=bands, side=side, max_pixels=max_pixels)
        return one.reshape(one.shape[1:])
    except ImageError as error:
        path = str(folder.path(index))
        if path in str(error):
            raise
        raise ImageError(f"{path}: {error}") from error
