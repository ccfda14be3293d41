"""A hash table of the edges of hubs, so that a region with many neighbours is never walked.

Open addressing over edge indices; the key of an edge is the pair of regions at its ends, read from
the half-edges. An edge has to be taken out before one of its ends changes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_HASH = np.int64(-7046029254386353131)
"""2^64 over the golden ratio, as the signed factor of a multiplicative hash."""


@njit(cache=True, inline="always")
def _home(slots, u, v):
    """Return the slot where the edge between two regions would like to lie."""
    key = (np.int64(min(u, v)) << 32) | np.int64(max(u, v))
    return ((key * _HASH) >> 24) & (len(slots) - 1)


@njit(cache=True, inline="always")
def _slot_of(slots, links, node, u, v):
    """Return the slot that holds the edge between u and v, or the free slot where it would go."""
    slot = _home(slots, u, v)
    while True:
        edge = slots[slot]
        if edge < 0:
            return slot
        a, b = links[2 * edge, node], links[2 * edge + 1, node]
        if (a == u and b == v) or (a == v and b == u):
            return slot
        slot = (slot + 1) & (len(slots) - 1)


@njit(cache=True)
def find_edge(slots, links, node, u, v):
    """Return the edge between u and v, −1 if the table holds none.

    Args:
        slots: (power of two,) int32, edge in a slot, −1 = free.
        links: (2E, …) int32 half-edges.
        node: column of `links` with the region at a half-edge.
        u: one region.
        v: the other.
    """
    return slots[_slot_of(slots, links, node, u, v)]


@njit(cache=True)
def enter_edge(slots, links, node, edge):
    """Enter an edge."""
    slots[_slot_of(slots, links, node, links[2 * edge, node], links[2 * edge + 1, node])] = edge


@njit(cache=True)
def remove_edge(slots, links, node, edge):
    """Take an edge out, if it is there, and shift back the edges that had to pass it."""
    mask = len(slots) - 1
    hole = _slot_of(slots, links, node, links[2 * edge, node], links[2 * edge + 1, node])
    if slots[hole] != edge:
        return
    probe = hole
    while True:
        probe = (probe + 1) & mask
        other = slots[probe]
        if other < 0:
            break
        home = _home(slots, links[2 * other, node], links[2 * other + 1, node])
        if ((probe - home) & mask) >= ((probe - hole) & mask):
            slots[hole] = other
            hole = probe
    slots[hole] = -1
