import json
import os
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from fake_engine import FakeEngine
from small_models import (
    Gap,
    Projected,
    inverted,
    keep,
    model,
    negative,
    smooth,
    write_data,
)
from unpaired import checkpoint
from unpaired.directions import DIRECTIONS
from unpaired.engines.seam import initial_state
from unpaired.errors import CheckpointError, ConfigError, DataError
from unpaired.evaluation.baselines import fit_histograms, fit_mean, fit_reinhard
from unpaired.evaluation.evaluate import evaluate, evaluate_models
from unpaired.evaluation.options import Options
from unpaired.images.image import from_signed, to_signed
from unpaired.metrics import distributions, image_set, weightless
from unpaired.metrics.catalogue import CYCLES
from unpaired.metrics.distributions import fid, kid
from unpaired.metrics.paired import psnr, ssim

FLOOR = "real training images"
A, TRAIN_A, TRAIN_B = smooth(6, 1), smooth(8, 2), smooth(9, 3)
B = inverted(A)


def report_of(tested, data, **options):
    return evaluate(tested, data, **options)


def values_of(report, name, direction="ab"):
    (method,) = (method for method in report.methods if method.name == name)
    return {key: value.value for key, value in method.values[direction].items()}


def names_of(report, direction="ab"):
    return [method.name for method in report.methods if direction in method.values]


# ---- metrics ------------------------------------------------------------------------------


def test_a_perfect_translator_beats_all(pairs, tmp_path, features):
    report = report_of(model(tmp_path), pairs, features=features)
    for direction in DIRECTIONS:
        own = values_of(report, "the model", direction)
        assert (own["psnr"], own["ssim"], own["acc5"], own["rmse"]) == (np.inf, 1, 1, 0)
        assert (own["cycle"], own["colours"]) == (0, 0)
    assert report.verdict.passed
    assert report.comparison.paired
    assert report.directions == DIRECTIONS


def test_a_model_that_does_nothing_is_the_row_of_untouched_images(pairs, tmp_path, features):
    report = report_of(model(tmp_path, keep, keep), pairs, features=features)
    for direction in DIRECTIONS:
        own = values_of(report, "the model", direction)
        cycles = {metric.key for metric in CYCLES}
        assert {own.pop(key) for key in ("cycle", "identity")} == {0}
        own.pop("noisy_cycle")
        untouched = values_of(report, "identity", direction)
        assert own == untouched
        assert not own.keys() & cycles
    assert not report.verdict.passed


def test_every_row_is_what_direct_calls_give(pairs, tmp_path, features):
    network, train_b = Projected(), inverted(TRAIN_B)
    report = report_of(model(tmp_path, lambda x: x / 2), pairs, features=features)
    made = {"the model": from_signed(to_signed(A) / 2, 8), "identity": A}
    baselines = {
        "Reinhard colour transfer": fit_reinhard([train_b]),
        "histogram matching": fit_histograms([train_b]),
        "mean image of the target domain": fit_mean(train_b),
    }
    made |= {name: apply(A) for name, apply in baselines.items()}
    for name, images in made.items():
        found, truth = values_of(report, name), network.features(B)
        assert found["psnr"] == pytest.approx(psnr(images, B).mean()), name
        assert found["ssim"] == pytest.approx(ssim(images, B).mean()), name
        interval = kid(network.features(images), truth)
        assert found["kid"] == pytest.approx(interval.value), name
        assert found["fid"] == pytest.approx(fid(network.features(images), truth)), name
    (own,) = report.comparison.of_kind("model")
    value = own.values["ab"]["kid"]
    assert value.low < value.value < value.high


def test_the_floor_is_of_training_images(apart, tmp_path, features):
    network = Projected()
    report = report_of(model(tmp_path), apart, features=features)
    names = names_of(report)
    assert names[-1] == FLOOR
    assert [method.kind for method in report.methods if method.name == FLOOR] == ["floor"]
    found = values_of(report, FLOOR)
    # A random six of nine: one of all such choices gives it.
    test = network.features(smooth(5, 4))
    choices = [
        kid(network.features(TRAIN_B[list(some)]), test).value for some in combinations(range(9), 6)
    ]
    assert min(abs(choice - found["kid"]) for choice in choices) < 1e-6
    assert found.keys() == {"kid", "fid", "colours", "patches", "spectrum"}
    assert "6 of winter" in report.facts["floors"]
    assert "5 of summer" in report.facts["floors"]


