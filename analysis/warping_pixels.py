"""The challenge's types of single pixels that a warp of a section has left wrong (ISBI 2012)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.cut_pixels import mark_cut_pixels
from analysis.simple_points import components_4
from analysis.warping_types import Mismatch


def type_pixels(
    warped: npt.NDArray[np.bool_],
    left: npt.NDArray[np.bool_],
    out_mismatches: npt.NDArray[np.uint8],
) -> None:
    """Type every remaining mismatch of a section by the objects around it; see `warping_error`.

    Args:
        warped: (y, x) bool, interior, foreground 4, background 8.
        left: (y, x) bool, where the proposal differs.
        out_mismatches: (y, x) uint8, `Mismatch`; written where `left`.
    """
    rows, cols = np.nonzero(left)
    section = np.ascontiguousarray(warped).view(np.uint8)
    cut = np.zeros(warped.shape, dtype=bool)
    mark_cut_pixels(section, rows, cols, cut)
    _type_each(components_4(section), cut, rows, cols, out_mismatches)


@njit(cache=True)
def _type_each(components, cut, rows, cols, out_types):
    """Type each listed pixel."""
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
