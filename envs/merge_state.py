"""The state of an agglomeration: clusters, contacts, and the lists that join them, compiled.

Layout: half-edges 2e and 2e + 1 of edge e lie at its two ends, in a linked list per region. Lists
are joined end to end when regions merge; half-edges of edges that are gone are unlinked by whoever
walks past them, so that a merge touches the lists of its two regions only. An edge is stale when
one of its ends changed after the edge was scored (time stamps, no marking of neighbours). What is
called most often takes arrays, not the state: a call that is not inlined copies every field of it.
What changes the state is in `envs.transitions`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs import statistics as st
from envs.channel_features import channel_features
from envs.edge_queue import EdgeQueue, start_queue
from envs.feature_layout import FeatureLayout, layout_of
from envs.features import (
    CONTACT_COLUMNS,
    N_ROW,
    N_SHAPE_FEATURES,
    ROW_SIZE,
    candidate_features,
    region_row,
)
from envs.hashing import uniform
from envs.hub_table import enter_edge
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
        channels: (E, C) int64 sums of channels (`envs.channels`); (0, C) likewise.
        n_channels: (2,) int64, channels of texture and of the embedding that there are sums of.
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
    channels: npt.NDArray[np.int64]
    n_channels: npt.NDArray[np.int64]
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
        ValueError: where `clear` has other regions or contacts than `graph`, or channels are looked
            at that the graph has not, or that a second look would have to show.
    """
    if clear is not None and not (
        np.array_equal(clear.ids, graph.ids) and np.array_equal(clear.edges, graph.edges)
    ):
        raise ValueError("a second look must show the regions and contacts of the first")
    layout = layout_of(n_features)
    r, e = graph.n_regions, graph.n_edges
    if layout.has_channels and e:
        _require_channels(graph, layout, clear)
    links = np.full((2 * e, 3), -1, np.int32)
    links[:, NODE] = np.asarray(graph.edges).reshape(-1)
    links[:, NOTE] = 0
    state = MergeState(
        regions=np.array(graph.regions, np.int64),
        contacts=_lines(graph.contacts),
        positions=np.array(
            graph.contacts[: e * layout.has_shape, st.CONTACT_POSITION : st.N_CONTACT_STATISTICS],
            np.int64,
        ),
        channels=np.array(
            graph.contacts[: e * layout.has_channels, st.N_CONTACT_STATISTICS :], np.int64
        ),
        n_channels=np.array(graph.n_channels, np.int64),
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
        make_hub(links, state.places, state.slots, u)
    return state


def _require_channels(graph: RegionGraph, layout: FeatureLayout, clear: RegionGraph | None) -> None:
    """Refuse a graph without the channels that are looked at."""
    texture, embedding = graph.n_channels
    if layout.n_texture not in (0, texture):
        raise ValueError(
            f"{layout.n_texture} channels of texture are looked at, but the graph has {texture}"
        )
    if layout.has_embedding and not embedding:
        raise ValueError("an embedding is looked at, but the graph has none")
    if clear is not None:
        raise ValueError("channels are looked at, which a second look does not show")


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
    if len(state.features) > N_SHAPE_FEATURES:
        channel_features(
            state.regions,
            state.contacts,
            state.channels,
            state.n_channels,
            small,
            large,
            edge,
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
def make_hub(links, places, slots, u):
    """Enter the edges of a region into the table of hubs."""
    half = places[u, HEAD]
    while half >= 0:
        if links[half | 1, NOTE] != GONE and places[links[half ^ 1, NODE], IS_HUB] == 0:
            enter_edge(slots, links, NODE, half >> 1)
        half = links[half, NEXT]
    places[u, IS_HUB] = 1
