from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.training.threshold import best_threshold
from envs.merge_network import mean_boundary_network
from envs.rollout import Episode, play_episode
from envs.truth_rows import NO_TRUTH
from tests.agglo.small_volumes import make_tissue


def episode(start: float, *merges: tuple[float, float]) -> Episode:
    """Make an episode of (height, gain) pairs."""
    heights = np.array([height for height, _ in merges], np.float64)
    gains = np.array([gain for _, gain in merges], np.float64)
    empty = np.zeros((0, 2))
    return Episode(
        np.zeros((len(merges), 2), np.int32),
        heights,
        gains,
        np.zeros(len(merges)),
        np.zeros((0, 1), np.float32),
        empty,
        np.array([start, start - gains.sum()]),
        np.ones(2),
        0,
        1,
    )


def vi_at(episodes: list[Episode], threshold: float) -> float:
    """Return the mean VI when every episode stops below the threshold."""
    return float(np.mean([e.vi[0] - e.gains_vi[e.heights >= threshold].sum() for e in episodes]))


def test_the_best_cut_of_a_drawn_episode() -> None:
    threshold, vi = best_threshold([episode(3.0, (4.0, 1.0), (2.0, 1.0), (1.0, -0.5), (0.5, 0.2))])
    assert (threshold, vi) == (1.5, 1.0)


def test_a_bad_merge_is_admitted_for_the_good_ones_below_it() -> None:
    threshold, vi = best_threshold([episode(3.0, (4.0, 1.0), (2.0, -0.5), (1.0, 1.0))])
    assert (threshold, vi) == (1.0, 1.5)


def test_merges_of_equal_height_are_not_parted() -> None:
    """Stopping between the two merges of height 2 would be best, but no threshold does."""
    both = [episode(3.0, (4.0, 0.5), (2.0, 1.0)), episode(3.0, (2.0, -1.5), (1.0, -1.0))]
    threshold, vi = best_threshold(both)
    assert (threshold, vi) == (3.0, 2.75)
    better = [episode(3.0, (4.0, 0.5), (2.0, 1.0)), episode(3.0, (2.0, -0.5), (1.0, -1.0))]
    assert best_threshold(better) == (1.5, 2.5)


def test_no_merge_at_all_is_a_choice() -> None:
    threshold, vi = best_threshold([episode(1.0, (2.0, -0.25), (1.0, -0.5))])
    assert vi == 1.0
    assert threshold > 2.0
    assert np.float32(threshold) > np.float32(2.0)  # as a network holds it


def test_without_a_merge_that_matters_the_threshold_is_zero() -> None:
    assert best_threshold([episode(1.25), episode(0.75)]) == (0.0, 1.0)
    assert best_threshold([episode(0.0, (3.0, 0.0), (-1.0, 0.0))]) == (0.0, 0.0)


MERGES = st.lists(
    st.tuples(
        st.one_of(st.integers(-3, 3), st.floats(-4, 4, width=32)),
        st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]),
    ),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(MERGES, min_size=1, max_size=4))
def test_no_cut_is_better(merges: list[list[tuple[float, float]]]) -> None:
    episodes = [episode(8.0, *sorted(one, key=lambda merge: -merge[0])) for one in merges]
    threshold, vi = best_threshold(episodes)
    assert np.isfinite(threshold)
    heights = np.unique(np.concatenate([e.heights for e in episodes]))
    cuts = [np.inf, -np.inf, *heights, *(0.5 * (heights[1:] + heights[:-1]))]
    assert vi_at(episodes, threshold) == pytest.approx(vi, abs=1e-12)
    assert vi == pytest.approx(min(vi_at(episodes, cut) for cut in cuts), abs=1e-12)


def test_it_is_the_best_of_all_played_episodes() -> None:
    """Against episodes played anew with every threshold, on tissue with unlabelled parts."""
    instances = [make_tissue(seed).instance() for seed in (3, 4)]
    network = mean_boundary_network(0.5)
    whole = [play_episode(g, network, truth=t, threshold=-np.inf) for g, t, *_ in instances]
    threshold, vi = best_threshold(whole)

    def played(cut: float) -> float:
        return float(
            np.mean(
                [play_episode(g, network, truth=t, threshold=cut).vi[1] for g, t, *_ in instances]
            )
        )

    heights = np.unique(np.concatenate([e.heights for e in whole]))
    assert vi == pytest.approx(min(played(cut) for cut in [np.inf, *heights]), abs=1e-9)
    assert played(threshold) == pytest.approx(vi, abs=1e-9)
    assert vi < 0.5 * np.mean([e.vi[0] for e in whole])


def test_shards_without_truth_do_not_move_the_threshold() -> None:
    graph, truth, *_ = make_tissue(3).instance()
    network = mean_boundary_network(0.5)
    blank = play_episode(graph, network, truth=NO_TRUTH, threshold=-np.inf)
    whole = play_episode(graph, network, truth=truth, threshold=-np.inf)
    alone, _ = best_threshold([whole])
    with_blank, _ = best_threshold([whole, blank])
    merged = whole.heights >= alone
    np.testing.assert_array_equal(merged, whole.heights >= with_blank)
    assert best_threshold([blank]) == (0.0, 0.0)
