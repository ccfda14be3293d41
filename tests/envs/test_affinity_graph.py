from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.segmentation_scores import score_segmentation
from envs import statistics as st
from envs.affinity_graph import build_affinity_graph
from envs.mean_linkage import mean_linkage
from envs.merge_tree import MergeTree, relabel
from tests.envs.random_tissue import SEEDS, Volume, cell_labels, volumes
from tests.envs.statistics_twin import bin_of, twin_statistics

modest = settings(max_examples=50, deadline=None)


class AffinityVolume(NamedTuple):
    """A volume with affinities, (3, z, y, x) uint8."""

    superpixels: npt.NDArray
    image: npt.NDArray[np.uint8]
    affinities: npt.NDArray[np.uint8]


@hs.composite
def affinity_volumes(draw: hs.DrawFn) -> AffinityVolume:
    superpixels, image, _ = draw(volumes())
    rng = np.random.default_rng(draw(SEEDS))
    n_values = draw(hs.sampled_from([2, 256]))
    return AffinityVolume(
        superpixels,
        image,
        rng.integers(0, n_values, (3, *image.shape), np.uint8) * np.uint8(255 // (n_values - 1)),
    )


def evidence_before(affinities: npt.NDArray[np.uint8], axis: int, p: tuple[int, ...]) -> int:
    """Return the evidence of the face before a voxel, 0 where there is no face."""
    is_face = p[axis] > 0 and p[axis] < affinities.shape[1 + axis]
    return 255 - int(affinities[(axis, *p)]) if is_face else 0


def twin_contacts(volume: AffinityVolume) -> dict[tuple[int, int], list[list[int]]]:
    """Return for each contact the evidence of its faces, and the largest of three in line."""
    superpixels, _, affinities = volume
    contacts: dict[tuple[int, int], list[list[int]]] = {}
    for q in np.ndindex(*superpixels.shape):
        for axis in (axis for axis in range(3) if q[axis] > 0):
            around = [(*q[:axis], q[axis] + k, *q[axis + 1 :]) for k in (-1, 0, 1)]
            u, v = int(superpixels[around[0]]), int(superpixels[q])
            if u == v or 0 in (u, v):
                continue
            line = [evidence_before(affinities, axis, p) for p in around]
            contacts.setdefault((min(u, v), max(u, v)), []).append([line[1], max(line)])
    return contacts


def boundaries_of(affinities: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the largest evidence of the faces before each voxel."""
    boundaries = np.zeros(affinities.shape[1:], np.uint8)
    for p in np.ndindex(*boundaries.shape):
        boundaries[p] = max(evidence_before(affinities, axis, p) for axis in range(3))
    return boundaries


@modest
@given(affinity_volumes(), hs.tuples(*3 * [hs.integers(0, 100)]))
def test_one_pass_equals_the_sums_face_by_face(
    volume: AffinityVolume, origin: tuple[int, int, int]
) -> None:
    graph = build_affinity_graph(*volume, origin_vox=origin)
    of_voxels = Volume(volume.superpixels, volume.image, boundaries_of(volume.affinities))
    ids, regions, pairs, contacts = twin_statistics(of_voxels, origin)
    faces = twin_contacts(volume)
    for row, pair in zip(contacts, pairs, strict=True):
        evidence, path = np.array(faces[pair]).T
        row[st.FACE_MAX], row[st.FACE_MAX_SQUARED] = evidence.sum(), (evidence**2).sum()
        row[st.PATH_MAX] = path.sum()
        bins = np.bincount([bin_of(e) for e in evidence], minlength=st.N_BINS)
        row[st.CONTACT_HISTOGRAM : st.CONTACT_HISTOGRAM + st.N_BINS] = bins
    assert graph.ids.tolist() == ids
    assert [(int(graph.ids[u]), int(graph.ids[v])) for u, v in graph.edges] == pairs
    np.testing.assert_array_equal(graph.regions, regions)
    np.testing.assert_array_equal(graph.contacts, contacts)


def test_drawn_line() -> None:
    """Five voxels in line along x, two regions: evidence 55, 155, 205, 5 of the faces."""
    superpixels = np.array([[[7, 7, 7, 9, 9]]])
    affinities = np.full((3, 1, 1, 5), 0, np.uint8)
    affinities[2, 0, 0] = [0, 200, 100, 50, 250]
    graph = build_affinity_graph(superpixels, np.zeros((1, 1, 5), np.uint8), affinities)
    assert graph.regions[:, st.BOUNDARY].tolist() == [0 + 55 + 155, 205 + 5]
    (contact,) = graph.contacts
    assert contact[[st.AREA, st.FACE_MAX, st.FACE_SUM, st.PATH_MAX]].tolist() == [1, 205, 360, 205]
    affinities[2, 0, 0, 4] = 0
    (contact,) = build_affinity_graph(superpixels, superpixels, affinities).contacts
    assert contact[[st.FACE_MAX, st.FACE_SUM, st.PATH_MAX]].tolist() == [205, 360, 255]


@modest
@given(affinity_volumes(), SEEDS)
def test_sums_of_the_merged_volume_are_the_merged_sums(volume: AffinityVolume, seed: int) -> None:
    graph = build_affinity_graph(*volume)
    clusters = np.random.default_rng(seed).choice(graph.ids, len(graph.ids))
    merged = relabel(volume.superpixels, graph.ids, clusters)
    whole = build_affinity_graph(merged, volume.image, volume.affinities)
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


def test_floats_are_rounded_and_arrays_left_as_they_are() -> None:
    rng = np.random.default_rng(0)
    superpixels = cell_labels(rng, 5, 6)
    image = rng.integers(0, 256, superpixels.shape, np.uint8)
    affinities = rng.integers(0, 256, (3, *superpixels.shape), np.uint8)
    expected = build_affinity_graph(superpixels, image, affinities)
    as_floats = affinities / np.float32(255)
    for array in (superpixels, image, affinities, as_floats):
        array.setflags(write=False)
    for other in (affinities, as_floats, as_floats.astype(np.float64)):
        graph = build_affinity_graph(superpixels, image, other)
        np.testing.assert_array_equal(graph.regions, expected.regions)
        np.testing.assert_array_equal(graph.contacts, expected.contacts)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.4801, 0.5002, 0.5103])
def test_mean_linkage_gives_the_segmentation_of_waterz(seed: int, threshold: float) -> None:
    waterz = pytest.importorskip("waterz", reason="waterz is an optional extra")
    rng = np.random.default_rng(seed)
    superpixels = cell_labels(rng, 24, 60)
    affinities = rng.integers(0, 256, (3, *superpixels.shape), np.uint8)
    (expected,) = waterz.agglomerate(
        affinities / np.float32(255), [1 - threshold], fragments=superpixels.copy()
    )
    graph = build_affinity_graph(superpixels, np.zeros_like(affinities[0]), affinities)
    areas = graph.contacts[:, st.AREA]
    sums = 255 * areas - graph.contacts[:, st.FACE_MAX]
    merges, heights = mean_linkage(
        graph.edges, sums, areas, graph.n_regions, threshold=255 * threshold
    )
    clusters = MergeTree(graph.ids, merges, heights).cut(-np.inf)
    table = contingency_table(relabel(superpixels, graph.ids, clusters), expected)
    scores = score_segmentation(table)
    assert 0 < len(merges) < graph.n_regions - 1
    assert (scores.vi_split, scores.vi_merge) == (0, 0)


ONES = np.ones((2, 2, 2), np.uint8)
AFFINITIES = np.ones((3, 2, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((ONES.astype(float), ONES, AFFINITIES), "superpixels must be integer labels"),
        ((ONES, ONES[1:], AFFINITIES), r"image has shape \(1, 2, 2\) but superpixels has"),
        ((ONES, ONES, AFFINITIES[:, 1:]), r"affinities has shape \(3, 1, 2, 2\) but superpixels"),
        ((ONES, ONES, AFFINITIES[:2]), r"must be a \(3, z, y, x\) map, .* shape \(2, 2, 2, 2\)"),
        ((ONES, ONES, AFFINITIES[0]), r"must be a \(3, z, y, x\) map, .* shape \(2, 2, 2\)"),
        ((ONES, ONES, 2 * AFFINITIES), r"in \[0, 1\]; seen values from 2 to 2"),
        ((ONES, ONES, -AFFINITIES), r"in \[0, 1\]; seen values from -1 to -1"),
        ((ONES, ONES, AFFINITIES * np.nan), r"in \[0, 1\]; seen values from nan to nan"),
        ((ONES, ONES, AFFINITIES.astype(int)), r"float in \[0, 1\] or uint8, not int64"),
        ((0 * ONES, ONES, AFFINITIES), r"superpixels of shape \(2, 2, 2\) hold no region"),
    ],
)
def test_wrong_input_is_told(arrays: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_affinity_graph(*arrays)
