from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from agglo.phantom.config import MAX_CALIBRE_SPREAD, PhantomConfig
from agglo.phantom.growth import STEPS, grow_tile
from agglo.phantom.skeleton import (
    MITOCHONDRION,
    TUBULE,
    ends_of_neurites,
    neurite_id,
    skeleton_in_box,
)
from agglo.phantom.territory import cone_distance

ARRAYS = ("ids", "position_nm", "radius_nm", "segments", "has_segment", "bodies")


def box(config: PhantomConfig, start: tuple[int, ...], shape: tuple[int, ...]):
    return skeleton_in_box(config, np.array(start), np.array(shape))


def test_ends_are_where_single_steps_lead():
    config = PhantomConfig(seed=4)
    nodes = np.array([[0, 0, 0], [-30, 7, 2], [25, -26, 49], [0, 0, 0]])
    ends = ends_of_neurites(config, nodes)
    for node, end in zip(nodes, ends, strict=True):
        at = node.copy()
        while True:
            way = np.empty((1, 1, 1), dtype=np.int8)
            grow_tile(config.seed, config.branching, at, way)
            if way[0, 0, 0] < 0:
                break
            at = at + STEPS[way[0, 0, 0]]
        assert np.array_equal(at, end)


@given(st.lists(st.tuples(*[st.integers(-(2**20) + 1, 2**20 - 1)] * 3), min_size=2, unique=True))
@settings(max_examples=50, deadline=None)
def test_ids_are_unique_and_never_zero(nodes):
    ids = neurite_id(np.array(nodes, dtype=np.int64))
    assert len(np.unique(ids)) == len(nodes)
    assert ids.min() > 0
    assert ids.max() < 2**63


@given(st.integers(0, 2**40), st.tuples(*[st.integers(-60, 60)] * 3))
@settings(max_examples=5, deadline=None)
def test_a_box_equals_the_same_nodes_of_a_larger_one(seed, start):
    config = PhantomConfig(seed=seed)
    large = box(config, start, (12, 9, 10))
    small = box(config, (start[0] + 3, start[1] + 4, start[2]), (9, 3, 6))
    for name in ARRAYS:
        assert np.array_equal(getattr(large, name)[3:, 4:7, :6], getattr(small, name)), name


def test_every_piece_of_skeleton_lies_in_its_own_territory():
    config = PhantomConfig(seed=8, calibre_spread=MAX_CALIBRE_SPREAD, density=1.0)
    skeleton = box(config, (0, 0, 0), (22, 22, 22))
    segments = skeleton.segments[skeleton.has_segment]
    ids = skeleton.ids[skeleton.has_segment]
    smallest = np.inf
    for share in (0.0, 0.35, 0.7):
        foot = share * segments[:, 6, None]
        points = segments[:, :3] + foot * segments[:, 3:6]
        depth = segments[:, 7] + segments[:, 8] * foot[:, 0]
        near, own = map(np.array, zip(*KDTree(points).query_pairs(150.0), strict=True))
        for a, b in ((near, own), (own, near)):
            thicker = np.maximum(segments[a, 7], segments[a, 10]) - depth[b]
            foreign = (ids[a] != ids[b]) & (thicker > 40.0)  # the pairs that could go wrong
            gaps = [
                cone_distance(segments[i], *points[j])[0] + depth[j]
                for i, j in zip(a[foreign], b[foreign], strict=True)
            ]
            smallest = min(smallest, *gaps)
    assert smallest >= 0.05 * config.node_spacing_nm


def test_density_leaves_out_whole_neurites():
    full = box(PhantomConfig(seed=2, density=1.0), (0, 0, 0), (12, 12, 12))
    thin = box(PhantomConfig(seed=2, density=0.5), (0, 0, 0), (12, 12, 12))
    assert np.mean(full.ids > 0) > 0.97  # all but neurites of one node
    assert 0.3 < np.mean(thin.ids > 0) < 0.7
    kept = thin.ids > 0
    assert np.array_equal(full.ids[kept], thin.ids[kept])
    assert not np.isin(full.ids[~kept & (full.ids > 0)], thin.ids).any()


def test_organelles_lie_in_segments_and_mitochondria_in_thick_ones():
    skeleton = box(PhantomConfig(seed=2), (0, 0, 0), (16, 16, 16))
    kind = skeleton.bodies[..., 0]
    assert not np.any(kind[~skeleton.has_segment])
    for body in (MITOCHONDRION, TUBULE):
        assert np.sum(kind == body) > 20
    thinner_end = np.minimum(skeleton.segments[..., 7], skeleton.segments[..., 10])
    assert thinner_end[kind == MITOCHONDRION].min() > 0.1 * 112
    ends = skeleton.bodies[..., 2]
    assert np.all(ends <= skeleton.segments[..., 6])
    none = box(PhantomConfig(seed=2, mitochondria=0, tubules=0), (0, 0, 0), (16, 16, 16))
    assert np.sum(none.bodies[..., 0] == TUBULE) == 0
