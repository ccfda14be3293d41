"""Superpixels of a block, with names that are unique in the whole volume.

Every block is flooded alone: superpixels end at block faces, and the contact across a face is an
edge like all others. A superpixel is named by its first voxel in the volume, so that a name depends
on the cutting, but neither on the order of work nor on who does it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from predict.box import Box, Triple
from predict.watershed import WatershedConfig, watershed_superpixels


def block_superpixels(
    boundaries: npt.NDArray,
    block: Box,
    volume_shape: Triple,
    voxel_size_nm: tuple[float, float, float],
    config: WatershedConfig,
) -> npt.NDArray[np.uint64]:
    """Cut a block into superpixels.

    Args:
        boundaries: (z, y, x) float in 0..1 or uint8 of the block, 1 or 255 = boundary.
        block: where the block lies.
        volume_shape: of the volume.
        voxel_size_nm: z, y, x.
        config: of the watershed.
    """
    if boundaries.dtype == np.uint8:
        boundaries = boundaries.astype(np.float32) / np.float32(255)
    numbered = watershed_superpixels(boundaries, voxel_size_nm, config)
    return named_by_first_voxel(numbered, block, volume_shape)


def named_by_first_voxel(
    numbered: npt.NDArray[np.uint64], block: Box, volume_shape: Triple
) -> npt.NDArray[np.uint64]:
    """Name superpixels by the place of their first voxel in the volume, counted from 1.

    Args:
        numbered: (z, y, x) 1..n in raster order of first voxels.
        block: where the block lies.
        volume_shape: of the volume.
    """
    labels = numbered.ravel()
    highest = np.maximum.accumulate(labels)
    first = np.flatnonzero(np.diff(highest, prepend=np.uint64(0)))
    places = np.unravel_index(first, block.shape)
    inside = tuple(at + start for at, start in zip(places, block.start, strict=True))
    names = np.ravel_multi_index(inside, volume_shape).astype(np.uint64) + np.uint64(1)
    return names[numbered - np.uint64(1)]
