"""The state of an agglomeration and its transitions, compiled.

Confluent agglomeration. Every edge has a key, at the start the score of the edge. When u and v
merge, their edges to a common neighbour w become one with key max(key(u, w), key(v, w)), and every
edge of the merged region is stale. When an edge is on top of the queue it is, if stale, scored once
from the merged sums, key = min(score, key), and put back; if not, it is decided: merged, or left.
Keys never rise above the best parent, so an edge that is best for both its ends stays so until it
is processed, and processing touches only its two regions: the result does not depend on the order
in which such edges are processed, and keys along the merges never increase.

The order of edges is strict: higher key first, then lower edge index. Of two parallel edges the
one that comes first in this order survives, in its place in the queue, with the sums of both.

Layout: half-edges 2e and 2e + 1 of edge e lie at its two ends, in doubly linked lists per region.
The queue is a binary heap of edges with lazy removal. An edge is stale when one of its ends was
merged after the edge was scored (time stamps, no marking of neighbours). What is called most often
takes arrays, not the state: a call that is not inlined copies every field of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs import statistics as st
from envs.features import N_REGION, candidate_features, region_row
from envs.merge_network import MergeNetwork, logit
from envs.region_graph import RegionGraph

# Columns of `MergeState.counters`.
HEAP_SIZE = 0
CLOCK = 1
N_SCORES = 2
N_REGIONS_LEFT = 3
N_COUNTERS = 4


class MergeState(NamedTuple):
    """All that changes in an episode; R regions, E edges.

    Attributes:
        regions: (R, S) int64 sums; those of a region that was merged away are meaningless.
        contacts: (E, C) int64 sums.
        rows: (R, N_REGION) float32 cached features of regions.
        voxel_size: (3,) float64 nm.
        node: (2E,) int32 region at which a half-edge lies.
        follow, before: (2E,) int32 list links, −1 = end.
        head: (R,) int32 first half-edge of a region.
        degree: (R,) int32.
        is_gone: (E,) bool, merged or absorbed by a parallel edge, or refused.
        key: (E,) float64.
        scored_at: (E,) int64 clock of the last scoring.
        changed_at: (R,) int64 clock of the last merge.
        smallest: (R,) int32 smallest region index among the members.
        heap: (E,) int32.
        mark_time: (R,) int64; mark_half: (R,) int32: scratch to find parallel edges.
        features: (F,) float32; hidden_1, hidden_2: scratch of the scorer.
        counters: (N_COUNTERS,) int64.
    """

    regions: npt.NDArray[np.int64]
    contacts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float32]
    voxel_size: npt.NDArray[np.float64]
    node: npt.NDArray[np.int32]
    follow: npt.NDArray[np.int32]
    before: npt.NDArray[np.int32]
    head: npt.NDArray[np.int32]
    degree: npt.NDArray[np.int32]
    is_gone: npt.NDArray[np.bool_]
    key: npt.NDArray[np.float64]
    scored_at: npt.NDArray[np.int64]
    changed_at: npt.NDArray[np.int64]
    smallest: npt.NDArray[np.int32]
    heap: npt.NDArray[np.int32]
    mark_time: npt.NDArray[np.int64]
    mark_half: npt.NDArray[np.int32]
    features: npt.NDArray[np.float32]
    hidden_1: npt.NDArray[np.float32]
    hidden_2: npt.NDArray[np.float32]
    counters: npt.NDArray[np.int64]


def start_state(
    graph: RegionGraph, network: MergeNetwork, *, noise: float = 0.0, noise_seed: int = 0
) -> MergeState:
    """Score all edges of an unmerged graph and queue them.

    Args:
        graph: regions and contacts.
        network: the scorer.
        noise: standard deviation of the Gaussian noise added to every score (exploration).
        noise_seed: noise is a function of this seed, the edge and the clock only.
    """
    r, e = graph.n_regions, graph.n_edges
    state = MergeState(
        regions=np.array(graph.regions, np.int64),
        contacts=np.array(graph.contacts, np.int64),
        rows=np.zeros((r, N_REGION), np.float32),
        voxel_size=np.array(graph.voxel_size_nm, np.float64),
        node=np.array(graph.edges, np.int32).reshape(-1),
        follow=np.full(2 * e, -1, np.int32),
        before=np.full(2 * e, -1, np.int32),
        head=np.full(r, -1, np.int32),
        degree=np.zeros(r, np.int32),
        is_gone=np.zeros(e, np.bool_),
        key=np.zeros(e, np.float64),
        scored_at=np.zeros(e, np.int64),
        changed_at=np.zeros(r, np.int64),
        smallest=np.arange(r, dtype=np.int32),
        heap=np.zeros(e, np.int32),
        mark_time=np.zeros(r, np.int64),
        mark_half=np.zeros(r, np.int32),
        features=np.zeros(network.n_features, np.float32),
        hidden_1=np.zeros(network.w1.shape[2], np.float32),
        hidden_2=np.zeros(network.w2.shape[2], np.float32),
        counters=np.zeros(N_COUNTERS, np.int64),
    )
    _link(state)
    _score_all(state, network, noise, np.uint64(noise_seed % 2**64))
    state.heap[:] = np.lexsort((np.arange(e), -state.key))
    state.counters[HEAP_SIZE] = e
    state.counters[N_REGIONS_LEFT] = r
    return state


@njit(cache=True)
def _link(state):
    """Enter half-edges into the lists of their regions and compute the region rows."""
    for half in range(len(state.node) - 1, -1, -1):
        _attach(state, half, state.node[half])
    for u in range(len(state.head)):
        region_row(state.regions[u], state.rows[u])


@njit(cache=True)
def _attach(state, half, u):
    """Put a half-edge at the head of region u's list."""
    first = state.head[u]
    state.node[half] = u
    state.follow[half] = first
    state.before[half] = -1
    if first >= 0:
        state.before[first] = half
    state.head[u] = half
    state.degree[u] += 1


