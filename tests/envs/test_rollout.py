from __future__ import annotations

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.contingency import contingency_table
from analysis.segmentation_scores import score_segmentation
from envs import statistics as st
from envs.confluent_rule import start_state
from envs.features import N_SHAPE_FEATURES
from envs.merge_network import MergeNetwork, mean_boundary_network, pack
from envs.merge_tree import MergeTree, relabel
from envs.region_graph import RegionGraph
from envs.rollout import Episode, initial_decisions, play_episode
from envs.truth_rows import NO_TRUTH, merge_gains, start_rows, truth_table
from tests.envs.cluster_truth import gains_of_clusters
from tests.envs.merge_twin import MergeTwin, Pair
from tests.envs.random_tissue import (
    SEEDS,
    Volume,
    cell_instance,
    cell_labels,
    constant_network,
    networks,
    random_labels,
    random_network,
    volumes,
)

modest = settings(max_examples=50, deadline=None)


def merges_of(episode: Episode) -> list[tuple[int, int, float]]:
    return [
        (int(u), int(v), float(height))
        for (u, v), height in zip(episode.merges, episode.heights, strict=True)
    ]


def partition_of(episode: Episode, n_regions: int) -> list[int]:
    """Return the smallest member of every region's cluster, from the merges alone."""
    joined = nx.Graph()
    joined.add_nodes_from(range(n_regions))
    joined.add_edges_from(episode.merges.tolist())
    names = {i: min(c) for c in nx.connected_components(joined) for i in c}
    return [names[i] for i in range(n_regions)]


def any_network(seed: int, kind: str) -> MergeNetwork:
    if kind == "constant":
        return constant_network(0.5)
    return mean_boundary_network(0.5) if kind == "mean" else random_network(seed)


def key_at(graph: RegionGraph, network: MergeNetwork, share: float) -> float:
    """Return the first key below which this share of the contacts lies at the start."""
    keys = start_state(graph, pack(network)).key
    return float(np.quantile(keys, share)) if len(keys) else 0.0


SHARES = hs.one_of(hs.none(), hs.floats(0, 1))
"""Which threshold to run to: that share of the contacts below it, or none for −inf."""


KINDS = hs.sampled_from(["random", "random", "mean", "constant"])


@modest
@given(volumes(max_side=5, max_regions=16), SEEDS, KINDS, SHARES)
def test_episode_is_that_of_the_twin(
    volume: Volume, seed: int, kind: str, share: float | None
) -> None:
    graph, network = volume.graph(), any_network(seed, kind)
    threshold = -np.inf if share is None else key_at(graph, network, share)
    twin = MergeTwin(graph, network)
    twin.run(threshold)
    episode = play_episode(graph, network, threshold=threshold)
    assert merges_of(episode) == twin.merges
    if share is None:
        assert episode.n_scores == twin.n_scores
    assert partition_of(episode, graph.n_regions) == twin.partition()


@modest
@given(volumes(max_side=5, max_regions=16), SEEDS, KINDS, SHARES, SEEDS)
def test_any_order_of_ready_edges_makes_the_same_merges(
    volume: Volume, seed: int, kind: str, share: float | None, order_seed: int
) -> None:
    """Confluence: ready edges, best at both their ends, may be processed in any order."""
    graph, network = volume.graph(), any_network(seed, kind)
    threshold = -np.inf if share is None else key_at(graph, network, share)
    rng = np.random.default_rng(order_seed)

    def choose(ready: list[Pair]) -> Pair:
        return ready[rng.integers(len(ready))]

    twin = MergeTwin(graph, network)
    twin.run(threshold, choose)
    episode = play_episode(graph, network, threshold=threshold)
    assert sorted(merges_of(episode)) == sorted(twin.merges)
    assert partition_of(episode, graph.n_regions) == twin.partition()
    if threshold == -np.inf:
        assert episode.n_scores == twin.n_scores


def test_orders_of_a_larger_graph_differ_but_not_their_results() -> None:
    _, (graph, *_) = cell_instance(11, side=10, n_cells=30)
    network = random_network(11)
    orders = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        twin = MergeTwin(graph, network)
        twin.run(-np.inf, lambda ready, rng=rng: ready[rng.integers(len(ready))])
        orders.append(twin.merges)
    assert orders[0] != orders[1]
    expected = sorted(merges_of(play_episode(graph, network, threshold=-np.inf)))
    assert all(sorted(merges) == expected for merges in orders)


