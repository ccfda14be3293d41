"""The merge network without its rounds: fitted to the contacts of superpixels as they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agglo.training.learner import LearnerConfig, fit_network, standardisation
from benchmarks.accuracy.learned import policy_numbers
from benchmarks.accuracy.scene import Scene
from benchmarks.accuracy.trial import Numbers, Trial
from envs.merge_network import MergeNetwork, average

N_NETWORKS = 3
"""Networks whose mean logit is the flat policy, as many as `agglo train` averages."""


@dataclass(frozen=True, slots=True)
class Flat:
    """The network of `agglo train` without its rounds: fitted to the contacts of superpixels once.

    It merges from logit 0 on: on what it was fitted to it is surer than elsewhere, so a threshold
    chosen there does not hold.
    """

    def __call__(self, trial: Trial) -> Numbers:
        """Fit and apply."""
        start = time.perf_counter()
        network = fit_flat(trial.train, trial.seed)
        seconds = time.perf_counter() - start
        return {**policy_numbers(trial.test, network, 0.0), "train_s": seconds}


def fit_flat(scenes: Sequence[Scene], seed: int) -> MergeNetwork:
    """Fit networks to the sign of the gain of all contacts before any merge; average them."""
    features = np.concatenate([scene.decisions[0] for scene in scenes])
    gains = np.concatenate([scene.decisions[1][:, 0] for scene in scenes])
    features, is_good = features[gains != 0], gains[gains != 0] > 0
    mean, scale = standardisation(features)
    seeds = np.random.SeedSequence(seed).generate_state(N_NETWORKS)
    return average(
        [fit_network(features, is_good, mean, scale, LearnerConfig(), int(one))[0] for one in seeds]
    )
