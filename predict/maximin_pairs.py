"""The maximum spanning forest of affinities and the pairs of voxels that its edges decide.

All triples are z, y, x. Affinities are (3, z, y, x), to the −z, −y and −x neighbour; an edge is
named by its flat index there. The maximin affinity of two voxels is the highest threshold at which
they are still joined, and the edge that decides it lies on the maximum spanning tree (Turaga et
al. 2009, "Maximin affinity learning of image segmentation", NIPS, section 3). All pairs are counted
at once while the tree grows: every component keeps the histogram of its labels, and the edge that
joins two components decides for every pair of voxels with one in each (Funke et al. 2018, "Large
scale image segmentation with structured loss based deep learning for connectome reconstruction",
TPAMI, section 3.2). The shorter histogram moves into the longer one, so time is quasi-linear.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from predict.boundary_targets import require_labels

NOTHING = -1
"""An empty slot, and the end of a list."""

SIZE, N_LABELLED, N_ENTRIES, HEAD = 0, 1, 2, 3
"""Columns of a root: voxels, labelled ones, length of the list of labels, its first entry."""

LABEL, COUNT, NEXT, LIST = 4, 5, 6, 7
"""Columns of an entry: label, voxels of it, the next entry, name of the list it is in."""

ONE_BITS, AFFINITY_BITS = np.uint32(0x3F800000), 30
"""The float 1, and how many bits floats in 0..1 need."""

BATCH = 256
"""So many edges are looked at ahead."""

MAX_EDGES = 2**31 - 1
"""Voxels and edges are counted in 31 bits."""


class MaximinPairs(NamedTuple):
    """The edges of a maximum spanning forest and how many pairs of labelled voxels each decides."""

    edge: npt.NDArray[np.int64]  # (T,), in the order they were joined
    same: npt.NDArray[np.int64]  # (T,), pairs of one label
    other: npt.NDArray[np.int64]  # (T,), pairs of two labels
    is_true: npt.NDArray[np.bool_]  # (T,), the edge lies within one label


def maximin_pairs(
    affinities: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    known: npt.NDArray[np.bool_] | None = None,
    *,
    constrained: bool = True,
) -> MaximinPairs:
    """Grow the maximum spanning forest and count the pairs that each of its edges decides.

    Edges of equal affinity are joined in the order of their flat index, so the result depends on
    nothing but the arguments; sums over equal edges do not depend on that order.

    Args:
        affinities: (3, z, y, x) float in 0..1; taken as float32.
        labels: (z, y, x) integer, 0 is no object.
        known: (3, z, y, x) bool, edges that exist; None takes all.
        constrained: join the true edges, those within a label, before all others.
    """
    affinities = _require_affinities(affinities)
    labels = require_labels(labels)
    _require_fitting(affinities, labels, known)
    dense = _small_labels(labels)
    exists = np.ones(affinities.shape, np.bool_) if known is None else np.asarray(known, np.bool_)
    order = _edge_order(affinities, dense, exists, constrained)
    _, height, width = labels.shape
    n_edges = min(order.size, labels.size - 1)
    edge, same, other = (np.empty(n_edges, np.int64) for _ in range(3))
    table_bits = _table_bits(labels.size)
    steps = (height * width, width, 1)
    flat = dense.ravel()
    parent = np.empty(labels.size, np.int32)
    rows = np.empty((labels.size, 8), np.int32)
    table = np.full(1 << table_bits, NOTHING, np.int32)
    n_joined = _grow_forest(order, flat, steps, table_bits, parent, rows, table, edge, same, other)
    edge = edge[:n_joined]
    axis, voxel = np.divmod(edge, labels.size)
    label = flat[voxel]
    is_true = (label != 0) & (label == flat[voxel - np.array(steps)[axis]])
    return MaximinPairs(edge, same[:n_joined], other[:n_joined], is_true)


def _edge_order(
    affinities: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    known: npt.NDArray[np.bool_],
    true_first: bool,
) -> npt.NDArray[np.uint64]:
    """Return the edges that exist, by falling affinity; true ones first if asked for.

    The bits of floats in 0..1 rise with them, so one sort of integers does it: from the highest,
    the group, the affinity, the index. True edges of different labels have no voxel in common, so
    each label may be joined on its own, while its voxels are in the cache; what bits are left tell
    as many groups of labels apart as they can.
    """
    index_bits = int(affinities.size - 1).bit_length()
    n_groups = 2 ** (64 - AFFINITY_BITS - index_bits)
    keys = np.empty(affinities.size, np.uint64)
    bits = affinities.view(np.uint32)
    n_keys = _edge_keys(bits, labels, known, n_groups - 1 if true_first else 0, index_bits, keys)
    keys = keys[:n_keys]
    keys.sort()
    keys &= np.uint64(2**index_bits - 1)
    return keys


@njit(cache=True)
def _edge_keys(
    bits: npt.NDArray[np.uint32],
    labels: npt.NDArray[np.int32],
    known: npt.NDArray[np.bool_],
    false_group: int,
    index_bits: int,
    out_keys: npt.NDArray[np.uint64],
) -> int:
    """Write the sorting keys of the edges that exist; return how many there are."""
    depth, height, width = labels.shape
    group_shift, shift = np.uint64(AFFINITY_BITS), np.uint64(index_bits)
    n_keys = 0
    edge = np.uint64(0)
    for axis in range(3):
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    z0, y0, x0 = z - (axis == 0), y - (axis == 1), x - (axis == 2)
                    if known[axis, z, y, x] and min(z0, y0, x0) >= 0:
                        label = labels[z, y, x]
                        group = false_group
                        if false_group > 0 and label != 0 and label == labels[z0, y0, x0]:
                            group = label % false_group
                        key = np.uint64(group) << group_shift
                        key |= np.uint64(ONE_BITS - bits[axis, z, y, x])
                        out_keys[n_keys] = key << shift | edge
                        n_keys += 1
                    edge += np.uint64(1)
    return n_keys


def _small_labels(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Return labels of 32 bits, numbered anew if they do not fit; 0 stays 0."""
    if labels.min() >= 0 and labels.max() <= np.iinfo(np.int32).max:
        return np.ascontiguousarray(labels, np.int32)
    _, dense = np.unique(labels, return_inverse=True)
    return np.where(labels == 0, 0, dense.reshape(labels.shape) + 1).astype(np.int32)


