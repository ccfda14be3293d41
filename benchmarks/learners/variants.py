"""Ways to train that are compared beside each other: options of `agglo train`, joined by +."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from agglo.training.learner import LearnerConfig
from agglo.training.learners import require_learner
from agglo.training.train_config import TrainConfig
from analysis.input_error import InputError

DEFAULT = "default"

_SWITCHES = ("choose_round", "balance_classes", "balance_volumes")
_NUMBERS = ("validation_shards", "patience")
_OF_LEARNER = frozenset(field.name for field in fields(LearnerConfig))


def varied(config: TrainConfig, variant: str) -> TrainConfig:
    """Return a training with further options.

    Args:
        config: without them.
        variant: "default", or options such as balance-classes or validation-shards=4, joined by +.

    Raises:
        InputError: an option is not one of those that are varied, or the training refuses it.
    """
    chosen: dict[str, Any] = {}
    for word in variant.split("+") if variant != DEFAULT else ():
        option, _, value = word.partition("=")
        name = option.replace("-", "_")
        if name in _SWITCHES and not value:
            chosen[name] = True
        elif name in _NUMBERS and value.isdecimal():
            chosen[name] = int(value)
        else:
            known = [*_SWITCHES, *(f"{number}=N" for number in _NUMBERS)]
            raise InputError(
                f"--variants must be {DEFAULT}, or some of {', '.join(known).replace('_', '-')} "
                f"joined by +, not {variant}."
            )
    own = {name: value for name, value in chosen.items() if name in _OF_LEARNER}
    others = {name: value for name, value in chosen.items() if name not in _OF_LEARNER}
    result = replace(config, learner=replace(config.learner, **own), **others)
    require_learner(result.learner, result)
    return result
