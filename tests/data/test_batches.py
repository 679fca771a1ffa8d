"""`batches[step]`: pure, fair, and the paper's recipe of crops, flips and pools."""

import dataclasses
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from conftest import SMALL
from unpaired.data.batches import Batches, pool_plan, prefetch
from unpaired.data.crops import load_square
from unpaired.data.layout.domains import find_data
from unpaired.errors import ImageError
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B, stream

ALL = slice(None)


def recipe_of(**changes):
    return preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3} | changes)


def batches_of(root, shard=(0, 1), **changes):
    return Batches(find_data(root), recipe_of(**changes), shard=shard, max_pixels=10**6)


def same(one, other):
    """Whether two batches are equal to the last bit, plans included."""
    plans = [(one.pool_a, other.pool_a), (one.pool_b, other.pool_b)]
    return (
        one.real_a.tobytes() == other.real_a.tobytes()
        and one.real_b.tobytes() == other.real_b.tobytes()
        and all(
            np.array_equal(getattr(x, field.name), getattr(y, field.name))
            for x, y in plans
            for field in dataclasses.fields(x)
        )
    )


def write(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array, mode).save(path) if mode else Image.fromarray(array).save(path)


@pytest.fixture
def flat(tmp_path):
    """Domains of 5 and 7 images, each of one colour: 10 x its index, in B from 100 on."""
    for name, count, first in (("trainA", 5, 0), ("trainB", 7, 100)):
        for index in range(count):
            colour = first + 10 * index
            write(tmp_path / name / f"{index}.png", np.full((9, 12, 3), colour, np.uint8))
    return tmp_path


