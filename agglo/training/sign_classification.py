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


def labelled(played: list[Decisions], config: LearnerConfig) -> Memory:
    """Return what there is to learn from decisions: those whose worth is known.

    Args:
        played: decisions, episode by episode.
        config: where it balances volumes, they are told.

    Returns:
        `features` (D, F) float32, `is_good` (D,) bool, and `volumes` (D,) int32, their indices, if
        told.
    """
    is_known = [decisions.worths != 0 for decisions in played]
    known = {
        "features": np.concatenate(
            [decisions.features[part] for decisions, part in zip(played, is_known, strict=True)]
        ),
        "is_good": np.concatenate(
            [decisions.worths[part] > 0 for decisions, part in zip(played, is_known, strict=True)]
        ),
    }
    if config.balance_volumes:
        volumes = np.array([decisions.volume for decisions in played], np.int32)
        known["volumes"] = np.repeat(volumes, [part.sum() for part in is_known])
    return known


def joined(first: Memory, second: Memory) -> Memory:
    """Append decisions to those that are remembered, if any."""
    if not first:
        return second
    return {name: np.concatenate([first[name], second[name]]) for name in second}


def balanced_weights(decisions: Memory, config: LearnerConfig) -> npt.NDArray[np.float32] | None:
    """Return what decisions weigh in the loss, 1 in the mean; None where they weigh the same.

    Where classes are balanced each has half of the weight, where volumes are each has its share;
    where both are, the half of a class is shared by the volumes that have decisions of it. What a
    class or volume without decisions would have goes to the others.

    Args:
        decisions: as of `labelled`, one or more.
        config: what is balanced.

    Returns:
        (D,) float32.
    """
    chosen = {"is_good": config.balance_classes, "volumes": config.balance_volumes}
    if not any(chosen.values()):
        return None
    n = len(decisions["is_good"])
    shares, parts = np.ones(n), np.zeros(n, np.int64)
    for name in (name for name, is_chosen in chosen.items() if is_chosen):
        pairs = np.stack([parts, decisions[name].astype(np.int64)])
        kinds, finer = np.unique(pairs, axis=1, return_inverse=True)
        shares /= np.bincount(kinds[0])[parts]
        parts = finer.reshape(-1)
    return (n * shares / np.bincount(parts)[parts]).astype(np.float32)


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
    weights = balanced_weights(decisions, config)
    network, scores = fit_network(
        features, decisions["is_good"], mean, scale, config, seed, weights=weights
    )
    return Lesson({}, network, {"decisions": len(features), **scores})
