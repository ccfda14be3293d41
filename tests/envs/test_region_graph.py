from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.input_error import InputError
from envs import statistics as st
from envs.merge_tree import relabel
from envs.region_graph import RegionGraph, build_region_graph, dense_labels, region_adjacency
from tests.envs.drawn_volume import (
    DRAWN_CONTACTS,
    DRAWN_EDGES,
    DRAWN_IDS,
    DRAWN_REGIONS,
    drawn_volume,
)
from tests.envs.random_tissue import LABEL_TYPES, SEEDS, Volume, volumes
from tests.envs.statistics_twin import twin_statistics

modest = settings(max_examples=60, deadline=None)


def assert_is_twin(
    graph: RegionGraph, volume: Volume, origin: tuple[int, int, int] = (0, 0, 0)
) -> None:
    ids, regions, pairs, contacts = twin_statistics(volume, origin)
    assert graph.ids.tolist() == ids
    assert [(int(graph.ids[u]), int(graph.ids[v])) for u, v in graph.edges] == pairs
    np.testing.assert_array_equal(graph.regions, regions)
    np.testing.assert_array_equal(graph.contacts, contacts)


def test_drawn_volume_has_the_sums_worked_out_on_paper() -> None:
    graph = drawn_volume().graph(voxel_size_nm=(30.0, 4.0, 4.0))
    assert graph.ids.dtype == np.uint64
    assert graph.ids.tolist() == DRAWN_IDS
    assert graph.edges.tolist() == DRAWN_EDGES
    assert graph.regions.tolist() == DRAWN_REGIONS
    assert graph.contacts.tolist() == DRAWN_CONTACTS
    assert graph.voxel_size_nm == (30.0, 4.0, 4.0)
    assert (graph.n_regions, graph.n_edges) == (3, 2)


@modest
@given(volumes(), hs.tuples(*3 * [hs.integers(0, 10**5)]))
def test_one_pass_equals_the_sums_voxel_by_voxel(
    volume: Volume, origin: tuple[int, int, int]
) -> None:
    assert_is_twin(volume.graph(origin_vox=origin), volume, origin)


@pytest.mark.parametrize("dtype", LABEL_TYPES)
def test_label_type_and_layout_do_not_matter(dtype: type) -> None:
    rng = np.random.default_rng(5)
    volume = Volume(*(rng.integers(0, 100, (4, 5, 6)).astype(np.uint8) for _ in range(3)))
    expected = volume.graph()
    turned = volume.superpixels.astype(dtype).transpose(2, 1, 0).copy().transpose(2, 1, 0)
    graph = build_region_graph(turned, volume.image, volume.boundaries)
    for name in ("ids", "regions", "edges", "contacts"):
        assert getattr(graph, name).dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(getattr(graph, name), getattr(expected, name))


@pytest.mark.parametrize("n_blocks", [(6, 6, 12), (2, 1, 700)])
def test_many_contacts_outgrow_the_first_table(n_blocks: tuple[int, int, int]) -> None:
    """Blocks of 2 × 2 × 1 voxels, so that a contact comes again after the table has grown."""
    n = int(np.prod(n_blocks))
    labels = np.arange(1, n + 1).reshape(n_blocks).repeat(2, 0).repeat(2, 1)
    image, boundaries = np.random.default_rng(0).integers(0, 256, (2, *labels.shape), np.uint8)
    volume = Volume(labels, image, boundaries)
    graph = volume.graph()
    assert graph.n_edges == 3 * n - sum(n // side for side in n_blocks)
    assert_is_twin(graph, volume)


@modest
@given(volumes())
def test_voxels_and_faces_are_all_counted_once(volume: Volume) -> None:
    graph = volume.graph()
    labels = volume.superpixels
    assert graph.regions[:, st.SIZE].sum() == np.count_nonzero(labels)
    n_faces = []
    for axis in range(3):
        first = np.moveaxis(labels, axis, 0)[:-1]
        second = np.moveaxis(labels, axis, 0)[1:]
        n_faces.append(np.count_nonzero((first != second) & (first != 0) & (second != 0)))
    assert graph.contacts[:, st.AREA].sum() == sum(n_faces)
    assert graph.contacts[:, st.AREA_Z].sum() == n_faces[0]
    assert graph.regions[:, st.SURFACE].sum() == 2 * sum(n_faces)
    histograms = graph.regions[:, st.REGION_HISTOGRAM : st.REGION_HISTOGRAM + st.N_BINS]
    np.testing.assert_array_equal(histograms.sum(1), graph.regions[:, st.SIZE])
    histograms = graph.contacts[:, st.CONTACT_HISTOGRAM : st.CONTACT_HISTOGRAM + st.N_BINS]
    np.testing.assert_array_equal(histograms.sum(1), graph.contacts[:, st.AREA])


@modest
@given(volumes(), hs.tuples(*3 * [hs.integers(0, 3)]))
def test_origin_is_the_place_in_the_whole_volume(
    volume: Volume, origin: tuple[int, int, int]
) -> None:
    whole = Volume(*(np.pad(array, np.array([(n, 0) for n in origin])) for array in volume))
    part = volume.graph(origin_vox=origin)
    for name in ("ids", "regions", "edges", "contacts"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole.graph(), name))


