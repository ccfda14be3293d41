"""Classic agglomeration: every edge of a merged region is scored again at every merge.

The rule of most systems with a learned policy (Nunez-Iglesias et al. 2013), kept for comparison: it
scores many times more edges, and its result depends on the order of work. The queue is a binary
heap that keys enter anew whenever they change; entries that are out of date are skipped.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.merge_state import GONE, HEAD, N_SCORES, NEXT, NODE, NOTE, SMALLEST, blank_state
from envs.merge_tree import MergeTree
from envs.region_graph import RegionGraph
from envs.scorers import Policy, join_in_scorer, scored, scorer_of
from envs.transitions import merge


def play_classic_episode(
    graph: RegionGraph, policy: Policy, *, threshold: float = 0.0
) -> tuple[MergeTree, int]:
    """Merge the best edge, score its neighbours again, and repeat down to a threshold.

    Scores may rise along the way, so heights are the least score merged so far.

    Args:
        graph: regions and contacts.
        policy: what scores the edges.
        threshold: score below which nothing is merged.

    Returns:
        the merges, and how many edges were scored.
    """
    scorer = scorer_of(policy)
    state = blank_state(graph, scorer.n_features, scorer.n_scratch)
    n_most = max(graph.n_regions - 1, 0)
    merges = np.zeros((n_most, 2), np.int32)
    heights = np.zeros(n_most, np.float64)
    n = _play(state, scorer, float(threshold), merges, heights)
    tree = MergeTree(np.array(graph.ids), merges[:n], np.minimum.accumulate(heights[:n]))
    return tree, int(state.counters[N_SCORES])


@njit(cache=True)
def _is_before(key, edge, heap_key, heap, i):
    """Tell whether an entry comes before the i-th of the heap."""
    return key > heap_key[i] or (key == heap_key[i] and edge < heap[i])


@njit(cache=True)
def _push(heap, heap_key, n, edge, key):
    """Enter an edge; return the number of entries."""
    i = n
    while i > 0:
        parent = (i - 1) >> 1
        if not _is_before(key, edge, heap_key, heap, parent):
            break
        heap[i], heap_key[i] = heap[parent], heap_key[parent]
        i = parent
    heap[i], heap_key[i] = edge, key
    return n + 1


@njit(cache=True)
def _pop(heap, heap_key, n):
    """Take the first entry out; return the number of entries."""
    n -= 1
    edge, key = heap[n], heap_key[n]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and _is_before(
            heap_key[child + 1], heap[child + 1], heap_key, heap, child
        ):
            child += 1
        if _is_before(key, edge, heap_key, heap, child):
            break
        heap[i], heap_key[i] = heap[child], heap_key[child]
        i = child
    heap[i], heap_key[i] = edge, key
    return n


@njit(cache=True)
def _play(state, scorer, threshold, out_merges, out_heights):
    """Run the episode; return the number of merges."""
    links, places = state.links, state.places
    capacity = 2 * len(state.key) + 16
    heap, heap_key = np.empty(capacity, np.int32), np.empty(capacity, np.float32)
    n, n_merges = 0, 0
    for edge in range(len(state.key)):
        state.key[edge] = scored(scorer, state, edge)
        state.counters[N_SCORES] += 1
        n = _push(heap, heap_key, n, edge, state.key[edge])
    while n > 0:
        edge, key = heap[0], heap_key[0]
        n = _pop(heap, heap_key, n)
        if links[2 * edge + 1, NOTE] == GONE or key != state.key[edge]:
            continue
        if key < threshold:
            break
        a = places[links[2 * edge, NODE], SMALLEST]
        b = places[links[2 * edge + 1, NODE], SMALLEST]
        out_merges[n_merges, 0], out_merges[n_merges, 1] = min(a, b), max(a, b)
        out_heights[n_merges] = key
        n_merges += 1
        kept, gone = merge(state, edge)
        join_in_scorer(scorer, kept, gone)
        half = places[kept, HEAD]
        while half >= 0:
            other = half >> 1
            if links[half | 1, NOTE] != GONE:
                score = scored(scorer, state, other)
                state.counters[N_SCORES] += 1
                if score != state.key[other]:
                    state.key[other] = score
                    if n == capacity:
                        n, capacity, heap, heap_key = _grown(state, heap, heap_key, n)
                    n = _push(heap, heap_key, n, other, score)
            half = links[half, NEXT]
    return n_merges


@njit(cache=True)
def _grown(state, heap, heap_key, n):
    """Drop entries that are out of date and make room; return (n, capacity, heap, heap_key)."""
    fresh = np.empty(2 * len(heap), np.int32)
    fresh_key = np.empty(2 * len(heap), np.float32)
    m = 0
    for i in range(n):
        edge = heap[i]
        if state.links[2 * edge + 1, NOTE] != GONE and heap_key[i] == state.key[edge]:
            m = _push(fresh, fresh_key, m, edge, heap_key[i])
    return m, len(fresh), fresh, fresh_key
