"""Steps of the environments a second, beside those of CartPole in the same run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

import envs

CART_POLE = "CartPole-v1"


@dataclass(frozen=True, slots=True)
class EnvironmentSpeed:
    """What one environment did in a CPU second.

    Attributes:
        environment: its id.
        n_steps: taken in a run.
        steps_per_s: steps in a CPU second, without resets.
        reset_ms: CPU milliseconds of a reset; the instance of an episode is drawn in it.
    """

    environment: str
    n_steps: int
    steps_per_s: float
    reset_ms: float


def race_environments(n_steps: int = 5000, n_runs: int = 5) -> list[EnvironmentSpeed]:
    """Step both environments and CartPole in turn, each as `gymnasium.make` makes it.

    Actions are drawn beforehand, uniformly from those that the mask allows, so that only the
    environment is timed. The least CPU time of the runs counts.

    Args:
        n_steps: at least how many steps a run takes; episodes are played to their end.
        n_runs: how many times all are run.
    """
    names = (envs.ENVIRONMENT_ID, envs.MERGING_ID, CART_POLE)
    made = [gym.make(name) for name in names]
    scripts = [_draw_episodes(env, n_steps) for env in made]
    stepping, resetting = ([float("inf")] * len(names) for _ in range(2))
    for _ in range(n_runs):
        for i, (env, script) in enumerate(zip(made, scripts, strict=True)):
            step_s, reset_s = _replay(env, script)
            stepping[i], resetting[i] = min(stepping[i], step_s), min(resetting[i], reset_s)
    counts = [sum(map(len, script)) for script in scripts]
    return [
        EnvironmentSpeed(name, n, n / step_s, 1e3 * reset_s / len(script))
        for name, n, step_s, reset_s, script in zip(
            names, counts, stepping, resetting, scripts, strict=True
        )
    ]


def _draw_episodes(env: gym.Env[Any, Any], n_steps: int) -> list[list[int]]:
    """Play at random and return the actions of every episode; the i-th is of seed i."""
    rng = np.random.default_rng(0)
    script: list[list[int]] = []
    while sum(map(len, script)) < n_steps:
        _, info = env.reset(seed=len(script))
        actions: list[int] = []
        is_over = False
        while not is_over:
            mask = info.get("action_mask")
            allowed = [0, 1] if mask is None else np.flatnonzero(mask[:-1])  # all but stop
            actions.append(int(rng.choice(allowed)))
            _, _, is_terminated, is_truncated, info = env.step(actions[-1])
            is_over = is_terminated or is_truncated
        script.append(actions)
    return script


def _replay(env: gym.Env[Any, Any], script: list[list[int]]) -> tuple[float, float]:
    """Play the same episodes again; return the CPU seconds of steps and of resets."""
    step_s = reset_s = 0.0
    for seed, actions in enumerate(script):
        before = time.process_time()
        env.reset(seed=seed)
        start = time.process_time()
        for action in actions:
            env.step(action)
        step_s += time.process_time() - start
        reset_s += start - before
    return step_s, reset_s
