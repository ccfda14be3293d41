from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs.hashing import hashed, uniform
from envs.merge_network import MergeNetwork, mean_boundary_network
from envs.rollout import initial_decisions, play_episode
from envs.trial_rollout import LABELS, Label, Trial, TrialExecution, initial_worths, play_trial
from envs.truth_rows import NO_TRUTH, TruthTable, truth_table
from tests.envs.cluster_truth import gains_of_clusters, majority_of_cluster
from tests.envs.merge_twin import Decision, MergeTwin, Pair
from tests.envs.random_tissue import (
    SEEDS,
    Volume,
    cell_instance,
    constant_network,
    networks,
    random_labels,
    random_network,
    volumes,
)

modest = settings(max_examples=30, deadline=None)


def worth_of(truth: TruthTable, first: set[int], second: set[int], label: Label) -> float:
    """Say what merging two clusters is worth from the counts of their superpixels."""
    if label == "majority":
        one, two = majority_of_cluster(truth, first), majority_of_cluster(truth, second)
        return 0.0 if -1 in (one, two) else (1.0 if one == two else -1.0)
    return gains_of_clusters(truth, first, second)[0 if label == "vi" else 1]


def play_twin(
    volume: Volume,
    network: MergeNetwork,
    truth: TruthTable,
    execution: TrialExecution,
    label: Label,
    seed: int,
) -> tuple[Trial, MergeTwin]:
    """Play the trial with the plain-Python rule: the specification of the kernel."""
    graph = volume.graph()
    twin = MergeTwin(graph, network)
    ids = graph.ids.view(np.int64)
    features, worths, is_merged = [], [], []

    def decide(twin: MergeTwin, pair: Pair) -> Decision:
        worth = worth_of(truth, twin.members[pair[0]], twin.members[pair[1]], label)
        if execution == "truth":
            is_merge = worth > 0 or (worth == 0 and twin.edges[pair].key >= 0)
        else:
            now = np.uint64(hashed(np.uint64(seed), len(twin.merges), 0))
            coin = uniform(now, *ids[list(pair)])
            with np.errstate(over="ignore"):
                is_merge = bool(coin < 1 / (1 + np.exp(-twin.score(pair))))
        features.append(twin.features(pair))
        worths.append(worth)
        is_merged.append(is_merge)
        return "merge" if is_merge else "leave"

    twin.play(decide)
    trial = Trial(
        np.array(features, np.float32).reshape(-1, network.n_features),
        np.array(worths),
        np.array(is_merged, np.bool_),
    )
    return trial, twin


def truth_of(volume: Volume, seed: int) -> TruthTable:
    labels = random_labels(seed, volume[0].shape, 3)
    labels.flat[np.flatnonzero(volume.superpixels)[:1]] = 1  # something is known
    return truth_table(volume.graph().ids, volume.superpixels, labels)


@modest
@given(
    volumes(max_side=5, max_regions=12),
    networks(),
    SEEDS,
    hs.sampled_from(["truth", "chance"]),
    hs.sampled_from(LABELS),
)
def test_trial_is_that_of_the_twin(
    volume: Volume, network: MergeNetwork, seed: int, execution: TrialExecution, label: Label
) -> None:
    truth = truth_of(volume, seed)
    expected, twin = play_twin(volume, network, truth, execution, label, seed)
    trial = play_trial(volume.graph(), network, truth, execution=execution, label=label, seed=seed)
    np.testing.assert_array_equal(trial.is_merged, expected.is_merged)
    np.testing.assert_array_equal(trial.features, expected.features)
    np.testing.assert_allclose(trial.worths, expected.worths, rtol=1e-9, atol=1e-12)
    assert trial.is_merged.sum() == len(twin.merges)


@modest
@given(SEEDS, networks(), hs.sampled_from(LABELS), hs.floats(0, 2))
def test_strict_execution_carries_out_nothing_that_is_wrong(
    seed: int, network: MergeNetwork, label: Label, noise: float
) -> None:
    """Whatever policy orders the queue and however noisy."""
    _, instance = cell_instance(seed % 50)
    graph, truth = instance.graph, instance.truth
    trial = play_trial(
        graph, network, truth, execution="truth", label=label, noise=noise, seed=seed
    )
    assert (trial.worths[trial.is_merged] >= 0).all()
    assert (trial.worths[~trial.is_merged] <= 0).all()
    assert len(trial.worths) <= graph.n_edges


