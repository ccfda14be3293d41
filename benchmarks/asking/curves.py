"""Curves of error against what was asked for, and how much of it halves a distance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from envs.asking_rollout import AskingEpisode


class Run(NamedTuple):
    """Episodes of one rule at several levels or prices, all else equal; one asks nothing.

    Attributes:
        levels: (L,) level or price of each.
        spent: (L,) what was asked for, any order.
        vi: (L,) bits at the end.
        n_actions: (L,) questions or looks.
    """

    levels: npt.NDArray[np.float64]
    spent: npt.NDArray[np.float64]
    vi: npt.NDArray[np.float64]
    n_actions: npt.NDArray[np.int64]

    def at(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return VI (K,) at x (K,), linear between episodes, constant beyond the last."""
        order = np.argsort(self.spent, kind="stable")
        return np.interp(x, self.spent[order], self.vi[order])

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as lists."""
        return {name: array.tolist() for name, array in self._asdict().items()}


def sweep(
    levels: Sequence[float],
    play: Callable[[float], AskingEpisode],
    spent: Callable[[AskingEpisode], float],
    n_actions: Callable[[AskingEpisode], int],
) -> Run:
    """Play an episode at every level."""
    episodes = [play(level) for level in levels]
    return Run(
        np.array(levels, np.float64),
        np.array([spent(episode) for episode in episodes], np.float64),
        np.array([episode.error[1] for episode in episodes]),
        np.array([n_actions(episode) for episode in episodes]),
    )


def needed(runs: Sequence[Run], target: float, x: npt.NDArray[np.float64]) -> float | None:
    """Return the least x at which the mean VI of runs is down at a target; None where it never is.

    Args:
        runs: of one rule.
        target: bits.
        x: (K,) ascending, where the mean is looked at; linear between.
    """
    vi = np.mean([run.at(x) for run in runs], axis=0)
    reached = np.flatnonzero(vi <= target)
    if not len(reached):
        return None
    k = int(reached[0])
    if k == 0:
        return float(x[0])
    share = (vi[k - 1] - target) / (vi[k - 1] - vi[k])
    return float(x[k - 1] + share * (x[k] - x[k - 1]))


def of_policies(runs: Sequence[Run], n_policies: int) -> list[Sequence[Run]]:
    """Part runs, which come policy by policy, into those of each."""
    n = len(runs) // n_policies
    return [runs[k * n : (k + 1) * n] for k in range(n_policies)]


def lines_of(
    runs: dict[str, list[Run]], n_policies: int, x: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return rule → (policies, K) mean VI at x (K,)."""
    return {
        rule: np.array(
            [np.mean([run.at(x) for run in own], axis=0) for own in of_policies(part, n_policies)]
        )
        for rule, part in runs.items()
    }


def ratio(part: float | None, whole: float | None) -> float | None:
    """Return part / whole, None where either is not known or nothing is needed."""
    return None if part is None or not whole else part / whole