def _table_bits(n_voxels: int) -> int:
    """Return the binary logarithm of a table that is at most half full."""
    return max(4, int(2 * n_voxels - 1).bit_length())


@njit(cache=True)
def _grow_forest(
    order: npt.NDArray[np.uint64],
    labels: npt.NDArray[np.int32],
    steps: tuple[int, int, int],
    table_bits: int,
    out_parent: npt.NDArray[np.int32],
    out_rows: npt.NDArray[np.int32],
    out_table: npt.NDArray[np.int32],
    out_edge: npt.NDArray[np.int64],
    out_same: npt.NDArray[np.int64],
    out_other: npt.NDArray[np.int64],
) -> int:
    """Join edges in order; write those that joined two components and return how many they are.

    A histogram is a list of entries (label, count), and an entry is the row of a voxel. A component
    of one label has the row of its root, which is labelled wherever a voxel is. Entries of a
    longer list are found by a hash table whose keys are the list's name and the label.

    Args:
        order: (E,) uint64, flat indices of edges.
        labels: (N,) int32, 0 is no object.
        steps: distance in the flat volume to the neighbour before along z, y and x.
        table_bits: binary logarithm of the size of the table, at least twice N.
        out_parent: (N,) int32. It and the next two are working space, which numpy allocates in
            larger pages than numba does.
        out_rows: (N, 8) int32; a row is half a cache line.
        out_table: (2^table_bits,) int32, all NOTHING.
        out_edge: (T,) int64, see `MaximinPairs` for it and the next two.
        out_same: (T,) int64.
        out_other: (T,) int64.
    """
    n_voxels = labels.size
    for voxel in range(n_voxels):
        is_labelled = np.int32(labels[voxel] != 0)
        out_parent[voxel] = voxel
        out_rows[voxel, N_LABELLED] = out_rows[voxel, N_ENTRIES] = is_labelled
        out_rows[voxel, COUNT] = is_labelled
        out_rows[voxel, HEAD] = out_rows[voxel, LIST] = voxel
        out_rows[voxel, SIZE], out_rows[voxel, LABEL] = 1, labels[voxel]
        out_rows[voxel, NEXT] = NOTHING
    n_joined = 0
    edges, above = np.empty(BATCH, np.int64), np.empty((2, BATCH), np.int32)
    for start in range(0, order.size, BATCH):
        n_edges = _look_ahead(order[start : start + BATCH], steps, out_parent, edges, above)
        for i in range(n_edges):
            a, b = _root(out_parent, above[0, i]), _root(out_parent, above[1, i])
            if a == b:
                continue
            row_a, row_b = out_rows[a], out_rows[b]
            if (row_a[N_ENTRIES], row_a[SIZE]) < (row_b[N_ENTRIES], row_b[SIZE]):
                a, b = b, a
            n_a, n_b = np.int64(out_rows[a, N_LABELLED]), np.int64(out_rows[b, N_LABELLED])
            same = np.int64(0)
            if out_rows[b, N_ENTRIES] > 0:
                if out_rows[a, N_ENTRIES] == 1 and out_rows[a, LABEL] == out_rows[b, LABEL]:
                    same = n_a * n_b
                    out_rows[a, COUNT] += out_rows[b, COUNT]
                else:
                    same = _move_list(out_rows, out_table, table_bits, a, b)
            out_rows[a, SIZE] += out_rows[b, SIZE]
            out_rows[a, N_LABELLED] += out_rows[b, N_LABELLED]
            out_parent[b] = a
            out_edge[n_joined] = edges[i]
            out_same[n_joined] = same
            out_other[n_joined] = n_a * n_b - same
            n_joined += 1
    return n_joined


