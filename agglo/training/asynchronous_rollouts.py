"""Episodes played while the learner fits, with networks that are a bounded number of versions old.

The actors never wait for the learner as long as the bound lets them play on: the driver hands out
tasks while the learner fits in a thread beside it. Episodes are learned from in the order in which
they arrive, which depends on the machines, so such a training is not the same twice. The episodes
of an actor that dies are played again with the network they were to be played with.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import ray

from agglo.pool import ActorPool
from agglo.training.episode_ledger import EpisodeLedger, Taken
from agglo.training.exploration import Decisions
from agglo.training.learner import Learner, LearnerConfig
from agglo.training.rollouts import EpisodePlan
from agglo.training.shard import Shard
from analysis.input_error import InputError
from envs.merge_network import MergeNetwork
from envs.rollout import Episode

T = TypeVar("T")


def require_staleness(staleness: int, config: LearnerConfig, learner: Learner) -> None:
    """Refuse a negative bound, and one for a learner that has no use for old episodes.

    Raises:
        InputError: see the sentence.
    """
    if staleness < 0:
        raise InputError(f"--staleness must not be negative, but is {staleness}.")
    if not staleness:
        return
    if learner.exploration is None:
        raise InputError(
            f"--staleness does not belong to --learner {config.name}, which plays no episodes."
        )
    if learner.exploration.execution == "chance":
        raise InputError(
            f"--staleness does not belong to --learner {config.name}, which can learn only from "
            f"episodes of the very network it changes."
        )


class AsynchronousRollouts:
    """Play on while the learner fits; close it when all rounds are done."""

    def __init__(
        self, pool: ActorPool, plan: EpisodePlan, staleness: int, n_rounds: int, *, n_taken: int
    ) -> None:
        """Begin with the first network that is published.

        Args:
            pool: rollout actors.
            plan: what they play.
            staleness: versions that an episode learned from may be old, at most.
            n_rounds: rounds in all, the flat start not counted.
            n_taken: those of them that were learned from before.
        """
        self._pool, self._plan = pool, plan
        self._ledger = EpisodeLedger(plan.n_per_round, staleness, n_rounds, n_taken=n_taken)
        self._version, self._network = -1, None
        self._to_play: deque[tuple[Any, str, tuple[Any, ...]]] = deque()
        self._n_played = 0
        self._results: dict[Any, Any] = {}
        self._staleness: list[int] = []
        self._flow = pool.flow(self._draw)
        self._learner = ThreadPoolExecutor(1, thread_name_prefix="learner")
        self._since = time.perf_counter(), pool.busy_seconds

    def publish(self, version: int, network: MergeNetwork) -> None:
        """Let every episode that is drawn from now on be played with this network."""
        self._version, self._network = version, ray.put(network)

    def explored(self, round_index: int) -> list[Decisions]:
        """Return the round's episodes in the order in which they arrived."""
        taken: list[Taken] | None = None
        while (taken := self._ledger.take(round_index)) is None:
            self._receive()
        self._staleness = [episode.staleness for episode in taken]
        return [self._results.pop(("explore", episode.number)) for episode in taken]

    def meanwhile(self, work: Callable[[], T]) -> T:
        """Do the work in a thread and keep the actors playing until it is done."""
        done = self._learner.submit(work)
        while not done.done():
            self._receive()
        return done.result()

    def play(self, shards: list[Shard], network: MergeNetwork) -> list[Episode]:
        """Play the shards before any other episode."""
        reference = ray.put(network)
        keys = [("play", self._n_played + i) for i in range(len(shards))]
        self._n_played += len(shards)
        for key, shard in zip(keys, shards, strict=True):
            self._to_play.append((key, "play", (shard, reference, 0.0)))
        while not all(key in self._results for key in keys):
            self._receive()
        return [self._results.pop(key) for key in keys]

    def record(self) -> dict[str, Any]:
        """Return how old every episode of the round was, and the actors' idle share of its time."""
        (began, busy_before), self._since = (
            self._since,
            (time.perf_counter(), self._pool.busy_seconds),
        )
        seconds = (self._since[0] - began) * self._pool.n_actors
        idle = 1.0 - (self._since[1] - busy_before) / seconds
        staleness, self._staleness = self._staleness, []
        return {"staleness": staleness, "idle_share": min(max(idle, 0.0), 1.0)}

    def close(self) -> None:
        """Wait for what is under way."""
        self._learner.shutdown()
        self._flow.close()

    def _draw(self) -> tuple[Any, str, tuple[Any, ...]] | None:
        """Return the next task for an actor, if there is one."""
        if self._to_play:
            return self._to_play.popleft()
        if self._network is None or not self._ledger.may_draw(self._version):
            return None
        number = self._ledger.draw(self._version)
        return ("explore", number), "explore", self._plan.arguments(number, self._network)

    def _receive(self) -> None:
        """Wait for a result, or for a moment if there is nothing to do."""
        arrived = next(self._flow)
        if arrived is None:
            return
        (kind, number), result = arrived
        self._results[kind, number] = result
        if kind == "explore":
            self._ledger.arrive(number)
