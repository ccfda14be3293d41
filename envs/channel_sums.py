"""The sums of dense channels over the regions and contacts of a graph, compiled.

All triples are z, y, x.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from envs import statistics as st
from envs.channels import Channels, columns_of, require_channels
from envs.label_table import read_only
from envs.quantise import quantise_boundaries
from envs.region_graph import Core, RegionGraph, dense_labels, require_shape


def with_channels(
    graph: RegionGraph,
    superpixels: npt.NDArray[np.integer],
    boundaries: npt.NDArray,
    channels: Channels,
    *,
    core: Core | None = None,
) -> RegionGraph:
    """Put the sums of channels beside the statistics of a graph.

    Args:
        graph: of these superpixels, without channels.
        superpixels: (z, y, x) integer, 0 = none.
        boundaries: (z, y, x) boundary map, see `envs.quantise.quantise_boundaries`.
        channels: (T, z, y, x) and (E, z, y, x); with none of either the graph stays as it is.
        core: where the arrays hold a block with its rim, the block, as the graph was made.

    Raises:
        InputError: where shapes differ or channels are not 8-bit.
    """
    require_shape("boundaries", boundaries, superpixels.shape)
    require_channels(channels, superpixels.shape)
    if not any(channels.counts):
        return graph
    widened = blank_channels(graph, *channels.counts)
    ids, index = dense_labels(superpixels)
    number = np.full(len(ids) + 1, -1, np.int32)  # the last is that of no region
    known = np.isin(ids, graph.ids)
    number[:-1][known] = np.searchsorted(graph.ids, ids[known])
    ends = [(0, size) for size in superpixels.shape]
    if core is not None:
        ends = [(part.start, part.stop) for part in core]
    edges = graph.edges.astype(np.int64)
    _sum_channels(
        read_only(number[index]),
        read_only(quantise_boundaries(boundaries)),
        read_only(channels.texture),
        read_only(channels.embedding),
        np.array(ends, np.int64),
        edges[:, 0] * graph.n_regions + edges[:, 1],
        widened.regions,
        widened.contacts,
    )
    return widened


def blank_channels(graph: RegionGraph, texture: int, embedding: int) -> RegionGraph:
    """Copy a graph and give it columns of zeros for channels.

    Args:
        graph: without channels.
        texture: how many channels of texture.
        embedding: how many of an embedding.
    """
    n_region, n_contact = columns_of(texture, embedding)
    regions = np.zeros((graph.n_regions, n_region), np.int64)
    contacts = np.zeros((graph.n_edges, n_contact), np.int64)
    regions[:, : st.N_REGION_STATISTICS] = graph.regions
    contacts[:, : st.N_CONTACT_STATISTICS] = graph.contacts
    return RegionGraph(graph.ids, regions, graph.edges, contacts, graph.voxel_size_nm)


@njit(cache=True)
def _sum_channels(index, boundaries, texture, embedding, core, keys, out_regions, out_contacts):
    """Add up channels over the voxels of the core, and over the faces to those before them.

    Args:
        index: (z, y, x) int32 region, −1 = none.
        boundaries: (z, y, x) uint8.
        texture: (T, z, y, x) uint8, T may be 0.
        embedding: (E, z, y, x) uint8, E may be 0.
        core: (3, 2) int64, first voxel of the core along each axis, and the one after its last.
        keys: (N,) int64 ascending, lower region of a contact times R plus the higher one.
        out_regions: (R, S) int64.
        out_contacts: (N, C) int64.
    """
    n_z, n_y, n_x = index.shape
    (first_z, stop_z), (first_y, stop_y), (first_x, stop_x) = core
    last_key, edge = np.int64(-1), np.int64(-1)
    for z in range(first_z, stop_z):
        for y in range(first_y, stop_y):
            start = first_x
            while start < stop_x:
                u = index[z, y, start]
                stop = start + 1
                while stop < stop_x and index[z, y, stop] == u:
                    stop += 1
                if u >= 0:
                    _sum_run(boundaries, texture, embedding, z, y, start, stop, u, out_regions)
                start = stop
            for axis in range(3):
                dz, dy, dx = int(axis == 0), int(axis == 1), int(axis == 2)
                z0, y0 = z - dz, y - dy
                if z0 < 0 or y0 < 0:
                    continue
                for x in range(max(first_x, dx), stop_x):
                    u, v = np.int64(index[z0, y0, x - dx]), np.int64(index[z, y, x])
                    if u == v or u < 0 or v < 0:
                        continue
                    key = min(u, v) * len(out_regions) + max(u, v)
                    if key != last_key:
                        last_key, edge = key, np.int64(np.searchsorted(keys, key))
                    for c in range(len(texture)):
                        out_contacts[edge, st.N_CONTACT_STATISTICS + c] += np.int64(
                            texture[c, z0, y0, x - dx]
                        ) + np.int64(texture[c, z, y, x])
                    if len(embedding):
                        za, ya, xa = max(z0 - dz, 0), max(y0 - dy, 0), max(x - 2 * dx, 0)
                        zb, yb = min(z + dz, n_z - 1), min(y + dy, n_y - 1)
                        xb = min(x + dx, n_x - 1)
                        squares = np.int64(0)
                        for c in range(len(embedding)):
                            step = np.int64(embedding[c, zb, yb, xb])
                            step -= np.int64(embedding[c, za, ya, xa])
                            squares += step * step
                        out_contacts[edge, st.N_CONTACT_STATISTICS + len(texture)] += squares


@njit(cache=True)
def _sum_run(boundaries, texture, embedding, z, y, start, stop, u, out_regions):
    """Add a run of voxels of one region along x."""
    first = st.N_REGION_STATISTICS
    for c in range(len(texture)):
        total = np.int64(0)
        for x in range(start, stop):
            total += np.int64(texture[c, z, y, x])
        out_regions[u, first + c] += total
    first += len(texture)
    squares = np.int64(0)
    for c in range(len(embedding)):
        total = np.int64(0)
        for x in range(start, stop):
            weight = np.int64(256) - np.int64(boundaries[z, y, x])
            value = np.int64(embedding[c, z, y, x])
            total += weight * value
            squares += weight * value * value
        out_regions[u, first + c] += total
    if len(embedding):
        out_regions[u, first + len(embedding)] += squares