@njit(cache=True)
def _look_ahead(
    order: npt.NDArray[np.uint64],
    steps: tuple[int, int, int],
    out_parent: npt.NDArray[np.int32],
    out_edges: npt.NDArray[np.int64],
    out_above: npt.NDArray[np.int32],
) -> int:
    """Climb two steps towards the roots for a batch of edges; drop those joined already.

    The reads of a batch do not wait for each other, as those of a whole search would; what is above
    a voxel stays in its component whatever is joined meanwhile.
    """
    n_voxels = out_parent.size
    for i in range(order.size):
        edge = np.int64(order[i])
        axis = edge // n_voxels
        voxel = edge - axis * n_voxels
        out_above[0, i], out_above[1, i] = out_parent[voxel], out_parent[voxel - steps[axis]]
    n_edges = 0
    for i in range(order.size):
        edge = np.int64(order[i])
        a, b = out_parent[out_above[0, i]], out_parent[out_above[1, i]]
        out_edges[n_edges], out_above[0, n_edges], out_above[1, n_edges] = edge, a, b
        n_edges += 1 if a != b else 0
    return n_edges


@njit(cache=True)
def _move_list(
    out_rows: npt.NDArray[np.int32],
    out_table: npt.NDArray[np.int32],
    table_bits: int,
    a: int,
    b: int,
) -> int:
    """Move the list of root b into the longer one of root a; return the pairs of one label."""
    same = np.int64(0)
    name = out_rows[out_rows[a, HEAD], LIST]
    if out_rows[a, N_ENTRIES] == 1:
        _insert(out_table, table_bits, out_rows, a)
    is_hashed = out_rows[b, N_ENTRIES] > 1
    moving = out_rows[b, HEAD]
    while moving != NOTHING:
        after = out_rows[moving, NEXT]
        if is_hashed:
            _remove(out_table, table_bits, out_rows, moving)
        met = _find(out_table, table_bits, out_rows, name, out_rows[moving, LABEL])
        if met == NOTHING:
            out_rows[moving, LIST] = name
            _insert(out_table, table_bits, out_rows, moving)
            out_rows[moving, NEXT] = out_rows[a, HEAD]
            out_rows[a, HEAD] = moving
            out_rows[a, N_ENTRIES] += 1
        else:
            same += np.int64(out_rows[met, COUNT]) * np.int64(out_rows[moving, COUNT])
            out_rows[met, COUNT] += out_rows[moving, COUNT]
        moving = after
    return int(same)


