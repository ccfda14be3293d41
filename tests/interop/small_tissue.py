from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

import envs
from envs.generator import VoronoiGenerator

IDS = (envs.ENVIRONMENT_ID, envs.MERGING_ID)

SMALL = VoronoiGenerator(side_vox=10, n_superpixels=20, n_neurons=4)
"""Ten to thirty steps an episode. Random policies earn 0.3 to 0.5 bit, perfect ones about 2.3."""

Act = Callable[[dict[str, npt.NDArray]], Any]
"""Chooses an action from an observation."""


def make_small(environment_id: str) -> gym.Env:
    return gym.make(environment_id, generator=SMALL)


def random_act(seed: int) -> Act:
    """Make a policy that draws from the allowed actions."""
    rng = np.random.default_rng(seed)
    return lambda observation: rng.choice(np.flatnonzero(observation["action_mask"]))


def mean_return(environment_id: str, act: Act, n_episodes: int = 40) -> float:
    """Play episodes that no training seed draws, none of the actions forbidden."""
    env = make_small(environment_id)
    total = 0.0
    for episode in range(n_episodes):
        observation, _ = env.reset(seed=10_000 + episode)
        is_over = False
        while not is_over:
            observation, reward, is_over, _, info = env.step(act(observation))
            assert not info["is_forbidden"]
            total += float(reward)
    return total / n_episodes
