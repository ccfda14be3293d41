"""Boundary scores that forgive a boundary drawn a little beside the true one.

Axis order is z, y, x. Sizes are in voxels whatever the voxel size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.checked_arrays import as_sections, check_same_shape, checked_map
from analysis.input_error import InputError

TOLERANT_CONVENTION = (
    "largest 2PR/(P+R) over all thresholds (oracle threshold), P of called voxels within "
    "{tolerance:g} voxels of membrane, R of membrane voxels within {tolerance:g} of a called one"
)
"""What is printed beside `TolerantScores.best_f`."""


@dataclass(frozen=True, slots=True, eq=False)
class TolerantScores:
    """Precision and recall of a boundary map with a localisation tolerance.

    Attributes:
        tolerance_vox: how far a boundary may lie from the true one.
        best_f: largest F over all thresholds.
        best_f_threshold: the threshold that reaches it, the highest of equals.
        precision: at that threshold.
        recall: at that threshold.
    """

    tolerance_vox: float
    best_f: float
    best_f_threshold: float
    precision: float
    recall: float

    @property
    def convention(self) -> str:
        """How `best_f` is counted."""
        return TOLERANT_CONVENTION.format(tolerance=self.tolerance_vox)


def score_tolerant(
    boundaries: npt.ArrayLike,
    membrane: npt.NDArray[np.bool_],
    *,
    tolerance_vox: float,
    in_plane: bool = False,
) -> TolerantScores:
    """Find the best F of a boundary map, boundaries near enough to the true ones counted as right.

    The idea is that of Martin et al. (PAMI 2004), with distances instead of a one-to-one matching:
    a called voxel is right within `tolerance_vox` (Euclidean) of true membrane, and a membrane
    voxel is found within the same distance of a called one. With tolerance 0 this is the voxel F.

    Args:
        boundaries: (z, y, x) or (y, x), numbers in [0, 1], 1 = boundary.
        membrane: same shape, bool, the truth.
        tolerance_vox: not negative.
        in_plane: measure distances within the section only.

    Raises:
        InputError: the map is not finite or leaves [0, 1], shapes differ, the truth has no
            membrane, or the tolerance is negative.
    """
    if not 0 <= tolerance_vox < np.inf:
        raise InputError(f"tolerance_vox must not be negative, but is {tolerance_vox}.")
    values = checked_map(boundaries, "boundaries")
    if membrane.dtype != np.bool_:
        raise InputError(f"membrane must be bool, but its dtype is {membrane.dtype}.")
    check_same_shape(values, "boundaries", membrane, "membrane")
    if not membrane.any():
        raise InputError("labels must hold membrane to score boundaries, but hold none.")
    values = as_sections(values, "boundaries")
    true = np.argwhere(as_sections(membrane, "membrane"))
    reached = np.empty(len(true), values.dtype)
    is_near = np.zeros(values.shape, dtype=bool)
    _reach(values, true, _ball(tolerance_vox, in_plane), reached, is_near)
    near = np.sort(values[is_near])
    called = np.sort(values, axis=None)
    reached.sort()
    is_first = np.r_[True, called[1:] != called[:-1]]
    thresholds = called[is_first]
    n_called = called.size - np.flatnonzero(is_first)
    precision = (near.size - np.searchsorted(near, thresholds)) / n_called
    recall = (reached.size - np.searchsorted(reached, thresholds)) / reached.size
    total = precision + recall
    f = np.divide(2.0 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = f.size - 1 - int(f[::-1].argmax())
    return TolerantScores(
        tolerance_vox=float(tolerance_vox),
        best_f=float(f[best]),
        best_f_threshold=float(thresholds[best]),
        precision=float(precision[best]),
        recall=float(recall[best]),
    )


def _ball(radius: float, in_plane: bool) -> npt.NDArray[np.int64]:
    """List the offsets within a radius, (K, 3)."""
    reach = np.arange(-int(radius), int(radius) + 1)
    offsets = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), -1).reshape(-1, 3)
    kept = (offsets**2).sum(1) <= radius**2
    return offsets[kept & ~(in_plane & (offsets[:, 0] != 0))]


@njit(cache=True)
def _reach(values, true, offsets, out_reached, out_near):
    """Find the largest value around each true voxel, and mark all voxels around one."""
    n_z, n_y, n_x = values.shape
    for i in range(true.shape[0]):
        largest = values[true[i, 0], true[i, 1], true[i, 2]]
        for k in range(offsets.shape[0]):
            z = true[i, 0] + offsets[k, 0]
            y = true[i, 1] + offsets[k, 1]
            x = true[i, 2] + offsets[k, 2]
            if 0 <= z < n_z and 0 <= y < n_y and 0 <= x < n_x:
                out_near[z, y, x] = True
                largest = max(largest, values[z, y, x])
        out_reached[i] = largest
