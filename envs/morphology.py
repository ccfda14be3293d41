"""What the shape of two regions and of their contact says, from sums of positions alone.

First and second moments give an ellipsoid in place of principal axes and angles: how drawn out it
is (fractional anisotropy, Basser & Pierpaoli 1996), how much of it is filled, and how much of its
variance lies along a direction. These need no eigenvectors, which have no order where two axes are
alike, and change smoothly as regions grow. Moments add up, so they are exact for merged regions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs import statistics as st

MORPHOLOGY_NAMES = (
    "anisotropy of smaller",
    "anisotropy of larger",
    "anisotropy of contact",
    "anisotropy of both",
    "ellipsoid fill of smaller",
    "ellipsoid fill of larger",
    "ellipsoid fill of both",
    "alignment of smaller and larger",
    "variance of smaller towards contact",
    "variance of larger towards contact",
    "variance of contact along centroids",
    "cosine of the bend at the contact",
)

N_MORPHOLOGY = len(MORPHOLOGY_NAMES)

_VOLUME = 4.0 / 3.0 * np.pi * 5.0**1.5
"""Volume of a full ellipsoid over the root of the determinant of its covariance."""


@njit(cache=True, error_model="numpy")
def moments(sums, row, first, n, half, voxel_size):
    """Return centroid (nm) and covariance (nm²) of n positions as nine numbers.

    A voxel's own extent is part of the covariance, so no direction is without any.

    Args:
        sums: (R, S) int64, from column `first` on z, y, x, zz, yy, xx, zy, zx, yx.
        row: which.
        first: column of the sum of z.
        n: how many positions.
        half: 0.5 for doubled positions, else 1.
        voxel_size: (3,) float64, nm.

    Returns:
        z, y, x, zz, yy, xx, zy, zx, yx.
    """
    z, y, x = sums[row, first] / n, sums[row, first + 1] / n, sums[row, first + 2] / n
    sz, sy, sx = half * voxel_size[0], half * voxel_size[1], half * voxel_size[2]
    return (
        z * sz,
        y * sy,
        x * sx,
        max(sums[row, first + 3] / n - z * z, 0.0) * sz * sz + voxel_size[0] ** 2 / 12.0,
        max(sums[row, first + 4] / n - y * y, 0.0) * sy * sy + voxel_size[1] ** 2 / 12.0,
        max(sums[row, first + 5] / n - x * x, 0.0) * sx * sx + voxel_size[2] ** 2 / 12.0,
        (sums[row, first + 6] / n - z * y) * sz * sy,
        (sums[row, first + 7] / n - z * x) * sz * sx,
        (sums[row, first + 8] / n - y * x) * sy * sx,
    )


@njit(cache=True, error_model="numpy")
def morphology(
    regions, contacts_at, small, large, edge, n_small, n_large, area, voxel_size, first, out
):
    """Write the features of `MORPHOLOGY_NAMES` of two regions from `out[first]` on.

    Args:
        regions: (R, S) int64 sums of regions.
        contacts_at: (E, 9) int64 sums of the doubled positions of contacts.
        small: index of the smaller region.
        large: index of the larger region.
        edge: index of their contact.
        n_small: voxels of the smaller region.
        n_large: of the larger.
        area: faces of the contact.
        voxel_size: (3,) float64, nm.
        first: where the first goes.
        out: float32.
    """
    a = moments(regions, small, st.REGION_POSITION, n_small, 1.0, voxel_size)
    b = moments(regions, large, st.REGION_POSITION, n_large, 1.0, voxel_size)
    c = moments(contacts_at, edge, 0, area, 0.5, voxel_size)
    step = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
    both = _joined(a, b, n_small, n_large, step)
    voxel = voxel_size[0] * voxel_size[1] * voxel_size[2]
    least = voxel * voxel / 1728.0  # determinant of the covariance of one voxel
    short = voxel ** (2.0 / 3.0) / 12.0
    to_contact = (c[0] - a[0], c[1] - a[1], c[2] - a[2])
    from_contact = (b[0] - c[0], b[1] - c[1], b[2] - c[2])
    out[first] = _anisotropy(a)
    out[first + 1] = _anisotropy(b)
    out[first + 2] = _anisotropy(c)
    out[first + 3] = _anisotropy(both)
    out[first + 4] = n_small * voxel / (_VOLUME * np.sqrt(max(_determinant(a), least)))
    out[first + 5] = n_large * voxel / (_VOLUME * np.sqrt(max(_determinant(b), least)))
    out[first + 6] = (
        (n_small + n_large) * voxel / (_VOLUME * np.sqrt(max(_determinant(both), least)))
    )
    out[first + 7] = _product(a, b) / np.sqrt(_product(a, a) * _product(b, b))
    out[first + 8] = _share_along(a, to_contact, short)
    out[first + 9] = _share_along(b, from_contact, short)
    out[first + 10] = _share_along(c, step, short)
    lengths = (_squared(to_contact) + short) * (_squared(from_contact) + short)
    out[first + 11] = (
        to_contact[0] * from_contact[0]
        + to_contact[1] * from_contact[1]
        + to_contact[2] * from_contact[2]
    ) / np.sqrt(lengths)


@njit(cache=True, error_model="numpy")
def _joined(a, b, n_a, n_b, step):
    """Return the moments of two regions together; the centroid is left at that of the first."""
    n = n_a + n_b
    p, q, between = n_a / n, n_b / n, n_a * n_b / (n * n)
    return (
        a[0],
        a[1],
        a[2],
        p * a[3] + q * b[3] + between * step[0] * step[0],
        p * a[4] + q * b[4] + between * step[1] * step[1],
        p * a[5] + q * b[5] + between * step[2] * step[2],
        p * a[6] + q * b[6] + between * step[0] * step[1],
        p * a[7] + q * b[7] + between * step[0] * step[2],
        p * a[8] + q * b[8] + between * step[1] * step[2],
    )


@njit(cache=True, error_model="numpy")
def _product(a, b):
    """Return the sum of products of the entries of two covariances."""
    diagonal = a[3] * b[3] + a[4] * b[4] + a[5] * b[5]
    return diagonal + 2.0 * (a[6] * b[6] + a[7] * b[7] + a[8] * b[8])


@njit(cache=True, error_model="numpy")
def _anisotropy(a):
    """Return the fractional anisotropy: 0 of a ball, 1 of a line."""
    trace = a[3] + a[4] + a[5]
    return np.sqrt(max(1.5 - 0.5 * trace * trace / _product(a, a), 0.0))


@njit(cache=True, error_model="numpy")
def _determinant(a):
    """Return the determinant of a covariance."""
    return (
        a[3] * (a[4] * a[5] - a[8] * a[8])
        - a[6] * (a[6] * a[5] - a[8] * a[7])
        + a[7] * (a[6] * a[8] - a[4] * a[7])
    )


@njit(cache=True, error_model="numpy")
def _squared(v):
    """Return the squared length of a vector."""
    return v[0] * v[0] + v[1] * v[1] + v[2] * v[2]


@njit(cache=True, error_model="numpy")
def _share_along(a, v, short):
    """Return the share of a variance that lies along a vector, less if that is near 0."""
    along = (
        v[0] * v[0] * a[3]
        + v[1] * v[1] * a[4]
        + v[2] * v[2] * a[5]
        + 2.0 * (v[0] * v[1] * a[6] + v[0] * v[2] * a[7] + v[1] * v[2] * a[8])
    )
    return along / ((_squared(v) + short) * (a[3] + a[4] + a[5]))
