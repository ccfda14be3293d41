"""How episodes are played to learn from, and what a learner gets to see of them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from envs.instance import Instance
from envs.merge_network import MergeNetwork
from envs.rollout import initial_decisions, play_episode
from envs.trial_rollout import Label, TrialExecution, initial_worths, play_trial

Execution = Literal["policy"] | TrialExecution
"""What decides while exploring: the policy (permissive), the truth (strict) or chance."""


class Exploration(NamedTuple):
    """How a learner wants its episodes played.

    Attributes:
        execution: what decides; the policy merges from logit 0 on.
        label: what the merges recorded are worth.
        noise: standard deviation of the noise on the logit.
        floor: decisions are recorded down to this logit.
    """

    execution: Execution
    label: Label
    noise: float
    floor: float


class Decisions(NamedTuple):
    """Candidate merges that were decided in one episode, in order.

    Attributes:
        features: (D, F) float32.
        worths: (D,) float64, what merging is worth: bits of VI, of the Rand index, or ±1.
        is_merged: (D,) bool.
        volume: index of the training volume.
    """

    features: npt.NDArray[np.float32]
    worths: npt.NDArray[np.float64]
    is_merged: npt.NDArray[np.bool_]
    volume: int = 0


def initial_contacts(instance: Instance, network: MergeNetwork, label: Label) -> Decisions:
    """Return all contacts of the superpixels, none of them merged."""
    graph, truth = instance.graph, instance.truth
    features, _ = initial_decisions(graph, truth, network)
    worths = initial_worths(graph, truth, label)
    return Decisions(features, worths, np.zeros(len(worths), np.bool_))


def explored(instance: Instance, network: MergeNetwork, how: Exploration, seed: int) -> Decisions:
    """Play an episode and return what was decided.

    Under the execution of the policy these are the merges, in order, and then the edges it refused
    down to the floor.
    """
    graph, truth = instance.graph, instance.truth
    if how.execution == "policy":
        if how.label == "majority":
            raise ValueError("an episode of the policy records gains of VI and Rand index alone")
        episode = play_episode(
            graph,
            network,
            truth=truth,
            record_floor=how.floor,
            noise=how.noise,
            noise_seed=seed,
        )
        n = len(episode.decisions)
        return Decisions(
            episode.decisions,
            np.ascontiguousarray(episode.decision_gains[:, 0 if how.label == "vi" else 1]),
            np.arange(n) < len(episode.merges),
        )
    return Decisions(
        *play_trial(
            graph,
            network,
            truth,
            execution=how.execution,
            label=how.label,
            floor=how.floor,
            noise=how.noise,
            seed=seed,
        )
    )
