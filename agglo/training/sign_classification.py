"""Fit the logit of "this merge is good" to decisions: what four of the learners do with theirs.

The reward of a merge spans many orders of magnitude, but a greedy policy needs only its sign and an
order (Jain et al. 2011): a network that classifies the sign gives both, its logit is priority and
stop at once, and 0 is where a merge is as likely to hurt as to help.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agglo.training.exploration import Decisions
from agglo.training.learner import LearnerConfig, Lesson, Memory
from agglo.training.network_fit import fit_network, standardisation
from envs.feature_groups import is_looked_at
from envs.merge_network import MergeNetwork


def labelled(played: list[Decisions]) -> Memory:
    """Return `features` (D, F) and `is_good` (D,) of all decisions whose worth is known."""
    is_known = [decisions.worths != 0 for decisions in played]
    return {
        "features": np.concatenate(
            [decisions.features[known] for decisions, known in zip(played, is_known, strict=True)]
        ),
        "is_good": np.concatenate(
            [decisions.worths[known] > 0 for decisions, known in zip(played, is_known, strict=True)]
        ),
    }


def joined(first: Memory, second: Memory) -> Memory:
    """Append decisions to those that are remembered, if any."""
    if not first:
        return second
    return {name: np.concatenate([first[name], second[name]]) for name in second}


def classify(
    decisions: Memory,
    networks: Sequence[MergeNetwork],
    config: LearnerConfig,
    seed: int,
) -> Lesson:
    """Fit a network from scratch; of what was learned before, the standardisation stays.

    Where there are no decisions, the last network stays. The memory of the lesson is empty.

    Args:
        decisions: as of `labelled`.
        networks: of the rounds before.
        config: how to fit.
        seed: initial weights and order of batches.
    """
    features: npt.NDArray[np.float32] = decisions["features"]
    if networks and not len(features):
        return Lesson({}, networks[-1], {"decisions": 0, "loss": 0.0, "accuracy": 1.0})
    looked_at = is_looked_at(config.features, features.shape[1])
    mean, scale = networks[0][:2] if networks else standardisation(features, looked_at)
    network, scores = fit_network(features, decisions["is_good"], mean, scale, config, seed)
    return Lesson({}, network, {"decisions": len(features), **scores})
