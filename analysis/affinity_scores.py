"""Scores of an affinity map, channel by channel, and the boundary map that it implies.

Axis order is c, z, y, x; channel c tells whether a voxel is connected to its neighbour one step
back along z, y or x, 1 = connected.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.boundary_scores import BoundaryScores, score_boundaries
from analysis.checked_arrays import checked_map
from analysis.input_error import InputError

CHANNELS = ("z", "y", "x")

AFFINITY_CONVENTION = "of the cuts between neighbours along {axis}, 1 - affinity as the map"
"""What is printed beside the numbers of a channel."""


def score_affinities(
    affinities: npt.ArrayLike, is_cut: npt.NDArray[np.bool_], is_known: npt.NDArray[np.bool_]
) -> dict[str, BoundaryScores]:
    """Score every channel of an affinity map as a detector of cuts; return scores by axis.

    A channel whose known edges are all cut, or all connected, is left out.

    Args:
        affinities: (3, z, y, x), numbers in [0, 1], 1 = connected.
        is_cut: same shape, bool, the truth: the two voxels belong apart.
        is_known: same shape, bool, edges to be scored.

    Raises:
        InputError: the map is not finite or leaves [0, 1], shapes differ or are not
            (3, z, y, x), or no channel can be scored.
    """
    values = _checked_affinities(affinities)
    for name, mask in (("is_cut", is_cut), ("is_known", is_known)):
        if mask.dtype != np.bool_ or mask.shape != values.shape:
            raise InputError(
                f"{name} must be bool of shape {values.shape}, but is {mask.dtype} of shape "
                f"{mask.shape}."
            )
    scores: dict[str, BoundaryScores] = {}
    for axis, channel, cut, known in zip(CHANNELS, values, is_cut, is_known, strict=True):
        truth = cut[known]
        if truth.any() and not truth.all():
            scores[axis] = score_boundaries(1 - channel[known], truth)
    if not scores:
        raise InputError("labels must hold cut and connected neighbours to score affinities.")
    return scores


def boundaries_of_affinities(
    affinities: npt.ArrayLike, *, in_plane: bool = False
) -> npt.NDArray[np.floating]:
    """Turn affinities into a boundary map: 1 − the weakest edge of a voxel to a face neighbour.

    Args:
        affinities: (3, z, y, x), numbers in [0, 1], 1 = connected; edges that leave the array are
            not looked at.
        in_plane: look at the edges along y and x only.

    Returns:
        (z, y, x) float, 1 = boundary.

    Raises:
        InputError: the map is not finite or leaves [0, 1], or is not (3, z, y, x).
    """
    values = _checked_affinities(affinities)
    boundaries = np.zeros(values.shape[1:], values.dtype)
    for axis in range(1 if in_plane else 0, 3):
        edges = 1 - np.moveaxis(values[axis], axis, 0)[1:]
        sections = np.moveaxis(boundaries, axis, 0)
        np.maximum(sections[1:], edges, out=sections[1:])
        np.maximum(sections[:-1], edges, out=sections[:-1])
    return boundaries


def _checked_affinities(affinities: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """Check that affinities are a map of three channels."""
    values = checked_map(affinities, "affinities")
    if values.ndim != 4 or values.shape[0] != 3:
        raise InputError(
            f"affinities must have axes (3, z, y, x), but their shape is {values.shape}."
        )
    return values
