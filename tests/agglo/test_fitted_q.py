from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from agglo.training.exploration import Decisions
from agglo.training.fitted_q import (
    FittedQ,
    n_step_returns,
    remembered,
    rescaled,
    targets_of,
    unscaled,
)
from agglo.training.learner import LearnerConfig, Memory, Past
from agglo.training.network_fit import logits_of
from tests.envs.random_tissue import random_network

modest = settings(max_examples=80, deadline=None)


def episode(seed: int, n_merges: int, n_refused: int) -> Decisions:
    rng = np.random.default_rng(seed)
    n = n_merges + n_refused
    worths = rng.normal(0, 0.01, n) * rng.integers(0, 4, n)
    features = rng.standard_normal((n, 41)).astype(np.float32)
    return Decisions(features, worths, np.arange(n) < n_merges)


def learnable(decisions: Decisions) -> Decisions:
    """Let rewards follow from a feature, over three orders of magnitude."""
    worths = 0.001 * np.exp(2 * decisions.features[:, 0].astype(np.float64))
    return decisions._replace(worths=np.where(decisions.features[:, 1] > 0, worths, -worths))


def brute_force(decisions: Decisions, q_of: dict[int, float], n_steps: int) -> list[float]:
    """Compute the targets of an episode by walking on from every decision.

    An edge that was refused ends its episode when it is merged. After the last merge the first
    refused edge is what could be done next.
    """
    n_merges = int(decisions.is_merged.sum())
    targets = []
    for t in range(len(decisions.worths)):
        total, at = float(decisions.worths[t]), t + 1
        if t < n_merges:
            for _ in range(n_steps - 1):
                if at >= n_merges:
                    at = -1
                    break
                total += float(decisions.worths[at])
                at += 1
            if 0 <= at < len(decisions.worths):
                total += max(0.0, q_of[at])
        targets.append(total)
    return targets


EPISODES = hs.lists(
    hs.tuples(hs.integers(0, 2**32 - 1), hs.integers(0, 7), hs.integers(0, 4)),
    min_size=1,
    max_size=3,
)


@modest
@given(EPISODES, hs.integers(1, 9), hs.integers(0, 100))
def test_targets_are_those_of_brute_force(
    drawn: list[tuple[int, int, int]], n_steps: int, network_seed: int
) -> None:
    """Over several remembered episodes, with the bootstrapped values of one network."""
    episodes = [episode(*each) for each in drawn]
    network = random_network(network_seed)
    memory: Memory = {"size": np.array(0.02)}
    for each in episodes:
        memory = remembered(memory, each, n_steps)
    expected = []
    for each in episodes:
        q = unscaled(logits_of(network, each.features), 0.02)
        expected += brute_force(each, dict(enumerate(q.tolist())), n_steps)
    np.testing.assert_allclose(
        unscaled(targets_of(memory, network), 0.02), expected, rtol=1e-4, atol=1e-8
    )
    np.testing.assert_array_equal(
        memory["is_known"], np.concatenate([each.worths for each in episodes]) != 0
    )


def test_returns_of_a_drawn_episode() -> None:
    """Four merges and one edge refused, two steps."""
    returns, successors = n_step_returns(np.array([1.0, 2.0, 4.0, 8.0, -16.0]), 4, 2)
    np.testing.assert_array_equal(returns, [3, 6, 12, 8, -16])
    np.testing.assert_array_equal(successors, [2, 3, 4, -1, -1])


def test_steps_beyond_the_end_sum_the_rest() -> None:
    """Undiscounted: the return of the first merge is all that the episode won."""
    rewards = np.array([0.5, -0.25, 0.125])
    returns, successors = n_step_returns(rewards, 3, 1000)
    np.testing.assert_array_equal(returns, [0.375, -0.125, 0.125])
    np.testing.assert_array_equal(successors, [-1, -1, -1])


@modest
@given(hs.lists(hs.floats(-3, 3, allow_subnormal=False), max_size=20), hs.floats(1e-6, 10))
def test_rescaling_keeps_sign_and_order_and_can_be_undone(values: list[float], size: float) -> None:
    wide = np.array(values)
    roots = rescaled(wide, size)
    np.testing.assert_array_equal(np.sign(roots), np.sign(wide))
    assert (np.diff(roots[np.argsort(wide)]) >= 0).all()
    np.testing.assert_allclose(unscaled(roots, size), wide, rtol=1e-9, atol=1e-300)


def test_the_first_round_regresses_rewards_and_forgets_them() -> None:
    learner = FittedQ(LearnerConfig(batch=32, epochs=60, weight_decay=0.0), "vi", 0.5, -1.0)
    contacts = [learnable(episode(1, 0, 200)), learnable(episode(2, 0, 150))]
    first = learner.learn(Past({}, []), contacts, 0)
    rewards = np.concatenate([each.worths for each in contacts])
    features = np.concatenate([each.features for each in contacts])
    is_known = rewards != 0
    assert list(first.memory) == ["size"]
    assert first.memory["size"] == pytest.approx(np.abs(rewards[is_known]).mean())
    assert first.record["decisions"] == is_known.sum()
    targets = rescaled(rewards[is_known], float(first.memory["size"]))
    fitted = logits_of(first.network, features[is_known])
    assert np.corrcoef(fitted, targets)[0, 1] > 0.9
    assert first.record["loss"] < 0.3 * first.record["target_variance"]
    second = learner.learn(Past(first.memory, [first.network]), [episode(3, 20, 5)], 1)
    third = learner.learn(Past(second.memory, [second.network]), [episode(4, 20, 5)], 2)
    assert len(second.memory["returns"]) == 25
    assert len(third.memory["returns"]) == 50
    assert third.memory["size"] == first.memory["size"]
    np.testing.assert_array_equal(third.network.mean, first.network.mean)
