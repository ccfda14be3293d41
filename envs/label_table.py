"""Labels of voxels, looked up run by run in an open-addressing table, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError

HASH = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, the factor of a multiplicative hash."""

_ROOM = 1024


def plain_labels(superpixels: npt.NDArray[np.integer]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return labels as uint32 or uint64, the two types that kernels are compiled for.

    Args:
        superpixels: any shape, integer, not negative.

    Raises:
        InputError: where they are not integer, or a label is negative.
    """
    if superpixels.dtype.kind not in "ui":
        raise InputError(f"superpixels must be integer labels, not {superpixels.dtype}")
    if superpixels.dtype.kind == "i" and superpixels.size and superpixels.min() < 0:
        raise InputError(f"superpixels must not be negative; seen {superpixels.min()}")
    plain = np.uint64 if superpixels.dtype.itemsize == 8 else np.uint32
    if superpixels.dtype.itemsize < 4:
        superpixels = superpixels.astype(plain)
    return read_only(superpixels).view(plain)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a contiguous view that kernels compile for once, wherever it comes from."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@njit(cache=True)
def number_labels(labels, out_index) -> Any:
    """Number labels in the order in which they come; return the label of each number.

    Args:
        labels: (N,) uint32 or uint64, 0 = none.
        out_index: (N,) int32, filled with the number of each label, −1 for 0.
    """
    ids = np.empty(_ROOM, np.uint64)
    table = table_of_ids(ids, 0)
    n_done, n_ids = _number_until_full(labels, 0, 0, table, ids, out_index)
    while n_done < len(labels):
        ids = grown(ids, 0)
        table = table_of_ids(ids, n_ids)
        n_done, n_ids = _number_until_full(labels, n_done, n_ids, table, ids, out_index)
    return ids[:n_ids]


@njit(cache=True)
def _number_until_full(labels, start, n_ids, out_table, out_ids, out_index):
    """Number labels until there is no room for another; return how far it went, and the ids."""
    last, index = np.uint64(0), np.int32(-1)
    for i in range(start, len(labels)):
        label = np.uint64(labels[i])
        if label != last:
            last = label
            index = np.int32(-1)
            if label != 0:
                slot = slot_of_id(out_table, out_ids, label)
                if out_table[slot] < 0:
                    if n_ids == len(out_ids):
                        return i, n_ids
                    out_table[slot] = n_ids
                    out_ids[n_ids] = label
                    n_ids += 1
                index = out_table[slot]
        out_index[i] = index
    return len(labels), n_ids


@njit(cache=True)
def replace_labels(labels, ids, values, out_is_seen, out_values) -> Any:
    """Write the value of every label, 0 for 0; return the first place of an unknown one, or −1.

    Args:
        labels: (N,) uint32 or uint64.
        ids: (R,) uint64, all different, not 0.
        values: (R,) uint64.
        out_is_seen: (R,) bool, set where an id occurs.
        out_values: (N,) uint64; may be the labels themselves.
    """
    table = table_of_ids(ids, len(ids))
    last, value = np.uint64(0), np.uint64(0)
    for i in range(len(labels)):
        label = np.uint64(labels[i])
        if label != last:
            last = label
            value = np.uint64(0)
            if label != 0:
                index = table[slot_of_id(table, ids, label)]
                if index < 0:
                    return i
                out_is_seen[index] = True
                value = values[index]
        out_values[i] = value
    return -1


@njit(cache=True)
def slot_of_id(table, ids, label):
    """Return the slot of a table (−1 = free) that holds the number of a label or would take it."""
    mask = np.uint64(len(table) - 1)
    slot = ((label * HASH) >> np.uint64(32)) & mask
    while table[slot] >= 0 and ids[table[slot]] != label:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True)
def table_of_ids(ids, n_ids):
    """Make a table from labels to numbers, with room for as many as there is in `ids`."""
    table = np.full(table_size(len(ids)), -1, np.int32)
    for index in range(n_ids):
        table[slot_of_id(table, ids, ids[index])] = index
    return table


@njit(cache=True)
def table_size(n):
    """Return a power of two that is at least 2 n."""
    size = 16
    while size < 2 * n:
        size *= 2
    return size


@njit(cache=True)
def grown(array, n):
    """Return an array with twice the rows, and n at least to spare; new ones hold zeros."""
    larger = np.zeros((2 * len(array) + n, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
