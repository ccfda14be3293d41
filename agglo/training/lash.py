"""LASH: learn the decision value on the policy's own episodes, from the last ones alone.

After Jain, Turaga, Briggman, Helmstaedter, Denk & Seung (NIPS 2011, "Learning to agglomerate
superpixel hierarchies"): agglomeration is a decision process, the similarity function its action
value, and what has to be learned of it is a *decision value* with the sign of the reward, which is
the rise of the Rand index. Wrong merges are executed, so the learner meets the states its mistakes
lead to, and every round is fitted to its own episodes only.

How the paper explores and which classifier it takes is not repeated here: noise, recording and
network are those of every learner, so that what differs from aggregation are label and memory.
"""

from __future__ import annotations

from agglo.training.exploration import Decisions, Exploration
from agglo.training.learner import LearnerConfig, Lesson, Past
from agglo.training.sign_classification import classify, labelled
from envs.trial_rollout import Label


class Lash:
    """Permissive execution; label: sign of the rise of Rand (or fall of VI); no memory."""

    strict_exploration = None

    def __init__(self, config: LearnerConfig, label: Label, noise: float, floor: float) -> None:
        self._config = config
        self.start_label: Label = label
        self.exploration = Exploration("policy", label, noise, floor)

    def learn(self, past: Past, played: list[Decisions], seed: int) -> Lesson:
        """Classify the decisions of this round."""
        return classify(labelled(played, self._config), past.networks, self._config, seed)
