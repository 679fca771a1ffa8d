"""All methods in all directions by one yardstick: the rows of a report, and its examples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from unpaired.console import Meter
from unpaired.diagnostics.probe import reconstruction_errors, take_probe
from unpaired.directions import Direction
from unpaired.evaluation.measure import Yardstick, least_like
from unpaired.evaluation.rivals import RIVALS, ends, rivals
from unpaired.evaluation.testset import FEWEST, Squares, TestSet, shelf, to_rgb
from unpaired.features.seam import FeatureNetwork, PairDistance
from unpaired.images.image import Image, from_signed, to_signed
from unpaired.metrics.metric import Value
from unpaired.report.report import Example, Method, MethodKind
from unpaired.translation.model import Model

__all__ = ["CYCLED", "FLOOR", "Table", "floor_of"]

RANDOM, WORST = 6, 4  # examples of each direction
CYCLED = 64  # images of each domain, at most, whose way back is measured
BATCH, BATCH_PIXELS = 8, 2**19  # images at once, and pixels of a probe's
FLOOR = "real training images"
EXAMPLES = 10  # random stream of the examples


class Table:
    """Measures all methods in all directions, and keeps the examples."""

    def __init__(
        self,
        models: Mapping[str, Model],
        tests: TestSet,
        directions: Sequence[Direction],
        network: FeatureNetwork | None,
        lpips: PairDistance | None,
        seed: int,
        quiet: bool,
    ) -> None:
        self.models, self.tests, self.seed = models, tests, seed
        self.network, self.lpips = network, lpips
        self.rows: dict[str, tuple[MethodKind, str, dict[Direction, dict[str, Value]]]] = {}
        self.examples: dict[Direction, dict[str, list[Example]]] = {}
        sets = len(models) * 2 + 1 + len(RIVALS)
        self.total = sum(sets * len(tests.test[ends(way)[0]]) for way in directions)
        with Meter("measuring", quiet=quiet) as meter:
            self.done, self.meter = 0, meter
            self.cycles = {name: _cycles(model, tests, seed) for name, model in models.items()}
            for direction in directions:
                self._measure(direction)

    @property
    def methods(self) -> list[Method]:
        return [
            Method(name, kind, values, note) for name, (kind, note, values) in self.rows.items()
        ]

    def _count(self, done: int) -> None:
        self.done += done
        self.meter.show(min(self.done, self.total), self.total)

    def _measure(self, direction: Direction) -> None:
        source, target = ends(direction)
        sources, truth = self.tests.test[source], self.tests.test[target]
        stick = Yardstick(
            truth,
            paired=self.tests.paired,
            network=self.network,
            lpips=self.lpips,
            progress=self._count,
        )
        for name, model in self.models.items():
            made = _translate(model, sources, direction, self._count)
            values = stick.measure(made, against_truth=True) | self.cycles[name][direction]
            self._row(name, "model", "", direction, values)
            self._keep_examples(name, model, direction, made, stick)
        for rival in rivals(self.tests, direction):
            values = stick.measure(rival.made, against_truth=True)
            self._row(rival.name, rival.kind, rival.note, direction, values)
        real = floor_of(self.tests, direction)
        if real is not None:
            note = "in place of translations: how far real images are from other real ones"
            values = stick.measure(real, against_truth=False)
            if len(real) < len(sources):
                values.pop("fid", None)  # of another number, so not to be compared
            self._row(FLOOR, "floor", note, direction, values)

    def _row(
        self,
        name: str,
        kind: MethodKind,
        note: str,
        direction: Direction,
        values: dict[str, Value],
    ) -> None:
        _, _, by_direction = self.rows.setdefault(name, (kind, note, {}))
        by_direction[direction] = values

    def _keep_examples(
        self, name: str, model: Model, direction: Direction, made: Squares, stick: Yardstick
    ) -> None:
        source, target = ends(direction)
        sources, truth = self.tests.test[source], self.tests.test[target]
        drawn = np.random.default_rng((self.seed, EXAMPLES, 1)).permutation(len(sources))[:RANDOM]
        choices = {"at random": (sorted(drawn.tolist()), "")}
        if len(self.models) == 1 and stick.psnrs:
            worst = np.argsort(stick.psnrs, kind="stable")[:WORST].tolist()
            choices["the worst, by PSNR"] = (worst, "dB")
        elif len(self.models) == 1 and stick.features is not None and stick.made is not None:
            worst = least_like(stick.made, stick.features, WORST).tolist()
            choices["the least like real ones, by the features"] = (worst, "")
        for choice, (indices, unit) in choices.items():
            title = choice if len(self.models) == 1 else f"{name}, {choice}"
            shown = []
            for index in indices:
                back = None
                if _back(direction) in model.directions:
                    again = model.translator.translate(
                        to_signed(np.asarray(made.samples[index : index + 1])), _back(direction)
                    )
                    back = to_rgb(from_signed(again[0], _depth(sources)))
                real = to_rgb(np.asarray(truth.samples[index])) if self.tests.paired else None
                mine = to_rgb(np.asarray(made.samples[index]))
                caption = f"{stick.psnrs[index]:.2f} dB" if unit else ""
                shown.append(
                    Example(
                        name=sources.names[index],
                        source=to_rgb(np.asarray(sources.samples[index])),
                        made=mine,
                        back=back,
                        truth=real,
                        caption=caption,
                    )
                )
            self.examples.setdefault(direction, {})[title] = shown


def floor_of(tests: TestSet, direction: Direction) -> Squares | None:
    """Real training images of the target domain, as many as there are sources if there are.

    None where they are too few, and where they stand in for the test set: no other images then.
    """
    source, target = ends(direction)
    known = tests.train.get(target)
    if known is None or len(known) < FEWEST or not tests.held_out:
        return None
    return known.first(len(tests.test[source]))


def _back(direction: Direction) -> Direction:
    return "ba" if direction == "ab" else "ab"


def _depth(squares: Squares) -> Literal[8, 16]:
    """Bits a sample."""
    return 8 if squares.samples.dtype == np.uint8 else 16


def _translate(
    model: Model, sources: Squares, direction: Direction, progress: Callable[[int], object]
) -> Squares:
    bands, depth = model.result_kind(direction)
    samples = shelf((*sources.samples.shape[:3], bands), deep=depth == 16)
    for start in range(0, len(sources), BATCH):
        part = [Image(image) for image in np.asarray(sources.samples[start : start + BATCH])]
        made = model.translate_many(part, direction, batch_size=BATCH)
        samples[start : start + len(part)] = [image.pixels for image in made]
        progress(len(part))
    return Squares(samples, sources.names)


def _cycles(model: Model, tests: TestSet, seed: int) -> dict[Direction, dict[str, Value]]:
    """By direction: errors of the way back, and of what already is of the target domain."""
    recipe = model.config.recipe
    count = min(CYCLED, len(tests.test["a"]), len(tests.test["b"]))
    side = tests.test["a"].samples.shape[1]
    batch = max(2, min(BATCH, BATCH_PIXELS // side**2))
    errors: dict[str, list[float]] = {}
    # Parts of at least `batch`, if there are so many: a single image is no probe.
    for part in np.array_split(np.arange(count), max(1, count // batch)):
        probe = take_probe(
            model.translator,
            to_signed(np.asarray(tests.test["a"].samples[part])),
            to_signed(np.asarray(tests.test["b"].samples[part])),
            directions=model.directions,
            identity=recipe.bands_a == recipe.bands_b,
            seed=seed,
        )
        for name, error in reconstruction_errors(probe).items():
            errors.setdefault(name, []).extend([error] * len(part))
    means = {name: Value(float(np.mean(each))) for name, each in errors.items()}
    names = {
        way: {
            "cycle": f"cycle_{ends(way)[0]}",
            "noisy_cycle": f"noisy_cycle_{ends(way)[0]}",
            "identity": f"identity_{ends(way)[1]}",
        }
        for way in model.directions
    }
    return {
        way: {key: means[name] for key, name in keys.items() if name in means}
        for way, keys in names.items()
    }
