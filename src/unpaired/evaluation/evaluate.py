"""`unpaired evaluate` and `unpaired compare`: models on a test set, beside baselines and floors.

Images are read once, resized, and kept on disk, as are all translations: memory does not grow with
their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from unpaired.config import drop_quiet
from unpaired.console import log
from unpaired.data.layout.domains import DataSet
from unpaired.data.source import Source, find_source
from unpaired.diagnostics.probe import Judge
from unpaired.directions import DIRECTIONS, DOMAINS, Direction
from unpaired.errors import ConfigError, shown
from unpaired.evaluation.baselines import BASELINES
from unpaired.evaluation.diagnose import diagnose
from unpaired.evaluation.facts import summarise, tell_facts
from unpaired.evaluation.measure import FLOOR, measure_methods
from unpaired.evaluation.options import OptionKeywords, Options
from unpaired.evaluation.run_folder import journal_of
from unpaired.evaluation.testset import gather
from unpaired.features.choice import make_features, make_lpips
from unpaired.features.seam import FeatureNetwork, PairDistance
from unpaired.images.formats import Reading
from unpaired.metrics.catalogue import CYCLES, metrics_for
from unpaired.report.page import render
from unpaired.report.report import Report
from unpaired.seasons.landscapes import CLASSES, palette
from unpaired.translation.model import Model, load
from unpaired.translation.precision import Measured

__all__ = ["compare", "evaluate", "evaluate_models"]


def evaluate(model: Model | str | Path, data: Source, **options: Unpack[OptionKeywords]) -> Report:
    """Measures how good a model's translations of a test set are, in both directions.

    Args:
        model: what `load` returns, or a run folder or weights file.
        data: a folder, a name of the catalogue, or two folders. Its test images are translated; its
            training images where there are none, which the report says.
        options: see `Options`; `engine`, `device`, `threads` and `precision` serve to load the
            model. One that was loaded with the precision "auto" is measured in `precision`, too.

    Raises:
        ConfigError, DataError, CheckpointError, MissingExtra, RunError: rejected.
    """
    chosen = Options(**drop_quiet(options))
    if not isinstance(model, Model):
        model = _load(model, chosen)
    elif isinstance(model.translator, Measured) and model.translator.precision == "auto":
        measured = replace(model.translator, precision=chosen.precision)
        model = replace(model, translator=measured)
    return evaluate_models({"the model": model}, data, chosen)


def compare(
    models: Sequence[str | Path], data: Source, **options: Unpack[OptionKeywords]
) -> Report:
    """Measures several models side by side on one test set. Arguments as `evaluate`.

    Raises:
        ConfigError: fewer than two models, two of one name, or of different domains; besides, as
            `evaluate`.
    """
    chosen = Options(**drop_quiet(options))
    loaded = {name: _load(path, chosen) for name, path in _names(models).items()}
    return evaluate_models(loaded, data, chosen)


def _load(path: str | Path, options: Options) -> Model:
    return load(
        path,
        engine=options.engine,
        device=options.device,
        threads=options.threads,
        precision=options.precision,
    )


def evaluate_models(
    models: Mapping[str, Model],
    data: Source | DataSet,
    options: Options,
    judge: Judge | None = None,
) -> Report:
    """The report of models by their names: what `evaluate` and `compare` return.

    `judge` are the discriminators of the one model; None: they are looked for in its run folder.
    With several models the checks are not run.

    Raises:
        ConfigError, DataError, CheckpointError, MissingExtra, RunError: rejected.
    """
    first = next(iter(models.values()))
    recipe = first.config.recipe
    directions = _common_directions(models)
    network, lpips = _networks(options)
    if not isinstance(data, DataSet):
        data = find_source(data, need_train=False, domains=options.domains, aligned=options.aligned)
        if data.found:
            log.info(data.found)
        # The names of folders in alphabetical order, for example, may not be the model's order.
        if (data.name_a, data.name_b) == (recipe.name_b, recipe.name_a):
            data = data.swapped
            log.info(f"a is {data.name_a} and b is {data.name_b}, as in the model")
    data = data.read_as(*(Reading.of(recipe, domain) for domain in DOMAINS))
    side = options.image_size or _common_side(models)
    tests = gather(
        data,
        recipe,
        side=side,
        limit=options.limit,
        seed=options.seed,
        max_pixels=options.max_pixels,
        paired=options.paired,
    )
    log.debug("%d and %d test images, paired: %s", *map(len, tests.test.values()), tests.paired)
    metrics = metrics_for(
        bands=[tests.reference(direction).bands for direction in directions],
        count=min(map(len, tests.test.values())),
        paired=tests.paired,
        network=network,
        lpips=lpips,
        classes=tests.classes,
        native=any(images.scaling for images in tests.test.values()),
    )
    methods, examples = measure_methods(models, tests, directions, metrics, network, options.seed)
    measured = {key for method in methods for v in method.values.values() for key in v}
    alone = len(models) == 1
    return Report(
        title=f"{recipe.name_a} and {recipe.name_b}",
        summary=summarise(models, tests),
        names=(recipe.name_a, recipe.name_b),
        metrics=[metric for metric in (*metrics, *CYCLES) if metric.key in measured],
        methods=methods,
        examples=examples,
        facts=tell_facts(models, tests, directions, network, lpips, options.seed),
        directions=directions,
        findings=diagnose(first, tests, options.seed, judge) if alone else [],
        journal=journal_of(first.path) if alone else (),
        config=first.config.to_toml() if alone else "",
        swatches=_swatches() if tests.classes else {},
        record={
            "steps": {name: model.step for name, model in models.items()},
            "data_fingerprint": recipe.data_fingerprint,
            "seed": options.seed,
            "image_size": side,
            "n": {domain: len(images) for domain, images in tests.test.items()},
            "paired": tests.paired,
        },
        draw=render,
    )


def _names(models: Sequence[str | Path]) -> dict[str, Path]:
    """Short names that differ from each other and from other rows: a path's end, or the whole."""
    paths = [Path(model) for model in models]
    if len(set(paths)) < 2 or len(set(paths)) < len(paths):
        raise ConfigError("compare needs two models or more, each given once")
    short = [
        shown(f"{path.parent.name}/{path.name}" if path.suffix == ".safetensors" else path.name)
        for path in map(Path.absolute, paths)
    ]
    names = short if len(set(short)) == len(short) else [shown(path) for path in paths]
    taken = {FLOOR, *(baseline.name for baseline in BASELINES)}
    return {
        f"model {name}" if name in taken else name: path
        for name, path in zip(names, paths, strict=True)
    }


