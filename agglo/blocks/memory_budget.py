"""How large a block may be for its tasks to stay within a budget of memory."""

from __future__ import annotations

import math

from analysis.input_error import InputError
from predict.box import Triple

BASE_MB = 300
"""What an actor takes before it reads a voxel: libraries, kernels, policy."""

BYTES_PER_VOXEL = 70
"""What the largest task on voxels, the flooding of a block, takes more.

Actors with blocks of 64, 128, 192 and 256 voxels took 315, 412, 659 and 1,070 MB, 48 to 56 bytes a
voxel, with maps of 8 bits; one of floats has up to 12 more to read.
"""

STEP_VOX = 64


def blocks_within(memory_mb: float, shape: Triple) -> Triple:
    """Return the largest block whose tasks on voxels fit, as near to a cube as the volume allows.

    Nodes of the tree of blocks are not counted: what they hold grows with the volume, and not with
    the block.

    Args:
        memory_mb: what a process may take.
        shape: z, y, x of the volume.

    Raises:
        InputError: not even the smallest block fits.
    """
    most = (memory_mb - BASE_MB) * 2**20 / BYTES_PER_VOXEL
    edges = [STEP_VOX] * 3
    if _n_voxels(edges, shape) > most:
        needed = BASE_MB + math.ceil(_n_voxels(edges, shape) * BYTES_PER_VOXEL / 2**20)
        raise InputError(
            f"--memory-mb: {memory_mb:g} MB do not hold the smallest block, of {STEP_VOX} voxels "
            f"along each axis, which takes {needed}."
        )
    while growing := [axis for axis in range(3) if edges[axis] < shape[axis]]:
        axis = min(growing, key=edges.__getitem__)
        edges[axis] += STEP_VOX
        if _n_voxels(edges, shape) > most:
            edges[axis] -= STEP_VOX
            break
    z, y, x = edges
    return z, y, x


def _n_voxels(edges: list[int], shape: Triple) -> int:
    return math.prod(min(edge, size) for edge, size in zip(edges, shape, strict=True))
