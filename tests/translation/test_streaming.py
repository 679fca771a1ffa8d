"""Streamed images against their translation in one piece: equal, whatever the tiles."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from small_scenes import network, scene, streamed, whole
from unpaired.engines.architecture import STRIDE, halo
from unpaired.engines.tiles import Region, plan_tile

LEVEL = 2 / 255


@st.composite
def masks(draw, height, width):
    """None, or which pixels have data: rectangles without, and single pixels."""
    if draw(st.booleans()):
        return None
    valid = np.ones((height, width), bool)
    for _ in range(draw(st.integers(1, 3))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        valid[top : top + draw(st.integers(1, 80)), left : left + draw(st.integers(1, 80))] = False
    return valid


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_tiles_give_what_the_whole_image_gives(data):
    draw = data.draw
    changes = {
        "blocks": draw(st.integers(0, 2)),
        "width": draw(st.integers(1, 3)),
        "upsample": draw(st.sampled_from(["transposed", "resize"])),
        "norm": draw(st.sampled_from(["instance", "instance", "none"])),
        "bands_a": draw(st.integers(1, 3)),
        "precision": "fp64",
    }
    same = draw(st.booleans())
    changes["bands_b"] = changes["bands_a"] if same else draw(st.integers(1, 3))
    changes["start"] = draw(st.sampled_from(["noise", "residual", "identity"])) if same else "noise"
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    valid = draw(masks(height, width))
    # A norm of a flat channel is its rounding error times 316, and seven of them are any number:
    # of the few pixels of a tiny image, or beside gaps, all that is left after two strides is flat.
    seen = height * width if valid is None else int(valid.sum())
    assume(changes["norm"] == "none" or (max(height, width) >= 8 and seen >= 100))
    side = 4 * draw(st.integers(2, 24))
    net, arrays, _ = network(seed=draw(st.integers(0, 9)), **changes)
    image = scene(height, width, bands=changes["bands_a"])
    result, _ = streamed(net, image, valid, side=side, dtype=np.float64)
    expected = whole(net.layers, arrays, image, valid, changes["start"])
    assert np.abs(result - expected).max() < 1e-6


@pytest.mark.parametrize("start", ["noise", "residual", "identity"])
@pytest.mark.parametrize("masked", [False, True])
def test_single_precision_is_within_a_ten_thousandth(start, masked):
    net, arrays, _ = network(width=6, blocks=2, start=start, upsample="resize")
    image = scene(301, 198)
    valid = None
    if masked:
        valid = np.ones(image.shape[:2], bool)
        valid[:140, 60:] = False
    expected = whole(net.layers, arrays, image, valid, start)
    for side in (64, 128, 512):
        result, _ = streamed(net, image, valid, side=side)
        assert np.abs(result - expected).max() <= 1e-4


def test_half_precision_in_the_scratch_is_within_a_level_and_tiles_do_not_matter():
    net, arrays, _ = network(width=6, blocks=2)
    image = scene(170, 253)
    expected = whole(net.layers, arrays, image)
    levels = [
        np.rint((streamed(net, image, side=side, dtype=np.float16)[0] + 1) * 127.5)
        for side in (64, 100, 256)
    ]
    assert all(np.abs(a - np.rint((expected + 1) * 127.5)).max() <= 1 for a in levels)
    assert max(np.abs(a - b).max() for a in levels for b in levels) <= 1


def test_jax_gives_the_same():
    pytest.importorskip("jax")
    net, arrays, _ = network("jax", blocks=1, upsample="resize", start="identity")
    image = scene(8, 20)
    valid = np.ones((8, 20), bool)
    valid[:, 15:] = False
    expected = whole(net.layers, arrays, image, valid, "identity")
    result, _ = streamed(net, image, valid, side=8)
    assert np.abs(result - expected).max() <= 1e-4


# ---- seams --------------------------------------------------------------------------------


def jump_at_borders(image, side):
    """The mean step across the borders of tiles, relative to others at multiples of the stride.

    Networks make steps of their own there, since their upsamplings have that period.
    """
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(image, axis=axis)).mean(axis=(1 - axis, 2))
        at = np.arange(1, image.shape[axis])
        border, other = at % side == 0, (at % STRIDE == 0) & (at % side != 0)
        ratios.append(steps[border].mean() / steps[other].mean())
    return np.mean(ratios)


def test_there_are_no_seams_and_naive_tiles_have_some():
    net, _, _ = network(width=4, blocks=1, gain=0.6)
    image, side = scene(512, 512), 64
    result, _ = streamed(net, image, side=side)
    assert jump_at_borders(result, side) == pytest.approx(1, abs=0.02)
    naive = np.zeros_like(result)
    for top in range(0, 512, side):
        for left in range(0, 512, side):
            part = slice(top, top + side), slice(left, left + side)
            naive[part] = net.alone(image[part])
    assert jump_at_borders(naive, side) > 1.1
    alone, _ = streamed(net, image, side=side, alone=True)  # with a halo
    assert jump_at_borders(alone, side) > 1.02


# ---- what tiles need ----------------------------------------------------------------------


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_a_tile_needs_the_halo_that_the_architecture_states(upsample):
    net, _, _ = network(blocks=2, upsample=upsample, norm="none")
    size, result = (400, 400), Region((200, 240), (200, 240))
    given = plan_tile(net.layers, size, None, len(net.layers) - 1, result).given
    widest = halo(net.layers)
    before, after = 200 - given.rows[0], given.rows[1] - 240
    assert widest - 4 <= min(before, after) <= max(before, after) <= widest
