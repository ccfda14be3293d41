from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.phantom.config import PhantomConfig
from agglo.phantom.skeleton import Skeleton, skeleton_in_box
from agglo.phantom.space import straighten
from agglo.phantom.territory import (
    MAX_CANDIDATES,
    away_from,
    cone_distance,
    gather_cell,
    label_box,
    nearest_two,
)

SPACING = 112.0
NM = st.floats(-200, 200)


def segment_of(start, end, radius_start: float, radius_end: float) -> np.ndarray:
    start, end = np.array(start, dtype=float), np.array(end, dtype=float)
    length = np.linalg.norm(end - start)
    slope = (radius_end - radius_start) / length
    tail = [length, radius_start, slope, slope / np.sqrt(1 - slope**2), radius_end]
    return np.concatenate([start, (end - start) / length, tail])


def sampled_distance(segments: np.ndarray, point: np.ndarray, n: int = 101) -> np.ndarray:
    """(s,) float64: distance to each cone by trying n points along its axis."""
    foot = np.linspace(0, 1, n)[None, :] * segments[:, 6, None]
    axis = segments[:, None, :3] + foot[..., None] * segments[:, None, 3:6]
    radius = segments[:, 7, None] + segments[:, 8, None] * foot
    return np.min(np.linalg.norm(point - axis, axis=2) - radius, axis=1)


def flat(skeleton: Skeleton):
    n = skeleton.ids.size
    return (
        skeleton.start,
        np.array(skeleton.ids.shape),
        skeleton.ids.reshape(n),
        skeleton.segments.reshape(n, -1),
        skeleton.has_segment.reshape(n),
    )


def test_distance_to_a_cylinder_drawn_by_hand():
    cylinder = segment_of((0, 0, 0), (100, 0, 0), 10, 10)
    assert cone_distance(cylinder, 50.0, 30.0, 0.0) == pytest.approx((20, 50))
    assert cone_distance(cylinder, 103.0, 4.0, 0.0) == pytest.approx((-5, 100))
    assert cone_distance(cylinder, -30.0, 0.0, 40.0) == pytest.approx((40, 0))
    assert away_from(cylinder, 50.0, 30.0, 0.0) == pytest.approx((0, 1, 0))


@given(st.tuples(NM, NM, NM), st.floats(0, 40), st.floats(0, 40))
@settings(max_examples=100, deadline=None)
def test_distance_to_a_cone_is_the_best_over_its_axis(point, radius_start, radius_end):
    segment = segment_of((10, -20, 5), (60, 30, 0), radius_start, radius_end)
    distance, foot = cone_distance(segment, *point)
    assert distance == pytest.approx(
        sampled_distance(segment[None], np.array(point), 2001)[0], abs=0.05
    )
    assert 0 <= foot <= segment[6]


@given(st.tuples(NM, NM, NM), st.tuples(NM, NM, NM), st.floats(0, 40), st.floats(0, 40))
@settings(max_examples=100, deadline=None)
def test_distance_grows_by_at_most_one_per_way(here, there, radius_start, radius_end):
    segment = segment_of((0, 0, 0), (40, 40, 30), radius_start, radius_end)
    change = cone_distance(segment, *here)[0] - cone_distance(segment, *there)[0]
    assert abs(change) <= np.linalg.norm(np.subtract(here, there)) + 1e-9


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return skeleton_in_box(PhantomConfig(seed=12), np.full(3, -12), np.full(3, 25))


def gather(skeleton: Skeleton, corner: np.ndarray, side: float):
    """Gather for a cube in straight space; corner (3,) float64, side in nm."""
    corners = np.zeros((2, 2, 2, 5))
    corners[..., :3] = corner + side * np.moveaxis(np.indices((2, 2, 2)), 0, -1)
    centre = np.empty(3)
    candidates, distance = np.empty(MAX_CANDIDATES, dtype=np.int64), np.empty(MAX_CANDIDATES)
    n, reach = gather_cell(
        corners, 0, 0, 0, SPACING, 0.42 * SPACING, *flat(skeleton), centre, candidates, distance
    )
    assert reach == pytest.approx(side * np.sqrt(3) / 2)
    return candidates, distance, n, centre


@given(st.tuples(*[st.floats(-300, 300)] * 3), st.tuples(*[st.floats(0, 1)] * 3))
@settings(max_examples=40, deadline=None)
def test_nearest_two_equals_a_search_of_all_segments(skeleton, corner, inside):
    candidates, distance, n, centre = gather(skeleton, np.array(corner), 40.0)
    assert np.all(np.diff(distance[:n]) >= 0)
    point = np.array(corner) + 40.0 * np.array(inside)
    _, _, ids, segments, has_segment = flat(skeleton)
    first, d_first, second, d_second = nearest_two(
        candidates, distance, n, centre, ids, segments, *point
    )
    pick = np.flatnonzero(has_segment & (np.linalg.norm(segments[:, :3] - point, axis=1) < 500))
    every = np.full(len(ids), np.inf)
    every[pick] = sampled_distance(segments[pick], point, 2001)  # 0.08 nm apart at most
    assert d_first == pytest.approx(every.min(), abs=0.1)
    assert d_second == pytest.approx(every[ids != ids[first]].min(), abs=0.1)
    assert ids[second] != ids[first]


def test_labels_equal_a_search_of_all_segments_at_the_warped_voxels(skeleton):
    config = PhantomConfig(seed=12, voxel_size_nm=(16.0, 8.0, 8.0))
    voxel, turn = np.array(config.voxel_size_nm), np.eye(3)
    offset = np.array([-3, 5, -10])
    labels = np.zeros((6, 11, 9), dtype=np.uint64)
    label_box(
        12, SPACING, 0.8, turn, 0.42 * SPACING, voxel, np.array([2, 4, 4]), offset, *flat(skeleton),
        labels,
    )  # fmt: skip
    _, _, ids, segments, has_segment = flat(skeleton)
    clear = 0
    for index in np.ndindex(*labels.shape):
        world = (offset + index) * voxel
        point = np.array(straighten(12, SPACING, 0.8, turn, *(float(w) for w in world)))
        near = np.linalg.norm(segments[:, :3] - point, axis=1) < 400
        pick = np.flatnonzero(has_segment & near)
        distance = sampled_distance(segments[pick], point, 21)
        best = ids[pick[np.argmin(distance)]]
        others = distance[ids[pick] != best]
        if others.min() - distance.min() > 4.0:  # the warp is interpolated, the axis is sampled
            assert labels[index] == best
            clear += 1
    assert clear > 0.8 * labels.size
