"""Warping error: what a boundary map gets wrong in topology, shifted borders forgiven.

Jain et al., "Boundary Learning by Optimization with Topological Constraints" (CVPR 2010), as the
ISBI 2012 challenge computed it. Per section, the true interior (foreground, 4-connected; membrane
8-connected) is warped towards the proposed one by flipping simple points only, and the pixels
that still differ are counted and typed. The warp is greedy, so the count is an upper bound that
depends on the order of the flips; the order is fixed here (`WARPING_CONVENTIONS`).

A proposal that is membrane all over costs one pixel an object, and no split or merge: read the
counts of deleted objects beside the error, or keep the warp near the true borders by a mask.

In 3D the same is done to a whole volume: foreground 6, background 26, which in a volume of one
section is the 2D warp, flip for flip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

from analysis.checked_arrays import MapArray, as_sections, check_same_shape, checked_map
from analysis.connectivity import (
    Connectivity,
    checked_binary,
    is_planar,
    neighbour_offsets,
    pad_widths,
    structuring_element,
)
from analysis.input_error import InputError
from analysis.label_borders import interior_mask, membrane_mask
from analysis.simple_points import SIMPLE_POINTS_4_8, SIMPLE_POINTS_8_4
from analysis.warping_clusters import find_clusters
from analysis.warping_pixels import type_pixels
from analysis.warping_queue import flip_simple_points
from analysis.warping_types import Mismatch, WarpingResult

WARPING_CONVENTIONS: dict[str, str] = {
    "warping_error": (
        "pixels still different / pixels after warping the truth towards the proposal, mean over "
        "sections; interior where the map is below the threshold, foreground 4- and background "
        "8-connected, frame of membrane; flips by |map − threshold| falling, then column-major"
    ),
    "warping_error_3d": (
        "the same with the volume warped as a whole: foreground 6- and background 26-connected, "
        "equal voxels by x, then y, then z"
    ),
    "split_merge_error": "pixels typed split or merge / all pixels (ISBI 2012)",
    "segmentation_warping_error": (
        "the same between the interiors of two label volumes: label 0, and the pixel on the side "
        "of larger y or x where labels touch, is membrane"
    ),
}
"""One phrase for each number, to be printed beside it."""

THRESHOLDS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""The challenge's thresholds: 0.0 to 0.9 on the interior probability 1 − map."""

