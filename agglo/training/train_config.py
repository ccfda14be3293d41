"""What a training run depends on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agglo.training.exploration import Exploration
from agglo.training.learner import Learner, LearnerConfig
from agglo.training.learners import make_learner
from analysis.input_error import InputError


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What a training run depends on; two runs with equal configurations are equal bit for bit."""

    rounds: int = 8
    """on-policy rounds after the flat start"""
    episodes: int = 2
    """exploring episodes per shard and round"""
    strict_episodes: int = 0
    """further ones in which only what is right is carried out, as an expert would (aggregation)"""
    shard_vox: tuple[int, int, int] = (128, 128, 128)
    """wanted size of a shard (z, y, x); volumes are cut into equal parts near it"""
    scales: tuple[float, ...] = (2.0, 1.0, 0.5)
    """shards are cut at each of these multiples of --shard-vox, and all are learned from"""
    validation_shards: int = 0
    """shards kept out of training; if there are any, the stopping threshold is chosen on them"""
    choose_round: bool = False
    """the policy is that of the round of least VI on the validation shards, not of the last"""
    patience: int | None = None
    """stop after this many rounds that have not lowered the VI of the round chosen"""
    degraded_copies: int = 0
    """copies of every shard with a damaged boundary map that are learned from beside it"""
    noise: float = 0.5
    """standard deviation of the noise on the logit while exploring"""
    record_floor: float = -1.0
    """decisions are recorded down to this logit, below 0 without being carried out"""
    n_average: int = 6
    """the policy is the mean logit of this many last networks"""
    seed: int = 0
    """seed of exploration, initial weights and choice of validation shards"""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """which learner, and how it fits its network"""

    def __post_init__(self) -> None:
        for name in ("rounds", "episodes", "n_average"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise InputError(f"--{option} must be at least 1, not {getattr(self, name)}.")
        if self.strict_episodes < 0:
            raise InputError(f"--strict-episodes must not be negative, not {self.strict_episodes}.")
        if not self.scales or not all(0 < scale < np.inf for scale in self.scales):
            raise InputError(
                f"--scales must be one positive number or more, not "
                f"{' '.join(map(str, self.scales)) or 'nothing'}."
            )
        if self.choose_round and self.validation_shards < 2:
            raise InputError(
                f"--choose-round needs --validation-shards of at least 2, not "
                f"{self.validation_shards}."
            )
        if self.patience is not None and self.patience < 1:
            raise InputError(f"--patience must be at least 1, not {self.patience}.")
        if self.patience is not None and not self.choose_round:
            raise InputError("--patience needs --choose-round, which was not given.")
        if self.degraded_copies < 0:
            raise InputError(f"--degraded-copies must not be negative, not {self.degraded_copies}.")
        if not 0 <= self.noise < np.inf:
            raise InputError(f"--noise must not be negative, but is {self.noise}.")
        if not self.record_floor <= 0:
            raise InputError(f"--record-floor must not be positive, but is {self.record_floor}.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed must lie in 0..2^63 − 1, not {self.seed}.")

    def make_learner(self) -> Learner:
        """Make the learner that this run takes."""
        return make_learner(self.learner, self.noise, self.record_floor)

    def explorations(self, learner: Learner) -> tuple[Exploration, ...]:
        """Return how the episodes of a shard and round are played; none for the flat learner."""
        if learner.exploration is None:
            return ()
        own = (learner.exploration,) * self.episodes
        if learner.strict_exploration is None:
            return own
        return own + (learner.strict_exploration,) * self.strict_episodes

    @property
    def n_rounds(self) -> int:
        """Return how many rounds there are, the flat start included."""
        return 1 if self.make_learner().exploration is None else self.rounds + 1
