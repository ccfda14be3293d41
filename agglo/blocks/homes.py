"""The home of every region: the block that it belongs to, whichever blocks it reaches into.

A region's home is the first block that holds a voxel of it. Superpixels may cross block faces and
may be in several pieces, so a block cannot know the home of a region from its own voxels; blocks
list their regions in buckets by a hash of the id, and each bucket is matched on its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from envs.label_table import HASH


def bucket_of(ids: npt.NDArray[np.uint64], n_buckets: int) -> npt.NDArray[np.int64]:
    """Return (R,) the bucket of every id.

    Args:
        ids: (R,) uint64.
        n_buckets: how many there are.
    """
    return ((ids * HASH >> np.uint64(32)) % np.uint64(n_buckets)).astype(np.int64)


def find_homes(
    ids: Sequence[npt.NDArray[np.uint64]], is_inside: Sequence[npt.NDArray[np.bool_]]
) -> list[npt.NDArray[np.int64]]:
    """Return the homes of the regions that blocks list, block by block.

    Args:
        ids: for every block (R,) uint64, the regions it knows; each has a voxel in some block.
        is_inside: for every block (R,) bool, whether it holds a voxel of the region.
    """
    inside = [names[here] for names, here in zip(ids, is_inside, strict=True)]
    known, first = np.unique(np.concatenate(inside), return_index=True)
    homes = np.repeat(np.arange(len(inside)), [len(names) for names in inside])[first]
    return [homes[np.searchsorted(known, names)] for names in ids]
