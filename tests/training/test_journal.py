"""The record of a training: lines, sample grids, TensorBoard."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from conftest import SMALL
from fake_engine import FakeEngine
from unpaired.config import Runtime
from unpaired.errors import Diverged, MissingExtra
from unpaired.presets import preset
from unpaired.training.journal import TIMES, Journal, draw_grid, require_finite, write_samples

GAP, HEAD = 4, 22


def recipe_of(**changes):
    return preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3} | changes)


def cell_of(sheet, row, column, side, shift=0):
    """The pixels of one cell, upper left cell 0, 0."""
    left, top = shift + GAP + column * (side + GAP), HEAD + row * (side + GAP)
    return np.asarray(sheet)[top : top + side, left : left + side]


def random_images(count, side, bands, seed=0):
    """Images in [-1, 1] that are exactly of 8 bits, and those 8 bits."""
    samples = np.random.default_rng(seed).integers(0, 256, (count, side, side, bands))
    return (samples / 127.5 - 1).astype(np.float32), samples.astype(np.uint8)


# ---- grids --------------------------------------------------------------------------------


def test_cells_equal_the_images_and_the_rest_is_white():
    given = [random_images(3, 16, 3, seed) for seed in range(2)]
    sheet = draw_grid([("one", given[0][0]), ("two", given[1][0])], cell=16)
    assert sheet.mode == "RGB"
    assert sheet.size == (2 * (16 + GAP) + GAP, HEAD + 3 * (16 + GAP))
    rest = np.array(sheet)
    for column, (_, samples) in enumerate(given):
        for row in range(3):
            assert np.array_equal(cell_of(sheet, row, column, 16), samples[row])
            cell_of(rest, row, column, 16)[:] = 255
    assert (rest[HEAD:] == 255).all()
    assert (rest[:HEAD] < 128).any()  # the titles


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 13])
def test_three_bands_are_colour_and_fewer_are_grey(bands):
    images, samples = random_images(1, 16, bands)
    shown = cell_of(draw_grid([("", images)], cell=16), 0, 0, 16)
    expected = samples[0, :, :, :3] if bands >= 3 else samples[0, :, :, :1].repeat(3, axis=2)
    assert np.array_equal(shown, expected)


def test_small_images_are_enlarged_in_blocks():
    images, samples = random_images(1, 8, 3)
    shown = cell_of(draw_grid([("", images)]), 0, 0, 128)
    assert np.array_equal(shown, samples[0].repeat(16, axis=0).repeat(16, axis=1))


def test_large_images_are_shrunk_smoothly():
    chequer = (np.indices((256, 256)).sum(0) % 2 * 2.0 - 1)[np.newaxis, :, :, np.newaxis]
    shown = cell_of(draw_grid([("", chequer)]), 0, 0, 128).astype(int)
    assert np.abs(shown - 127.5).max() < 4


def test_values_beyond_the_range_are_clipped():
    images = np.array([-3.0, -1.0, 0.0, 1.0, 7.0, 2.0]).reshape(1, 2, 3, 1).repeat(3, axis=3)
    square = images.repeat(3, axis=1).repeat(2, axis=2)
    shown = cell_of(draw_grid([("", square)], cell=6), 0, 0, 6)[::3, ::2, 0]
    assert shown.tolist() == [[0, 0, 128], [255, 255, 255]]


@pytest.mark.parametrize(("bands_a", "bands_b"), [(3, 3), (1, 3)])
def test_samples_are_real_made_and_again_both_ways(tmp_path, bands_a, bands_b):
    recipe = recipe_of(bands_a=bands_a, bands_b=bands_b, name_a="day", name_b="night")
    engine = FakeEngine(recipe, Runtime())
    engine.load({"generator_ab.gain.weight": -np.full((2, 2), 0.3)})
    engine.load({"generator_ba.gain.weight": -np.full((2, 2), 0.6)})
    a, b = random_images(2, 128, bands_a)[0], random_images(2, 128, bands_b, seed=1)[0]
    path = tmp_path / "samples" / "step-00000010.png"
    write_samples(path, engine, recipe, (a, b))
    made_b, made_a = engine.translate(a, "ab"), engine.translate(b, "ba")
    again_a, again_b = engine.translate(made_b, "ba"), engine.translate(made_a, "ab")
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.size == (6 * (128 + GAP) + 5 * GAP, HEAD + 2 * (128 + GAP))
        for column, images in enumerate((a, made_b, again_a, b, made_a, again_b)):
            for row in range(2):
                expected = np.rint((np.clip(images[row], -1, 1) + 1) * 127.5)
                shown = cell_of(sheet, row, column, 128, column // 3 * 4 * GAP)
                assert np.array_equal(shown, expected.repeat(3 // expected.shape[2], axis=2))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# ---- lines --------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still until it is set."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("unpaired.training.journal.time", clock)
    return clock


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_has_means_rates_and_times(tmp_path, clock):
    recipe = recipe_of(steps=20, learning_rate=2e-4, discriminator_rate=1e-4, batch_size=2)
    journal = Journal(tmp_path, recipe, 0, {}, tensorboard=False)
    for step in range(1, 17):
        journal.note({"cycle_a": np.float32(step), "cycle_b": 1.0})
        if step % 4 == 0:
            clock.now += 0.5
            journal.write(step, journal.means())
    journal.close()
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines] == [4, 8, 12, 16]
    assert [line["cycle_a"] for line in lines] == [2.5, 6.5, 10.5, 14.5]
    assert [line["cycle_b"] for line in lines] == [1.0] * 4
    assert [line["seconds"] for line in lines] == [0.5, 1.0, 1.5, 2.0]
    # 4 steps of 2 images of each domain in half a second
    assert [line["pictures_per_second"] for line in lines] == [32.0] * 4
    # of the step that was last: index 15 of 20 is half way down
    assert lines[1]["learning_rate"] == 2e-4
    assert lines[3]["learning_rate"] == pytest.approx(1e-4)
    assert lines[3]["discriminator_rate"] == pytest.approx(0.5e-4)
    assert set(TIMES) == {"seconds", "pictures_per_second", "loading_share"}


def test_the_share_of_time_spent_waiting_for_batches(tmp_path, clock):
    """A quarter of the first line's time and none of the second's: an eighth of both."""
    journal = Journal(tmp_path, recipe_of(), 0, {}, tensorboard=False)

    def batches():
        for waited in (0.25, 0.25, 0.0, 0.0):
            clock.now += waited
            yield waited

    for step, waited in enumerate(journal.timed(batches()), 1):
        clock.now += 1.0 - waited
        journal.note({"cycle_a": 1.0})
        if step % 2 == 0:
            journal.write(step, journal.means())
    journal.close()
    assert [line["loading_share"] for line in lines_of(tmp_path)] == [0.25, 0.0]
    assert journal.loading() == pytest.approx((0.125, 0.5))


def test_what_waits_goes_on_in_the_next_journal(tmp_path):
    recipe = recipe_of()
    values = [0.1, 0.7, 1 / 3, 2e-7, 5.0]
    (tmp_path / "one").mkdir()
    one = Journal(tmp_path / "one", recipe, 0, {}, tensorboard=False)
    for value in values:
        one.note({"cycle_a": np.float32(value)})
    means = one.means()
    one.close()
    first = Journal(tmp_path, recipe, 0, {}, tensorboard=False)
    for value in values[:2]:
        first.note({"cycle_a": np.float32(value)})
    pending = first.pending()
    first.close()
    second = Journal(tmp_path, recipe, 2, pending, tensorboard=False)
    for value in values[2:]:
        second.note({"cycle_a": np.float32(value)})
    assert second.means() == means
    second.write(5, means)
    assert second.pending() == {"losses": []}
    second.close()


def test_losses_are_not_converted_before_a_line_is_due(tmp_path):
    class Lazy:
        converted = 0

        def __float__(self):
            Lazy.converted += 1
            return 2.0

    journal = Journal(tmp_path, recipe_of(), 0, {}, tensorboard=False)
    for _ in range(5):
        journal.note({"cycle_a": Lazy()})
    assert Lazy.converted == 0
    assert journal.means() == journal.means() == {"cycle_a": 2.0}
    assert Lazy.converted == 5  # each once
    journal.close()


def test_lines_beyond_the_checkpoint_and_half_lines_are_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = '{"step": 3, "x": 1}\n{"step": 6}\n'
    path.write_text(whole + '{"step": 9}\n{"nothing": 1}\nnonsense\n{"step": 12, "x": 0.')
    Journal(tmp_path, recipe_of(), 6, {}, tensorboard=False).close()
    assert path.read_text() == whole
    Journal(tmp_path, recipe_of(), 3, {}, tensorboard=False).close()
    assert [line["step"] for line in lines_of(tmp_path)] == [3]


def test_records_are_lines_too(tmp_path):
    journal = Journal(tmp_path, recipe_of(), 0, {}, tensorboard=False)
    journal.record(4, extended_from=4, extended_to=9)
    assert lines_of(tmp_path) == [{"step": 4, "extended_from": 4, "extended_to": 9}]
    journal.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops(tmp_path, value):
    require_finite({"cycle_a": 1e30, "cycle_b": 0.0}, 7, None)
    with pytest.raises(Diverged, match=f"the loss cycle_b is {value} at step 7, ") as error:
        require_finite({"cycle_a": 1.0, "cycle_b": value}, 7, tmp_path / "step-00000004")
    assert str(tmp_path / "step-00000004") in str(error.value)
    assert "\n" not in str(error.value)


# ---- TensorBoard --------------------------------------------------------------------------


def test_tensorboard_reads_the_lines(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard (the extra `track`) is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    journal = Journal(tmp_path, recipe_of(), 0, {}, tensorboard=True)
    for step in range(1, 7):
        journal.note({"cycle_a": step / 8, "adversarial_ab": 1.0})
        if step % 2 == 0:
            journal.write(step, journal.means())
    journal.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    lines = lines_of(tmp_path)
    names = set(lines[0]) - {"step"}
    assert {"cycle_a", "adversarial_ab", "learning_rate", "pictures_per_second"} <= names
    assert set(events.Tags()["tensors"]) == names
    for name in names:
        read = [
            (event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(name)
        ]
        written = [(line["step"], line[name]) for line in lines]
        assert [step for step, _ in read] == [2, 4, 6]
        np.testing.assert_allclose(read, written, rtol=1e-6)


def test_no_tensorboard_without_asking(tmp_path):
    Journal(tmp_path, recipe_of(), 0, {}, tensorboard=False).close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_tensorboard_not_installed_is_one_line_and_nothing_is_begun(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match=r"--tensorboard needs tensorboard.*unpaired\[track\]"):
        Journal(tmp_path, recipe_of(), 0, {}, tensorboard=True)
    assert not list(tmp_path.iterdir())
