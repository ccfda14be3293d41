"""Which neurite a point belongs to, and how far it is from the membrane.

A neurite is a chain of round cones: the distance of a point to it is min over its skeleton of
(distance to the skeleton point - radius there), and a point belongs to the nearest neurite, as in
an additively weighted Voronoi diagram (Okabe et al., Spatial Tessellations, 2000, section 3.1.2).
Such a distance grows by no more than one per unit of way, so the straight line from a point to its
skeleton point stays in the territory: territories are connected. A smooth injective warp of space
bends them.

Space is worked on in cells of a few voxels, aligned to the global voxel grid. For every cell the
segments are gathered that can be nearest or second nearest anywhere in it; the bound is exact, so
the cells change the cost and not the result. All triples are z, y, x in nm unless they are named
as voxels, cells or nodes; arrays over nodes are those of `Skeleton`, flattened over the box.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from agglo.phantom.config import JITTER
from agglo.phantom.space import CHANNELS, cell_ball, corner_fields, fields_at

WINDOW = 6
"""Nodes around a cell, to each side, that are ever looked at."""

MAX_CANDIDATES = (2 * WINDOW + 1) ** 3


@njit(cache=True)
def cone_distance(segment, z, y, x):
    """Return the distance of a point to a round cone and where its nearest point lies.

    Args:
        segment: (SEGMENT_FIELDS,) float64.
        z: Point, nm in straight space.
        y: See z.
        x: See z.

    Returns:
        (min over the segment of distance - radius, position of the minimum along it); both nm.
    """
    az = z - segment[0]
    ay = y - segment[1]
    ax = x - segment[2]
    along = az * segment[3] + ay * segment[4] + ax * segment[5]
    across = math.sqrt(max(az * az + ay * ay + ax * ax - along * along, 0.0))
    foot = min(max(along + across * segment[9], 0.0), segment[6])
    off = along - foot
    return math.sqrt(across * across + off * off) - segment[7] - segment[8] * foot, foot


@njit(cache=True)
def away_from(segment, z, y, x):
    """Return the unit vector from the nearest point of a round cone's axis to a point."""
    _, foot = cone_distance(segment, z, y, x)
    az = z - segment[0] - foot * segment[3]
    ay = y - segment[1] - foot * segment[4]
    ax = x - segment[2] - foot * segment[5]
    length = max(math.sqrt(az * az + ay * ay + ax * ax), 1e-9)
    return az / length, ay / length, ax / length


@njit(cache=True)
def gather_cell(
    corners, i, j, k, spacing_nm, max_radius_nm,
    start, shape, ids, segments, has_segment, out_centre, out_candidates, out_distance,
):  # fmt: skip
    """Gather the segments that can be nearest or second nearest in a cell.

    Args:
        corners: From `corner_fields`.
        i: Index of the cell in `corners`.
        j: See i.
        k: See i.
        voxel_nm: (3,) float64.
        cell_shape: (3,) int64.
        cell: (3,) int64, global index of the cell.
        spacing_nm: Node spacing.
        max_radius_nm: No radius is larger.
        start: (3,) int64, first node of the box.
        shape: (3,) int64, nodes in the box.
        ids: (n,) uint64.
        segments: (n, SEGMENT_FIELDS) float64.
        has_segment: (n,) bool.
        out_centre: (3,) float64, receives the straight centre of the cell.
        out_candidates: (MAX_CANDIDATES,) int64, receives flat node indices, nearest first.
        out_distance: (MAX_CANDIDATES,) float64, receives their distances at the centre.

    Returns:
        (number of candidates, radius of the cell in straight space).
    """
    reach = cell_ball(corners, i, j, k, out_centre)
    cz = np.int64(math.floor(out_centre[0] / spacing_nm + 0.5)) - start[0]
    cy = np.int64(math.floor(out_centre[1] / spacing_nm + 0.5)) - start[1]
    cx = np.int64(math.floor(out_centre[2] / spacing_nm + 0.5)) - start[2]
    assert min(cz, min(cy, cx)) >= WINDOW
    assert max(cz - shape[0], max(cy - shape[1], cx - shape[2])) < -WINDOW
    n = 0
    limit = np.inf
    for window in range(3, WINDOW + 1):
        n = 0
        nearest = np.inf
        nearest_id = np.uint64(0)
        second = np.inf
        for a in range(cz - window, cz + window + 1):
            for b in range(cy - window, cy + window + 1):
                row = (a * shape[1] + b) * shape[2]
                for c in range(cx - window, cx + window + 1):
                    node = row + c
                    if not has_segment[node]:
                        continue
                    d, _ = cone_distance(
                        segments[node], out_centre[0], out_centre[1], out_centre[2]
                    )
                    out_candidates[n] = node
                    out_distance[n] = d
                    n += 1
                    if ids[node] == nearest_id:
                        nearest = min(nearest, d)
                    elif d < nearest:
                        second = nearest
                        nearest = d
                        nearest_id = ids[node]
                    elif d < second:
                        second = d
        limit = second + 2.0 * reach + 1e-6 * spacing_nm
        if (window - 0.5 - JITTER) * spacing_nm - max_radius_nm >= limit:
            break
    kept = 0
    for m in range(n):
        d = out_distance[m]
        if d > limit:
            continue
        node = out_candidates[m]
        at = kept  # keep them sorted by distance; equal ones stay in the order of the nodes
        while at > 0 and out_distance[at - 1] > d:
            out_distance[at] = out_distance[at - 1]
            out_candidates[at] = out_candidates[at - 1]
            at -= 1
        out_distance[at] = d
        out_candidates[at] = node
        kept += 1
    assert kept > 0
    return kept, reach


