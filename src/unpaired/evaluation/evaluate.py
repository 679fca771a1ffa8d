"""`unpaired evaluate` and `unpaired compare`: models against a test set, with floors and baselines.

Images are read once, resized, and kept on disk, as is all that is made of them: memory does not
grow with their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.console import Meter
from unpaired.data.domains import DataSet
from unpaired.data.source import Source, find_source
from unpaired.diagnostics.detectors import Finding, detect
from unpaired.diagnostics.probe import History, Judge, take_probe
from unpaired.directions import Direction
from unpaired.engines.choice import make_features, make_lpips
from unpaired.errors import ConfigError
from unpaired.evaluation.beside import journal_of, judge_of
from unpaired.evaluation.facts import summarise, tell_facts
from unpaired.evaluation.measure import figures_of
from unpaired.evaluation.rivals import RIVALS, ends
from unpaired.evaluation.table import FLOOR, Table
from unpaired.evaluation.testset import FEWEST, Squares, TestSet, gather
from unpaired.features.seam import FeatureNetwork, PairDistance
from unpaired.images.image import to_signed
from unpaired.metrics.metric import Metric
from unpaired.report.report import Report
from unpaired.translation.model import Model, load

__all__ = ["Protocol", "compare", "evaluate", "measure"]

PROBE = 8  # images of each domain that the detectors look at

CYCLES = (
    Metric("cycle", "there and back", "mean absolute difference, in levels of 255, of an image "
           "and what is made back out of its translation", "cycle", "lower", 2),
    Metric("noisy_cycle", "with noise", "the same where the translation is rounded to 8 bits and "
           "has noise of 5 levels; far larger where the way back was hidden in it",
           "cycle", "lower", 2),
    Metric("identity", "own kind", "mean absolute difference, in levels of 255, that an image "
           "takes which already is of the target domain", "cycle", "lower", 2),
)  # fmt: skip


def evaluate(
    model: Model | str | Path,
    data: Source,
    *,
    features: str | Path | None = None,
    lpips: str | Path | None = None,
    image_size: int | None = None,
    limit: int = 0,
    seed: int = 0,
    engine: Literal["auto", "torch", "jax"] = "auto",
    device: str = "auto",
    threads: int = 0,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    quiet: bool = False,
) -> Report:
    """Measures how good a model's translations of a test set are, in both directions.

    Args:
        model: what `load` returns, or a run folder or weights file.
        data: a folder, a name of the catalogue, or two folders; its test images are translated
            (its training images, where there are none, which is said).
        features: a file of weights for KID and FID (AlexNet, VGG16, EfficientNet-Lite0), or
            "inception", the standard one (extra: fid). Without, only distances that need no
            weights are told.
        lpips: a file of LPIPS heads for AlexNet, whose features are then those of `features`.
        image_size: side in pixels at which images are translated and compared (default: that
            of the training).
        limit: test images of each domain at most, 3 or more, drawn by `seed` (0: all).
        seed: of what is drawn: samples, examples, noise, directions of projection.
        engine, device, threads: as for `load`.

    Raises:
        ConfigError, DataError, CheckpointError, MissingExtra, RunError: refused.
    """
    if not isinstance(model, Model):
        model = load(model, engine=engine, device=device, threads=threads)
    how = Protocol(features, lpips, image_size, limit, seed, device, threads, max_pixels, quiet)
    return measure({"the model": model}, data, how)


def compare(
    models: Sequence[str | Path],
    data: Source,
    *,
    features: str | Path | None = None,
    lpips: str | Path | None = None,
    image_size: int | None = None,
    limit: int = 0,
    seed: int = 0,
    engine: Literal["auto", "torch", "jax"] = "auto",
    device: str = "auto",
    threads: int = 0,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    quiet: bool = False,
) -> Report:
    """The figures of several models side by side, on one test set. Arguments as `evaluate`.

    Raises:
        ConfigError: fewer than two models, two of one name, or of different domains; besides, as
            `evaluate`.
    """
    loaded = {
        name: load(path, engine=engine, device=device, threads=threads)
        for name, path in _names(models).items()
    }
    how = Protocol(features, lpips, image_size, limit, seed, device, threads, max_pixels, quiet)
    return measure(loaded, data, how)


def _names(models: Sequence[str | Path]) -> dict[str, Path]:
    """Short names that differ from each other and from other rows: a path's end, or the whole."""
    paths = [Path(model) for model in models]
    if len(set(paths)) < 2 or len(set(paths)) < len(paths):
        raise ConfigError("compare needs two models or more, each given once")
    short = [
        f"{path.parent.name}/{path.name}" if path.suffix == ".safetensors" else path.name
        for path in map(Path.absolute, paths)
    ]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    taken = {*RIVALS, FLOOR}
    return {
        f"model {name}" if name in taken else name: path
        for name, path in zip(names, paths, strict=True)
    }


@dataclass(frozen=True)
class Protocol:
    """How it is measured: the arguments of `evaluate`."""

    features: str | Path | None = None
    lpips: str | Path | None = None
    image_size: int | None = None
    limit: int = 0
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    max_pixels: int = DEFAULT_MAX_PIXELS
    quiet: bool = False


