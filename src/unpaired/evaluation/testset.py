"""The images of an evaluation: squares of one size on disk, so that memory does not grow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from unpaired.config import Recipe
from unpaired.console import counted, log, progress
from unpaired.data.crops import DomainReader
from unpaired.data.layout.domains import DataSet, Folder
from unpaired.directions import DOMAINS, Direction, Domain, source_of, target_of
from unpaired.errors import DataError, shown
from unpaired.evaluation.options import FEWEST
from unpaired.evaluation.pairs import CHANCE, SIDE, agreement, alike, in_pairs, some_neighbours
from unpaired.evaluation.squares import in_tiles, load_square_of, read_set
from unpaired.metrics.catalogue import ClassMaps
from unpaired.metrics.image_set import ImageSet
from unpaired.seasons.dataset import find_truth
from unpaired.seasons.landscapes import CLASSES
from unpaired.streams import SAMPLE, stream

__all__ = ["REFERENCE", "TestSet", "gather"]

REFERENCE = 1000  # training images, at most, for floors and baselines


@dataclass(frozen=True, eq=False)
class TestSet:
    """The images a model is measured on, and training images for floors and baselines."""

    __test__ = False  # not a class of tests

    test: dict[Domain, ImageSet]
    train: dict[Domain, ImageSet]  # in random order; a domain without images is omitted
    paired: bool  # images of one index are true translations of each other
    held_out: bool  # False where training images of a domain stand in for missing test images
    classes: ClassMaps | None = None  # of the test images, where they are known
    pairs: str = ""  # why they are pairs, or are not
    missing: tuple[Domain, ...] = ()  # domains without test images, where the other has some

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
    data: DataSet,
    recipe: Recipe,
    *,
    side: int,
    limit: int,
    seed: int,
    max_pixels: int,
    paired: bool | None = None,
) -> TestSet:
    """Reads the images of a data set at `side` x `side` pixels, resized with antialiasing.

    Where one domain alone has test images, training images of the other stand in for its own; where
    none has, those of both.

    Args:
        recipe: bands and depth of the domains.
        limit: images of each test set at most, drawn by `seed` (0: all); else at least 3.
        paired: whether images of equal names are pairs; None: if the data set says so, or if names
            and contents agree (see `pairs`).

    Raises:
        DataError: a domain has fewer than 3 images, or `paired` and names that do not pair.
        ImageError: an image cannot be read, or its bands do not fit.
    """
    held = [data.test_a is not None, data.test_b is not None]
    missing = tuple(d for d, is_held in zip(DOMAINS, held, strict=True) if not is_held)
    readers = {domain: DomainReader.of(recipe, domain, max_pixels) for domain in DOMAINS}
    train_a = in_tiles(data.train_a, readers["a"], side)
    train_b = in_tiles(data.train_b, readers["b"], side)
    test_a = in_tiles(data.test_a, readers["a"], side) if data.test_a else train_a
    test_b = in_tiles(data.test_b, readers["b"], side) if data.test_b else train_b
    for folder, domain in ((test_a, "A"), (test_b, "B")):
        if len(folder) < FEWEST:
            what = f"test{domain} is missing, and there is no train{domain}"
            if len(folder):
                what = f"{counted(len(folder), 'image')} to evaluate on"
            raise DataError(f"{shown(folder.root)}: {what}: give {FEWEST} or more")
    if len(missing) == 1:
        (absent,), (given,) = missing, set(DOMAINS) - set(missing)
        log.warning(
            f"test{absent.upper()} is missing: training images of {recipe.domains[absent].name} "
            f"stand in for it, beside test{given.upper()}"
        )

    def load(folder: Folder, index: int, domain: Domain, side: int) -> np.ndarray:
        return load_square_of(folder, index, readers[domain], side)

    def agree(pairs: Sequence[tuple[int, int]]) -> float:
        """The share of shuffles that agree as well as the pairs do."""
        blocks = some_neighbours(len(pairs))
        found = []
        with progress("comparing images of equal names", sum(map(len, blocks)), unit="pairs") as m:
            for block in blocks:
                places_a, places_b = zip(*(pairs[index] for index in block), strict=True)
                a = [load(test_a, place, "a", SIDE) for place in places_a]
                b = [load(test_b, place, "b", SIDE) for place in places_b]
                found.append(alike(a, b))
                m.advance(len(block))
        return agreement(found, seed)

    pairs = in_pairs(test_a, test_b)
    reason = ""
    if paired is False:
        pairs, reason = None, "none, as asked (--unpaired)"
    elif paired:
        if pairs is None:
            raise DataError(
                f"--paired: {shown(test_a.root)} ({len(test_a)}) and {shown(test_b.root)} "
                f"({len(test_b)}) do not hold the same names: rename the images, or omit --paired"
            )
        reason = "images of equal names, as asked (--paired)"
    elif pairs is None or len(missing) == 1:
        pairs, reason = None, "names do not pair, so no truth is known"
    elif data.paired:
        reason = "images of equal names: the data set says so"
    elif (chance := agree(pairs)) < CHANCE:
        reason = (
            "images of equal names: their edges agree beyond chance "
            f"({chance:.2g} of random pairs agree as well)"
        )
        log.info(f"taken for pairs: {reason}; if they are not pairs, give --unpaired")
    else:
        pairs = None
        reason = (
            "none: names are equal, but contents agree no better than by chance "
            f"({chance:.2g} of random pairs agree as well), so no truth is known"
        )
        log.info(f"pairs: {reason}; if they are pairs, give --paired")
    chosen_a, chosen_b = (_draw(len(f), limit, seed, i) for i, f in ((0, test_a), (1, test_b)))
    if pairs is None:
        order_a, order_b = _by_stem(test_a), _by_stem(test_b)
    else:
        chosen_b = chosen_a
        order_a, order_b = (list(order) for order in zip(*pairs, strict=True))
    plan: list[tuple[Folder, list[int], Domain]] = [
        (test_a, [order_a[i] for i in chosen_a], "a"),
        (test_b, [order_b[i] for i in chosen_b], "b"),
        (train_a, _shuffle(len(train_a), seed, 2)[:REFERENCE], "a"),
        (train_b, _shuffle(len(train_b), seed, 3)[:REFERENCE], "b"),
    ]
    sets = []
    with progress("reading", sum(len(indices) for _, indices, _ in plan)) as meter:
        for folder, indices, domain in plan:
            facts, reader = recipe.domains[domain], readers[domain]
            sets.append(read_set(folder, indices, reader, facts, side, meter.advance))
    tests, train = (dict(zip(DOMAINS, two, strict=True)) for two in (sets[:2], sets[2:]))
    names = [test_a.names[order_a[i]] for i in chosen_a]
    classes = _classes(test_a, names, tests["a"]) if pairs else None
    known = {domain: images for domain, images in train.items() if len(images)}
    half = missing if len(missing) == 1 else ()
    return TestSet(tests, known, pairs is not None, not missing, classes, reason, half)


def _classes(folder: Folder, names: Sequence[str], images: ImageSet) -> ClassMaps | None:
    """The class maps of test images, where they are known at the size of the evaluation."""
    found = find_truth(folder.root, names)
    if found is None or found[0].shape != images.samples.shape[:3]:
        return None
    return (*found, CLASSES)


def _by_stem(folder: Folder) -> list[int]:
    return sorted(range(len(folder)), key=lambda i: PurePosixPath(folder.label(i)).stem)


def _draw(count: int, limit: int, seed: int, index: int) -> list[int]:
    """All of `count` in order, or a random `limit` of them."""
    if not limit or count <= limit:
        return list(range(count))
    return sorted(_shuffle(count, seed, index)[:limit])


def _shuffle(count: int, seed: int, index: int) -> list[int]:
    """0 to `count` - 1 in random order."""
    order: list[int] = stream(seed, SAMPLE, index).permutation(count).tolist()
    return order
