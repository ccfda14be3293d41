"""Scores of a segmentation against truth labels, from their contingency table.

With counts c[i, k] of segment i and truth label k, row sums a[i], column sums b[k] and N voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.contingency import Contingency
from analysis.input_error import InputError

CONVENTIONS: dict[str, str] = {
    "vi_split": "H(segmentation | truth) in bits, voxels with truth 0 dropped",
    "vi_merge": "H(truth | segmentation) in bits, voxels with truth 0 dropped",
    "vi": "vi_split + vi_merge in bits",
    "adapted_rand_error": "1 - 2PR/(P+R), pairs of voxels counted N² (a voxel pairs with itself)",
    "rand_precision": "P = Σc²/Σa²: pairs joined by the segmentation that the truth joins",
    "rand_recall": "R = Σc²/Σb²: pairs joined by the truth that the segmentation joins",
    "rand_index": "share of the N(N-1)/2 pairs of voxels that both join or both part",
    "n_segments": "segments with a counted voxel, segment 0 one of them unless ignored",
    "n_labels": "truth labels other than 0 with a counted voxel",
    "floor_vi": "vi after every superpixel is given to its majority label (ties: smallest)",
    "superpixel_vi": "vi of the superpixels themselves",
}
"""One phrase for each number, to be printed beside it."""


@dataclass(frozen=True, slots=True)
class SegmentationScores:
    """What a segmentation scores against the truth; `CONVENTIONS` says how each is counted.

    Attributes:
        vi_split: H(segmentation | truth), bits: what splits cost.
        vi_merge: H(truth | segmentation), bits: what mergers cost.
        vi: variation of information, bits, their sum.
        adapted_rand_error: 1 − 2PR/(P+R).
        rand_precision: P.
        rand_recall: R.
        rand_index: share of voxel pairs on which both agree.
        n_segments: segments counted.
        n_labels: truth labels counted.
    """

    vi_split: float
    vi_merge: float
    vi: float
    adapted_rand_error: float
    rand_precision: float
    rand_recall: float
    rand_index: float
    n_segments: int
    n_labels: int


@dataclass(frozen=True, slots=True, eq=False)
class SegmentCosts:
    """The share of each truth label in VI split, and of each segment in VI merge.

    Attributes:
        labels: (Q,) uint64, truth labels, ascending.
        split_bits: (Q,) float64, bits lost by splitting each label; they sum to `vi_split`.
        segments: (P,) uint64, segments, ascending.
        merge_bits: (P,) float64, bits lost by what each segment merges; they sum to `vi_merge`.
    """

    labels: npt.NDArray[np.uint64]
    split_bits: npt.NDArray[np.float64]
    segments: npt.NDArray[np.uint64]
    merge_bits: npt.NDArray[np.float64]


def score_segmentation(table: Contingency) -> SegmentationScores:
    """Score a segmentation by VI (Meilă 2007), adapted Rand error and Rand index.

    The adapted Rand error is that of Arganda-Carreras et al. (Front. Neuroanat. 2015) with N²
    normalisation. scikit-image leaves out the N pairs of a voxel with itself, and so differs from
    it in about the (N / Σb²)-th part.

    Raises:
        InputError: no voxel was counted.
    """
    split_bits, merge_bits = _pair_bits(table)
    counts = table.counts.astype(np.float64)
    segment_sizes = table.segment_sizes.astype(np.float64)
    label_sizes = table.label_sizes.astype(np.float64)
    both = float(counts @ counts)
    proposed = float(segment_sizes @ segment_sizes)
    true = float(label_sizes @ label_sizes)
    n = float(table.n_voxels)
    vi_split, vi_merge = float(split_bits.sum()), float(merge_bits.sum())
    return SegmentationScores(
        vi_split=vi_split,
        vi_merge=vi_merge,
        vi=vi_split + vi_merge,
        adapted_rand_error=1.0 - 2.0 * both / (proposed + true),
        rand_precision=both / proposed,
        rand_recall=both / true,
        rand_index=1.0 - (proposed + true - 2.0 * both) / (n * (n - 1.0)) if n > 1 else 1.0,
        n_segments=int(table.segments.size),
        n_labels=int(np.count_nonzero(table.labels)),
    )


def segment_costs(table: Contingency) -> SegmentCosts:
    """Say what each truth label adds to VI split and each segment to VI merge.

    Raises:
        InputError: no voxel was counted.
    """
    split_bits, merge_bits = _pair_bits(table)
    by_label = np.zeros(table.labels.size)
    by_segment = np.zeros(table.segments.size)
    np.add.at(by_label, table.cols, split_bits)
    np.add.at(by_segment, table.rows, merge_bits)
    return SegmentCosts(table.labels, by_label, table.segments, by_segment)


def majority_assignment(
    table: Contingency,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Give every segment to the truth label that most of its voxels carry.

    Returns:
        segments: (P,) uint64, as in the table.
        labels: (P,) uint64, the majority label of each; of equals the smallest.
    """
    order = np.lexsort((table.cols, -table.counts, table.rows))
    first = np.searchsorted(table.rows[order], np.arange(table.segments.size))
    return table.segments, table.labels[table.cols[order[first]]]


def floor_scores(table: Contingency) -> SegmentationScores:
    """Score the segmentation in which every superpixel is given to its majority label.

    What merging alone can reach with these superpixels, adjacency left aside. It is no strict
    bound: VI is sure not to rise where every majority is at least half of its superpixel.

    Raises:
        InputError: no voxel was counted.
    """
    _, majority = majority_assignment(table)
    merged = Contingency.from_pairs(majority[table.rows], table.labels[table.cols], table.counts)
    return score_segmentation(merged)


def _pair_bits(
    table: Contingency,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute what each pair adds to VI split and to VI merge, (K,) float64 each."""
    if table.n_voxels == 0:
        raise InputError("labels have no voxel to score: every one is 0 or ignored.")
    share = table.counts / table.n_voxels
    split_bits = share * np.log2(table.label_sizes[table.cols] / table.counts)
    merge_bits = share * np.log2(table.segment_sizes[table.rows] / table.counts)
    return split_bits, merge_bits
