"""gala's strategy: strict execution and memory.

After Nunez-Iglesias, Kennedy, Parag, Shi & Chklovskii (PLoS ONE 2013) and the code of gala: epoch 0
is flat; in later epochs the queue is worked through to its end in the order of the classifier of
the epoch before, what the truth calls wrong is recorded and *not* executed, and decisions of all
epochs are kept, each once. A merge is good where most voxels of both regions carry the same label.

Different from gala: the network and features are those of every learner, keys follow the confluent
rule, and an edge that was refused is offered again only where it is joined with one that was not.
"""

from __future__ import annotations

import numpy as np

from agglo.training.exploration import Decisions, Exploration
from agglo.training.learner import LearnerConfig, Lesson, Memory, Past
from agglo.training.sign_classification import classify, joined, labelled
from envs.trial_rollout import Label


class Gala:
    """Strict execution; label: one majority label (or a sign); memory without duplicates."""

    strict_exploration = None

    def __init__(self, config: LearnerConfig, label: Label, noise: float, floor: float) -> None:
        self._config = config
        self.start_label: Label = label
        self.exploration = Exploration("truth", label, noise, -np.inf)

    def learn(self, past: Past, played: list[Decisions], seed: int) -> Lesson:
        """Classify the distinct decisions of this round and all before."""
        memory = distinct(joined(past.memory, labelled(played, self._config)))
        return classify(memory, past.networks, self._config, seed)._replace(memory=memory)


def distinct(decisions: Memory) -> Memory:
    """Keep the first of equal decisions, in order; equal is what has features and label equal."""
    features = np.ascontiguousarray(decisions["features"])
    rows = np.concatenate(
        [features.view(np.uint32), decisions["is_good"][:, None].astype(np.uint32)], axis=1
    )
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
    return {name: array[first] for name, array in decisions.items()}
