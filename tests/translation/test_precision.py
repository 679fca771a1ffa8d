"""Which method translates: measured after some work, within the limit of errors, remembered."""

import dataclasses
import json
import time

import numpy as np
import pytest

import small_models
import unpaired
from unpaired import memory
from unpaired.engines.seam import generators_of
from unpaired.errors import ConfigError, TooLarge
from unpaired.presets import preset
from unpaired.translation import precision
from unpaired.translation.model import load
from unpaired.translation.precision import LIMIT, Measured, choose, fingerprint
from unpaired.translation.remembered import Choice, ChoiceFile

METHODS = ("trained", "fp32", "bf16", "fp32 winograd", "bf16 winograd")
LEVEL = 1 / 127.5


class Clocked:
    """A translator whose methods take a time and make an error of their own; no time passes."""

    memory = "host"
    methods = METHODS

    def __init__(self, seconds, errors=None, missing=()):
        self.seconds, self.errors, self.missing = seconds, errors or {}, missing
        self.now, self.method = 0.0, "trained"
        self.calls = []
        self.kept = None

    def use(self, method):
        self.method = method

    def release(self, *kept):
        self.kept = set(kept)

    def signature(self):
        return "clock 1.0, 1 threads"

    def translate(self, images, direction):
        if self.method in self.missing:
            raise self.missing[self.method]
        self.calls.append((self.method, images.shape, direction))
        self.now += self.seconds[self.method] * np.prod(images.shape[:3])
        return images + np.float32(self.errors.get(self.method, 0.0) * LEVEL)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Makes a Measured of times per method; its file is in tmp_path."""

    def make(seconds=(1, 1, 1, 1, 1), *, wanted="auto", trained="fp32", model="m", **kind):
        clocked = Clocked(dict(zip(METHODS, seconds, strict=True)), **kind)
        monkeypatch.setattr(time, "perf_counter", lambda: clocked.now)
        remembered = ChoiceFile(tmp_path / "cache" / "precision.json")
        return Measured(clocked, wanted, trained, model, remembered)

    return make


def images_of(count=1, side=256, height=None):
    shape = count, height or side, side, 3
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def used(model):
    return [method for method, _, _ in model.translator.calls]


def test_few_images_are_translated_as_trained_and_nothing_is_measured(measured, tmp_path):
    model = measured((5, 4, 3, 2, 1))
    for _ in range(3):
        model.translate(images_of(), "ab")
    model.translate(images_of(side=64), "ab")
    assert used(model) == ["trained"] * 4
    assert list(tmp_path.iterdir()) == []


def test_after_some_work_the_fastest_is_found_once(measured, caplog):
    caplog.set_level("INFO")
    model = measured((5, 4, 3, 2, 1), errors={"bf16 winograd": 0.25})
    for _ in range(6):
        model.translate(images_of(), "ab")
    trials = [shape for _, shape, _ in model.translator.calls if shape != (1, 256, 256, 3)]
    assert set(trials) == {(1, 128, 128, 3)}
    assert len(trials) == 3 * len(METHODS)
    whole = [m for m, shape, _ in model.translator.calls if shape[1] == 256]
    assert whole == ["trained"] * 3 + ["bf16 winograd"] * 3
    assert model.translator.kept == {"bf16 winograd"}
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "INFO"]
    assert line == (
        "translating in bf16 with Winograd's convolutions: 5.0 times as fast as fp32, as trained, "
        "0.25 levels of 255 from fp32 (--precision recipe: as trained)"
    )


def test_a_large_image_is_measured_before_it_is_translated(measured):
    model = measured((5, 4, 3, 2, 1))
    model.translate(images_of(side=1024, height=256), "ab")
    assert used(model)[-1] == "bf16 winograd"
    assert model.translator.calls[-1][1] == (1, 256, 1024, 3)


def test_the_piece_is_the_middle_and_never_large():
    for shape in ((1, 8, 40000), (1, 400, 132), (3, 128, 128), (9, 64, 64), (1, 100, 30000)):
        images = np.zeros((*shape, 3), np.float32)
        piece = precision._piece(images)
        assert 0.5 * min(128 * 128, images[..., 0].size) <= piece[..., 0].size <= 128 * 128
        assert piece.shape[1] % 4 == piece.shape[2] % 4 == 0
    images = np.arange(400, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, 128, 1))
    rows = precision._piece(images)[0, :, 0, 0]
    assert (rows[0], rows[-1], len(rows)) == (136, 263, 128)


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ("recipe", {"trained"}),
        ("fp32", {"fp32", "fp32 winograd"}),
        ("bf16", {"bf16", "bf16 winograd"}),
    ],
)
def test_a_precision_asked_for_is_kept(measured, wanted, allowed):
    model = measured((1, 5, 5, 4, 4), wanted=wanted, errors={"bf16": 9, "bf16 winograd": 9})
    for _ in range(6):
        model.translate(images_of(), "ba")
    assert set(used(model)) == allowed
    assert used(model)[-1] == max(allowed, key=len)


def results(**errors):
    images = images_of(side=8)
    levels = {name.replace("_", " "): error for name, error in errors.items()}
    return {name: images + np.float32(error * LEVEL) for name, error in levels.items()}


@pytest.mark.parametrize(
    ("seconds", "errors", "best"),
    [
        # bf16 is much faster and near enough; or too far away; or gives NaN.
        ((4, 4, 1), (0, 0, 1.4), "bf16"),
        ((4, 4, 1), (0, 0, 1.6), "trained"),
        ((4, 2, 1), (0, 0, 1.6), "fp32"),
        ((4, 4, 1), (0, 0, np.nan), "trained"),
        # What is exact is preferred where it is nearly as fast.
        ((4, 1.05, 1), (0, 0, 0.1), "fp32"),
        ((4, 1.2, 1), (0, 0, 0.1), "bf16"),
        # The training's own way stays unless another is clearly faster, whatever its error.
        ((1.05, 1, 1), (0, 0, 0), "trained"),
        ((1, 9, 9), (3, 0, 0), "trained"),
    ],
)  # fmt: skip
def test_what_is_chosen(seconds, errors, best):
    names = ("trained", "fp32", "bf16")
    made = results(**dict(zip(names, errors, strict=True)))
    found = choose(dict(zip(names, seconds, strict=True)), made, "trained", limited=True)
    assert found.method == best
    place = names.index(best)
    assert found.gain == pytest.approx(seconds[0] / seconds[place])
    assert found.error == pytest.approx(errors[place], abs=1e-3)
    assert LIMIT == 1.5


def test_a_method_that_the_device_lacks_is_left_out(measured):
    missing = {"bf16 winograd": RuntimeError("no kernel"), "bf16": TooLarge("no memory")}
    model = measured((5, 4, 1, 2, 1), missing=missing)
    for _ in range(5):
        model.translate(images_of(), "ab")
    assert used(model)[-1] == "fp32 winograd"
    with pytest.raises(TooLarge):
        measured(missing={"trained": TooLarge("none")}, model="n").translate(images_of(9), "ab")


def test_it_is_remembered_for_this_model_machine_direction_and_size(measured, tmp_path):
    model = measured((5, 4, 3, 2, 1))
    for _ in range(4):
        model.translate(images_of(), "ab")
    again = measured((5, 4, 3, 2, 1))
    again.translate(images_of(), "ab")
    assert used(again) == ["bf16 winograd"]
    for other, images, direction in (
        (measured((5, 4, 3, 2, 1), model="other"), images_of(), "ab"),
        (measured((5, 4, 3, 2, 1), wanted="bf16"), images_of(), "ab"),
        (measured((5, 4, 3, 2, 1)), images_of(), "ba"),
        (measured((5, 4, 3, 2, 1)), images_of(side=64), "ab"),
    ):
        other.translate(images, direction)
        assert used(other) == [other.methods[0]]
    (name,) = json.loads((tmp_path / "cache" / "precision.json").read_text())["choices"]
    assert name.split("; ")[1:] == ["clock 1.0, 1 threads", "m", "ab", "128 px", "auto"]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '{"choices": 3}', '{"choices": {"k": 5}}', '{"choices": {"k": {}}}',
        '{"choices": {"k": {"method": "bf16", "gain": NaN, "error": 0}}}',
        '{"choices": {"k": {"method": "fp4", "gain": 2, "error": 0}}}',
        "[" * 10_000, "x" * 2_000_000,
    ],
)  # fmt: skip
def test_a_damaged_memory_is_none(tmp_path, text):
    path = tmp_path / "precision.json"
    path.write_text(text)
    remembered = ChoiceFile(path)
    assert remembered.get("k", METHODS) is None
    remembered.put("k", Choice("bf16", 2.0, 0.5))
    assert remembered.get("k", METHODS) == Choice("bf16", 2.0, 0.5)


def test_a_memory_that_cannot_be_written_does_not_matter(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (None, tmp_path / "file" / "precision.json", tmp_path):
        remembered = ChoiceFile(path)
        remembered.put("k", Choice("bf16", 2.0, 0.5))
        assert remembered.get("k", METHODS) is None


def test_the_oldest_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr("unpaired.translation.remembered._MOST_CHOICES", 3)
    remembered = ChoiceFile(tmp_path / "precision.json")
    for name in "abcad":
        remembered.put(name, Choice("bf16", 2.0, 0.5))
    assert [name for name in "abcd" if remembered.get(name, METHODS)] == ["a", "c", "d"]


def test_nothing_is_tried_where_memory_is_short(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "free", lambda: 10**8)
    model = measured((5, 4, 3, 2, 1))
    for _ in range(6):
        model.translate(images_of(), "ab")
    assert set(used(model)) == {"trained"}
    assert list(tmp_path.iterdir()) == []


def test_models_are_told_apart():
    recipe = preset("tiny", {"bands_a": 3, "bands_b": 3})
    rng = np.random.default_rng(0)
    weights = {
        f"{name}.{part}": rng.normal(size=shape).astype(np.float32)
        for name, layers in generators_of(recipe).items()
        for layer in layers
        for part, shape in layer.parameters.items()
    }
    first = fingerprint(recipe, weights)
    assert fingerprint(recipe, dict(reversed(weights.items()))) == first
    moved = {name: array + np.float32(1e-3) for name, array in weights.items()}
    assert fingerprint(recipe, moved) != first
    assert fingerprint(dataclasses.replace(recipe, precision="bf16"), weights) != first


# ---- with a framework -------------------------------------------------------------------------


def test_a_real_model_is_measured_and_stays_within_the_limit(model_file, tmp_path, monkeypatch):
    """By the default of `load`; the file is in the user's cache folder, wherever that is."""
    pytest.importorskip("torch", reason="the torch engine is not installed")
    monkeypatch.setattr(
        "unpaired.translation.model.cache_file", lambda: tmp_path / "precision.json"
    )
    rng = np.random.default_rng(0)
    recipe = preset("tiny", {"bands_a": 3, "bands_b": 3, "width": 4})
    weights = {
        f"{name}.{part}": rng.normal(0, 0.05, shape).astype(np.float32)
        for name, layers in generators_of(recipe).items()
        for layer in layers
        for part, shape in layer.parameters.items()
    }
    path = model_file(arrays=weights, width=4)
    image = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    chosen = {}
    for wanted in ("recipe", "auto", "fp32", "bf16"):
        model = load(path, device="cpu", threads=1, precision=wanted)
        chosen[wanted] = model.translate(image, to="winter").astype(float)
    names = json.loads((tmp_path / "precision.json").read_text())["choices"]
    assert [name.split("; ")[-1] for name in names] == ["auto", "fp32", "bf16"]
    assert all("512" not in name and "128 px" in name for name in names)
    assert np.abs(chosen["fp32"] - chosen["recipe"]).max() <= 1
    assert np.abs(chosen["auto"] - chosen["recipe"]).mean() <= LIMIT
    assert 0 < np.abs(chosen["bf16"] - chosen["recipe"]).mean() <= LIMIT