@njit(cache=True)
def nearest_two(candidates, distance, n, centre, ids, segments, z, y, x):
    """Find the nearest segment at a point and the nearest one of another neurite.

    Args:
        candidates: (n,) int64, from `gather_cell`; so are distance and centre.
        distance: (n,) float64, ascending.
        n: Number of candidates.
        centre: (3,) float64.
        ids: (nodes,) uint64.
        segments: (nodes, SEGMENT_FIELDS) float64.
        z: Point in straight space, within the reach of the cell.
        y: See z.
        x: See z.

    Returns:
        (first, its distance, second or -1, its distance or inf); segments by flat node index.
    """
    moved = math.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
    first = np.int64(-1)
    first_id = np.uint64(0)
    d_first = np.inf
    second = np.int64(-1)
    d_second = np.inf
    for m in range(n):
        if distance[m] - moved > d_second:  # so are all that follow
            break
        node = candidates[m]
        d, _ = cone_distance(segments[node], z, y, x)
        if d >= d_second:
            continue
        neurite = ids[node]
        if d < d_first:
            if neurite != first_id and first >= 0:
                second = first
                d_second = d_first
            first = node
            first_id = neurite
            d_first = d
        elif neurite != first_id:
            second = node
            d_second = d
    return first, d_first, second, d_second


@njit(cache=True)
def label_box(
    seed, spacing_nm, tortuosity, turn, max_radius_nm, voxel_nm, cell_shape, offset,
    start, shape, ids, segments, has_segment, out_labels,
):  # fmt: skip
    """Label a small box of voxels; arguments as in `gather_cell`, offset (3,) int64 in voxels."""
    first_cell = np.empty(3, np.int64)
    n_cells = np.empty(3, np.int64)
    for axis in range(3):
        first_cell[axis] = offset[axis] // cell_shape[axis]
        last = (offset[axis] + out_labels.shape[axis] - 1) // cell_shape[axis]
        n_cells[axis] = last - first_cell[axis] + 1
    corners = np.empty((n_cells[0] + 1, n_cells[1] + 1, n_cells[2] + 1, CHANNELS), np.float64)
    corner_fields(seed, spacing_nm, tortuosity, turn, voxel_nm, cell_shape, first_cell, corners)
    candidates = np.empty(MAX_CANDIDATES, np.int64)
    distance = np.empty(MAX_CANDIDATES, np.float64)
    centre = np.empty(3, np.float64)
    cell = np.empty(3, np.int64)
    point = np.empty(CHANNELS, np.float64)
    for i in range(n_cells[0]):
        cell[0] = first_cell[0] + i
        for j in range(n_cells[1]):
            cell[1] = first_cell[1] + j
            for k in range(n_cells[2]):
                cell[2] = first_cell[2] + k
                n, _ = gather_cell(
                    corners, i, j, k, spacing_nm, max_radius_nm,
                    start, shape, ids, segments, has_segment, centre, candidates, distance,
                )  # fmt: skip
                for z in range(cell_shape[0]):
                    oz = cell[0] * cell_shape[0] + z - offset[0]
                    if not 0 <= oz < out_labels.shape[0]:
                        continue
                    for y in range(cell_shape[1]):
                        oy = cell[1] * cell_shape[1] + y - offset[1]
                        if not 0 <= oy < out_labels.shape[1]:
                            continue
                        for x in range(cell_shape[2]):
                            ox = cell[2] * cell_shape[2] + x - offset[2]
                            if not 0 <= ox < out_labels.shape[2]:
                                continue
                            fields_at(corners, i, j, k, cell_shape, z, y, x, point)
                            node, _, _, _ = nearest_two(
                                candidates,
                                distance,
                                n,
                                centre,
                                ids,
                                segments,
                                point[0],
                                point[1],
                                point[2],
                            )
                            out_labels[oz, oy, ox] = ids[node]
