"""The region adjacency graph of a superpixel volume and its additive statistics.

One pass over the voxels. All triples are z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from envs import statistics as st
from envs.quantise import quantise_boundaries, quantise_image

_HASH = np.int64(-7046029254386353131)
"""2^64 over the golden ratio, as the signed factor of a multiplicative hash."""

_BIN_OF_VALUE = np.searchsorted(np.array(st.BIN_EDGES), np.arange(256), side="right").astype(
    np.int64
)


@dataclass(frozen=True, slots=True)
class RegionGraph:
    """Regions, their contacts, and the sums that describe both.

    Attributes:
        ids: (R,) uint64, superpixel id of each region, ascending; never 0.
        regions: (R, N_REGION_STATISTICS) int64, columns of `envs.statistics`.
        edges: (E, 2) int32, indices into `ids`, u < v, in lexicographic order. Their order is the
            strict order of ties of the merge rule.
        contacts: (E, N_CONTACT_STATISTICS) int64, columns of `envs.statistics`.
        voxel_size_nm: edge lengths of a voxel.
    """

    ids: npt.NDArray[np.uint64]
    regions: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int32]
    contacts: npt.NDArray[np.int64]
    voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.regions.shape != (len(self.ids), st.N_REGION_STATISTICS):
            raise ValueError(f"regions has shape {self.regions.shape} for {len(self.ids)} ids")
        if self.contacts.shape != (len(self.edges), st.N_CONTACT_STATISTICS):
            raise ValueError(f"contacts has shape {self.contacts.shape}, edges {self.edges.shape}")
        if len(self.edges) and not (
            (self.edges[:, 0] < self.edges[:, 1]).all()
            and self.edges.min() >= 0
            and self.edges.max() < len(self.ids)
        ):
            raise ValueError("edges must be pairs u < v of region indices")

    @property
    def n_regions(self) -> int:
        """Return the number of regions."""
        return len(self.ids)

    @property
    def n_edges(self) -> int:
        """Return the number of contacts."""
        return len(self.edges)


def dense_labels(
    labels: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Number the non-zero ids of a label volume 0, 1, … in ascending order.

    Args:
        labels: any shape, integer, 0 = none.

    Returns:
        ids (R,) uint64, and for every voxel the index of its id, −1 where the label is 0.
    """
    flat = labels.reshape(-1)
    if flat.size == 0:
        return np.empty(0, np.uint64), np.empty(labels.shape, np.int32)
    if labels.dtype.kind == "i" and flat.min() < 0:
        raise InputError(f"superpixels must not be negative; seen {flat.min()}")
    highest = int(flat.max())
    if highest < 8 * flat.size + 1024:
        present = np.zeros(highest + 1, np.bool_)
        present[flat] = True
        present[0] = False
        ids = np.flatnonzero(present)
        index = np.full(highest + 1, -1, np.int32)
        index[ids] = np.arange(len(ids), dtype=np.int32)
        return ids.astype(np.uint64), index[flat].reshape(labels.shape)
    ids, inverse = np.unique(flat, return_inverse=True)
    dense = inverse.astype(np.int32)
    if ids[0] == 0:
        return ids[1:].astype(np.uint64), (dense - 1).reshape(labels.shape)
    return ids.astype(np.uint64), dense.reshape(labels.shape)


@njit(cache=True)
def _grow(table_key, table_value):
    """Double an open-addressing table of int64 keys (−1 = free)."""
    capacity = 2 * len(table_key)
    new_key = np.full(capacity, -1, np.int64)
    new_value = np.empty(capacity, np.int64)
    mask = capacity - 1
    for i in range(len(table_key)):
        key = table_key[i]
        if key >= 0:
            slot = ((key * _HASH) >> 20) & mask
            while new_key[slot] >= 0:
                slot = (slot + 1) & mask
            new_key[slot] = key
            new_value[slot] = table_value[i]
    return new_key, new_value


