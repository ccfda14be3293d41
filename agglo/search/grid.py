"""The candidates of a search: every combination of the values that its options were given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from agglo.training.learner import LearnerConfig
from agglo.training.learners import LEARNERS, require_learner
from agglo.training.train_config import TrainConfig
from analysis.input_error import InputError

_OF_LEARNER = frozenset(field.name for field in fields(LearnerConfig))


@dataclass(frozen=True, slots=True)
class Grid:
    """Values to try, several of each option of `agglo train`; without one its default is taken.

    An option that means nothing to a learner does not multiply that learner's candidates, nor does
    patience those that choose no round.
    """

    learners: tuple[str, ...] = (LearnerConfig().name,)
    """how the policy is learned, see docs/learners.md"""
    rounds: tuple[int, ...] = ()
    """on-policy rounds after the flat start"""
    episodes: tuple[int, ...] = ()
    """exploring episodes per shard and round"""
    strict_episodes: tuple[int, ...] = ()
    """further ones in which only what is right is carried out"""
    scales: tuple[str, ...] = ()
    """multiples of --shard-vox at which shards are cut, joined by +, as in 2+1+0.5"""
    validation_shards: tuple[int, ...] = ()
    """shards of its own that a training keeps out, beside those that the search keeps"""
    choose_round: tuple[bool, ...] = ()
    """whether the policy is that of the best round on those, not of the last"""
    patience: tuple[int, ...] = ()
    """rounds no better than the one chosen after which to stop"""
    degraded_copies: tuple[int, ...] = ()
    """copies of every shard with a damaged boundary map"""
    noise: tuple[float, ...] = ()
    """standard deviation of the noise on the logit while exploring"""
    record_floor: tuple[float, ...] = ()
    """logit down to which decisions are recorded"""
    n_average: tuple[int, ...] = ()
    """last networks whose mean logit is the policy"""
    features: tuple[str, ...] = ()
    """groups of features that the policy looks at, joined by +, as in boundary+grey"""
    balance_classes: tuple[bool, ...] = ()
    """whether good and bad merges weigh the same in the fit"""
    balance_volumes: tuple[bool, ...] = ()
    """whether training volumes weigh the same in the fit"""
    label: tuple[str, ...] = ()
    """what calls a merge good"""
    return_steps: tuple[int, ...] = ()
    """decisions over which rewards are summed"""
    hidden_1: tuple[int, ...] = ()
    """units of the first hidden layer"""
    hidden_2: tuple[int, ...] = ()
    """units of the second hidden layer"""
    learning_rate: tuple[float, ...] = ()
    """of AdamW"""
    weight_decay: tuple[float, ...] = ()
    """of AdamW"""
    batch: tuple[int, ...] = ()
    """decisions in a batch"""
    epochs: tuple[int, ...] = ()
    """passes over all decisions in every round"""

    def __post_init__(self) -> None:
        if not self.learners:
            raise InputError("--learners must name one learner or more.")
        for name in self.learners:
            if name not in LEARNERS:
                raise InputError(f"--learners must be of {', '.join(LEARNERS)}, not {name}.")
        for name in self.given:
            if not any(_takes(learner, name) for learner in self.learners):
                raise InputError(
                    f"--{_spoken(name, '-')} does not belong to --learners "
                    f"{' '.join(self.learners)}."
                )
        if self.patience and True not in self.choose_round:
            raise InputError("--patience needs --choose-round True, which was not given.")

    @property
    def given(self) -> dict[str, tuple[Any, ...]]:
        """The options that were given values, each value once."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: tuple(dict.fromkeys(several))
            for name, several in values.items()
            if several and name != "learners"
        }


class Candidate(NamedTuple):
    """One combination of values.

    Attributes:
        name: its learner and what tells it from the other candidates.
        config: the training, with seed 0.
    """

    name: str
    config: TrainConfig

    def with_seed(self, seed: int) -> TrainConfig:
        """Return the training with another seed."""
        return replace(self.config, seed=seed)


def candidates_of(grid: Grid, shard_vox: tuple[int, int, int]) -> list[Candidate]:
    """Return every combination of the values, learner by learner.

    Raises:
        InputError: a value that `agglo train` refuses.
    """
    return [
        candidate
        for learner in dict.fromkeys(grid.learners)
        for candidate in dict.fromkeys(_candidates_of(learner, grid, shard_vox))
    ]


def draw_candidates(candidates: list[Candidate], n: int, seed: int) -> list[Candidate]:
    """Draw candidates without replacement; they keep their order.

    Raises:
        InputError: there are fewer.
    """
    if not 1 <= n <= len(candidates):
        raise InputError(
            f"--samples must lie in 1..{len(candidates)}, the configurations of the grid, not {n}."
        )
    drawn = np.random.default_rng([seed, 0x6E1D]).choice(len(candidates), n, replace=False)
    return [candidates[i] for i in sorted(drawn.tolist())]


def _candidates_of(
    learner: str, grid: Grid, shard_vox: tuple[int, int, int]
) -> Iterator[Candidate]:
    """Yield the combinations of one learner, one that is the same with any patience repeatedly."""
    options = {name: values for name, values in grid.given.items() if _takes(learner, name)}
    for values in product(*options.values()):
        chosen = dict(zip(options, values, strict=True))
        if not chosen.get("choose_round"):
            chosen.pop("patience", None)
        varied = [
            f"{_spoken(n, ' ')} {value}" for n, value in chosen.items() if len(options[n]) > 1
        ]
        if "features" in chosen:
            chosen["features"] = tuple(chosen["features"].split("+"))
        if "scales" in chosen:
            chosen["scales"] = _numbers("--scales", chosen["scales"])
        own = {name: value for name, value in chosen.items() if name in _OF_LEARNER}
        others = {name: value for name, value in chosen.items() if name not in _OF_LEARNER}
        config = TrainConfig(
            **others, shard_vox=shard_vox, learner=LearnerConfig(name=learner, **own)
        )
        require_learner(config.learner, config)
        yield Candidate(", ".join([learner, *varied]), config)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    """Read numbers joined by +."""
    try:
        return tuple(float(word) for word in text.split("+"))
    except ValueError:
        raise InputError(f"{option} must be numbers joined by +, not {text}.") from None


def _takes(learner: str, option: str) -> bool:
    """Tell whether an option means something to a learner."""
    is_of_some = any(option in kind.options for kind in LEARNERS.values())
    return not is_of_some or option in LEARNERS[learner].options


def _spoken(name: str, join: str) -> str:
    return name.replace("_", join)
