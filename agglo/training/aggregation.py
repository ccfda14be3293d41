"""Aggregation: on-policy classification of the sign of the reward, remembering all rounds.

After dataset aggregation (Ross, Gordon & Bagnell 2011): decisions of all rounds are kept, and the
network is fitted to all of them from scratch. Episodes are the policy's own: its merges, good or
bad, are executed, and what it refuses by little is recorded beside them. Where wanted, others are
an expert's, as in the mixture of that paper: only what is right is executed, and the queue is
worked through to its end, so that the network has also seen what no policy of its own would come
near: whole neurons side by side.
"""

from __future__ import annotations

import numpy as np

from agglo.training.exploration import Decisions, Exploration
from agglo.training.learner import LearnerConfig, Lesson, Past
from agglo.training.sign_classification import classify, joined, labelled
from envs.trial_rollout import Label


class Aggregation:
    """Permissive execution (or strict); label: sign of the fall of VI (or Rand's rise); memory."""

    def __init__(self, config: LearnerConfig, label: Label, noise: float, floor: float) -> None:
        self._config = config
        self.start_label: Label = label
        self.exploration = Exploration("policy", label, noise, floor)
        self.strict_exploration = Exploration("truth", label, noise, -np.inf)

    def learn(self, past: Past, played: list[Decisions], seed: int) -> Lesson:
        """Classify the decisions of this round and all before."""
        memory = joined(past.memory, labelled(played, self._config))
        return classify(memory, past.networks, self._config, seed)._replace(memory=memory)