@modest
@given(volumes(max_side=5, max_regions=16), SEEDS, KINDS, hs.floats(0, 1))
def test_threshold_cut_of_the_whole_tree_is_the_run_stopped_there(
    volume: Volume, seed: int, kind: str, share: float
) -> None:
    graph, network = volume.graph(), any_network(seed, kind)
    whole = play_episode(graph, network, threshold=-np.inf)
    assert (np.diff(whole.heights) <= 0).all()
    heights = [*whole.heights.tolist(), key_at(graph, network, share), np.inf]
    tree = MergeTree.of_episode(graph.ids, whole)
    for height in heights:
        stopped = play_episode(graph, network, threshold=height)
        n_merges = len(stopped.merges)
        assert merges_of(stopped) == merges_of(whole)[:n_merges]
        expected = graph.ids[partition_of(stopped, graph.n_regions)]
        np.testing.assert_array_equal(tree.cut(height), expected)


@modest
@given(volumes(), networks())
def test_without_a_threshold_whatever_touches_is_merged(
    volume: Volume, network: MergeNetwork
) -> None:
    graph = volume.graph()
    touching = nx.Graph(graph.edges.tolist())
    touching.add_nodes_from(range(graph.n_regions))
    episode = play_episode(graph, network, threshold=-np.inf)
    n_components = nx.number_connected_components(touching)
    assert len(episode.merges) == graph.n_regions - n_components
    assert len(play_episode(graph, network, threshold=np.inf).merges) == 0


