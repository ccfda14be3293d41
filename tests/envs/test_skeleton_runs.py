from __future__ import annotations

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.input_error import InputError
from analysis.run_length import Skeleton, expected_run_length
from envs.skeleton_runs import (
    NO_SKELETONS,
    RunState,
    Skeletons,
    join_runs,
    run_error,
    run_gain,
    skeletons_of,
    start_runs,
)
from tests.envs.random_tissue import SEEDS

modest = settings(max_examples=60, deadline=None)


def run_length(skeletons: Skeletons, cluster: npt.NDArray) -> float:
    """Sum L² of connected pieces found by networkx; cluster: (R,), of every region."""
    n_nodes = len(skeletons.node_region)
    forest = nx.Graph()
    forest.add_nodes_from(range(n_nodes))
    for (a, b), length in zip(skeletons.edges.tolist(), skeletons.lengths_nm.tolist(), strict=True):
        forest.add_edge(a, b, length=length)
    squares = 0
    where = [int(cluster[region]) if region >= 0 else -1 for region in skeletons.node_region]
    for c in set(where) - {-1}:
        members = [node for node in range(n_nodes) if where[node] == c]
        if len({int(skeletons.node_neuron[node]) for node in members}) == 1:
            squares += int(forest.subgraph(members).size("length")) ** 2
    return squares / int(skeletons.lengths_nm.sum())


def whole_run_length(skeletons: Skeletons) -> float:
    neuron = skeletons.node_neuron[skeletons.edges[:, 0]]
    lengths = [int(skeletons.lengths_nm[neuron == k].sum()) for k in np.unique(neuron)]
    return sum(length**2 for length in lengths) / sum(lengths)


@hs.composite
def forests(draw: hs.DrawFn, *, n_regions: int = 7) -> Skeletons:
    """Draw neurons of random edges, cycles and loose nodes too, nodes outside among them."""
    rng = np.random.default_rng(draw(SEEDS))
    n_neurons = draw(hs.integers(1, 4))
    n_nodes = draw(hs.integers(2, 24))
    neuron = rng.integers(n_neurons, size=n_nodes)
    neuron[:2] = 0
    home = rng.integers(n_neurons, size=n_regions)
    region = rng.integers(-1, n_regions, n_nodes)
    if draw(hs.booleans()):  # most regions pure
        for node in range(n_nodes):
            own = np.flatnonzero(home == neuron[node])
            region[node] = rng.choice(own) if len(own) else -1
    pairs = {(0, 1)}
    for _ in range(n_nodes):
        a, b = rng.integers(n_nodes, size=2)
        if a != b and neuron[a] == neuron[b]:
            pairs.add((int(min(a, b)), int(max(a, b))))
    edges = np.array(sorted(pairs), np.int32)
    lengths = rng.integers(0, 1000, len(edges))
    lengths[0] = 1 + rng.integers(1000)
    return Skeletons(
        region.astype(np.int32), neuron.astype(np.int32), edges, lengths.astype(np.int64)
    )


def copy_of(runs: RunState) -> list[npt.NDArray]:
    return [array.copy() for array in runs]


def test_drawn_skeletons() -> None:
    """Neuron A runs through 5, 9 and nothing; neuron B through 12 and 9.

    x =        0 1 2 3 4 5
    superpixel 5 5 9 9 0 12, one voxel of x 10 nm; B steps from z = 1 (40 nm) at x = 3.
    """
    superpixels = np.array([[[5, 5, 9, 9, 0, 12]], [[5, 5, 9, 9, 0, 12]]], np.uint64)
    ids = np.array([5, 9, 12], np.uint64)
    nodes = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 4], [1, 0, 5], [0, 0, 5]])
    neuron = np.array([70, 70, 70, 70, 30, 30])
    edges = np.array([[0, 1], [1, 2], [3, 2], [4, 5]])
    skeletons = skeletons_of(ids, superpixels, nodes, neuron, edges, (40.0, 20.0, 10.0))
    assert skeletons.node_region.tolist() == [0, 0, 1, -1, 2, 2]
    assert skeletons.node_neuron.tolist() == [1, 1, 1, 1, 0, 0]
    assert skeletons.lengths_nm.tolist() == [10, 10, 20, 40]
    runs = start_runs(skeletons, 3)
    # Whole: A 40, B 40. Inside: A 10 in region 5, B 40 in region 12.
    most = 40**2 + 40**2
    assert run_error(runs) == pytest.approx(1 - (10**2 + 40**2) / most)
    assert run_gain(runs, 0, 1) == run_gain(runs, 1, 0) == (20**2 - 10**2) / most
    assert run_gain(runs, 1, 2) == -(40**2) / most
    join_runs(runs, 1, 0)
    assert run_error(runs) == pytest.approx(1 - (20**2 + 40**2) / most)
    assert run_gain(runs, 2, 1) == -(20**2 + 40**2) / most
    join_runs(runs, 2, 1)
    assert run_error(runs) == 1


