"""Contingency tables: how many voxels carry each pair of a segment and a truth label.

The table is all that VI and Rand need. It is sparse, made in one pass over the voxels, and tables
of disjoint blocks add up to the table of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.checked_arrays import check_same_shape, checked_labels
from analysis.input_error import InputError

_FIRST_CAPACITY = 1 << 10
"""Slots of an empty hash table; a power of two."""

_EMPTY = np.uint64(0)
_ONE = np.uint64(1)
_MIX_SEGMENT = np.uint64(0x9E3779B97F4A7C15)
_MIX_LABEL = np.uint64(0xC2B2AE3D27D4EB4F)
_FOLD = np.uint64(32)


@dataclass(frozen=True, slots=True, eq=False)
class Contingency:
    """The sparse table of voxel counts over pairs (segment, truth label).

    Attributes:
        segments: (P,) uint64, ids of the proposal in ascending order.
        labels: (Q,) uint64, ids of the truth in ascending order.
        rows: (K,) int64, index into `segments` of each pair; pairs ascend by (row, column).
        cols: (K,) int64, index into `labels` of each pair.
        counts: (K,) int64, voxels of each pair, at least 1.
    """

    segments: npt.NDArray[np.uint64]
    labels: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.int64]
    cols: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if not self.rows.shape == self.cols.shape == self.counts.shape:
            raise InputError(
                "rows, cols and counts must have one length, but theirs are "
                f"{self.rows.shape}, {self.cols.shape} and {self.counts.shape}."
            )
        if self.counts.size and self.counts.min() < 1:
            raise InputError(f"counts must be positive, but one is {self.counts.min()}.")
        for name, ids, index in (
            ("segments", self.segments, self.rows),
            ("labels", self.labels, self.cols),
        ):
            if np.any(ids[1:] <= ids[:-1]):
                raise InputError(f"{name} must ascend without repetition, but do not.")
            if not np.array_equal(np.unique(index), np.arange(ids.size)):
                raise InputError(f"every one of the {ids.size} {name} must have a count.")
        pairs = self.rows * max(self.labels.size, 1) + self.cols
        if np.any(pairs[1:] <= pairs[:-1]):
            raise InputError("pairs must ascend by (row, column) without repetition, but do not.")

    @classmethod
    def from_pairs(
        cls,
        segments: npt.NDArray[np.uint64],
        labels: npt.NDArray[np.uint64],
        counts: npt.NDArray[np.int64],
    ) -> Contingency:
        """Build a table from pairs in any order, adding up those that occur more than once.

        Args:
            segments: (K,) uint64, segment id of each pair.
            labels: (K,) uint64, truth label of each pair.
            counts: (K,) int64, voxels of each pair, at least 1.
        """
        segment_ids, rows = np.unique(segments, return_inverse=True)
        label_ids, cols = np.unique(labels, return_inverse=True)
        pairs = rows.astype(np.int64) * max(label_ids.size, 1) + cols
        order = np.argsort(pairs, kind="stable")
        pairs = pairs[order]
        starts = np.flatnonzero(np.r_[True, pairs[1:] != pairs[:-1]][: pairs.size])
        sums = np.add.reduceat(counts[order], starts) if starts.size else counts[:0]
        first = order[starts]
        return cls(
            segments=segment_ids.astype(np.uint64),
            labels=label_ids.astype(np.uint64),
            rows=rows[first].astype(np.int64),
            cols=cols[first].astype(np.int64),
            counts=sums.astype(np.int64),
        )

    @property
    def segment_sizes(self) -> npt.NDArray[np.int64]:
        """(P,) int64, counted voxels of each segment."""
        sizes = np.zeros(self.segments.size, dtype=np.int64)
        np.add.at(sizes, self.rows, self.counts)
        return sizes

    @property
    def label_sizes(self) -> npt.NDArray[np.int64]:
        """(Q,) int64, counted voxels of each truth label."""
        sizes = np.zeros(self.labels.size, dtype=np.int64)
        np.add.at(sizes, self.cols, self.counts)
        return sizes

    @property
    def n_voxels(self) -> int:
        """Number of counted voxels."""
        return int(self.counts.sum())


def contingency_table(
    segmentation: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    drop_label_zero: bool = True,
    ignore_segmentation_zero: bool = False,
) -> Contingency:
    """Count the voxels of every pair of a segment and a truth label.

    Args:
        segmentation: any shape, any integer dtype, the proposal.
        labels: same shape, any integer dtype, the truth; 0 = unlabelled.
        drop_label_zero: leave out voxels whose truth label is 0.
        ignore_segmentation_zero: leave out voxels whose segment is 0; else 0 is one segment.

    Returns:
        The table; without a pair where every voxel was left out.

    Raises:
        InputError: shapes differ, or an array is empty, not of integers or negative somewhere.
    """
    counter = ContingencyCounter(
        drop_label_zero=drop_label_zero, ignore_segmentation_zero=ignore_segmentation_zero
    )
    counter.add(segmentation, labels)
    return counter.table()


class ContingencyCounter:
    """Counts the pairs of a volume block by block, in memory for the pairs and not the voxels.

    Args:
        drop_label_zero: leave out voxels whose truth label is 0.
        ignore_segmentation_zero: leave out voxels whose segment is 0; else 0 is one segment.
    """

    def __init__(
        self, *, drop_label_zero: bool = True, ignore_segmentation_zero: bool = False
    ) -> None:
        self._drops = (drop_label_zero, ignore_segmentation_zero)
        self._pairs = np.zeros((_FIRST_CAPACITY, 3), np.uint64)
        self._n_pairs = 0

    def add(self, segmentation: npt.ArrayLike, labels: npt.ArrayLike) -> None:
        """Count the voxels of one more block.

        Args:
            segmentation: any shape, any integer dtype, the proposal.
            labels: same shape, any integer dtype, the truth; 0 = unlabelled.

        Raises:
            InputError: shapes differ, or an array is empty, not of integers or negative somewhere.
        """
        segment_array = checked_labels(segmentation, "segmentation")
        label_array = checked_labels(labels, "labels")
        check_same_shape(segment_array, "segmentation", label_array, "labels")
        self._pairs, self._n_pairs = _count_pairs(
            segment_array.reshape(-1),
            label_array.reshape(-1),
            *self._drops,
            self._n_pairs,
            self._pairs,
        )

    def table(self) -> Contingency:
        """Return the table of all blocks so far; without a pair where every voxel was left out."""
        pairs = self._pairs[self._pairs[:, 2] != _EMPTY]
        return Contingency.from_pairs(pairs[:, 0], pairs[:, 1], pairs[:, 2].astype(np.int64))


def add_tables(first: Contingency, second: Contingency) -> Contingency:
    """Add the tables of two disjoint blocks of one volume."""
    return Contingency.from_pairs(
        np.concatenate([first.segments[first.rows], second.segments[second.rows]]),
        np.concatenate([first.labels[first.cols], second.labels[second.cols]]),
        np.concatenate([first.counts, second.counts]),
    )


@njit(cache=True)
def _slot(segment, label, table):
    """Find the row of a pair, or the free one where it belongs (linear probing)."""
    mask = np.uint64(table.shape[0] - 1)
    mixed = segment * _MIX_SEGMENT ^ label * _MIX_LABEL
    slot = (mixed ^ (mixed >> _FOLD)) & mask
    while table[slot, 2] != _EMPTY and (table[slot, 0] != segment or table[slot, 1] != label):
        slot = (slot + _ONE) & mask
    return slot


@njit(cache=True)
def _count_pairs(segmentation, labels, drop_label_zero, drop_segment_zero, n_pairs, out_table):
    """Count the pairs of two flat arrays in a hash table that doubles when half full.

    Rows of the table are (segment, label, count), so that a look-up touches one cache line.
    Neighbours along x mostly carry the same pair, so a run of equal pairs is looked up once.
    Returns the table, the one given or a larger one, and how many pairs it holds.
    """
    table = out_table
    n = segmentation.size
    start = 0
    while start < n:
        first_segment = segmentation[start]
        first_label = labels[start]
        stop = start + 1
        while stop < n and (segmentation[stop] == first_segment) & (labels[stop] == first_label):
            stop += 1
        run = np.uint64(stop - start)
        start = stop
        if (drop_label_zero and first_label == 0) or (drop_segment_zero and first_segment == 0):
            continue
        segment = np.uint64(first_segment)
        label = np.uint64(first_label)
        slot = _slot(segment, label, table)
        if table[slot, 2] == _EMPTY:
            n_pairs += 1
            if 2 * n_pairs > table.shape[0]:
                table = _doubled(table)
                slot = _slot(segment, label, table)
            table[slot, 0] = segment
            table[slot, 1] = label
        table[slot, 2] += run
    return table, n_pairs


@njit(cache=True)
def _doubled(table):
    """Copy a hash table into one of twice as many rows."""
    larger = np.zeros((2 * table.shape[0], 3), np.uint64)
    for old in range(table.shape[0]):
        if table[old, 2] != _EMPTY:
            larger[_slot(table[old, 0], table[old, 1], larger)] = table[old]
    return larger
