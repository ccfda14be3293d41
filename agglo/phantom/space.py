"""The bent space in which neurites are grown, and the cells in which it is worked on.

A point of the world is displaced by four fields of smooth noise, one after the other and each
injective, and turned; where it ends up is its place in the *straight* space of the lattice. All
triples are z, y, x in nm unless they are named as voxels or cells.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from agglo.phantom.hashing import hash_position, stream_key, unit, unit_at, value_noise

CHANNELS = 5
"""Fields at the corners of cells: place in straight space (3, nm), and in [-1, 1] how well
membranes are seen and the texture."""

_WARP, _MEMBRANE, _TEXTURE, _ROTATION = 40, 52, 53, 55
_MEMBRANE_SPACINGS = 1.5
_PATCH_SPACINGS = 0.8
_INVERSIONS = 60
_MAX_COSINE = 0.85

# Cell of each field of noise in node spacings, and amplitude over cell, for tortuosity 1. The
# gradient of a field is at most 3 * sqrt(3) * slope = 0.94 < 1, so each is injective.
_WARP_SPACINGS = (10.0, 4.0, 1.7, 0.75)
_WARP_SLOPE = (0.18, 0.18, 0.14, 0.13)


def rotation(seed: int) -> npt.NDArray[np.float64]:
    """Return the (3, 3) float64 rotation of a phantom: no lattice axis lies along a voxel axis.

    Made from a quaternion of four hashed numbers, with square roots only.
    """
    key = np.uint64(stream_key(seed, _ROTATION))
    n = 0
    while True:
        q = np.array([2.0 * unit_at(key, n, k, 0) - 1.0 for k in range(4)])
        n += 1
        square = float(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
        if not 0.1 < square <= 1.0:  # uniform in the ball, hence uniform over rotations
            continue
        a, b, c, d = (float(v) / math.sqrt(square) for v in q)
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
            ]
        )
        if np.abs(turn).max() < _MAX_COSINE:
            return turn


@njit(cache=True)
def straighten(seed, spacing_nm, tortuosity, turn, z, y, x):
    """Return the place of a world point in straight space; turn is (3, 3) float64."""
    for field in range(len(_WARP_SPACINGS)):
        dz, dy, dx = _displacement(seed, spacing_nm, tortuosity, field, z, y, x)
        z += dz
        y += dy
        x += dx
    return (
        turn[0, 0] * z + turn[0, 1] * y + turn[0, 2] * x,
        turn[1, 0] * z + turn[1, 1] * y + turn[1, 2] * x,
        turn[2, 0] * z + turn[2, 1] * y + turn[2, 2] * x,
    )


@njit(cache=True)
def bend(seed, spacing_nm, tortuosity, turn, z, y, x):
    """Return the world point of a place in straight space, to 0.01 nm: `straighten` inverted."""
    wz = turn[0, 0] * z + turn[1, 0] * y + turn[2, 0] * x
    wy = turn[0, 1] * z + turn[1, 1] * y + turn[2, 1] * x
    wx = turn[0, 2] * z + turn[1, 2] * y + turn[2, 2] * x
    for field in range(len(_WARP_SPACINGS) - 1, -1, -1):
        gz, gy, gx = wz, wy, wx
        for _ in range(_INVERSIONS):  # p = w - displacement(p): a contraction
            dz, dy, dx = _displacement(seed, spacing_nm, tortuosity, field, wz, wy, wx)
            moved = max(abs(gz - dz - wz), max(abs(gy - dy - wy), abs(gx - dx - wx)))
            wz, wy, wx = gz - dz, gy - dy, gx - dx
            if moved < 1e-3:
                break
    return wz, wy, wx


@njit(cache=True)
def _displacement(seed, spacing_nm, tortuosity, field, z, y, x):
    """Return the displacement by one field at a point."""
    cell = _WARP_SPACINGS[field] * spacing_nm
    amplitude = _WARP_SLOPE[field] * tortuosity * cell
    qz = z / cell
    qy = y / cell
    qx = x / cell
    return (
        amplitude * value_noise(stream_key(seed, _WARP + 3 * field), qz, qy, qx),
        amplitude * value_noise(stream_key(seed, _WARP + 3 * field + 1), qz, qy, qx),
        amplitude * value_noise(stream_key(seed, _WARP + 3 * field + 2), qz, qy, qx),
    )


@njit(cache=True)
def corner_fields(
    seed, spacing_nm, tortuosity, turn, voxel_nm, cell_shape, first_cell, out_corners
):
    """Fill the fields at the corners of cells.

    Args:
        seed: Seed of the phantom.
        spacing_nm: Node spacing.
        tortuosity: Strength of the warp.
        turn: (3, 3) float64, from `rotation`.
        voxel_nm: (3,) float64.
        cell_shape: (3,) int64, voxels of a cell.
        first_cell: (3,) int64.
        out_corners: (z + 1, y + 1, x + 1, CHANNELS) float64 for z * y * x cells.
    """
    cell_nm = _MEMBRANE_SPACINGS * spacing_nm
    patch_nm = _PATCH_SPACINGS * spacing_nm
    for i in range(out_corners.shape[0]):
        iz = (first_cell[0] + i) * cell_shape[0]
        z = iz * voxel_nm[0]
        for j in range(out_corners.shape[1]):
            iy = (first_cell[1] + j) * cell_shape[1]
            y = iy * voxel_nm[1]
            for k in range(out_corners.shape[2]):
                ix = (first_cell[2] + k) * cell_shape[2]
                x = ix * voxel_nm[2]
                sz, sy, sx = straighten(seed, spacing_nm, tortuosity, turn, z, y, x)
                out_corners[i, j, k, 0] = sz
                out_corners[i, j, k, 1] = sy
                out_corners[i, j, k, 2] = sx
                out_corners[i, j, k, 3] = value_noise(
                    stream_key(seed, _MEMBRANE), z / cell_nm, y / cell_nm, x / cell_nm
                )
                u = unit(hash_position(stream_key(seed, _TEXTURE), iz, iy, ix))
                grain = 2.0 * u - 0.8 if u > 0.1 else -2.6 + 10.0 * u  # now and then a dark speck
                out_corners[i, j, k, 4] = grain + 0.7 * value_noise(
                    stream_key(seed, _TEXTURE + 1), z / patch_nm, y / patch_nm, x / patch_nm
                )


@njit(cache=True)
def fields_at(corners, i, j, k, cell_shape, z, y, x, out_point):
    """Interpolate all fields at voxel (z, y, x) of a cell into out_point, (CHANNELS,) float64."""
    fz = z / cell_shape[0]
    fy = y / cell_shape[1]
    fx = x / cell_shape[2]
    for channel in range(CHANNELS):
        a = corners[i, j, k, channel]
        b = corners[i, j + 1, k, channel]
        c = corners[i + 1, j, k, channel]
        d = corners[i + 1, j + 1, k, channel]
        a += fx * (corners[i, j, k + 1, channel] - a)
        b += fx * (corners[i, j + 1, k + 1, channel] - b)
        c += fx * (corners[i + 1, j, k + 1, channel] - c)
        d += fx * (corners[i + 1, j + 1, k + 1, channel] - d)
        a += fy * (b - a)
        c += fy * (d - c)
        out_point[channel] = a + fz * (c - a)


@njit(cache=True)
def cell_ball(corners, i, j, k, out_centre):
    """Find a ball in straight space around all points of a cell.

    The place in straight space is linear along every axis inside a cell, so the distance to a
    fixed point is largest at a corner.

    Args:
        corners: (z + 1, y + 1, x + 1, CHANNELS) float64, from `corner_fields`.
        i: Index of the cell in `corners`; so are j and k.
        j: See i.
        k: See i.
        out_centre: (3,) float64, receives the centre.

    Returns:
        The radius in nm.
    """
    for axis in range(3):
        total = 0.0
        for corner in range(8):
            total += corners[i + (corner >> 2), j + ((corner >> 1) & 1), k + (corner & 1), axis]
        out_centre[axis] = total / 8.0
    largest = 0.0
    for corner in range(8):
        square = 0.0
        for axis in range(3):
            at = corners[i + (corner >> 2), j + ((corner >> 1) & 1), k + (corner & 1), axis]
            square += (at - out_centre[axis]) ** 2
        largest = max(largest, square)
    return math.sqrt(largest)


@njit(cache=True)
def straight_box(
    seed, spacing_nm, tortuosity, turn, voxel_nm, cell_shape, first_cell, n_cells, out_low, out_high
):
    """Find the box in straight space around a block of cells.

    The block is mapped one to one, so the extremes lie on its surface.

    Args:
        seed: Seed of the phantom.
        spacing_nm: Node spacing.
        tortuosity: Strength of the warp.
        turn: (3, 3) float64, from `rotation`.
        voxel_nm: (3,) float64.
        cell_shape: (3,) int64, voxels of a cell.
        first_cell: (3,) int64.
        n_cells: (3,) int64.
        out_low: (3,) float64, receives the smallest coordinates in nm.
        out_high: (3,) float64, receives the largest.
    """
    out_low[:] = np.inf
    out_high[:] = -np.inf
    for i in range(n_cells[0] + 1):
        z = (first_cell[0] + i) * cell_shape[0] * voxel_nm[0]
        for j in range(n_cells[1] + 1):
            y = (first_cell[1] + j) * cell_shape[1] * voxel_nm[1]
            on_surface = i == 0 or i == n_cells[0] or j == 0 or j == n_cells[1]
            step = 1 if on_surface else n_cells[2]
            for k in range(0, n_cells[2] + 1, step):
                x = (first_cell[2] + k) * cell_shape[2] * voxel_nm[2]
                at = straighten(seed, spacing_nm, tortuosity, turn, z, y, x)
                for axis in range(3):
                    out_low[axis] = min(out_low[axis], at[axis])
                    out_high[axis] = max(out_high[axis], at[axis])
