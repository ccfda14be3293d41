"""A policy that asks, played through the step-by-step environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from envs.actions import STOP
from envs.agglomeration_env import AgglomerationEnv
from envs.asking import Asking, decide
from envs.asking_rollout import NOBODY
from envs.confluent_rule import decision_score
from envs.dynamics import Dynamics, Transition
from envs.generator import GivenInstances
from envs.human import Human
from envs.instance import Instance
from envs.objective import ObjectiveName
from envs.prices import Prices
from envs.reward import ErrorReward
from envs.scorers import Policy


def tell_all(dynamics: Dynamics, transition: Transition | None) -> dict[str, Any]:
    """Tell what happened; a piece of information of its own."""
    return {"transition": transition, "error": dynamics.error}


class SteppedEpisode(NamedTuple):
    """What `envs.asking_rollout.AskingEpisode` tells, as lists."""

    kinds: list[int]
    pairs: list[tuple[int, int]]
    keys: list[float]
    rewards: list[float]
    merges: list[tuple[int, int]]
    heights: list[float]
    error: tuple[float, float]


def play_stepped_episode(
    instance: Instance,
    policy: Policy | Callable[[Instance], Policy],
    *,
    asking: Asking | None = None,
    human: Human = NOBODY,
    objective: ObjectiveName = "vi",
    prices: Prices | None = None,
    threshold: float = 0.0,
    n_candidates: int = 3,
) -> SteppedEpisode:
    """Decide candidate 0 until the episode ends."""
    env = AgglomerationEnv(
        GivenInstances((instance,)),
        dynamics=Dynamics(
            policy,
            n_candidates=n_candidates,
            human=human,
            has_microscope=instance.clear is not None,
        ),
        reward=ErrorReward(objective, Prices() if prices is None else prices),
        information=tell_all,
    )
    rule = (Asking() if asking is None else asking).rule()
    asks = (rule.query > 0 and human is not NOBODY) or (
        rule.reimage > 0 and instance.clear is not None
    )
    _, info = env.reset(seed=0)
    dynamics = env.dynamics
    start, is_over = info["error"], False
    episode = SteppedEpisode([], [], [], [], [], [], (start, start))
    while not is_over:
        kind, key = STOP, 0.0
        if len(dynamics.candidates):
            merging, edge = dynamics.process.merging, dynamics.candidates[0]
            score = decision_score(merging, dynamics.scorer, edge)
            if asks or score >= threshold:
                kind = decide(dynamics.process, rule, score, threshold, edge)
                key = float(merging.key[edge])
        action = (
            dynamics.n_actions - 1 if kind == STOP else dynamics.kinds.index(kind) * n_candidates
        )  # pyright: ignore
        n_merges = len(dynamics.merges)
        _, reward, is_over, is_cut, info = env.step(np.int64(action))
        assert not is_cut
        transition = info["transition"]
        assert transition.kind == kind
        assert not transition.is_forbidden
        episode.kinds.append(kind)
        episode.pairs.append(transition.pair)
        episode.keys.append(key)
        episode.rewards.append(reward)
        if len(dynamics.merges) > n_merges:
            episode.merges.append(dynamics.merges[-1])
            episode.heights.append(key)
    return episode._replace(error=(start, info["error"]))