def test_a_floor_of_fewer_images_has_no_fid(tmp_path, features):
    root = write_data(tmp_path / "data", trainA=smooth(3, 5), trainB=smooth(2, 6), testA=A, testB=B)
    report = report_of(model(tmp_path), root, features=features)
    assert FLOOR not in names_of(report, "ab")  # two images are no set
    floor = values_of(report, FLOOR, "ba")
    assert "kid" in floor
    assert "fid" not in floor
    assert "fid" in values_of(report, "the model", "ba")


def test_sets_without_pairs_have_no_truth(apart, tmp_path):
    report = report_of(model(tmp_path), apart)
    assert not report.comparison.paired
    assert "psnr" not in values_of(report, "the model")
    assert not report.comparison.of_kind("oracle")
    assert "names do not pair" in report.facts["pairs"]
    assert report.record["n"] == {"a": 6, "b": 5}
    assert all(example.truth is None for example in report.examples["ab"]["at random"])


def test_lpips_is_measured_where_its_heads_are(pairs, tmp_path, features, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "unpaired.evaluation.evaluate.make_lpips", lambda *each: asked.append(each) or Gap()
    )
    report = report_of(model(tmp_path, keep, keep), pairs, features=features, lpips="heads")
    assert values_of(report, "the model")["lpips"] == pytest.approx(Gap().distance(A, B).mean())
    assert report.facts["LPIPS"] == Gap.name
    assert [str(word) for word in asked[0][:2]] == ["projections", "heads"]
    with pytest.raises(ConfigError, match="--lpips needs the weights of AlexNet"):
        report_of(model(tmp_path), pairs, lpips="heads")


def test_cycle_and_identity_errors_are_means_over_all_images(apart, tmp_path):
    def darker(images):
        return images - 20 * 2 / 255

    report = report_of(model(tmp_path, darker, keep), apart)
    forth, back = (values_of(report, "the model", direction) for direction in DIRECTIONS)
    # Five images of each: the smaller of the two sets.
    cycle = np.abs(np.clip(A[:5] / 127.5 - 1, -1, 1) - (A[:5] / 127.5 - 1 - 40 / 255)) * 127.5
    assert forth["cycle"] == pytest.approx(cycle.mean(), rel=1e-4)
    assert forth["identity"] == pytest.approx(20, rel=1e-4)
    assert back["identity"] == 0
    assert back["cycle"] == pytest.approx(20, rel=1e-4)
    assert forth["noisy_cycle"] > forth["cycle"]


def test_examples_are_at_random_and_the_worst(pairs, apart, tmp_path, features):
    def spoils_one(images):
        made = -images
        for image in made:
            if np.allclose(image, -(A[4] / 127.5 - 1), atol=1e-3):
                image[:] = 0
        return made

    report = report_of(model(tmp_path, spoils_one), pairs)
    chosen = report.examples["ab"]
    assert list(chosen) == ["at random", "the worst, by PSNR"]
    worst = chosen["the worst, by PSNR"][0]
    assert worst.name == "004.png"
    decibels, _, changed = worst.caption.partition(", change ")
    assert decibels.endswith(" dB")
    gap = np.abs(worst.generated.astype(int) - worst.source).mean()
    assert changed == f"{gap:.1f}"
    np.testing.assert_array_equal(worst.truth, B[4])
    np.testing.assert_array_equal(worst.source, A[4])
    other = report_of(model(tmp_path), apart, features=features).examples["ba"]
    last = ["the least like real ones, by the features", "the least changed"]
    assert list(other) == ["at random", *last]
    assert len(other["at random"]) == 5
    np.testing.assert_array_equal(other["at random"][0].cycle, other["at random"][0].source)


