from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba import njit

from analysis.input_error import InputError
from analysis.simple_points_3d import is_simple_6_26, is_simple_26_6, simple_voxels
from analysis.topological_numbers import neighbourhood_code
from tests.analysis.brute_topology import DUAL, betti_numbers, numbers_of_blocks

N_BLOCKS = 100_000


@njit
def middles_are_simple(blocks, is_narrow):
    """Test the middle of each block, (N, 3, 3, 3) uint8."""
    simple = np.empty(blocks.shape[0], np.bool_)
    for i in range(blocks.shape[0]):
        code = neighbourhood_code(blocks[i], 1, 1, 1)
        simple[i] = is_simple_6_26(code) if is_narrow else is_simple_26_6(code)
    return simple


@njit
def count_simple():
    """Count the simple ones of all 2²⁶ neighbourhoods, for 6 and for 26."""
    n_narrow = n_wide = 0
    for number in range(1 << 26):
        code = (number & 8191) | ((number >> 13) << 14)
        n_narrow += is_simple_6_26(code)
        n_wide += is_simple_26_6(code)
    return n_narrow, n_wide


def test_drawn_by_hand():
    bar = np.zeros((3, 3, 5), bool)
    bar[1, 1, 1:4] = True
    for foreground in (6, 26):
        simple = simple_voxels(bar, foreground)
        assert simple[1, 1].tolist() == [True, True, False, True, True]
    # Beside the bar a voxel is 6-adjacent and simple; over its end, across an edge, only for 26.
    assert simple_voxels(bar, 6)[1, 0].tolist() == [False, True, True, True, False]
    assert simple_voxels(bar, 26)[1, 0].tolist() == [True, True, True, True, True]
    solid = np.ones((3, 3, 3), bool)
    assert not simple_voxels(solid, 6)[1, 1, 1]
    assert simple_voxels(solid, 6).sum() == 26


@pytest.mark.parametrize("foreground", [6, 26])
def test_equals_the_definition_on_random_neighbourhoods(foreground):
    rng = np.random.default_rng(foreground)
    density = rng.uniform(0.05, 0.95, N_BLOCKS)
    blocks = rng.random((N_BLOCKS, 3, 3, 3)) < density[:, None, None, None]
    expected = (numbers_of_blocks(blocks, foreground) == 1) & (
        numbers_of_blocks(~blocks, DUAL[foreground]) == 1
    )
    assert 0.1 < expected.mean() < 0.6
    np.testing.assert_array_equal(
        middles_are_simple(blocks.view(np.uint8), foreground == 6), expected
    )


def test_number_of_simple_neighbourhoods():
    # 25,985,144 of the 67,108,864: what the literature counts for (26, 6), by symmetry for both.
    assert count_simple() == (25_985_144, 25_985_144)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flipping_a_simple_point_keeps_objects_tunnels_and_cavities(data):
    foreground = data.draw(st.sampled_from([6, 26]))
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=6))
    image = data.draw(hnp.arrays(bool, shape))
    before = betti_numbers(image, foreground)
    simple = np.argwhere(simple_voxels(image, foreground)).tolist()
    for place in simple[:: max(1, len(simple) // 8)]:
        flipped = image.copy()
        flipped[tuple(place)] ^= True
        assert betti_numbers(flipped, foreground) == before


def test_a_point_that_is_not_simple_may_change_them():
    rng = np.random.default_rng(3)
    image = rng.random((6, 6, 6)) < 0.5
    for foreground in (6, 26):
        before = betti_numbers(image, foreground)
        changed = []
        for place in np.argwhere(~simple_voxels(image, foreground)):
            flipped = image.copy()
            flipped[tuple(place)] ^= True
            changed.append(betti_numbers(flipped, foreground) != before)
        assert np.mean(changed) > 0.9


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="foreground must be 6 or 26 in a volume, but is 4"):
        simple_voxels(np.zeros((2, 2, 2), bool), 4)
    with pytest.raises(InputError, match="volume must have axes"):
        simple_voxels(np.zeros((2, 2), bool), 6)