@modest
@given(volumes(), volumes())
def test_sums_of_parts_add_up_to_the_whole(first: Volume, second: Volume) -> None:
    """Two parts with a gap between them that is wide enough for the lines across faces."""
    y, x = np.maximum(first.superpixels.shape, second.superpixels.shape)[1:]
    parts = []
    for part in (first, second):
        _, n_y, n_x = part.superpixels.shape
        padded = [np.pad(a, np.array([(1, 1), (0, y - n_y), (0, x - n_x)])) for a in part]
        parts.append(Volume(padded[0].astype(np.uint64), *padded[1:]))
    whole = Volume(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))).graph()
    regions, contacts = np.zeros_like(whole.regions), np.zeros_like(whole.contacts)
    for part, z in zip(parts, (0, len(parts[0].superpixels)), strict=True):
        graph = part.graph(origin_vox=(z, 0, 0))
        index = np.searchsorted(whole.ids, graph.ids)
        edges = whole.edges.tolist()
        np.add.at(regions, index, graph.regions)
        for pair, sums in zip(index[graph.edges].tolist(), graph.contacts, strict=True):
            contacts[edges.index(pair)] += sums
    np.testing.assert_array_equal(whole.regions, regions)
    np.testing.assert_array_equal(whole.contacts, contacts)


def test_float_maps_are_rounded_to_the_integers_of_the_sums() -> None:
    volume = drawn_volume()
    graph = build_region_graph(
        volume.superpixels,
        volume.image.astype(np.float64) / 255,
        volume.boundaries.astype(np.float32) / np.float32(255),
    )
    assert graph.regions.tolist() == DRAWN_REGIONS
    assert graph.contacts.tolist() == DRAWN_CONTACTS


def test_read_only_arrays_are_accepted() -> None:
    volume = drawn_volume()
    for array in volume:
        array.setflags(write=False)
    assert volume.graph().contacts.tolist() == DRAWN_CONTACTS


def test_inputs_are_left_as_they_are() -> None:
    volume = drawn_volume()
    before = [array.copy() for array in volume]
    volume.graph()
    for array, copy in zip(volume, before, strict=True):
        assert array.flags.writeable
        np.testing.assert_array_equal(array, copy)


@modest
@given(volumes())
def test_dense_labels_number_the_ids_in_order(volume: Volume) -> None:
    ids, dense = dense_labels(volume.superpixels)
    assert ids.dtype == np.uint64
    assert (np.diff(ids.astype(object)) > 0).all()
    np.testing.assert_array_equal(dense < 0, volume.superpixels == 0)
    with_none = np.concatenate([ids, np.zeros(1, np.uint64)])
    np.testing.assert_array_equal(with_none[dense], volume.superpixels.astype(np.uint64))


def test_dense_labels_of_nothing() -> None:
    ids, dense = dense_labels(np.zeros((0, 3), np.uint64))
    assert (ids.shape, dense.shape) == ((0,), (0, 3))


