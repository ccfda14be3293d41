"""Connectivities of binary images in dual pairs, and their components and neighbours.

4 and 8 look within a section, 6 and 26 into all of a volume. Foreground and background take the
two of a pair, so that a closed curve or surface parts inside from outside (Kong and Rosenfeld,
CVGIP 1989). Axis order is z, y, x; what lies outside an image is background.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from analysis.input_error import InputError

Connectivity = Literal[4, 8, 6, 26]

DUAL: dict[Connectivity, Connectivity] = {4: 8, 8: 4, 6: 26, 26: 6}
"""The connectivity of the background, by that of the foreground."""

_REACH: dict[Connectivity, int] = {4: 1, 8: 2, 6: 1, 26: 3}
"""Axes along which a neighbour may differ at once."""


def is_planar(connectivity: Connectivity) -> bool:
    """Say whether a connectivity stays within a section."""
    return connectivity in (4, 8)


def checked_binary(
    image: npt.NDArray[np.bool_], name: str, foreground: Connectivity
) -> npt.NDArray[np.bool_]:
    """Check a binary image and its connectivity and return it C-contiguous as (z, y, x).

    Args:
        image: (z, y, x), or (y, x) where the connectivity is 4 or 8; bool.
        name: what the image is called in a message.
        foreground: connectivity of the foreground.

    Raises:
        InputError: the connectivity is none of the four or does not fit the axes, or the image
            is empty or not bool.
    """
    if foreground not in DUAL:
        raise InputError(f"foreground must be 4, 8, 6 or 26, but is {foreground}.")
    values = np.ascontiguousarray(image)
    if values.dtype != np.bool_:
        raise InputError(f"{name} must be bool, but its dtype is {values.dtype}.")
    if values.size == 0:
        raise InputError(f"{name} is empty: its shape is {values.shape}.")
    if values.ndim == 2 and is_planar(foreground):
        return values[None]
    if values.ndim != 3:
        axes = "(y, x) or (z, y, x)" if is_planar(foreground) else "(z, y, x)"
        raise InputError(
            f"{name} must have axes {axes} for foreground {foreground}, but its shape is "
            f"{values.shape}."
        )
    return values


def structuring_element(connectivity: Connectivity) -> npt.NDArray[np.bool_]:
    """Mark a voxel and its neighbours in a block of 3 × 3 × 3 voxels.

    Args:
        connectivity: 4, 8, 6 or 26.

    Returns:
        (3, 3, 3) bool.
    """
    steps = np.abs(np.indices((3, 3, 3)) - 1)
    element = steps.sum(0) <= _REACH[connectivity]
    return element & (steps[0] == 0) if is_planar(connectivity) else element


def label_components(
    image: npt.NDArray[np.bool_], connectivity: Connectivity
) -> tuple[npt.NDArray[np.int32], int]:
    """Label the connected components of a volume, or of each of its sections.

    Args:
        image: (z, y, x) bool.
        connectivity: 4 or 8 for components within sections, 6 or 26 for those of the volume.

    Returns:
        (z, y, x) int32, components from 1 in raster order, 0 elsewhere; and their number.
    """
    components = np.empty(image.shape, dtype=np.int32)
    ndimage.label(image, structuring_element(connectivity), output=components)
    return components, int(components.max(initial=0))


def pad_widths(connectivity: Connectivity) -> npt.NDArray[np.int64]:
    """Say how many voxels of background to put around a volume, (3, 2) as `numpy.pad` takes it."""
    return np.array([(0, 0) if is_planar(connectivity) else (1, 1), (1, 1), (1, 1)])


def neighbour_offsets(shape: tuple[int, ...], connectivity: Connectivity) -> npt.NDArray[np.int64]:
    """Return the steps from a voxel to its neighbours in a flattened volume.

    Args:
        shape: (z, y, x) of the volume, its padding included.
        connectivity: 4, 8, 6 or 26.

    Returns:
        (connectivity,) int64, in raster order.
    """
    element = structuring_element(connectivity)
    element[1, 1, 1] = False
    return (np.argwhere(element) - 1) @ np.array([shape[1] * shape[2], shape[2], 1])
