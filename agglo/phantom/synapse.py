"""Synapses between neighbouring neurites.

A synapse is drawn by hash for two neighbouring lattice nodes of two neurites and lies where the
line between the nodes crosses the membrane. It exists if the voxels there agree: its position is a
voxel of the presynaptic neurite with a voxel of the postsynaptic one beside it. All triples are
z, y, x; arrays over nodes are those of `Skeleton`, flattened over the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from agglo.phantom.hashing import hash_position, mix, stream_key, unit
from agglo.phantom.shading import SYNAPSE_REACH_NM
from agglo.phantom.space import bend, straighten
from agglo.phantom.territory import label_box

_SYNAPSE = 60
_LOOK_AROUND = 2  # voxels


@dataclass(frozen=True, slots=True)
class Synapses:
    """Synapses, in the order of their lattice nodes.

    Attributes:
        pre: (n,) uint64, presynaptic neurite.
        post: (n,) uint64, postsynaptic neurite.
        position: (n, 3) int64, voxel of the presynaptic neurite beside the postsynaptic one.
        site_nm: (n, 3) float64, the crossing point in straight space.
        direction: (n, 3) float64, unit vector from the presynaptic to the postsynaptic neurite.
    """

    pre: npt.NDArray[np.uint64]
    post: npt.NDArray[np.uint64]
    position: npt.NDArray[np.int64]
    site_nm: npt.NDArray[np.float64]
    direction: npt.NDArray[np.float64]


@njit(cache=True)
def find_synapses(
    seed, spacing_nm, tortuosity, turn, max_radius_nm, rate, voxel_nm, cell_shape, low_nm, high_nm,
    start, shape, ids, position_nm, radius_nm, segments, has_segment,
    out_pre, out_post, out_position, out_site_nm, out_direction,
):  # fmt: skip
    """Find the synapses whose site lies between two corners of straight space.

    Args:
        seed: Seed of the phantom.
        spacing_nm: Node spacing.
        tortuosity: Strength of the warp.
        turn: (3, 3) float64, rotation of the lattice.
        max_radius_nm: No radius is larger.
        rate: Probability that two neighbouring nodes of two neurites try to make a synapse.
        voxel_nm: (3,) float64.
        cell_shape: (3,) int64, voxels of a cell.
        low_nm: (3,) float64, sites below are left out.
        high_nm: (3,) float64, sites at or above are left out.
        start: (3,) int64, first node of the box.
        shape: (3,) int64, nodes in the box.
        ids: (n,) uint64.
        position_nm: (n, 3) float64.
        radius_nm: (n,) float64.
        segments: (n, SEGMENT_FIELDS) float64.
        has_segment: (n,) bool.
        out_pre: (m,) uint64, m >= 3 n; the outputs receive the fields of `Synapses`.
        out_post: (m,) uint64.
        out_position: (m, 3) int64.
        out_site_nm: (m, 3) float64.
        out_direction: (m, 3) float64.

    Returns:
        The number of synapses.
    """
    side = 2 * _LOOK_AROUND + 1
    labels = np.empty((side, side, side), np.uint64)
    centre = np.empty(3, np.int64)
    corner = np.empty(3, np.int64)
    count = 0
    for i in range(shape[0] - 1):
        for j in range(shape[1] - 1):
            for k in range(shape[2] - 1):
                a = (i * shape[1] + j) * shape[2] + k
                if ids[a] == 0:
                    continue
                key = hash_position(
                    stream_key(seed, _SYNAPSE), start[0] + i, start[1] + j, start[2] + k
                )
                for axis in range(3):
                    h = mix(key + np.uint64(axis + 1))
                    if unit(h) >= rate:
                        continue
                    step = shape[1] * shape[2] if axis == 0 else (shape[2] if axis == 1 else 1)
                    b = a + step
                    if ids[b] == 0 or ids[b] == ids[a]:
                        continue
                    pre, post = (a, b) if mix(h) & np.uint64(1) else (b, a)
                    if not _cross(
                        pre, post, low_nm, high_nm, position_nm, radius_nm,
                        out_site_nm[count], out_direction[count],
                    ):  # fmt: skip
                        continue
                    _voxel_of(
                        seed, spacing_nm, tortuosity, turn, voxel_nm, out_site_nm[count], centre
                    )
                    for d in range(3):
                        corner[d] = centre[d] - _LOOK_AROUND
                    label_box(
                        seed, spacing_nm, tortuosity, turn, max_radius_nm, voxel_nm, cell_shape,
                        corner, start, shape, ids, segments, has_segment, labels,
                    )  # fmt: skip
                    position = out_position[count]
                    if not _pick_contact(labels, ids[pre], ids[post], voxel_nm, centre, position):
                        continue
                    sz, sy, sx = straighten(
                        seed, spacing_nm, tortuosity, turn, position[0] * voxel_nm[0],
                        position[1] * voxel_nm[1], position[2] * voxel_nm[2],
                    )  # fmt: skip
                    sz -= out_site_nm[count, 0]
                    sy -= out_site_nm[count, 1]
                    sx -= out_site_nm[count, 2]
                    if sz * sz + sy * sy + sx * sx < SYNAPSE_REACH_NM**2:
                        out_pre[count] = ids[pre]
                        out_post[count] = ids[post]
                        count += 1
    return count


@njit(cache=True)
def _cross(pre, post, low_nm, high_nm, position_nm, radius_nm, out_site, out_direction):
    """Find where two nodes are equally far; tell whether that is between the corners."""
    length = 0.0
    for axis in range(3):
        out_direction[axis] = position_nm[post, axis] - position_nm[pre, axis]
        length += out_direction[axis] * out_direction[axis]
    length = np.sqrt(length)
    way = 0.5 * (length + radius_nm[pre] - radius_nm[post])
    inside = True
    for axis in range(3):
        out_direction[axis] /= length
        out_site[axis] = position_nm[pre, axis] + way * out_direction[axis]
        inside = inside and low_nm[axis] <= out_site[axis] < high_nm[axis]
    return inside


@njit(cache=True)
def _voxel_of(seed, spacing_nm, tortuosity, turn, voxel_nm, site_nm, out_voxel):
    """Find the voxel nearest to the world point of a place in straight space."""
    z, y, x = bend(seed, spacing_nm, tortuosity, turn, site_nm[0], site_nm[1], site_nm[2])
    out_voxel[0] = np.int64(np.floor(z / voxel_nm[0] + 0.5))
    out_voxel[1] = np.int64(np.floor(y / voxel_nm[1] + 0.5))
    out_voxel[2] = np.int64(np.floor(x / voxel_nm[2] + 0.5))


@njit(cache=True)
def _pick_contact(labels, pre, post, voxel_nm, centre, out_position):
    """Pick the voxel of `pre` beside one of `post` that is nearest to the centre of `labels`."""
    best = np.inf
    side = labels.shape[0]
    half = side // 2
    for z in range(side):
        for y in range(side):
            for x in range(side):
                if labels[z, y, x] != pre:
                    continue
                touches = (
                    (z > 0 and labels[z - 1, y, x] == post)
                    or (z < side - 1 and labels[z + 1, y, x] == post)
                    or (y > 0 and labels[z, y - 1, x] == post)
                    or (y < side - 1 and labels[z, y + 1, x] == post)
                    or (x > 0 and labels[z, y, x - 1] == post)
                    or (x < side - 1 and labels[z, y, x + 1] == post)
                )
                if not touches:
                    continue
                far = (
                    ((z - half) * voxel_nm[0]) ** 2
                    + ((y - half) * voxel_nm[1]) ** 2
                    + ((x - half) * voxel_nm[2]) ** 2
                )
                if far < best:
                    best = far
                    out_position[0] = centre[0] + z - half
                    out_position[1] = centre[1] + y - half
                    out_position[2] = centre[2] + x - half
    return best < np.inf
