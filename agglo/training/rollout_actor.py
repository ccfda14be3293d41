"""The actor that plays episodes: a pure function of policy, shard and seed, with a cache."""

from __future__ import annotations

import numpy as np

from agglo.training.exploration import Decisions, Exploration, explored, initial_contacts
from agglo.training.instance_cache import InstanceCache
from agglo.training.shard import Shard
from agglo.training.volume_set import VolumeSet, load_instance
from analysis.contingency import Contingency
from analysis.segmentation_scores import SegmentationScores, score_segmentation
from envs import statistics as st
from envs.error_calibration import Estimate, membrane_share
from envs.expected_error import expected_error, final_vi
from envs.merge_network import MergeNetwork, checked_network
from envs.merge_tree import MergeTree
from envs.rollout import Episode, play_episode
from envs.trial_rollout import Label

CACHE_BYTES = 1 << 30
"""What an actor keeps of the shards it has read: the graphs of some 10⁹ voxels."""


class RolloutActor:
    """Plays episodes on shards of the training volumes; keeps shards it has read."""

    def __init__(self, volumes: tuple[VolumeSet, ...]) -> None:
        self._cache = InstanceCache(
            lambda shard: load_instance(volumes[shard.volume], shard), CACHE_BYTES
        )

    def initial(self, shard: Shard, network: MergeNetwork, label: Label) -> Decisions:
        """Return all contacts of a shard before any merge."""
        contacts = initial_contacts(self._cache.get(shard), _own(network), label)
        return contacts._replace(volume=shard.volume)

    def explore(
        self, shard: Shard, network: MergeNetwork, how: Exploration, seed: int
    ) -> Decisions:
        """Play an episode to learn from and return what was decided on the way."""
        decisions = explored(self._cache.get(shard), _own(network), how, seed)
        return decisions._replace(volume=shard.volume)

    def play(self, shard: Shard, network: MergeNetwork, threshold: float) -> Episode:
        """Play an episode as the policy would, without noise."""
        graph, truth, *_ = self._cache.get(shard)
        return play_episode(graph, _own(network), truth=truth, threshold=threshold)

    def estimate(self, shard: Shard, network: MergeNetwork, threshold: float) -> Estimate | None:
        """Return the VI of a shard's segmentation and what its tree expects; None without truth."""
        episode = self.play(shard, network, -np.inf)
        graph = self._cache.get(shard).graph
        if not episode.has_truth:
            return None
        tree = MergeTree.of_episode(graph.ids, episode)
        sizes, boundary = graph.regions[:, st.SIZE], graph.regions[:, st.BOUNDARY]
        expected = expected_error(tree, sizes, threshold).vi
        return Estimate(final_vi(episode, threshold), expected, membrane_share(boundary, sizes))

    def score(
        self, shard: Shard, network: MergeNetwork, threshold: float
    ) -> SegmentationScores | None:
        """Return the scores of a shard's segmentation, voxel by voxel; None without truth."""
        instance = self._cache.get(shard)
        truth, ids = instance.truth, instance.graph.ids
        if not len(truth.counts):
            return None
        segments = MergeTree.of_episode(ids, self.play(shard, network, threshold)).cut(-np.inf)
        labels = truth.labels.astype(np.uint64)
        return score_segmentation(
            Contingency.from_pairs(segments[truth.rows], labels, truth.counts)
        )


def _own(network: MergeNetwork) -> MergeNetwork:
    """Copy the read-only arrays that Ray hands out, so that kernels compile for one kind only."""
    return checked_network(network._asdict())
