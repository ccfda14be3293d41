from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.contingency import contingency_table
from analysis.segmentation_scores import floor_scores
from envs import statistics as st
from envs.confluent_rule import start_state
from envs.generator import VoronoiGenerator
from envs.instance import Instance
from envs.merge_network import logit, mean_boundary_network, pack
from envs.merge_state import see
from envs.region_graph import RegionGraph, build_region_graph
from envs.rollout import play_episode
from envs.scorers import (
    MeanBoundary,
    Oracle,
    QuantileBoundary,
    RandomScores,
    scorer_of,
)
from envs.truth_rows import merge_gains, start_rows, truth_table
from tests.envs.random_tissue import SEEDS, Volume, cell_instance, random_network, volumes

modest = settings(max_examples=50, deadline=None)


def keys_of(graph: RegionGraph, policy) -> np.ndarray:
    return start_state(graph, scorer_of(policy)).key


@modest
@given(volumes())
def test_mean_boundary_is_the_network_that_says_the_same(volume: Volume) -> None:
    graph = volume.graph()
    network = keys_of(graph, mean_boundary_network(0.5))
    np.testing.assert_allclose(keys_of(graph, MeanBoundary(0.5)), network, atol=1e-6)
    mean = graph.contacts[:, st.FACE_MAX] / graph.contacts[:, st.AREA] / 255
    np.testing.assert_allclose(keys_of(graph, MeanBoundary(0.5)), 0.5 - mean, atol=1e-6)


def test_quantiles_of_a_drawn_contact() -> None:
    """Ten faces: four in the lowest bin, four in 0.3–0.5, two in the highest."""
    superpixels = np.repeat(np.array([[[1, 2]]]), 10, axis=1)
    values = np.array([0, 5, 10, 12, 77, 90, 100, 127, 230, 255], np.uint8)
    boundaries = np.repeat(values[None, :, None], 2, axis=2)
    graph = build_region_graph(superpixels, boundaries, boundaries)
    edges = np.array((0, *st.BIN_EDGES, 256)) / 255

    def quantile(share: float) -> float:
        return float(-keys_of(graph, QuantileBoundary(0.0, share))[0])

    assert quantile(0.2) == pytest.approx(edges[1] / 2)
    assert quantile(0.4) == pytest.approx(edges[4])
    assert quantile(0.6) == pytest.approx((edges[4] + edges[5]) / 2)
    assert quantile(0.9) == pytest.approx((edges[7] + edges[8]) / 2)


@modest
@given(volumes(), hs.floats(0.05, 0.95))
def test_quantile_lies_in_the_bin_of_the_faces(volume: Volume, share: float) -> None:
    graph = volume.graph()
    quantiles = -keys_of(graph, QuantileBoundary(0.0, share)).astype(np.float64)
    edges = np.array((0, *st.BIN_EDGES, 256)) / 255
    bins = graph.contacts[:, st.CONTACT_HISTOGRAM : st.CONTACT_HISTOGRAM + st.N_BINS]
    for counts, value in zip(bins, quantiles, strict=True):
        below = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
        whole = np.interp(value, edges, below)
        assert whole == pytest.approx(share, abs=1e-5)


def test_random_scores_depend_on_seed_and_pair_only() -> None:
    graph = VoronoiGenerator(side_vox=24, n_superpixels=200)(np.random.default_rng(0)).graph
    first, again, other = (keys_of(graph, RandomScores(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.15
    assert abs(first.mean()) < 0.1
    assert first.std() == pytest.approx(1 / np.sqrt(3), abs=0.05)
    few = RegionGraph(graph.ids, graph.regions, graph.edges[::3], graph.contacts[::3])
    np.testing.assert_array_equal(keys_of(few, RandomScores(3)), first[::3])


def test_oracle_is_greedy_on_the_true_gain() -> None:
    """Its keys are the gains; on pure superpixels it reaches the truth."""
    volume, instance = cell_instance(3, side=12, n_cells=40)
    rows = start_rows(instance.truth, instance.graph.n_regions)
    gains = [merge_gains(rows, u, v)[0] for u, v in instance.graph.edges]
    np.testing.assert_allclose(keys_of(instance.graph, Oracle.of(instance)), gains, rtol=1e-6)
    least = float(np.finfo(np.float32).tiny)
    episode = play_episode(
        instance.graph, Oracle.of(instance), truth=instance.truth, threshold=least
    )
    assert (episode.gains_vi > 0).all()
    assert episode.vi[1] < episode.vi[0]
    labels = volume.superpixels // 5 + 1
    pure = Instance(instance.graph, truth_table(instance.graph.ids, volume.superpixels, labels))
    whole = play_episode(pure.graph, Oracle.of(pure), truth=pure.truth, threshold=least)
    floor = floor_scores(contingency_table(volume.superpixels, labels))
    assert floor.vi == 0
    assert whole.gains_vi.min() > 0
    apart = {(int(u), int(v)) for u, v in pure.graph.edges}
    names = labels.reshape(-1)[np.unique(volume.superpixels, return_index=True)[1]]
    n_same = sum(names[u] == names[v] for u, v in apart)
    assert n_same >= len(whole.merges) > 0


@modest
@given(volumes(max_side=5, max_regions=12), SEEDS)
def test_scores_several_at_a_time_are_those_one_by_one(volume: Volume, seed: int) -> None:
    packed = pack(random_network(seed, n_members=2, n_hidden=(20, 49)))
    state = start_state(volume.graph(), packed)
    for edge, key in enumerate(state.key.copy()):
        see(state, edge)
        assert logit(packed, state.features.copy(), np.zeros(packed.n_scratch, np.float32)) == key