def test_without_truth_the_policy_decides() -> None:
    _, instance = cell_instance(3, side=12, n_cells=40)
    network = random_network(5)
    trial = play_trial(instance.graph, network, NO_TRUTH, execution="truth")
    assert trial.is_merged.sum() == len(play_episode(instance.graph, network).merges) > 0
    assert not trial.worths.any()


def test_chance_merges_as_often_as_the_logit_says() -> None:
    """One contact, many seeds; and seeds are all there is of chance."""
    superpixels = np.array([[[3, 3, 8, 8]]], np.uint8)
    volume = Volume(superpixels, superpixels, superpixels)
    truth = truth_table(volume.graph().ids, superpixels, np.ones_like(superpixels))
    for logit in (-30.0, 0.5):
        network = constant_network(logit)
        drawn = [
            bool(play_trial(volume.graph(), network, truth, execution="chance", seed=s).is_merged)
            for s in range(500)
        ]
        p = 1 / (1 + np.exp(-logit))
        assert abs(np.mean(drawn) - p) <= 4 * np.sqrt(p * (1 - p) / len(drawn)) + 1e-9
        again = play_trial(volume.graph(), network, truth, execution="chance", seed=17)
        assert bool(again.is_merged) == drawn[17]


def test_every_decision_has_a_coin_of_its_own() -> None:
    """Three regions in a row: leaving the first contact says nothing about the second."""
    superpixels = np.array([[[1, 1, 2, 2, 3, 3]]], np.uint8)
    volume = Volume(superpixels, superpixels, superpixels)
    truth = truth_table(volume.graph().ids, superpixels, np.ones_like(superpixels))
    network = constant_network(0.0)
    counts = Counter(
        tuple(
            play_trial(
                volume.graph(), network, truth, execution="chance", seed=s
            ).is_merged.tolist()
        )
        for s in range(800)
    )
    assert len(counts) == 4
    assert all(abs(n / 800 - 0.25) < 0.062 for n in counts.values())


@pytest.mark.parametrize("label", LABELS)
def test_initial_worths_are_those_of_the_unmerged_contacts(label: Label) -> None:
    _, instance = cell_instance(4, side=12, n_cells=40)
    graph, truth = instance.graph, instance.truth
    worths = initial_worths(graph, truth, label)
    expected = [worth_of(truth, {u}, {v}, label) for u, v in graph.edges.tolist()]
    np.testing.assert_allclose(worths, expected, rtol=1e-9, atol=1e-12)
    if label != "majority":
        _, gains = initial_decisions(graph, truth, random_network(0))
        np.testing.assert_array_equal(worths, gains[:, LABELS.index(label)])


def test_a_drawn_case_by_hand() -> None:
    """Four superpixels in a row, a a b b: strict execution joins the pairs and leaves the middle.

    The boundary is lowest in the middle, so the middle is tried first; it is recorded as wrong,
    then the outer two, which are right.
    """
    superpixels = np.repeat(np.arange(1, 5, dtype=np.uint8), 4).reshape(1, 1, 16)
    labels = np.repeat(np.array([5, 9], np.uint8), 8).reshape(1, 1, 16)
    boundaries = np.full((1, 1, 16), 100, np.uint8)
    boundaries[0, 0, 7:9] = 10
    volume = Volume(superpixels, boundaries, boundaries)
    graph = volume.graph()
    truth = truth_table(graph.ids, superpixels, labels)
    cases: list[tuple[Label, float, float]] = [("vi", -0.5, 0.5), ("majority", -1.0, 1.0)]
    for label, wrong, right in cases:
        trial = play_trial(graph, mean_boundary_network(0.5), truth, execution="truth", label=label)
        np.testing.assert_array_equal(trial.is_merged, [False, True, True])
        # Of 16 voxels, 8 halve their uncertainty of one bit, in the one sense or the other.
        np.testing.assert_allclose(trial.worths, [wrong, right, right])