@modest
@given(forests(), SEEDS)
def test_gains_are_the_changes_of_run_lengths_made_from_scratch(
    skeletons: Skeletons, seed: int
) -> None:
    n_regions = 7
    rng = np.random.default_rng(seed)
    runs = start_runs(skeletons, n_regions)
    cluster = np.arange(n_regions)
    whole = whole_run_length(skeletons)

    def error() -> float:
        return (whole - run_length(skeletons, cluster)) / whole

    before = error()
    assert run_error(runs) == pytest.approx(before, abs=1e-12)
    left = list(range(n_regions))
    while len(left) > 1:
        u, v = (int(w) for w in rng.choice(left, 2, replace=False))
        state = copy_of(runs)
        gain = run_gain(runs, u, v)
        assert run_gain(runs, v, u) == gain
        assert all(map(np.array_equal, state, runs))
        join_runs(runs, u, v)
        left.remove(v)
        cluster[cluster == v] = u
        after = error()
        assert gain == pytest.approx(before - after, abs=1e-12)
        assert run_error(runs) == pytest.approx(after, abs=1e-12)
        before = after


@modest
@given(forests(), SEEDS)
def test_lengths_do_not_depend_on_the_order_of_merges(skeletons: Skeletons, seed: int) -> None:
    """Merge the same sets in two orders and look at the gain of joining what came out."""
    rng = np.random.default_rng(seed)
    halves = np.split(rng.permutation(7), [int(rng.integers(1, 7))])
    gains = []
    for _ in range(2):
        runs = start_runs(skeletons, 7)
        stand_for = []
        for half in halves:
            members = [int(u) for u in rng.permutation(half)]
            while len(members) > 1:
                u, v = rng.choice(len(members), 2, replace=False)
                join_runs(runs, members[u], members[v])
                members.pop(v)
            stand_for.append(members[0])
        gains.append((run_gain(runs, *stand_for), run_error(runs)))
    # Slots differ with the order, so the sum of squares is taken in another order.
    assert gains[0][0] == gains[1][0]
    assert gains[0][1] == pytest.approx(gains[1][1], abs=1e-14)


