"""Average-linkage agglomeration: the best mean over a contact's faces merges first.

The rule is that of waterz with its mean affinity (Funke et al. 2018, "Large scale image
segmentation with structured loss based deep learning for connectome reconstruction", IEEE TPAMI
41): merge the pair of clusters whose contact has the highest mean, until no mean reaches the
threshold. A mean of two contacts never exceeds the larger of the two, so keys that wait unscored
are upper bounds, and this is at the same time confluent agglomeration (`envs.merge_state`) with the
mean as the score: same merges, same heights, same ties.

Nothing is joined when regions merge: their lists of half-edges are chained, and an edge looks for
its parallels, in the shorter list of its two clusters, when it is on top and one of them has
changed. Edges are queued in the order of their first keys, found by one distribution into buckets;
only edges with a changed key pass through a heap. Edges below the threshold are never queued.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

# Columns of the state of an edge: its key, the sums behind it, and how many merges had been made
# when it was scored last.
_KEY, _SUM, _AREA, _SCORED_AT, _N_COLUMNS = range(5)

_LOW = np.int64(2**32 - 1)

_SHORT = 24
"""Buckets of at most so many edges are sorted by insertion."""


def mean_linkage(
    edges: npt.NDArray[np.int32],
    sums: npt.NDArray[np.int64] | npt.NDArray[np.float64],
    areas: npt.NDArray[np.int64],
    n_regions: int,
    *,
    threshold: float,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Merge by the mean of contacts, highest first, down to a threshold.

    The strict order of ties is the one of `envs.merge_state`: higher mean, then lower edge index;
    of two parallel edges the one that comes first keeps its place for both. Sums of integers are
    exact below 2^53.

    Args:
        edges: (E, 2) int32, pairs of different regions, each pair once.
        sums: (E,) int64 or float64, sum over the faces of a contact; more is sooner. For a boundary
            map b of 8 bits that is 255 times the area less the sum of b.
        areas: (E,) int64, faces of each contact, at least 1.
        n_regions: R.
        threshold: merge while the highest mean is at least this.

    Returns:
        merges (M, 2) int32, the smallest members u < v of the two merged, and heights (M,) float64,
        the means at which they merged, never increasing; what `envs.merge_tree.MergeTree` takes.
    """
    n_edges = len(edges)
    if edges.shape != (n_edges, 2) or sums.shape != (n_edges,) or areas.shape != (n_edges,):
        raise ValueError(
            f"edges, sums and areas must be (E, 2), (E,) and (E,), not {edges.shape}, "
            f"{sums.shape} and {areas.shape}"
        )
    if np.isnan(threshold):
        raise ValueError("threshold must be a number, not NaN")
    edges = np.ascontiguousarray(edges, np.int32)
    totals = np.ascontiguousarray(sums, np.float64 if sums.dtype.kind == "f" else np.int64)
    areas = np.ascontiguousarray(areas, np.int64)
    fault = _fault(edges, totals, areas, n_regions)
    if fault >= 0:
        raise ValueError(
            f"edges must join two different ones of {n_regions} regions, with finite sums and "
            f"areas of at least 1; edge {fault} is {edges[fault].tolist()} with sum {sums[fault]} "
            f"and area {areas[fault]}"
        )
    return _link_means(edges, totals, areas, n_regions, float(threshold))


@njit(cache=True)
def _fault(edges, sums, areas, n_regions):
    """Return the first edge that cannot be, −1 if all can."""
    for edge in range(len(edges)):
        u, v = edges[edge, 0], edges[edge, 1]
        if u == v or min(u, v) < 0 or max(u, v) >= n_regions:
            return edge
        if areas[edge] < 1 or not np.isfinite(sums[edge]):
            return edge
    return -1


