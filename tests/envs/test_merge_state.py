from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs import statistics as st
from envs.confluent_rule import best_candidates, best_edge, start_state
from envs.features import CONTACT_COLUMNS, N_SHAPE_FEATURES
from envs.merge_network import MergeNetwork, pack
from envs.merge_state import (
    CLOCK,
    DEGREE,
    FORBIDDEN,
    GONE,
    HEAD,
    IS_HUB,
    LEFT,
    N_REGIONS_LEFT,
    N_SCORES,
    NEXT,
    NODE,
    NOTE,
    OPEN,
    TAIL,
    MergeState,
    blank_state,
    is_stale,
)
from envs.region_graph import RegionGraph, build_region_graph
from envs.transitions import merge, see_again, set_status
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
    """Walk the list of a region; return edge by neighbouring region."""
    halves = []
    half = last = int(state.places[u, HEAD])
    while half >= 0:
        last = half
        if state.status[half >> 1] != GONE:
            assert state.links[half, NODE] == u
            halves.append(half)
        half = int(state.links[half, NEXT])
    assert last == state.places[u, TAIL]
    assert len(halves) == state.places[u, DEGREE]
    found = {int(state.links[half ^ 1, NODE]): half >> 1 for half in halves}
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
    assert np.count_nonzero(state.status != GONE) == rebuilt.n_edges
    for (u, v), contact in zip(rebuilt.edges, rebuilt.contacts, strict=True):
        edge = neighbours(state, roots[u])[roots[v]]
        assert neighbours(state, roots[v])[roots[u]] == edge
        np.testing.assert_array_equal(state.contacts[edge], contact[CONTACT_COLUMNS])
        assert state.contacts[edge, st.AREA] == contact[st.CONTACT_HISTOGRAM :][: st.N_BINS].sum()
        if len(state.positions):
            np.testing.assert_array_equal(state.positions[edge], contact[st.CONTACT_POSITION :])
    held = sorted(state.slots[state.slots >= 0].tolist())
    is_hub = state.places[:, IS_HUB] > 0
    of_hubs = is_hub[state.links[:, NODE].reshape(-1, 2)].any(1) & (state.status != GONE)
    assert held == np.flatnonzero(of_hubs).tolist()


def unmerged(volume: Volume, hub_degree: int) -> tuple[RegionGraph, MergeState]:
    graph = volume.graph()
    return graph, blank_state(graph, N_SHAPE_FEATURES, 1, hub_degree=hub_degree)


@modest
@given(volumes(), hs.sampled_from([0, 2, 4, 96]), SEEDS)
def test_merged_sums_are_those_of_the_relabelled_volume(
    volume: Volume, hub_degree: int, seed: int
) -> None:
    """Merge any edge until nothing touches, and compare at every stage; hubs or none."""
    graph, state = unmerged(volume, hub_degree)
    state.key[:] = np.random.default_rng(seed + 1).integers(0, 3, graph.n_edges)
    rng = np.random.default_rng(seed)
    root = np.arange(graph.n_regions)
    assert_is_rebuilt(state, volume, graph, root)
    while (left := np.flatnonzero(state.status != GONE)).size:
        kept, gone = merge(state, int(rng.choice(left)))
        root[root == gone] = kept
        assert_is_rebuilt(state, volume, graph, root)


@modest
@given(volumes(max_side=5, max_regions=14), networks())
def test_keys_and_staleness_are_those_of_the_twin(volume: Volume, network: MergeNetwork) -> None:
    graph = volume.graph()
    scorer = pack(network)
    state = start_state(graph, scorer)
    twin = MergeTwin(graph, network)
    while twin.edges:
        seen = {}
        for edge in np.flatnonzero(state.status != GONE):
            u, v = (int(state.smallest[w]) for w in state.links[2 * edge : 2 * edge + 2, NODE])
            is_old = is_stale(state.links, state.places, edge)
            seen[min(u, v), max(u, v)] = (state.key[edge], int(edge), is_old)
        assert seen == {pair: (e.key, e.tie, e.is_stale) for pair, e in twin.edges.items()}
        assert state.counters[N_SCORES] == twin.n_scores
        best = min(twin.edges, key=twin.order)
        while twin.edges[best].is_stale:
            twin.rescore(best)
            best = min(twin.edges, key=twin.order)
        edge = best_edge(state, scorer, 0.0, NO_SEED)
        assert edge == twin.edges[best].tie
        merge(state, edge)
        twin.merge(best)


