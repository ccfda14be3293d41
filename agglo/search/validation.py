"""Score a policy on the validation shards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import ray

from agglo.pool import ActorPool
from agglo.training.rollouts import play_shards
from agglo.training.shard import Shard
from agglo.training.threshold import best_threshold
from analysis.input_error import InputError
from envs.expected_error import final_vi
from envs.merge_network import MergeNetwork, mean_boundary_network


class Scores(NamedTuple):
    """Means over the validation shards that have truth.

    Attributes:
        vi: bits, where the policy itself stops.
        oracle_vi: bits, at the threshold that is best on these very shards.
        oracle_threshold: that threshold.
        adapted_rand_error: where the policy itself stops.
    """

    vi: float
    oracle_vi: float
    oracle_threshold: float
    adapted_rand_error: float


def score_policy(
    pool: ActorPool, shards: list[Shard], network: MergeNetwork, threshold: float
) -> Scores:
    """Score a network on shards, at its threshold and at the best one.

    Raises:
        InputError: no shard has truth.
    """
    episodes = [e for e in play_shards(pool, shards, network, -np.inf) if e.has_truth]
    if not episodes:
        raise InputError(
            f"--labels: none of the {len(shards)} validation shards has superpixels with labels."
        )
    oracle_threshold, oracle_vi = best_threshold(episodes)
    reference = ray.put(network)
    tasks = [(i, (shard, reference, threshold)) for i, shard in enumerate(shards)]
    scores = [score for _, score in pool.run("score", tasks) if score is not None]
    return Scores(
        float(np.mean([final_vi(episode, threshold) for episode in episodes])),
        oracle_vi,
        oracle_threshold,
        float(np.mean([score.adapted_rand_error for score in scores])),
    )


def reference_vis(
    pool: ActorPool, training: list[Shard], validation: list[Shard]
) -> dict[str, float]:
    """Return VI of the superpixels, and of mean boundary with the threshold of the training."""
    plain = mean_boundary_network(0.0)
    threshold, _ = best_threshold(play_shards(pool, training, plain, -np.inf))
    episodes = [e for e in play_shards(pool, validation, plain, -np.inf) if e.has_truth]
    return {
        "superpixels": float(np.mean([episode.vi[0] for episode in episodes])),
        "mean boundary": float(np.mean([final_vi(episode, threshold) for episode in episodes])),
    }
