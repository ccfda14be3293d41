"""How a training gets its episodes: what to play, and the synchronous way to have it played.

The synchronous way plays all episodes of a round with the latest network and hands them over in key
order; while the learner fits, nobody plays. `asynchronous_rollouts` is the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import ray

from agglo.pool import ActorPool
from agglo.training.exploration import Decisions, Exploration
from agglo.training.shard import Shard
from envs.merge_network import MergeNetwork
from envs.rollout import Episode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """The episodes of the rounds after the flat start.

    Attributes:
        shards: that are played.
        explorations: how the episodes of a shard and round are played, one by one.
        seed: of the run.
    """

    shards: list[Shard]
    explorations: tuple[Exploration, ...]
    seed: int

    @property
    def n_per_round(self) -> int:
        """Return how many episodes a round has."""
        return len(self.shards) * len(self.explorations)

    def arguments(self, number: int, network: Any) -> tuple[Any, ...]:
        """Return what an actor plays an episode from.

        Args:
            number: of the episode among those of all rounds: shard by shard, round by round.
            network: or the reference to it.
        """
        n_rounds, within = divmod(number, self.n_per_round)
        shard, episode = divmod(within, len(self.explorations))
        seed = derived_seed(self.seed, n_rounds + 1, shard, episode)
        return self.shards[shard], network, self.explorations[episode], seed


class Rollouts(Protocol):
    """A way to have episodes played."""

    def publish(self, version: int, network: MergeNetwork) -> None:
        """Hand out a network to play with.

        Args:
            version: the round that it was fitted in.
            network: the latest.
        """
        ...

    def explored(self, round_index: int) -> list[Decisions]:
        """Return the episodes that a round, from 1 on, learns from."""
        ...

    def meanwhile(self, work: Callable[[], T]) -> T:
        """Do what the learner does, and return its result."""
        ...

    def play(self, shards: list[Shard], network: MergeNetwork) -> list[Episode]:
        """Play every shard once as the policy would, without noise."""
        ...

    def record(self) -> dict[str, Any]:
        """Return what is to be said of the round in the log."""
        ...


class SynchronousRollouts:
    """Play round by round."""

    def __init__(self, pool: ActorPool, plan: EpisodePlan | None) -> None:
        """Play on a pool; without a plan there is no round but the flat start."""
        self._pool, self._plan = pool, plan
        self._network: Any = None

    def publish(self, version: int, network: MergeNetwork) -> None:
        """Keep the network for the next round."""
        self._network = network

    def explored(self, round_index: int) -> list[Decisions]:
        """Play all episodes of the round and return them in key order."""
        plan = self._plan
        if plan is None:
            raise RuntimeError("a training without exploration has no rounds")
        reference = ray.put(self._network)
        first = (round_index - 1) * plan.n_per_round
        numbers = range(first, first + plan.n_per_round)
        tasks = [(number, plan.arguments(number, reference)) for number in numbers]
        return [decisions for _, decisions in self._pool.run("explore", tasks)]

    def meanwhile(self, work: Callable[[], T]) -> T:
        """Do the work, and nothing beside it."""
        return work()

    def play(self, shards: list[Shard], network: MergeNetwork) -> list[Episode]:
        """Play the shards, and wait for all of them."""
        return play_shards(self._pool, shards, network, 0.0)

    def record(self) -> dict[str, Any]:
        """Say nothing: all episodes are of the latest network."""
        return {}


def play_shards(
    pool: ActorPool, shards: list[Shard], network: MergeNetwork, threshold: float
) -> list[Episode]:
    """Play every shard once without noise."""
    reference = ray.put(network)
    tasks = [(i, (shard, reference, threshold)) for i, shard in enumerate(shards)]
    return [episode for _, episode in pool.run("play", tasks)]


def derived_seed(seed: int, *key: int) -> int:
    """Derive a seed of 63 bits from that of a run and the key of what it is for."""
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