def test_examples_come_in_the_order_of_their_change(apart, tmp_path):
    """The model adds to each image in proportion to its mean."""

    def brighter(images):
        return images + 0.2 * (images.mean(axis=(1, 2, 3), keepdims=True) + 1)

    examples = report_of(model(tmp_path, brighter, keep), apart).examples["ab"]
    assert list(examples) == ["at random", "the least changed"]
    first, last = (
        [np.abs(e.generated.astype(int) - e.source).mean() for e in examples[choice]]
        for choice in examples
    )
    assert len(first) == 6  # all that there are
    assert first == sorted(first, reverse=True)
    assert last == first[::-1][:4]
    assert len({e.name for e in examples["the least changed"]}) == 4
    captions = [e.caption for e in examples["at random"]]
    assert captions == [f"change {value:.1f}" for value in first]
    assert first[0] == pytest.approx(0.2 * A.mean(axis=(1, 2, 3)).max(), abs=0.5)


def test_all_methods_but_the_floor_are_measured_beside_their_sources(apart, tmp_path):
    report = report_of(model(tmp_path, lambda x: x / 2 - 0.5, keep), apart)
    for direction, sources in (("ab", A), ("ba", smooth(5, 4))):
        for name in names_of(report, direction):
            found = values_of(report, name, direction)
            assert {"change", "change_lab", "content", "blobs"} <= found.keys() or name == FLOOR
        identity = values_of(report, "identity", direction)
        assert (identity["change"], identity["change_lab"]) == (0, 0)
        assert identity["content"] == pytest.approx(1)
        mean = values_of(report, "mean image of the target domain", direction)
        train = TRAIN_B if direction == "ab" else TRAIN_A
        expected = np.abs(np.rint(train.mean(axis=0)) - sources).mean()
        assert mean["change"] == pytest.approx(expected)
        assert abs(mean["content"]) < 0.3
    own = values_of(report, "the model")
    assert own["change"] == pytest.approx(np.abs(A - A / 2.0).mean(), abs=0.3)
    assert own["content"] > 0.99
    assert [line for line in report.verdict.details if "hardly" in line] == [
        "From winter to summer: hardly changes the images (mean change 0.00 levels of 255)."
    ]


def test_the_seed_decides_all_that_is_drawn(apart, tmp_path, features):
    def drawn_and_measured(seed):
        report = report_of(model(tmp_path), apart, features=features, limit=4, seed=seed)
        drawn = [example.name for example in report.examples["ab"]["at random"]]
        values = [values_of(report, name) for name in names_of(report)]
        return drawn, values

    assert drawn_and_measured(0) == drawn_and_measured(0) != drawn_and_measured(1)


# ---- other data ---------------------------------------------------------------------------


def test_sixteen_bits_and_four_bands(tmp_path, features):
    pytest.importorskip("rasterio")
    images = smooth(4, 1, 4, np.uint16)
    root = write_data(tmp_path / "d", trainA=smooth(4, 2, 4, np.uint16), testA=images,
                      trainB=smooth(4, 3, 4, np.uint16), testB=inverted(images))  # fmt: skip
    kinds = {"bands_a": 4, "bands_b": 4, "depth_a": 16, "depth_b": 16}

    def off(images):
        return -images + 1000 / 32767.5

    report = report_of(model(tmp_path, off, **kinds), root, features=features, paired=True)
    own = values_of(report, "the model")
    for band in range(1, 5):
        assert own[f"bias{band}"] == pytest.approx(1000, abs=1)
        assert own[f"rmse{band}"] == pytest.approx(1000, abs=1)
    assert own["sam"] < values_of(report, "identity")["sam"]
    assert names_of(report) == ["the model", "identity", "mean image of the target domain", FLOOR]
    assert "bands 1, 2 and 3 of 4 and the upper 8 of 16 bits" in report.facts["views"]
    exact = values_of(report, "the model", "ba")
    assert (exact["sam"], exact["ergas"], exact["bias2"]) == (pytest.approx(0, abs=1e-6), 0, 0)


def test_grey_images(tmp_path):
    images = smooth(4, 1, 1)
    root = write_data(tmp_path / "data", testA=images, testB=inverted(images))
    report = report_of(model(tmp_path, keep, bands_a=1, bands_b=1), root, paired=True)
    own = values_of(report, "the model")
    untouched = values_of(report, "identity")
    assert {key: own[key] for key in untouched} == untouched
    assert own["psnr"] == pytest.approx(psnr(images, inverted(images)).mean())
    assert "its one band, three times" in report.facts["views"]