ZEROS = np.zeros((2, 2, 2), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((ZEROS.astype(float), ZEROS, ZEROS), "superpixels must be integer labels, not float64"),
        ((ZEROS, ZEROS[1:], ZEROS), r"image has shape \(1, 2, 2\) but superpixels has"),
        ((ZEROS, ZEROS, ZEROS[:, :1]), r"boundaries has shape \(2, 1, 2\) but superpixels has"),
        ((ZEROS, ZEROS, ZEROS), r"superpixels of shape \(2, 2, 2\) hold no region"),
        ((ZEROS[:0], ZEROS[:0], ZEROS[:0]), r"superpixels of shape \(0, 2, 2\) hold no region"),
        ((ZEROS.astype(np.int32) - 3, ZEROS, ZEROS), "superpixels must not be negative; seen -3"),
        ((ZEROS[0] + 1, ZEROS[0], ZEROS[0]), r"must be a \(z, y, x\).* shape \(2, 2\)"),
    ],
)
def test_wrong_input_is_told(arrays: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_region_graph(*arrays)


def test_graphs_that_cannot_be_are_refused() -> None:
    graph = drawn_volume().graph()
    with pytest.raises(ValueError, match=r"regions has shape \(2, 23\) for 3 ids"):
        RegionGraph(graph.ids, graph.regions[1:], graph.edges, graph.contacts)
    with pytest.raises(ValueError, match=r"contacts has shape \(1, 26\), edges \(2, 2\)"):
        RegionGraph(graph.ids, graph.regions, graph.edges, graph.contacts[1:])
    for edges in (graph.edges[:, ::-1], graph.edges + 1, graph.edges - 1):
        with pytest.raises(ValueError, match="pairs u < v of region indices"):
            RegionGraph(graph.ids, graph.regions, edges, graph.contacts)


@modest
@given(volumes())
def test_bare_graph_has_the_contacts_of_the_whole(volume: Volume) -> None:
    graph = volume.graph()
    ids, edges, areas = region_adjacency(volume.superpixels)
    assert (ids.dtype, edges.dtype, areas.dtype) == (np.uint64, np.int32, np.int64)
    np.testing.assert_array_equal(ids, graph.ids)
    np.testing.assert_array_equal(edges, graph.edges)
    np.testing.assert_array_equal(areas, graph.contacts[:, st.AREA])


def test_bare_graph_of_nothing_is_empty() -> None:
    for shape in ((2, 2, 2), (0, 2, 2), (2, 2, 0)):
        ids, edges, areas = region_adjacency(np.zeros(shape, np.uint8))
        assert (ids.shape, edges.shape, areas.shape) == ((0,), (0, 2), (0,))


def test_bare_graph_needs_labels_of_a_volume() -> None:
    with pytest.raises(InputError, match=r"must be a \(z, y, x\) volume, .* of shape \(2, 2\)"):
        region_adjacency(ZEROS[0])
    with pytest.raises(InputError, match="superpixels must be integer labels, not float64"):
        region_adjacency(ZEROS.astype(float))


@modest
@given(volumes(), SEEDS)
def test_sums_of_the_merged_volume_are_the_merged_sums(volume: Volume, seed: int) -> None:
    graph = volume.graph()
    clusters = np.random.default_rng(seed).choice(graph.ids, len(graph.ids))
    merged = relabel(volume.superpixels, graph.ids, clusters)
    whole = build_region_graph(merged, volume.image, volume.boundaries)
    cluster = np.searchsorted(whole.ids, clusters)
    regions, contacts = np.zeros_like(whole.regions), np.zeros_like(whole.contacts)
    np.add.at(regions, cluster, graph.regions)
    index = {pair: e for e, pair in enumerate(map(tuple, whole.edges.tolist()))}
    for (u, v), sums in zip(cluster[graph.edges].tolist(), graph.contacts, strict=True):
        if u == v:
            regions[u, st.SURFACE] -= 2 * sums[st.AREA]
        else:
            contacts[index[min(u, v), max(u, v)]] += sums
    np.testing.assert_array_equal(whole.regions, regions)
    np.testing.assert_array_equal(whole.contacts, contacts)
