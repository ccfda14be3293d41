from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from envs.actions import MERGE
from envs.agglomeration_env import AgglomerationEnv, merging_env
from envs.dynamics import Dynamics, Transition
from envs.generator import GivenInstances
from envs.objective import OBJECTIVES, ObjectiveName, warping_of
from envs.prices import Prices
from envs.reward import ErrorReward
from tests.envs.random_tissue import cell_instance
from tests.envs.test_objective import error_from_scratch, problem_of


def test_the_reward_is_gain_less_cost() -> None:
    _, instance = cell_instance(0)
    dynamics = Dynamics()
    dynamics.reset(instance, "vi", Prices())
    transition = Transition(MERGE, (0, 1), 0.75, 0.5, False)
    assert ErrorReward()(dynamics, transition) == 0.25


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("has_stopped", [True, False])
def test_rewards_telescope(objective: ObjectiveName, has_stopped: bool) -> None:
    """To error(start) − error(end) − costs, whether the agent stops or nothing is left."""
    volume, _ = cell_instance(2)
    rng = np.random.default_rng(0)
    problem = problem_of(volume, rng.integers(0, 4, volume.superpixels.shape), rng)
    prices = Prices(merge=0.03, stop=0.2)
    env = merging_env(GivenInstances((problem.instance,)), reward=ErrorReward(objective, prices))
    observation, _ = env.reset(seed=0)
    rewards, is_over = [], False
    while not is_over:
        allowed = np.flatnonzero(observation["action_mask"][:-1])
        action = allowed[rng.integers(len(allowed))]
        if has_stopped and len(rewards) == 6:
            action = env.dynamics.n_actions - 1
        observation, reward, is_over, _, _ = env.step(action)
        rewards.append(reward)
    n_merges = len(env.dynamics.merges)
    clusters = env.dynamics.clusters()
    assert n_merges == (6 if has_stopped else problem.instance.graph.n_regions - 1)
    start, end = (
        error_from_scratch(objective, problem, parts)
        for parts in (np.arange(len(clusters)), clusters)
    )
    costs = 0.03 * n_merges + 0.2 * has_stopped
    assert sum(rewards) == pytest.approx(start - end - costs, abs=1e-9)
    if objective == "warping":
        assert rewards[0] == -0.03
        fall = warping_of(problem.instance, np.arange(len(clusters))) - end
        assert rewards[-1] == pytest.approx(fall - (0.2 if has_stopped else 0.03))


class SparseReward(NamedTuple):
    """Pay at the end, if less is wrong than a limit: a piece made elsewhere."""

    limit: float
    objective: ObjectiveName = "rand"
    prices: Prices = Prices()

    def __call__(self, dynamics: Dynamics, transition: Transition) -> float:
        return float(dynamics.is_over and dynamics.error < self.limit)


def test_a_reward_of_ones_own_is_paid() -> None:
    _, instance = cell_instance(2)
    for limit, paid in ((0.0, 0.0), (1.0, 1.0)):
        env = AgglomerationEnv(
            GivenInstances((instance,)), dynamics=Dynamics(), reward=SparseReward(limit)
        )
        _, info = env.reset(seed=0)
        assert 0 < info["error"] < 1
        rewards = [env.step(0)[1], env.step(env.dynamics.n_actions - 1)[1]]
        assert rewards == [0.0, paid]


def test_wrong_rewards_are_told() -> None:
    with pytest.raises(ValueError, match=r"objective must be one of vi, rand, .*, not 'f1'"):
        ErrorReward("f1")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="the price of query must be at least 0, not -1"):
        ErrorReward("vi", Prices(query=-1))
