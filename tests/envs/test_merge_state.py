from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs.merge_network import MergeNetwork
from envs.merge_state import (
    CLOCK,
    HEAP_SIZE,
    N_REGIONS_LEFT,
    N_SCORES,
    MergeState,
    best_candidates,
    best_edge,
    is_stale,
    merge,
    precedes,
    start_state,
)
from envs.region_graph import RegionGraph, build_region_graph
from tests.envs.merge_twin import MergeTwin
from tests.envs.random_tissue import (
    SEEDS,
    Volume,
    cell_instance,
    constant_network,
    networks,
    random_network,
    volumes,
)

modest = settings(max_examples=50, deadline=None)
NO_SEED = np.uint64(0)


def neighbours(state: MergeState, u: int) -> dict[int, int]:
    """Walk the list of a region in both directions; return edge by neighbouring region."""
    halves = []
    half = int(state.head[u])
    while half >= 0:
        halves.append(half)
        half = int(state.follow[half])
    back = []
    half = halves[-1] if halves else -1
    while half >= 0:
        back.append(half)
        half = int(state.before[half])
    assert back == halves[::-1]
    assert len(halves) == state.degree[u]
    assert all(state.node[half] == u for half in halves)
    found = {int(state.node[half ^ 1]): half >> 1 for half in halves}
    assert len(found) == len(halves)
    return found


def assert_is_rebuilt(
    state: MergeState, volume: Volume, graph: RegionGraph, root: npt.NDArray[np.int64]
) -> None:
    """Compare all sums and contacts with those of the relabelled volume; root: (R,) region."""
    names = np.array([np.flatnonzero(root == r)[0] for r in root])
    index = np.searchsorted(graph.ids, volume.superpixels.astype(np.uint64))
    relabelled = np.where(
        volume.superpixels == 0, 0, graph.ids[names][np.minimum(index, len(names) - 1)]
    )
    rebuilt = build_region_graph(relabelled, volume.image, volume.boundaries)
    roots = [int(root[np.searchsorted(graph.ids, name)]) for name in rebuilt.ids]
    np.testing.assert_array_equal(state.regions[roots], rebuilt.regions)
    np.testing.assert_array_equal(graph.ids[state.smallest[roots]], rebuilt.ids)
    assert state.counters[N_REGIONS_LEFT] == rebuilt.n_regions
    assert np.count_nonzero(~state.is_gone) == rebuilt.n_edges
    for (u, v), contact in zip(rebuilt.edges, rebuilt.contacts, strict=True):
        edge = neighbours(state, roots[u])[roots[v]]
        assert neighbours(state, roots[v])[roots[u]] == edge
        assert not state.is_gone[edge]
        np.testing.assert_array_equal(state.contacts[edge], contact)


@modest
@given(volumes(), networks(), hs.booleans(), SEEDS)
def test_merged_sums_are_those_of_the_relabelled_volume(
    volume: Volume, network: MergeNetwork, is_in_order: bool, seed: int
) -> None:
    """Merge the best edge, or any edge, until nothing touches, and compare at every stage."""
    graph = volume.graph()
    state = start_state(graph, network)
    rng = np.random.default_rng(seed)
    root = np.arange(graph.n_regions)
    assert_is_rebuilt(state, volume, graph, root)
    while not state.is_gone.all():
        edge = best_edge(state, network, 0.0, NO_SEED)
        if not is_in_order:
            edge = int(rng.choice(np.flatnonzero(~state.is_gone)))
        kept, gone = merge(state, edge)
        root[root == gone] = kept
        assert_is_rebuilt(state, volume, graph, root)
    assert best_edge(state, network, 0.0, NO_SEED) == -1


@modest
@given(volumes(max_side=5, max_regions=14), networks())
def test_keys_and_staleness_are_those_of_the_twin(volume: Volume, network: MergeNetwork) -> None:
    graph = volume.graph()
    state = start_state(graph, network)
    twin = MergeTwin(graph, network)
    while twin.edges:
        seen = {}
        for edge in np.flatnonzero(~state.is_gone):
            u, v = (int(state.smallest[w]) for w in state.node[2 * edge : 2 * edge + 2])
            seen[min(u, v), max(u, v)] = (state.key[edge], int(edge), is_stale(state, edge))
        assert seen == {pair: (e.key, e.tie, e.is_stale) for pair, e in twin.edges.items()}
        assert state.counters[N_SCORES] == twin.n_scores
        best = min(twin.edges, key=twin.order)
        while twin.edges[best].is_stale:
            twin.rescore(best)
            best = min(twin.edges, key=twin.order)
        edge = best_edge(state, network, 0.0, NO_SEED)
        assert edge == twin.edges[best].tie
        merge(state, edge)
        twin.merge(best)


