"""The state of an agglomeration and its transitions, compiled.

Transitions are merge, leave, forbid (an answer said no) and see again (a region is imaged anew).
Of two parallel edges that a merge makes, the one that comes first in the strict order of the queue
survives, with the sums of both: higher key first, then lower edge index. An edge that was left or
forbidden counts as one of key −∞: a parallel edge still open survives it. What an answer forbade
stays forbidden for whatever the two regions are merged into. Which edge is decided when is the
matter of `envs.confluent_rule`.

Layout: half-edges 2e and 2e + 1 of edge e lie at its two ends, in a linked list per region. Lists
are joined end to end when regions merge; half-edges of edges that are gone are unlinked by whoever
walks past them, so that a merge touches the lists of its two regions only. An edge is stale when
one of its ends changed after the edge was scored (time stamps, no marking of neighbours). What is
called most often takes arrays, not the state: a call that is not inlined copies every field of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs import statistics as st
from envs.edge_queue import EdgeQueue, is_before, start_queue
from envs.features import (
    CONTACT_COLUMNS,
    N_CONTACT_COLUMNS,
    N_ROW,
    N_SHAPE_FEATURES,
    ROW_SIZE,
    candidate_features,
    region_row,
)
from envs.hashing import uniform
from envs.hub_table import enter_edge, find_edge, remove_edge
from envs.region_graph import RegionGraph

# Columns of `MergeState.links`.
NODE = 0
"""Region at which a half-edge lies."""
NEXT = 1
"""Next half-edge of the region, −1 = end."""
NOTE = 2
"""Of the even half: clock when the edge was last scored; of the odd half: its status."""

# Status of an edge.
OPEN = 0
LEFT = 1
"""Decided not to be merged."""
FORBIDDEN = 2
"""An answer said that its ends are two neurons."""
GONE = 3
"""Merged, or absorbed by a parallel edge."""

# Columns of `MergeState.places`.
HEAD = 0
TAIL = 1
"""First and last half-edge of a region, −1 = none."""
DEGREE = 2
SMALLEST = 3
"""Smallest region index among the members."""
CHANGED = 4
"""Clock when the region last changed."""
MARK = 5
"""Clock when the region was marked as a neighbour, and ..."""
MARKED_BY = 6
"""... the edge that leads to it."""
IS_HUB = 7
N_PLACE = 8

# Columns of `MergeState.counters`.
CLOCK = 0
N_SCORES = 1
N_REGIONS_LEFT = 2
N_VOXELS = 3
HUB_DEGREE = 4
"""Neighbours from which on the edges of a region are kept in a hash table."""
N_COUNTERS = 5


class MergeState(NamedTuple):
    """All that changes in an episode; R regions, E edges.

    Attributes:
        regions: (R, S) int64 sums; those of a region that was merged away are meaningless.
        contacts: (E, 16) int64 sums, the columns `CONTACT_COLUMNS` of `envs.statistics`.
        positions: (E, 9) int64 sums of position; (0, 9) if no feature asks for them.
        clear_regions: (R, S) int64 sums as a second look shows them; (0, S) if there is none.
        clear_contacts: (E, 16) int64, or (0, 16).
        n_clear: (R,) int64 voxels of a region that were imaged again.
        rows: (R, N_ROW) float32 cached features of regions.
        voxel_size: (3,) float64 nm.
        links: (2E, 3) int32 half-edges.
        places: (R, N_PLACE) int32 what is known of a region but its sums.
        frozen: (R,) bool, regions that must wait for a parent block; (0,) if none must.
        slots: (power of two,) int32, table of the edges of hubs (`envs.hub_table`).
        ids: (R,) int64 superpixel ids, their 64 bits read with a sign; what chance is keyed by.
        key: (E,) float32.
        features: (F,) float32; scratch: (≥ 1,) float32, for the scorer.
        counters: (N_COUNTERS,) int64.
        queue: edges in order of decision.
    """

    regions: npt.NDArray[np.int64]
    contacts: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    clear_regions: npt.NDArray[np.int64]
    clear_contacts: npt.NDArray[np.int64]
    n_clear: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float32]
    voxel_size: npt.NDArray[np.float64]
    links: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]
    frozen: npt.NDArray[np.bool_]
    slots: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int64]
    key: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    scratch: npt.NDArray[np.float32]
    counters: npt.NDArray[np.int64]
    queue: EdgeQueue

    @property
    def status(self) -> npt.NDArray[np.int32]:
        """Return (E,) the status of every edge."""
        return self.links[1::2, NOTE]

    @property
    def smallest(self) -> npt.NDArray[np.int32]:
        """Return (R,) the smallest member of every region."""
        return self.places[:, SMALLEST]


def blank_state(
    graph: RegionGraph,
    n_features: int,
    n_scratch: int,
    clear: RegionGraph | None = None,
    frozen: npt.NDArray[np.bool_] | None = None,
    hub_degree: int = 96,
) -> MergeState:
    """Lay out an unmerged graph, every edge open, with key 0 and in no queue.

    Args:
        graph: regions and contacts.
        n_features: how many features are looked at.
        n_scratch: how many numbers the scorer needs room for.
        clear: the same regions and contacts with the sums of a second look.
        frozen: (R,) bool, regions with a neighbour outside of the block.
        hub_degree: neighbours beyond which the edges of a region are kept in a hash table; of no
            effect on results.

    Raises:
        ValueError: where `clear` has other regions or contacts than `graph`.
    """
    if clear is not None and not (
        np.array_equal(clear.ids, graph.ids) and np.array_equal(clear.edges, graph.edges)
    ):
        raise ValueError("a second look must show the regions and contacts of the first")
    r, e = graph.n_regions, graph.n_edges
    links = np.full((2 * e, 3), -1, np.int32)
    links[:, NODE] = np.asarray(graph.edges).reshape(-1)
    links[:, NOTE] = 0
    has_shape = n_features == N_SHAPE_FEATURES
    state = MergeState(
        regions=np.array(graph.regions, np.int64),
        contacts=_lines(graph.contacts),
        positions=np.array(graph.contacts[: e * has_shape, st.CONTACT_POSITION :], np.int64),
        clear_regions=np.array((graph.regions[:0] if clear is None else clear.regions), np.int64),
        clear_contacts=_lines(graph.contacts[:0] if clear is None else clear.contacts),
        n_clear=np.zeros(r, np.int64),
        rows=np.zeros((r, N_ROW), np.float32),
        voxel_size=np.array(graph.voxel_size_nm, np.float64),
        links=links,
        places=np.full((r, N_PLACE), -1, np.int32),
        frozen=np.array(() if frozen is None else frozen, np.bool_),
        slots=np.full(1 << max(4, (2 * e - 1).bit_length()), -1, np.int32),
        ids=np.array(graph.ids, np.uint64).view(np.int64),
        key=np.zeros(e, np.float32),
        features=np.zeros(n_features, np.float32),
        scratch=np.zeros(n_scratch, np.float32),
        counters=np.array([0, 0, r, graph.regions[:, st.SIZE].sum(), hub_degree], np.int64),
        queue=start_queue(np.zeros(0, np.float32), 0.0),
    )
    _link(state.regions, links, state.places, state.rows)
    for u in np.flatnonzero(state.places[:, DEGREE] > hub_degree):
        _make_hub(links, state.places, state.slots, u)
    return state


def _lines(contacts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Copy the columns that features are made of, so that a row fills two cache lines."""
    n = len(CONTACT_COLUMNS)
    room = np.empty(len(contacts) * n + 8, np.int64)
    first = -room.ctypes.data % 64 // 8
    lines = room[first : first + len(contacts) * n].reshape(-1, n)
    np.take(contacts, CONTACT_COLUMNS, axis=1, out=lines, mode="clip")
    return lines


