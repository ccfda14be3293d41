"""Warping error: what a boundary map gets wrong in topology, shifted borders forgiven.

Jain et al., "Boundary Learning by Optimization with Topological Constraints" (CVPR 2010), as the
ISBI 2012 challenge computed it. Per section, the true interior (foreground, 4-connected; membrane
8-connected) is warped towards the proposed one by flipping simple points only, and the pixels
that still differ are counted and typed. The warp is greedy, so the count is an upper bound that
depends on the order of the flips; the order is fixed here (`WARPING_CONVENTIONS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.checked_arrays import MapArray, as_sections, check_same_shape, checked_map
from analysis.cut_pixels import mark_cut_pixels
from analysis.input_error import InputError
from analysis.label_borders import interior_mask
from analysis.simple_points import SIMPLE_POINTS_4_8, components_4, neighbour_code

WARPING_CONVENTIONS: dict[str, str] = {
    "warping_error": (
        "pixels still different / pixels after warping the truth towards the proposal, mean over "
        "sections; interior where the map is below the threshold, foreground 4- and background "
        "8-connected, frame of membrane; flips by |map − threshold| falling, then column-major"
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


class Mismatch(IntEnum):
    """How the proposal is wrong at a pixel that no warp of the truth explains."""

    NONE = 0
    SPLIT = 1
    MERGE = 2
    HOLE_ADDITION = 3
    HOLE_DELETION = 4
    OBJECT_ADDITION = 5
    OBJECT_DELETION = 6


@dataclass(frozen=True, slots=True, eq=False)
class WarpingResult:
    """The warping error of a stack of sections and where it lies.

    Attributes:
        error: mean over sections of `section_errors`.
        section_errors: (Z,) float64, remaining mismatches / pixels of each section.
        warped: (Z, Y, X) bool, the true interior after warping.
        mismatches: (Z, Y, X) uint8, `Mismatch` of every pixel.
    """

    error: float
    section_errors: npt.NDArray[np.float64]
    warped: npt.NDArray[np.bool_]
    mismatches: npt.NDArray[np.uint8]

    @property
    def counts(self) -> dict[str, int]:
        """Pixels of each type of mismatch, by its name in lower case."""
        counts = np.bincount(self.mismatches.reshape(-1), minlength=len(Mismatch))
        return {kind.name.lower(): int(counts[kind]) for kind in Mismatch if kind}

    @property
    def split_merge_error(self) -> float:
        """Share of all pixels that are typed split or merge."""
        counts = self.counts
        return (counts["split"] + counts["merge"]) / self.mismatches.size


@dataclass(frozen=True, slots=True, eq=False)
class WarpingSweep:
    """Warping errors of one map at several thresholds.

    Attributes:
        thresholds: (T,) float64.
        errors: (T,) float64, warping error at each.
        split_merge_errors: (T,) float64, share of split and merge pixels at each.
        best: the whole result at `best_threshold`.
    """

    thresholds: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    split_merge_errors: npt.NDArray[np.float64]
    best: WarpingResult

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


def warping_error(
    boundaries: npt.ArrayLike, interior: npt.NDArray[np.bool_], threshold: float = 0.5
) -> WarpingResult:
    """Warp the true interior towards a thresholded boundary map and type what still differs.

    Mismatches are visited by |map − threshold| falling (as float32), of equals column-major (x
    outer, y inner), and a pixel that is simple at that moment is flipped; passes are repeated
    until one changes nothing. Types follow the labels U around a pixel (4-connected components of
    the warped truth, 0 = membrane): a membrane pixel is an object addition for U = {0}, a hole
    deletion for one object, a hole addition for membrane and one object, a merge for several
    objects; an interior pixel is an object deletion for U = {0}, a hole addition for one object,
    a split for several, and for membrane and one object a split if the object falls apart
    without the pixel, else a hole deletion.

    Args:
        boundaries: (z, y, x) or (y, x), numbers in [0, 1], 1 = boundary.
        interior: same shape, bool, the truth (`interior_mask` makes it of labels).
        threshold: interior where the map is below this; in [0, 1].

    Raises:
        InputError: the map is not finite or leaves [0, 1], shapes differ, or the threshold does.
    """
    values, truth = _checked_pair(boundaries, interior)
    if not 0.0 <= threshold <= 1.0:
        raise InputError(f"threshold must lie in [0, 1], but is {threshold}.")
    warped = np.empty(truth.shape, dtype=bool)
    mismatches = np.zeros(truth.shape, dtype=np.uint8)
    for z in range(truth.shape[0]):
        _warp_section(values[z], truth[z], threshold, warped[z], mismatches[z])
    section_errors = np.count_nonzero(mismatches, axis=(1, 2)) / truth[0].size
    return WarpingResult(float(section_errors.mean()), section_errors, warped, mismatches)


def warping_sweep(
    boundaries: npt.ArrayLike,
    interior: npt.NDArray[np.bool_],
    thresholds: Sequence[float] = THRESHOLDS,
) -> WarpingSweep:
    """Compute the warping error of a boundary map at several thresholds.

    The smallest of them is chosen with the truth at hand: print it as *oracle threshold*.

    Args:
        boundaries: (z, y, x) or (y, x), numbers in [0, 1], 1 = boundary.
        interior: same shape, bool, the truth.
        thresholds: at least one, each in [0, 1].

    Raises:
        InputError: as `warping_error`, or no threshold is given.
    """
    if not len(thresholds):
        raise InputError("thresholds must name at least one threshold, but is empty.")
    best = warping_error(boundaries, interior, thresholds[0])
    results = [(best.error, best.split_merge_error)]
    for threshold in thresholds[1:]:
        result = warping_error(boundaries, interior, threshold)
        results.append((result.error, result.split_merge_error))
        if result.error < best.error:
            best = result
    errors, split_merge_errors = np.array(results).T
    return WarpingSweep(np.array(thresholds, np.float64), errors, split_merge_errors, best)


def segmentation_warping_error(
    segmentation: npt.ArrayLike, labels: npt.ArrayLike, *, widen_vox: int = 0
) -> WarpingResult:
    """Compute the warping error between the section-wise interiors of two label volumes.

    Both interiors are those of `interior_mask`: membrane one pixel wide on the side of larger y
    or x where labels touch. The proposal is binary, so the order of flips is column-major.

    Flips mend mismatches only, so a membrane cannot cross pixels that agree: a border shifted by
    more than the width of its membrane, 1 + 2 `widen_vox`, stays a mismatch.

    Args:
        segmentation: (z, y, x) or (y, x), any integer dtype, the proposal; 0 = membrane.
        labels: same shape, any integer dtype, the truth; 0 = membrane.
        widen_vox: pixels by which membranes between touching labels are widened on each side.

    Raises:
        InputError: shapes differ, an array is no label array, or `widen_vox` is negative.
    """
    check_same_shape(np.asarray(segmentation), "segmentation", np.asarray(labels), "labels")
    boundaries = (~interior_mask(segmentation, widen_vox=widen_vox)).astype(np.float32)
    return warping_error(boundaries, interior_mask(labels, widen_vox=widen_vox), 0.5)


def _checked_pair(
    boundaries: npt.ArrayLike, interior: npt.NDArray[np.bool_]
) -> tuple[MapArray, npt.NDArray[np.bool_]]:
    """Check a map and a true interior and return both as (z, y, x)."""
    values = checked_map(boundaries, "boundaries")
    if interior.dtype != np.bool_:
        raise InputError(f"interior must be bool, but its dtype is {interior.dtype}.")
    check_same_shape(values, "boundaries", interior, "interior")
    return as_sections(values, "boundaries"), as_sections(interior, "interior")


def _warp_section(
    boundary: MapArray,
    interior: npt.NDArray[np.bool_],
    threshold: float,
    out_warped: npt.NDArray[np.bool_],
    out_mismatches: npt.NDArray[np.uint8],
) -> None:
    """Warp one section, (y, x), and type its mismatches."""
    source = np.pad(interior, 1).astype(np.uint8)
    cols, rows = np.nonzero((interior != (boundary < threshold)).T)
    keys = np.abs(boundary[rows, cols].astype(np.float64) - threshold).astype(np.float32)
    order = np.argsort(-keys, kind="stable")
    rows, cols = rows[order], cols[order]
    n_left = _relax(SIMPLE_POINTS_4_8, source, rows, cols)
    rows, cols = rows[:n_left], cols[:n_left]
    warped = np.ascontiguousarray(source[1:-1, 1:-1])
    cut = np.zeros(warped.shape, dtype=bool)
    mark_cut_pixels(warped, rows, cols, cut)
    out_warped[...] = warped
    _type_mismatches(components_4(warped), cut, rows, cols, out_mismatches)


@njit(cache=True)
def _relax(simple, out_source, out_rows, out_cols):
    """Flip simple points of a list, pass after pass, until a pass flips none.

    Rows and columns are those of the unpadded section; the source has a frame of one pixel. A
    flip mends its own mismatch and makes no other, so the list only loses members and keeps its
    order. Returns how many are left, at the front of the lists.
    """
    n_left = out_rows.size
    while True:
        n_kept = 0
        for i in range(n_left):
            y = out_rows[i] + 1
            x = out_cols[i] + 1
            if simple[neighbour_code(out_source, y, x)]:
                out_source[y, x] = 1 - out_source[y, x]
            else:
                out_rows[n_kept] = out_rows[i]
                out_cols[n_kept] = out_cols[i]
                n_kept += 1
        if n_kept == n_left:
            return n_left
        n_left = n_kept


@njit(cache=True)
def _type_mismatches(components, cut, rows, cols, out_types):
    """Type each listed pixel by the components around it; see `warping_error`."""
    n_y, n_x = components.shape
    for i in range(rows.size):
        y, x = rows[i], cols[i]
        has_membrane = False
        one_object = 0
        several = False
        for v in range(max(y - 1, 0), min(y + 2, n_y)):
            for u in range(max(x - 1, 0), min(x + 2, n_x)):
                if v == y and u == x:
                    continue
                component = components[v, u]
                if component == 0:
                    has_membrane = True
                elif one_object == 0:
                    one_object = component
                elif component != one_object:
                    several = True
        if components[y, x] == 0:
            if several:
                kind = Mismatch.MERGE
            elif one_object == 0:
                kind = Mismatch.OBJECT_ADDITION
            elif has_membrane:
                kind = Mismatch.HOLE_ADDITION
            else:
                kind = Mismatch.HOLE_DELETION
        elif several:
            kind = Mismatch.SPLIT
        elif one_object == 0:
            kind = Mismatch.OBJECT_DELETION
        elif not has_membrane:
            kind = Mismatch.HOLE_ADDITION
        elif cut[y, x]:
            kind = Mismatch.SPLIT
        else:
            kind = Mismatch.HOLE_DELETION
        out_types[y, x] = kind
