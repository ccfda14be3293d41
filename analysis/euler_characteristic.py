"""Euler characteristic of binary images, and with it their objects, tunnels and cavities.

The characteristic is a sum over the 2 × 2 × 2 blocks of an image (Gray, IEEE Trans. Comput.
1971), whose 256 terms come from the definition. 26-connected voxels are closed cubes: χ =
vertices − edges + faces − cubes of their union. 6-connected voxels are points, joined by an edge,
square or cube where all 2, 4 or 8 points of one are there: χ = points − edges + squares − cubes.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.connectivity import DUAL, Connectivity, checked_binary, is_planar, label_components


class TopologyCounts(NamedTuple):
    """The Betti numbers of a binary image.

    In a section `tunnels` counts its holes and `cavities` is 0, as in a sheet one voxel thick.
    """

    objects: int
    tunnels: int
    cavities: int


def block_terms(foreground: Connectivity) -> npt.NDArray[np.int64]:
    """Tabulate what a block of 2 × 2 × 2 voxels adds to 8 χ.

    A face of the block of 2^d voxels (8 voxels, 12 pairs, 6 squares, the block) is one of 2^(3−d)
    blocks that hold it.

    Args:
        foreground: 6 or 26, connectivity of the foreground.

    Returns:
        (256,) int64, read-only, by the code of the block (`block_code`).
    """
    codes = np.arange(256)
    terms = np.zeros(256, dtype=np.int64)
    for spans in product(((0,), (1,), (0, 1)), repeat=3):
        weight = (-2) ** sum(len(span) == 2 for span in spans)
        voxels = sum(1 << (4 * z + 2 * y + x) for z, y, x in product(*spans))
        if foreground == 6:
            terms += weight * ((codes & voxels) == voxels)
        else:
            terms -= weight * ((codes & voxels) != 0)
    terms.flags.writeable = False
    return terms


BLOCK_TERMS_6 = block_terms(6)
"""(256,) int64: terms of 8 χ where the foreground is 6-connected."""

BLOCK_TERMS_26 = block_terms(26)
"""(256,) int64: terms of 8 χ where the foreground is 26-connected."""


def euler_characteristic(image: npt.NDArray[np.bool_], foreground: Connectivity) -> int:
    """Compute the Euler characteristic: objects − tunnels + cavities.

    Args:
        image: (z, y, x) bool, or (y, x) for 4 and 8; outside it is background.
        foreground: connectivity of the foreground: 4 or 8 for the sum over sections (each objects
            − holes), 6 or 26 for the volume.

    Raises:
        InputError: the image is empty or not bool, or its axes do not fit the connectivity.
    """
    volume = checked_binary(image, "image", foreground)
    terms = BLOCK_TERMS_6 if foreground in (4, 6) else BLOCK_TERMS_26
    parts = volume[:, None] if is_planar(foreground) else volume[None]
    return sum(int(_sum_blocks(np.pad(part, 1).view(np.uint8), terms)) for part in parts) // 8


def count_topology(image: npt.NDArray[np.bool_], foreground: Connectivity) -> TopologyCounts:
    """Count objects, tunnels and cavities.

    Args:
        image: (z, y, x) bool, or (y, x) for 4 and 8; outside it is background.
        foreground: connectivity of the foreground: 4 or 8 for the sum over sections, 6 or 26 for
            the volume; the background has the dual one.

    Raises:
        InputError: the image is empty or not bool, or its axes do not fit the connectivity.
    """
    volume = checked_binary(image, "image", foreground)
    n_objects = label_components(volume, foreground)[1]
    n_cavities = 0
    if not is_planar(foreground):
        outside = np.pad(~volume, 1, constant_values=True)
        n_cavities = label_components(outside, DUAL[foreground])[1] - 1
    n_tunnels = n_objects + n_cavities - euler_characteristic(volume, foreground)
    return TopologyCounts(n_objects, n_tunnels, n_cavities)


@njit(cache=True)
def block_code(volume, z, y, x):
    """Code the block of 2 × 2 × 2 voxels whose first one is (z, y, x).

    Args:
        volume: (z, y, x) uint8, 0 or 1.
        z: section, 0 … n_z − 2.
        y: row, 0 … n_y − 2.
        x: column, 0 … n_x − 2.

    Returns:
        The code, 0 … 255: bit 4 dz + 2 dy + dx for the voxel at that step.
    """
    return (
        volume[z, y, x]
        + 2 * volume[z, y, x + 1]
        + 4 * volume[z, y + 1, x]
        + 8 * volume[z, y + 1, x + 1]
        + 16 * volume[z + 1, y, x]
        + 32 * volume[z + 1, y, x + 1]
        + 64 * volume[z + 1, y + 1, x]
        + 128 * volume[z + 1, y + 1, x + 1]
    )


@njit(cache=True)
def _sum_blocks(padded, terms):
    """Sum the terms of all blocks of a volume padded by one."""
    total = 0
    for z in range(padded.shape[0] - 1):
        for y in range(padded.shape[1] - 1):
            for x in range(padded.shape[2] - 1):
                total += terms[block_code(padded, z, y, x)]
    return total