def test_hub_and_spokes_are_joined_from_either_side() -> None:
    """Merge a region of high degree with its neighbours, by marks and by searches."""
    size = 7
    labels = np.arange(2, size**2 + 2).reshape(1, size, size).repeat(3, 0)
    labels[1] = 1  # touches all
    rng = np.random.default_rng(0)
    image, boundaries = rng.integers(0, 256, (2, *labels.shape), dtype=np.uint8)
    volume = Volume(labels, image, boundaries)
    graph = volume.graph()
    hub = int(graph.edges[:, 0].min())
    for with_hub_first in (True, False):
        state = start_state(graph, random_network(0))
        root = np.arange(graph.n_regions)
        for _ in range(graph.n_regions - 1):
            left = np.flatnonzero(~state.is_gone)
            touches = (state.node.reshape(-1, 2)[left] == root[hub]).any(1)
            preferred = left[touches == with_hub_first]
            edge = int(rng.choice(preferred if len(preferred) else left))
            kept, gone = merge(state, edge)
            root[root == gone] = kept
            assert_is_rebuilt(state, volume, graph, root)


@modest
@given(volumes(max_side=5, max_regions=14), networks(), hs.integers(1, 20), SEEDS, hs.booleans())
def test_candidates_are_the_first_of_the_queue(
    volume: Volume, network: MergeNetwork, n_candidates: int, seed: int, has_ties: bool
) -> None:
    network = constant_network(0.5) if has_ties else network
    graph = volume.graph()
    state = start_state(graph, network)
    rng = np.random.default_rng(seed)
    scratch = np.zeros(graph.n_edges + 1, np.int32)
    while True:
        best_edge(state, network, 0.0, NO_SEED)
        heap = state.heap.copy()
        found = np.full(n_candidates, -1, np.int32)
        n_found = best_candidates(state, found, scratch)
        left = sorted(np.flatnonzero(~state.is_gone), key=lambda e: (-state.key[e], e))
        assert found[:n_found].tolist() == left[:n_candidates]
        np.testing.assert_array_equal(state.heap, heap)
        if n_found == 0:
            break
        merge(state, int(rng.choice(found[:n_found])))


def test_start_queues_every_edge_and_copies_the_graph() -> None:
    _, (graph, *_) = cell_instance(3)
    for array in (graph.ids, graph.regions, graph.edges, graph.contacts):
        array.setflags(write=False)
    network = random_network(1)
    state = start_state(graph, network)
    assert state.counters[HEAP_SIZE] == state.counters[N_SCORES] == graph.n_edges
    assert state.counters[CLOCK] == 0
    for first, second in zip(state.heap[:-1], state.heap[1:], strict=True):
        assert precedes(state.key, first, second)
    merge(state, best_edge(state, network, 0.0, NO_SEED))
    assert (state.regions != graph.regions).any()


def test_equal_keys_are_ordered_by_edge() -> None:
    _, (graph, *_) = cell_instance(4)
    state = start_state(graph, constant_network(1.0))
    assert state.heap.tolist() == list(range(graph.n_edges))


def test_noise_is_a_function_of_its_seed_and_standard_normal() -> None:
    _, (graph, *_) = cell_instance(5, side=16, n_cells=300)
    assert graph.n_edges > 1000
    network = constant_network(0.0)

    def noise(seed: int, size: float = 1.0) -> npt.NDArray[np.float64]:
        return start_state(graph, network, noise=size, noise_seed=seed).key

    first = noise(7)
    np.testing.assert_array_equal(noise(7), first)
    np.testing.assert_allclose(noise(7, 0.25), first / 4)
    assert not np.isin(noise(8), first).any()
    assert not np.isin(noise(-1), first).any()
    np.testing.assert_array_equal(noise(-1), noise(2**64 - 1))
    error = 1 / np.sqrt(graph.n_edges)
    assert abs(first.mean()) < 4 * error
    assert abs(first.std() - 1) < 4 * error
    assert abs(np.mean(np.abs(first) < 0.6745) - 0.5) < 4 * error
    assert abs(np.corrcoef(first, noise(8))[0, 1]) < 4 * error
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 4 * error
    assert (noise(7, 0.0) == 0).all()


def test_noise_is_drawn_anew_when_an_edge_is_scored_again() -> None:
    _, (graph, *_) = cell_instance(6)
    network = constant_network(0.0)
    state = start_state(graph, network, noise=1.0, noise_seed=7)
    first_keys = state.key.copy()
    while (edge := best_edge(state, network, 1.0, np.uint64(7))) >= 0:
        merge(state, edge)
    rescored = state.scored_at > 0
    assert (state.key[~rescored] == first_keys[~rescored]).all()
    assert (state.key[rescored] <= first_keys[rescored]).all()
    assert (state.key[rescored] < first_keys[rescored]).any()
