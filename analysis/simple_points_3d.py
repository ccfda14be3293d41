"""Simple points of volumes: the voxels whose flip changes no object, tunnel or cavity.

A voxel is simple for (foreground 6, background 26) if the topological number of the foreground
for 6 and that of the background for 26 are both 1; for (26, 6) the roles are exchanged (Bertrand
and Malandain, Pattern Recogn. Lett. 1994). The value of the voxel itself plays no part. The test
grows one piece of each and stops as soon as a second must exist; neighbourhoods are coded as in
`analysis.topological_numbers`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.connectivity import Connectivity, checked_binary
from analysis.input_error import InputError
from analysis.topological_numbers import (
    NEIGHBOURS_6,
    NEIGHBOURS_18,
    NEIGHBOURS_26,
    grown_6,
    grown_26,
    neighbourhood_code,
)


def simple_voxels(volume: npt.NDArray[np.bool_], foreground: Connectivity) -> npt.NDArray[np.bool_]:
    """Mark the simple points of a volume.

    Args:
        volume: (z, y, x) bool; outside it is background.
        foreground: 6 or 26, connectivity of the foreground; the background has the other one.

    Returns:
        Same shape, bool.

    Raises:
        InputError: the volume is empty or not (z, y, x) bool, or the connectivity is not 6 or 26.
    """
    if foreground not in (6, 26):
        raise InputError(f"foreground must be 6 or 26 in a volume, but is {foreground}.")
    values = checked_binary(volume, "volume", foreground)
    simple = np.empty(values.shape, dtype=bool)
    _mark_simple(np.pad(values, 1).view(np.uint8), foreground == 6, simple)
    return simple


@njit(cache=True)
def is_simple_6_26(code):
    """Test a neighbourhood for foreground 6, background 26.

    Args:
        code: 27 bits, 1 = foreground (`neighbourhood_code`).

    Returns:
        Whether the voxel in its middle is simple.
    """
    return _is_simple(code, ~code & NEIGHBOURS_26)


@njit(cache=True)
def is_simple_26_6(code):
    """Test a neighbourhood for foreground 26, background 6.

    Args:
        code: 27 bits, 1 = foreground (`neighbourhood_code`).

    Returns:
        Whether the voxel in its middle is simple.
    """
    return _is_simple(~code & NEIGHBOURS_26, code)


@njit(cache=True)
def _is_simple(narrow, wide):
    """Test for one component of the 6-connected set at a face and one of the 26-connected set."""
    faces = narrow & NEIGHBOURS_6
    if faces == 0 or wide == 0:
        return False
    component = np.int64(0)
    reached = wide & -wide
    while reached != component:
        component = reached
        reached = grown_26(component) & wide
    if component != wide:
        return False
    narrow &= NEIGHBOURS_18
    component = np.int64(0)
    reached = faces & -faces
    while reached != component:
        component = reached
        reached = grown_6(component) & narrow
    return faces & ~component == 0


@njit(cache=True)
def _mark_simple(padded, is_narrow, out_simple):
    """Test every voxel of a volume padded by one."""
    for z in range(out_simple.shape[0]):
        for y in range(out_simple.shape[1]):
            for x in range(out_simple.shape[2]):
                code = neighbourhood_code(padded, z + 1, y + 1, x + 1)
                out_simple[z, y, x] = is_simple_6_26(code) if is_narrow else is_simple_26_6(code)
