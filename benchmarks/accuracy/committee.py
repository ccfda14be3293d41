"""Policies that were trained in different ways, as one."""

from __future__ import annotations

from dataclasses import dataclass

from agglo.cli import main as agglo
from agglo.policy_file import load_policy
from benchmarks.accuracy.learned import Trained, policy_numbers
from benchmarks.accuracy.trial import Numbers, Trial


@dataclass(frozen=True, slots=True)
class Committee:
    """A policy of `agglo committee`.

    Attributes:
        name: of its folder.
        members: what is joined; trained, or was, with the seed of the trial.
    """

    name: str
    members: tuple[Trained, ...]

    def __call__(self, trial: Trial) -> Numbers:
        """Train what is missing, join, and apply."""
        seconds = sum(member.train(trial) for member in self.members)
        out = trial.folder / self.name
        runs = [str(trial.folder / member.name) for member in self.members]
        agglo(["committee", "--policies", *runs, "--out", str(out), "--overwrite"])
        policy = load_policy(str(out), argument="--out")
        return {**policy_numbers(trial.test, policy.network, policy.threshold), "train_s": seconds}