def _common_directions(models: Mapping[str, Model]) -> tuple[Direction, ...]:
    """The directions that all models have."""
    domains = {name: model.config.recipe.domains for name, model in models.items()}
    if len({tuple(facts[domain] for domain in DOMAINS) for facts in domains.values()}) > 1:
        listed = "; ".join(
            f"{name}: "
            + " and ".join(f"{f.name} ({f.bands} bands of {f.depth} bits)" for f in facts.values())
            for name, facts in domains.items()
        )
        raise ConfigError(f"models of different domains cannot be compared ({listed})")
    common = tuple(d for d in DIRECTIONS if all(d in m.directions for m in models.values()))
    if not common:
        raise ConfigError("the models have no direction in common: compare models that have one")
    return common


def _common_side(models: Mapping[str, Model]) -> int:
    """The image size that all models were trained at."""
    sides = {name: model.config.recipe.image_size for name, model in models.items()}
    if len(set(sides.values())) > 1:
        listed = ", ".join(f"{name} at {side}" for name, side in sides.items())
        raise ConfigError(f"models of different image sizes ({listed} px): give --image-size")
    return next(iter(sides.values()))


def _networks(options: Options) -> tuple[FeatureNetwork | None, PairDistance | None]:
    """The networks of features and of LPIPS, where there are weights."""
    features, lpips = options.features, options.lpips
    if lpips and (features is None or str(features) == "inception"):
        raise ConfigError("--lpips needs the weights of AlexNet: give them with --features FILE")
    if features is None:
        return None, None
    path = None if str(features) == "inception" else Path(features)
    network = make_features(path, options.device, options.threads)
    if lpips is None or path is None:
        return network, None
    return network, make_lpips(path, Path(lpips), options.device, options.threads)


def _swatches() -> dict[str, tuple[list[float], list[float]]]:
    """The colour of each class of `seasons` in A and in B."""
    a, b = (palette(domain).tolist() for domain in DOMAINS)
    return dict(zip(CLASSES, zip(a, b, strict=True), strict=True))
