"""Scores of a segmentation against truth labels, from their contingency table.

With counts c[i, k] of segment i and truth label k, row sums a[i], column sums b[k] and N voxels.
Sums are rounded once (`math.fsum`), so scores do not depend on the order of the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

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
    "v_rand": "2Σc²/(Σa² + Σb²) = 1 - adapted_rand_error, whole volume, borders not thinned",
    "v_info": "2 I(S;T)/(H(S) + H(T)), whole volume, borders not thinned",
    "n_segments": "segments with a counted voxel, segment 0 one of them unless said otherwise",
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
        v_rand: 2Σc²/(Σa² + Σb²), 1 = perfect.
        v_info: mutual information over the mean entropy, 1 = perfect.
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
    v_rand: float
    v_info: float
    n_segments: int
    n_labels: int


@dataclass(frozen=True, slots=True, eq=False)
class SegmentCosts:
    """The share of each truth label in VI split, and of each segment in VI merge.

    Attributes:
        labels: (Q,) uint64, truth labels, ascending.
        split_bits: (Q,) float64, bits lost by splitting each label; they sum to `vi_split`.
        n_pieces: (Q,) int64, segments that share a voxel with each label.
        segments: (P,) uint64, segments, ascending.
        merge_bits: (P,) float64, bits lost by what each segment merges; they sum to `vi_merge`.
        n_merged: (P,) int64, labels that share a voxel with each segment.
    """

    labels: npt.NDArray[np.uint64]
    split_bits: npt.NDArray[np.float64]
    n_pieces: npt.NDArray[np.int64]
    segments: npt.NDArray[np.uint64]
    merge_bits: npt.NDArray[np.float64]
    n_merged: npt.NDArray[np.int64]


def score_segmentation(
    table: Contingency, *, zero_is_singletons: bool = False
) -> SegmentationScores:
    """Score a segmentation by VI (Meilă 2007), Rand index, adapted Rand error, V-Rand and V-Info.

    The adapted Rand error, V-Rand and V-Info (α = 1/2) are those of Arganda-Carreras et al.
    (Front. Neuroanat. 2015) with N² normalisation. scikit-image leaves out the N pairs of a voxel
    with itself, and so differs from it in about the (N / Σb²)-th part.

    Args:
        table: voxels of every pair of a segment and a truth label.
        zero_is_singletons: every voxel of segment 0 is a segment by itself, as SNEMI3D and CREMI
            count them; `n_segments` leaves those out. Else 0 is a segment like any other.

    Raises:
        InputError: no voxel was counted.
    """
    pieces = _Pieces.of(table, zero_is_singletons)
    split_bits, merge_bits = pieces.bits()
    vi_split, vi_merge = fsum(split_bits), fsum(merge_bits)
    n = float(pieces.n_voxels)
    counts = table.counts.astype(np.float64)
    both = fsum(counts * pieces.sizes)
    proposed = fsum(counts * pieces.segment_sizes)
    true = fsum(counts * pieces.label_sizes)
    segment_bits = fsum(counts / n * np.log2(n / pieces.segment_sizes))
    label_bits = fsum(counts / n * np.log2(n / pieces.label_sizes))
    all_bits = segment_bits + label_bits
    v_rand = 2.0 * both / (proposed + true)
    return SegmentationScores(
        vi_split=vi_split,
        vi_merge=vi_merge,
        vi=vi_split + vi_merge,
        adapted_rand_error=1.0 - v_rand,
        rand_precision=both / proposed,
        rand_recall=both / true,
        rand_index=1.0 - (proposed + true - 2.0 * both) / (n * (n - 1.0)) if n > 1 else 1.0,
        v_rand=v_rand,
        v_info=max(2.0 * (label_bits - vi_merge) / all_bits, 0.0) if all_bits > 0 else 1.0,
        n_segments=int(table.segments.size - (zero_is_singletons and 0 in table.segments)),
        n_labels=int(np.count_nonzero(table.labels)),
    )


def segment_costs(table: Contingency, *, zero_is_singletons: bool = False) -> SegmentCosts:
    """Say what each truth label adds to VI split and each segment to VI merge.

    Args:
        table: voxels of every pair of a segment and a truth label.
        zero_is_singletons: as for `score_segmentation`; segment 0 then merges nothing, and each
            of its voxels is a piece of its label.

    Raises:
        InputError: no voxel was counted.
    """
    pieces = _Pieces.of(table, zero_is_singletons)
    split_bits, merge_bits = pieces.bits()
    by_label, by_segment = np.zeros(table.labels.size), np.zeros(table.segments.size)
    np.add.at(by_label, table.cols, split_bits)
    np.add.at(by_segment, table.rows, merge_bits)
    n_pieces = np.zeros(table.labels.size, dtype=np.int64)
    n_merged = np.bincount(table.rows, minlength=table.segments.size)
    np.add.at(n_pieces, table.cols, np.where(pieces.is_single, table.counts, 1))
    if zero_is_singletons:
        n_merged[table.segments == 0] = 1
    return SegmentCosts(
        labels=table.labels,
        split_bits=by_label,
        n_pieces=n_pieces,
        segments=table.segments,
        merge_bits=by_segment,
        n_merged=n_merged,
    )


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


def floor_scores(table: Contingency, *, zero_is_singletons: bool = False) -> SegmentationScores:
    """Score the segmentation in which every superpixel is given to its majority label.

    What merging alone can reach with these superpixels, adjacency left aside. It is no strict
    bound: VI is sure not to rise where every majority is at least half of its superpixel.

    Args:
        table: voxels of every pair of a superpixel and a truth label.
        zero_is_singletons: every voxel of superpixel 0 is given to its own label.

    Raises:
        InputError: no voxel was counted.
    """
    _, majority = majority_assignment(table)
    assigned = majority[table.rows]
    if zero_is_singletons:
        is_zero = table.segments[table.rows] == 0
        assigned[is_zero] = table.labels[table.cols[is_zero]]
    return score_segmentation(
        Contingency.from_pairs(assigned, table.labels[table.cols], table.counts)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """What the voxels of each pair are in: a piece, its segment and its label.

    Attributes:
        counts: (K,) int64, voxels of each pair.
        is_single: (K,) bool, each voxel of the pair is a segment by itself.
        sizes: (K,) int64, voxels that segment and label share.
        segment_sizes: (K,) int64, voxels of the segment.
        label_sizes: (K,) int64, voxels of the label.
        n_voxels: voxels in all.
    """

    counts: npt.NDArray[np.int64]
    is_single: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int64]
    segment_sizes: npt.NDArray[np.int64]
    label_sizes: npt.NDArray[np.int64]
    n_voxels: int

    @classmethod
    def of(cls, table: Contingency, zero_is_singletons: bool) -> _Pieces:
        """Look the sizes up for every pair."""
        if table.n_voxels == 0:
            raise InputError("labels have no voxel to score: every one is 0 or ignored.")
        is_single = (table.segments[table.rows] == 0) & zero_is_singletons
        return cls(
            counts=table.counts,
            is_single=is_single,
            sizes=np.where(is_single, 1, table.counts),
            segment_sizes=np.where(is_single, 1, table.segment_sizes[table.rows]),
            label_sizes=table.label_sizes[table.cols],
            n_voxels=table.n_voxels,
        )

    def bits(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Compute what each pair adds to VI split and to VI merge, (K,) float64 each."""
        share = self.counts / self.n_voxels
        split_bits = share * np.log2(self.label_sizes / self.sizes)
        merge_bits = share * np.log2(self.segment_sizes / self.sizes)
        return split_bits, merge_bits