@njit(cache=True)
def _link(regions, links, places, rows):
    """Enter half-edges into the lists of their regions and compute the region rows."""
    for u in range(len(places)):
        places[u, DEGREE] = 0
        places[u, SMALLEST] = u
        places[u, CHANGED] = 0
        places[u, IS_HUB] = 0
        region_row(regions, u, rows)
    for half in range(len(links)):
        u = links[half, NODE]
        if places[u, HEAD] < 0:
            places[u, HEAD] = half
        else:
            links[places[u, TAIL], NEXT] = half
        places[u, TAIL] = half
        places[u, DEGREE] += 1


@njit(cache=True, inline="always")
def ordered_ends(links, places, rows, regions, edge):
    """Return the (smaller, larger) region of an edge; equal sizes by smallest member."""
    u, v = links[2 * edge, NODE], links[2 * edge + 1, NODE]
    size_u, size_v = rows[u, ROW_SIZE], rows[v, ROW_SIZE]
    if size_u == size_v:  # rounded: look at the exact numbers
        n_u, n_v = regions[u, st.SIZE], regions[v, st.SIZE]
        u_is_smaller = n_u < n_v or (n_u == n_v and places[u, SMALLEST] < places[v, SMALLEST])
    else:
        u_is_smaller = size_u < size_v
    if u_is_smaller:
        return u, v
    return v, u


