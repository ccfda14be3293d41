"""The sums over voxels and voxel faces behind a region graph, compiled: one pass over the labels.

All triples are z, y, x. Regions are numbered 0, 1, … in the order of their first voxel; −1 is none.
A row of voxels is cut into runs of one region, and the faces between two rows into strips, the
common part of two runs. What is looked up is looked up once for a run or a strip.

Of an array that is a block with a rim of its surroundings, only the core is summed: its voxels, and
the faces between each and the voxel before it along an axis, which may lie in the rim. So every
voxel and every face of a volume belongs to one block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from envs import statistics as st
from envs.label_table import HASH, grown, slot_of_id, table_of_ids, table_size

_ROOM = 1024
"""Regions and contacts that there is room for at first."""

# Columns of a strip: its first voxel, the one after its last, and its edge.
_START, _STOP, _EDGE = range(3)

BIN_OF_VALUE = np.searchsorted(np.array(st.BIN_EDGES), np.arange(256), side="right").astype(
    np.int64
)
"""(256,) int64, histogram bin of an 8-bit boundary value."""


@njit(cache=True)
def sum_volume(labels, image, boundaries, evidence, origin, core, bin_of_value) -> Any:
    """Find all regions and contacts and sum their statistics but the surface of regions.

    Regions of the rim are numbered too, with sums of 0.

    Args:
        labels: (z, y, x) uint32 or uint64, 0 = none.
        image: (z, y, x) uint8 grey values, or (0, 0, 0): then only the faces of contacts are
            counted, in their one column.
        boundaries: (z, y, x) uint8, or (0, 0, 0).
        evidence: (3, z, y, x) uint8, evidence of the face between a voxel and the one before it
            along each axis, 0 where there is none; or (0, 0, 0, 0): then that of a face is the
            larger of its voxels'.
        origin: (3,) int64 position of the first voxel.
        core: (3, 2) int64, first voxel of the core along each axis, and the one after its last.
        bin_of_value: (256,) int64.

    Returns:
        ids (R,) uint64; regions (R, S) int64; keys (E,) int64, lower region number times 2^32 plus
        the higher one, in no order that matters; contacts (E, C) int64.
    """
    _, n_y, n_x = labels.shape
    is_summed = image.size > 0
    ids = np.empty(_ROOM, np.uint64)
    regions = np.zeros((_ROOM, st.N_REGION_STATISTICS if is_summed else 0), np.int64)
    contacts = np.zeros((_ROOM, st.N_CONTACT_STATISTICS if is_summed else 1), np.int64)
    region_table = table_of_ids(ids, 0)
    edge_table = np.full((2 * _ROOM, 2), -1, np.int64)
    n_regions, n_edges = 0, 0
    below_ends, here_ends = np.empty((n_y, n_x), np.int32), np.empty((n_y, n_x), np.int32)
    below, here = np.empty((n_y, n_x), np.int32), np.empty((n_y, n_x), np.int32)
    strips = np.empty((2 * n_x, 3), np.int64)
    (first_z, stop_z), (first_y, stop_y), (first_x, stop_x) = core
    for z in range(max(first_z - 1, 0), stop_z):
        below_ends, here_ends = here_ends, below_ends
        below, here = here, below
        for y in range(max(first_y - 1, 0), stop_y if stop_x > first_x else 0):
            if n_regions + n_x > len(ids):
                ids, regions = grown(ids, n_x), grown(regions, n_x)
                region_table = table_of_ids(ids, n_regions)
            if n_edges + 3 * n_x > len(contacts):
                contacts = grown(contacts, 3 * n_x)
                edge_table = _grown_table(edge_table, len(contacts))
            n_regions = _find_runs(
                labels, z, y, first_x, stop_x, n_regions, region_table, ids, here_ends, here
            )
            if z < first_z or y < first_y:
                continue
            if is_summed:
                _sum_runs(
                    here_ends,
                    here,
                    image,
                    boundaries,
                    bin_of_value,
                    origin,
                    z,
                    y,
                    first_x,
                    stop_x,
                    regions,
                )
            for axis in range(3):
                if axis == 2:
                    n_strips = _strips_along(here_ends, here, y, stop_x, strips)
                elif axis == 1 and y > 0:
                    n_strips = _strips_between(
                        here_ends, here, y - 1, here_ends, here, y, first_x, stop_x, strips
                    )
                elif axis == 0 and z > 0:
                    n_strips = _strips_between(
                        below_ends, below, y, here_ends, here, y, first_x, stop_x, strips
                    )
                else:
                    continue
                n_edges = _find_edges(n_strips, n_edges, edge_table, strips)
                if is_summed:
                    _sum_strips(
                        strips,
                        n_strips,
                        image,
                        boundaries,
                        evidence,
                        bin_of_value,
                        origin,
                        axis,
                        z,
                        y,
                        contacts,
                    )
                else:
                    for i in range(n_strips):
                        contacts[strips[i, _EDGE], 0] += strips[i, _STOP] - strips[i, _START]
    keys = np.empty(n_edges, np.int64)
    for slot in range(len(edge_table)):
        if edge_table[slot, 0] >= 0:
            keys[edge_table[slot, 1]] = edge_table[slot, 0]
    return ids[:n_regions], regions[:n_regions], keys, contacts[:n_edges]


@njit(cache=True)
def _find_runs(labels, z, y, first_x, stop_x, n_regions, out_table, out_ids, out_ends, out_regions):
    """List where the runs of row y of a plane end and their regions; return how many regions.

    The first run begins one voxel before the core, if there is one.
    """
    row, ends, regions = labels[z, y], out_ends[y], out_regions[y]
    n, start = np.uint64(0), np.uint64(max(first_x - 1, 0))
    for x in range(start + np.uint64(1), np.uint64(stop_x)):
        ends[n] = x
        n += np.uint64(row[x] != row[x - np.uint64(1)])
    ends[n] = stop_x
    for run in range(n + np.uint64(1)):
        label = np.uint64(row[start])
        start = np.uint64(ends[run])
        if label == 0:
            regions[run] = -1
            continue
        slot = slot_of_id(out_table, out_ids, label)
        if out_table[slot] < 0:
            out_table[slot] = n_regions
            out_ids[n_regions] = label
            n_regions += 1
        regions[run] = out_table[slot]
    return n_regions


@njit(cache=True)
def _strips_along(ends, regions, y, stop_x, out_strips):
    """List the faces between the runs of a row; return how many there are."""
    row_ends, row = ends[y], regions[y]
    n, run = 0, 0
    while row_ends[run] < stop_x:
        u, v = np.int64(row[run]), np.int64(row[run + 1])
        out_strips[n, _START] = row_ends[run] - 1
        out_strips[n, _STOP] = row_ends[run]
        out_strips[n, _EDGE] = min(u, v) << 32 | max(u, v)
        n += min(u, v) >= 0
        run += 1
    return n


@njit(cache=True)
def _strips_between(
    first_ends, first, first_y, second_ends, second, second_y, first_x, stop_x, out_strips
):
    """List the strips of faces between two rows; return how many there are."""
    ends_a, row_a, ends_b, row_b = (
        first_ends[first_y],
        first[first_y],
        second_ends[second_y],
        second[second_y],
    )
    n, start = np.uint64(0), first_x
    a, b = np.uint64(ends_a[0] <= first_x), np.uint64(ends_b[0] <= first_x)
    while start < stop_x:
        stop_a, stop_b = np.int64(ends_a[a]), np.int64(ends_b[b])
        u, v = np.int64(row_a[a]), np.int64(row_b[b])
        stop = min(stop_a, stop_b)
        out_strips[n, _START] = start
        out_strips[n, _STOP] = stop
        out_strips[n, _EDGE] = min(u, v) << 32 | max(u, v)
        n += np.uint64((u != v) & (min(u, v) >= 0))
        a += np.uint64(stop_a == stop)
        b += np.uint64(stop_b == stop)
        start = stop
    return np.int64(n)


@njit(cache=True)
def _find_edges(n_strips, n_edges, out_table, out_strips):
    """Put edges in the place of keys, new ones where there was none; return how many there are."""
    for i in range(n_strips):
        key = out_strips[i, _EDGE]
        slot = _slot_of_key(out_table, key)
        if out_table[slot, 0] < 0:
            out_table[slot, 0] = key
            out_table[slot, 1] = n_edges
            n_edges += 1
        out_strips[i, _EDGE] = out_table[slot, 1]
    return n_edges


@njit(cache=True)
def _sum_runs(
    ends, runs, image, boundaries, bin_of_value, origin, z, y, first_x, stop_x, out_regions
):
    """Add the voxels of a row to its regions."""
    pz, py = origin[0] + z, origin[1] + y
    start, run = first_x, np.int64(ends[y, 0] <= first_x)
    while start < stop_x:
        stop = np.int64(ends[y, run])
        if runs[y, run] >= 0:
            u = np.uint64(runs[y, run])
            grey, grey_squared = np.int64(0), np.int64(0)
            boundary, boundary_squared = np.int64(0), np.int64(0)
            for x in range(np.uint64(start), np.uint64(stop)):
                g, b = np.int64(image[z, y, x]), np.int64(boundaries[z, y, x])
                grey += g
                grey_squared += g * g
                boundary += b
                boundary_squared += b * b
                out_regions[u, st.REGION_HISTOGRAM + bin_of_value[b]] += 1
            n = stop - start
            a, e = origin[2] + start - 1, origin[2] + stop - 1
            px = (e * (e + 1) - a * (a + 1)) // 2
            px_squared = (e * (e + 1) * (2 * e + 1) - a * (a + 1) * (2 * a + 1)) // 6
            out_regions[u, st.SIZE] += n
            out_regions[u, st.GREY] += grey
            out_regions[u, st.GREY_SQUARED] += grey_squared
            out_regions[u, st.BOUNDARY] += boundary
            out_regions[u, st.BOUNDARY_SQUARED] += boundary_squared
            out_regions[u, st.REGION_POSITION] += n * pz
            out_regions[u, st.REGION_POSITION + 1] += n * py
            out_regions[u, st.REGION_POSITION + 2] += px
            out_regions[u, st.REGION_POSITION + 3] += n * pz * pz
            out_regions[u, st.REGION_POSITION + 4] += n * py * py
            out_regions[u, st.REGION_POSITION + 5] += px_squared
            out_regions[u, st.REGION_POSITION + 6] += n * pz * py
            out_regions[u, st.REGION_POSITION + 7] += pz * px
            out_regions[u, st.REGION_POSITION + 8] += py * px
        start = stop
        run += 1


@njit(cache=True)
def _sum_strips(
    strips,
    n_strips,
    image,
    boundaries,
    evidence,
    bin_of_value,
    origin,
    axis,
    z,
    y,
    out_contacts,
):
    """Add the faces between row y of plane z and the row before it to their contacts.

    Along x the row before it is the row itself, a voxel earlier. The evidence in line across a face
    is that of four voxels, or of three faces; beyond a border stands the nearest.
    """
    n_z, n_y, n_x = boundaries.shape
    dz, dy, dx = int(axis == 0), int(axis == 1), int(axis == 2)
    z0, y0, z3, y3 = z - dz, y - dy, min(z + dz, n_z - 1), min(y + dy, n_y - 1)
    is_of_voxels = len(evidence) == 0
    zb, yb, shift = (max(z0 - dz, 0), max(y0 - dy, 0), 0) if is_of_voxels else (z0, y0, dx)
    fz, fy = 2 * (origin[0] + z0) + dz, 2 * (origin[1] + y0) + dy
    first_fx = 2 * origin[2] + dx
    for i in range(n_strips):
        start, stop = strips[i, _START], strips[i, _STOP]
        edge = np.uint64(strips[i, _EDGE])
        face_max, face_max_squared = np.int64(0), np.int64(0)
        face_sum, path_max = np.int64(0), np.int64(0)
        face_grey, face_grey_squared, grey_step = np.int64(0), np.int64(0), np.int64(0)
        sum_fx, sum_fx_squared = np.int64(0), np.int64(0)
        for x in range(start, stop):
            b, b1 = np.int64(boundaries[z0, y0, x]), np.int64(boundaries[z, y, x + dx])
            x0, x3 = max(x + shift - dx, 0), min(x + 2 * dx, n_x - 1)
            if is_of_voxels:
                face = max(b, b1)
                path = max(np.int64(boundaries[zb, yb, x0]), np.int64(boundaries[z3, y3, x3]))
            else:
                face = np.int64(evidence[axis, z, y, x + dx])
                path = np.int64(max(evidence[axis, zb, yb, x0], evidence[axis, z3, y3, x3]))
            g, g1 = np.int64(image[z0, y0, x]), np.int64(image[z, y, x + dx])
            fx = first_fx + 2 * x
            face_max += face
            face_max_squared += face * face
            face_sum += b + b1
            path_max += max(face, path)
            face_grey += g + g1
            face_grey_squared += (g + g1) * (g + g1)
            grey_step += abs(g - g1)
            out_contacts[edge, st.CONTACT_HISTOGRAM + bin_of_value[face]] += 1
            sum_fx += fx
            sum_fx_squared += fx * fx
        n = stop - start
        out_contacts[edge, st.AREA] += n
        out_contacts[edge, st.FACE_MAX] += face_max
        out_contacts[edge, st.FACE_MAX_SQUARED] += face_max_squared
        out_contacts[edge, st.FACE_SUM] += face_sum
        out_contacts[edge, st.PATH_MAX] += path_max
        out_contacts[edge, st.FACE_GREY] += face_grey
        out_contacts[edge, st.FACE_GREY_SQUARED] += face_grey_squared
        out_contacts[edge, st.GREY_STEP] += grey_step
        out_contacts[edge, st.AREA_Z] += n * dz
        out_contacts[edge, st.CONTACT_POSITION] += n * fz
        out_contacts[edge, st.CONTACT_POSITION + 1] += n * fy
        out_contacts[edge, st.CONTACT_POSITION + 2] += sum_fx
        out_contacts[edge, st.CONTACT_POSITION + 3] += n * fz * fz
        out_contacts[edge, st.CONTACT_POSITION + 4] += n * fy * fy
        out_contacts[edge, st.CONTACT_POSITION + 5] += sum_fx_squared
        out_contacts[edge, st.CONTACT_POSITION + 6] += n * fz * fy
        out_contacts[edge, st.CONTACT_POSITION + 7] += fz * sum_fx
        out_contacts[edge, st.CONTACT_POSITION + 8] += fy * sum_fx


@njit(cache=True)
def _slot_of_key(table, key):
    """Return the slot of a table of (key, edge), −1 = free, that holds a key or would take it."""
    mask = np.uint64(len(table) - 1)
    slot = ((np.uint64(key) * HASH) >> np.uint64(32)) & mask
    while table[slot, 0] != key and table[slot, 0] >= 0:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True)
def _grown_table(table, n):
    """Enter all of a table of edges into one with room for n."""
    larger = np.full((table_size(n), 2), -1, np.int64)
    for slot in range(len(table)):
        if table[slot, 0] >= 0:
            larger[_slot_of_key(larger, table[slot, 0])] = table[slot]
    return larger
