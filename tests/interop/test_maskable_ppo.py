"""MaskablePPO of SB3-contrib plays the environment as it is: the mask is `action_masks()`."""

# pyright: reportMissingImports=false
from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import envs
from tests.interop.small_tissue import IDS, make_small, mean_return, random_act

pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")

import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import (
    get_action_masks,
    is_masking_supported,
)
from stable_baselines3.common.callbacks import (
    BaseCallback,
)
from stable_baselines3.common.env_checker import (
    check_env,
)
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
)


class MaskCounter(BaseCallback):
    """Counts what was taken, and what could not have been."""

    def __init__(self) -> None:
        super().__init__()
        self.n_steps = 0
        self.n_forbidden = 0
        self.n_masked_out = 0

    def _on_step(self) -> bool:
        infos: list[dict[str, Any]] = self.locals["infos"]
        masks, actions = self.locals["action_masks"], self.locals["actions"]
        assert masks[np.arange(len(actions)), actions].all()
        self.n_steps += len(infos)
        self.n_forbidden += sum(info["is_forbidden"] for info in infos)
        self.n_masked_out += int((~masks.astype(bool)).sum())
        return True


def learner(venv: VecEnv, seed: int) -> Any:
    torch.set_num_threads(1)
    return MaskablePPO(
        "MultiInputPolicy",
        venv,
        n_steps=64,
        batch_size=64,
        n_epochs=4,
        gamma=1.0,
        learning_rate=1e-3,
        seed=seed,
        device="cpu",
    )


@pytest.mark.parametrize("environment_id", IDS)
@pytest.mark.filterwarnings("ignore:Your observation candidates has an unconventional shape")
def test_its_checker_accepts_the_environment(environment_id: str) -> None:
    check_env(make_small(environment_id))


@pytest.mark.parametrize("environment_id", IDS)
def test_spaces_and_masks_pass_through(environment_id: str) -> None:
    env = make_small(environment_id)
    venv = DummyVecEnv([partial(make_small, environment_id)] * 2)
    assert venv.observation_space == env.observation_space
    assert venv.action_space == env.action_space
    assert is_masking_supported(venv)
    observation = venv.reset()
    assert isinstance(observation, dict)
    np.testing.assert_array_equal(get_action_masks(venv), observation["action_mask"])


@pytest.mark.parametrize("environment_id", IDS)
def test_it_learns_and_never_does_what_is_forbidden(environment_id: str) -> None:
    model = learner(DummyVecEnv([partial(make_small, environment_id)] * 4), seed=0)
    counter = MaskCounter()
    model.learn(4096, callback=counter)
    assert counter.n_steps == 4096
    assert counter.n_masked_out > 4096  # otherwise there was nothing to mask
    assert counter.n_forbidden == 0

    def act(observation: dict[str, Any]) -> Any:
        mask = observation["action_mask"]
        return model.predict(observation, action_masks=mask, deterministic=True)[0]

    assert mean_return(environment_id, act) > mean_return(environment_id, random_act(0))


def test_processes_see_what_one_process_sees() -> None:
    makers = [partial(make_small, envs.ENVIRONMENT_ID)] * 2
    together: Any = DummyVecEnv(makers)
    apart: Any = SubprocVecEnv(makers, start_method="spawn")
    try:
        for venv in (together, apart):
            venv.seed(5)
        seen = [venv.reset() for venv in (together, apart)]
        rng = np.random.default_rng(5)
        for _ in range(60):
            for name, array in seen[0].items():
                np.testing.assert_array_equal(array, seen[1][name])
            masks = get_action_masks(apart)
            np.testing.assert_array_equal(masks, seen[0]["action_mask"])
            actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
            seen = []
            for venv in (together, apart):
                observation, _, _, infos = venv.step(actions)
                assert not any(info["is_forbidden"] for info in infos)
                seen.append(observation)
        counter = MaskCounter()
        learner(apart, seed=1).learn(256, callback=counter)
        assert counter.n_steps == 256
        assert counter.n_forbidden == 0
    finally:
        apart.close()
