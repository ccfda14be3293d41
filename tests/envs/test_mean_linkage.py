from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.contingency import contingency_table
from analysis.segmentation_scores import score_segmentation
from envs.mean_linkage import mean_linkage
from envs.merge_tree import MergeTree, relabel
from envs.region_graph import region_adjacency
from tests.envs.random_tissue import SEEDS, cell_labels

modest = settings(max_examples=80, deadline=None)


class Graph(NamedTuple):
    """Contacts with the sums of something over their faces."""

    edges: npt.NDArray[np.int32]
    sums: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    n_regions: int


def random_graph(seed: int, n_regions: int, n_edges: int, n_values: int) -> Graph:
    """Make contacts of 1 to 4 faces; few values make many ties."""
    rng = np.random.default_rng(seed)
    pairs = np.array([(u, v) for u in range(n_regions) for v in range(u + 1, n_regions)], np.int32)
    pairs = pairs.reshape(-1, 2)
    edges = pairs[np.sort(rng.permutation(len(pairs))[:n_edges])]
    areas = rng.integers(1, 5, len(edges))
    return Graph(edges, areas * rng.integers(-2, n_values, len(edges)), areas, n_regions)


@hs.composite
def graphs(draw: hs.DrawFn, *, n_values: int | None = None) -> Graph:
    n_regions = draw(hs.integers(1, 14))
    n_edges = draw(hs.integers(0, 40))
    values = draw(hs.sampled_from([1, 3, 1000])) if n_values is None else n_values
    return random_graph(draw(SEEDS), n_regions, n_edges, values)


def twin_merges(
    graph: Graph, threshold: float, *, is_confluent: bool
) -> tuple[list[tuple[int, int]], list[Fraction]]:
    """Merge in plain Python with fractions.

    Confluent: an edge keeps the larger key of the two it came from until it is on top. Otherwise
    the classic rule: the mean of every contact is always known.
    """
    rows = zip(graph.edges.tolist(), graph.sums.tolist(), graph.areas.tolist(), strict=True)
    edges = {
        frozenset(pair): {"key": Fraction(s, a), "tie": tie, "stale": False, "sum": s, "area": a}
        for tie, (pair, s, a) in enumerate(rows)
    }
    merges, heights = [], []
    while edges:
        pair, best = min(edges.items(), key=lambda item: (-item[1]["key"], item[1]["tie"]))
        if best["key"] < threshold:
            break
        if best["stale"]:
            best["key"] = min(Fraction(best["sum"], best["area"]), best["key"])
            best["stale"] = False
            continue
        u, v = sorted(pair)
        merges.append((u, v))
        heights.append(best["key"])
        del edges[pair]
        for other in [other for other in edges if other & pair]:
            edge = edges.pop(other)
            edge["stale"] = is_confluent
            joined = (other - pair) | {u}
            if joined in edges:
                first, second = sorted((edge, edges[joined]), key=lambda e: (-e["key"], e["tie"]))
                edge = dict(
                    first, sum=first["sum"] + second["sum"], area=first["area"] + second["area"]
                )
                if not is_confluent:
                    edge["key"] = Fraction(edge["sum"], edge["area"])
            edges[joined] = edge
    return merges, heights


def assert_is_twin(graph: Graph, threshold: float, *, is_confluent: bool = True) -> None:
    merges, heights = mean_linkage(*graph, threshold=threshold)
    expected, expected_heights = twin_merges(graph, threshold, is_confluent=is_confluent)
    assert (merges.dtype, heights.dtype) == (np.int32, np.float64)
    assert merges.tolist() == [list(pair) for pair in expected]
    assert heights.tolist() == [float(height) for height in expected_heights]


DRAWN = Graph(
    np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]], np.int32),
    np.array([9, 2, 16, 5, 1, 12]),
    np.array([1, 1, 2, 1, 4, 2]),
    4,
)
"""Means 9, 2, 8, 5, 1/4, 6. When 1 has joined 0, the contact with 3 falls to 17/6, with 2 to 7/2;
when 3 has joined 2 at 6, the contact of the two pairs is 24/8."""


@pytest.mark.parametrize(
    ("threshold", "n_merges"), [(9.5, 0), (9, 1), (6, 2), (3, 3), (-np.inf, 3)]
)
def test_drawn_graph(threshold: float, n_merges: int) -> None:
    merges, heights = mean_linkage(*DRAWN, threshold=threshold)
    assert merges.tolist() == [[0, 1], [2, 3], [0, 2]][:n_merges]
    assert heights.tolist() == [9.0, 6.0, 3.0][:n_merges]


def test_first_edge_wins_a_tie() -> None:
    edges = np.array([[0, 1], [1, 2], [2, 3]], np.int32)
    graph = Graph(edges, np.array([4, 8, 4]), np.array([1, 2, 1]), 4)
    merges, heights = mean_linkage(*graph, threshold=0)
    assert merges.tolist() == [[0, 1], [0, 2], [0, 3]]
    assert heights.tolist() == [4, 4, 4]


