"""Labels at half the resolution: the most frequent of the voxels that become one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.label_table import read_only


def halve_labels(labels: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return labels at half the resolution along every axis.

    A voxel has the label that most of its 2 × 2 × 2 voxels have, 0 counted like the others, of
    equally frequent ones the smallest; at the end of an odd axis it has fewer.

    Args:
        labels: (z, y, x) uint64, 0 = none; no axis is empty.

    Returns:
        (⌈z / 2⌉, ⌈y / 2⌉, ⌈x / 2⌉) uint64.
    """
    depth, height, width = labels.shape
    halved = np.empty((-(-depth // 2), -(-height // 2), -(-width // 2)), np.uint64)
    _halve(read_only(labels), halved)
    return halved


@njit(cache=True)
def _halve(labels, out_halved):
    depth, height, width = labels.shape
    seen = np.empty(8, np.uint64)
    for z in range(out_halved.shape[0]):
        for y in range(out_halved.shape[1]):
            for x in range(out_halved.shape[2]):
                n = 0
                for k in range(2 * z, min(2 * z + 2, depth)):
                    for j in range(2 * y, min(2 * y + 2, height)):
                        for i in range(2 * x, min(2 * x + 2, width)):
                            seen[n] = labels[k, j, i]
                            n += 1
                out_halved[z, y, x] = _mode(seen, n)


@njit(cache=True)
def _mode(seen, n):
    """Return the most frequent of the first `n`, of equally frequent ones the smallest."""
    best, n_best = seen[0], 0
    for a in range(n):
        n_equal = 0
        for b in range(n):
            if seen[b] == seen[a]:
                n_equal += 1
        if n_equal == n:
            return seen[a]
        if n_equal > n_best or (n_equal == n_best and seen[a] < best):
            best, n_best = seen[a], n_equal
    return best
