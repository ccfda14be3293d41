"""Simple points of 2D binary images: the pixels whose flip changes no topology.

A pixel is simple for (foreground 4, background 8) if, among its eight neighbours, exactly one
4-connected foreground component touches it across an edge and exactly one 8-connected background
component is left; for (8, 4) the roles are exchanged. (Kong and Rosenfeld, CVGIP 1989; Bertrand
and Malandain, Pattern Recogn. Lett. 1994.) The value of the pixel itself plays no part.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)
_BLOCK = np.ones((3, 3), dtype=bool)
_RING = np.array([1, 2, 4, 8, 0, 16, 32, 64, 128], dtype=np.uint8).reshape(3, 3)
"""Bit of each neighbour: raster order (y outer, x inner), the centre left out."""


def simple_point_table(foreground: Literal[4, 8]) -> npt.NDArray[np.bool_]:
    """Build the table of simple points from the definition.

    Args:
        foreground: connectivity of the foreground; the background has the other one.

    Returns:
        (256,) bool, read-only, by the code of the eight neighbours (`neighbour_code`).
    """
    table = np.empty(256, dtype=bool)
    for code in range(256):
        ring = (_RING & code) != 0
        hole = ~ring
        hole[1, 1] = False
        if foreground == 4:
            table[code] = _touching_4(ring) == 1 and _components_8(hole) == 1
        else:
            table[code] = _components_8(ring) == 1 and _touching_4(hole) == 1
    table.flags.writeable = False
    return table


def components_4(image: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Label the 4-connected components of a section.

    Args:
        image: (y, x) bool or uint8, foreground where it is not 0.

    Returns:
        (y, x) int32, components from 1 in raster order, 0 elsewhere.
    """
    components = np.empty(image.shape, dtype=np.int32)
    ndimage.label(image, _CROSS, output=components)
    return components


def _touching_4(ring: npt.NDArray[np.bool_]) -> int:
    """Count the 4-connected components that touch the centre across an edge."""
    return np.unique(components_4(ring)[_CROSS & ring]).size


def _components_8(ring: npt.NDArray[np.bool_]) -> int:
    """Count the 8-connected components."""
    components = np.empty(ring.shape, dtype=np.int32)
    ndimage.label(ring, _BLOCK, output=components)
    return int(components.max())


SIMPLE_POINTS_4_8 = simple_point_table(4)
"""(256,) bool: simple where the foreground is 4-connected and the background 8-connected."""

SIMPLE_POINTS_8_4 = simple_point_table(8)
"""(256,) bool: simple where the foreground is 8-connected and the background 4-connected."""


@njit(cache=True)
def neighbour_code(image, y, x):
    """Code the eight neighbours of a pixel that is not at the edge of the image.

    Args:
        image: (y, x) uint8, 0 or 1.
        y: row, 1 … n_y − 2.
        x: column, 1 … n_x − 2.

    Returns:
        The code, 0 … 255: bit k is the k-th neighbour in raster order.
    """
    return (
        image[y - 1, x - 1]
        + 2 * image[y - 1, x]
        + 4 * image[y - 1, x + 1]
        + 8 * image[y, x - 1]
        + 16 * image[y, x + 1]
        + 32 * image[y + 1, x - 1]
        + 64 * image[y + 1, x]
        + 128 * image[y + 1, x + 1]
    )
