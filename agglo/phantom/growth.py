"""The lattice edges along which neurites grow.

The nodes of an infinite cubic lattice carry a potential; every node wants to continue into one of
its neighbours of higher potential, along the axis that the smooth tract field prefers there. A
node takes in one of those that want it; a loser tries its second wish, where that is still free,
and failing that may join its first wish as a branch. Edges only go up, so there are no cycles, and
every node has at most one way out: the accepted edges are trees, a neurite each, named by the node
they end at. Whether an edge is accepted depends on hashes within five nodes of it and on nothing
else. All triples are z, y, x in nodes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from agglo.phantom.hashing import hash_position, stream_key, unit_at, value_noise

MARGIN = 5
"""Nodes around a tile that its edges depend on."""

STEPS = np.array(
    [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], dtype=np.int64
)
"""(6, 3) int64: the neighbour in each direction code."""

_POTENTIAL, _TIES, _TRACT, _WISH, _PRIORITY, _BRANCH = 1, 2, 3, 6, 9, 10

_HILL_NODES = 12.0
_HILL_HEIGHT = 0.3 * _HILL_NODES  # slope of the hills at most 0.9: z always goes up
_TRACT_NODES = 9.0
_TRACT_STRENGTH = 2.0
_Z_PENALTY = 0.35  # z is always possible, y and x only uphill: evens out the directions


@njit(cache=True)
def grow_tile(
    seed: int, branching: float, start: npt.NDArray[np.int64], out_next: npt.NDArray[np.int8]
) -> None:
    """Find the way out of every node of a tile.

    Args:
        seed: Seed of the phantom.
        branching: Probability that a blocked neurite joins the one in front of it.
        start: (3,) int64, first node of the tile.
        out_next: (n, n, n) int8, receives the direction code of the accepted edge, -1 for none.
    """
    n = out_next.shape[0] + 2 * MARGIN
    potential = np.empty((n, n, n), np.float64)
    wishes = np.empty((n, n, n, 3), np.float64)
    _node_fields(seed, start, potential, wishes)
    first = np.full((n, n, n), -1, np.int8)
    second = np.full((n, n, n), -1, np.int8)
    _rank_directions(potential, wishes, first, second)
    chosen = np.full((n, n, n), -1, np.int8)
    _accept_edges(seed, branching, start, first, second, chosen)
    for i in range(out_next.shape[0]):
        for j in range(out_next.shape[1]):
            for k in range(out_next.shape[2]):
                out_next[i, j, k] = chosen[i + MARGIN, j + MARGIN, k + MARGIN]


@njit(cache=True)
def _node_fields(seed, start, out_potential, out_wishes):
    """Fill the potential (n, n, n) and the liking for each axis (n, n, n, 3) of every node."""
    n = out_potential.shape[0]
    for i in range(n):
        z = start[0] - MARGIN + i
        for j in range(n):
            y = start[1] - MARGIN + j
            for k in range(n):
                x = start[2] - MARGIN + k
                hills = value_noise(
                    stream_key(seed, _POTENTIAL), z / _HILL_NODES, y / _HILL_NODES, x / _HILL_NODES
                )
                tie = unit_at(stream_key(seed, _TIES), z, y, x)
                out_potential[i, j, k] = z + _HILL_HEIGHT * hills + 1e-3 * tie
                for axis in range(3):
                    tract = value_noise(
                        stream_key(seed, _TRACT + axis),
                        z / _TRACT_NODES,
                        y / _TRACT_NODES,
                        x / _TRACT_NODES,
                    )
                    out_wishes[i, j, k, axis] = _TRACT_STRENGTH * tract + unit_at(
                        stream_key(seed, _WISH + axis), z, y, x
                    )
                out_wishes[i, j, k, 0] -= _Z_PENALTY


@njit(cache=True)
def _rank_directions(potential, wishes, out_first, out_second):
    """Fill the first and second wish (n, n, n) of every node but the outermost layer."""
    n = potential.shape[0]
    for i in range(1, n - 1):
        for j in range(1, n - 1):
            for k in range(1, n - 1):
                best = -np.inf
                next_best = -np.inf
                for d in range(6):
                    rise = (
                        potential[i + STEPS[d, 0], j + STEPS[d, 1], k + STEPS[d, 2]]
                        - potential[i, j, k]
                    )
                    if rise <= 0.0:
                        continue
                    wish = wishes[i, j, k, d // 2] + 0.01 * rise
                    if wish > best:
                        next_best = best
                        out_second[i, j, k] = out_first[i, j, k]
                        best = wish
                        out_first[i, j, k] = d
                    elif wish > next_best:
                        next_best = wish
                        out_second[i, j, k] = d


@njit(cache=True)
def _accept_edges(seed, branching, start, first, second, out_chosen):
    """Let every node choose among those that want it, in two rounds, then add branches."""
    n = first.shape[0]
    open_source = np.empty((n, n, n), np.bool_)
    for i in range(n):
        for j in range(n):
            for k in range(n):
                open_source[i, j, k] = first[i, j, k] >= 0
    taken = np.zeros((n, n, n), np.bool_)
    for layer in (2, 4):
        wanted = first if layer == 2 else second
        _accept_round(seed, start, wanted, layer, open_source, taken, out_chosen)
    for i in range(MARGIN, n - MARGIN):
        for j in range(MARGIN, n - MARGIN):
            for k in range(MARGIN, n - MARGIN):
                if open_source[i, j, k] and (
                    unit_at(
                        stream_key(seed, _BRANCH),
                        start[0] - MARGIN + i,
                        start[1] - MARGIN + j,
                        start[2] - MARGIN + k,
                    )
                    < branching
                ):
                    out_chosen[i, j, k] = first[i, j, k]


@njit(cache=True)
def _accept_round(seed, start, wanted, layer, out_open_source, out_taken, out_chosen):
    """Give every free target the open source of highest priority that wants it.

    What is decided within `layer` of the faces lacks some of its sources; it is never used.
    """
    n = wanted.shape[0]
    key = stream_key(seed, _PRIORITY)
    for i in range(layer, n - layer):
        for j in range(layer, n - layer):
            for k in range(layer, n - layer):
                if out_taken[i, j, k]:
                    continue
                best = np.uint64(0)
                winner = -1
                for d in range(6):
                    a = i - STEPS[d, 0]
                    b = j - STEPS[d, 1]
                    c = k - STEPS[d, 2]
                    if wanted[a, b, c] != d or not out_open_source[a, b, c]:
                        continue
                    priority = hash_position(
                        key, start[0] - MARGIN + a, start[1] - MARGIN + b, start[2] - MARGIN + c
                    )
                    if winner < 0 or priority > best:
                        best = priority
                        winner = d
                if winner >= 0:
                    a = i - STEPS[winner, 0]
                    b = j - STEPS[winner, 1]
                    c = k - STEPS[winner, 2]
                    out_taken[i, j, k] = True
                    out_open_source[a, b, c] = False
                    out_chosen[a, b, c] = winner
