"""The parts of streaming: moments, scratch arrays, journal, statistics, resuming, estimates."""

import errno
import os

import numpy as np
import pytest

from small_scenes import Kept, network, recipe, scene, streamed, whole
from unpaired.engines.tiles import Region
from unpaired.errors import ConfigError, ImageError, RunError, TooLarge
from unpaired.translation.streaming import driver as driver_module
from unpaired.translation.streaming.arrays import ScratchArray
from unpaired.translation.streaming.driver import Driver
from unpaired.translation.streaming.moments import Moments, load_statistics, save_statistics
from unpaired.translation.streaming.options import Streaming, estimate
from unpaired.translation.streaming.run import Streamer
from unpaired.translation.streaming.sample import sampled_statistics, spread
from unpaired.translation.streaming.stages import Grid, stages_of
from unpaired.translation.streaming.windows import ArraySource, read_padded

# ---- moments ------------------------------------------------------------------------------


def test_merged_moments_are_those_of_all_pixels():
    rng = np.random.default_rng(0)
    parts = [rng.normal(1e4, 1e-2, (n, 3)) + offset for n, offset in ((7, 0), (1, 5), (400, -3))]
    merged = Moments.empty(3)
    for part in parts:
        squares = ((part - part.mean(0)) ** 2).sum(0)
        merged.merge((0, 0), (float(len(part)), part.mean(0), squares))
    merged.merge((0, 0), (0.0, np.zeros(3), np.zeros(3)))
    together = np.concatenate(parts)
    assert merged.count[0, 0] == 408
    np.testing.assert_allclose(merged.mean[0, 0], together.mean(0), rtol=1e-14)
    np.testing.assert_allclose(merged.squares[0, 0] / 408, together.var(0), rtol=1e-9)


def test_engines_take_moments_of_large_values_exactly():
    torch = pytest.importorskip("torch")
    from unpaired.engines.torch.moments import moments

    rng = np.random.default_rng(0)
    pixels = rng.normal(100, 1, (1, 5, 700, 300)).astype(np.float32)
    y = torch.from_numpy(pixels).to(memory_format=torch.channels_last)
    count, mean, squares = moments(y)
    expected = pixels.astype(np.float64)
    assert count == 700 * 300
    np.testing.assert_allclose(mean, expected.mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(squares / count, expected.var((0, 2, 3)), rtol=1e-5)


# ---- scratch ------------------------------------------------------------------------------


@pytest.mark.parametrize("in_file", [False, True])
def test_a_ring_replaces_an_array_by_another_while_it_is_read(tmp_path, in_file):
    array = ScratchArray("x", (10, 6, 2), np.float16, tmp_path if in_file else None, spare=4)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 99, (10, 6, 2)).astype(np.float16)
    array.write(Region((0, 10), (0, 6)), values)
    for _ in range(5):
        array.shift(4)  # rows of a tile, and one of the halo
        for top in range(0, 10, 3):
            for _again in range(2):  # a row that is done again finds what it needs
                rows = max(top - 1, 0), min(top + 4, 10)
                part = array.read(Region(rows, (0, 6)))
                np.testing.assert_array_equal(part, values[slice(*rows)])
                stop = min(top + 3, 10)
                for left in (0, 3):
                    new = values[top:stop, left : left + 3] + np.float16(1)
                    array.write(Region((top, stop), (left, left + 3)), new)
        array.settle()
        values = values + np.float16(1)
    remove = array.widen()
    remove()
    np.testing.assert_array_equal(array.read(Region((2, 9), (1, 5))), values[2:9, 1:5])
    assert array.dtype == np.float32
    if in_file:
        assert [path.name for path in tmp_path.iterdir()] == ["x.float32"]
        assert (tmp_path / "x.float32").stat().st_size == 14 * 6 * 2 * 4
    array.remove()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match="disk is full"):
        ScratchArray("x", (4, 4, 1), np.float16, tmp_path)


