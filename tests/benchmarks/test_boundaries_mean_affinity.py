from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.contingency import contingency_table
from analysis.segmentation_scores import score_segmentation
from benchmarks.boundaries.mean_affinity import MeanAffinity, separating_thresholds
from envs.merge_tree import relabel

HEIGHTS = hs.lists(
    hs.sampled_from([0.0, 5e-324, 0.25, np.nextafter(0.25, 1), 0.5, 0.75, 1.0]), max_size=9
)


def row_of_three() -> tuple[MeanAffinity, np.ndarray]:
    """Superpixels 1, 2, 3 in a row: 1 and 2 are one body and join at 0.8, 3 joins at 0.4."""
    superpixels = np.array([[[1, 1, 2, 2, 3, 3]]], np.uint64)
    affinities = np.ones((3, 1, 1, 6), np.float32)
    affinities[2, 0, 0, 2], affinities[2, 0, 0, 4] = 0.8, 0.4
    labels = np.array([[[7, 7, 7, 7, 9, 9]]])
    return MeanAffinity.of_volume(superpixels, affinities, labels), labels


def test_a_row_drawn_by_hand() -> None:
    merged, _ = row_of_three()
    np.testing.assert_allclose(merged.tree.heights, [0.8, 0.4])
    assert merged.scores_at(0.9).vi_split == pytest.approx(4 / 6)
    assert merged.scores_at(0.6).vi == 0
    assert merged.scores_at(0.1).n_segments == 1
    assert merged.best_threshold() == pytest.approx(0.6)
    # 0 is best from 0.41 to 0.8, and nothing else is within the tolerance
    assert merged.central_threshold() == pytest.approx((0.4 + 0.81) / 2, abs=0.006)


def test_superpixels_without_a_counted_voxel_count_nowhere() -> None:
    superpixels = np.array([[[1, 1, 2, 2, 3, 3]]], np.uint64)
    labels = np.array([[[7, 7, 0, 0, 7, 7]]])
    affinities = np.full((3, 1, 1, 6), 0.5, np.float32)
    merged = MeanAffinity.of_volume(superpixels, affinities, labels)
    assert merged.scores_at(0.9).n_segments == 2
    assert merged.scores_at(0.1).vi == 0


@settings(max_examples=50, deadline=None)
@given(HEIGHTS)
def test_every_cut_of_a_tree_is_made_once(heights: list[float]) -> None:
    falling = np.sort(np.array(heights, np.float64))[::-1]
    thresholds = separating_thresholds(falling)
    made = [int((falling >= threshold).sum()) for threshold in thresholds]
    changes = [k for k in range(1, len(falling)) if falling[k - 1] > falling[k]]
    assert made == list(dict.fromkeys([0, *changes, len(falling)]))
    assert (np.diff(thresholds) < 0).all()


@settings(max_examples=20, deadline=None)
@given(hs.integers(0, 2**32 - 1))
def test_scores_are_those_of_the_volume_and_the_best_threshold_is_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    superpixels = np.repeat(np.arange(1, 28).reshape(3, 3, 3), 2, axis=2).astype(np.uint64)
    affinities = rng.random((3, *superpixels.shape)).astype(np.float32)
    labels = rng.integers(0, 4, superpixels.shape)
    merged = MeanAffinity.of_volume(superpixels, affinities, labels)

    def vi(threshold: float) -> float:
        segmentation = relabel(superpixels, merged.tree.ids, merged.tree.cut(threshold))
        return score_segmentation(contingency_table(segmentation, labels)).vi

    tried = [*merged.tree.heights, 2.0]
    for threshold in tried:
        assert merged.scores_at(threshold).vi == pytest.approx(vi(threshold), abs=1e-12)
    assert vi(merged.best_threshold()) == pytest.approx(min(map(vi, tried)), abs=1e-12)
