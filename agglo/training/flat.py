"""Flat: learn from the contacts of the superpixels as they are, and play no episode.

The classic supervised way (Andres et al. 2008; "flat" in Jain et al. 2011 and Nunez-Iglesias et al.
2013): every contact before any merge, labelled, and one fit. It is round 0 of the other learners;
what they win over it is what being on-policy is worth.
"""

from __future__ import annotations

from agglo.training.exploration import Decisions
from agglo.training.learner import LearnerConfig, Lesson, Past
from agglo.training.sign_classification import classify, labelled
from envs.trial_rollout import Label


class Flat:
    """Nothing is executed; label: sign of the fall of VI (or another); one round."""

    exploration = None
    strict_exploration = None

    def __init__(self, config: LearnerConfig, label: Label, noise: float, floor: float) -> None:
        self._config = config
        self.start_label: Label = label

    def learn(self, past: Past, played: list[Decisions], seed: int) -> Lesson:
        """Classify the contacts."""
        return classify(labelled(played, self._config), past.networks, self._config, seed)
