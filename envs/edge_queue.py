"""The queue of edges: a sorted run of those never put back, and a small heap of those that were.

Edges are ordered strictly: higher key first, then lower edge index. A key never rises, so an edge
leaves the run at most once and comes back, if at all, into the heap. The run is read in order,
which costs nothing but its sorting; the heap holds the few edges that were scored again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

RUN_NEXT = 0
HEAP_SIZE = 1


class EdgeQueue(NamedTuple):
    """Edges of Q.

    Attributes:
        run: (Q,) int32 edges, best first; run_key: (Q,) float32.
        heap: (Q,) int32 edges; heap_key: (Q,) float32: a binary heap.
        ends: (2,) int64: next position of the run, number of edges in the heap.
    """

    run: npt.NDArray[np.int32]
    run_key: npt.NDArray[np.float32]
    heap: npt.NDArray[np.int32]
    heap_key: npt.NDArray[np.float32]
    ends: npt.NDArray[np.int64]


def start_queue(key: npt.NDArray[np.float32], floor: float) -> EdgeQueue:
    """Queue all edges with a key of at least `floor`; the others could never come out.

    Args:
        key: (E,) float32, without NaN.
        floor: least key that matters.
    """
    edges = np.flatnonzero(key >= floor)
    bits = (key[edges] + np.float32(0)).view(np.uint32)  # −0 becomes 0
    is_negative = (bits >> 31).astype(np.bool_)
    descending = np.where(is_negative, bits, ~bits & np.uint32(0x7FFFFFFF))
    order = np.sort((descending.astype(np.uint64) << np.uint64(32)) | edges.astype(np.uint64))
    run = (order & np.uint64(0xFFFFFFFF)).astype(np.int32)
    return EdgeQueue(
        run,
        key[run],
        np.empty(len(run), np.int32),
        np.empty(len(run), np.float32),
        np.zeros(2, np.int64),
    )


@njit(cache=True)
def is_before(key_a, a, key_b, b):
    """Tell whether edge a comes before edge b in the strict order."""
    return key_a > key_b or (key_a == key_b and a < b)


@njit(cache=True)
def top_of_queue(run, run_key, heap, heap_key, ends):
    """Return the first edge, −1 if there is none."""
    has_run = ends[RUN_NEXT] < len(run)
    if ends[HEAP_SIZE] > 0:
        if has_run:
            at = ends[RUN_NEXT]
            if is_before(run_key[at], run[at], heap_key[0], heap[0]):
                return run[at]
        return heap[0]
    return run[ends[RUN_NEXT]] if has_run else -1


@njit(cache=True)
def drop_from_queue(edge, run, heap, heap_key, ends):
    """Take out the first edge, which is `edge`."""
    if ends[RUN_NEXT] < len(run) and run[ends[RUN_NEXT]] == edge:
        ends[RUN_NEXT] += 1
        return
    ends[HEAP_SIZE] -= 1
    n = ends[HEAP_SIZE]
    if n > 0:
        sift_down(heap[n], heap_key[n], n, heap, heap_key)


@njit(cache=True)
def put_back(edge, key, run, heap, heap_key, ends):
    """Move the first edge, `edge`, to where its lowered key belongs."""
    if ends[RUN_NEXT] < len(run) and run[ends[RUN_NEXT]] == edge:
        ends[RUN_NEXT] += 1
        i = ends[HEAP_SIZE]
        ends[HEAP_SIZE] += 1
        while i > 0:
            parent = (i - 1) >> 1
            if not is_before(key, edge, heap_key[parent], heap[parent]):
                break
            heap[i], heap_key[i] = heap[parent], heap_key[parent]
            i = parent
        heap[i], heap_key[i] = edge, key
    else:
        sift_down(edge, key, ends[HEAP_SIZE], heap, heap_key)


@njit(cache=True)
def sift_down(edge, key, n, heap, heap_key):
    """Enter an edge at the free top of a heap of n, itself included."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        other = child + 1
        if other < n and is_before(heap_key[other], heap[other], heap_key[child], heap[child]):
            child = other
        if not is_before(heap_key[child], heap[child], key, edge):
            break
        heap[i], heap_key[i] = heap[child], heap_key[child]
        i = child
    heap[i], heap_key[i] = edge, key
