"""TorchRL's GymEnv plays the environment; the mask is the observation's, made bool for torch."""

# pyright: reportMissingImports=false, reportArgumentType=false
from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest

import envs
from tests.interop.small_tissue import IDS, SMALL, make_small, mean_return, random_act

pytest.importorskip("torchrl", reason="torchrl is not installed")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TorchRL's own, about TorchRL
    import torch
    from tensordict.nn import TensorDictModule
    from torch import nn
    from torchrl.collectors import Collector
    from torchrl.data import Unbounded
    from torchrl.envs import (
        ActionMask,
        Compose,
        DTypeCastTransform,
        GymEnv,
        ParallelEnv,
        SerialEnv,
        TransformedEnv,
        check_env_specs,
    )
    from torchrl.envs.gym_like import default_info_dict_reader
    from torchrl.modules import MaskedCategorical, ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

SEEN = ["candidates", "context"]


class ArrayInfo(default_info_dict_reader):
    """Reads information that is a plain number, which TorchRL's own reader does not."""

    def __call__(self, info: dict[str, Any], tensordict: Any) -> Any:
        arrays = {key: np.asarray(value) for key, value in info.items()}
        return super().__call__(arrays, tensordict)


class Network(nn.Module):
    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, n_outputs))

    def forward(self, candidates: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return self.layers(torch.cat([candidates.flatten(-2), context], -1))


def gym_env(environment_id: str) -> Any:
    env = GymEnv(environment_id, generator=SMALL, categorical_action_encoding=True)
    env.set_info_dict_reader(
        ArrayInfo(["is_forbidden"], spec={"is_forbidden": Unbounded((), dtype=torch.bool)})
    )
    return env


def masked(env: Any, *more: Any) -> Any:
    as_bool = DTypeCastTransform(torch.int8, torch.bool, in_keys=["action_mask"])
    return TransformedEnv(env, Compose(as_bool, *more))


def actor_and_critic(env: Any) -> tuple[Any, Any]:
    spec = env.observation_spec
    n_inputs = int(np.prod(spec["candidates"].shape[-2:])) + spec["context"].shape[-1]
    n_actions = env.action_spec.space.n
    logits = TensorDictModule(Network(n_inputs, n_actions), in_keys=SEEN, out_keys=["logits"])
    actor = ProbabilisticActor(
        logits,
        in_keys={"logits": "logits", "mask": "action_mask"},
        distribution_class=MaskedCategorical,
        spec=env.action_spec,
        return_log_prob=True,
    )
    return actor, ValueOperator(Network(n_inputs, 1), in_keys=SEEN)


def assert_allowed(steps: Any) -> None:
    mask = steps["action_mask"].bool()
    assert mask.gather(-1, steps["action"].unsqueeze(-1)).all()
    assert not mask.all()  # otherwise there was nothing to mask
    assert not steps["next", "is_forbidden"].bool().any()


@pytest.mark.parametrize("environment_id", IDS)
def test_spaces_and_specs_pass_through(environment_id: str) -> None:
    env, plain = gym_env(environment_id), make_small(environment_id)
    check_env_specs(env)
    space = plain.observation_space
    for name in space:  # pyright: ignore[reportGeneralTypeIssues]
        box, spec = space[name], env.observation_spec[name]  # pyright: ignore[reportIndexIssue]
        assert tuple(spec.shape) == box.shape
        np.testing.assert_array_equal(spec.space.low.numpy(), box.low, strict=True)
        np.testing.assert_array_equal(spec.space.high.numpy(), box.high, strict=True)
    assert env.action_spec.space.n == plain.action_space.n  # pyright: ignore
    env.set_seed(3)  # resets with the seed; what follows is the next episode
    plain.reset(seed=3)
    reset, (expected, _) = env.reset(), plain.reset()
    for name, array in expected.items():
        np.testing.assert_array_equal(reset[name].numpy(), array, strict=True)


@pytest.mark.parametrize("environment_id", IDS)
def test_the_action_mask_transform_rules_the_random_policy(environment_id: str) -> None:
    torch.manual_seed(0)
    env = TransformedEnv(gym_env(environment_id), ActionMask())  # takes the mask as it is, int8
    env.set_seed(0)
    assert_allowed(env.rollout(100, break_when_any_done=False))


@pytest.mark.parametrize("environment_id", IDS)
def test_it_learns_and_never_does_what_is_forbidden(environment_id: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    env = masked(SerialEnv(4, partial(gym_env, environment_id)), ActionMask())
    env.set_seed(0)
    actor, critic = actor_and_critic(env)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01)
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic)
    optimiser = torch.optim.Adam(loss.parameters(), 1e-3)
    collector = Collector(
        env,
        actor,
        frames_per_batch=256,
        total_frames=3072,
        auto_register_policy_transforms=True,
    )
    for steps in collector:
        assert_allowed(steps)
        with torch.no_grad():
            advantage(steps)
        flat = steps.reshape(-1)
        for _ in range(4):
            for part in torch.randperm(len(flat)).split(64):
                losses = loss(flat[part])
                total = sum(losses[f"loss_{name}"] for name in ("objective", "critic", "entropy"))
                optimiser.zero_grad()
                total.backward()  # pyright: ignore
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimiser.step()
    collector.shutdown()

    def act(observation: dict[str, Any]) -> int:
        seen = [torch.from_numpy(observation[name]) for name in SEEN]
        mask = torch.from_numpy(observation["action_mask"]).bool()
        with torch.no_grad():
            logits = network(*seen)
        return int(logits.masked_fill(~mask, -torch.inf).argmax())

    network = actor.get_submodule("module.0.module")
    assert mean_return(environment_id, act) > mean_return(environment_id, random_act(0))


def test_processes_see_what_one_process_sees() -> None:
    make = partial(gym_env, envs.ENVIRONMENT_ID)
    seen = []
    for batched in (SerialEnv, ParallelEnv):
        env = masked(batched(2, make))
        try:
            torch.manual_seed(1)
            env.set_seed(1)
            actor, _ = actor_and_critic(env)
            with torch.no_grad():
                steps = env.rollout(60, actor, break_when_any_done=False)
            assert_allowed(steps)
            seen.append(steps.to_tensordict())
        finally:
            env.close()
    for key in ("candidates", "action_mask", "context", "action", ("next", "reward")):
        torch.testing.assert_close(seen[0][key], seen[1][key], rtol=0, atol=0)