@njit(cache=True)
def _root(out_parent: npt.NDArray[np.int32], voxel: int) -> int:
    """Return the root of a voxel's component, and halve the way to it."""
    while out_parent[voxel] != voxel:
        out_parent[voxel] = out_parent[out_parent[voxel]]
        voxel = out_parent[voxel]
    return voxel


@njit(cache=True)
def _slot(list_name: int, label: int, table_bits: int) -> np.int64:
    """Return the slot where the search for a key begins (Fibonacci hashing, Knuth 1973, 6.4)."""
    key = (np.uint64(list_name) << np.uint64(32)) | np.uint64(label)
    key ^= key >> np.uint64(29)
    key *= np.uint64(0x9E3779B97F4A7C15)
    return np.int64(key >> np.uint64(64 - table_bits))


@njit(cache=True)
def _find(
    table: npt.NDArray[np.int32],
    table_bits: int,
    rows: npt.NDArray[np.int32],
    list_name: int,
    label: int,
) -> int:
    """Return the entry of a label in a list, or NOTHING."""
    slot = _slot(list_name, label, table_bits)
    while table[slot] != NOTHING:
        entry = table[slot]
        if rows[entry, LIST] == list_name and rows[entry, LABEL] == label:
            return int(entry)
        slot = (slot + 1) & (table.size - 1)
    return NOTHING


@njit(cache=True)
def _insert(
    out_table: npt.NDArray[np.int32], table_bits: int, rows: npt.NDArray[np.int32], entry: int
) -> None:
    """Put an entry whose key is not there into the first free slot."""
    slot = _slot(rows[entry, LIST], rows[entry, LABEL], table_bits)
    while out_table[slot] != NOTHING:
        slot = (slot + 1) & (out_table.size - 1)
    out_table[slot] = entry


@njit(cache=True)
def _remove(
    out_table: npt.NDArray[np.int32], table_bits: int, rows: npt.NDArray[np.int32], entry: int
) -> None:
    """Take an entry out and move those behind it up (Knuth 1973, 6.4, algorithm R)."""
    last = out_table.size - 1
    hole = _slot(rows[entry, LIST], rows[entry, LABEL], table_bits)
    while out_table[hole] != entry:
        hole = (hole + 1) & last
    slot = (hole + 1) & last
    while out_table[slot] != NOTHING:
        held = out_table[slot]
        wanted = _slot(rows[held, LIST], rows[held, LABEL], table_bits)
        if ((slot - wanted) & last) >= ((slot - hole) & last):
            out_table[hole] = held
            hole = slot
        slot = (slot + 1) & last
    out_table[hole] = NOTHING


def _require_affinities(affinities: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return affinities that are a (3, z, y, x) array of floats in 0..1; refuse anything else."""
    affinities = np.asarray(affinities)
    if affinities.ndim != 4 or len(affinities) != 3 or affinities.size == 0:
        raise InputError(
            f"affinities must be a non-empty (3, z, y, x) array, got shape {affinities.shape}."
        )
    if affinities.size > MAX_EDGES:
        raise InputError(
            f"affinities must have at most {MAX_EDGES} values, got shape {affinities.shape}."
        )
    if not np.issubdtype(affinities.dtype, np.floating):
        raise InputError(f"affinities must be floats in 0..1, got dtype {affinities.dtype}.")
    low, high = float(affinities.min()), float(affinities.max())
    if not (low >= 0 and high <= 1):
        raise InputError(f"affinities must lie in 0..1, got values from {low:g} to {high:g}.")
    return np.ascontiguousarray(affinities, np.float32) + np.float32(0)  # no −0


def _require_fitting(
    affinities: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer],
    known: npt.NDArray[np.bool_] | None,
) -> None:
    """Refuse labels and masks of another shape than the affinities."""
    if affinities.shape[1:] != labels.shape:
        raise InputError(
            f"affinities and labels must have the same extent, got {affinities.shape[1:]} "
            f"and {labels.shape}."
        )
    if known is not None and np.shape(known) != affinities.shape:
        raise InputError(
            f"known must have the shape of affinities, {affinities.shape}, got {np.shape(known)}."
        )