def test_large_values_are_stored_in_single_precision(tmp_path):
    net, arrays, _ = network(blocks=2)
    for name in ("down.1", "blocks.0.conv2"):  # a norm removes the factor
        arrays[f"{name}.weight"] *= 1e6
    weights = {f"generator_ab.{k}": v for k, v in arrays.items()}
    net.engine.load_generators(weights)
    image = scene(70, 90)
    for folder in (None, tmp_path):
        result, _ = streamed(net, image, side=32, dtype=np.float16, folder=folder)
        assert np.abs(result - whole(net.layers, arrays, image)).max() < 1e-3


# ---- windows ------------------------------------------------------------------------------


def test_windows_are_those_of_the_mirrored_image_and_gaps_do_not_depend_on_them():
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (70, 130, 2)).astype(np.float32)
    valid = rng.random((70, 130)) < 0.02
    everything = Region((0, 72), (0, 132))
    signed, there = read_padded(ArraySource(image, valid), everything)
    mirrored = np.pad(image, [(0, 2), (0, 2), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(read_padded(ArraySource(image), everything)[0], mirrored)
    np.testing.assert_array_equal(signed[there], mirrored[there])
    for rows, columns in (((3, 20), (60, 132)), ((64, 72), (1, 2))):
        part, part_valid = read_padded(ArraySource(image, valid), Region(rows, columns))
        np.testing.assert_array_equal(part, signed[slice(*rows), slice(*columns)])
        if part_valid is not None:
            np.testing.assert_array_equal(part_valid, there[slice(*rows), slice(*columns)])


# ---- statistics ---------------------------------------------------------------------------


def test_saved_statistics_give_a_part_as_it_is_within_its_scene(tmp_path):
    net, _, _ = network(blocks=1)
    image = scene(160, 200)
    expected, statistics = streamed(net, image, side=64)
    path = tmp_path / "scene.safetensors"
    save_statistics(path, statistics, net.layers, "key")
    known = load_statistics(path, net.layers, "key")
    part, _ = streamed(net, image[:, :120], side=48, statistics=known)
    assert np.abs(part[:, :60] - expected[:, :60]).max() < 1e-4  # 24 from the cut at least
    with pytest.raises(ConfigError, match="another model or direction"):
        load_statistics(path, net.layers, "other")
    (tmp_path / "broken").write_bytes(b"nothing")
    for name in ("broken", "missing"):
        with pytest.raises(ConfigError, match="--norm-stats"):
            load_statistics(tmp_path / name, net.layers, "key")


def test_sampling_all_tiles_is_exact_and_some_is_near():
    net, _, _ = network(blocks=1)
    image = scene(130, 170)
    _, exact = streamed(net, image, side=48)
    everything = sampled_statistics(net, ArraySource(image), 48, 99)
    some = sampled_statistics(net, ArraySource(image), 48, 4)
    for layer, moments in exact.moments.items():
        found = everything.moments[layer]
        np.testing.assert_allclose(found.mean, moments.mean, atol=1e-6)
        np.testing.assert_allclose(found.squares, moments.squares, rtol=1e-5)
        assert some.moments[layer].count < moments.count
    assert len(spread(Grid((4000, 4000), 64), 16)) == 16


def test_dense_statistics_follow_the_scene():
    """Two halves of unlike contrast are each translated as by themselves, but near the middle."""
    net, _, _ = network(blocks=0)
    image = scene(64, 512)
    image[:, 256:] = 0.8 + 0.2 * image[:, 256:]
    dense, _ = streamed(net, image, side=64, cell=64)
    exact, _ = streamed(net, image, side=64)
    alone, _ = streamed(net, image[:, 256:], side=64, cell=64)
    error = np.abs(dense[:, 384:] - alone[:, 128:]).mean()
    assert error < 0.2 * np.abs(exact[:, 384:] - alone[:, 128:]).mean()


# ---- resuming -----------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_translation_resumes_with_the_same_result(tmp_path, monkeypatch, seed):
    """Stopped at ten random calls of the network, or in the middle of a write."""
    net, _, _ = network(blocks=2)
    image = scene(150, 100)
    valid = np.ones((150, 100), bool)
    valid[:, :40] = False
    expected, _ = streamed(net, image, valid, side=32, dtype=np.float16)
    rng = np.random.default_rng(seed)
    run, write = net.engine.run_tile, ScratchArray.write
    left = {"calls": int(rng.integers(1, 180)), "writes": int(rng.integers(1, 250))}

    def run_tile(*given):
        left["calls"] -= 1
        if not left["calls"]:
            raise Killed
        return run(*given)

    def half_write(self, region, values):
        left["writes"] -= 1
        if not left["writes"]:
            middle = (region.rows[0] + region.rows[1]) // 2
            write(
                self,
                Region((region.rows[0], middle), region.columns),
                values[: middle - region.rows[0]],
            )
            raise Killed
        write(self, region, values)

    with monkeypatch.context() as patch:
        patch.setattr(net.engine, "run_tile", run_tile)
        patch.setattr(ScratchArray, "write", half_write)
        with pytest.raises(Killed):
            streamed(net, image, valid, side=32, dtype=np.float16, folder=tmp_path)
    calls = []
    monkeypatch.setattr(net.engine, "run_tile", lambda *given: calls.append(1) or run(*given))
    result, _ = streamed(net, image, valid, side=32, dtype=np.float16, folder=tmp_path)
    np.testing.assert_array_equal(result, expected)


def test_a_journal_of_another_image_is_not_resumed(tmp_path):
    net, _, _ = network()
    image = scene(40, 40)
    source = ArraySource(image, fingerprint="one")
    driver = Driver(net, source, Kept((40, 40), 3), 16, folder=tmp_path)
    driver.run()
    other = ArraySource(-image, fingerprint="two")
    result, _ = streamed(net, -image, side=16, folder=tmp_path, source=other)
    expected, _ = streamed(net, -image, side=16)
    assert np.abs(result - expected).max() < 0.02


# ---- rejection, and estimates -------------------------------------------------------------


def test_networks_that_give_nan_are_one_line():
    net, arrays, _ = network()
    arrays["down.0.weight"][:] = np.nan
    net.engine.load_generators({f"generator_ab.{k}": v for k, v in arrays.items()})
    with pytest.raises(ImageError, match="give NaN or infinity"):
        streamed(net, scene(40, 40), side=16)


def test_options_are_checked():
    for wrong in ({"memory": -1}, {"tile": 30}, {"tile": 4}):
        with pytest.raises(ConfigError):
            Streaming(**wrong)
    with pytest.raises(ConfigError, match="--save-norm-stats"):
        Streaming(norm_stats="dense", save_norm_stats="x")


def test_scratch_is_as_estimated_and_too_little_memory_is_one_line(tmp_path):
    net, _, wanted = network(blocks=2)
    image = scene(203, 330)
    streamer = Streamer(net, wanted, Streaming(tile=64), tmp_path, host=True)
    driver, found = streamer.plan(ArraySource(image), Kept((203, 330), 3))
    driver.folder = tmp_path
    largest = []
    write = driver_module.StageJournal.write

    def weigh(self, done):
        write(self, done)
        largest.append(sum(p.stat().st_size for p in tmp_path.iterdir() if p.suffix != ".npz"))

    driver_module.StageJournal.write = weigh
    try:
        driver.run()
    finally:
        driver_module.StageJournal.write = write
    assert max(largest) == pytest.approx(found.scratch, rel=0.1)
    assert streamer.trial(driver) > 0
    with pytest.raises(TooLarge, match="give a larger --memory"):
        estimate(
            recipe(width=64), net.layers, (4000, 4000), Streaming(memory=10**8), passes=2,
            itemsize=2, result=3, masked=False, held=0, host=True,
        )  # fmt: skip


def test_stages_compute_each_convolution_of_the_blocks_once():
    net, _, _ = network(blocks=3)
    names = [net.layers[stage.last].name for stage in stages_of(net.layers)]
    assert sorted(names) == sorted(layer.name for layer in net.layers)
