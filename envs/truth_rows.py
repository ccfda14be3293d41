"""Contingency rows of regions against the truth, kept while regions merge.

A region's row holds how many of its voxels carry each truth label (truth 0 is dropped). Rows are
sparse; joining two costs the shorter one. From two rows follow the exact changes of variation of
information and Rand index that merging their regions makes (Jain et al. 2011, reward of the
agglomeration process; DESIGN of this project: undiscounted rewards telescope to the error).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.contingency import Contingency, contingency_table
from analysis.input_error import InputError

MAX_EXACT_VOXELS = 2**40
"""Up to this many voxels with truth, sums of pairs are exact in the two words kept of them."""

_HASH = np.int64(-7046029254386353131)
_WORD_BITS = 20
_WORD_MASK = 2**_WORD_BITS - 1


class TruthRows(NamedTuple):
    """Rows as linked lists of entries, with a hash table from (row, label) to entry.

    Attributes:
        head: (R,) int32, first entry of a row, −1 = empty.
        follow: (K,) int32, next entry of the same row, −1 = last.
        owner: (K,) int32, row of an entry.
        label: (K,) int32, dense truth label of an entry.
        count: (K,) int64, voxels.
        length: (R,) int32, entries of a row.
        total: (R,) int64, voxels of a row.
        row_of: (R,) int32, row that belongs to a region.
        slots: (power of two,) int32, entry in a slot, −1 = free.
        n_voxels: (1,) int64, voxels with truth.
    """

    head: npt.NDArray[np.int32]
    follow: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]
    label: npt.NDArray[np.int32]
    count: npt.NDArray[np.int64]
    length: npt.NDArray[np.int32]
    total: npt.NDArray[np.int64]
    row_of: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int32]
    n_voxels: npt.NDArray[np.int64]


class TruthTable(NamedTuple):
    """The sparse contingency table of a region graph, before any merge.

    Attributes:
        rows: (K,) int32 region index, ascending.
        labels: (K,) int32 dense truth label.
        counts: (K,) int64 voxels.
    """

    rows: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]


NO_TRUTH = TruthTable(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))
"""What an episode without ground truth plays on: every reward is 0."""


def truth_table(
    ids: npt.NDArray[np.uint64], superpixels: npt.NDArray, labels: npt.NDArray
) -> TruthTable:
    """Count the voxels of every region by truth label.

    Args:
        ids: (R,) uint64 superpixel ids of a region graph, ascending.
        superpixels: (z, y, x) integer, 0 = none.
        labels: (z, y, x) integer truth, 0 = dropped.

    Raises:
        InputError: where shapes differ, the truth is 0 everywhere, or superpixels hold other ids.
    """
    table = contingency_table(superpixels, labels, ignore_segmentation_zero=True)
    if table.n_voxels == 0:
        raise InputError(f"labels of shape {labels.shape} are 0 wherever there are superpixels")
    return index_table(ids, table)


def index_table(ids: npt.NDArray[np.uint64], table: Contingency) -> TruthTable:
    """Name the segments of a contingency table by their place among the ids of a graph.

    Args:
        ids: (R,) uint64 superpixel ids of a region graph, ascending.
        table: counts of superpixels by truth label, neither of them 0.

    Raises:
        InputError: where the table holds other ids.
    """
    if not np.isin(table.segments, ids).all():
        raise InputError(f"superpixels hold ids that are not among the {len(ids)} of the graph")
    index = np.searchsorted(ids, table.segments).astype(np.int32)
    return TruthTable(index[table.rows], table.cols.astype(np.int32), table.counts.copy())


def start_rows(table: TruthTable, n_regions: int) -> TruthRows:
    """Lay out the rows of unmerged regions for the kernels."""
    n_entries = len(table.rows)
    capacity = 16
    while capacity < 2 * n_entries:
        capacity *= 2
    rows = TruthRows(
        head=np.full(n_regions, -1, np.int32),
        follow=np.full(n_entries, -1, np.int32),
        owner=np.array(table.rows, np.int32),
        label=np.array(table.labels, np.int32),
        count=np.array(table.counts, np.int64),
        length=np.zeros(n_regions, np.int32),
        total=np.zeros(n_regions, np.int64),
        row_of=np.arange(n_regions, dtype=np.int32),
        slots=np.full(capacity, -1, np.int32),
        n_voxels=np.array([table.counts.sum()], np.int64),
    )
    _link(rows)
    return rows


@njit(cache=True)
def _home(rows, row, label):
    """Return the slot where a (row, label) pair would like to lie."""
    key = (np.int64(row) << 32) | np.int64(label)
    return ((key * _HASH) >> 24) & (len(rows.slots) - 1)


@njit(cache=True)
def _find(rows, row, label):
    """Return the slot that holds a (row, label) pair, or the free slot where it would go."""
    slot = _home(rows, row, label)
    while True:
        entry = rows.slots[slot]
        if entry < 0 or (rows.owner[entry] == row and rows.label[entry] == label):
            return slot
        slot = (slot + 1) & (len(rows.slots) - 1)


@njit(cache=True)
def _remove(rows, slot):
    """Free a slot and shift back the entries that had to pass it."""
    mask = len(rows.slots) - 1
    hole = slot
    probe = slot
    while True:
        probe = (probe + 1) & mask
        entry = rows.slots[probe]
        if entry < 0:
            break
        home = _home(rows, rows.owner[entry], rows.label[entry])
        if ((probe - home) & mask) >= ((probe - hole) & mask):
            rows.slots[hole] = entry
            hole = probe
    rows.slots[hole] = -1


@njit(cache=True)
def _link(rows):
    """Enter all entries into lists and hash table."""
    for entry in range(len(rows.owner) - 1, -1, -1):
        row = rows.owner[entry]
        rows.follow[entry] = rows.head[row]
        rows.head[row] = entry
        rows.length[row] += 1
        rows.total[row] += rows.count[entry]
        rows.slots[_find(rows, row, rows.label[entry])] = entry


@njit(cache=True)
def _x_log_x(count):
    """Return count · log2(count), 0 at 0."""
    if count <= 0:
        return 0.0
    return count * np.log2(float(count))


@njit(cache=True)
def merge_gains(rows, u, v):
    """Return by how much VI falls (bits) and the Rand index rises if regions u and v merge.

    With rows c_u, c_v, sums a_u, a_v, N voxels and F(c) = c log2 c:
    ΔVI = (2 Σ_k [F(c_uk + c_vk) − F(c_uk) − F(c_vk)] − [F(a_u + a_v) − F(a_u) − F(a_v)]) / N and
    ΔRand = (2 c_u·c_v − a_u a_v) / C(N, 2). Both are 0 where a row is empty.
    """
    i, j = rows.row_of[u], rows.row_of[v]
    a_i, a_j = rows.total[i], rows.total[j]
    if a_i == 0 or a_j == 0:
        return 0.0, 0.0
    if rows.length[i] > rows.length[j]:
        i, j = j, i
    information = 0.0
    pairs = 0.0
    entry = rows.head[i]
    while entry >= 0:
        other = rows.slots[_find(rows, j, rows.label[entry])]
        if other >= 0:
            c_i, c_j = rows.count[entry], rows.count[other]
            information += _x_log_x(c_i + c_j) - _x_log_x(c_i) - _x_log_x(c_j)
            pairs += float(c_i) * float(c_j)
        entry = rows.follow[entry]
    n = float(rows.n_voxels[0])
    joined = _x_log_x(a_i + a_j) - _x_log_x(a_i) - _x_log_x(a_j)
    gain_vi = (2.0 * information - joined) / n
    gain_rand = (2.0 * pairs - float(a_i) * float(a_j)) / (0.5 * n * (n - 1.0))
    return gain_vi, gain_rand


@njit(cache=True)
def join_rows(rows, kept, gone):
    """Add the row of region `gone` to that of region `kept`, at the cost of the shorter row."""
    i, j = rows.row_of[kept], rows.row_of[gone]
    if rows.length[i] < rows.length[j]:
        i, j = j, i
    entry = rows.head[j]
    while entry >= 0:
        follow = rows.follow[entry]
        _remove(rows, _find(rows, j, rows.label[entry]))
        slot = _find(rows, i, rows.label[entry])
        other = rows.slots[slot]
        if other >= 0:
            rows.count[other] += rows.count[entry]
            rows.owner[entry] = -1
        else:
            rows.owner[entry] = i
            rows.slots[slot] = entry
            rows.follow[entry] = rows.head[i]
            rows.head[i] = entry
            rows.length[i] += 1
        entry = follow
    rows.total[i] += rows.total[j]
    rows.total[j] = 0
    rows.length[j] = 0
    rows.head[j] = -1
    rows.row_of[kept] = i
    rows.row_of[gone] = j


@njit(cache=True)
def errors_of_rows(rows):
    """Return VI (bits) and Rand index of the current regions, from scratch."""
    n = float(rows.n_voxels[0])
    if n < 2:
        return 0.0, 1.0
    n_labels = 0
    joint = 0.0
    pairs_joint = 0.0
    for entry in range(len(rows.owner)):
        n_labels = max(n_labels, rows.label[entry] + 1)
        if rows.owner[entry] >= 0:
            joint += _x_log_x(rows.count[entry])
            pairs_joint += float(rows.count[entry]) ** 2
    by_label = np.zeros(n_labels, np.int64)
    for entry in range(len(rows.owner)):
        if rows.owner[entry] >= 0:
            by_label[rows.label[entry]] += rows.count[entry]
    segments = 0.0
    pairs_segment = 0.0
    for row in range(len(rows.total)):
        segments += _x_log_x(rows.total[row])
        pairs_segment += float(rows.total[row]) ** 2
    labels = 0.0
    pairs_label = 0.0
    for k in range(n_labels):
        labels += _x_log_x(by_label[k])
        pairs_label += float(by_label[k]) ** 2
    vi = (segments + labels - 2.0 * joint) / n
    rand = 1.0 - 0.5 * (pairs_segment + pairs_label - 2.0 * pairs_joint) / (0.5 * n * (n - 1.0))
    return vi, rand


@njit(cache=True)
def majority_of(rows, u):
    """Return the label most voxels of region u carry, the lowest of equals; −1 without truth."""
    most, label = np.int64(0), np.int32(-1)
    entry = rows.head[rows.row_of[u]]
    while entry >= 0:
        count = rows.count[entry]
        if count > most or (count == most and rows.label[entry] < label):
            most, label = count, rows.label[entry]
        entry = rows.follow[entry]
    return label


@njit(cache=True)
def carried(high, low):
    """Return two words of a sum, high · 2^20 + low, with the low one in [0, 2^20)."""
    return high + (low >> _WORD_BITS), low & _WORD_MASK


@njit(cache=True)
def float_of(high, low):
    """Return the number that two words stand for."""
    return float(high) * 2.0**_WORD_BITS + float(low)


@njit(cache=True)
def pair_changes(rows, u, v):
    """Return by how much Σ c² and Σ a² grow if regions u and v merge: 2 c_u·c_v and 2 a_u a_v.

    Both are exact up to `MAX_EXACT_VOXELS` voxels: high and low word of the one, then of the other.
    """
    i, j = rows.row_of[u], rows.row_of[v]
    if rows.length[i] > rows.length[j]:
        i, j = j, i
    high, low = np.int64(0), np.int64(0)
    entry = rows.head[i]
    while entry >= 0:
        other = rows.slots[_find(rows, j, rows.label[entry])]
        if other >= 0:
            c_i, c_j = rows.count[entry], rows.count[other]
            high += c_i * (c_j >> _WORD_BITS)
            low += c_i * (c_j & _WORD_MASK)
        entry = rows.follow[entry]
    a_i, a_j = rows.total[i], rows.total[j]
    joint_high, joint_low = carried(2 * high, 2 * low)
    segment_high, segment_low = carried(2 * a_i * (a_j >> _WORD_BITS), 2 * a_i * (a_j & _WORD_MASK))
    return joint_high, joint_low, segment_high, segment_low


@njit(cache=True)
def sum_pairs(rows, out_pairs):
    """Write Σ c², Σ a² and Σ b² of the current regions, from scratch.

    Args:
        rows: with at most `MAX_EXACT_VOXELS` voxels.
        out_pairs: (3, 2) int64, high and low word of each sum.
    """
    out_pairs[:] = 0
    n_labels = 0
    for entry in range(len(rows.owner)):
        n_labels = max(n_labels, rows.label[entry] + 1)
    by_label = np.zeros(n_labels, np.int64)
    for entry in range(len(rows.owner)):
        if rows.owner[entry] >= 0:
            by_label[rows.label[entry]] += rows.count[entry]
            _add_square(out_pairs[0], rows.count[entry])
    for row in range(len(rows.total)):
        _add_square(out_pairs[1], rows.total[row])
    for k in range(n_labels):
        _add_square(out_pairs[2], by_label[k])


@njit(cache=True)
def _add_square(out_words, count):
    """Add count² to a sum in two words; out_words: (2,) int64."""
    out_words[0], out_words[1] = carried(
        out_words[0] + count * (count >> _WORD_BITS), out_words[1] + count * (count & _WORD_MASK)
    )
