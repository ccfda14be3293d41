from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.input_error import InputError
from envs import statistics as st
from envs.channel_sums import with_channels
from envs.channels import NO_CHANNEL, NO_CHANNELS, Channels
from envs.graph_sum import sum_of_graphs
from envs.region_graph import RegionGraph, build_region_graph, core_with_rim
from tests.envs.drawn_volume import DRAWN_CONTACTS, DRAWN_REGIONS, drawn_volume
from tests.envs.random_tissue import SEEDS, Volume, random_channels, volumes
from tests.envs.test_graph_sum import assert_equal, cuttings

modest = settings(max_examples=60, deadline=None)
NUMBERS = hs.tuples(hs.integers(0, 3), hs.integers(0, 3))


def channelled(volume: Volume, channels: Channels) -> RegionGraph:
    return with_channels(volume.graph(), volume.superpixels, volume.boundaries, channels)


def test_the_drawn_volume() -> None:
    """One channel of texture, 1 but 5 at (0, 0, 2); one coordinate that is x, 0, 10 or 20."""
    volume = drawn_volume()
    texture = np.ones((1, 3, 3, 3), np.uint8)
    texture[0, 0, 0, 2] = 5
    embedding = np.broadcast_to(np.array([0, 10, 20], np.uint8), (1, 3, 3, 3))
    graph = channelled(volume, Channels(texture, embedding))
    assert graph.n_channels == (1, 1)
    assert graph.regions[:, : st.N_REGION_STATISTICS].tolist() == DRAWN_REGIONS
    assert graph.contacts[:, : st.N_CONTACT_STATISTICS].tolist() == DRAWN_CONTACTS
    # Region 3 has boundary values 51, 128 and 230 where x is 2, 1 and 2; 7: 13, 26, 12 at 0, 1, 0.
    threes = 20 * (256 - 51) + 10 * (256 - 128) + 20 * (256 - 230)
    squares = 400 * (256 - 51) + 100 * (256 - 128) + 400 * (256 - 230)
    assert graph.regions[:, st.N_REGION_STATISTICS :].tolist() == [
        [5 + 1 + 1, threes, squares],
        [3, 10 * (256 - 26), 100 * (256 - 26)],
        [1, 20 * (256 - 77), 400 * (256 - 77)],
    ]
    # Of 3 and 7 meet (0,0,1)|(0,0,2), (1,0,0)|(1,0,1) and, along z, (0,0,1)|(1,0,1).
    assert graph.contacts[:, st.N_CONTACT_STATISTICS :].tolist() == [
        [1 + 5 + 2 + 2, 20**2 + 20**2 + 0],
        [2, 0],
    ]


def twin_sums(volume: Volume, channels: Channels, graph: RegionGraph) -> tuple[npt.NDArray, ...]:
    """Sum voxel by voxel and face by face."""
    superpixels, _, boundaries = volume
    number = {int(one): i for i, one in enumerate(graph.ids)}
    edge_of = {tuple(pair): i for i, pair in enumerate(graph.edges.tolist())}
    texture, embedding = (np.moveaxis(one.astype(np.int64), 0, -1) for one in channels)
    t, e = channels.counts
    regions = np.zeros((graph.n_regions, t + e + (e > 0)), np.int64)
    contacts = np.zeros((graph.n_edges, t + (e > 0)), np.int64)
    for p in np.ndindex(*superpixels.shape):
        if superpixels[p] == 0:
            continue
        u = number[int(superpixels[p])]
        weight = 256 - int(boundaries[p])
        if t:
            regions[u, :t] += texture[p]
        if e:
            regions[u, t : t + e] += weight * embedding[p]
            regions[u, t + e] += weight * int((embedding[p] ** 2).sum())
        for axis in range(3):
            q = (*p[:axis], p[axis] + 1, *p[axis + 1 :])
            size = superpixels.shape[axis]
            if q[axis] == size or superpixels[q] in (0, superpixels[p]):
                continue
            v = number[int(superpixels[q])]
            edge = edge_of[min(u, v), max(u, v)]
            if t:
                contacts[edge, :t] += texture[p] + texture[q]
            if e:
                before = (*p[:axis], max(p[axis] - 1, 0), *p[axis + 1 :])
                after = (*p[:axis], min(p[axis] + 2, size - 1), *p[axis + 1 :])
                contacts[edge, t] += ((embedding[before] - embedding[after]) ** 2).sum()
    return regions, contacts


@modest
@given(volumes(), SEEDS, NUMBERS)
def test_sums_are_those_of_voxels_and_faces(
    volume: Volume, seed: int, numbers: tuple[int, int]
) -> None:
    channels = random_channels(seed, volume.superpixels.shape, *numbers)
    graph = channelled(volume, channels)
    regions, contacts = twin_sums(volume, channels, graph)
    np.testing.assert_array_equal(graph.regions[:, st.N_REGION_STATISTICS :], regions)
    np.testing.assert_array_equal(graph.contacts[:, st.N_CONTACT_STATISTICS :], contacts)


@modest
@given(volumes(max_side=6), SEEDS, NUMBERS)
def test_any_cutting_gives_the_sums_of_the_volume(
    volume: Volume, seed: int, numbers: tuple[int, int]
) -> None:
    """Blocks with nothing in them among others."""
    shape = volume.superpixels.shape
    channels = random_channels(seed, shape, *numbers)
    parts = []
    for block in cuttings(shape, seed):
        read, core = core_with_rim(block, shape)
        origin = (read[0].start, read[1].start, read[2].start)
        superpixels, _, boundaries = arrays = [a[read] for a in volume]
        own = Channels(*(one[:, *read] if len(one) else one for one in channels))
        graph = build_region_graph(*arrays, origin_vox=origin, core=core)
        parts.append(with_channels(graph, superpixels, boundaries, own, core=core))
    assert_equal(sum_of_graphs(parts), channelled(volume, channels))


def test_no_channels_change_nothing() -> None:
    volume = drawn_volume()
    assert_equal(channelled(volume, NO_CHANNELS), volume.graph())


def test_channels_of_another_shape_are_refused() -> None:
    volume = drawn_volume()
    with pytest.raises(InputError, match=r"texture has shape \(1, 3, 3, 2\) but superpixels has"):
        channelled(volume, Channels(np.zeros((1, 3, 3, 2), np.uint8), NO_CHANNEL))
    with pytest.raises(InputError, match=r"boundaries has shape \(2, 3, 3\)"):
        with_channels(volume.graph(), volume.superpixels, volume.boundaries[:2], NO_CHANNELS)
