"""The way of the sums through the tree of blocks, in memory, against one run over everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from agglo.blocks.agglomeration import (
    NodeMerges,
    OpenGraph,
    agglomerate_node,
    joined_graph,
    leaf_graph,
    packed_graph,
    unpacked_graph,
)
from agglo.blocks.homes import bucket_of, find_homes
from agglo.blocks.names import NO_NAMES, NameTable, names_of
from agglo.blocks.routes import added_parcels, packed_parcels, parcels_of, unpacked_parcel
from agglo.blocks.tree import BlockTree
from envs import statistics as st
from envs.merge_network import mean_boundary_network
from envs.merge_tree import MergeTree
from envs.region_graph import RegionGraph, build_region_graph, core_with_rim
from envs.rollout import play_episode
from tests.envs.random_tissue import (
    SEEDS,
    Volume,
    cell_labels,
    constant_network,
    random_network,
    volumes,
)

UNIT = (1.0, 1.0, 1.0)


def sums_of_blocks(volume: Volume, tree: BlockTree) -> list[RegionGraph]:
    parts = []
    for block in range(tree.n_blocks):
        read, core = core_with_rim(tree.box(block).slices, tree.shape)
        origin = (read[0].start, read[1].start, read[2].start)
        parts.append(build_region_graph(*(a[read] for a in volume), origin_vox=origin, core=core))
    return parts


def homes_of(parts: list[RegionGraph], n_buckets: int) -> list[npt.NDArray[np.int64]]:
    homes = [np.full(part.n_regions, -1) for part in parts]
    buckets = [bucket_of(part.ids, n_buckets) for part in parts]
    for number in range(n_buckets):
        here = [bucket == number for bucket in buckets]
        found = find_homes(
            [part.ids[at] for part, at in zip(parts, here, strict=True)],
            [part.regions[at, st.SIZE] > 0 for part, at in zip(parts, here, strict=True)],
        )
        for home, at, values in zip(homes, here, found, strict=True):
            home[at] = values
    return homes


class Done:
    """A run over all nodes, as the tasks do it."""

    def __init__(self, volume: Volume, edge: tuple[int, int, int], policy: Any, n_buckets: int):
        depth, height, width = volume.superpixels.shape
        self.tree = tree = BlockTree((depth, height, width), edge)
        self.parts = sums_of_blocks(volume, tree)
        self.homes = homes_of(self.parts, n_buckets)
        packed = [
            packed_parcels(parcels_of(part, home, tree))
            for part, home in zip(self.parts, self.homes, strict=True)
        ]
        left: dict[int, dict[str, npt.NDArray]] = {}
        self.made: dict[int, NodeMerges] = {}
        for node in range(tree.root + 1):
            level = tree.level(node)
            parcel = added_parcels(
                unpacked_parcel(node, arrays) for arrays in packed if f"{node}.ids" in arrays
            )
            if level == 0:
                graph = leaf_graph(parcel, policy, UNIT)
            else:
                children = [unpacked_graph(left[child], UNIT) for child in tree.children(node)]
                graph = joined_graph(children, parcel.contacts, policy, UNIT)
            self.made[node], rest = agglomerate_node(graph, policy, level)
            left[node] = packed_graph(rest)
        self.rest: OpenGraph = unpacked_graph(left[tree.root], UNIT)

    def names(self, threshold: float) -> dict[int, int]:
        """Name every superpixel, from the root downwards."""
        tables: dict[int, NameTable] = {}
        for node in range(self.tree.root, -1, -1):
            above = NO_NAMES if node == self.tree.root else tables[self.tree.parent(node)]
            tables[node] = names_of(self.made[node], above, threshold)
        leaves = [tables[block] for block in range(self.tree.n_blocks)]
        return {
            u: v for table in leaves for u, v in zip(*map(np.ndarray.tolist, table), strict=True)
        }

    def merges(self) -> list[tuple[int, int, float]]:
        """Return all merges in the order of one run."""
        rows = []
        for made in self.made.values():
            for merge, tie, height in zip(*map(np.ndarray.tolist, made[1:4]), strict=True):
                rows.append((-height, tie, (*merge, height)))
        return [merge for _, _, merge in sorted(rows)]


def assert_same_as_one_run(
    volume: Volume, edge: tuple[int, int, int], policy: Any, n_buckets: int = 1
) -> Done:
    graph = volume.graph()
    whole = play_episode(graph, policy, threshold=-np.inf)
    done = Done(volume, edge, policy, n_buckets)
    expected = [
        (u, v, height)
        for (u, v), height in zip(
            graph.ids[whole.merges].tolist(), whole.heights.tolist(), strict=True
        )
    ]
    assert done.merges() == expected
    assert sum(made.n_scores for made in done.made.values()) == whole.n_scores
    tree = MergeTree.of_episode(graph.ids, whole)
    middle = float(np.median(whole.heights)) if len(whole.heights) else 0.0
    for threshold in (-np.inf, middle, 0.0, np.inf):
        names = zip(graph.ids.tolist(), tree.cut(threshold).tolist(), strict=True)
        assert done.names(threshold) == dict(names)
    assert done.rest.residue.graph.n_regions == 0  # nothing that is left touches anything
    return done


@settings(max_examples=60, deadline=None)
@given(
    volumes(max_side=6, max_regions=16),
    hs.tuples(*3 * [hs.integers(1, 6)]),
    SEEDS,
    hs.booleans(),
    hs.integers(1, 3),
)
def test_every_cutting_gives_the_run_over_everything(
    volume: Volume, edge: tuple[int, int, int], seed: int, has_ties: bool, n_buckets: int
) -> None:
    """Superpixels may be in pieces, in blocks far from each other, and blocks may be empty."""
    policy = constant_network(0.25) if has_ties else random_network(seed)
    assert_same_as_one_run(volume, edge, policy, n_buckets)


@pytest.mark.parametrize("cut", [(1, 1, 1), (2, 2, 2), (3, 1, 5), (4, 4, 4)])
@pytest.mark.parametrize("ends_at_faces", [False, True])
def test_cells_cut_into_boxes(cut: tuple[int, int, int], ends_at_faces: bool) -> None:
    """Cells that cross the faces of blocks, and cells that end there as those of our watershed."""
    rng = np.random.default_rng(3)
    labels = cell_labels(rng, 20, 600)
    edge = (-(-20 // cut[0]), -(-20 // cut[1]), -(-20 // cut[2]))
    if ends_at_faces:
        block = np.ravel_multi_index(
            tuple(at // n for at, n in zip(np.indices(labels.shape), edge, strict=True)), cut
        )
        labels += np.uint64(1000) * block.astype(np.uint64)
    image, boundaries = rng.integers(0, 256, (2, *labels.shape), dtype=np.uint8)
    volume = Volume(labels, image, boundaries)
    done = assert_same_as_one_run(volume, edge, random_network(1), n_buckets=2)
    if cut == (2, 2, 2):  # blocks do a part of the work and leave a part of the graph
        n_made = [len(made.merges) for made in done.made.values()]
        assert 0 < sum(n_made[:-1])
        assert 0 < n_made[-1]
        assert len(done.made[done.tree.root].ids) < len(np.unique(labels))


def test_a_drawn_line_of_superpixels() -> None:
    """Of 7 9 | 4 5 with keys that fall from left to right, only 7–9 is ready in its block.

    9–4 comes next and lies across, so 4 is frozen, and 4–5 waits for the root though 5 has no
    neighbour outside.
    """
    labels = np.array([7, 9, 4, 5], np.uint64).reshape(1, 1, 4)
    boundaries = np.array([10, 10, 20, 30], np.uint8).reshape(1, 1, 4)
    volume = Volume(labels, boundaries, boundaries)
    policy = mean_boundary_network(0.5)
    done = assert_same_as_one_run(volume, (1, 1, 2), policy)
    assert [made.merges.tolist() for made in done.made.values()] == [
        [],
        [],
        [[7, 9], [4, 7], [4, 5]],
    ]
    alone = assert_same_as_one_run(volume, (1, 1, 4), policy)
    assert alone.made[0].merges.tolist() == [[7, 9], [4, 7], [4, 5]]
    apart = volume._replace(superpixels=np.array([7, 9, 8, 0, 4, 5], np.uint64).reshape(1, 1, 6))
    boundaries = np.array([10, 10, 20, 0, 30, 40], np.uint8).reshape(1, 1, 6)
    apart = apart._replace(image=boundaries, boundaries=boundaries)
    done = assert_same_as_one_run(apart, (1, 1, 3), policy)
    assert [made.merges.tolist() for made in done.made.values()] == [[[7, 9], [7, 8]], [[4, 5]], []]


def test_homes_are_the_first_blocks_with_a_voxel() -> None:
    ids = [np.array(names, np.uint64) for names in ([3, 9], [3, 7, 9], [], [3, 7])]
    inside = [np.array(here, np.bool_) for here in ([1, 0], [1, 0, 1], [], [0, 1])]
    homes = find_homes(ids, inside)
    assert [one.tolist() for one in homes] == [[0, 1], [0, 3, 1], [], [0, 3]]
    many = np.arange(10_000, dtype=np.uint64) * np.uint64(2**40)
    assert np.bincount(bucket_of(many, 7), minlength=7).min() > 1200
