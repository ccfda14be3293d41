"""V-Rand and V-Info with border thinning: how well the regions of a boundary map fit the truth.

Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for
connectomics" (Front. Neuroanat. 2015): both scores are taken section by section, restricted to
the true foreground, after the borders of the proposal are thinned to one pixel (or before).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.checked_arrays import as_sections, check_same_shape, checked_map
from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.segmentation_scores import score_segmentation
from analysis.simple_points import components_4
from analysis.warping_error import THRESHOLDS

THINNED_CONVENTIONS: dict[str, str] = {
    "v_rand_thinned": (
        "2Σp²/(Σs² + Σt²) of 4-connected regions below the threshold, grown until borders are one "
        "pixel wide; true interior only, proposed border pixels one segment each, mean of sections"
    ),
    "v_info_thinned": "2 I(S;T)/(H(S) + H(T)) of the same regions, mean of sections",
    "v_rand": "as v_rand_thinned, but the regions are not grown",
    "v_info": "as v_info_thinned, but the regions are not grown",
}
"""One phrase for each number, to be printed beside it."""


@dataclass(frozen=True, slots=True, eq=False)
class ThinnedScores:
    """V-Rand and V-Info of a boundary map at one or more thresholds, 1 = perfect.

    Attributes:
        thresholds: (T,) float64.
        v_rand: (T,) float64, mean over sections at each threshold.
        v_info: (T,) float64, mean over sections at each threshold.
    """

    thresholds: npt.NDArray[np.float64]
    v_rand: npt.NDArray[np.float64]
    v_info: npt.NDArray[np.float64]

    @property
    def best_v_rand(self) -> float:
        """Largest V-Rand; with more than one threshold, that is at an oracle threshold."""
        return float(self.v_rand.max())

    @property
    def best_v_rand_threshold(self) -> float:
        """The first threshold with the largest V-Rand."""
        return float(self.thresholds[self.v_rand.argmax()])

    @property
    def best_v_info(self) -> float:
        """Largest V-Info; with more than one threshold, that is at an oracle threshold."""
        return float(self.v_info.max())

    @property
    def best_v_info_threshold(self) -> float:
        """The first threshold with the largest V-Info."""
        return float(self.thresholds[self.v_info.argmax()])


def score_thinned(
    boundaries: npt.ArrayLike,
    interior: npt.NDArray[np.bool_],
    thresholds: Sequence[float] = THRESHOLDS,
    *,
    thin_borders: bool = True,
) -> ThinnedScores:
    """Score the regions of a boundary map by V-Rand and V-Info after border thinning.

    Args:
        boundaries: (z, y, x) or (y, x), numbers in [0, 1], 1 = boundary.
        interior: same shape, bool, the true interior; its 4-connected components per section are
            the true segments, the rest is not counted. Sections without interior are left out.
        thresholds: at least one, each in [0, 1]; a region is where the map is below.
        thin_borders: grow the regions until borders are one pixel wide; else take them as they are.

    Raises:
        InputError: the map is not finite or leaves [0, 1], shapes differ, there is no true
            interior, or a threshold is missing or outside [0, 1].
    """
    values = checked_map(boundaries, "boundaries")
    if interior.dtype != np.bool_:
        raise InputError(f"interior must be bool, but its dtype is {interior.dtype}.")
    check_same_shape(values, "boundaries", interior, "interior")
    if not len(thresholds) or min(thresholds) < 0.0 or max(thresholds) > 1.0:
        raise InputError(f"thresholds must be one or more in [0, 1], but are {list(thresholds)}.")
    if not interior.any():
        raise InputError("labels have no interior: every voxel is membrane.")
    maps = as_sections(values, "boundaries")
    truth = [components_4(section) for section in as_sections(interior, "interior")]
    counted = [z for z, labels in enumerate(truth) if labels.any()]
    scores = np.empty((len(thresholds), len(counted), 2))
    for i, threshold in enumerate(thresholds):
        for j, z in enumerate(counted):
            called = maps[z] < threshold
            regions = grown_regions(called) if thin_borders else components_4(called)
            table = contingency_table(regions, truth[z])
            section = score_segmentation(table, zero_is_singletons=True)
            scores[i, j] = section.v_rand, section.v_info
    v_rand, v_info = scores.mean(axis=1).T
    return ThinnedScores(np.array(thresholds, dtype=np.float64), v_rand, v_info)


def grown_regions(interior: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Label the regions of a section and grow them until their borders are one pixel wide.

    Border pixels join in the order of their (4-connected) distance from a region, of equals in
    raster order, unless two regions already touch them.

    Args:
        interior: (y, x) bool.

    Returns:
        (y, x) int32, regions from 1, 0 on the borders that are left.
    """
    regions = components_4(interior)
    _grow(regions)
    return regions


@njit(cache=True)
def _grow(out_regions):
    """Grow regions into 0, breadth first; see `grown_regions`."""
    n_y, n_x = out_regions.shape
    queue = np.empty(out_regions.size, np.int64)
    waiting = np.zeros(out_regions.shape, np.bool_)
    head = 0
    tail = 0
    for y in range(n_y):
        for x in range(n_x):
            if out_regions[y, x] == 0 and _touching_region(out_regions, y, x) != 0:
                queue[tail] = y * n_x + x
                waiting[y, x] = True
                tail += 1
    while head < tail:
        y, x = divmod(queue[head], n_x)
        head += 1
        region = _touching_region(out_regions, y, x)
        if region < 0:
            continue
        out_regions[y, x] = region
        for step in range(4):
            v = y + (step == 0) - (step == 1)
            u = x + (step == 2) - (step == 3)
            if 0 <= v < n_y and 0 <= u < n_x and out_regions[v, u] == 0 and not waiting[v, u]:
                queue[tail] = v * n_x + u
                waiting[v, u] = True
                tail += 1


@njit(cache=True)
def _touching_region(regions, y, x):
    """Return the one region among the 4 neighbours, 0 for none, −1 for several."""
    n_y, n_x = regions.shape
    found = 0
    for step in range(4):
        v = y + (step == 0) - (step == 1)
        u = x + (step == 2) - (step == 3)
        if 0 <= v < n_y and 0 <= u < n_x and regions[v, u] != 0:
            if found == 0:
                found = regions[v, u]
            elif found != regions[v, u]:
                return -1
    return found