@modest
@given(graphs(), hs.sampled_from([-np.inf, 0.0, 0.5, 400.0]))
def test_confluent_rule_with_ties(graph: Graph, threshold: float) -> None:
    assert_is_twin(graph, threshold)


@modest
@given(graphs(n_values=10**6), hs.sampled_from([-np.inf, 4e5]))
def test_classic_rule_without_ties(graph: Graph, threshold: float) -> None:
    assert_is_twin(graph, threshold, is_confluent=False)


@pytest.mark.parametrize("n_values", [2, 30, 10**5])
def test_larger_graphs(n_values: int) -> None:
    assert_is_twin(random_graph(3, 120, 700, n_values), -np.inf)


@modest
@given(graphs(), hs.floats(-3, 5))
def test_threshold_only_ends_the_merges(graph: Graph, threshold: float) -> None:
    all_merges, all_heights = mean_linkage(*graph, threshold=-np.inf)
    merges, heights = mean_linkage(*graph, threshold=threshold)
    n = np.count_nonzero(all_heights >= threshold)
    np.testing.assert_array_equal(merges, all_merges[:n])
    np.testing.assert_array_equal(heights, all_heights[:n])
    ids = np.arange(1, graph.n_regions + 1, dtype=np.uint64)
    tree = MergeTree(ids, all_merges, all_heights)
    assert len(set(tree.cut(threshold).tolist())) == graph.n_regions - n


@modest
@given(graphs())
def test_type_of_sums_and_order_of_ends_do_not_matter(graph: Graph) -> None:
    expected = mean_linkage(*graph, threshold=0)
    others = (
        graph._replace(sums=graph.sums.astype(np.float64)),
        graph._replace(edges=graph.edges[:, ::-1]),
        graph._replace(edges=graph.edges.astype(np.int64), areas=graph.areas.astype(np.int32)),
    )
    for other in others:
        for got, wanted in zip(mean_linkage(*other, threshold=0), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_inputs_are_left_as_they_are() -> None:
    for array in DRAWN[:3]:
        array.setflags(write=False)
    assert len(mean_linkage(*DRAWN, threshold=0)[0]) == 3
    assert DRAWN.sums.tolist() == [9, 2, 16, 5, 1, 12]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.45, 0.55, 0.65])
def test_waterz_gives_the_same_segmentation(seed: int, threshold: float) -> None:
    """Without ties, which waterz breaks by the layout of its heap."""
    waterz = pytest.importorskip("waterz", reason="waterz is an optional extra")
    rng = np.random.default_rng(seed)
    superpixels = cell_labels(rng, 16, 150)
    affinities = rng.random((3, *superpixels.shape), np.float32)
    (expected,) = waterz.agglomerate(affinities, [1 - threshold], fragments=superpixels.copy())
    ids, edges, areas = region_adjacency(superpixels)
    region = np.searchsorted(ids, superpixels)
    sums = np.zeros((len(ids), len(ids)))
    for axis in range(3):
        labels, values = np.moveaxis(region, axis, 0), np.moveaxis(affinities[axis], axis, 0)
        np.add.at(sums, (labels[:-1], labels[1:]), values[1:].astype(np.float64))
    sums += sums.T
    merges, heights = mean_linkage(
        edges, sums[edges[:, 0], edges[:, 1]], areas, len(ids), threshold=threshold
    )
    clusters = MergeTree(ids, merges, heights).cut(-np.inf)
    table = contingency_table(relabel(superpixels, ids, clusters), expected)
    scores = score_segmentation(table)
    assert 0 < len(merges) < len(ids) - 1
    assert (scores.vi_split, scores.vi_merge) == (0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": DRAWN.edges[:, :1]}, r"must be \(E, 2\), \(E,\) and \(E,\), not \(6, 1\)"),
        ({"sums": DRAWN.sums[1:]}, r"must be \(E, 2\), \(E,\) and \(E,\), not \(6, 2\), \(5,\)"),
        ({"areas": DRAWN.areas - 1}, r"areas of at least 1; edge 0 is \[0, 1\] .* and area 0"),
        ({"sums": DRAWN.sums * np.inf}, r"edge 0 is \[0, 1\] with sum inf"),
        ({"n_regions": 3}, r"different ones of 3 regions, .* edge 2 is \[0, 3\]"),
        ({"edges": DRAWN.edges - 1}, r"edge 0 is \[-1, 0\]"),
        ({"edges": DRAWN.edges // 2}, r"edge 0 is \[0, 0\]"),
    ],
)
def test_wrong_graphs_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_linkage(*DRAWN._replace(**change), threshold=0)


def test_nan_is_no_threshold() -> None:
    with pytest.raises(ValueError, match="threshold must be a number, not NaN"):
        mean_linkage(*DRAWN, threshold=np.nan)
