"""Volumes that belong together: of one shape, and of one voxel size where they state it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from agglo.volumes.kinds import require_same_shape
from agglo.volumes.volume import Volume, open_volume
from agglo.volumes.voxel_size import VoxelSize
from analysis.input_error import InputError

SAME_SIZE = 1e-3
"""Relative difference up to which two voxel sizes are the same: units of files round."""


def open_matching(
    texts: Mapping[str, str | None], voxel_size_nm: VoxelSize | None
) -> tuple[dict[str, Volume], VoxelSize | None]:
    """Open volumes that belong together; return them by argument, and their voxel size.

    Args:
        texts: argument → address; an argument that was not given is passed over.
        voxel_size_nm: for volumes that state none.

    Raises:
        InputError: where one cannot be opened, or two differ in shape or voxel size.
    """
    volumes = {
        name: open_volume(text, argument=name, voxel_size_nm=voxel_size_nm)
        for name, text in texts.items()
        if text is not None
    }
    require_same_shape(volumes)
    return volumes, agreed_voxel_size(volumes)


def agreed_voxel_size(volumes: Mapping[str, Volume]) -> VoxelSize | None:
    """Return the voxel size that volumes, given by argument, state; None if none does.

    Raises:
        InputError: where two state different ones.
    """
    stated = {name: v.voxel_size_nm for name, v in volumes.items() if v.voxel_size_nm is not None}
    if not stated:
        return None
    first, size = next(iter(stated.items()))
    for name, other in stated.items():
        if not all(math.isclose(a, b, rel_tol=SAME_SIZE) for a, b in zip(size, other, strict=True)):
            raise InputError(f"{name} has voxels of {other} nm but {first} of {size} nm.")
    return size
