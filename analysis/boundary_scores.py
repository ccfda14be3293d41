"""Voxel scores of a boundary map against a binary membrane.

A voxel is called membrane at threshold θ where the map is at least θ. Membrane is the positive
class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.checked_arrays import check_same_shape, checked_map
from analysis.input_error import InputError

BOUNDARY_CONVENTIONS: dict[str, str] = {
    "auc": "area under the ROC curve of membrane voxels, trapezoids, ties averaged",
    "average_precision": "Σ (R_n − R_n−1) P_n over the distinct values of the map",
    "best_f": "largest 2PR/(P+R) of membrane voxels over all thresholds (oracle threshold)",
    "best_f_threshold": "the threshold of best_f: membrane where the map is at least that",
    "membrane_fraction": "share of the voxels that are membrane: the precision of a blind map",
}
"""One phrase for each number, to be printed beside it."""

PIXEL_ERROR_CONVENTION = "voxels on the wrong side of the threshold / voxels"
"""The same for `pixel_errors`."""

_CURVE_STEPS = 1000
"""Steps in recall at which the curve is kept."""

_ONE = np.uint64(1)


@dataclass(frozen=True, slots=True, eq=False)
class BoundaryScores:
    """What a boundary map scores voxel by voxel; `BOUNDARY_CONVENTIONS` says how each is counted.

    Attributes:
        auc: area under the ROC curve.
        average_precision: area under the precision–recall steps.
        best_f: largest F over all thresholds.
        best_f_threshold: the threshold that reaches it, the highest of equals.
        membrane_fraction: share of membrane in the truth.
        thresholds: (M,) float64, falling; points of the curve, at most 1,001.
        precision: (M,) float64, at each threshold.
        recall: (M,) float64, at each threshold, rising to 1.
    """

    auc: float
    average_precision: float
    best_f: float
    best_f_threshold: float
    membrane_fraction: float
    thresholds: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def score_boundaries(boundaries: npt.ArrayLike, membrane: npt.NDArray[np.bool_]) -> BoundaryScores:
    """Score a boundary map by ROC area, average precision and best F.

    A map with two values only is scored like any other: its curve has two points.

    Args:
        boundaries: any shape, numbers in [0, 1], 1 = boundary.
        membrane: same shape, bool, the truth.

    Raises:
        InputError: the map is not finite or leaves [0, 1], shapes differ, or the truth is all
            membrane or all interior.
    """
    values = checked_map(boundaries, "boundaries")
    check_same_shape(values, "boundaries", membrane, "membrane")
    n_membrane = _count_membrane(membrane)
    # Bits of floats that are not negative sort like the floats; + 0 turns −0 into 0.
    bits = np.dtype(np.uint32 if values.dtype == np.float32 else np.uint64)
    keys = (values + values.dtype.type(0)).view(bits).reshape(-1) << bits.type(1)
    keys |= membrane.reshape(-1)
    keys.sort()
    curve = np.empty((_CURVE_STEPS + 1, 3), dtype=np.uint64)
    auc, average_precision, best_f, best_bits, n_points = _sweep(keys, n_membrane, curve)
    hits = curve[:n_points, 1].astype(np.float64)
    misses = curve[:n_points, 2].astype(np.float64)
    return BoundaryScores(
        auc=auc,
        average_precision=average_precision,
        best_f=best_f,
        best_f_threshold=float(bits.type(best_bits).view(values.dtype)),
        membrane_fraction=n_membrane / membrane.size,
        thresholds=curve[:n_points, 0].astype(bits).view(values.dtype).astype(np.float64),
        precision=hits / (hits + misses),
        recall=hits / n_membrane,
    )


def precision_recall_at(
    boundaries: npt.ArrayLike, membrane: npt.NDArray[np.bool_], thresholds: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute precision and recall of membrane voxels at given thresholds.

    Args:
        boundaries: any shape, numbers in [0, 1], 1 = boundary; membrane from the threshold on.
        membrane: same shape, bool, the truth.
        thresholds: T numbers.

    Returns:
        precision: (T,) float64, 1 where no voxel is called membrane.
        recall: (T,) float64.

    Raises:
        InputError: as `score_boundaries`.
    """
    values = checked_map(boundaries, "boundaries")
    check_same_shape(values, "boundaries", membrane, "membrane")
    n_membrane = _count_membrane(membrane)
    on, off = np.sort(values[membrane]), np.sort(values[~membrane])
    n_hits = on.size - np.searchsorted(on, np.asarray(thresholds, values.dtype))
    n_called = n_hits + off.size - np.searchsorted(off, np.asarray(thresholds, values.dtype))
    precision = np.divide(n_hits, n_called, out=np.ones(len(thresholds)), where=n_called > 0)
    return precision, n_hits / n_membrane


def pixel_errors(
    boundaries: npt.ArrayLike, interior: npt.NDArray[np.bool_], thresholds: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Compute the share of voxels on the wrong side of given thresholds.

    Args:
        boundaries: any shape, numbers in [0, 1], 1 = boundary; interior below the threshold.
        interior: same shape, bool, the truth.
        thresholds: T numbers.

    Returns:
        (T,) float64.

    Raises:
        InputError: the map is not finite or leaves [0, 1], or shapes differ.
    """
    values = checked_map(boundaries, "boundaries")
    check_same_shape(values, "boundaries", interior, "interior")
    wrong = [np.count_nonzero((values < threshold) != interior) for threshold in thresholds]
    return np.array(wrong, dtype=np.float64) / interior.size


def _count_membrane(membrane: npt.NDArray[np.bool_]) -> int:
    """Count the membrane of a truth, which must be neither all nor nothing."""
    if membrane.dtype != np.bool_:
        raise InputError(f"membrane must be bool, but its dtype is {membrane.dtype}.")
    n_membrane = int(np.count_nonzero(membrane))
    if n_membrane in (0, membrane.size):
        raise InputError(
            "labels must hold both membrane and interior to score boundaries, but "
            f"{n_membrane} of {membrane.size} voxels are membrane."
        )
    return n_membrane


@njit(cache=True)
def _sweep(keys, n_positive, out_curve):
    """Lower the threshold through sorted keys (bits of the value, then truth in the lowest bit).

    `out_curve` takes (value bits, true positives, false positives) each time recall has grown by
    a step, and at the end.
    """
    n_steps = out_curve.shape[0] - 1
    n_negative = keys.size - n_positive
    true_positives = 0
    false_positives = 0
    area = 0.0
    average_precision = 0.0
    best_f = -1.0
    best_bits = np.uint64(0)
    n_points = 0
    next_step = 1
    i = keys.size - 1
    while i >= 0:
        bits = np.uint64(keys[i]) >> _ONE
        hits = 0
        misses = 0
        while i >= 0 and np.uint64(keys[i]) >> _ONE == bits:
            if np.uint64(keys[i]) & _ONE:
                hits += 1
            else:
                misses += 1
            i -= 1
        area += misses * (true_positives + 0.5 * hits)
        true_positives += hits
        false_positives += misses
        precision = true_positives / (true_positives + false_positives)
        average_precision += hits * precision
        f = 2.0 * true_positives / (true_positives + false_positives + n_positive)
        if f > best_f:
            best_f = f
            best_bits = bits
        if true_positives * n_steps >= next_step * n_positive or i < 0:
            out_curve[n_points, 0] = bits
            out_curve[n_points, 1] = true_positives
            out_curve[n_points, 2] = false_positives
            n_points += 1
            next_step = true_positives * n_steps // n_positive + 1
    return (
        area / (n_positive * n_negative),
        average_precision / n_positive,
        best_f,
        best_bits,
        n_points,
    )