_MAX_VOXELS = 2**31
"""Places and components of what is warped as a whole are numbered with 32 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class WarpingSweep:
    """Warping errors of one map at several thresholds.

    Attributes:
        thresholds: (T,) float64.
        errors: (T,) float64, warping error at each.
        split_merge_errors: (T,) float64, share of split and merge pixels at each.
        best: the whole result at `best_threshold`.
        best_split_merge: the whole result at `best_split_merge_threshold`.
    """

    thresholds: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    split_merge_errors: npt.NDArray[np.float64]
    best: WarpingResult
    best_split_merge: WarpingResult

    @property
    def minimum_error(self) -> float:
        """Smallest warping error, at an oracle threshold."""
        return float(self.errors.min())

    @property
    def best_threshold(self) -> float:
        """The first threshold with the smallest warping error."""
        return float(self.thresholds[self.errors.argmin()])

    @property
    def minimum_split_merge_error(self) -> float:
        """Smallest share of split and merge pixels: the score of ISBI 2012."""
        return float(self.split_merge_errors.min())

    @property
    def best_split_merge_threshold(self) -> float:
        """The first threshold with the smallest share of split and merge pixels."""
        return float(self.thresholds[self.split_merge_errors.argmin()])


def warping_error(
    boundaries: npt.ArrayLike,
    interior: npt.NDArray[np.bool_],
    threshold: float = 0.5,
    *,
    foreground: Connectivity = 4,
    mask: npt.NDArray[np.bool_] | None = None,
) -> WarpingResult:
    """Warp the true interior towards a thresholded boundary map and type what still differs.

    Mismatches are visited by |map − threshold| falling (as float32), of equals column-major (x
    outermost, then y, then z), and a pixel that is simple at that moment is flipped; passes are
    repeated until one changes nothing. Worst case O(n log n) for n mismatches.

    With foreground 4 and no mask a pixel is typed by the challenge's rules, from the labels U
    around it (4-connected components of the warped truth, 0 = membrane): a membrane pixel is an
    object addition for U = {0}, a hole deletion for one object, a hole addition for membrane and
    one object, a merge for several objects; an interior pixel is an object deletion for U = {0},
    a hole addition for one object, a split for several, and for membrane and one object a split
    if the object falls apart without the pixel, else a hole deletion. Otherwise pixels take the
    type of their cluster (`analysis.warping_clusters.mismatch_clusters`).

    Args:
        boundaries: (z, y, x), or (y, x) for foreground 4 and 8; numbers in [0, 1], 1 = boundary.
        interior: same shape, bool, the truth (`interior_mask` makes it of labels).
        threshold: interior where the map is below this; in [0, 1].
        foreground: connectivity of the interior: 4 or 8 warps every section by itself, 6 or 26
            the volume; membrane has the dual one.
        mask: same shape, bool: pixels outside it are not flipped, but count as mismatches where
            they differ (`border_zone` makes one); all may flip if not given.

    Raises:
        InputError: the map is not finite or leaves [0, 1], shapes differ, or the threshold does,
            or the connectivity does not fit the axes.
    """
    values, truth = _checked_pair(boundaries, interior, foreground)
    if not 0.0 <= threshold <= 1.0:
        raise InputError(f"threshold must lie in [0, 1], but is {threshold}.")
    free = None
    if mask is not None:
        check_same_shape(np.asarray(mask), "mask", np.asarray(interior), "interior")
        free = checked_binary(mask, "mask", foreground)
    warped = np.empty(truth.shape, dtype=bool)
    mismatches = np.zeros(truth.shape, dtype=np.uint8)
    step = 1 if is_planar(foreground) else truth.shape[0]
    for z in range(0, truth.shape[0], step):
        part = slice(z, z + step)
        proposed = values[part] < threshold
        wrong = proposed != truth[part]
        if free is not None:
            wrong &= free[part]
        warped[part] = _warp(truth[part], wrong, values[part], threshold, foreground)
        left = warped[part] != proposed
        if foreground == 4 and mask is None:
            type_pixels(warped[z], left[0], mismatches[z])
        elif left.any():
            clusters = find_clusters(warped[part], left, foreground)
            kinds = np.concatenate(([np.uint8(Mismatch.NONE)], clusters.kinds))
            mismatches[part] = kinds[clusters.map]
    section_errors = np.count_nonzero(mismatches, axis=(1, 2)) / truth[0].size
    return WarpingResult(
        float(section_errors.mean()), section_errors, warped, mismatches, foreground
    )


def warping_sweep(
    boundaries: npt.ArrayLike,
    interior: npt.NDArray[np.bool_],
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    foreground: Connectivity = 4,
    mask: npt.NDArray[np.bool_] | None = None,
) -> WarpingSweep:
    """Compute the warping error of a boundary map at several thresholds.

    The smallest of them is chosen with the truth at hand: print it as *oracle threshold*.

    Args:
        boundaries: (z, y, x), or (y, x) for foreground 4 and 8; numbers in [0, 1], 1 = boundary.
        interior: same shape, bool, the truth.
        thresholds: at least one, each in [0, 1].
        foreground: as `warping_error`.
        mask: as `warping_error`.

    Raises:
        InputError: as `warping_error`, or no threshold is given.
    """
    if not len(thresholds):
        raise InputError("thresholds must name at least one threshold, but is empty.")
    results = (
        warping_error(boundaries, interior, threshold, foreground=foreground, mask=mask)
        for threshold in thresholds
    )
    best = best_split_merge = next(results)
    scores = [(best.error, best.split_merge_error)]
    for result in results:
        scores.append((result.error, result.split_merge_error))
        if result.error < best.error:
            best = result
        if result.split_merge_error < best_split_merge.split_merge_error:
            best_split_merge = result
    errors, split_merge_errors = np.array(scores).T
    return WarpingSweep(
        np.array(thresholds, np.float64), errors, split_merge_errors, best, best_split_merge
    )


def segmentation_warping_error(
    segmentation: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    widen_vox: int = 0,
    foreground: Connectivity = 4,
    mask: npt.NDArray[np.bool_] | None = None,
) -> WarpingResult:
    """Compute the warping error between the interiors of two label volumes.

    With foreground 4 both interiors are those of `interior_mask`: membrane one pixel wide on the
    side of larger y or x where labels touch. Otherwise both sides of a contact are membrane
    (`membrane_mask`). The proposal is binary, so the order of flips is column-major.

    Flips mend mismatches only, so a membrane cannot cross pixels that agree: a border shifted by
    more than the width of its membrane, 1 + 2 `widen_vox` (2 + 2 `widen_vox`), stays a mismatch.

    Args:
        segmentation: (z, y, x), or (y, x) for foreground 4 and 8; any integer dtype, the
            proposal; 0 = membrane.
        labels: same shape, any integer dtype, the truth; 0 = membrane.
        widen_vox: pixels by which membranes between touching labels are widened on each side.
        foreground: as `warping_error`.
        mask: as `warping_error`.

    Raises:
        InputError: shapes differ, an array is no label array, or `widen_vox` is negative.
    """
    check_same_shape(np.asarray(segmentation), "segmentation", np.asarray(labels), "labels")
    boundaries = (~_label_interior(segmentation, widen_vox, foreground)).astype(np.float32)
    interior = _label_interior(labels, widen_vox, foreground)
    return warping_error(boundaries, interior, 0.5, foreground=foreground, mask=mask)


def _checked_pair(
    boundaries: npt.ArrayLike, interior: npt.NDArray[np.bool_], foreground: Connectivity
) -> tuple[MapArray, npt.NDArray[np.bool_]]:
    """Check a map and a true interior and return both as (z, y, x)."""
    whole = np.shape(interior)[-2:] if is_planar(foreground) else np.shape(interior)
    if math.prod(whole) >= _MAX_VOXELS:
        raise InputError(
            f"interior must have fewer than 2³¹ voxels in what is warped as a whole, but its shape "
            f"is {np.shape(interior)}."
        )
    values = checked_map(boundaries, "boundaries")
    sections = as_sections(values, "boundaries")
    truth = np.asarray(interior)
    check_same_shape(values, "boundaries", truth, "interior")
    return sections, checked_binary(truth, "interior", foreground)


def _label_interior(
    labels: npt.ArrayLike, widen_vox: int, foreground: Connectivity
) -> npt.NDArray[np.bool_]:
    """Mark the interior of labels so that touching labels are not connected; (z, y, x)."""
    if foreground == 4:
        return interior_mask(labels, widen_vox=widen_vox)
    if widen_vox < 0:
        raise InputError(f"widen_vox must not be negative, but is {widen_vox}.")
    inside = np.asarray(labels) != 0
    parting = inside & membrane_mask(labels, in_plane=is_planar(foreground))
    element = structuring_element(4 if is_planar(foreground) else 6)
    if parting.ndim == 2:
        element = element[1]
    for _ in range(widen_vox):
        parting = np.asarray(ndimage.binary_dilation(parting, element), dtype=bool)
    return inside & ~parting


def _warp(
    interior: npt.NDArray[np.bool_],
    wrong: npt.NDArray[np.bool_],
    boundary: MapArray,
    threshold: float,
    foreground: Connectivity,
) -> npt.NDArray[np.bool_]:
    """Flip the marked points of a volume, (z, y, x), or of one section, (1, y, x), in order."""
    widths = pad_widths(foreground)
    source = np.pad(interior, widths).view(np.uint8)
    n_wrong = np.count_nonzero(wrong)
    turns = np.empty(n_wrong, dtype=np.uint64)
    places = np.empty(n_wrong, dtype=np.int64)
    _list_turns(wrong, boundary, float(threshold), widths[0][0], turns, places)
    turns.sort()
    wide: Connectivity = 8 if is_planar(foreground) else 26
    flip_simple_points(
        foreground,
        SIMPLE_POINTS_8_4 if foreground == 8 else SIMPLE_POINTS_4_8,
        neighbour_offsets(source.shape, wide),
        1 << (np.arange(8) if is_planar(foreground) else np.delete(np.arange(27), 13)),
        places[turns.astype(np.uint32)],
        source.reshape(-1),
        np.full(source.size, -1, dtype=np.int32),
    )
    return source[tuple(slice(low, -low or None) for low, _ in widths)].view(bool)


@njit(cache=True)
def _list_turns(wrong, boundary, threshold, pad_z, out_turns, out_places):
    """List the marked points column-major with keys that sort by their turns.

    Bits of floats that are not negative sort like the floats, so the upper half of a key falls
    with |map − threshold|; the lower half, the place in the list, parts equals.
    """
    n_z, n_y, n_x = wrong.shape
    n_listed = 0
    for x in range(n_x):
        for y in range(n_y):
            for z in range(n_z):
                if wrong[z, y, x]:
                    distance = np.float32(abs(np.float64(boundary[z, y, x]) - threshold))
                    falling = np.uint64(~distance.view(np.uint32))
                    out_turns[n_listed] = falling << np.uint64(32) | np.uint64(n_listed)
                    out_places[n_listed] = ((z + pad_z) * (n_y + 2) + y + 1) * (n_x + 2) + x + 1
                    n_listed += 1
