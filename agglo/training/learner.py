"""What a learner is: how its episodes are played, and how it turns them into the next network.

A learner is a pure function of what it is handed: all it remembers is in the `Memory` of arrays
that the training loop keeps for it, in the checkpoint too. So any learner resumes, and none
depends on the number of actors, whose episodes arrive in key order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import tyro

from agglo.training.exploration import Decisions, Exploration
from analysis.input_error import InputError
from envs.feature_groups import DEFAULT_GROUPS, GROUP_NAMES
from envs.merge_network import MergeNetwork
from envs.trial_rollout import LABELS, Label

LEARNER_NAMES = ("aggregation", "lash", "gala", "flat", "fitted-q", "policy-gradient")

Memory: TypeAlias = dict[str, npt.NDArray]
"""What a learner knows besides its networks."""


@dataclass(frozen=True, slots=True)
class LearnerConfig:
    """Which learner, and how it fits its network."""

    # Not Literals: `require_learner` says in one sentence what is wrong.
    name: Annotated[
        str, tyro.conf.arg(name="learner", metavar="{" + ",".join(LEARNER_NAMES) + "}")
    ] = "aggregation"
    """how the policy is learned, see docs/learners.md"""
    label: Annotated[str | None, tyro.conf.arg(metavar="{" + ",".join(LABELS) + "}")] = None
    """what calls a merge good: fall of VI, rise of the Rand index, or one majority label; the
    learner's own if not given"""
    return_steps: int | None = None
    """decisions over which rewards are summed; by default 3 for fitted-q, 1 for policy-gradient"""
    hidden_1: int = 48
    """units of the first hidden layer"""
    hidden_2: int = 32
    """units of the second hidden layer"""
    learning_rate: float = 3e-3
    """of AdamW, falling to 0 along a cosine"""
    weight_decay: float = 0.3
    """of AdamW"""
    batch: int = 128
    """decisions in a batch"""
    epochs: int = 8
    """passes over all decisions in every round"""
    features: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="{" + ",".join(GROUP_NAMES) + "} ...")
    ] = DEFAULT_GROUPS
    """groups of features that the policy looks at"""
    balance_classes: bool = False
    """good and bad merges weigh the same in the fit, however many there are of each"""
    balance_volumes: bool = False
    """training volumes weigh the same in the fit, however many decisions each has"""

    def __post_init__(self) -> None:
        for name in ("hidden_1", "hidden_2", "batch", "epochs"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise InputError(f"--{option} must be at least 1, not {getattr(self, name)}.")
        if not 0 < self.learning_rate < np.inf:
            raise InputError(f"--learning-rate must be positive, not {self.learning_rate}.")
        if not 0 <= self.weight_decay < np.inf:
            raise InputError(f"--weight-decay must not be negative, but is {self.weight_decay}.")
        if not self.features or not set(self.features) <= set(GROUP_NAMES):
            raise InputError(
                f"--features must be some of {', '.join(GROUP_NAMES)}, not "
                f"{' '.join(self.features) or 'nothing'}."
            )


class Past(NamedTuple):
    """What was learned before a round.

    Attributes:
        memory: what the learner put there last.
        networks: the last ones, none before round 0.
    """

    memory: Memory
    networks: Sequence[MergeNetwork]


class Lesson(NamedTuple):
    """What a round taught.

    Attributes:
        memory: what the learner will want to know in the next round.
        network: the one that explores next; all of a run share one standardisation.
        record: numbers for the log: `decisions` learned from, `loss`, and what else there is.
    """

    memory: Memory
    network: MergeNetwork
    record: dict[str, float]


class Learner(Protocol):
    """A way to learn a merge network from episodes."""

    @property
    def start_label(self) -> Label:
        """What the contacts of round 0 are worth."""
        ...

    @property
    def exploration(self) -> Exploration | None:
        """How episodes are played from round 1 on; None if there is no round 1."""
        ...

    @property
    def strict_exploration(self) -> Exploration | None:
        """How further episodes are played as the truth has it; None if the learner has none."""
        ...

    def learn(self, past: Past, played: list[Decisions], seed: int) -> Lesson:
        """Fit the next network.

        Args:
            past: of the rounds before; in round 0 there is none.
            played: in round 0 all contacts, shard by shard, later the round's episodes in key
                order; whatever is worth 0 is not known.
            seed: of whatever chance the learner needs.
        """
        ...
