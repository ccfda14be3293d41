"""Labels, membranes and ideal grey levels of a block, voxel by voxel.

All triples are z, y, x; arrays over nodes are those of `Skeleton`, flattened over the box.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from agglo.phantom.sections import BLUR_NM
from agglo.phantom.shading import (
    MEMBRANE_GREY,
    SYNAPSE_REACH_NM,
    bump,
    cytoplasm_grey,
    pair_visibility,
    shade_bodies,
    shade_synapse,
)
from agglo.phantom.space import CHANNELS, corner_fields, fields_at
from agglo.phantom.territory import (
    MAX_CANDIDATES,
    away_from,
    gather_cell,
    nearest_two,
)

_TEXTURE_GREY = 12.0
_DEEP_NM = 60.0
_SLANT = 0.6  # of the thickness of a section: what an oblique membrane is widened by
_SUPPORT = 0.924  # where a membrane's bump ends, in widths at half depth


@njit(cache=True)
def draw_block(
    seed, spacing_nm, tortuosity, turn, max_radius_nm, membrane_nm, faint,
    voxel_nm, cell_shape, offset, start, shape, ids, segments, has_segment, bodies,
    site_nm, direction, pre, post, blur_nm,
    out_labels, out_boundaries, out_clean,
):  # fmt: skip
    """Draw a block without what differs from section to section.

    Args:
        seed: Seed of the phantom.
        spacing_nm: Node spacing.
        tortuosity: Strength of the warp.
        turn: (3, 3) float64, rotation of the lattice.
        max_radius_nm: No radius is larger.
        membrane_nm: Width of a membrane at half depth.
        faint: Share of the pairs of neurites with a faint membrane.
        voxel_nm: (3,) float64.
        cell_shape: (3,) int64, voxels of a cell.
        offset: (3,) int64, global index of the first voxel.
        start: (3,) int64, first node of the box.
        shape: (3,) int64, nodes in the box.
        ids: (n,) uint64.
        segments: (n, SEGMENT_FIELDS) float64.
        has_segment: (n,) bool.
        bodies: (n, BODY_FIELDS) float64.
        site_nm: (s, 3) float64, of the synapses that reach into the block.
        direction: (s, 3) float64, from pre to post.
        pre: (s,) uint64.
        post: (s,) uint64.
        blur_nm: (z,) float64, how much a section is out of focus.
        out_labels: (z, y, x) uint64.
        out_boundaries: (z, y, x) float32, receives 1 at a membrane's middle, 0 outside.
        out_clean: (z, y, x) float32, receives grey levels.
    """
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
    near_row = np.empty(site_nm.shape[0], np.int64)
    near = np.empty(site_nm.shape[0], np.int64)
    for i in range(n_cells[0]):
        cell[0] = first_cell[0] + i
        for j in range(n_cells[1]):
            cell[1] = first_cell[1] + j
            n_row = _synapses_near_row(corners, i, j, site_nm, near_row)
            for k in range(n_cells[2]):
                cell[2] = first_cell[2] + k
                n, reach = gather_cell(
                    corners, i, j, k, spacing_nm, max_radius_nm,
                    start, shape, ids, segments, has_segment, centre, candidates, distance,
                )  # fmt: skip
                n_near = np.int64(0)
                for m in range(n_row):
                    square = 0.0
                    for axis in range(3):
                        square += (site_nm[near_row[m], axis] - centre[axis]) ** 2
                    if square < (reach + SYNAPSE_REACH_NM) ** 2:
                        near[n_near] = near_row[m]
                        n_near += 1
                _draw_cell(
                    seed, membrane_nm, faint, turn, voxel_nm, cell_shape, offset, cell,
                    corners, i, j, k, candidates, distance, n, centre, ids, segments, bodies,
                    near, n_near, site_nm, direction, pre, post, blur_nm,
                    out_labels, out_boundaries, out_clean,
                )  # fmt: skip


@njit(cache=True)
def _synapses_near_row(corners, i, j, site_nm, out_near):
    """List the synapses that may be seen in a row of cells along x; return their number."""
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    for a in range(2):
        for b in range(2):
            for k in range(corners.shape[2]):
                for axis in range(3):
                    low[axis] = min(low[axis], corners[i + a, j + b, k, axis])
                    high[axis] = max(high[axis], corners[i + a, j + b, k, axis])
    n = 0
    for s in range(site_nm.shape[0]):
        inside = True
        for axis in range(3):
            inside = inside and site_nm[s, axis] >= low[axis] - SYNAPSE_REACH_NM
            inside = inside and site_nm[s, axis] <= high[axis] + SYNAPSE_REACH_NM
        if inside:
            out_near[n] = s
            n += 1
    return n


@njit(cache=True)
def _draw_cell(
    seed, membrane_nm, faint, turn, voxel_nm, cell_shape, offset, cell,
    corners, i, j, k, candidates, distance, n, centre, ids, segments, bodies,
    near, n_near, site_nm, direction, pre, post, blur_nm, out_labels, out_boundaries, out_clean,
):  # fmt: skip
    """Draw the voxels of a cell that lie in the block."""
    point = np.empty(CHANNELS, np.float64)
    has_body = False
    for m in range(n):
        has_body = has_body or bodies[candidates[m], 0] > 0
    last_first = np.uint64(0)
    last_second = np.uint64(0)
    base = 0.0
    visibility = 0.0
    support = _SUPPORT * membrane_nm
    # Farther inside than this nothing depends on the distance, so the lower bound of it will do.
    deep = 2.0 * max(_DEEP_NM, support + _SLANT * voxel_nm[0] + BLUR_NM)
    for lz in range(cell_shape[0]):
        oz = cell[0] * cell_shape[0] + lz - offset[0]
        if not 0 <= oz < out_labels.shape[0]:
            continue
        for ly in range(cell_shape[1]):
            oy = cell[1] * cell_shape[1] + ly - offset[1]
            if not 0 <= oy < out_labels.shape[1]:
                continue
            for lx in range(cell_shape[2]):
                ox = cell[2] * cell_shape[2] + lx - offset[2]
                if not 0 <= ox < out_labels.shape[2]:
                    continue
                fields_at(corners, i, j, k, cell_shape, lz, ly, lx, point)
                z = point[0]
                y = point[1]
                x = point[2]
                first, d_first, second, d_second = nearest_two(
                    candidates, distance, n, centre, ids, segments, z, y, x
                )
                neurite = ids[first]
                out_labels[oz, oy, ox] = neurite
                if neurite != last_first:
                    base = cytoplasm_grey(seed, neurite)
                grey = base + _TEXTURE_GREY * point[4]
                tilt = 0.0
                if d_second - d_first >= deep:
                    inside_nm = 0.5 * (d_second - d_first)
                else:
                    inside_nm, tilt = _membrane(
                        segments[first], segments[second], d_second - d_first, turn, z, y, x
                    )
                    if neurite != last_first or ids[second] != last_second:
                        visibility = pair_visibility(seed, faint, neurite, ids[second])
                        last_second = ids[second]
                last_first = neurite
                if has_body and inside_nm > 8.0:
                    grey = shade_bodies(
                        neurite, candidates, n, ids, segments, bodies, inside_nm, point[4],
                        z, y, x, grey,
                    )  # fmt: skip
                out_boundaries[oz, oy, ox] = bump(inside_nm / support)
                # A membrane that runs oblique to a thick section, or is out of focus, is wide.
                slant = _SLANT * tilt * voxel_nm[0]
                wide = math.sqrt(support * support + slant * slant + blur_nm[oz] ** 2)
                if inside_nm < wide:
                    strength = visibility * (0.75 + 0.4 * point[3]) * support / wide
                    strength = min(max(strength, 0.0), 1.0) * bump(inside_nm / wide)
                    grey += strength * (MEMBRANE_GREY - grey)
                for m in range(n_near):
                    s = near[m]
                    grey = shade_synapse(
                        seed, site_nm[s], direction[s], neurite == pre[s], neurite == post[s],
                        inside_nm, z, y, x, grey,
                    )  # fmt: skip
                out_clean[oz, oy, ox] = grey


@njit(cache=True)
def _membrane(first, second, excess, turn, z, y, x):
    """Return the distance to the membrane between two segments and the tilt of its normal to z.

    The difference of the two distances vanishes at the membrane and changes by the difference of
    the two unit vectors; its quotient by the length of that is the distance, to first order.
    """
    gz, gy, gx = away_from(first, z, y, x)
    hz, hy, hx = away_from(second, z, y, x)
    gz -= hz
    gy -= hy
    gx -= hx
    change = math.sqrt(gz * gz + gy * gy + gx * gx)
    gz_world = turn[0, 0] * gz + turn[1, 0] * gy + turn[2, 0] * gx
    return excess / max(change, 1.0), abs(gz_world) / max(change, 1e-6)
