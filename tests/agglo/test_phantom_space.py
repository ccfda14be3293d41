from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from agglo.phantom.space import (
    CHANNELS,
    bend,
    cell_ball,
    corner_fields,
    fields_at,
    rotation,
    straight_box,
    straighten,
)

SPACING = 112.0
VOXEL = np.array([8.0, 8.0, 8.0])
CELL = np.array([4, 4, 4])


def corners_of(seed: int, first_cell: tuple[int, int, int], n: int) -> np.ndarray:
    out = np.empty((n + 1, n + 1, n + 1, CHANNELS))
    corner_fields(seed, SPACING, 1.0, rotation(seed), VOXEL, CELL, np.array(first_cell), out)
    return out


@given(st.integers(0, 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_rotations_are_rotations_away_from_the_axes(seed):
    turn = rotation(seed)
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.isclose(np.linalg.det(turn), 1.0)
    assert np.abs(turn).max() < 0.85


@given(st.integers(0, 2**63 - 1), st.tuples(*[st.floats(-1e6, 1e6)] * 3))
@settings(max_examples=50, deadline=None)
def test_bend_inverts_straighten(seed, point):
    turn = rotation(seed)
    there = straighten(seed, SPACING, 1.0, turn, *point)
    assert np.allclose(bend(seed, SPACING, 1.0, turn, *there), point, rtol=0, atol=0.02)


def test_without_warp_space_is_only_turned():
    turn = rotation(3)
    assert np.allclose(straighten(3, SPACING, 0.0, turn, 50.0, -7.0, 3.0), turn @ [50.0, -7.0, 3.0])


def test_the_strongest_warp_folds_nowhere():
    rng = np.random.default_rng(0)
    for seed in range(4):
        turn = rotation(seed)
        for point in rng.uniform(-1e5, 1e5, (200, 3)):
            jacobian = np.empty((3, 3))
            for axis in range(3):
                step = np.eye(3)[axis] * 0.5
                ahead = np.array(straighten(seed, SPACING, 1.0, turn, *(point + step)))
                behind = np.array(straighten(seed, SPACING, 1.0, turn, *(point - step)))
                jacobian[:, axis] = ahead - behind
            assert np.linalg.det(jacobian) > 0.05


def test_fields_inside_a_cell_are_interpolated_linearly():
    corners = corners_of(6, (-3, 2, 10), 3)
    point = np.empty(CHANNELS)
    for index in np.ndindex(12, 12, 12):
        (i, z), (j, y), (k, x) = (divmod(n, 4) for n in index)
        fields_at(corners, i, j, k, CELL, z, y, x, point)
        for channel in range(CHANNELS):
            expected = map_coordinates(corners[..., channel], np.array([index]).T / 4, order=1)
            assert np.isclose(point[channel], expected[0], rtol=0, atol=1e-9)


def test_cell_ball_holds_every_voxel_of_the_cell():
    corners = corners_of(6, (40, -2, 1), 2)
    centre, point = np.empty(3), np.empty(CHANNELS)
    for i, j, k in np.ndindex(2, 2, 2):
        radius = cell_ball(corners, i, j, k, centre)
        for z, y, x in np.ndindex(5, 5, 5):
            fields_at(corners, i, j, k, CELL, z, y, x, point)
            assert np.linalg.norm(point[:3] - centre) <= radius + 1e-9


def test_straight_box_holds_the_whole_block():
    first, n = np.array([5, -8, 0]), np.array([6, 5, 7])
    low, high = np.empty(3), np.empty(3)
    straight_box(9, SPACING, 1.0, rotation(9), VOXEL, CELL, first, n, low, high)
    out = np.empty((*(n + 1), CHANNELS))
    corner_fields(9, SPACING, 1.0, rotation(9), VOXEL, CELL, first, out)
    assert np.array_equal(out[..., :3].min(axis=(0, 1, 2)), low)
    assert np.array_equal(out[..., :3].max(axis=(0, 1, 2)), high)
