"""All checks together: what never fires, what cannot be checked, and the messages."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from small_probes import (
    COUNT,
    HONEST,
    NAMES,
    Maps,
    both,
    by_domain,
    chessboard,
    fired,
    judged,
    lines_of,
    look,
    of,
    scenes,
    signed,
)
from unpaired.config import Recipe, Runtime
from unpaired.diagnostics.detect import CHECKS, detect
from unpaired.diagnostics.finding import Finding
from unpaired.diagnostics.history import EVALUATIONS, History
from unpaired.diagnostics.probe import DirectionProbe, Probe, reconstruction_errors, take_probe
from unpaired.seasons.landscapes import draw, paint


@pytest.mark.parametrize("name", HONEST)
def test_nothing_fires_on_honest_translators(reals, name):
    findings = look(HONEST[name], reals)
    assert fired(findings) == set()
    assert all(finding.advice == "" for finding in findings)
    judged = {"does nothing", "discriminator wins", "discriminator memorises"}
    for finding in findings:
        assert math.isnan(finding.value) == (finding.name in judged), finding


def test_nothing_fires_on_the_truth():
    """Scenes and the same scenes in the other season: a perfect model."""
    (a, b), half = scenes(), range(COUNT, 2 * COUNT)
    winter = signed([paint(draw(seed, 32, "full"), "b") for seed in range(COUNT)])
    summer = signed([paint(draw(seed, 32, "full"), "a") for seed in half])
    perfect = Probe(
        {"a": a, "b": b},
        {"ab": DirectionProbe(winter, a, a), "ba": DirectionProbe(summer, b, b)},
    )
    assert fired(detect(perfect, History(), NAMES)) == set()


def test_a_model_alone_has_no_discriminators():
    findings = look(HONEST["the identity"], scenes())
    for name in ("does nothing", "discriminator wins", "discriminator memorises"):
        found = [f for f in findings if f.name == name]
        assert len(found) == 2
        assert all("a run folder has" in f.message and not f.fired for f in found)


def test_models_of_one_direction():
    class Forward:
        def translate(self, images, direction):
            assert direction == "ab"
            return images

    seen = take_probe(Forward(), by_domain(scenes()), directions=("ab",), identity=True)
    assert set(seen.directions) == {"ab"}
    assert seen.directions["ab"].cycle is None
    assert set(reconstruction_errors(seen)) == {"identity_b"}
    findings = detect(seen, History(), NAMES)
    assert fired(findings) == set()
    assert "model of one direction" in of(findings, "hidden cycle", "summer -> winter").message
    back = [f for f in findings if f.where == "winter -> summer"]
    assert len(back) == 7
    assert all("does not translate winter -> summer" in f.message for f in back)
    assert of(findings, "collapse", "summer -> winter").value > 0.5


def all_that_can_fire():
    """Findings, every one of which fired."""
    reals = scenes()
    a = reals[0].copy()
    a[0] = 0
    mean = reals[1].mean(0)
    strong = judged(reals, both(lambda x: x), real=0.97, train=0.97, generated=0.02)
    history = History()
    for _ in range(EVALUATIONS):
        history = history.after(strong)
    cover = np.roll(reals[1], 1, axis=0) * 0.9
    many = [
        *look(both(lambda x: -x), reals),
        *look(Maps(lambda x: cover + x / 40, lambda y: (y - cover) * 40), reals),
        *look(both(lambda x: x * 0 + mean), reals),
        *detect(strong, history, NAMES),
        *detect(
            judged(reals, both(lambda x: -x), train=0.95, real=0.3, generated=0), history, NAMES
        ),
        *look(both(lambda x: chessboard(x, 2, 6)), reals),
        *look(both(lambda x: x), (a, reals[1])),
        *look(both(lambda x: x), reals, lines=lines_of([0.3] * 6 + [99])),
        *look(both(lambda x: x * np.nan), reals),
    ]
    return [finding for finding in many if finding.fired]


def test_advice_names_flags_that_exist():
    findings = all_that_can_fire()
    assert {f.name for f in findings} == {
        *(check.NAME for check in CHECKS),
        "flat chips",
        "divergence",
    }
    fields = {f.name for table in (Recipe, Runtime) for f in dataclasses.fields(table)}
    named = set()
    for finding in findings:
        assert finding.advice
        flags = re.findall(r"--([a-z0-9-]+)", f"{finding.advice} {finding.message}")
        named.update(flags)
        assert {flag.replace("-", "_") for flag in flags} <= fields
    assert {"identity", "cycle", "upsample", "discriminator-rate", "learning-rate"} <= named


def test_messages_are_one_line_and_name_the_domain():
    for finding in all_that_can_fire():
        assert "\n" not in finding.message + finding.advice
        assert any(name in finding.where for name in NAMES.values())
        if finding.name != "divergence":
            assert any(name in finding.message for name in NAMES.values()), finding


def test_names_are_those_of_files_already_written():
    """They are compared when a run resumes, and reports of earlier versions hold them."""
    names = [
        "divergence", "colour inversion", "hidden cycle", "collapse", "does nothing",
        "discriminator wins", "discriminator memorises", "checkerboard", "flat chips",
    ]  # fmt: skip
    assert list(dict.fromkeys(f.name for f in look(HONEST["the identity"], scenes()))) == names


@pytest.mark.parametrize(
    ("number", "written"),
    [(0.5, 0.5), (math.nan, None), (math.inf, "Infinity"), (-math.inf, "-Infinity")],
)
def test_findings_are_strict_json(number, written):
    finding = Finding("collapse", "a -> b", number, 0.5, False, "fine", "")
    expected = {**vars(finding), "value": written}
    assert json.loads(json.dumps(finding.to_dict(), allow_nan=False)) == expected
    assert Finding("", "", 0, number, True, "", "").to_dict()["limit"] == written
