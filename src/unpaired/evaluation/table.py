"""All methods in all directions by one yardstick: the rows of a report, and its examples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from unpaired.data.image import from_signed, to_signed
from unpaired.engines.feature_seam import FeatureNetwork, PairDistance
from unpaired.engines.seam import Direction, Domain
from unpaired.evaluation.baselines import BASELINES
from unpaired.evaluation.measure import Yardstick, least_like
from unpaired.evaluation.probe import reconstruction_errors, take_probe
from unpaired.evaluation.report import Example, Method, MethodKind, Value
from unpaired.evaluation.scores import psnr
from unpaired.evaluation.testset import CHUNK, Squares, TestSet, shelf, to_rgb
from unpaired.progress import Meter
from unpaired.translation.model import Model

__all__ = ["CYCLED", "Table", "ends"]

RANDOM, WORST = 6, 4  # examples of each direction
CYCLED = 64  # pictures of each domain, at most, whose way back is measured
BATCH = 8
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
        sets = len(models) * 2 + 1 + len(BASELINES)
        self.total = sum(sets * len(tests.test[ends(way)[0]]) for way in directions)
        with Meter("measuring", quiet=quiet) as meter:
            self.done, self.meter = 0, meter
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
            cycles = _cycles(model, self.tests, direction, self.seed)
            self._row(name, "model", "", direction, stick.measure(made, against_truth=True), cycles)
            self._keep_examples(name, model, direction, made, stick)
        known = self.tests.train.get(target)
        for name, kind, note, made in self._baselines(direction):
            values = stick.measure(made, against_truth=True)
            self._row(name, kind, note, direction, values)
        if known is not None:
            note = "in place of translations: how far real pictures are from other real ones"
            real = Squares(known.samples[: len(sources)], known.names[: len(sources)])
            values = stick.measure(real, against_truth=False)
            self._row("real training pictures", "floor", note, direction, values)

    def _row(
        self,
        name: str,
        kind: MethodKind,
        note: str,
        direction: Direction,
        values: dict[str, Value],
        more: Mapping[str, Value] | None = None,
    ) -> None:
        _, _, by_direction = self.rows.setdefault(name, (kind, note, {}))
        by_direction[direction] = values | dict(more or {})

    def _baselines(self, direction: Direction) -> list[tuple[str, MethodKind, str, Squares]]:
        """The baselines that bands and data allow, each with what it makes."""
        source, target = ends(direction)
        sources, truth = self.tests.test[source], self.tests.test[target]
        known = self.tests.train.get(target)
        same = sources.samples.shape[1:] == truth.samples.shape[1:]
        found: list[tuple[str, MethodKind, str, Squares]] = []
        for baseline in BASELINES:
            rgb = same and sources.samples.shape[-1] == 3 and sources.samples.dtype == np.uint8
            kind: MethodKind = "baseline"
            if baseline.name == "identity":
                kind, allowed = "untouched", same and sources.samples.dtype == truth.samples.dtype
            elif baseline.uses_pairs:
                kind, allowed = "oracle", rgb and self.tests.paired
            else:
                allowed = rgb and known is not None
            if not allowed:
                continue
            note = "uses pairs, 32 levels a band" if kind == "oracle" else ""
            if kind == "untouched":
                made = Squares(sources.samples, sources.names)
            elif kind == "oracle":
                made = Squares(baseline.translate(sources.samples, truth.samples), sources.names)
            else:
                assert known is not None
                samples = shelf(sources.samples.shape, deep=False)
                for start in range(0, len(sources), 4 * CHUNK):
                    part = np.asarray(sources.samples[start : start + 4 * CHUNK])
                    samples[start : start + len(part)] = baseline.translate(part, known.samples)
                made = Squares(samples, sources.names)
            found.append((baseline.name, kind, note, made))
        return found

    def _keep_examples(
        self, name: str, model: Model, direction: Direction, made: Squares, stick: Yardstick
    ) -> None:
        source, target = ends(direction)
        sources, truth = self.tests.test[source], self.tests.test[target]
        drawn = np.random.default_rng((self.seed, EXAMPLES, 1)).permutation(len(sources))[:RANDOM]
        choices = {"at random": (sorted(drawn.tolist()), "")}
        if len(self.models) == 1 and self.tests.paired and truth.samples.shape[-1] == 3:
            scores = psnr(to_rgb(np.asarray(made.samples)), to_rgb(np.asarray(truth.samples)))
            worst = np.argsort(scores, kind="stable")[:WORST].tolist()
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
                caption = f"{float(psnr(mine, real)):.2f} dB" if real is not None and unit else ""
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


def ends(direction: Direction) -> tuple[Domain, Domain]:
    """The source and the target domain."""
    return ("a", "b") if direction == "ab" else ("b", "a")


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
        part = to_signed(np.asarray(sources.samples[start : start + BATCH]))
        made = model.translator.translate(part, direction)
        samples[start : start + len(part)] = from_signed(made, depth)
        progress(len(part))
    return Squares(samples, sources.names)


def _cycles(model: Model, tests: TestSet, direction: Direction, seed: int) -> dict[str, Value]:
    """Errors of the way back, and of what already is of the target domain."""
    source, target = ends(direction)
    if len(model.directions) < 2:
        return {}
    recipe = model.config.recipe
    errors: dict[str, list[float]] = {}
    count = min(CYCLED, len(tests.test["a"]), len(tests.test["b"])) // BATCH * BATCH or 2
    for start in range(0, count, BATCH):
        part = slice(start, start + min(BATCH, count))
        probe = take_probe(
            model.translator,
            to_signed(np.asarray(tests.test["a"].samples[part])),
            to_signed(np.asarray(tests.test["b"].samples[part])),
            identity=recipe.bands_a == recipe.bands_b,
            seed=seed,
        )
        for name, error in reconstruction_errors(probe).items():
            errors.setdefault(name, []).append(error)
    names = {
        "cycle": f"cycle_{source}",
        "noisy_cycle": f"noisy_cycle_{source}",
        "identity": f"identity_{target}",
    }
    return {
        key: Value(float(np.mean(errors[name]))) for key, name in names.items() if name in errors
    }