def test_two_bands_to_three(tmp_path):
    pytest.importorskip("rasterio")
    two = smooth(4, 1, 2)
    three = np.concatenate([two, two[..., :1]], axis=-1)
    root = write_data(tmp_path / "data", trainA=smooth(4, 2, 2), trainB=TRAIN_B)
    write_data(root, testA=two)
    write_data(root, testB=three)
    for split in ("testA", "testB"):
        for path in (root / split).iterdir():
            path.rename(path.with_name(path.name.replace(split, "pair")))

    def widen(images):
        return np.concatenate([images, images[..., :1]], axis=-1)

    def narrow(images):
        return images[..., :2]

    report = report_of(model(tmp_path, widen, narrow, bands_a=2), root, paired=True)
    assert report.comparison.paired
    forth, back = (values_of(report, "the model", direction) for direction in DIRECTIONS)
    assert forth["psnr"] == np.inf
    assert (back["rmse1"], back["bias2"]) == (0, 0)
    assert "rmse1" not in forth
    assert "psnr" not in back
    keys = {metric.key for metric in report.metrics}
    assert {"psnr", "sam", "rmse2", "change", "content"} <= keys
    assert "change_lab" not in keys  # two bands have no colour
    assert 0 <= forth["change"] < 20  # of luminance
    assert "identity" not in forth  # of a domain with other bands there is no identity error
    assert forth["cycle"] == 0
    for direction in DIRECTIONS:
        names = names_of(report, direction)
        assert names == ["the model", "mean image of the target domain", FLOOR]


def test_a_model_that_goes_one_way(pairs, tmp_path):
    report = report_of(model(tmp_path, negative, None), pairs)
    assert report.directions == ("ab",)
    assert all(method.values.keys() == {"ab"} for method in report.methods)
    own = values_of(report, "the model")
    assert own["psnr"] == np.inf
    assert "cycle" not in own
    assert own["identity"] > 0
    assert [metric.key for metric in report.comparison.metrics_of("cycle")] == ["identity"]
    assert report.examples["ab"]["at random"][0].cycle is None
    assert "summer" not in report.facts["floors"]
    back = report_of(model(tmp_path, None, negative), pairs)
    assert back.directions == ("ba",)


def test_without_training_images(tmp_path):
    root = write_data(tmp_path / "data", testA=A, testB=smooth(5, 4))
    report = report_of(model(tmp_path), root)
    assert names_of(report) == ["the model", "identity"]
    assert report.facts["floors"].startswith("none: there are too few training images")
    assert "since there are none" in report.facts["baselines"]


def test_without_test_images_it_is_said_and_there_is_no_floor(tmp_path):
    root = write_data(tmp_path / "data", trainA=A, trainB=smooth(5, 4))
    report = report_of(model(tmp_path), root)
    assert FLOOR not in names_of(report)
    assert "histogram matching" in names_of(report)
    for text in (report.summary, report.facts["images"]):
        assert "test set" in text
    assert "not test images" in report.facts["floors"]
    assert "held-out" not in report.summary


def test_the_file_of_a_training_set_is_taken_as_two_folders(tmp_path):
    write_data(tmp_path, one=A, two=smooth(5, 4))
    report = report_of(model(tmp_path), (tmp_path / "one", tmp_path / "two"))
    assert report.record["n"] == {"a": 6, "b": 5}


def test_what_cannot_be_is_refused_in_a_line(pairs, tmp_path):
    few = write_data(tmp_path / "few", testA=smooth(3, 1), testB=smooth(2, 2))
    for data, options, error, text in (
        (few, {}, DataError, "2 images to evaluate on"),
        (tmp_path / "nowhere", {}, DataError, "nowhere"),
        (pairs, {"image_size": 10}, ConfigError, "--image-size is 10"),
        (pairs, {"limit": 2}, ConfigError, "--limit is 2"),
        (pairs, {"limit": -1}, ConfigError, "--limit is -1"),
        (pairs, {"seed": -1}, ConfigError, "--seed is -1"),
    ):
        with pytest.raises(error, match=text) as caught:
            report_of(model(tmp_path), data, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="missing"):
        report_of(tmp_path / "missing.safetensors", pairs)


