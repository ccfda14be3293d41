"""RLlib's action-masking module plays the environment in the form that it asks for."""

# pyright: reportMissingImports=false
from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation

from tests.interop.small_tissue import IDS, make_small, mean_return, random_act

pytest.importorskip("ray.rllib", reason="ray[rllib] is not installed", exc_type=ImportError)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # RLlib's own, about RLlib
    import ray
    import torch
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.callbacks.callbacks import RLlibCallback
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.examples.rl_modules.classes.action_masking_rlm import (
        ActionMaskingTorchRLModule,
    )
    from ray.tune.registry import register_env

N_ROUNDS = 8


def seen_space(space: Any) -> spaces.Dict:
    """Return the space of what the network sees: all but the mask."""
    return spaces.Dict({name: space[name] for name in ("candidates", "context")})


def for_rllib(env: gym.Env) -> gym.Env:
    """Give observations as `Dict(action_mask, observations)`, the latter in one row."""
    space: Any = env.observation_space
    seen = seen_space(space)

    def arranged(observation: dict[str, Any]) -> dict[str, Any]:
        row = spaces.flatten(seen, {name: observation[name] for name in seen})
        return {"action_mask": observation["action_mask"], "observations": row}

    return TransformObservation(
        env,
        arranged,
        spaces.Dict(
            {"action_mask": space["action_mask"], "observations": spaces.flatten_space(seen)}
        ),
    )


class StepLog(RLlibCallback):
    """Counts what was taken, and what could not have been."""

    def on_episode_step(self, *, episode: Any, metrics_logger: Any, **_: Any) -> None:
        mask = episode.get_observations(-2)["action_mask"]
        counts = {
            "n_logged": 1,
            "n_forbidden": int(episode.get_infos(-1)["is_forbidden"]),
            "n_against_mask": int(mask[episode.get_actions(-1)] == 0),
            "n_masked_out": int((mask == 0).sum()),
        }
        for name, count in counts.items():
            metrics_logger.log_value(name, count, reduce="sum")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def algorithm(environment_id: str, n_runners: int) -> Any:
    register_env(environment_id, lambda _: for_rllib(make_small(environment_id)))
    return (
        PPOConfig()
        .environment(environment_id)
        .env_runners(num_env_runners=n_runners, num_envs_per_env_runner=2)
        .callbacks(StepLog)
        .rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=ActionMaskingTorchRLModule,
                model_config={
                    "fcnet_hiddens": [64, 64],
                    "fcnet_activation": "tanh",
                    "vf_share_layers": False,
                },
            )
        )
        .training(
            train_batch_size_per_learner=512,
            minibatch_size=64,
            num_epochs=4,
            gamma=1.0,
            lambda_=0.95,
            lr=1e-3,
            grad_clip=0.5,
            use_kl_loss=False,
        )
        .debugging(seed=0)
        .build_algo()
    )


def assert_allowed(result: dict[str, Any]) -> None:
    sampled = result["env_runners"]
    assert sampled["n_logged"] >= 500
    assert sampled["n_masked_out"] > sampled["n_logged"]  # otherwise there was nothing to mask
    assert sampled["n_forbidden"] == 0
    assert sampled["n_against_mask"] == 0


@pytest.mark.parametrize("environment_id", IDS)
def test_the_arranged_observation_is_the_same_one(environment_id: str) -> None:
    env, plain = for_rllib(make_small(environment_id)), make_small(environment_id)
    space: Any = plain.observation_space
    assert env.action_space == plain.action_space
    observation, _ = env.reset(seed=2)
    expected, _ = plain.reset(seed=2)
    assert env.observation_space.contains(observation)
    np.testing.assert_array_equal(observation["action_mask"], expected["action_mask"], strict=True)
    back: Any = spaces.unflatten(seen_space(space), observation["observations"])
    for name, array in back.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium")
@pytest.mark.parametrize("environment_id", IDS)
def test_it_learns_and_never_does_what_is_forbidden(environment_id: str) -> None:
    torch.set_num_threads(1)
    learner = algorithm(environment_id, n_runners=0)
    try:
        module = learner.get_module()
        env = for_rllib(make_small(environment_id))
        assert module.observation_space == env.observation_space
        assert module.action_space == env.action_space
        for _ in range(N_ROUNDS):
            assert_allowed(learner.train())
        seen = seen_space(make_small(environment_id).observation_space)

        def act(observation: dict[str, Any]) -> int:
            row = spaces.flatten(seen, {name: observation[name] for name in seen})
            arrays = {"action_mask": observation["action_mask"], "observations": row}
            batch = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
            with torch.no_grad():
                out = module.forward_inference({Columns.OBS: batch})
            return int(out[Columns.ACTION_DIST_INPUTS][0].argmax())

        assert mean_return(environment_id, act) > mean_return(environment_id, random_act(0))
    finally:
        learner.stop()


@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium")
def test_an_env_runner_of_its_own_obeys_the_mask() -> None:
    learner = algorithm(IDS[0], n_runners=1)
    try:
        assert_allowed(learner.train())
    finally:
        learner.stop()
