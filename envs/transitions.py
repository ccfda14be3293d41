"""What changes the state of an agglomeration: merge, leave, forbid, see again; compiled.

Of two parallel edges that a merge makes, the one that comes first in the strict order of the queue
survives, with the sums of both: higher key first, then lower edge index. An edge that was left or
forbidden counts as one of key −∞: a parallel edge still open survives it. What an answer forbade
stays forbidden for whatever the two regions are merged into. Which edge is decided when is the
matter of `envs.confluent_rule`.
"""

from __future__ import annotations

from numba import njit

from envs import statistics as st
from envs.edge_queue import is_before
from envs.features import N_CONTACT_COLUMNS, region_row
from envs.hub_table import enter_edge, find_edge, remove_edge
from envs.merge_state import (
    CHANGED,
    CLOCK,
    DEGREE,
    FORBIDDEN,
    GONE,
    HEAD,
    HUB_DEGREE,
    IS_HUB,
    MARK,
    MARKED_BY,
    N_REGIONS_LEFT,
    NEXT,
    NODE,
    NOTE,
    OPEN,
    SMALLEST,
    TAIL,
    make_hub,
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
    channels = state.channels
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
            if len(channels):
                for k in range(channels.shape[1]):
                    channels[survivor, k] += channels[absorbed, k]
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
        make_hub(links, places, slots, kept)

    _add_region(regions, contacts, kept, gone, edge)
    if len(clear_regions):
        _add_region(clear_regions, clear_contacts, kept, gone, edge)
        state.n_clear[kept] += state.n_clear[gone]
    places[kept, SMALLEST] = min(places[kept, SMALLEST], places[gone, SMALLEST])
    places[kept, CHANGED] = clock
    region_row(regions, kept, state.rows)
    return kept, gone


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
