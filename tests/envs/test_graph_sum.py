from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs import statistics as st
from envs.affinity_graph import build_affinity_graph
from envs.graph_sum import NO_CONTACTS, SumTable, added_up, graph_of_tables, sum_of_graphs
from envs.region_graph import Core, RegionGraph, build_region_graph, core_with_rim
from tests.envs.drawn_volume import DRAWN_CONTACTS, DRAWN_EDGES, DRAWN_IDS, drawn_volume
from tests.envs.random_tissue import SEEDS, Volume, volumes

modest = settings(max_examples=60, deadline=None)


def cuttings(shape: tuple[int, ...], seed: int) -> list[Core]:
    """Cut a volume at random places along every axis."""
    rng = np.random.default_rng(seed)
    ranges = []
    for size in shape:
        inner = np.flatnonzero(rng.random(max(size - 1, 0)) < rng.choice([0.0, 0.3, 1.0])) + 1
        ranges.append([slice(a, b) for a, b in pairwise([0, *inner.tolist(), size])])
    return list(product(*ranges))


def part_of(volume: Volume, block: Core) -> RegionGraph:
    read, core = core_with_rim(block, volume.superpixels.shape)
    origin = (read[0].start, read[1].start, read[2].start)
    return build_region_graph(*(a[read] for a in volume), origin_vox=origin, core=core)


def assert_equal(one: RegionGraph, other: RegionGraph) -> None:
    for name in ("ids", "regions", "edges", "contacts"):
        assert getattr(one, name).dtype == getattr(other, name).dtype
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@modest
@given(volumes(max_side=6), SEEDS)
def test_any_cutting_gives_the_sums_of_the_volume(volume: Volume, seed: int) -> None:
    """Bit for bit, in any order of blocks, and pair by pair as well as at once."""
    blocks = cuttings(volume.superpixels.shape, seed)
    parts = [part_of(volume, block) for block in blocks]
    assert_equal(sum_of_graphs(parts), volume.graph())
    total = parts[0]
    for place in 1 + np.random.default_rng(seed).permutation(len(parts) - 1):
        total = sum_of_graphs([total, parts[place]])
    assert_equal(total, volume.graph())


@modest
@given(volumes(max_side=6), SEEDS)
def test_any_cutting_of_affinities(volume: Volume, seed: int) -> None:
    shape = volume.superpixels.shape
    affinities = np.random.default_rng(seed).integers(0, 256, (3, *shape), dtype=np.uint8)
    parts = []
    for block in cuttings(shape, seed):
        read, core = core_with_rim(block, shape)
        origin = (read[0].start, read[1].start, read[2].start)
        arrays = (volume.superpixels[read], volume.image[read], affinities[:, *read])
        parts.append(build_affinity_graph(*arrays, origin_vox=origin, core=core))
    whole = build_affinity_graph(volume.superpixels, volume.image, affinities)
    assert_equal(sum_of_graphs(parts), whole)


@modest
@given(volumes(max_side=6), SEEDS)
def test_a_voxel_and_a_face_belong_to_one_block(volume: Volume, seed: int) -> None:
    """A block holds the voxels of its core, and regions before it only where it touches them."""
    for block in cuttings(volume.superpixels.shape, seed):
        part = part_of(volume, block)
        ids, sizes = np.unique(volume.superpixels[block], return_counts=True)
        is_inside = part.regions[:, st.SIZE] > 0
        expected = dict(zip(ids.astype(np.uint64).tolist(), sizes.tolist(), strict=True))
        expected.pop(0, None)
        seen = zip(part.ids[is_inside].tolist(), part.regions[is_inside, 0].tolist(), strict=True)
        assert dict(seen) == expected
        outside = np.flatnonzero(~is_inside)
        assert np.isin(outside, part.edges).all()
        assert not part.regions[outside][:, np.arange(st.N_REGION_STATISTICS) != st.SURFACE].any()


def test_the_drawn_volume_cut_in_two() -> None:
    """Between y = 0 and the rest lies one face, of superpixels 3 and 9; it is the second's."""
    volume = drawn_volume()
    first = part_of(volume, (slice(0, 3), slice(0, 1), slice(0, 3)))
    second = part_of(volume, (slice(0, 3), slice(1, 3), slice(0, 3)))
    assert first.ids.tolist() == [3, 7]
    assert first.contacts.tolist() == [DRAWN_CONTACTS[0]]
    assert second.ids.tolist() == [3, 9]
    assert second.regions[:, st.SIZE].tolist() == [0, 1]
    assert second.contacts.tolist() == [DRAWN_CONTACTS[1]]
    total = sum_of_graphs([second, first])
    assert total.ids.tolist() == DRAWN_IDS
    assert total.edges.tolist() == DRAWN_EDGES


def test_a_block_may_hold_nothing() -> None:
    volume = drawn_volume()
    empty = part_of(volume, (slice(2, 3), slice(2, 3), slice(0, 2)))
    assert (empty.n_regions, empty.n_edges) == (0, 0)
    assert_equal(sum_of_graphs([empty, volume.graph()]), volume.graph())
    nothing = sum_of_graphs([empty, empty])
    assert (nothing.n_regions, nothing.n_edges) == (0, 0)


@modest
@given(hs.lists(hs.tuples(hs.integers(0, 3), hs.integers(2**63, 2**63 + 2), hs.integers(-9, 9))))
def test_rows_of_one_key_are_added(rows: list[tuple[int, int, int]]) -> None:
    expected: dict[tuple[int, int], int] = {}
    for u, v, n in rows:
        expected[u, v] = expected.get((u, v), 0) + n
    keys = np.array([row[:2] for row in rows], np.uint64).reshape(-1, 2)
    sums: npt.NDArray[np.int64] = np.array([row[2:] for row in rows], np.int64).reshape(-1, 1)
    half = len(rows) // 2
    table = added_up([SumTable(keys[:half], sums[:half]), SumTable(keys[half:], sums[half:])])
    assert list(map(tuple, table.keys.tolist())) == sorted(expected)
    assert table.sums[:, 0].tolist() == [expected[key] for key in sorted(expected)]


def test_a_contact_without_its_regions_is_refused() -> None:
    graph = drawn_volume().graph()
    regions = SumTable(graph.ids[1:, None], graph.regions[1:])
    contacts = SumTable(graph.ids[graph.edges], graph.contacts)
    with pytest.raises(ValueError, match="an end that is not among the regions"):
        graph_of_tables(regions, contacts, (1.0, 1.0, 1.0))
    assert graph_of_tables(regions, NO_CONTACTS, (1.0, 1.0, 1.0)).n_edges == 0