@njit(cache=True)
def _link_means(edges, sums, areas, n_regions, threshold):
    """Merge."""
    state = np.empty((len(edges), _N_COLUMNS), np.float64)
    for edge in range(len(edges)):
        state[edge, _SUM], state[edge, _AREA] = sums[edge], areas[edge]
        state[edge, _KEY] = sums[edge] / areas[edge]
        state[edge, _SCORED_AT] = 0.0
    queue = _distributed(state, threshold)
    halves, first, last = _half_edges(edges, n_regions)
    is_gone = np.zeros(len(edges), np.bool_)
    parent = np.arange(n_regions).astype(np.int32)
    tail = parent.copy()
    follow = np.full(n_regions, -1, np.int32)
    length = last - first
    changed_at = np.zeros(n_regions, np.int32)
    mark = np.full(n_regions, -1, np.int64)
    heap = np.empty(len(queue), np.int32)
    merges = np.empty((max(n_regions - 1, 0), 2), np.int32)
    heights = np.empty(len(merges), np.float64)
    n_heap, n_merges, n_scans, place = 0, 0, 0, 0
    while True:
        while place < len(queue) and is_gone[queue[place]]:
            place += 1
        if place < len(queue) and (n_heap == 0 or _precedes(state, queue[place], heap[0])):
            edge = queue[place]
            place += 1
        elif n_heap > 0:
            edge = heap[0]
            n_heap -= 1
            heap[0] = heap[n_heap]
            _sift_down(heap, 0, n_heap, state)
            if is_gone[edge]:
                continue
        else:
            break
        u, v = _root(parent, edges[edge, 0]), _root(parent, edges[edge, 1])
        if state[edge, _SCORED_AT] < max(changed_at[u], changed_at[v]):
            _compact(
                u if length[u] <= length[v] else v,
                n_scans,
                parent,
                follow,
                first,
                halves,
                last,
                tail,
                length,
                mark,
                is_gone,
                state,
            )
            n_scans += 1
            state[edge, _SCORED_AT] = n_merges
            score = state[edge, _SUM] / state[edge, _AREA]
            if score < state[edge, _KEY]:
                state[edge, _KEY] = score
                if score < threshold:
                    continue
                if (place < len(queue) and _precedes(state, queue[place], edge)) or (
                    n_heap > 0 and _precedes(state, heap[0], edge)
                ):
                    heap[n_heap] = edge
                    n_heap += 1
                    _sift_up(heap, n_heap - 1, state)
                    continue
        u, v = min(u, v), max(u, v)
        merges[n_merges, 0], merges[n_merges, 1] = u, v
        heights[n_merges] = state[edge, _KEY]
        is_gone[edge] = True
        n_merges += 1
        parent[v] = u
        follow[tail[u]] = v
        tail[u] = tail[v]
        length[u] += length[v]
        changed_at[u] = n_merges
    return merges[:n_merges].copy(), heights[:n_merges].copy()


@njit(cache=True)
def _root(parent, u):
    """Return the smallest member of the cluster of u."""
    while parent[u] != u:
        parent[u] = parent[parent[u]]
        u = parent[u]
    return u


@njit(cache=True)
def _compact(a, scan, parent, follow, first, halves, last, tail, length, mark, is_gone, state):
    """Join parallel edges in the list of cluster a, and drop what leads into a itself.

    The other half of a joined edge is dropped when the list in which it lies is compacted.
    """
    n_left = 0
    block, before = a, np.int32(-1)
    while block >= 0:
        stop = first[block]
        for i in range(first[block], last[block]):
            half = halves[i]
            edge = half >> 32
            if is_gone[edge]:
                continue
            other = _root(parent, half & _LOW)
            if mark[other] >> 32 != scan:
                mark[other] = scan << 32 | stop
                halves[stop] = edge << 32 | other
                stop += 1
                continue
            twin = halves[mark[other] & _LOW] >> 32
            if _precedes(state, edge, twin):
                halves[mark[other] & _LOW] = edge << 32 | other
                edge, twin = twin, edge
            state[twin, _SUM] += state[edge, _SUM]
            state[twin, _AREA] += state[edge, _AREA]
            is_gone[edge] = True
        last[block] = stop
        n_left += stop - first[block]
        following = follow[block]
        if stop == first[block] and before >= 0:
            follow[before] = following
            if following < 0:
                tail[a] = before
        else:
            before = block
        block = following
    length[a] = n_left