@njit(cache=True)
def chance(state, seed, edge):
    """Return a number in [0, 1) that depends on a seed and the smallest members of an edge only."""
    a = state.places[state.links[2 * edge, NODE], SMALLEST]
    b = state.places[state.links[2 * edge + 1, NODE], SMALLEST]
    return uniform(seed, state.ids[min(a, b)], state.ids[max(a, b)])


@njit(cache=True, inline="always")
def see(state, edge):
    """Compute the features of an edge from the present sums into `state.features`."""
    small, large = ordered_ends(state.links, state.places, state.rows, state.regions, edge)
    candidate_features(
        state.regions,
        state.rows,
        state.contacts,
        state.positions,
        small,
        large,
        edge,
        state.voxel_size,
        state.features,
    )


@njit(cache=True, inline="always")
def is_stale(links, places, edge):
    """Tell whether an end of the edge changed after the edge was scored."""
    scored = links[2 * edge, NOTE]
    return (
        scored < places[links[2 * edge, NODE], CHANGED]
        or scored < places[links[2 * edge + 1, NODE], CHANGED]
    )


@njit(cache=True)
def _mark_neighbours(links, places, clock, u):
    """Note for every neighbour of u the edge that leads there; unlink what is gone."""
    last = -1
    half = places[u, HEAD]
    while half >= 0:
        follow = links[half, NEXT]
        if links[half | 1, NOTE] == GONE:
            _unlink(links, places, u, last, follow)
        else:
            w = links[half ^ 1, NODE]
            places[w, MARK] = clock
            places[w, MARKED_BY] = half >> 1
            last = half
        half = follow


@njit(cache=True, inline="always")
def _unlink(links, places, u, last, follow):
    """Take the half-edge between `last` and `follow` out of the list of region u."""
    if last >= 0:
        links[last, NEXT] = follow
    else:
        places[u, HEAD] = follow
    if follow < 0:
        places[u, TAIL] = last


