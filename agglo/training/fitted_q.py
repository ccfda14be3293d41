"""Fitted Q: regress the n-step return of what was executed.

Fitted Q iteration on a growing batch (Ernst, Geurts & Wehenkel 2005; Riedmiller 2005), with n-step
returns (Watkins 1989; Sutton & Barto 2018, chapter 7). An episode's rewards are the bits by which
VI falls, undiscounted. With r_t the reward of the t-th merge, a_t the edge it merged,

    target(t) = r_t + … + r_{t+n−1} + max(0, Q(s_{t+n}, a_{t+n})),

cut off where the episode ends: there nothing more is won. The bootstrapped value is the latest
network's Q of the edge that the episode decided n steps on, or 0, which is what stopping is worth,
if that is more. An edge that was refused, and in round 0 every contact, is taken as the last merge
of an episode: its target is its reward. Decisions of rounds from 1 on are kept, and their targets
computed anew with every network; of what older policies did in the n steps nothing is corrected.

Rewards span orders of magnitude, so the network learns q = sign(Q) (|Q| / m)^½, with m the mean
size of the rewards of round 0 (a value rescaling as in Pohlen et al. 2018). Its sign is that of Q,
and so is its order: the policy merges the edge of largest q as long as that is not below 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agglo.training.exploration import Decisions, Exploration
from agglo.training.learner import LearnerConfig, Lesson, Memory, Past
from agglo.training.network_fit import fit_regression, logits_of
from envs.feature_groups import is_looked_at
from envs.merge_network import MergeNetwork
from envs.trial_rollout import Label

DEFAULT_STEPS = 3


class FittedQ:
    """Permissive execution; target: n-step return in bits of VI; memory of episodes."""

    start_label: Label = "vi"
    strict_exploration = None

    def __init__(self, config: LearnerConfig, label: Label, noise: float, floor: float) -> None:
        self._config = config
        self._n_steps = config.return_steps or DEFAULT_STEPS
        self.exploration = Exploration("policy", label, noise, floor)

    def learn(self, past: Past, played: list[Decisions], seed: int) -> Lesson:
        """Regress the returns of this round's episodes and of those before."""
        if not past.networks:
            return self._start(played, seed)
        memory = past.memory
        for decisions in played:
            memory = remembered(memory, decisions, self._n_steps)
        latest = past.networks[-1]
        is_known = memory["is_known"]
        if not is_known.any():
            return Lesson(memory, latest, {"decisions": 0, "loss": 0.0})
        targets = targets_of(memory, latest)[is_known]
        return self._fitted(memory, memory["features"][is_known], targets, seed, latest)

    def _start(self, played: list[Decisions], seed: int) -> Lesson:
        """Regress the rewards of all contacts, each as if it ended its episode."""
        features = np.concatenate([decisions.features for decisions in played])
        rewards = np.concatenate([decisions.worths for decisions in played])
        is_known = rewards != 0
        size = np.abs(rewards[is_known]).mean()
        targets = rescaled(rewards[is_known], size)
        return self._fitted({"size": np.array(size)}, features[is_known], targets, seed, None)

    def _fitted(
        self,
        memory: Memory,
        features: npt.NDArray[np.float32],
        targets: npt.NDArray[np.float64],
        seed: int,
        like: MergeNetwork | None,
    ) -> Lesson:
        """Fit the rescaled targets."""
        y = targets.astype(np.float32)
        looked_at = is_looked_at(self._config.features, features.shape[1])
        network = fit_regression(features, y, self._config, seed, like=like, looked_at=looked_at)
        loss = float(np.mean((logits_of(network, features) - y) ** 2))
        record = {"decisions": len(y), "loss": loss, "target_variance": float(y.var())}
        return Lesson(memory, network, record)


def rescaled(values: npt.NDArray[np.float64], size: float) -> npt.NDArray[np.float64]:
    """Return the signed root of values in units of a size."""
    return np.sign(values) * np.sqrt(np.abs(values) / size)


def unscaled(roots: npt.NDArray[np.floating], size: float) -> npt.NDArray[np.float64]:
    """Return the values whose signed roots are given."""
    wide = roots.astype(np.float64)
    return np.sign(wide) * wide**2 * size


def n_step_returns(
    rewards: npt.NDArray[np.float64], n_merges: int, n_steps: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Sum rewards over n steps and say which decision the bootstrapped value is that of.

    Args:
        rewards: (D,) float64 of an episode's merges and then of the edges refused in its last
            state, each counted as if it were merged.
        n_merges: how many of them are merges.
        n_steps: rewards summed, n.

    Returns:
        the sums (D,) and the places (D,) of the decisions n steps on, −1 where the episode is over.
    """
    n = len(rewards)
    sums = np.concatenate([[0.0], np.cumsum(rewards[:n_merges])])
    at = np.arange(n_merges)
    end = np.minimum(at + n_steps, n_merges)
    returns = rewards.copy()
    returns[:n_merges] = sums[end] - sums[at]
    successors = np.full(n, -1, np.int64)
    # After the last merge the best of what was refused is what could be done next.
    has_next = (at + n_steps <= n_merges) & (at + n_steps < n)
    successors[:n_merges] = np.where(has_next, at + n_steps, -1)
    return returns, successors


def remembered(memory: Memory, decisions: Decisions, n_steps: int) -> Memory:
    """Append an episode to the memory; successors are places among all that is remembered."""
    returns, successors = n_step_returns(decisions.worths, int(decisions.is_merged.sum()), n_steps)
    n_before = len(memory["returns"]) if "returns" in memory else 0
    episode = {
        "features": decisions.features,
        "returns": returns,
        "successors": np.where(successors < 0, -1, successors + n_before),
        "is_known": decisions.worths != 0,
    }
    if not n_before:
        return {**memory, **episode}
    return {**memory, **{name: np.concatenate([memory[name], episode[name]]) for name in episode}}


def targets_of(memory: Memory, network: MergeNetwork) -> npt.NDArray[np.float64]:
    """Return the rescaled targets (D,) of all decisions, with a network's bootstrapped values."""
    size = float(memory["size"])
    successors = memory["successors"]
    targets = memory["returns"].copy()
    has_next = successors >= 0
    values = unscaled(logits_of(network, memory["features"][successors[has_next]]), size)
    targets[has_next] += np.maximum(values, 0.0)
    return rescaled(targets, size)
