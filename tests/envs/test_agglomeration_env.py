from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as hs

import envs
from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.segmentation_scores import score_segmentation
from envs.actions import MERGE
from envs.agglomeration_env import AgglomerationEnv, merging_env
from envs.confluent_rule import start_state
from envs.dynamics import Dynamics, Transition
from envs.features import N_FEATURES, N_SHAPE_FEATURES
from envs.generator import GivenInstances, VoronoiGenerator
from envs.human import SimulatedHuman
from envs.instance import Instance
from envs.objective import OBJECTIVES, ObjectiveName
from envs.prices import Prices
from envs.rendering import SIDE_PX
from envs.reward import ErrorReward
from envs.rollout import play_episode
from envs.scorers import MeanBoundary, scorer_of
from envs.truth_rows import NO_TRUTH, truth_table
from tests.envs.random_tissue import (
    SEEDS,
    Volume,
    cell_instance,
    constant_network,
    random_labels,
    random_network,
    volumes,
)
from tests.envs.test_actions import draw_instance
from tests.envs.test_objective import error_from_scratch, problems

modest = settings(max_examples=30, deadline=None)
SMALL = VoronoiGenerator(side_vox=8, n_superpixels=12, n_neurons=3)
IDS = (envs.ENVIRONMENT_ID, envs.MERGING_ID)
Step = tuple[Any, float, bool, dict[str, Any]]


def env_of(instance: Instance, **pieces: Any) -> AgglomerationEnv:
    return merging_env(GivenInstances((instance,)), **pieces)


