"""The zone along the true borders in which a warp may move them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from analysis.connectivity import Connectivity, checked_binary, is_planar
from analysis.input_error import InputError


def border_zone(
    interior: npt.NDArray[np.bool_], reach_vox: float, foreground: Connectivity = 4
) -> npt.NDArray[np.bool_]:
    """Mark the pixels from which membrane, or interior, is no farther than a reach.

    Args:
        interior: (z, y, x) bool, or (y, x) for 4 and 8; the truth. The frame of the image is no
            border.
        reach_vox: Euclidean distance, in voxels along each axis, to the nearest pixel of the
            other kind; at least 1, the pixels along the border on both sides.
        foreground: connectivity of the interior: 4 or 8 to measure within each section, 6 or 26
            in the volume.

    Returns:
        Same shape, bool: a mask for `warping_error`.

    Raises:
        InputError: `reach_vox` is below 1, or the interior is empty, not bool or of other axes.
    """
    if not reach_vox >= 1:
        raise InputError(f"reach_vox must be at least 1, but is {reach_vox}.")
    volume = checked_binary(interior, "interior", foreground)
    zone = np.zeros(volume.shape, dtype=bool)
    step = 1 if is_planar(foreground) else volume.shape[0]
    for z in range(0, volume.shape[0], step):
        part = volume[z : z + step]
        if part.all() or not part.any():
            continue
        for phase in (part, ~part):
            distance = np.empty(part.shape)
            ndimage.distance_transform_edt(phase, distances=distance)
            zone[z : z + step] |= phase & (distance <= reach_vox)
    return zone.reshape(np.shape(interior))