def test_another_size_is_translated_and_compared_at(pairs, tmp_path):
    report = report_of(model(tmp_path), pairs, image_size=8)
    assert report.examples["ab"]["at random"][0].generated.shape == (8, 8, 3)
    assert report.record["image_size"] == 8
    assert "8 x 8" in report.facts["images"]


def test_the_record_says_how(pairs, tmp_path):
    report = report_of(model(tmp_path), pairs, seed=3)
    assert report.record["steps"] == {"the model": 8}
    assert report.record["data_fingerprint"] == "f00d"
    assert report.record["seed"] == 3
    assert report.record["paired"] is True
    assert "step 8" in report.facts["the model"]
    json.dumps(report.record)


# ---- beside the model ---------------------------------------------------------------------


def test_the_journal_of_the_run_is_taken(apart, tmp_path):
    tested = model(tmp_path)
    tested.path.parent.mkdir()
    lines = [{"step": 4, "cycle_a": 1.0}, {"step": 8, "cycle_a": 0.5}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tested.path.parent / "metrics.jsonl").write_text(text + '{"step": 12, "cyc')
    assert list(report_of(tested, apart).journal) == lines


def write_checkpoint(tested, step):
    config = tested.config
    engine = FakeEngine(config.recipe, config.runtime)
    engine.load(initial_state(engine.state(), config.recipe))
    path = checkpoint.checkpoint_path(tested.path.parent, step)
    path.parent.mkdir(parents=True)
    checkpoint.write(path, checkpoint.Header("checkpoint", config, step), engine.state())
    return path


def test_discriminators_come_from_the_checkpoint_of_that_step(apart, tmp_path, monkeypatch):
    monkeypatch.setattr("unpaired.evaluation.run_folder.make_engine", FakeEngine)
    tested = model(tmp_path, width=4, blocks=1, discriminator_width=4)

    def blind():
        """What the detectors could not look at for want of discriminators."""
        findings = report_of(tested, apart).findings
        return [f.name for f in findings if "needs the discriminators" in f.message]

    alone = blind()
    assert {"discriminator wins", "discriminator memorises"} <= set(alone)
    path = write_checkpoint(tested, 4)
    assert blind() == alone  # it is of another step
    path.rename(checkpoint.checkpoint_path(tested.path.parent, 8))
    assert blind() == []
    path = checkpoint.checkpoint_path(tested.path.parent, 8)
    path.write_bytes(path.read_bytes()[:-10])
    assert blind() == alone  # a damaged one is as none


def test_training_images_are_not_held_against_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr("unpaired.evaluation.run_folder.make_engine", FakeEngine)
    root = write_data(tmp_path / "data", trainA=A, trainB=smooth(5, 4))
    tested = model(tmp_path, width=4, blocks=1, discriminator_width=4)
    write_checkpoint(tested, 8)
    found = [f for f in report_of(tested, root).findings if f.name == "discriminator memorises"]
    assert found
    assert all(np.isnan(finding.value) for finding in found)


# ---- memory and disk ----------------------------------------------------------------------


def test_nothing_is_left_in_the_temporary_folder(pairs, tmp_path, monkeypatch, features):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    seen = []

    def watched(images):
        seen.append(os.listdir(scratch))
        return -images

    report_of(model(tmp_path, watched), pairs, features=features)
    assert seen
    assert not any(seen)
    assert os.listdir(scratch) == []


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, features, monkeypatch):
    """The images themselves lie on disk, which the tracer of Python's memory does not see."""
    # All that is bounded is full at 30 images already.
    monkeypatch.setattr(image_set, "CHUNK", 16)
    monkeypatch.setattr(distributions, "_BLOCK", 16)
    monkeypatch.setattr(weightless, "_PATCHES", 256)
    monkeypatch.setattr(weightless, "_PIXELS", 256)
    side = 32

    def written(count):
        images = smooth(count, count, side=side)
        return write_data(tmp_path / str(count), testA=images, testB=inverted(images))

    def peak(root):
        tested = model(tmp_path, image_size=side, load_size=side)
        tracemalloc.start()
        evaluate_models({"the model": tested}, root, Options(features=features))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert tested.translator.most < 2 * 8
        return most

    few, many = written(30), written(90)
    peak(many)  # imports and caches
    assert peak(many) - peak(few) < 60 * side**2 * 3 / 2  # half of the images that are more