@njit(cache=True)
def merge(state, edge):
    """Merge the two regions of an edge; return (kept, gone) region indices.

    Parallel edges are found by marking the neighbours of the region of higher degree, or, if it is
    a hub, in the table of the edges of hubs.
    """
    links, places, key, slots = state.links, state.places, state.key, state.slots
    regions, contacts, positions = state.regions, state.contacts, state.positions
    clear_regions, clear_contacts = state.clear_regions, state.clear_contacts
    kept, gone = links[2 * edge, NODE], links[2 * edge + 1, NODE]
    if places[kept, DEGREE] < places[gone, DEGREE]:
        kept, gone = gone, kept
    state.counters[CLOCK] += 1
    state.counters[N_REGIONS_LEFT] -= 1
    clock = state.counters[CLOCK]
    links[2 * edge + 1, NOTE] = GONE
    is_hub, was_hub = places[kept, IS_HUB] > 0, places[gone, IS_HUB] > 0
    if is_hub or was_hub:
        remove_edge(slots, links, NODE, edge)
    if not is_hub:
        _mark_neighbours(links, places, clock, kept)
    places[kept, DEGREE] += places[gone, DEGREE] - 2

    last = -1
    half = places[gone, HEAD]
    while half >= 0:
        follow = links[half, NEXT]
        mine = half >> 1
        status = links[half | 1, NOTE]
        if status == GONE:
            _unlink(links, places, gone, last, follow)
            half = follow
            continue
        w = links[half ^ 1, NODE]
        if is_hub:
            theirs = find_edge(slots, links, NODE, kept, w)
        else:
            theirs = places[w, MARKED_BY] if places[w, MARK] == clock else -1
        if was_hub or places[w, IS_HUB] > 0:
            remove_edge(slots, links, NODE, mine)
        is_mine = True
        if theirs < 0:
            links[half, NODE] = kept
            last = half
        else:
            other_status = links[2 * theirs + 1, NOTE]
            if (status == OPEN) == (other_status == OPEN):
                is_mine = is_before(key[mine], mine, key[theirs], theirs)
            else:
                is_mine = status == OPEN
            if is_mine:
                survivor, absorbed = mine, theirs
                if is_hub or places[w, IS_HUB] > 0:
                    remove_edge(slots, links, NODE, theirs)
                links[half, NODE] = kept
                last = half
            else:
                survivor, absorbed = theirs, mine
                _unlink(links, places, gone, last, follow)
            if status == FORBIDDEN or other_status == FORBIDDEN:
                links[2 * survivor + 1, NOTE] = FORBIDDEN
            links[2 * absorbed + 1, NOTE] = GONE
            places[kept, DEGREE] -= 1
            places[w, DEGREE] -= 1
            for k in range(N_CONTACT_COLUMNS):
                contacts[survivor, k] += contacts[absorbed, k]
            if len(positions):
                for k in range(9):
                    positions[survivor, k] += positions[absorbed, k]
            if len(clear_contacts):
                for k in range(N_CONTACT_COLUMNS):
                    clear_contacts[survivor, k] += clear_contacts[absorbed, k]
        if is_mine and (is_hub or places[w, IS_HUB] > 0):
            enter_edge(slots, links, NODE, mine)
        half = follow
    if places[gone, HEAD] >= 0:
        if places[kept, HEAD] < 0:
            places[kept, HEAD] = places[gone, HEAD]
        else:
            links[places[kept, TAIL], NEXT] = places[gone, HEAD]
        places[kept, TAIL] = places[gone, TAIL]
    if not is_hub and places[kept, DEGREE] > state.counters[HUB_DEGREE]:
        _make_hub(links, places, slots, kept)

    _add_region(regions, contacts, kept, gone, edge)
    if len(clear_regions):
        _add_region(clear_regions, clear_contacts, kept, gone, edge)
        state.n_clear[kept] += state.n_clear[gone]
    places[kept, SMALLEST] = min(places[kept, SMALLEST], places[gone, SMALLEST])
    places[kept, CHANGED] = clock
    region_row(regions, kept, state.rows)
    return kept, gone


@njit(cache=True)
def _make_hub(links, places, slots, u):
    """Enter the edges of a region into the table of hubs."""
    half = places[u, HEAD]
    while half >= 0:
        if links[half | 1, NOTE] != GONE and places[links[half ^ 1, NODE], IS_HUB] == 0:
            enter_edge(slots, links, NODE, half >> 1)
        half = links[half, NEXT]
    places[u, IS_HUB] = 1


@njit(cache=True)
def _add_region(regions, contacts, kept, gone, edge):
    """Add the sums of a region that goes to those of one that is kept."""
    for k in range(regions.shape[1]):
        regions[kept, k] += regions[gone, k]
    regions[kept, st.SURFACE] -= 2 * contacts[edge, st.AREA]


@njit(cache=True)
def set_status(links, edge, status):
    """Take an edge out of the process for good: LEFT or FORBIDDEN."""
    links[2 * edge + 1, NOTE] = status


@njit(cache=True)
def see_again(state, u):
    """Image a region again: its sums and those of all its contacts become the clear ones."""
    links, places = state.links, state.places
    state.counters[CLOCK] += 1
    for k in range(state.regions.shape[1]):
        state.regions[u, k] = state.clear_regions[u, k]
    half = places[u, HEAD]
    while half >= 0:
        edge = half >> 1
        for k in range(N_CONTACT_COLUMNS):
            state.contacts[edge, k] = state.clear_contacts[edge, k]
        half = links[half, NEXT]
    state.n_clear[u] = state.regions[u, st.SIZE]
    places[u, CHANGED] = state.counters[CLOCK]
    region_row(state.regions, u, state.rows)
