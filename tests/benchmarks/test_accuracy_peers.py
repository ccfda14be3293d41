from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from benchmarks.accuracy.forest import Contacts, boundary_probability, fit_forest, out_of_bag
from benchmarks.accuracy.signed_graphs import (
    GASP_SETTINGS,
    MULTICUT_SETTINGS,
    Setting,
    gasp_average,
    multicut,
    signed_costs,
)
from benchmarks.accuracy.trees import average_linkage
from benchmarks.accuracy.waterz_peer import affinities_of, merges_of, quantile_linkage
from envs.merge_tree import MergeTree, relabel
from envs.region_graph import build_region_graph

# Four regions in a ring: 0-1 and 2-3 are joined, two weak contacts lie between the pairs.
RING = np.array([[0, 1], [0, 3], [1, 2], [2, 3]], np.int32)
BOUNDARY = np.array([0.1, 0.7, 0.8, 0.2])
AREAS = np.array([4, 3, 1, 5])


def pairs_of(clusters: np.ndarray) -> list[set[int]]:
    return [set(np.flatnonzero(clusters == name).tolist()) for name in dict.fromkeys(clusters)]


def test_average_linkage_of_a_ring_drawn_by_hand() -> None:
    merges, heights = average_linkage(RING, BOUNDARY, AREAS, 4, threshold=-np.inf)
    assert merges.tolist() == [[0, 1], [2, 3], [0, 2]]
    np.testing.assert_allclose(heights, [0.9, 0.8, 1 - (3 * 0.7 + 1 * 0.8) / 4])
    merges, _ = average_linkage(RING, BOUNDARY, AREAS, 4, threshold=0.5)
    assert len(merges) == 2


def test_costs_change_their_sign_at_the_bias() -> None:
    costs = signed_costs(np.array([0.0, 0.29, 0.3, 0.31, 1.0]), 0.3)
    assert costs[2] == pytest.approx(0)
    assert (costs[:2] > 0).all()
    assert (costs[3:] < 0).all()
    assert np.isfinite(costs).all()
    even = signed_costs(np.array([0.2]), 0.5)
    assert even[0] == pytest.approx(np.log(0.8 / 0.2))


@pytest.mark.parametrize("setting", [Setting(0.5, True), Setting(0.5, False)])
def test_a_multicut_parts_a_ring_drawn_by_hand(setting: Setting) -> None:
    pytest.importorskip("bioimage_cpp", reason="bioimage-cpp (extra baselines) is not installed")
    clusters = multicut(RING, BOUNDARY, AREAS, 4, setting)
    assert pairs_of(clusters) == [{0, 1}, {2, 3}]


def test_weights_decide_where_a_large_contact_speaks_against_two_small_ones() -> None:
    pytest.importorskip("bioimage_cpp", reason="bioimage-cpp (extra baselines) is not installed")
    # 0-1 is a boundary, but 2 belongs to both: without weights 0-2 outvotes it.
    triangle = np.array([[0, 1], [0, 2], [1, 2]], np.int32)
    boundary, areas = np.array([0.6, 0.3, 0.25]), np.array([100, 10, 10])
    assert len(pairs_of(multicut(triangle, boundary, areas, 3, Setting(0.5, False)))) == 1
    assert pairs_of(multicut(triangle, boundary, areas, 3, Setting(0.5, True))) == [{0}, {1, 2}]


def test_gasp_parts_a_ring_drawn_by_hand() -> None:
    pytest.importorskip("bioimage_cpp", reason="bioimage-cpp (extra baselines) is not installed")
    assert pairs_of(gasp_average(RING, BOUNDARY, AREAS, 4, Setting(0.5, True))) == [{0, 1}, {2, 3}]
    assert len(pairs_of(gasp_average(RING, BOUNDARY, AREAS, 4, Setting(0.05, True)))) == 4
    assert len(pairs_of(gasp_average(RING, BOUNDARY, AREAS, 4, Setting(0.9, True)))) == 1


def test_settings_are_biases_inside_their_range() -> None:
    assert all(0 < one.bias < 1 for one in (*MULTICUT_SETTINGS, *GASP_SETTINGS))
    assert len(set(MULTICUT_SETTINGS)) == len(MULTICUT_SETTINGS)


