"""Where a classifier is wrong, so that the next one sees more examples of the hard places.

All triples are z, y, x.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from analysis.input_error import InputError
from predict.box import Triple


def error_density(
    probability: npt.NDArray[np.floating],
    target: npt.NDArray[np.floating],
    known: npt.NDArray[np.bool_],
    *,
    radius_vox: Triple,
) -> npt.NDArray[np.float32]:
    """Return the share of errors around every voxel.

    The local error density of Huang & Jain 2013 (arXiv 1310.0354): of the voxels of a box around
    the voxel that have a known edge, the share at which the classifier is on the wrong side of 0.5
    for any known edge.

    Args:
        probability: (3, z, y, x) float, affinities that the classifier predicts.
        target: (3, z, y, x) float, 0 or 1.
        known: (3, z, y, x) bool, where the target holds.
        radius_vox: of the box, which is cut off at the border of the array.

    Returns:
        (z, y, x) float32 in 0..1, 0 where no edge is known.
    """
    if probability.ndim != 4 or len(probability) != 3:
        raise InputError(f"probability must be (3, z, y, x), got shape {probability.shape}.")
    if not probability.shape == target.shape == known.shape:
        raise InputError(
            "probability, target and known must have the same shape, "
            f"got {probability.shape}, {target.shape} and {known.shape}."
        )
    if min(radius_vox) < 0:
        raise InputError(f"radius_vox must be at least 0 along each axis, got {radius_vox}.")
    known = known.astype(bool)
    counts = np.asarray(known.any(axis=0))
    wrong = np.asarray((((probability >= 0.5) != (target >= 0.5)) & known).any(axis=0))
    density = np.zeros(counts.shape, np.float32)
    density[counts] = _boxed(wrong, radius_vox)[counts] / _boxed(counts, radius_vox)[counts]
    return density


def _boxed(mask: npt.NDArray[np.bool_], radius: Triple) -> npt.NDArray[np.float64]:
    """Return how many voxels of a mask lie in the box around every voxel, a whole number."""
    mean = mask.astype(np.float64)
    for axis, r in enumerate(radius):
        mean = ndimage.uniform_filter1d(mean, 2 * r + 1, axis=axis, mode="constant")
    return np.rint(mean * math.prod(2 * r + 1 for r in radius))
