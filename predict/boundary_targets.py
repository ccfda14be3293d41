"""What a boundary model is asked to predict: targets made from labels.

All triples are z, y, x. Channel order is that of `unet.CHANNELS`: boundary, then the affinities to
the −z, −y and −x neighbour.
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


def zero_means_membrane(labels: npt.NDArray[np.integer]) -> bool:
    """Decide whether label 0 is membrane or means that nobody labelled the voxel.

    The rule: among the pairs of voxels that are neighbours within a section and differ, 0 is
    membrane if more pairs have a 0 than have two labels. Where objects are kept apart by painted
    membranes nearly every border has a 0 (gala_fib and ISBI 2012 all, SNEMI3D 81 %); where
    labels touch hardly any has (FIB-25 0.04 %). A volume of a few labelled objects in an
    unlabelled background is judged wrongly: say so there instead of asking.

    Args:
        labels: (z, y, x) integer.
    """
    labels = require_labels(labels)
    with_zero = without_zero = 0
    for first, second in ((labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])):
        differs = first != second
        zero = differs & ((first == 0) | (second == 0))
        with_zero += int(np.count_nonzero(zero))
        without_zero += int(np.count_nonzero(differs)) - int(np.count_nonzero(zero))
    return with_zero > without_zero


def boundary_targets(
    labels: npt.NDArray[np.integer], *, zero_is_membrane: bool, in_section: bool
) -> BoundaryTargets:
    """Derive the boundary map and the affinities from labels.

    A voxel is boundary where a face neighbour has another label; where 0 is membrane, every 0 is
    boundary and a voxel beside a 0 is not boundary on its account. An affinity is 1 where both
    voxels have the same label other than 0. Where 0 is no membrane, an edge with a 0 is unknown
    and so is the boundary at a 0, and at a voxel beside one unless another neighbour decides it.
    Edges that leave the array are unknown; the boundary at its border is judged by the neighbours
    inside.

    Args:
        labels: (z, y, x) integer.
        zero_is_membrane: see `zero_means_membrane`.
        in_section: judge the boundary by the neighbours in y and x only, for sections so thick
            that a change of label along z is no membrane (`is_strongly_anisotropic`) or sections
            that are labelled alone.
    """
    labels = require_labels(labels)
    target = np.zeros((4, *labels.shape), np.float32)
    known = np.zeros((4, *labels.shape), np.bool_)
    boundary = np.zeros(labels.shape, np.bool_)
    beside_unknown = np.zeros(labels.shape, np.bool_)
    zero = labels == 0
    for axis in range(3):
        here = _slab(axis, slice(1, None))
        there = _slab(axis, slice(None, -1))
        has_zero = zero[here] | zero[there]
        differs = (labels[here] != labels[there]) & ~has_zero
        target[1 + axis][here] = ~differs & ~has_zero
        known[1 + axis][here] = True if zero_is_membrane else ~has_zero
        if axis == 0 and in_section:
            continue
        boundary[here] |= differs
        boundary[there] |= differs
        beside_unknown[here] |= zero[there]
        beside_unknown[there] |= zero[here]
    if zero_is_membrane:
        boundary |= zero
        known[0] = True
    else:
        known[0] = ~zero & (boundary | ~beside_unknown)
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


def _slab(axis: int, part: slice) -> tuple[slice, slice, slice]:
    slices = [slice(None)] * 3
    slices[axis] = part
    return slices[0], slices[1], slices[2]
