from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from scipy.cluster.hierarchy import fcluster, is_valid_linkage

from envs.merge_tree import MergeTree, relabel
from envs.rollout import play_episode
from tests.envs.random_tissue import SEEDS, Volume, cell_instance, random_network, volumes

modest = settings(max_examples=60, deadline=None)


def drawn_tree() -> MergeTree:
    """Five superpixels: 20 + 30 at 4, 10 + 50 at 2, {10, 50} + {20, 30} at 2, 40 apart."""
    return MergeTree(
        np.array([10, 20, 30, 40, 50], np.uint64),
        np.array([[1, 2], [0, 4], [0, 1]], np.int32),
        np.array([4.0, 2.0, 2.0]),
    )


@pytest.mark.parametrize(
    ("threshold", "clusters"),
    [
        (4.5, [10, 20, 30, 40, 50]),
        (4.0, [10, 20, 20, 40, 50]),
        (2.5, [10, 20, 20, 40, 50]),
        (2.0, [10, 10, 10, 40, 10]),
        (-np.inf, [10, 10, 10, 40, 10]),
    ],
)
def test_drawn_tree(threshold: float, clusters: list[int]) -> None:
    cut = drawn_tree().cut(threshold)
    assert cut.dtype == np.uint64
    assert cut.tolist() == clusters


@hs.composite
def trees(draw: hs.DrawFn) -> MergeTree:
    """Draw a tree of random merges with heights among few values, so that some are equal."""
    n_regions = draw(hs.integers(1, 30))
    rng = np.random.default_rng(draw(SEEDS))
    ids = np.sort(rng.choice(2**40, n_regions, replace=False)).astype(np.uint64)
    left = list(range(n_regions))
    merges = []
    for _ in range(draw(hs.integers(0, n_regions - 1))):
        u, v = sorted(rng.choice(left, 2, replace=False).tolist())
        left.remove(v)
        merges.append((u, v))
    heights = -np.sort(-rng.integers(-3, 4, len(merges)).astype(np.float64))
    return MergeTree(ids, np.array(merges, np.int32).reshape(-1, 2), heights)


@modest
@given(trees(), hs.one_of(hs.sampled_from([-np.inf, np.inf, *range(-3, 4)]), hs.floats(-4, 4)))
def test_cut_joins_what_union_find_joins(tree: MergeTree, threshold: float) -> None:
    parent = list(range(len(tree.ids)))

    def find(i: int) -> int:
        return i if parent[i] == i else find(parent[i])

    for (u, v), height in zip(tree.merges.tolist(), tree.heights, strict=True):
        if height >= threshold:
            parent[find(v)] = find(u)
    members: dict[int, list[int]] = {}
    for i in range(len(tree.ids)):
        members.setdefault(find(i), []).append(i)
    expected = {i: tree.ids[min(inside)] for inside in members.values() for i in inside}
    assert tree.cut(threshold).tolist() == [expected[i] for i in range(len(tree.ids))]


def test_cutting_leaves_the_tree_as_it_is() -> None:
    tree = drawn_tree()
    for array in (tree.ids, tree.merges, tree.heights):
        array.setflags(write=False)
    assert tree.cut(0.0).tolist() == tree.cut(0.0).tolist()
    tree.cut(0.0)[:] = 0
    assert tree.cut(0.0).tolist() == [10, 10, 10, 40, 10]


def test_tree_of_an_episode() -> None:
    _, (graph, *_) = cell_instance(1)
    episode = play_episode(graph, random_network(1), threshold=-np.inf)
    tree = MergeTree.of_episode(graph.ids, episode)
    assert len(set(tree.cut(-np.inf).tolist())) == 1
    assert len(set(tree.cut(np.inf).tolist())) == graph.n_regions
    middle = float(np.median(tree.heights))
    n_made = np.count_nonzero(tree.heights >= middle)
    assert len(set(tree.cut(middle).tolist())) == graph.n_regions - n_made


@modest
@given(volumes(), SEEDS)
def test_relabel_goes_voxel_by_voxel(volume: Volume, seed: int) -> None:
    ids = volume.graph().ids
    clusters = np.random.default_rng(seed).choice(ids, len(ids))
    names = {0: 0, **dict(zip(ids.tolist(), clusters.tolist(), strict=True))}
    relabelled = relabel(volume.superpixels, ids, clusters)
    assert relabelled.dtype == np.uint64
    assert relabelled.shape == volume.superpixels.shape
    assert relabelled.ravel().tolist() == [names[int(u)] for u in volume.superpixels.ravel()]


