"""Merge trees of any method, held against the truth, and the threshold that is best for several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

from agglo.training.threshold import best_threshold
from envs.mean_linkage import mean_linkage
from envs.rollout import Episode
from envs.truth_rows import TruthTable, errors_of_rows, join_rows, merge_gains, start_rows

Merges = tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]
"""Merges (M, 2) int32 of the smallest members u < v, and heights (M,) float64, never increasing."""


def average_linkage(
    edges: npt.NDArray[np.int32],
    boundary: npt.NDArray[np.float64],
    areas: npt.NDArray[np.int64],
    n_regions: int,
    *,
    threshold: float,
) -> Merges:
    """Merge by the mean evidence of a boundary over the faces of contacts, least first.

    Args:
        edges: (E, 2) int32, pairs u < v of regions.
        boundary: (E,) float64 in [0, 1], evidence of a boundary at each.
        areas: (E,) int64, faces of each.
        n_regions: R.
        threshold: height, 1 less the mean evidence, down to which is merged.
    """
    return mean_linkage(edges, areas * (1 - boundary), areas, n_regions, threshold=threshold)


def replayed(merges: Merges, truth: TruthTable, n_regions: int) -> Episode:
    """Return merges as an episode: what each gained, and the errors at start and end."""
    pairs, heights = merges
    rows = start_rows(truth, n_regions)
    gains, errors = np.zeros((len(pairs), 2)), np.zeros((2, 2))
    errors[0] = errors_of_rows(rows)
    _replay(np.ascontiguousarray(pairs, np.int32), rows, gains)
    errors[1] = errors_of_rows(rows)
    return Episode(
        pairs,
        heights,
        gains[:, 0].copy(),
        gains[:, 1].copy(),
        np.empty((0, 0), np.float32),
        np.empty((0, 2)),
        errors[:, 0].copy(),
        errors[:, 1].copy(),
        0,
        int(rows.n_voxels[0]),
    )


def chosen_threshold(trees: Sequence[Merges], truths: Sequence[tuple[TruthTable, int]]) -> float:
    """Return the threshold with the least mean VI over trees.

    Args:
        trees: grown to the end.
        truths: table of each, and its number of regions.
    """
    return best_threshold(
        [replayed(tree, *truth) for tree, truth in zip(trees, truths, strict=True)]
    )[0]


@njit(cache=True)
def _replay(merges, rows, out_gains):
    """Join rows merge by merge and write the gains of each: VI in bits, Rand index."""
    for k in range(len(merges)):
        u, v = merges[k, 0], merges[k, 1]
        out_gains[k, 0], out_gains[k, 1] = merge_gains(rows, u, v)
        join_rows(rows, u, v)