def random_steps(env: AgglomerationEnv, seed: int, n_most: int = 10**6) -> list[Step]:
    """Reset and take random allowed actions, the first step included with reward 0."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    steps: list[Step] = [(observation, 0.0, False, info)]
    is_over = False
    while not is_over and len(steps) <= n_most:
        allowed = np.flatnonzero(observation["action_mask"][:-1])
        action = rng.choice(allowed) if len(allowed) else env.dynamics.n_actions - 1
        observation, reward, is_over, is_cut, info = env.step(action)
        assert not is_cut
        steps.append((observation, reward, is_over, info))
    return steps


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_gymnasium_has_nothing_to_say(name: str, render_mode: str | None) -> None:
    """Warnings are errors here; the check makes and draws the environment in all its modes."""
    env = gym.make(name, generator=SMALL, render_mode=render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert isinstance(env.unwrapped, AgglomerationEnv)


@pytest.mark.parametrize("objective", OBJECTIVES)
@modest
@given(problem=problems(), seed=SEEDS, n_most=hs.integers(1, 30))
def test_rewards_telescope(objective: ObjectiveName, problem: Any, seed: int, n_most: int) -> None:
    """To error(start) − error(end) − costs: random graphs and actions, a human often wrong."""
    instance = problem.instance
    volume = Volume(problem.superpixels, *2 * [instance.volume.image])
    prices = Prices(merge=0.125, query=0.25, reimage=4.0, stop=0.5)
    costs = 0.0

    def tell(dynamics: Dynamics, transition: Transition | None) -> dict[str, Any]:
        nonlocal costs
        costs += 0.0 if transition is None else transition.cost
        return {}

    env = AgglomerationEnv(
        GivenInstances((instance._replace(clear=draw_instance(volume, seed).clear),)),
        dynamics=Dynamics(n_candidates=3, human=SimulatedHuman(0.5), has_microscope=True),
        reward=ErrorReward(objective, prices),
        information=tell,
    )
    steps = random_steps(env, seed, n_most)
    total = sum(reward for _, reward, _, _ in steps)
    if not steps[-1][2]:
        total += env.step(env.dynamics.n_actions - 1)[1]
    clusters = env.dynamics.clusters()
    start, end = (
        error_from_scratch(objective, problem, parts)
        for parts in (np.arange(len(clusters)), clusters)
    )
    assert total == pytest.approx(start - end - costs, abs=1e-9)


@pytest.mark.parametrize("name", IDS)
def test_observations_lie_in_their_space_until_the_end(name: str) -> None:
    env = gym.make(name, generator=SMALL).unwrapped
    assert isinstance(env, AgglomerationEnv)
    for seed in range(3):
        for observation, reward, _, info in random_steps(env, seed):
            assert env.observation_space.contains(observation)
            assert isinstance(reward, float)
            np.testing.assert_array_equal(info["action_mask"], observation["action_mask"])
            assert info["action_mask"].dtype == np.int8
        np.testing.assert_array_equal(env.action_masks(), info["action_mask"].astype(np.bool_))


@modest
@given(
    volumes(max_side=5, max_regions=12), SEEDS, hs.floats(0, 1), hs.booleans(), hs.integers(1, 6)
)
def test_best_candidate_first_is_the_compiled_episode(
    volume: Volume, seed: int, share: float, is_vi: bool, n_candidates: int
) -> None:
    """Take action 0 while its key reaches the threshold, then refuse down the queue."""
    graph = volume.graph()
    labels = np.maximum(random_labels(seed, volume.superpixels.shape, 3), 1)
    truth = truth_table(graph.ids, volume.superpixels, labels)
    network = random_network(seed) if seed % 4 else constant_network(0.5)
    keys = start_state(graph, scorer_of(network)).key
    threshold = float(np.quantile(keys, share)) if len(keys) else 0.0
    episode = play_episode(graph, network, truth=truth, threshold=threshold, record_floor=-np.inf)
    env = env_of(
        Instance(graph, truth),
        dynamics=Dynamics(network, n_candidates=n_candidates),
        reward=ErrorReward("vi" if is_vi else "rand"),
    )
    observation, info = env.reset(seed=seed)
    start = info["error"]
    gains = episode.gains_vi if is_vi else episode.gains_rand
    for k, height in enumerate(episode.heights):
        assert observation["candidates"][0, -2] == observation["context"][2] == np.float32(height)
        np.testing.assert_array_equal(observation["candidates"][0, :-2], episode.decisions[k])
        observation, reward, is_over, is_cut, info = env.step(0)
        assert reward == pytest.approx(gains[k], abs=1e-12)
        assert not is_cut
        assert is_over == (not observation["action_mask"][0])
    if observation["action_mask"][0]:
        assert observation["candidates"][0, -2] < threshold
    if len(episode.decisions) > len(episode.heights):
        np.testing.assert_array_equal(
            observation["candidates"][0, :-2], episode.decisions[len(episode.heights)]
        )
    assert info["n_regions"] == graph.n_regions - len(episode.merges)
    ends = episode.vi if is_vi else 1 - episode.rand
    assert (start, info["error"]) == pytest.approx(tuple(ends), abs=1e-9)


def test_playing_to_the_end_is_the_compiled_episode_on_tissue() -> None:
    graph, truth, *_ = VoronoiGenerator()(np.random.default_rng(4))
    network = random_network(2, n_features=N_SHAPE_FEATURES, n_members=2)
    episode = play_episode(graph, network, truth=truth, threshold=-np.inf, record_floor=-np.inf)
    env = env_of(Instance(graph, truth), dynamics=Dynamics(network))
    observation, _ = env.reset()
    is_over = False
    seen, rewards = [], []
    while not is_over:
        seen.append(observation["candidates"][0, :-2])
        observation, reward, is_over, _, info = env.step(0)
        rewards.append(reward)
    np.testing.assert_array_equal(seen, episode.decisions)
    np.testing.assert_allclose(rewards, episode.gains_vi, rtol=0, atol=1e-12)
    assert info["n_regions"] == 1


def test_errors_are_the_scores_of_the_segmentation() -> None:
    volume, (graph, *_) = cell_instance(2)
    labels = random_labels(2, volume.superpixels.shape, 4)
    instance = Instance(graph, truth_table(graph.ids, volume.superpixels, labels))
    for objective in ("vi", "rand"):
        steps = random_steps(env_of(instance, reward=ErrorReward(objective)), 0)
        assert steps[-1][2]
        assert steps[-1][3]["n_regions"] == 1
        for (*_, info), segments in (
            (steps[0], volume.superpixels),
            (steps[-1], np.ones_like(labels)),
        ):
            scores = score_segmentation(contingency_table(segments, labels))
            expected = scores.vi if objective == "vi" else 1 - scores.rand_index
            assert info["error"] == pytest.approx(expected, abs=1e-9)


def test_context_and_padding() -> None:
    _, instance = cell_instance(5, side=6, n_cells=6)
    network = random_network(0)
    env = env_of(instance, dynamics=Dynamics(network, n_candidates=50))
    observation, info = env.reset()
    n_edges, n_regions = instance.graph.n_edges, instance.graph.n_regions
    keys = start_state(instance.graph, scorer_of(network)).key
    assert observation["context"].tolist() == pytest.approx(
        [1.0, n_edges / 50, keys.max(), np.log(n_regions)], rel=1e-6
    )
    assert observation["candidates"].shape == (50, N_FEATURES + 2)
    assert observation["candidates"][:n_edges].any(1).all()
    assert not observation["candidates"][n_edges:].any()
    assert observation["action_mask"].tolist() == n_edges * [1] + (50 - n_edges) * [0] + [1]
    np.testing.assert_array_equal(env.action_masks(), observation["action_mask"].astype(bool))
    assert info["n_regions"] == n_regions
    observation, *_ = env.step(1)
    assert observation["context"][0] == np.float32((n_regions - 1) / n_regions)
    assert observation["context"][3] == np.float32(np.log(n_regions - 1))


def test_any_candidate_can_be_merged() -> None:
    """Action k merges the k-th of the queue, whose features row k shows."""
    _, (graph, truth, *_) = cell_instance(6)
    network = random_network(4)
    keys = start_state(graph, scorer_of(network)).key
    order = np.lexsort((np.arange(graph.n_edges), -keys))
    for choice in (0, 1, 3, 7):
        env = env_of(Instance(graph, truth), dynamics=Dynamics(network, n_candidates=8))
        observation, _ = env.reset()
        u, v = graph.edges[order[choice]]
        sizes = sorted(graph.regions[[u, v], 0])
        log_sizes = [N_FEATURES - 25, N_FEATURES - 16]
        shown = np.exp(observation["candidates"][choice, log_sizes])
        np.testing.assert_allclose(shown, sizes, rtol=1e-5)
        before = merged_counts(instance_table(graph.n_regions, truth), None)
        after = merged_counts(instance_table(graph.n_regions, truth), (u, v))
        reward = env.step(choice)[1]
        assert reward == pytest.approx(vi_of(before) - vi_of(after), abs=1e-9)


def instance_table(n_regions: int, truth: Any) -> npt.NDArray[np.float64]:
    table = np.zeros((n_regions, truth.labels.max() + 1))
    np.add.at(table, (truth.rows, truth.labels), truth.counts)
    return table


def merged_counts(
    table: npt.NDArray[np.float64], pair: tuple[int, int] | None
) -> npt.NDArray[np.float64]:
    if pair is not None:
        table[pair[0]] += table[pair[1]]
        table[pair[1]] = 0
    return table


def vi_of(table: npt.NDArray[np.float64]) -> float:
    p = table / table.sum()

    def entropy(q: npt.NDArray[np.float64]) -> float:
        return float(-(q[q > 0] * np.log2(q[q > 0])).sum())

    return 2 * entropy(p) - entropy(p.sum(0)) - entropy(p.sum(1))


def test_observations_share_no_memory() -> None:
    env = AgglomerationEnv(SMALL)
    steps = random_steps(env, 0, 4)
    arrays = [
        a for observation, *_, info in steps for a in (*observation.values(), info["action_mask"])
    ]
    for i, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[:i])
    kept = [{name: a.copy() for name, a in observation.items()} for observation, *_ in steps]
    random_steps(env, 1)
    for (observation, *_), before in zip(steps, kept, strict=True):
        for name, array in before.items():
            np.testing.assert_array_equal(observation[name], array)
    masks = env.action_masks()
    masks[:] = True
    assert not env.action_masks().all()


def arrays_of(piece: Any) -> list[npt.NDArray]:
    if isinstance(piece, tuple):
        return [array for part in piece for array in arrays_of(part)]
    return [piece] if isinstance(piece, np.ndarray) else []


def test_two_environments_share_no_memory() -> None:
    """Although they were given the same pieces, and play on the same instance."""
    _, instance = cell_instance(3)
    dynamics = Dynamics(random_network(0), human=SimulatedHuman(0.5))
    one, two = (AgglomerationEnv(GivenInstances((instance,)), dynamics=dynamics) for _ in range(2))
    expected = [step[1] for step in random_steps(two, 5)]
    one.reset(seed=5)
    two.reset(seed=5)
    for array in arrays_of(one.dynamics.process):
        if array.size:
            assert not any(np.shares_memory(array, a) for a in arrays_of(two.dynamics.process))
    random_steps(one, 7)
    assert [step[1] for step in random_steps(two, 5)] == expected
    assert dynamics.is_over


def test_a_copy_of_an_environment_looks_ahead() -> None:
    env = AgglomerationEnv(SMALL)
    env.reset(seed=0)
    env.step(0)
    ahead = copy.deepcopy(env)
    is_over = False
    while not is_over:
        is_over = ahead.step(int(np.flatnonzero(ahead.action_masks())[0]))[2]
    observation, *_ = env.step(0)
    assert observation["context"][0] > ahead.observation(ahead.dynamics)["context"][0]


def test_episodes_of_an_instance_do_not_wear_it_out() -> None:
    _, instance = cell_instance(3)
    env = env_of(instance)
    first, second = random_steps(env, 5), random_steps(env, 5)
    assert [step[1] for step in first] == [step[1] for step in second]


@pytest.mark.parametrize("seed", [0, 17])
def test_same_seed_same_episode(seed: int) -> None:
    one, two = AgglomerationEnv(SMALL), AgglomerationEnv(SMALL)
    random_steps(two, seed + 1)
    for first, second in zip(random_steps(one, seed), random_steps(two, seed), strict=True):
        for name, array in first[0].items():
            np.testing.assert_array_equal(second[0][name], array)
        assert first[1:3] == second[1:3]
    different = random_steps(one, seed + 2)
    assert [s[1] for s in different] != [s[1] for s in random_steps(two, seed)]
    one.reset(seed=seed)
    two.reset(seed=seed)
    later, other = one.reset()[0], two.reset()[0]  # without a seed: on from there
    np.testing.assert_array_equal(later["candidates"], other["candidates"])
    assert (later["candidates"] != one.reset(seed=seed)[0]["candidates"]).any()


def test_forbidden_actions_change_nothing() -> None:
    _, instance = cell_instance(5, side=6, n_cells=6)
    env = env_of(instance, dynamics=Dynamics(n_candidates=50))
    before, info = env.reset()
    assert info["is_forbidden"] is False
    for action in (instance.graph.n_edges, 49, -1, 51, 10**6):
        after, reward, is_over, is_cut, info = env.step(action)
        assert (reward, is_over, is_cut, info["is_forbidden"]) == (0.0, False, False, True)
        for name, array in before.items():
            np.testing.assert_array_equal(after[name], array)
    *_, info = env.step(0)
    assert info["is_forbidden"] is False


def test_stop_ends_the_episode_at_its_price() -> None:
    env = merging_env(
        SMALL, dynamics=Dynamics(n_candidates=3), reward=ErrorReward("vi", Prices(stop=0.25))
    )
    with pytest.raises(gym.error.ResetNeeded, match="never began"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    observation, reward, is_over, is_cut, info = env.step(np.int64(3))
    assert (reward, is_over, is_cut, info["is_forbidden"]) == (-0.25, True, False, False)
    assert observation["action_mask"][-1] == 1
    for action in (0, 3):
        with pytest.raises(gym.error.ResetNeeded, match="the episode is over"):
            env.step(action)
    env.reset()
    env.step(0)


def test_a_single_region_can_only_stop() -> None:
    generator = VoronoiGenerator(side_vox=4, n_superpixels=1, n_neurons=1)
    env = merging_env(generator, dynamics=Dynamics(n_candidates=3), render_mode="ansi")
    observation, info = env.reset(seed=0)
    assert observation["action_mask"].tolist() == [0, 0, 0, 1]
    assert not observation["candidates"].any()
    assert observation["context"].tolist() == [1, 0, 0, 0]
    assert (info["error"], info["n_regions"]) == (0, 1)
    assert "1 of 1 regions left" in str(env.render())
    *_, is_over, _, info = env.step(0)
    assert (is_over, info["is_forbidden"]) == (False, True)
    *_, is_over, _, info = env.step(3)
    assert (is_over, info["is_forbidden"]) == (True, False)


def test_without_truth_nothing_is_gained() -> None:
    _, (graph, *_) = cell_instance(3)
    steps = random_steps(env_of(Instance(graph, NO_TRUTH)), 0)
    assert len(steps) == graph.n_regions
    assert not any(reward for _, reward, _, _ in steps)


def test_a_line_says_where_the_episode_stands() -> None:
    _, instance = cell_instance(3, side=6, n_cells=6)
    env = env_of(instance, render_mode="ansi", dynamics=Dynamics(n_candidates=2))
    with pytest.raises(gym.error.ResetNeeded, match="no episode ever began"):
        env.render()
    env.reset()
    env.step(0)
    observation, *_, info = env.step(1)
    n = instance.graph.n_regions
    assert env.render() == (
        f"2 merges, {n - 2} of {n} regions left, vi error {info['error']:.4f}, 2 candidates, "
        f"best key {observation['context'][2]:.4f}"
    )
    assert env_of(instance).render() is None


def test_pictures_are_of_the_present_instance() -> None:
    env = AgglomerationEnv(SMALL, render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded, match="no episode ever began"):
        env.render()
    pictures = []
    for seed in (0, 1, 0):
        env.reset(seed=seed)
        pictures.append(env.render())
        env.step(0)
        assert (env.render() != pictures[-1]).any()
    for picture in pictures:
        assert isinstance(picture, np.ndarray)
        assert (picture.shape, picture.dtype) == ((SIDE_PX, SIDE_PX, 3), np.uint8)
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert (pictures[0] != pictures[1]).any()
    _, instance = cell_instance(3)
    env = env_of(instance, render_mode="rgb_array")
    env.reset()
    with pytest.raises(InputError, match="needs instances with a volume, but this has none"):
        env.render()


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("name", IDS)
def test_vector_environments_step_like_single_ones(name: str, mode: str) -> None:
    """All are given one and the same dynamics, and act at random until episodes end."""
    keywords: dict[str, Any] = {
        "generator": SMALL,
        "dynamics": Dynamics(
            random_network(0),
            n_candidates=4,
            human=SimulatedHuman(0.3),
            has_microscope=name == envs.ENVIRONMENT_ID,
        ),
    }
    vector = gym.make_vec(name, num_envs=2, vectorization_mode=mode, **keywords)
    singles = [gym.make(name, **keywords).unwrapped for _ in range(2)]
    rng = np.random.default_rng(0)
    try:
        observations, infos = vector.reset(seed=[3, 4])  # pyright: ignore[reportArgumentType]
        told = [env.reset(seed=seed) for env, seed in zip(singles, (3, 4), strict=True)]
        ended = [False, False]
        n_ends = 0
        for _ in range(40):
            for k, (observation, info) in enumerate(told):
                for part, array in observation.items():
                    np.testing.assert_array_equal(observations[part][k], array)
                assert infos["n_regions"][k] == info["n_regions"]
                np.testing.assert_array_equal(infos["action_mask"][k], info["action_mask"])
            actions = np.array(
                [rng.choice(np.flatnonzero(observation["action_mask"])) for observation, _ in told]
            )
            observations, rewards, is_over, is_cut, infos = vector.step(actions)
            for k, env in enumerate(singles):
                if ended[k]:  # the step after an end resets and does nothing else
                    told[k], ended[k] = env.reset(), False
                    assert (rewards[k], is_over[k]) == (0, False)
                    continue
                observation, reward, ends, _, info = env.step(actions[k])
                told[k], ended[k] = (observation, info), ends
                assert rewards[k] == reward
                assert (is_over[k], is_cut[k]) == (ends, False)
                n_ends += ends
        assert n_ends > 1
    finally:
        vector.close()


def test_registering_twice_is_harmless() -> None:
    importlib.reload(envs)
    assert gym.spec(envs.ENVIRONMENT_ID).entry_point == "envs.agglomeration_env:AgglomerationEnv"
    assert gym.spec(envs.MERGING_ID).entry_point == "envs.agglomeration_env:merging_env"


def test_ids_differ_in_what_can_be_done() -> None:
    n_actions = {name: gym.make(name).action_space.n for name in IDS}  # pyright: ignore
    assert n_actions == {envs.ENVIRONMENT_ID: 4 * 16 + 1, envs.MERGING_ID: 16 + 1}
    merging = merging_env()
    assert merging.dynamics.kinds == (MERGE,)
    assert isinstance(merging.dynamics.policy, MeanBoundary)


def test_pieces_can_be_exchanged() -> None:
    class CountObservation:
        """See how many regions are left, and nothing else."""

        def space(self, dynamics: Dynamics) -> gym.Space[Any]:
            return gym.spaces.Box(0, np.inf, (1,), np.float32)

        def __call__(self, dynamics: Dynamics) -> npt.NDArray[np.float32]:
            return np.array([dynamics.n_regions_left], np.float32)

    def tell_kind(dynamics: Dynamics, transition: Transition | None) -> dict[str, Any]:
        return {"kind": None if transition is None else transition.kind}

    env = AgglomerationEnv(SMALL, observation=CountObservation(), information=tell_kind)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert info == {"kind": None}
    later, *_, info = env.step(0)
    assert later == observation - 1
    assert info == {"kind": MERGE}


WRONG: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: AgglomerationEnv(render_mode="human"),
        "render_mode must be one of ansi, rgb_array or None, not 'human'",
    ),
    (lambda: merging_env(dynamics=Dynamics(n_candidates=0)), "n_candidates must be positive"),
    (lambda: AgglomerationEnv(reward=ErrorReward("f1")), "objective must be one of vi"),  # pyright: ignore
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_arguments_are_told(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_policy_decides_what_is_seen() -> None:
    network = random_network(0, n_features=N_SHAPE_FEATURES)
    env = merging_env(SMALL, dynamics=Dynamics(network, n_candidates=2))
    observation, _ = env.reset(seed=0)
    assert observation["candidates"].shape == (2, N_SHAPE_FEATURES + 2)
