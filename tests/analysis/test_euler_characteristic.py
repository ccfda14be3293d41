from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from skimage.measure import euler_number

from analysis.euler_characteristic import (
    BLOCK_TERMS_6,
    BLOCK_TERMS_26,
    TopologyCounts,
    count_topology,
    euler_characteristic,
)
from analysis.input_error import InputError
from tests.analysis.brute_topology import betti_numbers


def test_drawn_by_hand():
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    assert count_topology(ring, 4) == TopologyCounts(objects=1, tunnels=1, cavities=0)
    assert count_topology(ring[None], 6) == TopologyCounts(objects=1, tunnels=1, cavities=0)
    diamond = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    assert count_topology(diamond, 8) == TopologyCounts(1, 1, 0)
    assert count_topology(diamond, 4) == TopologyCounts(4, 0, 0)
    shell = np.ones((3, 3, 3), bool)
    shell[1, 1, 1] = False
    for foreground in (6, 26):
        assert count_topology(shell, foreground) == TopologyCounts(1, 0, 1)
        assert euler_characteristic(shell, foreground) == 2
    pair = np.zeros((2, 2, 2), bool)
    pair[0, 0, 0] = pair[1, 1, 1] = True
    assert count_topology(pair, 6).objects == 2
    assert count_topology(pair, 26).objects == 1


def test_tables_are_each_others_complement():
    # Objects of a set are the cavities of its complement, and tunnels link with tunnels.
    assert BLOCK_TERMS_6[0] == BLOCK_TERMS_26[0] == 0
    assert BLOCK_TERMS_6[1] == BLOCK_TERMS_26[1] == 1
    np.testing.assert_array_equal(BLOCK_TERMS_6, BLOCK_TERMS_26[::-1])
    assert not BLOCK_TERMS_6.flags.writeable


@settings(max_examples=80, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_volumes_equal_scikit_image(volume):
    assert euler_characteristic(volume, 6) == euler_number(volume, connectivity=1)
    assert euler_characteristic(volume, 26) == euler_number(volume, connectivity=3)
    assert count_topology(volume, 6) == betti_numbers(volume, 6)
    assert count_topology(volume, 26) == betti_numbers(volume, 26)


@settings(max_examples=80, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_sections_equal_scikit_image(section):
    assert euler_characteristic(section, 4) == euler_number(section, connectivity=1)
    assert euler_characteristic(section, 8) == euler_number(section, connectivity=2)
    assert count_topology(section, 4) == betti_numbers(section, 4)
    assert count_topology(section, 8) == betti_numbers(section, 8)


def test_a_stack_is_the_sum_of_its_sections():
    stack = np.random.default_rng(0).random((4, 12, 13)) < 0.6
    for foreground in (4, 8):
        parts = [count_topology(section, foreground) for section in stack]
        assert count_topology(stack, foreground) == tuple(map(sum, zip(*parts, strict=True)))


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="image must be bool"):
        euler_characteristic(np.zeros((2, 2), int), 4)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="foreground must be 4, 8, 6 or 26, but is 18"):
        count_topology(np.zeros((2, 2, 2), bool), 18)  # pyright: ignore[reportArgumentType]
