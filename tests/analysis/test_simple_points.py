from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import euler_number

from analysis.simple_points import (
    SIMPLE_POINTS_4_8,
    SIMPLE_POINTS_8_4,
    components_4,
    neighbour_code,
    simple_point_table,
)
from tests.analysis.brute_topology import DUAL, betti_numbers, numbers_of_blocks

# The eight neighbours anticlockwise from the east, as bits of the code (raster order).
RING_BITS = [4, 2, 1, 0, 3, 5, 6, 7]


def yokoi_number(ring: list[int]) -> int:
    """Yokoi's 4-connectivity number of the ring: Σ over E, N, W, S of x − x x' x''."""
    return sum(ring[k] - ring[k] * ring[k + 1] * ring[(k + 2) % 8] for k in (0, 2, 4, 6))


def ring_of(code: int) -> list[int]:
    return [(code >> bit) & 1 for bit in RING_BITS]


def test_table_4_8_equals_yokois_number():
    expected = [yokoi_number(ring_of(code)) == 1 for code in range(256)]
    assert SIMPLE_POINTS_4_8.tolist() == expected
    assert sum(expected) == 116


@pytest.mark.parametrize(("foreground", "table"), [(4, SIMPLE_POINTS_4_8), (8, SIMPLE_POINTS_8_4)])
def test_tables_equal_the_definition_by_connected_components(foreground, table):
    rings = np.zeros((256, 3, 3), bool)
    for bit, (y, x) in enumerate(p for p in np.ndindex(3, 3) if p != (1, 1)):
        rings[:, y, x] = np.arange(256) >> bit & 1
    inside = numbers_of_blocks(rings, foreground)
    outside = numbers_of_blocks(~rings, DUAL[foreground])
    np.testing.assert_array_equal(table, (inside == 1) & (outside == 1))


@pytest.mark.parametrize(("foreground", "table"), [(4, SIMPLE_POINTS_4_8), (8, SIMPLE_POINTS_8_4)])
def test_flipping_a_simple_point_keeps_objects_and_holes(foreground, table):
    image = np.random.default_rng(4).random((14, 15)) < 0.6
    padded = np.pad(image, 1).astype(np.uint8)
    before = betti_numbers(image, foreground)
    n_simple = n_kept_otherwise = 0
    for y, x in np.ndindex(image.shape):
        flipped = image.copy()
        flipped[y, x] ^= True
        is_kept = betti_numbers(flipped, foreground) == before
        if table[neighbour_code(padded, y + 1, x + 1)]:
            n_simple += 1
            assert is_kept
        else:
            n_kept_otherwise += is_kept
    assert n_simple > 50
    assert n_kept_otherwise == 0


def test_table_8_4_is_the_table_of_the_inverted_image():
    assert SIMPLE_POINTS_8_4.tolist() == SIMPLE_POINTS_4_8[::-1].tolist()
    expected = [yokoi_number([1 - x for x in ring_of(code)]) == 1 for code in range(256)]
    assert SIMPLE_POINTS_8_4.tolist() == expected


@pytest.mark.parametrize(("foreground", "table"), [(4, SIMPLE_POINTS_4_8), (8, SIMPLE_POINTS_8_4)])
def test_flipping_a_simple_point_keeps_the_euler_number(foreground, table):
    for code in np.flatnonzero(table):
        patch = np.zeros((5, 5), bool)
        for bit, (y, x) in enumerate(p for p in np.ndindex(3, 3) if p != (1, 1)):
            patch[y + 1, x + 1] = (code >> bit) & 1
        without = euler_number(patch, connectivity=1 if foreground == 4 else 2)
        patch[2, 2] = True
        assert euler_number(patch, connectivity=1 if foreground == 4 else 2) == without


def test_tables_are_read_only_and_made_anew_on_demand():
    assert not SIMPLE_POINTS_4_8.flags.writeable
    np.testing.assert_array_equal(simple_point_table(4), SIMPLE_POINTS_4_8)


def test_code_is_in_raster_order():
    image = np.zeros((3, 3), np.uint8)
    seen = []
    for y, x in np.ndindex(3, 3):
        image[...] = 0
        image[y, x] = 1
        seen.append(neighbour_code(image, 1, 1))
    assert seen == [1, 2, 4, 8, 0, 16, 32, 64, 128]
    image[...] = 1
    assert neighbour_code(image, 1, 1) == 255


def test_components_do_not_join_across_corners():
    image = np.array([[1, 0, 1], [0, 1, 1], [1, 0, 0]], np.uint8)
    assert components_4(image).tolist() == [[1, 0, 2], [0, 2, 2], [3, 0, 0]]
