"""Aggregation: on-policy classification of the sign of the reward, remembering all rounds.

The policy's own episodes decide what is learned from: its merges, good or bad, are executed, and
what it refuses by little is recorded beside them. Decisions of all rounds are kept, as in dataset
aggregation (Ross, Gordon & Bagnell 2011), and the network is fitted to all of them from scratch.
"""

from __future__ import annotations

from agglo.training.exploration import Decisions, Exploration
from agglo.training.learner import LearnerConfig, Lesson, Past
from agglo.training.sign_classification import classify, joined, labelled
from envs.trial_rollout import Label


class Aggregation:
    """Permissive execution; label: sign of the fall of VI (or rise of Rand); memory."""

    def __init__(self, config: LearnerConfig, label: Label, noise: float, floor: float) -> None:
        self._config = config
        self.start_label: Label = label
        self.exploration = Exploration("policy", label, noise, floor)

    def learn(self, past: Past, played: list[Decisions], seed: int) -> Lesson:
        """Classify the decisions of this round and all before."""
        memory = joined(past.memory, labelled(played))
        return classify(memory, past.networks, self._config, seed)._replace(memory=memory)
