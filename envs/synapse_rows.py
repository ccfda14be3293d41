"""Contingency of regions against the truth, counted on weighted points instead of voxels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.checked_arrays import checked_labels
from analysis.contingency import Contingency
from analysis.input_error import InputError
from envs.truth_rows import TruthTable, index_table


def synapse_table(
    ids: npt.NDArray[np.uint64],
    superpixels: npt.NDArray[np.integer],
    points_vox: npt.NDArray[np.integer],
    labels: npt.NDArray[np.integer],
    weights: npt.NDArray[np.integer],
) -> TruthTable:
    """Count the weight of the points in every region by truth label.

    Played on these rows, variation of information is the synapse-weighted one (Plaza and Funke,
    Front. Neural Circuits 2018): what a wiring diagram loses, not what the volume does. Points
    with truth 0 or outside every superpixel are dropped.

    Args:
        ids: (R,) uint64 superpixel ids of a region graph, ascending.
        superpixels: (z, y, x) integer, 0 = none.
        points_vox: (P, 3) integer, z, y, x of the voxel of each point, such as both sides of a
            synapse.
        labels: (P,) integer truth at the points, or (z, y, x) integer truth of the volume.
        weights: (P,) integer, at least 1.

    Raises:
        InputError: where shapes do not fit, points lie outside, weights are not positive, no point
            is left, or superpixels hold other ids.
    """
    segments = values_at(superpixels, points_vox, "points_vox")
    n_points = len(segments)
    if labels.ndim == 1:
        if labels.shape != (n_points,):
            raise InputError(f"labels has shape {labels.shape} for {n_points} points")
        truth = checked_labels(labels, "labels")
    else:
        if labels.shape != superpixels.shape:
            raise InputError(
                f"labels has shape {labels.shape} but superpixels has shape {superpixels.shape}"
            )
        truth = values_at(labels, points_vox, "points_vox")
    if weights.shape != (n_points,) or weights.dtype.kind not in "ui":
        raise InputError(
            f"weights must be {n_points} integers, not {weights.dtype} of shape {weights.shape}"
        )
    if weights.min() < 1:
        raise InputError(f"weights must be positive; seen {weights.min()}")
    is_counted = (segments != 0) & (truth != 0)
    if not is_counted.any():
        raise InputError(f"none of the {n_points} points lies in a superpixel with truth")
    return index_table(
        ids,
        Contingency.from_pairs(
            segments[is_counted].astype(np.uint64),
            truth[is_counted].astype(np.uint64),
            weights[is_counted].astype(np.int64),
        ),
    )


def values_at(
    volume: npt.NDArray[np.integer], points_vox: npt.NDArray[np.integer], name: str
) -> npt.NDArray[np.unsignedinteger]:
    """Look up the labels of points.

    Args:
        volume: (z, y, x) integer labels, not negative.
        points_vox: (P, 3) integer, at least one.
        name: what the points are called in a message.

    Returns:
        (P,) uint32 or uint64.

    Raises:
        InputError: points are no integer triples, there is none, or one lies outside the volume.
    """
    if points_vox.ndim != 2 or points_vox.shape[1] != 3 or points_vox.dtype.kind not in "ui":
        raise InputError(
            f"{name} must be integer z, y, x, not {points_vox.dtype} of shape {points_vox.shape}"
        )
    if not len(points_vox):
        raise InputError(f"{name} must hold at least one point, but is empty")
    if volume.ndim != 3:
        raise InputError(f"{name} lie in a volume of shape {volume.shape}, not of axes z, y, x")
    is_outside = ((points_vox < 0) | (points_vox >= np.array(volume.shape))).any(1)
    if is_outside.any():
        first = points_vox[is_outside][0].tolist()
        raise InputError(f"{name} holds {first}, outside the volume of shape {volume.shape}")
    return checked_labels(volume[tuple(points_vox.T)], "labels at points")