@njit(cache=True)
def _detach(state, half):
    """Take a half-edge out of its region's list."""
    u = state.node[half]
    before, follow = state.before[half], state.follow[half]
    if before >= 0:
        state.follow[before] = follow
    else:
        state.head[u] = follow
    if follow >= 0:
        state.before[follow] = before
    state.degree[u] -= 1


@njit(cache=True)
def _mix(x):
    """Scramble 64 bits (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=True)
def _gaussian(seed, edge, clock):
    """Return a standard normal number that depends on the three arguments only (Box–Muller)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    x = _mix(seed + golden * np.uint64(edge + 1))
    x = _mix(x + golden * np.uint64(clock + 1))
    y = _mix(x + golden)
    u = (float(x >> np.uint64(11)) + 1.0) * 2.0**-53
    v = float(y >> np.uint64(11)) * 2.0**-53
    return np.sqrt(-2.0 * np.log(u)) * np.cos(2.0 * np.pi * v)


@njit(cache=True)
def see(state, edge):
    """Compute the features of an edge from the present sums into `state.features`."""
    u, v = state.node[2 * edge], state.node[2 * edge + 1]
    n_u, n_v = state.regions[u, st.SIZE], state.regions[v, st.SIZE]
    u_is_smaller = n_u < n_v or (n_u == n_v and state.smallest[u] < state.smallest[v])
    candidate_features(
        state.regions[u],
        state.regions[v],
        state.rows[u],
        state.rows[v],
        state.contacts[edge],
        u_is_smaller,
        state.voxel_size,
        state.features,
    )


@njit(cache=True)
def _score(state, network, noise, noise_seed, edge):
    """Return the score of an edge from the present sums."""
    see(state, edge)
    state.counters[N_SCORES] += 1
    score = float(logit(network, state.features, state.hidden_1, state.hidden_2))
    if noise > 0.0:
        score += noise * _gaussian(noise_seed, edge, state.counters[CLOCK])
    return score


@njit(cache=True)
def _score_all(state, network, noise, noise_seed):
    """Give every edge its first key."""
    for edge in range(len(state.key)):
        state.key[edge] = _score(state, network, noise, noise_seed, edge)


@njit(cache=True)
def precedes(key, a, b):
    """Tell whether edge a comes before edge b in the strict order; key: (E,) float64."""
    return key[a] > key[b] or (key[a] == key[b] and a < b)


@njit(cache=True)
def _sift_down(heap, n, key):
    """Restore a heap of n edges after its top edge changed."""
    edge = heap[0]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and precedes(key, heap[child + 1], heap[child]):
            child += 1
        if not precedes(key, heap[child], edge):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = edge


@njit(cache=True)
def drop_top(state):
    """Take the top edge out of the queue."""
    state.counters[HEAP_SIZE] -= 1
    n = state.counters[HEAP_SIZE]
    if n > 0:
        state.heap[0] = state.heap[n]
        _sift_down(state.heap, state.counters[HEAP_SIZE], state.key)


@njit(cache=True)
def is_stale(state, edge):
    """Tell whether an end of the edge changed after the edge was scored."""
    changed = max(
        state.changed_at[state.node[2 * edge]], state.changed_at[state.node[2 * edge + 1]]
    )
    return state.scored_at[edge] < changed


