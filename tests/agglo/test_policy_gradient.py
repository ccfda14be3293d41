"""The two-edge problem: three regions in a row, everything that can happen enumerated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from agglo.training.exploration import Decisions
from agglo.training.learner import LearnerConfig, Past
from agglo.training.network_fit import descend, layers_of, logits_of
from agglo.training.policy_gradient import (
    MAX_CHANGE,
    PolicyGradient,
    advantages_of,
    surrogate,
)
from envs.merge_network import MergeNetwork, logit, pack
from envs.region_graph import RegionGraph
from envs.rollout import initial_decisions
from envs.trial_rollout import play_trial
from envs.truth_rows import TruthTable, truth_table
from tests.envs.random_tissue import Volume, random_network

WHOLE = 2
"""Steps of a whole episode of two decisions."""


class TwoEdges(NamedTuple):
    """Three regions in a row, of which the middle one straddles two neurons."""

    graph: RegionGraph
    truth: TruthTable
    network: MergeNetwork

    def play(self, seed: int) -> Decisions:
        """Play an episode by chance."""
        return Decisions(
            *play_trial(self.graph, self.network, self.truth, execution="chance", seed=seed)
        )


@pytest.fixture(scope="module")
def problem() -> TwoEdges:
    rng = np.random.default_rng(4)
    superpixels = np.repeat(np.array([1, 2, 3], np.uint8), 4).reshape(1, 1, 12)
    labels = np.array([7] * 5 + [8] * 7, np.uint8).reshape(1, 1, 12)
    image, boundaries = rng.integers(0, 256, (2, 1, 1, 12), dtype=np.uint8)
    graph = Volume(superpixels, image, boundaries).graph()
    truth = truth_table(graph.ids, superpixels, labels)
    network = random_network(9)
    network = network._replace(b3=0 * network.b3)
    size = np.abs(logits_of(network, initial_decisions(graph, truth, network)[0])).max()
    return TwoEdges(graph, truth, network._replace(w3=network.w3 / size))


@pytest.fixture(scope="module")
def episodes(problem: TwoEdges) -> list[Decisions]:
    """The four episodes there are, by what was decided first and second."""
    found: dict[tuple[bool, ...], Decisions] = {}
    for seed in range(400):
        episode = problem.play(seed)
        found.setdefault(tuple(episode.is_merged.tolist()), episode)
    assert len(found) == 4
    return [found[key] for key in sorted(found)]


def parameters(network: MergeNetwork) -> list[npt.NDArray[np.float64]]:
    return [array.astype(np.float64) for array in network[2:]]


def logits(
    network: MergeNetwork, weights: list[npt.NDArray[np.float64]], features: npt.NDArray
) -> npt.NDArray[np.float64]:
    """Score features (D, F) in double precision."""
    w1, b1, w2, b2, w3, b3 = weights
    x = (features.astype(np.float64) - network.mean) * network.scale
    hidden = np.maximum(np.maximum(x @ w1[0] + b1[0], 0) @ w2[0] + b2[0], 0)
    return hidden @ w3[0] + b3[0]


def probabilities(
    problem: TwoEdges, weights: list[npt.NDArray[np.float64]], episode: Decisions
) -> npt.NDArray[np.float64]:
    """Return how probable each of the decisions of an episode is."""
    p = 1 / (1 + np.exp(-logits(problem.network, weights, episode.features)))
    return np.where(episode.is_merged, p, 1 - p)


def expected_fall(
    problem: TwoEdges, weights: list[npt.NDArray[np.float64]], episodes: list[Decisions]
) -> float:
    """Return the expected fall of VI, over all that can happen."""
    return sum(
        probabilities(problem, weights, e).prod() * e.worths[e.is_merged].sum() for e in episodes
    )


def expected_rewards_at(
    problem: TwoEdges,
    weights: list[npt.NDArray[np.float64]],
    visited_by: list[npt.NDArray[np.float64]],
    episodes: list[Decisions],
) -> float:
    """Return the expected reward of decisions, at states visited as by other weights."""
    total = 0.0
    for episode in episodes:
        how_often = probabilities(problem, visited_by, episode).prod()
        p = 1 / (1 + np.exp(-logits(problem.network, weights, episode.features)))
        total += how_often * (p * episode.worths).sum()
    return total


def estimated_gradient(
    problem: TwoEdges, episodes: list[Decisions], n_steps: int
) -> list[npt.NDArray[np.float64]]:
    """Return the mean of the estimate over all that can happen, in the order of `parameters`."""
    network = problem.network
    layers = layers_of(network)
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    total = torch.zeros(())
    for episode in episodes:
        probability = probabilities(problem, parameters(network), episode).prod()
        now = model(torch.from_numpy((episode.features - network.mean) * network.scale)).squeeze(1)
        advantages = advantages_of(
            episode.worths, episode.is_merged, logits_of(network, episode.features), n_steps
        )
        mean = surrogate(
            now,
            now.detach(),
            torch.from_numpy(np.where(episode.is_merged, 1.0, -1.0)),
            torch.from_numpy(advantages),
        )
        total = total + probability * mean * len(advantages)
    total.backward()
    gradients = []
    for layer in layers:
        assert layer.weight.grad is not None
        assert layer.bias.grad is not None
        gradients += [layer.weight.grad.double().numpy().T, layer.bias.grad.double().numpy()]
    return gradients


def test_the_four_episodes_are_as_probable_as_they_are_frequent(
    problem: TwoEdges, episodes: list[Decisions]
) -> None:
    weights = parameters(problem.network)
    p = np.array([probabilities(problem, weights, e).prod() for e in episodes])
    assert p.sum() == pytest.approx(1, abs=1e-9)
    assert p.min() > 0.05
    drawn = [2 * a + b for a, b in (problem.play(seed).is_merged for seed in range(1000, 2000))]
    frequencies = np.bincount(drawn, minlength=4) / 1000
    assert np.abs(frequencies - p).max() < 4 * np.sqrt(0.25 / 1000)


@pytest.mark.parametrize("n_steps", [1, WHOLE])
def test_the_mean_of_the_estimate_is_the_gradient(
    problem: TwoEdges, episodes: list[Decisions], n_steps: int
) -> None:
    """By finite differences: of the expected fall of VI, or of the reward at the states visited."""
    weights = parameters(problem.network)
    estimate = estimated_gradient(problem, episodes, n_steps)

    def value(moved: list[npt.NDArray[np.float64]]) -> float:
        if n_steps == WHOLE:
            return expected_fall(problem, moved, episodes)
        return expected_rewards_at(problem, moved, weights, episodes)

    rng = np.random.default_rng(0)
    for _ in range(10):
        direction = [rng.standard_normal(w.shape) for w in weights]
        step = 1e-5
        ahead, behind = (
            value([w + sign * step * d for w, d in zip(weights, direction, strict=True)])
            for sign in (1, -1)
        )
        along = sum(
            (g.reshape(d.shape) * d).sum() for g, d in zip(estimate, direction, strict=True)
        )
        assert along == pytest.approx((ahead - behind) / (2 * step), rel=2e-3, abs=1e-6)


def test_later_rewards_make_a_difference_here(problem: TwoEdges, episodes: list[Decisions]) -> None:
    """Merging the first edge changes what the second is worth, so the two gradients differ."""
    one, whole = (
        np.concatenate([g.ravel() for g in estimated_gradient(problem, episodes, n)])
        for n in (1, WHOLE)
    )
    assert np.linalg.norm(one - whole) > 0.05 * np.linalg.norm(whole)


def test_advantages_of_a_drawn_episode() -> None:
    worths = np.array([1.0, -2.0, 4.0])
    is_merged = np.array([True, False, True])
    even = np.zeros(3, np.float32)  # each merged with probability ½
    np.testing.assert_allclose(advantages_of(worths, is_merged, even, 1), [0.5, 1.0, 2.0])
    np.testing.assert_allclose(advantages_of(worths, is_merged, even, 2), [0.5, 5.0, 2.0])
    np.testing.assert_allclose(advantages_of(worths, is_merged, even, 99), [4.5, 5.0, 2.0])


def test_the_ratio_counts_up_to_a_fifth() -> None:
    before, ahead, sign = torch.zeros(1), torch.tensor([5.0], requires_grad=True), torch.ones(1)
    gain = surrogate(ahead, before, sign, torch.ones(1))
    assert gain.item() == pytest.approx(1 + MAX_CHANGE)
    gain.backward()
    assert ahead.grad is not None
    assert ahead.grad.item() == 0, "what has become more probable by more is raised no further"
    loss = surrogate(ahead, before, sign, -torch.ones(1))
    assert loss.item() == pytest.approx(-2 / (1 + np.exp(-5.0)), rel=1e-5), "but it may fall again"


def test_a_round_raises_the_expected_fall_of_vi(
    problem: TwoEdges, episodes: list[Decisions]
) -> None:
    config = LearnerConfig(
        name="policy-gradient", return_steps=WHOLE, learning_rate=1e-3, weight_decay=0.0
    )
    learner = PolicyGradient(config, "vi", 0.0, 0.0)
    past = Past({}, [problem.network])
    lesson = learner.learn(past, [problem.play(seed) for seed in range(400)], 0)
    before, after = (
        expected_fall(problem, parameters(network), episodes)
        for network in (problem.network, lesson.network)
    )
    assert after > before + 0.002
    assert lesson.record["loss"] == pytest.approx(-before, abs=0.05)
    assert lesson.record["decisions"] == 800
    assert lesson.memory == {}


def test_training_goes_on_from_the_weights_there_are(problem: TwoEdges) -> None:
    network = problem.network
    features = np.random.default_rng(0).standard_normal((40, 41)).astype(np.float32)
    packed = pack(network)
    scratch = np.zeros(packed.n_scratch, np.float32)
    expected = [logit(packed, row, scratch) for row in features]
    np.testing.assert_allclose(logits_of(network, features), expected, rtol=1e-4, atol=1e-5)
    still = LearnerConfig(weight_decay=0.0, epochs=2)
    same = descend(network, features, lambda logits, _: 0 * logits.sum(), still, 0)
    for one, other in zip(same, network, strict=True):
        np.testing.assert_array_equal(one, other)
    lower = descend(network, features, lambda logits, _: logits.mean(), still, 0)
    assert logits_of(lower, features).mean() < np.mean(expected)
