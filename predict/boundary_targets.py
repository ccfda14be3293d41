"""What a boundary model is asked to predict: targets made from labels.

All triples are z, y, x. Channel order is that of `boundary_network.CHANNELS`: boundary, then the
affinities to the −z, −y and −x neighbour.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError


class BoundaryTargets(NamedTuple):
    """Targets and where they are known."""

    target: npt.NDArray[np.float32]  # (4, z, y, x), 0 or 1
    known: npt.NDArray[np.bool_]  # (4, z, y, x)


def zero_means_membrane(
    labels: npt.NDArray[np.integer], mask: npt.NDArray[np.bool_] | None = None
) -> bool:
    """Decide whether label 0 is membrane or means that nobody labelled the voxel.

    The rule: among the pairs of voxels that are neighbours within a section and differ, 0 is
    membrane if more pairs have a 0 than have two labels. Where objects are kept apart by painted
    membranes nearly every border has a 0 (gala_fib and ISBI 2012 all, SNEMI3D 81 %); where
    labels touch hardly any has (FIB-25 0.04 %). A volume of a few labelled objects in an
    unlabelled background is judged wrongly: say so there instead of asking.

    Args:
        labels: (z, y, x) integer.
        mask: (z, y, x) bool, False where nothing is known; such voxels are not asked.
    """
    labels = require_labels(labels)
    mask = _require_mask(mask, labels)
    with_zero = without_zero = 0
    for axis in (1, 2):
        here, there = _slab(axis, slice(1, None)), _slab(axis, slice(None, -1))
        differs = labels[here] != labels[there]
        if mask is not None:
            differs &= mask[here] & mask[there]
        zero = differs & ((labels[here] == 0) | (labels[there] == 0))
        with_zero += int(np.count_nonzero(zero))
        without_zero += int(np.count_nonzero(differs)) - int(np.count_nonzero(zero))
    return with_zero > without_zero


def boundary_targets(
    labels: npt.NDArray[np.integer],
    *,
    zero_is_membrane: bool,
    in_section: bool,
    mask: npt.NDArray[np.bool_] | None = None,
) -> BoundaryTargets:
    """Derive the boundary map and the affinities from labels.

    A voxel is boundary where a face neighbour has another label; where 0 is membrane, every 0 is
    boundary and a voxel beside a 0 is not boundary on its account. An affinity is 1 where both
    voxels have the same label other than 0. A voxel that the mask leaves out is unknown, whatever
    its label; where 0 is no membrane, so is a 0. An edge with an unknown voxel is unknown and so is
    the boundary at it, and at a voxel beside one unless another neighbour decides it. Edges that
    leave the array are unknown; the boundary at its border is judged by the neighbours inside.

    Args:
        labels: (z, y, x) integer.
        zero_is_membrane: see `zero_means_membrane`.
        in_section: judge the boundary by the neighbours in y and x only, for sections so thick
            that a change of label along z is no membrane (`is_strongly_anisotropic`) or sections
            that are labelled alone.
        mask: (z, y, x) bool, False where nothing is known; None if everything is.
    """
    labels = require_labels(labels)
    mask = _require_mask(mask, labels)
    target = np.zeros((4, *labels.shape), np.float32)
    known = np.zeros((4, *labels.shape), np.bool_)
    boundary = np.zeros(labels.shape, np.bool_)
    beside_unknown = np.zeros(labels.shape, np.bool_)
    zero = labels == 0
    unknown = np.zeros(labels.shape, np.bool_) if zero_is_membrane else zero.copy()
    if mask is not None:
        unknown |= ~mask
    nothing = zero | unknown
    for axis in range(3):
        here = _slab(axis, slice(1, None))
        there = _slab(axis, slice(None, -1))
        has_nothing = nothing[here] | nothing[there]
        same = labels[here] == labels[there]
        differs = ~same & ~has_nothing
        target[1 + axis][here] = same & ~has_nothing
        known[1 + axis][here] = ~(unknown[here] | unknown[there])
        if axis == 0 and in_section:
            continue
        boundary[here] |= differs
        boundary[there] |= differs
        beside_unknown[here] |= unknown[there]
        beside_unknown[there] |= unknown[here]
    if zero_is_membrane:
        boundary |= zero & ~unknown
    known[0] = ~unknown & (boundary | ~beside_unknown)
    target[0] = boundary
    return BoundaryTargets(target, known)


def require_labels(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return labels that are a non-empty (z, y, x) integer array; refuse anything else."""
    labels = np.asarray(labels)
    if labels.ndim != 3 or labels.size == 0:
        raise InputError(f"labels must be a non-empty (z, y, x) array, got shape {labels.shape}.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels must be integers, got dtype {labels.dtype}.")
    return labels


def _require_mask(
    mask: npt.NDArray[np.bool_] | None, labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.bool_] | None:
    if mask is not None and (mask.dtype != np.bool_ or mask.shape != labels.shape):
        raise InputError(
            f"mask must be bool of the labels' shape {labels.shape}, "
            f"got {mask.dtype} of shape {mask.shape}."
        )
    return mask


def _slab(axis: int, part: slice) -> tuple[slice, slice, slice]:
    slices = [slice(None)] * 3
    slices[axis] = part
    return slices[0], slices[1], slices[2]