def test_a_history_names_clusters_by_their_smallest_regions() -> None:
    history = [
        {"a": 30, "b": 40, "c": 40, "score": 0.1},
        {"a": 10, "b": 40, "c": 10, "score": 0.3},
        {"a": 20, "b": 10, "c": 20, "score": 0.2},
    ]
    merges, heights = merges_of(history, np.array([10, 20, 30, 40], np.uint64))
    assert merges.tolist() == [[2, 3], [0, 2], [0, 1]]
    np.testing.assert_allclose(heights, [0.9, 0.7, 0.7])


def test_affinities_are_one_less_the_larger_boundary() -> None:
    boundaries = np.array([[[0, 51, 255]]], np.uint8)
    affinities = affinities_of(boundaries)
    np.testing.assert_allclose(affinities[2, 0, 0, 1:], [0.8, 0.0], atol=1e-7)
    assert (affinities[:2] == 1).all()


def test_a_row_drawn_by_hand_merges_by_its_median() -> None:
    pytest.importorskip("waterz", reason="waterz (extra baselines) is not installed")
    # 1 | 2 | 3, three rows: the contact of 1 and 2 is bad in one of three faces.
    superpixels = np.repeat(np.array([[[1, 1, 2, 2, 3, 3]]], np.uint64), 3, axis=1)
    boundaries = np.full(superpixels.shape, 20, np.uint8)
    boundaries[0, 0, 2], boundaries[0, :, 4] = 250, 150
    ids = np.array([1, 2, 3], np.uint64)
    merges, heights = quantile_linkage(superpixels, boundaries, ids, 50).merges
    assert merges.tolist() == [[0, 1], [0, 2]]
    np.testing.assert_allclose(heights, 1 - np.array([20, 150]) / 255, atol=2 / 256)
    merges, _ = quantile_linkage(superpixels, boundaries, ids, 50, threshold=0.6).merges
    assert merges.tolist() == [[0, 1]]


@settings(max_examples=10, deadline=None)
@given(hs.integers(0, 2**32 - 1), hs.sampled_from([0.2, 0.45, 0.7]))
def test_a_cut_of_a_quantile_tree_is_what_waterz_does_at_that_threshold(
    seed: int, threshold: float
) -> None:
    waterz = pytest.importorskip("waterz", reason="waterz (extra baselines) is not installed")
    rng = np.random.default_rng(seed)
    superpixels = np.arange(1, 28).reshape(3, 3, 3).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    superpixels = superpixels.astype(np.uint64)
    boundaries = rng.integers(0, 256, superpixels.shape).astype(np.uint8)
    graph = build_region_graph(superpixels, boundaries, boundaries)
    tree = MergeTree(
        np.array(graph.ids), *quantile_linkage(superpixels, boundaries, graph.ids, 75).merges
    )
    ours = relabel(superpixels, graph.ids, tree.cut(threshold))
    score = "OneMinus<HistogramQuantileAffinity<RegionGraphType,75,ScoreValue,256,false>>"
    (theirs,) = waterz.agglomerate(
        affinities_of(boundaries),
        [1 - threshold],
        fragments=superpixels.copy(),
        scoring_function=score,
    )
    assert (
        len(np.unique(np.stack([ours, theirs]).reshape(2, -1), axis=1).T)
        == len(np.unique(ours))
        == len(np.unique(theirs))
    )


def test_a_forest_judges_what_it_was_trained_on_by_trees_that_did_not_see_it() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn (extra baselines) is not installed")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3)).astype(np.float32)
    gains = rng.choice([-1.0, 1.0], 400)  # nothing to be learned
    gains[:100] = 0
    parts = [Contacts(features[:250], gains[:250]), Contacts(features[250:], gains[250:])]
    forest = fit_forest(parts, seed=0)
    known = np.concatenate(out_of_bag(forest, parts))
    assert known.shape == (400,)
    learned = gains != 0
    in_bag = boundary_probability(forest, features)
    right = (known > 0.5) == (gains < 0)
    assert ((in_bag > 0.5) == (gains < 0))[learned].mean() > 0.95
    assert 0.35 < right[learned].mean() < 0.65
    np.testing.assert_array_equal(known[~learned], in_bag[~learned])


def test_a_forest_knows_a_boundary_where_a_merge_would_raise_vi() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn (extra baselines) is not installed")
    features = np.linspace(0, 1, 60, dtype=np.float32)[:, None]
    part = Contacts(features, np.where(features[:, 0] < 0.5, 0.1, -0.1))
    word = boundary_probability(fit_forest([part], seed=1), np.array([[0.1], [0.9]], np.float32))
    assert word[0] < 0.1
    assert word[1] > 0.9
