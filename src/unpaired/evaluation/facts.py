"""How an evaluation was made, in words: models, images, features, floors, baselines."""

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import numpy as np

from unpaired.config import DomainFacts
from unpaired.directions import DOMAINS, Direction, Domain, target_of
from unpaired.errors import shown
from unpaired.evaluation.diagnose import CYCLED
from unpaired.evaluation.testset import TestSet
from unpaired.features.seam import FeatureNetwork, PairDistance
from unpaired.images.scaling import Scaling
from unpaired.metrics.image_set import ImageSet
from unpaired.translation.model import Model

__all__ = ["summarise", "tell_facts"]


def summarise(models: Mapping[str, Model], tests: TestSet) -> str:
    """What was measured on what, in a sentence or two."""
    domains = _domains(models)
    a, b = (_count(tests, domains[d], d) for d in DOMAINS)
    names = " and ".join(facts.name for facts in domains.values())
    which = "held-out " if tests.held_out else ""
    unsure = "" if tests.held_out else f" T{_no_test(tests)[1:]}: the training may have seen them."
    what = f"{len(models)} models" if len(models) > 1 else "A CycleGAN"
    truth = "whose true translations are known" if tests.paired else "without known translations"
    return f"{what} of {names}, on {which}images {truth}: {a}, {b}.{unsure}"


def tell_facts(
    models: Mapping[str, Model],
    tests: TestSet,
    directions: Sequence[Direction],
    network: FeatureNetwork | None,
    lpips: PairDistance | None,
    seed: int,
) -> dict[str, str]:
    """How it was measured, for the page and report.json: subjects, and what is said of them."""
    domains = _domains(models)
    side = tests.test["a"].side
    facts = {name: _told_model(model) for name, model in models.items()}
    facts["images"] = (
        f"n = {' and '.join(_count(tests, domains[d], d) for d in DOMAINS)}"
        + ("" if tests.held_out else f", which the training may have seen: {_no_test(tests)}")
        + f"; resized to {side} x {side}, bicubic with antialiasing"
    )
    facts["pairs"] = tests.pairs
    facts["features"] = network.name if network else "none given (--features FILE): no KID, no FID"
    views = "; ".join(filter(None, map(_told_view, domains.values())))
    if views:
        facts["views"] = f"network and page see {views}"
    if rasters := "; ".join(filter(None, map(_told_bands, domains.values()))):
        facts["rasters"] = f"metrics of bands are in the values of the files; {rasters}"
        facts["images"] = facts["images"].replace(
            f"; resized to {side} x {side}, bicubic with antialiasing",
            f"; tiles of {side} x {side} pixels of rasters as they are, other images resized",
        )
    if lpips:
        facts["LPIPS"] = lpips.name
    floors = _counts(tests.floor, directions, domains)
    facts["floors"] = (
        f"real training images in place of translations, {floors}; FID where they are as many as "
        "the translations"
        if floors
        else "none: there are too few training images that are not test images"
    )
    known = _counts(tests.known, directions, domains)
    facts["baselines"] = (
        f"learn from {known}, random training images, and know no pairs; histogram matching is for "
        "8 bits and equal bands, Reinhard's transfer for 8-bit RGB"
        if known
        else "only those that need no training images, since there are none"
    )
    facts["cycle errors"] = f"measured on up to {CYCLED} images of each domain"
    facts["intervals"] = "95 %, by the jackknife over images; near-duplicates make them too narrow"
    facts["seed"] = f"{seed}, of everything drawn at random here"
    fingerprint = next(iter(models.values())).config.recipe.data_fingerprint
    facts["data fingerprint of the training"] = fingerprint or "unknown"
    facts["software"] = (
        f"unpaired {version('unpaired')}, Python {platform.python_version()}, "
        f"numpy {np.__version__}"
    )
    return facts


def _domains(models: Mapping[str, Model]) -> Mapping[Domain, DomainFacts]:
    return next(iter(models.values())).config.recipe.domains


def _count(tests: TestSet, facts: DomainFacts, domain: Domain) -> str:
    return f"{len(tests.test[domain])} of {facts.name}"


def _no_test(tests: TestSet) -> str:
    if not tests.missing:
        return "there is no test set"
    return f"there is no test{tests.missing[0].upper()}, so training images stand in for it"


def _told_model(model: Model) -> str:
    recipe = model.config.recipe
    weights = f"running mean, decay {recipe.ema:g}" if model.weights == "ema" else "last step"
    return (
        f"{shown(model.path.parent.name)}/{shown(model.path.name)}: preset {recipe.preset}, step "
        f"{model.step:,}, {recipe.precision}, training seed {recipe.seed}, weights: {weights}"
    )


def _told_view(facts: DomainFacts) -> str:
    """What is seen of images that are not 8-bit RGB; "" of those that are."""
    bands = facts.bands
    named = [f" ({shown(name)})" if name else "" for name in (*facts.names, "", "", "")][:3]
    seen = {1: "its one band, three times", 2: f"band 1{named[0]} of 2, three times", 3: ""}.get(
        bands, f"bands 1{named[0]}, 2{named[1]} and 3{named[2]} of {bands}"
    )
    deep = "the upper 8 of 16 bits" if facts.depth == 16 else ""
    if ends := Scaling.of(facts).ends:
        curve = Scaling.of(facts).curve
        listed = ", ".join(f"{low:g} to {high:g}" for low, high in ends[:3])
        deep = f"the values {listed} stretched to black and white ({curve}, as scaled in training)"
    views = " and ".join(filter(None, (seen, deep)))
    return f"of {facts.name} {views}" if views else ""


def _told_bands(facts: DomainFacts) -> str:
    """Names and units of the bands of a raster, and its resolution; "" of others."""
    if not facts.dtype:
        return ""
    pairs = zip(facts.names, facts.band_units or ("",) * len(facts.names), strict=True)
    bands = ", ".join(
        f"{index} {shown(name)}{f' in {shown(unit)}' if unit else ''}"
        for index, (name, unit) in enumerate(pairs, 1)
    )
    size = f", pixels of {facts.resolution:.3g} m" if facts.resolution else ""
    return f"{facts.name}: {facts.dtype}{f', bands {bands}' if bands else ''}{size}"


def _counts(
    images: Callable[[Direction], ImageSet | None],
    directions: Sequence[Direction],
    domains: Mapping[Domain, DomainFacts],
) -> str:
    """How many images of the target domain there are in each direction; "" for none."""
    return " and ".join(
        f"{len(found):,} of {domains[target_of(direction)].name}"
        for direction in directions
        if (found := images(direction)) is not None
    )
