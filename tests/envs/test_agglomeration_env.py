from __future__ import annotations

import importlib

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as hs

import envs
from analysis.contingency import contingency_table
from analysis.segmentation_scores import score_segmentation
from envs.agglomeration_env import AgglomerationEnv, Observation
from envs.features import N_FEATURES, N_SHAPE_FEATURES
from envs.generator import GivenInstances, VoronoiGenerator
from envs.instance import Instance
from envs.merge_network import MergeNetwork
from envs.merge_state import start_state
from envs.region_graph import RegionGraph
from envs.rollout import play_episode
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

modest = settings(max_examples=30, deadline=None)
SMALL = VoronoiGenerator(side_vox=8, n_superpixels=12, n_neurons=3)


def env_of(instance: Instance, **keywords: object) -> AgglomerationEnv:
    return AgglomerationEnv(GivenInstances((instance,)), **keywords)  # pyright: ignore


def random_policy_steps(
    env: AgglomerationEnv, seed: int, n_most: int = 10**6
) -> list[tuple[Observation, float, bool, dict]]:
    """Reset and take random allowed actions, the first step included with reward 0."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    steps = [(observation, 0.0, False, info)]
    is_over = False
    while not is_over and len(steps) <= n_most:
        allowed = np.flatnonzero(observation["action_mask"][:-1])
        action = rng.choice(allowed) if len(allowed) else env.n_candidates
        observation, reward, is_over, is_cut, info = env.step(action)
        assert not is_cut
        steps.append((observation, reward, is_over, info))
    return steps


@pytest.mark.parametrize("objective", ["vi", "rand"])
@pytest.mark.filterwarnings("ignore:.*Box observation space m...mum value is -?infinity")
def test_gymnasium_accepts_it(objective: str) -> None:
    env = gym.make(envs.ENVIRONMENT_ID, generator=SMALL, objective=objective, render_mode="ansi")
    check_env(env.unwrapped)
    assert isinstance(env.unwrapped, AgglomerationEnv)


def test_observations_lie_in_their_space_until_the_end() -> None:
    env = AgglomerationEnv(SMALL, n_candidates=5)
    for seed in range(3):
        for observation, reward, _, info in random_policy_steps(env, seed):
            assert env.observation_space.contains(observation)
            assert isinstance(reward, float)
            np.testing.assert_array_equal(info["action_mask"], observation["action_mask"])


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
    keys = start_state(graph, network).key
    threshold = float(np.quantile(keys, share)) if len(keys) else 0.0
    episode = play_episode(graph, network, truth=truth, threshold=threshold, record_floor=-np.inf)
    env = env_of(
        Instance(graph, truth),
        scorer=network,
        n_candidates=n_candidates,
        objective="vi" if is_vi else "rand",
    )
    observation, info = env.reset(seed=seed)
    for k, height in enumerate(episode.heights):
        assert env.best_key() == height
        assert observation["context"][2] == np.float32(height)
        np.testing.assert_array_equal(observation["candidates"][0], episode.decisions[k])
        observation, reward, is_over, is_cut, info = env.step(0)
        assert reward == (episode.gains_vi if is_vi else episode.gains_rand)[k]
        assert not is_cut
        assert is_over == (not observation["action_mask"][0])
    assert env.best_key() < threshold or not observation["action_mask"][0]
    if len(episode.decisions) > len(episode.heights):
        np.testing.assert_array_equal(
            observation["candidates"][0], episode.decisions[len(episode.heights)]
        )
    assert info["n_regions"] == graph.n_regions - len(episode.merges)
    assert (info["vi"], info["rand_index"]) == pytest.approx((episode.vi[1], episode.rand[1]))


def test_playing_to_the_end_is_the_compiled_episode_on_tissue() -> None:
    graph, truth, *_ = VoronoiGenerator()(np.random.default_rng(4))
    network = random_network(2, n_features=N_SHAPE_FEATURES, n_members=2)
    episode = play_episode(graph, network, truth=truth, threshold=-np.inf, record_floor=-np.inf)
    env = env_of(Instance(graph, truth), scorer=network)
    observation, _ = env.reset()
    is_over = False
    seen, rewards = [], []
    while not is_over:
        seen.append(observation["candidates"][0])
        observation, reward, is_over, _, info = env.step(0)
        rewards.append(reward)
    np.testing.assert_array_equal(seen, episode.decisions)
    np.testing.assert_array_equal(rewards, episode.gains_vi)
    assert info["n_regions"] == 1


@modest
@given(SEEDS, hs.sampled_from(["vi", "rand"]), hs.integers(1, 40))
def test_rewards_telescope_to_the_scores_of_the_segmentation(
    seed: int, objective: str, n_steps: int
) -> None:
    volume, (graph, *_) = cell_instance(seed % 40, side=7, n_cells=10)
    labels = random_labels(seed, volume.superpixels.shape, 4)
    instance = Instance(graph, truth_table(graph.ids, volume.superpixels, labels))
    env = env_of(instance, objective=objective, n_candidates=4)
    steps = random_policy_steps(env, seed, n_steps)
    first, last = steps[0][3], steps[-1][3]
    name = "vi" if objective == "vi" else "rand_index"
    decrease = first[name] - last[name] if objective == "vi" else last[name] - first[name]
    assert sum(reward for _, reward, _, _ in steps) == pytest.approx(decrease, abs=1e-9)
    expected = score_segmentation(contingency_table(volume.superpixels, labels))
    assert first["vi"] == pytest.approx(expected.vi, abs=1e-9)
    assert first["rand_index"] == pytest.approx(expected.rand_index, abs=1e-9)


def test_merging_all_leaves_one_segment() -> None:
    volume, (graph, *_) = cell_instance(2)
    labels = random_labels(2, volume.superpixels.shape, 4)
    env = env_of(Instance(graph, truth_table(graph.ids, volume.superpixels, labels)))
    _, _, is_over, info = random_policy_steps(env, 0)[-1]
    assert is_over
    assert info["n_regions"] == 1
    expected = score_segmentation(contingency_table(np.ones_like(labels), labels))
    assert info["vi"] == pytest.approx(expected.vi)
    assert info["rand_index"] == pytest.approx(expected.rand_index)


def test_context_and_padding() -> None:
    _, instance = cell_instance(5, side=6, n_cells=6)
    network = random_network(0)
    env = env_of(instance, scorer=network, n_candidates=50)
    observation, info = env.reset()
    n_edges, n_regions = instance.graph.n_edges, instance.graph.n_regions
    keys = start_state(instance.graph, network).key
    assert observation["context"].tolist() == pytest.approx(
        [1.0, n_edges / 50, keys.max(), np.log(n_regions)], rel=1e-6
    )
    assert observation["candidates"].shape == (50, N_FEATURES)
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
    order = np.lexsort((np.arange(graph.n_edges), -start_state(graph, network).key))
    for choice in (0, 1, 3, 7):
        env = env_of(Instance(graph, truth), scorer=network, n_candidates=8)
        observation, _ = env.reset()
        u, v = graph.edges[order[choice]]
        sizes = sorted(graph.regions[[u, v], 0])
        log_sizes = [N_FEATURES - 25, N_FEATURES - 16]
        shown = np.exp(observation["candidates"][choice, log_sizes])
        np.testing.assert_allclose(shown, sizes, rtol=1e-5)
        before = merged_counts(graph, truth.rows, truth.labels, truth.counts, None)
        after = merged_counts(graph, truth.rows, truth.labels, truth.counts, (u, v))
        reward = env.step(choice)[1]
        assert reward == pytest.approx(vi_of(before) - vi_of(after), abs=1e-9)


def merged_counts(
    graph: RegionGraph,
    rows: npt.NDArray,
    labels: npt.NDArray,
    counts: npt.NDArray,
    pair: tuple[int, int] | None,
) -> npt.NDArray[np.float64]:
    table = np.zeros((graph.n_regions, labels.max() + 1))
    np.add.at(table, (rows, labels), counts)
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
    steps = random_policy_steps(env, 0, 4)
    arrays = [
        a for observation, *_, info in steps for a in (*observation.values(), info["action_mask"])
    ]
    for i, one in enumerate(arrays):
        assert not any(np.shares_memory(one, other) for other in arrays[:i])
    kept = [{name: a.copy() for name, a in observation.items()} for observation, *_ in steps]
    random_policy_steps(env, 1)
    for (observation, *_), copy in zip(steps, kept, strict=True):
        for name, array in copy.items():
            np.testing.assert_array_equal(observation[name], array)


def test_episodes_of_an_instance_do_not_wear_it_out() -> None:
    _, instance = cell_instance(3)
    env = env_of(instance)
    first, second = random_policy_steps(env, 5), random_policy_steps(env, 5)
    assert [step[1] for step in first] == [step[1] for step in second]


@pytest.mark.parametrize("seed", [0, 17])
def test_same_seed_same_episode(seed: int) -> None:
    one, two = AgglomerationEnv(SMALL), AgglomerationEnv(SMALL)
    random_policy_steps(two, seed + 1)
    for first, second in zip(
        random_policy_steps(one, seed), random_policy_steps(two, seed), strict=True
    ):
        for name, array in first[0].items():
            np.testing.assert_array_equal(second[0][name], array)
        assert first[1:3] == second[1:3]
    different = random_policy_steps(one, seed + 2)
    assert [s[1] for s in different] != [s[1] for s in random_policy_steps(two, seed)]


def test_forbidden_actions_change_nothing() -> None:
    _, instance = cell_instance(5, side=6, n_cells=6)
    env = env_of(instance, n_candidates=50)
    before, info = env.reset()
    assert info["is_forbidden"] is False
    for action in (instance.graph.n_edges, 49, -1, 51, 10**6):
        after, reward, is_over, is_cut, info = env.step(action)
        assert (reward, is_over, is_cut, info["is_forbidden"]) == (0.0, False, False, True)
        for name, array in before.items():
            np.testing.assert_array_equal(after[name], array)
    *_, info = env.step(0)
    assert info["is_forbidden"] is False


def test_stop_ends_the_episode() -> None:
    env = AgglomerationEnv(SMALL, n_candidates=3)
    with pytest.raises(gym.error.ResetNeeded, match="never began"):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    observation, reward, is_over, is_cut, info = env.step(np.int64(3))
    assert (reward, is_over, is_cut, info["is_forbidden"]) == (0.0, True, False, False)
    assert observation["action_mask"][-1] == 1
    for action in (0, 3):
        with pytest.raises(gym.error.ResetNeeded, match="the episode is over"):
            env.step(action)
    env.reset()
    env.step(0)


def test_a_single_region_can_only_stop() -> None:
    generator = VoronoiGenerator(side_vox=4, n_superpixels=1, n_neurons=1)
    env = AgglomerationEnv(generator, n_candidates=3, render_mode="ansi")
    observation, info = env.reset(seed=0)
    assert observation["action_mask"].tolist() == [0, 0, 0, 1]
    assert not observation["candidates"].any()
    assert observation["context"].tolist() == [1, 0, 0, 0]
    assert (info["vi"], info["rand_index"], info["n_regions"]) == (0, 1, 1)
    assert env.best_key() == -np.inf
    assert "1 of 1 regions left" in str(env.render())
    *_, is_over, _, info = env.step(0)
    assert (is_over, info["is_forbidden"]) == (False, True)
    *_, is_over, _, info = env.step(3)
    assert (is_over, info["is_forbidden"]) == (True, False)


def test_without_truth_nothing_is_gained() -> None:
    _, (graph, *_) = cell_instance(3)
    steps = random_policy_steps(env_of(Instance(graph, NO_TRUTH)), 0)
    assert len(steps) == graph.n_regions
    assert not any(reward for _, reward, _, _ in steps)


def test_render_says_where_the_episode_stands() -> None:
    _, instance = cell_instance(3, side=6, n_cells=6)
    env = env_of(instance, render_mode="ansi", n_candidates=2)
    with pytest.raises(gym.error.ResetNeeded, match="no episode ever began"):
        env.render()
    _, info = env.reset()
    env.step(0)
    *_, info = env.step(1)
    assert env.render() == (
        f"2 merges, {instance.graph.n_regions - 2} of {instance.graph.n_regions} regions left, "
        f"VI {info['vi']:.4f} bits, Rand index {info['rand_index']:.4f}, 2 candidates, "
        f"best key {env.best_key():.4f}"
    )
    assert env_of(instance).render() is None


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments_step_like_single_ones(mode: str) -> None:
    keywords = {"generator": SMALL, "n_candidates": 4, "scorer": random_network(0)}
    vector = gym.make_vec(envs.ENVIRONMENT_ID, num_envs=2, vectorization_mode=mode, **keywords)
    singles = [AgglomerationEnv(**keywords) for _ in range(2)]
    try:
        observations, infos = vector.reset(seed=[3, 4])  # pyright: ignore[reportArgumentType]
        expected = [env.reset(seed=seed) for env, seed in zip(singles, (3, 4), strict=True)]
        for k, (observation, _) in enumerate(expected):
            for name, array in observation.items():
                np.testing.assert_array_equal(observations[name][k], array)
        for _ in range(4):
            observations, rewards, is_over, is_cut, infos = vector.step(np.array([0, 1]))
            for k, env in enumerate(singles):
                observation, reward, ends, _, info = env.step(k)
                for name, array in observation.items():
                    np.testing.assert_array_equal(observations[name][k], array)
                assert rewards[k] == reward
                assert (is_over[k], is_cut[k]) == (ends, False)
                assert infos["n_regions"][k] == info["n_regions"]
                np.testing.assert_array_equal(infos["action_mask"][k], info["action_mask"])
    finally:
        vector.close()


def test_registering_twice_is_harmless() -> None:
    importlib.reload(envs)
    assert gym.spec(envs.ENVIRONMENT_ID).entry_point == "envs.agglomeration_env:AgglomerationEnv"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"n_candidates": 0}, "n_candidates must be positive, not 0"),
        ({"objective": "f1"}, "objective must be 'vi' or 'rand', not 'f1'"),
        ({"render_mode": "human"}, "render_mode must be 'ansi' or None, not 'human'"),
    ],
)
def test_wrong_arguments_are_told(keywords: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AgglomerationEnv(**keywords)


def test_scorer_decides_what_is_seen() -> None:
    scorer: MergeNetwork = random_network(0, n_features=N_SHAPE_FEATURES)
    env = AgglomerationEnv(SMALL, scorer=scorer, n_candidates=2)
    observation, _ = env.reset(seed=0)
    assert observation["candidates"].shape == (2, N_SHAPE_FEATURES)