@modest
@given(SEEDS)
def test_errors_are_those_of_the_expected_run_length(seed: int) -> None:
    """Neurons are lines whose nodes lie in random clusters or in none."""
    rng = np.random.default_rng(seed)
    n_neurons, n_each, n_regions = 3, 5, 8
    places = np.cumsum(rng.integers(1, 100, (n_neurons, n_each)), 1)
    region = rng.integers(-1, n_regions, (n_neurons, n_each))
    if rng.random() < 0.7:  # few mergers
        region = np.where(region < 0, -1, region // 3 * 3 + np.arange(n_neurons)[:, None])
    chain = np.stack([np.arange(n_each - 1), np.arange(1, n_each)], 1)
    runs = start_runs(
        Skeletons(
            region.reshape(-1).astype(np.int32),
            np.repeat(np.arange(n_neurons), n_each).astype(np.int32),
            np.concatenate([chain + n_each * k for k in range(n_neurons)]).astype(np.int32),
            np.diff(places, axis=1).reshape(-1),
        ),
        n_regions + 1,
    )
    skeletons = [
        Skeleton(str(k), places[k][:, None] * np.array([0.0, 0.0, 1.0]), chain)
        for k in range(n_neurons)
    ]
    cluster = np.arange(n_regions + 1)
    for u, v in rng.permutation(n_regions + 1)[:6].reshape(3, 2):
        expected = expected_run_length(
            skeletons, list(np.where(region < 0, 0, cluster[region] + 1))
        )
        share = expected.expected_run_length_nm / expected.largest_run_length_nm
        assert run_error(runs) == pytest.approx(1 - share, abs=1e-12)
        join_runs(runs, u, v)
        cluster[cluster == v] = u


def test_a_long_skeleton_telescopes() -> None:
    """A chain through 2,000 regions, merged in random order, ends without error."""
    n = 2000
    rng = np.random.default_rng(3)
    region = np.repeat(rng.permutation(n), 2).astype(np.int32)
    links = np.stack([np.arange(2 * n - 1), np.arange(1, 2 * n)], 1).astype(np.int32)
    chain = Skeletons(region, np.zeros(2 * n, np.int32), links, rng.integers(1, 10**6, 2 * n - 1))
    runs = start_runs(chain, n)
    start, total = run_error(runs), 0.0
    left = list(range(n))
    while len(left) > 1:
        i = int(rng.integers(len(left) - 1))
        left[i], left[-1] = left[-1], left[i]
        v = left.pop()
        u = left[int(rng.integers(len(left)))]
        total += run_gain(runs, u, v)
        join_runs(runs, u, v)
    assert run_error(runs) == 0
    assert start == pytest.approx(total, abs=1e-9)


def test_read_only_skeletons_can_be_started_again() -> None:
    skeletons = Skeletons(
        np.array([0, 1], np.int32),
        np.zeros(2, np.int32),
        np.array([[0, 1]], np.int32),
        np.array([5], np.int64),
    )
    for column in skeletons:
        column.setflags(write=False)
    for _ in range(2):
        runs = start_runs(skeletons, 2)
        assert run_error(runs) == 1
        join_runs(runs, 0, 1)
        assert run_error(runs) == 0
    assert len(start_runs(NO_SKELETONS, 0).head) == 0


def test_wrong_skeletons_are_told() -> None:
    ids = np.array([1, 2], np.uint64)
    superpixels = np.array([[[1, 2, 0]]])
    nodes = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2]])
    neuron = np.array([4, 4, 6])
    edges = np.array([[0, 1]])
    size = (1.0, 1.0, 1.0)
    assert skeletons_of(ids, superpixels, nodes, neuron, edges, size).lengths_nm.tolist() == [1]
    for changed, message in (
        (
            {"nodes_vox": nodes + np.array([0, 0, 1])},
            r"nodes_vox holds \[0, 0, 3\], outside the volume",
        ),
        ({"nodes_vox": nodes.astype(float)}, "nodes_vox must be integer z, y, x, not float64"),
        ({"nodes_vox": nodes[:0]}, "nodes_vox must hold at least one point"),
        ({"node_neuron": neuron[:2]}, r"node_neuron must be 3 integers, not int64 of shape \(2,\)"),
        ({"edges": np.array([[0, 3]])}, "edges must be indices of 3 nodes, but reach from 0 to 3"),
        ({"edges": np.array([[0, 2]])}, r"edges join nodes \[0, 2\] of different neurons"),
        ({"edges": np.array([[0, 1], [1, 0]])}, r"edges hold the pair \[0, 1\] more than once"),
        ({"edges": np.empty((0, 2), int)}, "edges must hold at least one pair"),
        ({"edges": np.array([0, 1])}, r"edges must be integer pairs of nodes, not int64 of shape"),
        ({"ids": ids[:1]}, "superpixels hold ids that are not among the 1 of the graph"),
    ):
        given_arguments = {
            "ids": ids,
            "superpixels": superpixels,
            "nodes_vox": nodes,
            "node_neuron": neuron,
            "edges": edges,
        }
        with pytest.raises(InputError, match=message):
            skeletons_of(**(given_arguments | changed), voxel_size_nm=size)
