"""Policy gradient: raise the expected reward of a policy that decides edge by edge by chance.

REINFORCE (Williams 1992) with a baseline for every decision. When an edge is ready, the policy
merges it with probability p = 1 / (1 + e^−f), f the network's logit, or leaves it. Merging earns
the bits g by which VI falls, leaving 0. The estimate of the gradient of the expected reward is

    Σ_t ∇ log π(a_t | edge t) · (R_t − p_t g_t),   R_t = r_t + … + r_{t+n−1},

summed over the decisions of an episode. p g is what the policy expects of the edge itself; it does
not depend on what was drawn, so it changes the estimate's variance and not its mean, whatever n.
With n = 1, the default, R_t is the reward of the decision alone and the mean is the gradient of the
expected reward with the states visited held fixed (γ = 0: for an agglomeration of nearly pure
superpixels the greedy policy is nearly the best, and later rewards are noise of a thousand
decisions). With n as long as an episode the mean is the gradient of the expected fall of VI.

Round 0 is flat classification, from whose weights the rounds go on. A round's episodes are gone
through in small steps, `epochs` times; from the second step on decisions count by how much more
probable they have become, up to a fifth more or less (the clipped ratio of Schulman et al. 2017),
and at the first the gradient is the one above. Advantages are divided by their root mean square,
which leaves directions as they are. The policy handed on merges where p ≥ ½.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from agglo.training.exploration import Decisions, Exploration
from agglo.training.learner import LearnerConfig, Lesson, Past
from agglo.training.network_fit import descend, logits_of
from agglo.training.sign_classification import classify, labelled
from envs.trial_rollout import Label

DEFAULT_STEPS = 1
MAX_CHANGE = 0.2
"""By how much the probability of a decision may rise or fall in a round and still count."""


class PolicyGradient:
    """Execution by chance; reward: fall of VI; no memory but the weights."""

    start_label: Label = "vi"
    strict_exploration = None

    def __init__(self, config: LearnerConfig, label: Label, noise: float, floor: float) -> None:
        self._config = config
        self._n_steps = config.return_steps or DEFAULT_STEPS
        self.exploration = Exploration("chance", label, 0.0, -np.inf)

    def learn(self, past: Past, played: list[Decisions], seed: int) -> Lesson:
        """Follow the gradient over this round's episodes; in round 0, classify the contacts."""
        if not past.networks:
            return classify(labelled(played, self._config), past.networks, self._config, seed)
        latest = past.networks[-1]
        features = np.concatenate([decisions.features for decisions in played])
        is_merged = np.concatenate([decisions.is_merged for decisions in played])
        logits = logits_of(latest, features)
        ends = np.cumsum([len(decisions.worths) for decisions in played])[:-1]
        advantages = np.concatenate(
            [
                advantages_of(decisions.worths, decisions.is_merged, part, self._n_steps)
                for decisions, part in zip(played, np.split(logits, ends), strict=True)
            ]
        )
        earned = [float(decisions.worths[decisions.is_merged].sum()) for decisions in played]
        size = float(np.sqrt(np.mean(advantages**2))) if len(advantages) else 0.0
        record = {
            "decisions": len(features),
            "loss": -float(np.mean(earned)),
            "advantage": size,
        }
        if size == 0.0:
            return Lesson({}, latest, record)
        before = torch.from_numpy(logits)
        signs = torch.from_numpy(np.where(is_merged, 1, -1).astype(np.float32))
        gains = torch.from_numpy((advantages / size).astype(np.float32))

        def loss_of(now: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
            return -surrogate(now, before[batch], signs[batch], gains[batch])

        return Lesson({}, descend(latest, features, loss_of, self._config, seed), record)


def advantages_of(
    worths: npt.NDArray[np.float64],
    is_merged: npt.NDArray[np.bool_],
    logits: npt.NDArray[np.float32],
    n_steps: int,
) -> npt.NDArray[np.float64]:
    """Return the rewards of n decisions from each on, less what was expected of the first.

    Args:
        worths: (D,) float64, bits that a merge wins, of an episode's decisions in order.
        is_merged: (D,) bool, what was drawn.
        logits: (D,) float32 it was drawn by.
        n_steps: decisions whose rewards count, n.
    """
    n = len(worths)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_merged, worths, 0.0))])
    at = np.arange(n)
    returns = sums[np.minimum(at + n_steps, n)] - sums[at]
    return returns - worths * expit(logits.astype(np.float64))


def surrogate(
    logits: torch.Tensor, before: torch.Tensor, signs: torch.Tensor, advantages: torch.Tensor
) -> torch.Tensor:
    """Return what is raised: the mean advantage, weighted by the clipped ratio of probabilities.

    Args:
        logits: (B,) of the network that is changed.
        before: (B,) of the network that drew.
        signs: (B,) 1 where it merged, −1 where it left.
        advantages: (B,).
    """
    log_probability = torch.nn.functional.logsigmoid
    ratio = torch.exp(log_probability(signs * logits) - log_probability(signs * before))
    clipped = ratio.clamp(1 - MAX_CHANGE, 1 + MAX_CHANGE)
    return torch.minimum(ratio * advantages, clipped * advantages).mean()