def test_hub_and_spokes_are_joined_from_either_side() -> None:
    """Merge a region of high degree with its neighbours, by marks and through the table."""
    size = 7
    labels = np.arange(2, size**2 + 2).reshape(1, size, size).repeat(3, 0)
    labels[1] = 1  # touches all
    rng = np.random.default_rng(0)
    image, boundaries = rng.integers(0, 256, (2, *labels.shape), dtype=np.uint8)
    volume = Volume(labels, image, boundaries)
    for hub_degree in (3, 12, 96):
        for with_hub_first in (True, False):
            graph, state = unmerged(volume, hub_degree)
            hub = int(graph.edges[:, 0].min())
            root = np.arange(graph.n_regions)
            for _ in range(graph.n_regions - 1):
                left = np.flatnonzero(state.status != GONE)
                touches = (state.links[:, NODE].reshape(-1, 2)[left] == root[hub]).any(1)
                preferred = left[touches == with_hub_first]
                edge = int(rng.choice(preferred if len(preferred) else left))
                kept, gone = merge(state, edge)
                root[root == gone] = kept
                assert_is_rebuilt(state, volume, graph, root)


def test_of_parallel_edges_the_open_one_stays_and_a_no_is_inherited() -> None:
    """Merge 1 and 2, which both touch 3, with every pair of statuses and both orders of keys."""
    labels = np.array([[[1, 2], [3, 3]]], np.uint8)
    grey = np.zeros(labels.shape, np.uint8)
    expected = {
        (OPEN, OPEN): OPEN,
        (OPEN, LEFT): OPEN,
        (LEFT, LEFT): LEFT,
        (OPEN, FORBIDDEN): FORBIDDEN,
        (LEFT, FORBIDDEN): FORBIDDEN,
        (FORBIDDEN, FORBIDDEN): FORBIDDEN,
    }
    for (first, second), joined in expected.items():
        for one, two in ((first, second), (second, first)):
            for keys in ((1.0, 2.0), (2.0, 1.0), (1.0, 1.0)):
                graph, state = unmerged(Volume(labels, grey, grey), 96)
                assert graph.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
                state.key[1:] = keys
                for edge, status in ((1, one), (2, two)):
                    if status != OPEN:
                        set_status(state.links, edge, status)
                kept, _ = merge(state, 0)
                (edge,) = neighbours(state, kept).values()
                assert state.status[edge] == joined
                assert state.contacts[edge, st.AREA] == 2
                if one == two:
                    assert edge == (1 if keys[0] >= keys[1] else 2)
                elif OPEN in (one, two):
                    assert edge == (1 if one == OPEN else 2)


@modest
@given(volumes(), SEEDS)
def test_sums_after_second_looks_are_those_of_both_volumes(volume: Volume, seed: int) -> None:
    """Image and merge at random; every sum is that of the superpixels and contacts seen again."""
    graph = volume.graph()
    rng = np.random.default_rng(seed)
    other = volume._replace(
        boundaries=rng.integers(0, 256, volume.superpixels.shape, dtype=np.uint8)
    )
    network = random_network(0)
    clear = other.graph()
    twin = MergeTwin(graph, network, clear)
    state = blank_state(graph, N_SHAPE_FEATURES, 1, clear, hub_degree=2)
    while twin.edges:
        pair = list(twin.edges)[rng.integers(len(twin.edges))]
        tie = twin.edges[pair].tie
        if rng.random() < 0.5:
            small = twin.smaller(pair)
            u = next(int(u) for u in state.links[2 * tie : 2 * tie + 2, NODE]
                     if state.smallest[u] == small)  # fmt: skip
            see_again(state, u)
            twin.look(pair)
        else:
            merge(state, tie)
            for edge in twin.edges.values():
                edge.key = 0.0
            twin.merge(pair)
        for (a, b), edge in twin.edges.items():
            ends = {int(state.smallest[u]): int(u) for u in state.links[2 * edge.tie :, NODE][:2]}
            assert set(ends) == {a, b}
            sums = twin.contact_sums((a, b))
            np.testing.assert_array_equal(state.contacts[edge.tie], sums[CONTACT_COLUMNS])
            for name, u in ends.items():
                np.testing.assert_array_equal(state.regions[u], twin.region_sums(name))
                n_seen = sum(graph.regions[r, st.SIZE] for r in twin.members[name] & twin.imaged)
                assert state.n_clear[u] == n_seen
    if graph.n_edges:
        assert state.counters[CLOCK] > 0