@njit(cache=True)
def _accumulate(dense, image, boundaries, origin, bin_of_value, n_regions, out_regions):
    """Sum the statistics of all regions and contacts in one pass; return edge keys and contacts."""
    n_z, n_y, n_x = dense.shape
    stride = np.int64(n_regions)
    table_key = np.full(1024, -1, np.int64)
    table_value = np.empty(1024, np.int64)
    keys = np.empty(512, np.int64)
    contacts = np.zeros((512, st.N_CONTACT_STATISTICS), np.int64)
    n_edges = 0
    last_key = np.int64(-1)
    last_edge = 0
    for z in range(n_z):
        for y in range(n_y):
            for x in range(n_x):
                u = dense[z, y, x]
                if u < 0:
                    continue
                g = np.int64(image[z, y, x])
                b = np.int64(boundaries[z, y, x])
                row = out_regions[u]
                row[st.SIZE] += 1
                row[st.GREY] += g
                row[st.GREY_SQUARED] += g * g
                row[st.BOUNDARY] += b
                row[st.BOUNDARY_SQUARED] += b * b
                row[st.REGION_HISTOGRAM + bin_of_value[b]] += 1
                pz, py, px = origin[0] + z, origin[1] + y, origin[2] + x
                row[st.REGION_POSITION] += pz
                row[st.REGION_POSITION + 1] += py
                row[st.REGION_POSITION + 2] += px
                row[st.REGION_POSITION + 3] += pz * pz
                row[st.REGION_POSITION + 4] += py * py
                row[st.REGION_POSITION + 5] += px * px
                row[st.REGION_POSITION + 6] += pz * py
                row[st.REGION_POSITION + 7] += pz * px
                row[st.REGION_POSITION + 8] += py * px
                for axis in range(3):
                    dz, dy, dx = axis == 0, axis == 1, axis == 2
                    z1, y1, x1 = z + dz, y + dy, x + dx
                    if z1 >= n_z or y1 >= n_y or x1 >= n_x:
                        continue
                    v = dense[z1, y1, x1]
                    if v < 0 or v == u:
                        continue
                    key = min(u, v) * stride + max(u, v)
                    if key == last_key:
                        edge = last_edge
                    else:
                        mask = len(table_key) - 1
                        slot = ((key * _HASH) >> 20) & mask
                        while table_key[slot] >= 0 and table_key[slot] != key:
                            slot = (slot + 1) & mask
                        if table_key[slot] == key:
                            edge = table_value[slot]
                        else:
                            edge = n_edges
                            if n_edges == len(keys):
                                grown_keys = np.empty(2 * n_edges, np.int64)
                                grown_keys[:n_edges] = keys
                                keys = grown_keys
                                grown = np.zeros((2 * n_edges, st.N_CONTACT_STATISTICS), np.int64)
                                grown[:n_edges] = contacts
                                contacts = grown
                            keys[edge] = key
                            n_edges += 1
                            table_key[slot] = key
                            table_value[slot] = edge
                            if 2 * n_edges > len(table_key):
                                table_key, table_value = _grow(table_key, table_value)
                        last_key = key
                        last_edge = edge
                    g1 = np.int64(image[z1, y1, x1])
                    b1 = np.int64(boundaries[z1, y1, x1])
                    face = max(b, b1)
                    path = face
                    z0, y0, x0 = z - dz, y - dy, x - dx
                    if z0 >= 0 and y0 >= 0 and x0 >= 0:
                        path = max(path, np.int64(boundaries[z0, y0, x0]))
                    z2, y2, x2 = z1 + dz, y1 + dy, x1 + dx
                    if z2 < n_z and y2 < n_y and x2 < n_x:
                        path = max(path, np.int64(boundaries[z2, y2, x2]))
                    out_regions[u, st.SURFACE] += 1
                    out_regions[v, st.SURFACE] += 1
                    con = contacts[edge]
                    con[st.AREA] += 1
                    con[st.FACE_MAX] += face
                    con[st.FACE_MAX_SQUARED] += face * face
                    con[st.FACE_SUM] += b + b1
                    con[st.PATH_MAX] += path
                    con[st.FACE_GREY] += g + g1
                    con[st.FACE_GREY_SQUARED] += (g + g1) * (g + g1)
                    con[st.GREY_STEP] += abs(g - g1)
                    if axis == 0:
                        con[st.AREA_Z] += 1
                    con[st.CONTACT_HISTOGRAM + bin_of_value[face]] += 1
                    fz, fy, fx = 2 * pz + dz, 2 * py + dy, 2 * px + dx
                    con[st.CONTACT_POSITION] += fz
                    con[st.CONTACT_POSITION + 1] += fy
                    con[st.CONTACT_POSITION + 2] += fx
                    con[st.CONTACT_POSITION + 3] += fz * fz
                    con[st.CONTACT_POSITION + 4] += fy * fy
                    con[st.CONTACT_POSITION + 5] += fx * fx
                    con[st.CONTACT_POSITION + 6] += fz * fy
                    con[st.CONTACT_POSITION + 7] += fz * fx
                    con[st.CONTACT_POSITION + 8] += fy * fx
    return keys[:n_edges], contacts[:n_edges]


def build_region_graph(
    superpixels: npt.NDArray[np.integer],
    image: npt.NDArray,
    boundaries: npt.NDArray,
    *,
    voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin_vox: tuple[int, int, int] = (0, 0, 0),
) -> RegionGraph:
    """Build the region adjacency graph over voxel faces, with all statistics, in one pass.

    Args:
        superpixels: (z, y, x) integer, 0 = none (such voxels touch nothing).
        image: (z, y, x) grey values, see `envs.quantise.quantise_image`.
        boundaries: (z, y, x) boundary map, see `envs.quantise.quantise_boundaries`.
        voxel_size_nm: edge lengths of a voxel.
        origin_vox: position of the array's first voxel, added to all positions.

    Raises:
        InputError: where shapes differ, superpixels are not integer, or nothing is labelled.
    """
    if superpixels.dtype.kind not in "ui":
        raise InputError(f"superpixels must be integer labels, not {superpixels.dtype}")
    for name, array in (("image", image), ("boundaries", boundaries)):
        if array.shape != superpixels.shape:
            raise InputError(
                f"{name} has shape {array.shape} but superpixels has shape {superpixels.shape}"
            )
    ids, dense = dense_labels(superpixels)
    if len(ids) == 0:
        raise InputError(f"superpixels of shape {superpixels.shape} hold no region, only label 0")
    regions = np.zeros((len(ids), st.N_REGION_STATISTICS), np.int64)
    keys, contacts = _accumulate(
        np.ascontiguousarray(dense),
        quantise_image(image),
        quantise_boundaries(boundaries),
        np.array(origin_vox, np.int64),
        _BIN_OF_VALUE,
        len(ids),
        regions,
    )
    order = np.argsort(keys)
    keys = keys[order]
    edges = np.stack([keys // len(ids), keys % len(ids)], axis=1).astype(np.int32)
    return RegionGraph(ids, regions, edges, contacts[order], voxel_size_nm)