@njit(cache=True)
def _half_edges(edges, n_regions):
    """List (edge, other end) region by region; return the list and each region's first and last."""
    first = np.zeros(n_regions, np.int32)
    for edge in range(len(edges)):
        first[edges[edge, 0]] += 1
        first[edges[edge, 1]] += 1
    total = 0
    for u in range(n_regions):
        total += first[u]
        first[u] = total
    last = first.copy()
    halves = np.empty(2 * len(edges), np.int64)
    for edge in range(len(edges) - 1, -1, -1):
        for end in range(2):
            u = edges[edge, end]
            first[u] -= 1
            halves[first[u]] = edge << 32 | np.int64(edges[edge, 1 - end])
    return halves, first, last


@njit(cache=True)
def _precedes(state, a, b):
    """Tell whether edge a comes before edge b in the strict order."""
    return state[a, _KEY] > state[b, _KEY] or (state[a, _KEY] == state[b, _KEY] and a < b)


@njit(cache=True)
def _distributed(state, threshold):
    """Return the edges with a key of at least the threshold in the strict order.

    They are dealt into as many buckets as there are edges, evenly over the range of keys, and every
    bucket is sorted; the dealing keeps the order of ties.
    """
    low, high, n = np.inf, -np.inf, 0
    for edge in range(len(state)):
        if state[edge, _KEY] >= threshold:
            low, high = min(low, state[edge, _KEY]), max(high, state[edge, _KEY])
            n += 1
    scale = n / (high - low) if n > 0 and high > low else 0.0
    if not np.isfinite(scale) or not np.isfinite(high - low):
        scale = 0.0
    bound = np.zeros(n + 2, np.int32)
    for edge in range(len(state)):
        if state[edge, _KEY] >= threshold:
            bound[_bucket(state[edge, _KEY], high, scale) + 1] += 1
    for bucket in range(n + 1):
        bound[bucket + 1] += bound[bucket]
    queue = np.empty(n, np.int32)
    for edge in range(len(state)):
        if state[edge, _KEY] >= threshold:
            bucket = _bucket(state[edge, _KEY], high, scale)
            queue[bound[bucket]] = edge
            bound[bucket] += 1
    start = 0
    for bucket in range(n + 1):
        if bound[bucket] - start > 1:
            _sort(queue, start, bound[bucket], state)
        start = bound[bucket]
    return queue


@njit(cache=True)
def _bucket(value, high, scale):
    """Return the bucket of a key; a lower key is never in an earlier one."""
    return np.int64((high - value) * scale)


@njit(cache=True)
def _sort(edges, start, stop, state):
    """Bring a part of the edges into the strict order, by insertion if short, else by heap."""
    n = stop - start
    if n <= _SHORT:
        for i in range(start + 1, stop):
            edge = edges[i]
            j = i
            while j > start and _precedes(state, edge, edges[j - 1]):
                edges[j] = edges[j - 1]
                j -= 1
            edges[j] = edge
        return
    heap = edges[start:stop]
    for i in range(n // 2 - 1, -1, -1):
        _sift_down(heap, i, n, state)
    for last in range(n - 1, 0, -1):
        heap[0], heap[last] = heap[last], heap[0]
        _sift_down(heap, 0, last, state)
    for i in range(n // 2):
        heap[i], heap[n - 1 - i] = heap[n - 1 - i], heap[i]


@njit(cache=True)
def _sift_down(heap, start, n, state):
    """Restore a heap of n edges, best on top, below a place where the edge has changed."""
    if n == 0:
        return
    edge = heap[start]
    i = start
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and _precedes(state, heap[child + 1], heap[child]):
            child += 1
        if not _precedes(state, heap[child], edge):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = edge


@njit(cache=True)
def _sift_up(heap, i, state):
    """Restore a heap above a place where an edge was put."""
    edge = heap[i]
    while i > 0 and _precedes(state, edge, heap[(i - 1) // 2]):
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = edge