def test_a_second_look_must_show_the_same_contacts() -> None:
    _, (graph, *_) = cell_instance(1)
    _, (other, *_) = cell_instance(2)
    with pytest.raises(ValueError, match="regions and contacts of the first"):
        blank_state(graph, N_SHAPE_FEATURES, 1, other)


@modest
@given(volumes(max_side=5, max_regions=14), networks(), hs.integers(1, 20), SEEDS, hs.booleans())
def test_candidates_are_the_first_of_the_queue(
    volume: Volume, network: MergeNetwork, n_candidates: int, seed: int, has_ties: bool
) -> None:
    scorer = pack(constant_network(0.5) if has_ties else network)
    graph = volume.graph()
    state = start_state(graph, scorer)
    rng = np.random.default_rng(seed)
    scratch = np.zeros(graph.n_edges + 1, np.int32)
    while True:
        best_edge(state, scorer, 0.0, NO_SEED)
        before = [array.copy() for array in state.queue]
        found = np.full(n_candidates, -1, np.int32)
        n_found = best_candidates(state, found, scratch)
        left = sorted(np.flatnonzero(state.status == OPEN), key=lambda e: (-state.key[e], e))
        assert found[:n_found].tolist() == left[:n_candidates]
        for array, copy in zip(state.queue, before, strict=True):
            np.testing.assert_array_equal(array, copy)
        if n_found == 0:
            break
        chosen = int(rng.choice(found[:n_found]))
        if rng.random() < 0.3:
            set_status(state.links, chosen, LEFT)
        else:
            merge(state, chosen)


def test_start_queues_every_edge_and_copies_the_graph() -> None:
    _, (graph, *_) = cell_instance(3)
    for array in (graph.ids, graph.regions, graph.edges, graph.contacts):
        array.setflags(write=False)
    scorer = pack(random_network(1))
    state = start_state(graph, scorer)
    assert len(state.queue.run) == state.counters[N_SCORES] == graph.n_edges
    assert state.counters[CLOCK] == 0
    assert state.queue.run.tolist() == np.lexsort((np.arange(graph.n_edges), -state.key)).tolist()
    merge(state, best_edge(state, scorer, 0.0, NO_SEED))
    assert (state.regions != graph.regions).any()


def test_equal_keys_are_ordered_by_edge_and_low_ones_not_queued() -> None:
    _, (graph, *_) = cell_instance(4)
    scorer = pack(constant_network(1.0))
    assert start_state(graph, scorer).queue.run.tolist() == list(range(graph.n_edges))
    assert len(start_state(graph, scorer, floor=1.5).queue.run) == 0


def test_noise_is_a_function_of_its_seed_and_standard_normal() -> None:
    _, (graph, *_) = cell_instance(5, side=16, n_cells=300)
    assert graph.n_edges > 1000
    scorer = pack(constant_network(0.0))

    def noise(seed: int, size: float = 1.0) -> npt.NDArray[np.float32]:
        return start_state(graph, scorer, noise=size, noise_seed=seed).key

    first = noise(7)
    np.testing.assert_array_equal(noise(7), first)
    np.testing.assert_allclose(noise(7, 0.25), first / 4, rtol=1e-6)
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
    scorer = pack(constant_network(0.0))
    state = start_state(graph, scorer, noise=1.0, noise_seed=7)
    first_keys = state.key.copy()
    while (edge := best_edge(state, scorer, 1.0, np.uint64(7))) >= 0:
        merge(state, edge)
    is_rescored = state.links[::2, NOTE] > 0
    assert (state.key[~is_rescored] == first_keys[~is_rescored]).all()
    assert (state.key[is_rescored] <= first_keys[is_rescored]).all()
    assert (state.key[is_rescored] < first_keys[is_rescored]).any()
