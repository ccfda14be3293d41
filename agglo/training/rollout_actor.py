"""The actor that plays episodes: a pure function of policy, shard and seed, with a cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.training.shard import Shard
from agglo.training.volume_set import VolumeSet, load_instance
from envs.instance import Instance
from envs.merge_network import MergeNetwork, checked_network
from envs.rollout import Episode, initial_decisions, play_episode


class Decisions(NamedTuple):
    """Features (D, F) float32 and gains (D, 2: VI in bits, Rand) float64 of candidate merges."""

    features: npt.NDArray[np.float32]
    gains: npt.NDArray[np.float64]


class RolloutActor:
    """Plays episodes on shards of the training volumes; keeps the shards it has read."""

    def __init__(self, volumes: tuple[VolumeSet, ...]) -> None:
        self._volumes = volumes
        self._instances: dict[Shard, Instance] = {}

    def initial(self, shard: Shard, network: MergeNetwork) -> Decisions:
        """Return features and gains of all contacts of a shard before any merge."""
        instance = self._instance(shard)
        return Decisions(*initial_decisions(instance.graph, instance.truth, _own(network)))

    def explore(
        self, shard: Shard, network: MergeNetwork, noise: float, seed: int, floor: float
    ) -> Decisions:
        """Play an episode with noisy scores and return what was decided on the way."""
        episode = self._play(shard, network, noise=noise, noise_seed=seed, record_floor=floor)
        return Decisions(episode.decisions, episode.decision_gains)

    def play(self, shard: Shard, network: MergeNetwork, threshold: float) -> Episode:
        """Play an episode as the policy would, without noise."""
        return self._play(shard, network, threshold=threshold)

    def _play(self, shard: Shard, network: MergeNetwork, **how: float) -> Episode:
        graph, truth, *_ = self._instance(shard)
        return play_episode(graph, _own(network), truth=truth, **how)  # pyright: ignore

    def _instance(self, shard: Shard) -> Instance:
        if shard not in self._instances:
            self._instances[shard] = load_instance(self._volumes[shard.volume], shard)
        return self._instances[shard]


def _own(network: MergeNetwork) -> MergeNetwork:
    """Copy the read-only arrays that Ray hands out, so that kernels compile for one kind only."""
    return checked_network(network._asdict())
