"""Where labels meet: border voxels, membrane and interior of a label volume, border tolerance.

Axis order is z, y, x. Sizes are in voxels whatever the voxel size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.checked_arrays import LabelArray, as_sections, checked_labels
from analysis.input_error import InputError


def border_mask(labels: npt.ArrayLike, *, in_plane: bool = False) -> npt.NDArray[np.bool_]:
    """Mark every voxel with a face neighbour of another label, on both sides of the border.

    Args:
        labels: (z, y, x) or (y, x), any integer dtype; 0 is a label like any other.
        in_plane: look at the 4 neighbours in the section only, not at all 6.

    Returns:
        Same shape, bool.
    """
    array = checked_labels(labels, "labels")
    return _borders(as_sections(array, "labels"), in_plane).reshape(array.shape)


def membrane_mask(labels: npt.ArrayLike, *, in_plane: bool = False) -> npt.NDArray[np.bool_]:
    """Mark the membrane of a label volume: label 0, and both sides where other labels touch.

    Args:
        labels: (z, y, x) or (y, x), any integer dtype; 0 = membrane.
        in_plane: let labels touch within a section only (for sections that are not aligned, far
            apart, or labelled one by one).

    Returns:
        Same shape, bool.
    """
    array = checked_labels(labels, "labels")
    sections = as_sections(array, "labels")
    mask = sections == 0
    for axis in range(1 if in_plane else 0, 3):
        first, second = _pairs_along(sections, axis)
        touch = (first != second) & (first != 0) & (second != 0)
        before, after = _pairs_along(mask, axis)
        before |= touch
        after |= touch
    return mask.reshape(array.shape)


def interior_mask(labels: npt.ArrayLike, *, widen_vox: int = 0) -> npt.NDArray[np.bool_]:
    """Mark the cell interiors of each section, parted by membrane one pixel wide where they touch.

    A pixel is interior unless its label is 0, or it differs from the label, other than 0, of its
    neighbour at y − 1 or at x − 1. So two interiors of different labels are never 4-connected,
    and the pixel that parts them lies on the side of larger y or x.

    Args:
        labels: (z, y, x) or (y, x), any integer dtype; 0 = membrane.
        widen_vox: pixels by which the parting membrane is widened to all sides (steps across
            edges), so that it is 1 + 2 widen_vox wide; label 0 is not widened.

    Returns:
        Same shape, bool.

    Raises:
        InputError: `widen_vox` is negative, or the labels are no labels.
    """
    if widen_vox < 0:
        raise InputError(f"widen_vox must not be negative, but is {widen_vox}.")
    array = checked_labels(labels, "labels")
    sections = as_sections(array, "labels")
    parting = np.zeros(sections.shape, dtype=bool)
    for axis in (1, 2):
        first, second = _pairs_along(sections, axis)
        _, after = _pairs_along(parting, axis)
        after |= (first != second) & (first != 0) & (second != 0)
    for _ in range(widen_vox):
        thin = parting.copy()
        for axis in (1, 2):
            before, after = _pairs_along(parting, axis)
            thin_before, thin_after = _pairs_along(thin, axis)
            before |= thin_after
            after |= thin_before
    return ((sections != 0) & ~parting).reshape(array.shape)


def drop_borders(labels: npt.ArrayLike, n_vox: int, *, in_plane: bool = False) -> LabelArray:
    """Set truth voxels near a label border to 0, so that scores leave them out.

    A voxel is dropped if the centre of a voxel with another label (0 is one) lies within `n_vox`
    of its own, Euclidean, in voxels along each axis: 1 drops the voxels that touch a border face.

    Args:
        labels: (z, y, x) or (y, x), any integer dtype.
        n_vox: distance, not negative; 0 drops nothing.
        in_plane: measure within the section only, as CREMI does.

    Returns:
        Same shape, uint32 or uint64, a copy.

    Raises:
        InputError: `n_vox` is negative, or the labels are no labels.
    """
    if n_vox < 0:
        raise InputError(f"n_vox must not be negative, but is {n_vox}.")
    array = checked_labels(labels, "labels")
    sections = as_sections(array, "labels")
    dropped = sections.copy()
    reach = np.arange(-n_vox, n_vox + 1)
    offsets = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), -1).reshape(-1, 3)
    squares = (offsets**2).sum(1)
    offsets = offsets[(squares > 0) & (squares <= n_vox**2) & ~(in_plane & (offsets[:, 0] != 0))]
    borders = np.argwhere(_borders(sections, in_plane))
    _drop_around(sections, borders, offsets, dropped)
    return dropped.reshape(array.shape)


def _pairs_along(array, axis: int):
    """Return views of all voxels but the last and of all but the first along an axis."""
    before = [slice(None)] * array.ndim
    after = [slice(None)] * array.ndim
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    return array[tuple(before)], array[tuple(after)]


def _borders(sections, in_plane: bool) -> npt.NDArray[np.bool_]:
    """Mark voxels with a face neighbour of another label; (z, y, x)."""
    mask = np.zeros(sections.shape, dtype=bool)
    for axis in range(1 if in_plane else 0, 3):
        first, second = _pairs_along(sections, axis)
        differ = first != second
        before, after = _pairs_along(mask, axis)
        before |= differ
        after |= differ
    return mask


@njit(cache=True)
def _drop_around(labels, borders, offsets, out_labels):
    """Set voxels of another label at the given offsets of a border voxel to 0.

    The nearest voxel of another label is itself a border voxel (the last step towards it, one
    axis at a time, crosses a border), so balls around border voxels find every one.
    """
    n_z, n_y, n_x = labels.shape
    for i in range(borders.shape[0]):
        own = labels[borders[i, 0], borders[i, 1], borders[i, 2]]
        for k in range(offsets.shape[0]):
            z = borders[i, 0] + offsets[k, 0]
            y = borders[i, 1] + offsets[k, 1]
            x = borders[i, 2] + offsets[k, 2]
            if 0 <= z < n_z and 0 <= y < n_y and 0 <= x < n_x and labels[z, y, x] != own:
                out_labels[z, y, x] = 0
