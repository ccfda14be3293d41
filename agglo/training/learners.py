"""The learners by name, and which options belong to which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

from agglo.training.aggregation import Aggregation
from agglo.training.fitted_q import FittedQ
from agglo.training.flat import Flat
from agglo.training.gala import Gala
from agglo.training.lash import Lash
from agglo.training.learner import Learner, LearnerConfig
from agglo.training.policy_gradient import PolicyGradient
from analysis.input_error import InputError
from envs.trial_rollout import Label


class LearnerKind(NamedTuple):
    """A learner by its name.

    Attributes:
        make: of its configuration, label, noise on the logit and logit down to which it records.
        labels: that it can take, its own first.
        options: fields of the configurations that not every learner takes, but this one.
    """

    make: Callable[[LearnerConfig, Label, float, float], Learner]
    labels: tuple[Label, ...]
    options: frozenset[str]


_ROUNDS = frozenset({"rounds", "episodes", "n_average", "choose_round", "patience"})
_SIGNS = frozenset({"label", "balance_classes", "balance_volumes"})
"""What belongs to those that classify decisions in every round."""

LEARNERS: dict[str, LearnerKind] = {
    "aggregation": LearnerKind(
        Aggregation,
        ("vi", "rand"),
        _ROUNDS | _SIGNS | {"noise", "record_floor", "strict_episodes"},
    ),
    "lash": LearnerKind(Lash, ("rand", "vi"), _ROUNDS | _SIGNS | {"noise", "record_floor"}),
    "gala": LearnerKind(Gala, ("majority", "vi", "rand"), _ROUNDS | _SIGNS | {"noise"}),
    "flat": LearnerKind(Flat, ("vi", "rand", "majority"), _SIGNS),
    "fitted-q": LearnerKind(FittedQ, ("vi",), _ROUNDS | {"noise", "record_floor", "return_steps"}),
    "policy-gradient": LearnerKind(PolicyGradient, ("vi",), _ROUNDS | {"return_steps"}),
}


def make_learner(config: LearnerConfig, noise: float, floor: float) -> Learner:
    """Make the learner that a configuration names.

    Args:
        config: with the learner's name.
        noise: standard deviation of the noise on the logit while exploring.
        floor: logit down to which decisions are recorded.
    """
    kind = LEARNERS[config.name]
    label = kind.labels[0 if config.label is None else kind.labels.index(config.label)]
    return kind.make(config, label, noise, floor)


def require_learner(config: LearnerConfig, run: Any) -> None:
    """Refuse a learner or a label that is none, and options that mean nothing to the learner.

    Args:
        config: with the learner's name.
        run: dataclass of the run, of whose fields some mean nothing to some learners.

    Raises:
        InputError: naming the first of them.
    """
    name = config.name
    if name not in LEARNERS:
        raise InputError(f"--learner must be one of {', '.join(LEARNERS)}, not {name}.")
    kind = LEARNERS[name]
    of_some = frozenset[str]().union(*(other.options for other in LEARNERS.values()))
    for part in (run, config):
        for field in fields(part):
            is_foreign = field.name in of_some and field.name not in kind.options
            if is_foreign and getattr(part, field.name) != field.default:
                raise InputError(
                    f"--{field.name.replace('_', '-')} does not belong to --learner {name}, but to "
                    f"{', '.join(n for n, k in LEARNERS.items() if field.name in k.options)}."
                )
    if config.label is not None and config.label not in kind.labels:
        raise InputError(
            f"--label must be one of {', '.join(kind.labels)} for --learner {name}, "
            f"not {config.label}."
        )
    if config.return_steps is not None and config.return_steps < 1:
        raise InputError(f"--return-steps must be at least 1, not {config.return_steps}.")
