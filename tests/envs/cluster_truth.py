"""What is true of clusters of superpixels, counted anew: the specification of contingency rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from envs.truth_rows import TruthTable


def counts_of_cluster(truth: TruthTable, members: set[int]) -> npt.NDArray[np.int64]:
    """Count the voxels of a cluster by label."""
    counts = np.zeros(truth.labels.max() + 1, np.int64)
    is_inside = np.isin(truth.rows, list(members))
    np.add.at(counts, truth.labels[is_inside], truth.counts[is_inside])
    return counts


def majority_of_cluster(truth: TruthTable, members: set[int]) -> int:
    """Return the label most voxels carry, the lowest of equals; −1 without truth."""
    counts = counts_of_cluster(truth, members)
    return int(counts.argmax()) if counts.any() else -1


def gains_of_clusters(truth: TruthTable, first: set[int], second: set[int]) -> tuple[float, float]:
    """Compute the gains of merging two clusters from the counts of their superpixels."""
    counts = np.stack([counts_of_cluster(truth, members) for members in (first, second)])

    def x_log_x(values: npt.NDArray[np.int64]) -> float:
        return float(sum(value * np.log2(value) for value in values if value > 0))

    def rise(parts: npt.NDArray[np.int64]) -> float:
        return x_log_x(parts.sum(0)) - x_log_x(parts[0]) - x_log_x(parts[1])

    n = int(truth.counts.sum())
    pairs = 2 * int(counts[0] @ counts[1]) - int(counts[0].sum() * counts[1].sum())
    return (2 * rise(counts) - rise(counts.sum(1, keepdims=True))) / n, pairs / (n * (n - 1) / 2)