def test_relabel_in_place() -> None:
    superpixels = np.array([[[1, 2, 0, 2, 5]]], np.uint64)
    ids, clusters = np.array([1, 2, 5], np.uint64), np.array([2, 5, 1], np.uint64)
    expected = relabel(superpixels, ids, clusters)
    assert relabel(superpixels, ids, clusters, out=superpixels) is superpixels
    assert superpixels.tolist() == expected.tolist() == [[[2, 5, 0, 5, 1]]]
    for out in (
        superpixels[0],
        superpixels.astype(np.int64),
        np.zeros((1, 1, 10), np.uint64)[..., ::2],
    ):
        with pytest.raises(ValueError, match=r"out must be contiguous uint64 of shape \(1, 1, 5\)"):
            relabel(superpixels, ids, clusters, out=out)  # pyright: ignore[reportArgumentType]


IDS = np.arange(3, dtype=np.uint64)
ONE_MERGE = np.array([[0, 1]], np.int32)


@pytest.mark.parametrize(
    ("merges", "heights", "message"),
    [
        (ONE_MERGE, np.zeros(2), "1 merges with 2 heights cannot come from 3 regions"),
        (np.repeat(ONE_MERGE, 3, 0), np.zeros(3), "3 merges with 3 heights cannot come from 3"),
        (np.array([[0, 1], [0, 2]]), np.array([1.0, 2.0]), "heights must never increase"),
        (ONE_MERGE, np.array([np.nan]), "heights must never increase"),
        (np.array([[1, 0]]), np.zeros(1), "merges must be pairs u < v of 3 regions"),
        (np.array([[1, 1]]), np.zeros(1), "merges must be pairs u < v of 3 regions"),
        (np.array([[0, 3]]), np.zeros(1), "merges must be pairs u < v of 3 regions"),
        (np.array([[-1, 1]]), np.zeros(1), "merges must be pairs u < v of 3 regions"),
        (np.array([[0, 1], [0, 1]]), np.zeros(2), "merges must be pairs u < v of 3 regions"),
        (np.array([[0, 1], [1, 2]]), np.zeros(2), "merges must be pairs u < v of 3 regions"),
    ],
)
def test_trees_that_cannot_be_are_refused(
    merges: np.ndarray, heights: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MergeTree(IDS, merges, heights)


def test_wrong_labels_are_refused() -> None:
    superpixels = np.array([[[1, 2, 0]]])
    ids = np.array([1, 2], np.uint64)
    with pytest.raises(ValueError, match="1 of the 3 ids given do not occur in superpixels"):
        relabel(superpixels, np.array([1, 2, 3], np.uint64), np.ones(3, np.uint64))
    with pytest.raises(ValueError, match="hold the id 1, which is not among the 2 given"):
        relabel(superpixels, ids + np.uint64(1), ids)
    with pytest.raises(ValueError, match="1 clusters for 2 ids"):
        relabel(superpixels, ids, ids[:1])


def partition(names: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(names == name).tolist()) for name in np.unique(names)}


def test_drawn_tree_as_linkage_and_graph() -> None:
    expected = [[1, 2, 0, 2], [0, 4, 2, 2], [5, 6, 2, 4], [3, 7, np.inf, 5]]
    np.testing.assert_array_equal(drawn_tree().linkage_matrix(), expected)
    graph = drawn_tree().to_networkx()
    assert sorted(graph.edges) == [(5, 1), (5, 2), (6, 0), (6, 4), (7, 5), (7, 6)]
    assert graph.nodes[7] == {"height": 2.0}
    assert graph.nodes[3] == {"superpixel": 40}


@modest
@given(trees())
def test_linkage_matrix_cuts_as_the_tree_does(tree: MergeTree) -> None:
    if len(tree.ids) == 1:
        assert tree.linkage_matrix().shape == (0, 4)
        return
    linkage = tree.linkage_matrix()
    assert is_valid_linkage(linkage)
    for height in tree.heights:
        flat = fcluster(linkage, tree.heights[0] - height, criterion="distance")
        assert partition(flat) == partition(tree.cut(height))


@modest
@given(trees())
def test_networkx_tree_holds_the_clusters(tree: MergeTree) -> None:
    graph = tree.to_networkx()
    assert nx.is_forest(graph)
    for height in [*tree.heights.tolist(), np.inf]:
        low = [n for n, made in graph.nodes(data="height") if made is not None and made < height]
        kept = graph.copy()
        kept.remove_nodes_from(low)
        names = np.zeros(len(tree.ids), np.int64)
        for k, component in enumerate(nx.weakly_connected_components(kept)):
            names[[n for n in component if n < len(names)]] = k
        assert partition(names) == partition(tree.cut(height))