def indices(images, first):
    """Which images of `flat` these are."""
    return [round((float(image.mean()) + 1) * 127.5 - first) // 10 for image in images]


@pytest.fixture
def maps(tmp_path):
    """Two equal domains of one image, 12 px: red says the column, green the row."""
    rows, columns = np.mgrid[:12, :12].astype(np.uint8)
    for name in ("trainA", "trainB"):
        write(tmp_path / name / "0.png", np.dstack([columns, rows, rows * 0]))
    return tmp_path


def places(images):
    """(left, top, flipped) of crops of `maps`; the crops are asserted to be whole."""
    found = []
    for image in images:
        columns, rows = (np.rint((image[:, :, band] + 1) * 127.5).astype(int) for band in (0, 1))
        flipped = bool(columns[0, 0] > columns[0, -1])
        left, top = int(columns.min()), int(rows.min())
        across = np.arange(left, left + 8)
        assert (columns == (across[::-1] if flipped else across)).all()
        assert (rows == np.arange(top, top + 8)[:, np.newaxis]).all()
        found.append((left, top, flipped))
    return found


# ---- pure ---------------------------------------------------------------------------------


def test_a_batch_is_a_pure_function_of_its_step(data):
    expected = [batches_of(data)[step] for step in range(24)]
    assert not any(same(expected[0], other) for other in expected[1:])
    other = batches_of(data)
    for step in np.random.default_rng(0).permutation(24):
        assert same(other[int(step)], expected[step])
    with ThreadPoolExecutor(8) as pool:
        steps = [*range(24), *reversed(range(24))]
        for step, made in zip(steps, pool.map(other.__getitem__, steps), strict=True):
            assert same(made, expected[step])


def test_another_seed_is_another_batch(data):
    assert not same(batches_of(data)[0], batches_of(data, seed=1)[0])


def test_shapes_types_and_ranges(data):
    batch = batches_of(data)[3]
    for real in (batch.real_a, batch.real_b):
        assert real.shape == (2, 8, 8, 3)
        assert real.dtype == np.float32
        assert -1 <= real.min() < real.max() <= 1
    for plan in (batch.pool_a, batch.pool_b):
        assert [x.shape for x in (plan.slot, plan.store, plan.swap)] == [(2,)] * 3
        assert [x.dtype for x in (plan.slot, plan.store, plan.swap)] == [np.int32, bool, bool]


# ---- order --------------------------------------------------------------------------------


def test_each_image_once_a_pass_in_each_domain_on_its_own(flat):
    batches = batches_of(flat)
    seen = [batches[step] for step in range(35)]
    for side, first, count in (("a", 0, 5), ("b", 100, 7)):
        turns = [
            index for batch in seen for index in indices(getattr(batch, f"real_{side}"), first)
        ]
        passes = [tuple(turns[at : at + count]) for at in range(0, 70, count)]
        assert all(sorted(order) == list(range(count)) for order in passes)
        assert len(set(passes)) > len(passes) / 2  # shuffled anew


def test_pairs_change(tmp_path):
    """Domains of one size are shuffled apart: no image of A keeps company with one of B."""
    for name, first in (("trainA", 0), ("trainB", 100)):
        for index in range(8):
            write(tmp_path / name / f"{index}.png", np.full((8, 8, 3), first + 10 * index, "u1"))
    batches = batches_of(tmp_path, batch_size=1)
    pairs = set()
    for step in range(400):
        batch = batches[step]
        pairs.add((*indices(batch.real_a, 0), *indices(batch.real_b, 100)))
    assert len(pairs) > 56  # of the 64 there are


# ---- crops and flips ----------------------------------------------------------------------


def test_crops_and_flips_differ_between_domains_lanes_and_steps(maps):
    batches = batches_of(maps)
    found = {"a": [], "b": []}
    for step in range(400):
        batch = batches[step]
        for side in found:
            found[side] += places(getattr(batch, f"real_{side}"))
    for drawn in found.values():
        for axis in (0, 1):  # uniform over the room of 0 to 4
            counts = Counter(place[axis] for place in drawn)
            assert sorted(counts) == [0, 1, 2, 3, 4]
            assert chi_square(list(counts.values())) < 18.5  # 99.9 % of 4 degrees of freedom
        assert np.mean([place[2] for place in drawn]) == pytest.approx(0.5, abs=0.06)
    series = [
        np.array(found[side], float)[lane::2, field]
        for side in found
        for lane in (0, 1)
        for field in (0, 1, 2)
    ]
    correlations = np.corrcoef(series) - np.eye(12)
    assert np.abs(correlations).max() < 0.2  # of 400 draws: four standard deviations


def chi_square(counts):
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def test_no_flip_and_no_room(maps):
    still = batches_of(maps, flip=False)
    assert not any(flipped for step in range(50) for *_, flipped in places(still[step].real_a))
    whole = batches_of(maps, flip=False, image_size=12)
    image = np.asarray(Image.open(maps / "trainA" / "0.png")) / 127.5 - 1
    np.testing.assert_allclose(whole[0].real_b[1], image, atol=1e-6)


# ---- the resized crop ---------------------------------------------------------------------

SIZES = [(20, 20), (33, 47), (90, 31), (9, 11), (5, 64), (16, 1)]
CORNERS = [(0, 0), (8, 8), (3, 5), (8, 0)]


def image_of(size, bands, kind, seed=0):
    """Noise over its whole range, with a smooth ramp in half of it."""
    top = np.iinfo(kind).max
    rng = np.random.default_rng((seed, *size, bands))
    pixels = rng.integers(0, top, (*size, bands), endpoint=True)
    ramp = np.linspace(0, top, size[1])[np.newaxis, :, np.newaxis]
    pixels[: size[0] // 2] = ramp
    return pixels.astype(kind)


def resized_whole(pixels, side):
    """The whole image by Pillow, band by band, in samples."""
    single = pixels.astype(np.float32) if pixels.dtype == np.uint16 else pixels
    bands = [
        np.asarray(
            Image.fromarray(single[:, :, band]).resize((side, side), Image.Resampling.BICUBIC)
        )
        for band in range(pixels.shape[2])
    ]
    return np.clip(np.stack(bands, axis=2), 0, np.iinfo(pixels.dtype).max)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("bands", [1, 3])
def test_crop_of_8_bit_equals_resizing_the_whole(size, corner, bands):
    pixels = image_of(size, bands, np.uint8)
    made = load_square(pixels, 20, corner, 12)
    left, top = corner
    expected = resized_whole(pixels, 20)[top : top + 12, left : left + 12].astype(int)
    assert made.shape == (12, 12, bands)
    assert made.dtype == np.float32
    levels = (made + 1) * 127.5
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert np.abs(np.rint(levels) - expected).max() <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize(
    ("bands", "kind"), [(1, "u2"), (3, "u2"), (4, "u2"), (2, "u1"), (13, "u1")]
)
def test_crop_of_other_images_equals_resizing_the_whole(size, corner, bands, kind):
    pixels = image_of(size, bands, kind)
    made = load_square(pixels, 20, corner, 12)
    left, top = corner
    whole = resized_whole(pixels.astype("u2"), 20).astype(float)  # in floating point
    half = np.iinfo(kind).max / 2
    expected = np.clip(whole[top : top + 12, left : left + 12] / half - 1, -1, 1)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, expected, atol=2e-6)


def test_bicubic_overshoot_stays_within_the_range():
    edge = np.zeros((6, 6, 1), np.uint16)
    edge[:, 3:] = 65535
    made = load_square(edge, 24, (0, 0), 24)
    assert (made.min(), made.max()) == (-1, 1)


def test_shrinking_is_antialiased():
    """A chequer of single pixels becomes grey; without antialiasing it stayed black and white."""
    chequer = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[:, :, np.newaxis]
    assert np.abs(load_square(chequer, 16, (0, 0), 16)[2:-2, 2:-2]).max() < 0.1


# ---- depth, bands, transparency -----------------------------------------------------------


def test_16_bit_grey_keeps_its_depth_and_range(tmp_path):
    samples = np.random.default_rng(0).integers(0, 65536, (40, 40)).astype(np.uint16)
    samples[:20, :10], samples[20:, 30:] = 0, 65535
    for name in ("trainA", "trainB"):
        write(tmp_path / name / "0.png", samples)
    batches = batches_of(tmp_path, bands_a=1, bands_b=1, load_size=40, image_size=32)
    images = np.concatenate([batches[step].real_a for step in range(8)])
    assert (images.min(), images.max()) == (-1, 1)
    back = (images.astype(float) + 1) * 32767.5
    np.testing.assert_allclose(back, np.rint(back), atol=0.01)
    assert np.isin(np.rint(back), samples).all()
    assert len(np.unique(np.rint(back))) > 1000  # more than 8 bits can tell apart


def test_bands_are_brought_to_the_domain(tmp_path):
    colour = np.empty((8, 8, 3), np.uint8)
    colour[:] = 200, 100, 50
    write(tmp_path / "trainA" / "0.png", np.full((8, 8), 77, np.uint8))
    write(tmp_path / "trainB" / "0.png", colour)
    batch = batches_of(tmp_path, bands_a=3, bands_b=1)[0]
    np.testing.assert_allclose(batch.real_a, 77 / 127.5 - 1, atol=1e-6)
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert batch.real_b.shape == (2, 8, 8, 1)
    np.testing.assert_allclose(batch.real_b, luma / 127.5 - 1, atol=0.51 / 127.5)


def test_transparency_is_laid_over_white(tmp_path):
    for name, alpha in (("trainA", 0), ("trainB", 51)):
        pixels = np.zeros((8, 8, 4), np.uint8)
        pixels[:, :, 3] = alpha
        write(tmp_path / name / "0.png", pixels)
    batch = batches_of(tmp_path)[0]
    assert (batch.real_a == 1).all()
    np.testing.assert_allclose(batch.real_b, (1 - 51 / 255) * 2 - 1, atol=0.51 / 127.5)


# ---- the image pool -----------------------------------------------------------------------


def plans(recipe, name, first, last):
    made = [pool_plan(recipe, name, step, ALL) for step in range(first, last)]
    return (
        np.stack([getattr(plan, field) for plan in made]) for field in ("slot", "store", "swap")
    )


def test_the_pool_fills_in_order():
    slot, store, swap = plans(preset("paper", {"batch_size": 3}), POOL_A, 0, 50)
    assert (slot == np.arange(50)[:, np.newaxis]).all()
    assert store.all()
    assert not swap.any()


def test_a_full_pool_swaps_half_the_time_at_any_slot():
    recipe = preset("paper", {"batch_size": 2})
    drawn = {name: list(plans(recipe, name, 50, 8050)) for name in (POOL_A, POOL_B)}
    for slot, store, swap in drawn.values():
        assert (store == swap).all()
        assert swap.mean() == pytest.approx(0.5, abs=0.015)  # 16,000 draws: four deviations
        assert set(slot.ravel()) == set(range(50))
        for chosen in (slot[swap], slot[~swap]):  # 99.9 % of 49 degrees of freedom
            assert chi_square(np.bincount(chosen, minlength=50).tolist()) < 85.4
    series = [(slot[:, lane], swap[:, lane]) for slot, _, swap in drawn.values() for lane in (0, 1)]
    correlations = np.corrcoef([part for pair in series for part in pair]) - np.eye(8)
    assert np.abs(correlations).max() < 0.05


def paper_pool(size, queries, rng):
    """Ages of what the pool of the paper returns, written from its text."""
    pool, shown = [], []
    for now in range(queries):
        if len(pool) < size:
            pool.append(now)
            shown.append(0)
        elif rng.random() > 0.5:
            at = rng.integers(size)
            shown.append(now - pool[at])
            pool[at] = now
        else:
            shown.append(0)
    return np.array(shown)


def test_what_the_discriminator_sees_is_as_old_as_in_the_paper():
    size, queries = 20, 12_000
    recipe = preset("paper", {"pool_size": size})
    pool, shown = [None] * size, []
    for now, (slot, store, swap) in enumerate(zip(*plans(recipe, POOL_A, 0, queries), strict=True)):
        shown.append(now - pool[slot[0]] if swap[0] else 0)
        if store[0]:
            pool[slot[0]] = now
    ours, theirs = np.array(shown), paper_pool(size, queries, np.random.default_rng(1))
    assert (ours[:size] == 0).all()
    for statistic in (lambda x: (x > 0).mean(), lambda x: x[x > 0].mean(), lambda x: x.std()):
        assert statistic(ours) == pytest.approx(statistic(theirs), rel=0.08)
    assert ours[ours > 0].mean() == pytest.approx(2 * size, rel=0.05)  # in closed form


def test_no_pool():
    slot, store, swap = plans(preset("paper", {"pool_size": 0}), POOL_B, 0, 60)
    assert not slot.any()
    assert not store.any()
    assert not swap.any()


# ---- streams ------------------------------------------------------------------------------


def test_streams_do_not_collide():
    """First draws over seeds, uses and indices are all different."""
    drawn = [
        stream(seed, name, index).integers(2**63)
        for seed in (0, 1, 2, 5, 2**32 - 1, 2**40)
        for name in range(1, 7)
        for index in range(150)
    ]
    assert len(set(drawn)) == len(drawn)


def test_the_trap_that_streams_avoid():
    """numpy reads (5), (5, 0) and (5, 0, 0) as one seed; a stream never ends in 0."""
    first = [np.random.default_rng(seed).random() for seed in (5, (5,), (5, 0), (5, 0, 0))]
    assert len(set(first)) == 1
    assert stream(5, 1, 0).random() not in first
    assert stream(5, 1, 0).random() == np.random.default_rng((5, 1, 1)).random()


# ---- shards -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 4])
def test_the_shares_of_several_processes_make_the_whole(data, count):
    whole = batches_of(data, batch_size=4, pool_size=3)
    shares = [batches_of(data, (index, count), batch_size=4, pool_size=3) for index in range(count)]
    for step in range(10):
        batch, parts = whole[step], [share[step] for share in shares]
        for side in ("a", "b"):
            images = np.concatenate([getattr(part, f"real_{side}") for part in parts])
            assert images.tobytes() == getattr(batch, f"real_{side}").tobytes()
            for field in ("slot", "store", "swap"):
                lanes = [getattr(getattr(part, f"pool_{side}"), field) for part in parts]
                expected = getattr(getattr(batch, f"pool_{side}"), field)
                assert np.array_equal(np.concatenate(lanes), expected)


# ---- made ahead ---------------------------------------------------------------------------


class Slow:
    """Batches that are their own step, ready after a random while."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.asked = []

    def __getitem__(self, step):
        self.asked.append(step)
        time.sleep(np.random.default_rng(step).uniform(0, 0.004))
        if step == self.fails_at:
            raise ImageError(f"{step}.png: damaged")
        return step


def loaders():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def wait_for_no_loaders():
    until = time.monotonic() + 5
    while loaders() and time.monotonic() < until:
        time.sleep(0.002)
    return not loaders()


@pytest.mark.parametrize("workers", [1, 2, 5, 16])
def test_prefetch_keeps_the_order(workers):
    slow = Slow()
    assert list(prefetch(slow, 7, 47, workers)) == list(range(7, 47))
    assert sorted(slow.asked) == list(range(7, 47))  # each once
    assert wait_for_no_loaders()


def test_prefetch_of_nothing():
    assert list(prefetch(Slow(), 5, 5, 2)) == []
    assert wait_for_no_loaders()


def test_prefetch_gives_what_the_batches_are(data):
    batches = batches_of(data)
    for step, batch in enumerate(prefetch(batches, 3, 11, 3), start=3):
        assert same(batch, batches[step])


def test_prefetch_runs_ahead_but_not_far():
    slow = Slow()
    ahead = prefetch(slow, 0, 1000, 3)
    assert next(ahead) == 0
    time.sleep(0.1)  # nobody asks for more
    assert 1 < len(slow.asked) <= 1 + 2 * 3 + 1
    ahead.close()


def test_prefetch_abandoned_half_way_leaves_no_threads():
    slow = Slow()
    for step in prefetch(slow, 0, 1000, 4):
        if step == 10:
            break
    # a generator that is left is closed
    assert wait_for_no_loaders()
    assert len(slow.asked) <= 11 + 2 * 4 + 1


def test_prefetch_abandoned_drops_what_nobody_has_begun():
    gate = threading.Event()

    class Gated(Slow):
        def __getitem__(self, step):
            self.asked.append(step)
            return step if step == 0 else gate.wait(5)

    gated = Gated()
    ahead = prefetch(gated, 0, 1000, 2)
    assert next(ahead) == 0
    until = time.monotonic() + 5
    while len(gated.asked) < 3 and time.monotonic() < until:
        time.sleep(0.002)
    ahead.close()
    gate.set()
    assert wait_for_no_loaders()
    assert sorted(gated.asked) == [0, 1, 2]  # those that waited in line are not made


def test_prefetch_raises_the_error_in_its_turn():
    ahead = prefetch(Slow(fails_at=12), 0, 40, 3)
    assert [next(ahead) for _ in range(12)] == list(range(12))
    with pytest.raises(ImageError, match=r"^12\.png: damaged$"):
        next(ahead)
    assert wait_for_no_loaders()