@njit(cache=True)
def best_edge(state, network, noise, noise_seed):
    """Return the edge to decide, on top of the queue and freshly scored; −1 if none is left."""
    while state.counters[HEAP_SIZE] > 0:
        edge = state.heap[0]
        if state.is_gone[edge]:
            drop_top(state)
        elif is_stale(state, edge):
            score = _score(state, network, noise, noise_seed, edge)
            state.key[edge] = min(score, state.key[edge])
            state.scored_at[edge] = state.counters[CLOCK]
            _sift_down(state.heap, state.counters[HEAP_SIZE], state.key)
        else:
            return edge
    return -1


@njit(cache=True)
def _mark(state, u):
    """Note for every neighbour of u the half-edge at u that leads there."""
    half = state.head[u]
    while half >= 0:
        w = state.node[half ^ 1]
        state.mark_time[w] = state.counters[CLOCK]
        state.mark_half[w] = half
        half = state.follow[half]


@njit(cache=True)
def _half_between(state, u, w, is_marked):
    """Return the half-edge at u that leads to w, −1 if they do not touch."""
    if is_marked:
        return state.mark_half[w] if state.mark_time[w] == state.counters[CLOCK] else -1
    half = state.head[w]
    while half >= 0:
        if state.node[half ^ 1] == u:
            return half ^ 1
        half = state.follow[half]
    return -1


@njit(cache=True)
def merge(state, edge):
    """Merge the two regions of an edge; return (kept, gone) region indices.

    Parallel edges are looked up from the cheaper side: by marking the neighbours of the region of
    higher degree, or by searching the lists of the other's neighbours.
    """
    kept, gone = state.node[2 * edge], state.node[2 * edge + 1]
    if state.degree[kept] < state.degree[gone]:
        kept, gone = gone, kept
    state.counters[CLOCK] += 1
    state.counters[N_REGIONS_LEFT] -= 1
    state.is_gone[edge] = True
    _detach(state, 2 * edge)
    _detach(state, 2 * edge + 1)

    search_cost = 0
    half = state.head[gone]
    while half >= 0:
        search_cost += state.degree[state.node[half ^ 1]]
        half = state.follow[half]
    is_marked = state.degree[kept] <= search_cost
    if is_marked:
        _mark(state, kept)

    half = state.head[gone]
    while half >= 0:
        follow = state.follow[half]
        other = _half_between(state, kept, state.node[half ^ 1], is_marked)
        _detach(state, half)
        if other < 0:
            _attach(state, half, kept)
        else:
            mine, theirs = half >> 1, other >> 1
            if precedes(state.key, mine, theirs):
                survivor, absorbed = mine, theirs
                _detach(state, other)
                _detach(state, other ^ 1)
                _attach(state, half, kept)
            else:
                survivor, absorbed = theirs, mine
                _detach(state, half ^ 1)
            state.is_gone[absorbed] = True
            for k in range(state.contacts.shape[1]):
                state.contacts[survivor, k] += state.contacts[absorbed, k]
        half = follow

    for k in range(state.regions.shape[1]):
        state.regions[kept, k] += state.regions[gone, k]
    state.regions[kept, st.SURFACE] -= 2 * state.contacts[edge, st.AREA]
    state.smallest[kept] = min(state.smallest[kept], state.smallest[gone])
    state.changed_at[kept] = state.counters[CLOCK]
    region_row(state.regions[kept], state.rows[kept])
    return kept, gone


@njit(cache=True)
def best_candidates(state, out_edges, scratch):
    """List the first edges of the queue in order, without changing it; return how many there are.

    Args:
        state: its top edge must be fresh (call `best_edge` first).
        out_edges: (K,) int32, filled with edge indices.
        scratch: (E + 1,) int32 heap positions.
    """
    n = state.counters[HEAP_SIZE]
    n_open, n_found = 0, 0
    if n > 0:
        scratch[0] = 0
        n_open = 1
    while n_open > 0 and n_found < len(out_edges):
        best = 0
        for i in range(1, n_open):
            if precedes(state.key, state.heap[scratch[i]], state.heap[scratch[best]]):
                best = i
        position = scratch[best]
        n_open -= 1
        scratch[best] = scratch[n_open]
        edge = state.heap[position]
        if not state.is_gone[edge]:
            out_edges[n_found] = edge
            n_found += 1
        for child in (2 * position + 1, 2 * position + 2):
            if child < n:
                scratch[n_open] = child
                n_open += 1
    return n_found
