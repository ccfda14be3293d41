"""Topological numbers: how many pieces of foreground and of background a voxel touches.

The number of a set X at v for connectivity n is the count of n-connected components of X in the
neighbourhood of v that are n-adjacent to v; for n = 6 the neighbourhood is the 18 voxels that
share a face or an edge with v, for n = 26 all 26 (Bertrand and Malandain, Pattern Recogn. Lett.
1994). Both numbers are 1 at a simple point; foreground 0 means isolated, background 0 interior.

A neighbourhood is a code of 27 bits: bit 9 dz + 3 dy + dx for the voxel at (z, y, x) + (dz, dy,
dx) − 1; bit 13, the voxel itself, is 0. Its sets grow by shifts of whole codes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.connectivity import Connectivity, checked_binary, is_planar

_CUBE = (1 << 27) - 1


def _bits(steps_of_voxel) -> int:
    """Collect the bits of the voxels for which a function of (dz, dy, dx) in 0 … 2 holds."""
    return sum(
        1 << (9 * z + 3 * y + x) for z, y, x in np.ndindex(3, 3, 3) if steps_of_voxel(z, y, x)
    )


def _n_steps(z: int, y: int, x: int) -> int:
    """Count the axes along which a voxel differs from the centre."""
    return (z != 1) + (y != 1) + (x != 1)


NEIGHBOURS_6 = _bits(lambda z, y, x: _n_steps(z, y, x) == 1)
"""Bits of the voxels that share a face with the centre."""

NEIGHBOURS_18 = _bits(lambda z, y, x: 1 <= _n_steps(z, y, x) <= 2)
"""Bits of the voxels that share a face or an edge with the centre."""

NEIGHBOURS_26 = _bits(lambda z, y, x: _n_steps(z, y, x) >= 1)
"""Bits of all voxels but the centre."""

NEIGHBOURS_8 = _bits(lambda z, y, x: z == 1 and _n_steps(z, y, x) >= 1)
"""Bits of the neighbours in the section."""

_NOT_X_FIRST = _bits(lambda z, y, x: x != 0)
_NOT_X_LAST = _bits(lambda z, y, x: x != 2)
_NOT_Y_FIRST = _bits(lambda z, y, x: y != 0)
_NOT_Y_LAST = _bits(lambda z, y, x: y != 2)


def topological_numbers(
    image: npt.NDArray[np.bool_], foreground: Connectivity
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Compute both topological numbers of every point of an image.

    Args:
        image: (z, y, x) bool, or (y, x) for 4 and 8; outside it is background.
        foreground: connectivity of the foreground: 4 or 8 section by section, 6 or 26 in the
            volume; the background has the dual one.

    Returns:
        Of the foreground and of the background, same shape, uint8.

    Raises:
        InputError: the image is empty or not bool, or its axes do not fit the connectivity.
    """
    volume = checked_binary(image, "image", foreground)
    numbers = np.empty((2, *volume.shape), dtype=np.uint8)
    seen = NEIGHBOURS_8 if is_planar(foreground) else NEIGHBOURS_26
    _count_everywhere(
        np.pad(volume, 1).view(np.uint8), seen, foreground in (4, 6), numbers[0], numbers[1]
    )
    return numbers[0].reshape(np.shape(image)), numbers[1].reshape(np.shape(image))


@njit(cache=True)
def neighbourhood_code(volume, z, y, x):
    """Code the 26 neighbours of a voxel that is not at the edge of its volume.

    Args:
        volume: (z, y, x) uint8, 0 or 1.
        z: section, 1 … n_z − 2.
        y: row, 1 … n_y − 2.
        x: column, 1 … n_x − 2.

    Returns:
        The code, 27 bits, the voxel's own 0.
    """
    code = 0
    for w in range(3):
        for v in range(3):
            for u in range(3):
                code |= np.int64(volume[z + w - 1, y + v - 1, x + u - 1]) << (9 * w + 3 * v + u)
    return code & NEIGHBOURS_26


@njit(cache=True)
def grown_26(code):
    """Add to a set of the 27 voxels all that share a face, an edge or a corner with it."""
    code |= (code & _NOT_X_LAST) << 1 | (code & _NOT_X_FIRST) >> 1
    code |= (code & _NOT_Y_LAST) << 3 | (code & _NOT_Y_FIRST) >> 3
    return (code | code << 9 | code >> 9) & _CUBE


@njit(cache=True)
def grown_6(code):
    """Add to a set of the 27 voxels all that share a face with it."""
    along_x = (code & _NOT_X_LAST) << 1 | (code & _NOT_X_FIRST) >> 1
    along_y = (code & _NOT_Y_LAST) << 3 | (code & _NOT_Y_FIRST) >> 3
    return (code | along_x | along_y | code << 9 | code >> 9) & _CUBE


@njit(cache=True)
def topological_number_26(code):
    """Count the 26-connected components of a set of neighbours."""
    n_components = 0
    while code != 0:
        component = np.int64(0)
        reached = code & -code
        while reached != component:
            component = reached
            reached = grown_26(component) & code
        code &= ~component
        n_components += 1
    return n_components


@njit(cache=True)
def topological_number_6(code):
    """Count the 6-connected components, in the 18-neighbourhood, that share a face with v."""
    code &= NEIGHBOURS_18
    faces = code & NEIGHBOURS_6
    n_components = 0
    while faces != 0:
        component = np.int64(0)
        reached = faces & -faces
        while reached != component:
            component = reached
            reached = grown_6(component) & code
        faces &= ~component
        n_components += 1
    return n_components


@njit(cache=True)
def _count_everywhere(padded, seen, is_narrow, out_foreground, out_background):
    """Count at every voxel of a volume padded by one, among the neighbours `seen`.

    Is the foreground `is_narrow`, it is 6- (in a section 4-) connected, else the background is.
    """
    for z in range(out_foreground.shape[0]):
        for y in range(out_foreground.shape[1]):
            for x in range(out_foreground.shape[2]):
                code = neighbourhood_code(padded, z + 1, y + 1, x + 1)
                inside = code & seen
                outside = ~code & seen
                if is_narrow:
                    out_foreground[z, y, x] = topological_number_6(inside)
                    out_background[z, y, x] = topological_number_26(outside)
                else:
                    out_foreground[z, y, x] = topological_number_26(inside)
                    out_background[z, y, x] = topological_number_6(outside)
