"""How an evaluation was made, in words: models, images, features, floors, baselines."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from unpaired.config import Recipe
from unpaired.directions import Direction, Domain
from unpaired.evaluation.rivals import ends, known_to_baselines
from unpaired.evaluation.table import CYCLED, floor_of
from unpaired.evaluation.testset import TestSet
from unpaired.features.seam import FeatureNetwork, PairDistance
from unpaired.translation.model import Model

__all__ = ["summarise", "tell_facts"]


def summarise(models: Mapping[str, Model], tests: TestSet) -> str:
    """What was measured on what, in a sentence or two."""
    n_a, n_b = (len(tests.test[domain]) for domain in ends("ab"))
    first = next(iter(models.values()))
    which = "held-out " if tests.held_out else ""
    unsure = "" if tests.held_out else " There is no test set: the training may have seen them."
    what = f"{len(models)} models" if len(models) > 1 else "A CycleGAN"
    truth = "whose true translations are known" if tests.paired else "without known translations"
    return (
        f"{what} of {first.name_a} and {first.name_b}, on {which}images {truth}: "
        f"{n_a} of {first.name_a}, {n_b} of {first.name_b}.{unsure}"
    )


def tell_facts(
    models: Mapping[str, Model],
    tests: TestSet,
    recipe: Recipe,
    network: FeatureNetwork | None,
    lpips: PairDistance | None,
    side: int,
    seed: int,
) -> dict[str, str]:
    """How it was measured: questions and answers, for the page and report.json."""
    facts = {}
    for name, model in models.items():
        own = model.config.recipe
        weights = {"ema": f"running mean, decay {own.ema:g}", "last": "of the last step"}
        facts[name] = (
            f"{model.path.parent.name}/{model.path.name}: preset {own.preset}, step "
            f"{model.step:,}, {own.precision}, training seed {own.seed}, weights: "
            f"{weights[model.weights]}"
        )
    n_a, n_b = (len(tests.test[domain]) for domain in ends("ab"))
    facts["images"] = (
        f"n = {n_a} of {recipe.name_a} and {n_b} of {recipe.name_b}"
        + ("" if tests.held_out else ", which the training may have seen: there is no test set")
        + f"; resized to {side} x {side}, bicubic with antialiasing"
    )
    facts["pairs"] = (
        "every image of A has its namesake in B, so they are taken as pairs"
        if tests.paired
        else "names do not pair, so no truth is known"
    )
    facts["features"] = network.name if network else "none given (--features FILE): no KID, no FID"
    shown = _shown(recipe)
    if network and shown:
        facts["features"] += f"; it is shown {shown}"
    elif shown:
        facts["images here"] = f"show {shown}"
    if lpips:
        facts["LPIPS"] = lpips.name
    facts["floors"] = _told_floors(models, tests, recipe)
    facts["baselines"] = _told_baselines(tests, recipe)
    facts["way back"] = f"measured on up to {CYCLED} images of each domain"
    facts["intervals"] = "95 %, by the jackknife over images; near-duplicates make them too narrow"
    facts["seed"] = f"{seed}, of all that is drawn here"
    facts["data fingerprint of the training"] = recipe.data_fingerprint or "unknown"
    facts["software"] = (
        f"unpaired {_own_version()}, Python {platform.python_version()}, numpy {np.__version__}"
    )
    return facts


def _shown(recipe: Recipe) -> str:
    """What is seen of images that are not RGB of 8 bits; "" where all are."""
    kinds = {
        recipe.name_a: (recipe.bands_a, recipe.depth_a),
        recipe.name_b: (recipe.bands_b, recipe.depth_b),
    }
    parts = []
    for name, (bands, depth) in kinds.items():
        seen = {1: "its one band, three times", 3: ""}.get(
            bands, f"bands 1, 2 and 3 of {bands}" if bands > 3 else "band 1 of 2, three times"
        )
        deep = "the upper 8 of 16 bits" if depth == 16 else ""
        if seen or deep:
            parts.append(f"of {name} {' and '.join(filter(None, (seen, deep)))}")
    return "; ".join(parts)


def _told_floors(models: Mapping[str, Model], tests: TestSet, recipe: Recipe) -> str:
    if not tests.held_out:
        return "none: training images stand in for the test set, so there are no others"
    ways: dict[Direction, str] = {"ab": recipe.name_b, "ba": recipe.name_a}
    counts = {
        name: len(floor)
        for way, name in ways.items()
        if (floor := floor_of(tests, way)) is not None
        and all(way in model.directions for model in models.values())
    }
    if not counts:
        return "none: there are no training images, or too few"
    listed = " and ".join(f"{count:,} of {name}" for name, count in counts.items())
    return (
        f"real training images in place of translations, {listed}; FID where they are as many "
        "as the translations"
    )


def _told_baselines(tests: TestSet, recipe: Recipe) -> str:
    domains: dict[Domain, str] = {"a": recipe.name_a, "b": recipe.name_b}
    counts = {
        name: len(known)
        for domain, name in domains.items()
        if (known := known_to_baselines(tests, domain)) is not None
    }
    if not counts:
        return "only those that need no training images, for there are none"
    listed = " and ".join(f"{count:,} of {name}" for name, count in counts.items())
    return (
        f"know {listed}, training images drawn by the seed, no pairs; histogram matching is for "
        "8 bits and equal bands, Reinhard's transfer for RGB of 8 bits"
    )


def _own_version() -> str:
    try:
        return version("unpaired")
    except PackageNotFoundError:
        return "(not installed)"
