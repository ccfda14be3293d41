from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs.classic_rule import play_classic_episode
from envs.generator import VoronoiGenerator
from envs.rollout import play_episode
from envs.scorers import MeanBoundary
from tests.envs.merge_twin import MergeTwin
from tests.envs.random_tissue import SEEDS, Volume, constant_network, random_network, volumes

modest = settings(max_examples=60, deadline=None)


@modest
@given(volumes(max_side=5, max_regions=14), SEEDS, hs.sampled_from([-np.inf, -0.5, 0.0, 0.5]))
def test_it_scores_every_neighbour_at_every_merge(
    volume: Volume, seed: int, threshold: float
) -> None:
    """Against sets of superpixels whose edges are all scored from scratch before every merge."""
    graph = volume.graph()
    network = constant_network(0.25) if seed % 3 == 0 else random_network(seed)
    twin = MergeTwin(graph, network)
    expected, least = [], np.inf
    while twin.edges:
        for pair, edge in twin.edges.items():
            edge.key = twin.score(pair)
        pair = min(twin.edges, key=twin.order)
        if twin.edges[pair].key < threshold:
            break
        least = min(least, twin.edges[pair].key)
        expected.append((*pair, least))
        twin.merge(pair)
    tree, n_scores = play_classic_episode(graph, network, threshold=threshold)
    merges = zip(tree.merges.tolist(), tree.heights.tolist(), strict=True)
    assert [(u, v, height) for (u, v), height in merges] == expected
    assert n_scores >= graph.n_edges


def test_mean_linkage_is_the_same_under_both_rules() -> None:
    """A mean never exceeds the larger of its parts, so there is nothing to cap."""
    for seed in range(5):
        graph = VoronoiGenerator()(np.random.default_rng(seed)).graph
        tree, _ = play_classic_episode(graph, MeanBoundary(0.0), threshold=-np.inf)
        episode = play_episode(graph, MeanBoundary(0.0), threshold=-np.inf)
        np.testing.assert_array_equal(tree.merges, episode.merges)
        np.testing.assert_array_equal(tree.heights, episode.heights)


def test_a_learned_policy_scores_many_more_edges() -> None:
    graph = VoronoiGenerator(side_vox=32, n_superpixels=300)(np.random.default_rng(0)).graph
    _, n_scores = play_classic_episode(graph, random_network(1), threshold=-np.inf)
    episode = play_episode(graph, random_network(1), threshold=-np.inf)
    assert n_scores > 2 * episode.n_scores