def test_an_unknown_precision_is_rejected(model_file):
    with pytest.raises(ConfigError, match="--precision is 'fp16': choose one of auto, recipe, fp3"):
        unpaired.load(model_file(), precision="fp16")


def test_streaming_runs_tiles_as_trained(measured):
    model = measured()
    model.translator.run_tile = lambda *given: given
    assert model.run_tile(1, 2, "ab", np.float32) == (1, 2, "ab", np.float32)


@pytest.mark.parametrize(
    ("loaded", "asked", "found"),
    [("auto", {}, "recipe"), ("auto", {"precision": "bf16"}, "bf16"), ("fp32", {}, "fp32")],
)
def test_evaluations_compute_as_trained_unless_asked(
    measured, tmp_path, monkeypatch, loaded, asked, found
):
    seen = []
    monkeypatch.setattr(
        "unpaired.evaluation.evaluate.evaluate_models",
        lambda models, *_: seen.extend(models.values()),
    )
    networks = measured(wanted=loaded)
    model = dataclasses.replace(small_models.model(tmp_path), translator=networks)
    unpaired.evaluate(model, "data", **asked)
    (evaluated,) = seen
    assert evaluated.translator.precision == found
    assert evaluated.translator.translator is networks.translator
    assert model.translator.precision == loaded
