"""Confluent agglomeration: how scores become decisions, whatever the order of work.

Every edge has a key, at the start the score of the edge. When u and v merge, their edges to a
common neighbour w become one with key max(key(u, w), key(v, w)), and every edge of the merged
region is stale. When an edge is best for both its ends (in particular on top of the queue) it is,
if stale, scored once from the present sums, key = min(score, key), and put back; if not, it is
decided. Keys never rise above the best parent, so an edge that is best for both its ends stays so
until it is processed, and processing touches only its two regions and their contacts: the result
does not depend on the order in which such edges are processed (docs/confluence.md), and keys along
the merges never increase.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.edge_queue import (
    HEAP_SIZE,
    RUN_NEXT,
    drop_from_queue,
    is_before,
    put_back,
    start_queue,
    top_of_queue,
)
from envs.hashing import gaussian
from envs.merge_state import (
    CLOCK,
    N_SCORES,
    NODE,
    NOTE,
    OPEN,
    MergeState,
    blank_state,
    is_stale,
)
from envs.region_graph import RegionGraph
from envs.scorers import Scorer, score_all, score_edge, scored


def start_state(
    graph: RegionGraph,
    scorer: Scorer,
    *,
    clear: RegionGraph | None = None,
    floor: float = -np.inf,
    noise: float = 0.0,
    noise_seed: int = 0,
) -> MergeState:
    """Score all edges of an unmerged graph and queue them.

    Args:
        graph: regions and contacts.
        scorer: gives the scores.
        clear: the same regions and contacts with the sums of a second look.
        floor: edges with a lower key are not queued; for who decides none of them.
        noise: standard deviation of the Gaussian noise added to every score (exploration).
        noise_seed: noise is a function of this seed, the edge and the clock only.
    """
    state = blank_state(graph, scorer.n_features, scorer.n_scratch, clear)
    give_keys(state, scorer, float(noise), np.uint64(noise_seed % 2**64))
    return state._replace(queue=start_queue(state.key, floor))


@njit(cache=True)
def give_keys(state, scorer, noise, noise_seed):
    """Give every edge its first key."""
    score_all(scorer, state)
    if noise > 0.0:
        for edge in range(len(state.key)):
            state.key[edge] = np.float32(state.key[edge] + noise * gaussian(noise_seed, edge, 0))
    state.counters[N_SCORES] += len(state.key)


@njit(cache=True, inline="always")
def is_frozen(frozen, links, edge):
    """Tell whether an end of an edge is frozen; the other end then is from now on."""
    if len(frozen) == 0:
        return False
    u, v = links[2 * edge, NODE], links[2 * edge + 1, NODE]
    if frozen[u] or frozen[v]:
        frozen[u] = frozen[v] = True
        return True
    return False


@njit(cache=True)
def best_edge(state, scorer, noise, noise_seed):
    """Return the edge to decide, on top of the queue and freshly scored; −1 if none is left."""
    links, places, counters, frozen = state.links, state.places, state.counters, state.frozen
    run, run_key, heap, heap_key, ends = state.queue
    while True:
        edge = top_of_queue(run, run_key, heap, heap_key, ends)
        if edge < 0:
            return -1
        if links[2 * edge + 1, NOTE] != OPEN or is_frozen(frozen, links, edge):
            drop_from_queue(edge, run, heap, heap_key, ends)
        elif is_stale(links, places, edge):
            score = score_edge(scorer, state, edge)
            if noise > 0.0:
                score = np.float32(score + noise * gaussian(noise_seed, edge, counters[CLOCK]))
            counters[N_SCORES] += 1
            state.key[edge] = min(score, state.key[edge])
            links[2 * edge, NOTE] = counters[CLOCK]
            put_back(edge, state.key[edge], run, heap, heap_key, ends)
        else:
            return edge


@njit(cache=True)
def decision_score(state, scorer, edge):
    """Return what a fresh edge is decided by: its key, or its score if it was imaged again.

    A second look may raise a score above the key; the key keeps its place in the order of work, the
    decision follows the evidence.
    """
    u, v = state.links[2 * edge, NODE], state.links[2 * edge + 1, NODE]
    if state.n_clear[u] > 0 or state.n_clear[v] > 0:
        return scored(scorer, state, edge)
    return state.key[edge]


@njit(cache=True)
def drop_edge(state, edge):
    """Take the edge that `best_edge` returned out of the queue."""
    run, _, heap, heap_key, ends = state.queue
    drop_from_queue(edge, run, heap, heap_key, ends)


@njit(cache=True)
def best_candidates(state, out_edges, scratch):
    """List the first open edges of the queue in order, without changing it; return how many.

    Args:
        state: its top edge must be fresh (call `best_edge` first).
        out_edges: (K,) int32, filled with edge indices.
        scratch: (E + 1,) int32 heap positions.
    """
    links = state.links
    run, run_key, heap, heap_key, ends = state.queue
    at, n = ends[RUN_NEXT], ends[HEAP_SIZE]
    n_waiting, n_found = 0, 0
    if n > 0:
        scratch[0] = 0
        n_waiting = 1
    while n_found < len(out_edges):
        while at < len(run) and links[2 * run[at] + 1, NOTE] != OPEN:
            at += 1
        best = -1
        for i in range(n_waiting):
            a = scratch[i]
            if best < 0 or is_before(
                heap_key[a], heap[a], heap_key[scratch[best]], heap[scratch[best]]
            ):
                best = i
        if at < len(run) and (
            best < 0
            or is_before(run_key[at], run[at], heap_key[scratch[best]], heap[scratch[best]])
        ):
            out_edges[n_found] = run[at]
            n_found += 1
            at += 1
            continue
        if best < 0:
            break
        position = scratch[best]
        n_waiting -= 1
        scratch[best] = scratch[n_waiting]
        edge = heap[position]
        if links[2 * edge + 1, NOTE] == OPEN:
            out_edges[n_found] = edge
            n_found += 1
        for child in (2 * position + 1, 2 * position + 2):
            if child < n:
                scratch[n_waiting] = child
                n_waiting += 1
    return n_found