@modest
@given(volumes(max_side=5, max_regions=12), SEEDS, KINDS, hs.floats(0, 1), hs.floats(0, 1))
def test_records_are_the_decisions_of_the_twin(
    volume: Volume, seed: int, kind: str, share: float, floor_share: float
) -> None:
    """Merges first, then the edges refused with a key of at least the floor, best first."""
    graph, network = volume.graph(), any_network(seed, kind)
    threshold, floor = (key_at(graph, network, s) for s in (share, floor_share))
    truth = truth_table(
        graph.ids, volume.superpixels, np.maximum(random_labels(seed, volume[0].shape, 3), 1)
    )
    twin = MergeTwin(graph, network)
    expected, gains, refused = [], [], set()
    while left := [pair for pair in twin.edges if pair not in refused]:
        pair = min(left, key=twin.order)
        if twin.edges[pair].is_stale:
            twin.rescore(pair)
            continue
        if twin.edges[pair].key < min(threshold, floor):
            break
        if twin.edges[pair].key < threshold:
            refused.add(pair)
        expected.append(twin.features(pair))
        gains.append(gains_of_clusters(truth, *(twin.members[u] for u in pair)))
        if pair not in refused:
            twin.merge(pair)
    episode = play_episode(graph, network, truth=truth, threshold=threshold, record_floor=floor)
    assert merges_of(episode) == twin.merges
    assert episode.decisions.shape == (len(expected), network.n_features)
    np.testing.assert_array_equal(episode.decisions, np.reshape(expected, episode.decisions.shape))
    np.testing.assert_allclose(
        episode.decision_gains, np.reshape(gains, (-1, 2)), rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(episode.gains_vi, episode.decision_gains[: len(twin.merges), 0])
    np.testing.assert_array_equal(episode.gains_rand, episode.decision_gains[: len(twin.merges), 1])


def test_recording_changes_nothing_else() -> None:
    _, (graph, truth, *_) = cell_instance(7, side=14, n_cells=60)
    network = random_network(3)
    threshold, floor = key_at(graph, network, 0.8), key_at(graph, network, 0.2)
    plain = play_episode(graph, network, truth=truth, threshold=threshold)
    recorded = play_episode(graph, network, truth=truth, threshold=threshold, record_floor=floor)
    assert 0 < len(plain.merges) < graph.n_regions - 1
    assert len(plain.decisions) == len(plain.decision_gains) == 0
    assert len(recorded.decisions) > len(recorded.merges)
    for name in ("merges", "heights", "gains_vi", "gains_rand", "vi", "rand"):
        np.testing.assert_array_equal(getattr(recorded, name), getattr(plain, name))


@modest
@given(SEEDS, hs.floats(0, 1))
def test_gains_telescope_to_the_scores_of_the_segmentation(seed: int, share: float) -> None:
    volume, (graph, *_) = cell_instance(seed % 100)
    threshold = key_at(graph, random_network(seed), share)
    labels = random_labels(seed, volume.superpixels.shape, 4)
    truth = truth_table(graph.ids, volume.superpixels, labels)
    episode = play_episode(graph, random_network(seed), truth=truth, threshold=threshold)
    clusters = MergeTree.of_episode(graph.ids, episode).cut(-np.inf)
    for k, segmentation in enumerate(
        (volume.superpixels, relabel(volume.superpixels, graph.ids, clusters))
    ):
        expected = score_segmentation(contingency_table(segmentation, labels))
        assert episode.vi[k] == pytest.approx(expected.vi, abs=1e-9)
        assert episode.rand[k] == pytest.approx(expected.rand_index, abs=1e-9)
    assert episode.gains_vi.sum() == pytest.approx(episode.vi[0] - episode.vi[1], abs=1e-9)
    assert episode.gains_rand.sum() == pytest.approx(episode.rand[1] - episode.rand[0], abs=1e-9)


def test_without_truth_nothing_is_gained() -> None:
    _, (graph, truth, *_) = cell_instance(8)
    blind = play_episode(graph, random_network(0), truth=NO_TRUTH, threshold=-np.inf)
    seeing = play_episode(graph, random_network(0), truth=truth, threshold=-np.inf)
    assert merges_of(blind) == merges_of(seeing)
    assert not blind.gains_vi.any()
    assert seeing.gains_vi.any()
    assert blind.vi.tolist() == [0, 0]
    assert blind.rand.tolist() == [1, 1]


def test_episode_is_a_function_of_the_noise_seed() -> None:
    _, (graph, truth, *_) = cell_instance(9, side=12, n_cells=40)
    network = random_network(5)

    threshold, floor = key_at(graph, network, 0.6), key_at(graph, network, 0.3)

    def play(noise: float, seed: int) -> Episode:
        return play_episode(
            graph,
            network,
            truth=truth,
            threshold=threshold,
            record_floor=floor,
            noise=noise,
            noise_seed=seed,
        )

    first, again, other = play(0.5, 1), play(0.5, 1), play(0.5, 2)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert merges_of(first) != merges_of(other)
    assert merges_of(play(0.0, 1)) == merges_of(play(0.0, 2)) != merges_of(first)
    assert (np.diff(first.heights) <= 0).all()


def test_read_only_arrays_play_the_same_and_stay_as_they_are() -> None:
    _, (graph, truth, *_) = cell_instance(10)
    network = random_network(6, n_features=N_SHAPE_FEATURES, n_members=2)
    threshold, floor = key_at(graph, network, 0.6), key_at(graph, network, 0.3)
    expected = play_episode(graph, network, truth=truth, threshold=threshold, record_floor=floor)
    assert len(expected.merges) > 0
    arrays = [graph.ids, graph.regions, graph.edges, graph.contacts, *truth, *network]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    episode = play_episode(graph, network, truth=truth, threshold=threshold, record_floor=floor)
    for one, two in zip(episode, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_one_region_and_no_contact() -> None:
    one = Volume(*(np.full((2, 2, 2), 3, np.uint8) for _ in range(3)))
    apart = Volume(np.array([[[4, 0, 9]]]), *(np.ones((1, 1, 3), np.uint8) for _ in range(2)))
    for volume in (one, apart):
        graph = volume.graph()
        truth = truth_table(graph.ids, volume.superpixels, np.ones(volume[0].shape, np.uint8))
        episode = play_episode(
            graph, random_network(0), truth=truth, threshold=-np.inf, record_floor=-9.0
        )
        assert (len(episode.merges), len(episode.decisions), episode.n_scores) == (0, 0, 0)
        assert episode.vi[0] == episode.vi[1]
        features, gains = initial_decisions(graph, truth, random_network(0))
        assert (features.shape, gains.shape) == ((0, 41), (0, 2))


@modest
@given(SEEDS)
def test_initial_decisions_are_those_of_the_unmerged_graph(seed: int) -> None:
    _, (graph, truth, *_) = cell_instance(seed % 50)
    network = random_network(seed)
    features, gains = initial_decisions(graph, truth, network)
    twin = MergeTwin(graph, network)
    rows = start_rows(truth, graph.n_regions)
    for edge, (u, v) in enumerate(graph.edges.tolist()):
        np.testing.assert_array_equal(features[edge], twin.features((u, v)))
        assert tuple(gains[edge]) == merge_gains(rows, u, v)
    keys = [twin.edges[u, v].key for u, v in graph.edges.tolist()]
    np.testing.assert_array_equal(start_state(graph, pack(network)).key, keys)


def average_linkage(graph: RegionGraph) -> list[tuple[float, set[int]]]:
    """Merge the contact of lowest mean until none is left; return the means and unions."""
    linked = nx.Graph()
    members = {u: {u} for u in range(graph.n_regions)}
    for (u, v), contact in zip(graph.edges.tolist(), graph.contacts.tolist(), strict=True):
        linked.add_edge(u, v, total=contact[st.FACE_MAX], area=contact[st.AREA])
    made = []
    while linked.number_of_edges():
        mean, u, v = min((d["total"] / d["area"], u, v) for u, v, d in linked.edges(data=True))
        members[u] |= members.pop(v)
        made.append((mean / 255, set(members[u])))
        for w in set(linked[v]) - {u}:
            old = linked.edges[v, w]
            new = linked.edges[u, w] if linked.has_edge(u, w) else {"total": 0, "area": 0}
            linked.add_edge(u, w, **{key: old[key] + new[key] for key in ("total", "area")})
        linked.remove_node(v)
    return made


def smooth_cells(seed: int) -> tuple[Volume, RegionGraph]:
    """Make cells with large contacts, whose means are hardly ever equal."""
    rng = np.random.default_rng(seed)
    superpixels = cell_labels(rng, 16, 30)
    boundaries = rng.integers(0, 256, superpixels.shape, dtype=np.uint8)
    volume = Volume(superpixels, boundaries, boundaries)
    return volume, volume.graph()


@pytest.mark.parametrize("seed", range(5))
def test_mean_boundary_network_is_average_linkage(seed: int) -> None:
    _, graph = smooth_cells(seed)
    episode = play_episode(graph, mean_boundary_network(0.0), threshold=-np.inf)
    expected = average_linkage(graph)
    assert len(episode.merges) == len(expected)
    np.testing.assert_allclose(-episode.heights, [mean for mean, _ in expected], rtol=1e-5)
    members = {u: {u} for u in range(graph.n_regions)}
    for (u, v), (_, union) in zip(episode.merges.tolist(), expected, strict=True):
        members[u] |= members.pop(v)
        assert members[u] == union


@pytest.mark.parametrize("seed", range(3))
def test_mean_boundary_network_agglomerates_like_waterz(
    seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    waterz = pytest.importorskip("waterz", reason="waterz is an optional baseline")
    volume, graph = smooth_cells(seed)
    episode = play_episode(graph, mean_boundary_network(0.0), threshold=-np.inf)
    tree = MergeTree.of_episode(graph.ids, episode)
    affinities = np.zeros((3, *volume.superpixels.shape), np.float32)
    for axis in range(3):  # of a voxel to the one before it along the axis
        moved = np.moveaxis(volume.boundaries, axis, 0)
        np.moveaxis(affinities[axis], axis, 0)[1:] = 1 - np.maximum(moved[1:], moved[:-1]) / 255
    means = -episode.heights
    is_apart = np.diff(means) > 1e-5
    thresholds = ((means[1:] + means[:-1]) / 2)[is_apart].tolist()
    assert len(thresholds) > 20
    segmentations = waterz.agglomerate(
        affinities,
        thresholds,
        fragments=volume.superpixels.copy(),
        scoring_function="OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>",
    )
    for threshold, theirs in zip(thresholds, segmentations, strict=True):
        ours = relabel(volume.superpixels, graph.ids, tree.cut(-threshold))
        assert same_partition(ours, np.array(theirs))
    capfd.readouterr()  # waterz prints its progress


def same_partition(first: npt.NDArray, second: npt.NDArray) -> bool:
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1).shape[1]
    return pairs == len(np.unique(first)) == len(np.unique(second))
