from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.contingency import contingency_table
from analysis.segmentation_scores import score_segmentation
from envs.expected_error import (
    _draw_truth,
    expected_error,
    final_vi,
    probabilities,
    rank_doubts,
)
from envs.generator import VoronoiGenerator
from envs.merge_tree import MergeTree
from envs.rollout import play_episode
from envs.scorers import MeanBoundary
from tests.envs.test_merge_tree import drawn_tree, trees

SIZES = np.array([10, 20, 30, 40, 50])


def vi(segment: np.ndarray, truth: np.ndarray, sizes: np.ndarray) -> float:
    """VI of volumes that are drawn out to voxels, by another way."""
    table = contingency_table(np.repeat(segment, sizes), np.repeat(truth, sizes) + 1)
    return score_segmentation(table).vi


def test_sure_decisions_leave_no_error() -> None:
    tree = MergeTree(
        np.array([1, 2, 3], np.uint64), np.array([[0, 1], [0, 2]], np.int32), np.array([50.0, -50])
    )
    found = expected_error(tree, np.array([5, 6, 7]), 0.0)
    assert found.vi == found.deviation == 0.0
    found = expected_error(tree, np.array([5, 6, 7]), 100.0)  # nothing merged: one certain split
    assert found.vi == pytest.approx(
        vi(np.array([1, 2, 3]), np.array([0, 0, 2]), np.array([5, 6, 7]))
    )
    assert found.merge.max() == 0.0


def test_the_mean_of_draws_is_that_of_all_truths_weighed_by_their_probability() -> None:
    tree = drawn_tree()
    p_same = probabilities(np.array([0.4, 0.0, -0.3]))
    tree = MergeTree(tree.ids, tree.merges, np.array([0.4, 0.0, -0.3]))
    expected = 0.0
    for is_same in itertools.product((False, True), repeat=3):
        truth = np.empty(5, np.int64)
        _draw_truth(tree.merges, np.array(is_same), SIZES.astype(float), truth)
        weight = np.where(is_same, p_same, 1 - p_same).prod()
        expected += weight * vi(tree.cut(-0.1), truth, SIZES)
    found = expected_error(tree, SIZES, -0.1, n_samples=4000, seed=1)
    assert found.vi == pytest.approx(expected, abs=4 * found.deviation / np.sqrt(4000))


def test_a_merge_joins_the_largest_parts_of_two_clusters() -> None:
    truth = np.empty(5, np.int64)
    # {20, 30} and {10, 50} are each in two parts; 30 and 50 voxels are the larger ones.
    _draw_truth(drawn_tree().merges, np.array([False, False, True]), SIZES.astype(float), truth)
    assert truth[2] == truth[4]
    assert len(set(truth.tolist())) == 4


@settings(max_examples=60, deadline=None)
@given(trees(), hs.integers(0, 2**32), hs.floats(-4, 4))
def test_draws_are_partitions_that_the_tree_allows(tree: MergeTree, seed: int, cut: float) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, len(tree.ids))
    is_same = rng.random(len(tree.merges)) < 0.5
    truth = np.empty(len(tree.ids), np.int64)
    _draw_truth(tree.merges, is_same, sizes.astype(float), truth)
    assert (truth[truth] == truth).all()
    assert len(np.unique(truth)) == len(tree.ids) - is_same.sum()
    whole = tree.cut(-np.inf)
    for name in np.unique(truth):
        assert len(np.unique(whole[truth == name])) == 1
    found = expected_error(tree, sizes, cut, n_samples=3, seed=seed)
    again = expected_error(tree, sizes, cut, n_samples=3, seed=seed)
    np.testing.assert_array_equal(found.split, again.split)
    assert (found.split >= 0).all()
    assert (found.merge >= 0).all()


def test_doubts_by_hand() -> None:
    tree = MergeTree(
        np.array([1, 2, 3, 4], np.uint64),
        np.array([[0, 1], [2, 3], [0, 2]], np.int32),
        np.array([9.0, 0.5, -1.0]),
    )
    sizes = np.array([8, 8, 8, 8])
    positions = np.array([[8, 0, 0], [24, 0, 0], [0, 8, 0], [0, 0, 16]])
    found = rank_doubts(tree, sizes, positions, 0.0)
    assert found.merge.tolist() == [2, 1, 0]
    assert found.is_made.tolist() == [False, True, True]
    np.testing.assert_allclose(found.stakes, [1.0, 0.5, 0.5])  # (32·5 − 2·16·4) / 32, …
    p = 1 / (1 + np.exp(-np.array([-1.0, 0.5, 9.0])))
    np.testing.assert_allclose(found.p_same, p)
    # of equal clusters the second: {3, 4}, then 4, then 2
    np.testing.assert_allclose(found.centre_vox, [[0, 0.5, 1], [0, 0, 2], [3, 0, 0]])
    np.testing.assert_allclose(found.loss, [p[0], 0.5 * (1 - p[1]), 0.5 * (1 - p[2])], rtol=1e-6)


def test_the_vi_of_a_stopped_episode_is_that_of_the_episode_stopped_there() -> None:
    graph, truth, *_ = VoronoiGenerator(10, 30, 4)(np.random.default_rng(3))
    policy = MeanBoundary(0.0)
    whole = play_episode(graph, policy, truth=truth, threshold=-np.inf)
    for threshold in (np.inf, *whole.heights[::7]):
        stopped = play_episode(graph, policy, truth=truth, threshold=threshold)
        assert final_vi(whole, threshold) == pytest.approx(stopped.vi[1], abs=1e-12)


@pytest.mark.parametrize("sizes", [np.ones(4), np.zeros(5), np.ones((5, 1))])
def test_sizes_that_do_not_fit_are_refused(sizes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="sizes must"):
        expected_error(drawn_tree(), sizes, 0.0)
    with pytest.raises(ValueError, match="sizes must"):
        rank_doubts(drawn_tree(), sizes, np.zeros((5, 3), int), 0.0)
    with pytest.raises(ValueError, match="positions must have shape"):
        rank_doubts(drawn_tree(), SIZES, np.zeros((5, 2), int), 0.0)
    with pytest.raises(ValueError, match="n_samples"):
        expected_error(drawn_tree(), SIZES, 0.0, n_samples=0)