def measure(
    models: Mapping[str, Model],
    data: Source | DataSet,
    how: Protocol,
    judge: Judge | None = None,
) -> Report:
    """The report of models by their names: what `evaluate` and `compare` return.

    `judge` is of the discriminators, if they are at hand; else they are looked for in the run
    folder. With several models the detectors do not look.

    Raises:
        ConfigError, DataError, CheckpointError, MissingExtra, RunError: refused.
    """
    first = next(iter(models.values()))
    recipe = first.config.recipe
    directions = _directions(models)
    side = how.image_size or recipe.image_size
    if side % 4 or side < 8:
        raise ConfigError(f"--image-size is {side}: it must be a multiple of 4, at least 8")
    if how.limit and how.limit < FEWEST:
        raise ConfigError(f"--limit is {how.limit}: it must be 0 (all) or at least {FEWEST}")
    if how.seed < 0:
        raise ConfigError(f"--seed is {how.seed}: it must be at least 0")
    network, pairs = _networks(how)
    found = data
    if not isinstance(found, DataSet):
        found = find_source(found, need_train=False, quiet=how.quiet)
    with Meter("reading", quiet=how.quiet) as meter:
        tests = gather(
            found,
            recipe,
            side=side,
            limit=how.limit,
            seed=how.seed,
            max_pixels=how.max_pixels,
            progress=meter.show,
        )
    table = Table(models, tests, directions, network, pairs, how.seed, how.quiet)
    findings = _watch(first, tests, how.seed, judge) if len(models) == 1 else []
    count = min(map(len, tests.test.values()))
    figures = figures_of(
        bands=[recipe.bands_b if way == "ab" else recipe.bands_a for way in directions],
        count=count,
        paired=tests.paired,
        network=network,
        lpips=pairs,
    )
    return Report(
        title=f"{recipe.name_a} and {recipe.name_b}",
        summary=summarise(models, tests),
        names=(recipe.name_a, recipe.name_b),
        figures=[*figures, *_measured_cycles(table)],
        methods=table.methods,
        examples=table.examples,
        facts=tell_facts(models, tests, recipe, network, pairs, side, how.seed),
        directions=directions,
        findings=findings,
        journal=journal_of(first.path) if len(models) == 1 else (),
        config=first.config.to_toml() if len(models) == 1 else "",
        record={
            "steps": {name: model.step for name, model in models.items()},
            "data_fingerprint": recipe.data_fingerprint,
            "seed": how.seed,
            "image_size": side,
            "n": {domain: len(squares) for domain, squares in tests.test.items()},
            "paired": tests.paired,
        },
    )


def _measured_cycles(table: Table) -> list[Metric]:
    """Those that a model goes both ways for, or that has equal bands on both sides."""
    measured = {
        key for method in table.methods for values in method.values.values() for key in values
    }
    return [figure for figure in CYCLES if figure.key in measured]


def _directions(models: Mapping[str, Model]) -> tuple[Direction, ...]:
    """Those that all models go."""
    recipes = {name: model.config.recipe for name, model in models.items()}
    kinds = {
        (r.name_a, r.name_b, r.bands_a, r.bands_b, r.depth_a, r.depth_b) for r in recipes.values()
    }
    if len(kinds) > 1:
        told = "; ".join(
            f"{name}: {r.name_a} ({r.bands_a} bands of {r.depth_a} bits) and {r.name_b} "
            f"({r.bands_b} of {r.depth_b})"
            for name, r in recipes.items()
        )
        raise ConfigError(f"models of different domains cannot be compared ({told})")
    ways: tuple[Direction, Direction] = ("ab", "ba")
    common = tuple(way for way in ways if all(way in model.directions for model in models.values()))
    if not common:
        raise ConfigError("the models go no direction in common: compare those that do")
    return common


def _networks(how: Protocol) -> tuple[FeatureNetwork | None, PairDistance | None]:
    features, lpips = how.features, how.lpips
    if lpips and (features is None or str(features) == "inception"):
        raise ConfigError("--lpips needs the weights of AlexNet: give them with --features FILE")
    network = None
    if features is not None:
        path = None if str(features) == "inception" else Path(features)
        network = make_features(path, how.device, how.threads)
    pairs = make_lpips(Path(str(features)), Path(lpips), how.device, how.threads) if lpips else None
    return network, pairs


def _watch(model: Model, tests: TestSet, seed: int, judge: Judge | None) -> list[Finding]:
    """What the detectors say of the finished model."""
    judge = judge or judge_of(model)

    def some(squares: Squares | None) -> np.ndarray | None:
        return None if squares is None else to_signed(np.asarray(squares.samples[:PROBE]))

    # Training images that stand in for a test set cannot be told from themselves.
    train = tests.train if tests.held_out else {}
    real_a, real_b = some(tests.test["a"]), some(tests.test["b"])
    assert real_a is not None
    assert real_b is not None
    probe = take_probe(
        model.translator,
        real_a,
        real_b,
        some(train.get("a")),
        some(train.get("b")),
        judge=judge,
        directions=model.directions,
        seed=seed,
    )
    names = tuple(tuple(tests.test[domain].names[:PROBE]) for domain in ends("ab"))
    return detect(
        probe,
        History().after(probe),
        (model.name_a, model.name_b),
        files=(names[0], names[1]),
        lines=journal_of(model.path),
    )
