from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.simple_points import SIMPLE_POINTS_4_8
from analysis.warping_error import warping_error
from analysis.warping_queue import flip_simple_points
from tests.analysis.brute_topology import warp_by_passes

OFFSETS_OF_WIDTH = {w: np.array([-w - 1, -w, -w + 1, -1, 1, w - 1, w, w + 1]) for w in (52, 402)}


def flip(padded: np.ndarray, order: np.ndarray) -> int:
    """Warp a padded section in place and return the number of tests."""
    return flip_simple_points(
        4,
        SIMPLE_POINTS_4_8,
        OFFSETS_OF_WIDTH[padded.shape[1]],
        1 << np.arange(8),
        order,
        padded.reshape(-1),
        np.full(padded.size, -1, np.int32),
    )


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_equals_whole_passes(data):
    foreground = data.draw(st.sampled_from([4, 8, 6, 26]))
    n_axes = 2 if foreground in (4, 8) else 3
    longest = 9 if n_axes == 2 else 5
    shape = data.draw(hnp.array_shapes(min_dims=n_axes, max_dims=n_axes, max_side=longest))
    truth = data.draw(hnp.arrays(bool, shape))
    levels = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 4)))
    mask = data.draw(st.none() | hnp.arrays(bool, shape))
    boundary = (levels / 4).astype(np.float32)
    result = warping_error(boundary, truth, 0.6, foreground=foreground, mask=mask)
    expected = warp_by_passes(truth, boundary, 0.6, foreground, mask)
    np.testing.assert_array_equal(result.warped.reshape(shape), expected)
    np.testing.assert_array_equal(
        result.mismatches.reshape(shape) != 0, expected != (boundary < 0.6)
    )


@pytest.mark.parametrize("foreground", [4, 8, 6, 26])
def test_equals_whole_passes_where_order_runs_against_growth(foreground):
    # Interior grows from the last column backwards, one column a pass, and round a wall.
    shape = (7, 15) if foreground in (4, 8) else (3, 5, 9)
    truth = np.zeros(shape, bool)
    truth[..., -1] = True
    target = np.ones(shape, bool)
    target[..., : shape[-2] // 2, 2::4] = False
    boundary = np.where(target, 0.0, 1.0).astype(np.float32)
    result = warping_error(boundary, truth, foreground=foreground)
    expected = warp_by_passes(truth, boundary, 0.5, foreground)
    np.testing.assert_array_equal(result.warped.reshape(shape), expected)
    assert np.count_nonzero(expected) > 0.5 * expected.size


def test_a_hundred_passes_cost_no_more_than_a_few():
    # 400 columns take 400 passes; whole passes would test 400 · 399 / 2 points of every row.
    n_rows, n_cols = 30, 400
    padded = np.zeros((n_rows + 2, n_cols + 2), np.uint8)
    padded[1:-1, -2] = 1
    rows, cols = np.meshgrid(np.arange(1, n_rows + 1), np.arange(1, n_cols), indexing="ij")
    order = (rows * (n_cols + 2) + cols).T.reshape(-1)
    n_tests = flip(padded, order)
    assert padded[1:-1, 1:-1].all()
    assert n_tests <= 9 * order.size


def test_nothing_listed_nothing_done():
    padded = np.ones((5, 52), np.uint8)
    assert flip(padded, np.zeros(0, np.int64)) == 0
    assert padded.all()


def test_points_left_keep_their_places():
    padded = np.zeros((5, 52), np.uint8)
    padded[1:-1, 1:-1] = 1
    middle = 2 * 52 + 20
    places = np.full(padded.size, -1, np.int32)
    order = np.array([52 + 1, middle])
    flip_simple_points(
        4,
        SIMPLE_POINTS_4_8,
        OFFSETS_OF_WIDTH[52],
        1 << np.arange(8),
        order,
        padded.reshape(-1),
        places,
    )
    assert np.flatnonzero(places >= 0).tolist() == [middle]
    assert places[middle] == 1
    assert padded[1, 1] == 0
