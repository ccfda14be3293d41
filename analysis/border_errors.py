"""Where a segmentation splits and merges, drawn as borders of a section."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from analysis.checked_arrays import check_same_shape, checked_labels
from analysis.input_error import InputError
from analysis.label_borders import interior_mask

_FILL_VOX = 5.0
"""Membrane (label 0) up to this far from a label counts as drawn between labels."""

_MAX_SECTIONS_SEEN = 64
"""Sections looked at, evenly spaced, when the worst are sought."""


@dataclass(frozen=True, slots=True, eq=False)
class BorderErrors:
    """The borders of a section, by whether proposal and truth agree on them.

    Attributes:
        agreed: (y, x) bool, true borders that the proposal has.
        missed: (y, x) bool, true borders that the proposal lacks: mergers.
        extra: (y, x) bool, proposed borders that the truth lacks: splits.
    """

    agreed: npt.NDArray[np.bool_]
    missed: npt.NDArray[np.bool_]
    extra: npt.NDArray[np.bool_]

    @property
    def n_wrong(self) -> int:
        """Border pixels missed or extra."""
        return int(np.count_nonzero(self.missed) + np.count_nonzero(self.extra))


def border_errors(
    segmentation: npt.ArrayLike, labels: npt.ArrayLike, *, tolerance_vox: float = 3.0
) -> BorderErrors:
    """Compare the borders of one section of a segmentation with the true ones.

    A border is one pixel wide between two labels other than 0; label 0 up to 5 pixels from a
    label is filled with the nearest one first, so that drawn membranes are borders too.

    Args:
        segmentation: (y, x), any integer dtype, the proposal.
        labels: (y, x), any integer dtype, the truth.
        tolerance_vox: a border of the other side within this distance confirms a border pixel.

    Raises:
        InputError: shapes differ or are not (y, x), or an array is no label array.
    """
    proposed = checked_labels(segmentation, "segmentation")
    true = checked_labels(labels, "labels")
    check_same_shape(proposed, "segmentation", true, "labels")
    if proposed.ndim != 2:
        raise InputError(f"segmentation must have axes (y, x), but its shape is {proposed.shape}.")
    proposed_borders = _thin_borders(proposed)
    true_borders = _thin_borders(true)
    near_proposed = _within(proposed_borders, tolerance_vox)
    near_true = _within(true_borders, tolerance_vox)
    return BorderErrors(
        agreed=true_borders & near_proposed,
        missed=true_borders & ~near_proposed,
        extra=proposed_borders & ~near_true,
    )


def worst_sections(
    segmentation: npt.NDArray[np.number], labels: npt.NDArray[np.number], n_sections: int = 1
) -> list[int]:
    """Find the sections with most wrong border pixels, worst first, ties by z.

    Neighbouring sections look alike, so those chosen lie at least depth / (3 n_sections) apart.
    Of more than 64 sections, 64 evenly spaced ones are looked at.

    Args:
        segmentation: (z, y, x), any integer dtype.
        labels: (z, y, x), any integer dtype.
        n_sections: how many to return.

    Raises:
        InputError: shapes differ, or are not (z, y, x).
    """
    if len(segmentation.shape) != 3 or segmentation.shape != labels.shape:
        raise InputError(
            "segmentation and labels must have the same shape (z, y, x), but theirs are "
            f"{segmentation.shape} and {labels.shape}."
        )
    n_z = segmentation.shape[0]
    seen = np.unique(np.linspace(0, n_z - 1, min(n_z, _MAX_SECTIONS_SEEN)).round().astype(int))
    wrong = np.array([border_errors(segmentation[z], labels[z]).n_wrong for z in seen])
    chosen: list[int] = []
    for z in seen[np.argsort(-wrong, kind="stable")]:
        if len(chosen) < n_sections and all(3 * n_sections * abs(z - w) >= n_z for w in chosen):
            chosen.append(int(z))
    return chosen


def _thin_borders(section: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Mark one-pixel borders between labels, label 0 near a label filled first."""
    filled = section
    if (section == 0).any() and section.any():
        distance = np.empty(section.shape)
        nearest = np.empty((2, *section.shape), dtype=np.int32)
        ndimage.distance_transform_edt(
            section == 0, return_indices=True, distances=distance, indices=nearest
        )
        filled = np.where(distance <= _FILL_VOX, section[tuple(nearest)], 0)
    return ~interior_mask(filled) & (filled != 0)


def _within(mask: npt.NDArray[np.bool_], distance_vox: float) -> npt.NDArray[np.bool_]:
    """Mark pixels within a Euclidean distance of a mask."""
    if not mask.any():
        return mask
    distance = np.empty(mask.shape)
    ndimage.distance_transform_edt(~mask, distances=distance)
    return distance <= distance_vox
