"""The sums over voxels and voxel faces behind a region graph, compiled.

All triples are z, y, x. Regions are numbered 0, 1, …; −1 is none.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs import statistics as st

_HASH = np.int64(-7046029254386353131)
"""2^64 over the golden ratio, as the signed factor of a multiplicative hash."""

BIN_OF_VALUE = np.searchsorted(np.array(st.BIN_EDGES), np.arange(256), side="right").astype(
    np.int64
)
"""(256,) int64, histogram bin of an 8-bit boundary value."""


@njit(cache=True)
def sum_regions(dense, image, boundaries, origin, bin_of_value, out_regions):
    """Sum the statistics of all regions but their surface, run by run along x."""
    n_z, n_y, n_x = dense.shape
    for z in range(n_z):
        for y in range(n_y):
            pz, py = origin[0] + z, origin[1] + y
            start = 0
            while start < n_x:
                u = dense[z, y, start]
                stop = start + 1
                while stop < n_x and dense[z, y, stop] == u:
                    stop += 1
                if u >= 0:
                    row = out_regions[u]
                    grey, grey_squared = np.int64(0), np.int64(0)
                    boundary, boundary_squared = np.int64(0), np.int64(0)
                    px, px_squared = np.int64(0), np.int64(0)
                    for x in range(start, stop):
                        g, b = np.int64(image[z, y, x]), np.int64(boundaries[z, y, x])
                        grey += g
                        grey_squared += g * g
                        boundary += b
                        boundary_squared += b * b
                        px += origin[2] + x
                        px_squared += (origin[2] + x) * (origin[2] + x)
                        row[st.REGION_HISTOGRAM + bin_of_value[b]] += 1
                    n = stop - start
                    row[st.SIZE] += n
                    row[st.GREY] += grey
                    row[st.GREY_SQUARED] += grey_squared
                    row[st.BOUNDARY] += boundary
                    row[st.BOUNDARY_SQUARED] += boundary_squared
                    row[st.REGION_POSITION] += n * pz
                    row[st.REGION_POSITION + 1] += n * py
                    row[st.REGION_POSITION + 2] += px
                    row[st.REGION_POSITION + 3] += n * pz * pz
                    row[st.REGION_POSITION + 4] += n * py * py
                    row[st.REGION_POSITION + 5] += px_squared
                    row[st.REGION_POSITION + 6] += n * pz * py
                    row[st.REGION_POSITION + 7] += pz * px
                    row[st.REGION_POSITION + 8] += py * px
                start = stop


@njit(cache=True)
def sum_contacts(dense, image, boundaries, origin, bin_of_value, n_regions):
    """Sum the statistics of all contacts, axis by axis; return their keys and sums.

    The key of a contact of u < v is u times the number of regions plus v. Arrays are made large
    enough before each row of voxels, so that the loop over its faces need not look after them.
    """
    n_z, n_y, n_x = dense.shape
    capacity = 1024
    while capacity < 4 * n_x:
        capacity *= 2
    keys = np.empty(capacity // 2, np.int64)
    contacts = np.zeros((capacity // 2, st.N_CONTACT_STATISTICS), np.int64)
    table_key, table_edge = _table_of(keys, 0, capacity)
    n_edges = 0
    for axis in range(3):
        for z in range(n_z - int(axis == 0)):
            for y in range(n_y - int(axis == 1)):
                if n_edges + n_x > len(keys):
                    capacity *= 2
                    grown_keys = np.empty(capacity // 2, np.int64)
                    grown_keys[:n_edges] = keys[:n_edges]
                    keys = grown_keys
                    grown = np.zeros((capacity // 2, st.N_CONTACT_STATISTICS), np.int64)
                    grown[:n_edges] = contacts[:n_edges]
                    contacts = grown
                    table_key, table_edge = _table_of(keys, n_edges, capacity)
                n_edges = _sum_faces_of_row(
                    dense,
                    image,
                    boundaries,
                    origin,
                    bin_of_value,
                    n_regions,
                    axis,
                    z,
                    y,
                    n_edges,
                    table_key,
                    table_edge,
                    keys,
                    contacts,
                )
    return keys[:n_edges], contacts[:n_edges]


@njit(cache=True)
def _sum_faces_of_row(
    dense,
    image,
    boundaries,
    origin,
    bin_of_value,
    n_regions,
    axis,
    z,
    y,
    n_edges,
    out_table_key,
    out_table_edge,
    out_keys,
    out_contacts,
):
    """Add the faces between a row of voxels and the next ones along an axis; return n_edges."""
    n_z, n_y, n_x = dense.shape
    stride = np.int64(n_regions)
    dz, dy, dx = int(axis == 0), int(axis == 1), int(axis == 2)
    row, next_row = dense[z, y], dense[z + dz, y + dy]
    last_key = np.int64(-1)
    edge = np.int64(0)
    for x in range(n_x - dx):
        u, v = row[x], next_row[x + dx]
        if u == v or u < 0 or v < 0:
            continue
        key = min(u, v) * stride + max(u, v)
        if key != last_key:
            last_key = key
            slot = _slot_of(out_table_key, key)
            if out_table_key[slot] < 0:
                out_table_key[slot] = key
                out_table_edge[slot] = n_edges
                out_keys[n_edges] = key
                n_edges += 1
            edge = out_table_edge[slot]
        z1, y1, x1 = z + dz, y + dy, x + dx
        g, g1 = np.int64(image[z, y, x]), np.int64(image[z1, y1, x1])
        b, b1 = np.int64(boundaries[z, y, x]), np.int64(boundaries[z1, y1, x1])
        face = max(b, b1)
        path = face
        z0, y0, x0 = z - dz, y - dy, x - dx
        if z0 >= 0 and y0 >= 0 and x0 >= 0:
            path = max(path, np.int64(boundaries[z0, y0, x0]))
        z2, y2, x2 = z1 + dz, y1 + dy, x1 + dx
        if z2 < n_z and y2 < n_y and x2 < n_x:
            path = max(path, np.int64(boundaries[z2, y2, x2]))
        contact = out_contacts[edge]
        contact[st.AREA] += 1
        contact[st.FACE_MAX] += face
        contact[st.FACE_MAX_SQUARED] += face * face
        contact[st.FACE_SUM] += b + b1
        contact[st.PATH_MAX] += path
        contact[st.FACE_GREY] += g + g1
        contact[st.FACE_GREY_SQUARED] += (g + g1) * (g + g1)
        contact[st.GREY_STEP] += abs(g - g1)
        contact[st.AREA_Z] += dz
        contact[st.CONTACT_HISTOGRAM + bin_of_value[face]] += 1
        fz = 2 * (origin[0] + z) + dz
        fy = 2 * (origin[1] + y) + dy
        fx = 2 * (origin[2] + x) + dx
        contact[st.CONTACT_POSITION] += fz
        contact[st.CONTACT_POSITION + 1] += fy
        contact[st.CONTACT_POSITION + 2] += fx
        contact[st.CONTACT_POSITION + 3] += fz * fz
        contact[st.CONTACT_POSITION + 4] += fy * fy
        contact[st.CONTACT_POSITION + 5] += fx * fx
        contact[st.CONTACT_POSITION + 6] += fz * fy
        contact[st.CONTACT_POSITION + 7] += fz * fx
        contact[st.CONTACT_POSITION + 8] += fy * fx
    return n_edges


@njit(cache=True)
def _slot_of(table_key, key):
    """Return the slot of an open-addressing table (−1 = free) that holds a key or would take it."""
    mask = len(table_key) - 1
    slot = ((key * _HASH) >> 20) & mask
    while table_key[slot] >= 0 and table_key[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True)
def _table_of(keys, n_edges, capacity):
    """Make a hash table from keys to edges 0, 1, …."""
    table_key = np.full(capacity, -1, np.int64)
    table_edge = np.empty(capacity, np.int64)
    for edge in range(n_edges):
        slot = _slot_of(table_key, keys[edge])
        table_key[slot] = keys[edge]
        table_edge[slot] = edge
    return table_key, table_edge
