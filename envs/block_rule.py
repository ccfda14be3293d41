"""Confluent agglomeration of a part of a volume, and of the whole as a tree of parts.

A block processes what is ready in its own full neighbourhood. Regions with a neighbour outside are
frozen; an edge that comes up with a frozen end freezes the other end too and goes, unscored and
with its key, to the parent block. What is left of the children, joined by the contacts between
them, is the parent's graph; its root has no outside. Since ready edges commute, the merges, their
heights and the segmentation are those of one run over everything, bit for bit, wherever the volume
is cut (docs/confluence.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs import statistics as st
from envs.confluent_rule import best_edge, give_keys
from envs.edge_queue import start_queue
from envs.features import CONTACT_COLUMNS
from envs.graph_sum import stacked
from envs.merge_state import GONE, N_SCORES, NODE, NOTE, SMALLEST, MergeState, blank_state, is_stale
from envs.region_graph import RegionGraph
from envs.scorers import Policy, scorer_of
from envs.transitions import merge


class Residue(NamedTuple):
    """What is left of a block, for its parent.

    Attributes:
        graph: clusters, named by their smallest superpixel, and their contacts; edges in order of
            their ties.
        key: (E,) float32.
        is_stale: (E,) bool, whether an end changed since the edge was scored.
        tie: (E, 2) uint64 superpixels between which the edge lay at the start: its place in the
            strict order of equal keys.
        merges: (M, 2) uint64 smallest superpixels of the two merged, smaller first.
        merge_ties: (M, 2) uint64 ties of the edges merged.
        heights: (M,) float32.
        n_scores: edges scored.
    """

    graph: RegionGraph
    key: npt.NDArray[np.float32]
    is_stale: npt.NDArray[np.bool_]
    tie: npt.NDArray[np.uint64]
    merges: npt.NDArray[np.uint64]
    merge_ties: npt.NDArray[np.uint64]
    heights: npt.NDArray[np.float32]
    n_scores: int

    def in_order(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
        """Return merges (M, 2) and heights (M,) in the order of one run over everything."""
        order = np.lexsort((self.merge_ties[:, 1], self.merge_ties[:, 0], -self.heights))
        return self.merges[order], self.heights[order].astype(np.float64)


def unmerged_residue(graph: RegionGraph, policy: Policy) -> Residue:
    """Score the contacts of a graph of superpixels whose sums are complete.

    Args:
        graph: regions in order of their ids.
        policy: what scores them.
    """
    scorer = scorer_of(policy)
    state = blank_state(graph, scorer.n_features, scorer.n_scratch)
    give_keys(state, scorer, 0.0, np.uint64(0))
    none = np.empty((0, 2), np.uint64)
    return Residue(
        graph,
        state.key,
        np.zeros(graph.n_edges, np.bool_),
        graph.ids[graph.edges],
        none,
        none,
        np.empty(0, np.float32),
        graph.n_edges,
    )


def joined_residue(parts: list[Residue], between: Residue) -> Residue:
    """Put the residues of children and the contacts between them together.

    Args:
        parts: residues of blocks that share no region.
        between: contacts whose two ends lie in different parts, as `unmerged_residue` gives them;
            regions that are in a part already are taken from there.
    """
    ids = np.concatenate([part.graph.ids for part in parts])
    regions = stacked([part.graph.regions for part in parts])
    by_id = np.argsort(ids)
    ids, regions = ids[by_id], regions[by_id]
    everything = [*parts, between]
    ends = np.concatenate([part.graph.ids[part.graph.edges] for part in everything])
    tie = np.concatenate([part.tie for part in everything])
    order = np.lexsort((tie[:, 1], tie[:, 0]))
    edges = np.sort(np.searchsorted(ids, ends[order]).astype(np.int32), axis=1)
    return Residue(
        RegionGraph(
            ids,
            regions,
            edges,
            stacked([part.graph.contacts for part in everything])[order],
            between.graph.voxel_size_nm,
        ),
        np.concatenate([part.key for part in everything])[order],
        np.concatenate([part.is_stale for part in everything])[order],
        tie[order],
        np.concatenate([part.merges for part in parts]),
        np.concatenate([part.merge_ties for part in parts]),
        np.concatenate([part.heights for part in parts]),
        sum(part.n_scores for part in everything),
    )


def agglomerate_block(
    residue: Residue, policy: Policy, frozen: npt.NDArray[np.bool_], *, threshold: float = 0.0
) -> Residue:
    """Do in a block what does not depend on its outside.

    Args:
        residue: what is left of the block.
        policy: what scores edges.
        frozen: (R,) bool, regions of `residue.graph` with a neighbour outside the block.
        threshold: key below which nothing is merged.
    """
    scorer = scorer_of(policy)
    graph = residue.graph
    state = blank_state(graph, scorer.n_features, scorer.n_scratch, frozen=frozen)
    state.key[:] = residue.key
    state.links[::2, NOTE] = np.where(residue.is_stale, -1, 0)
    state = state._replace(queue=start_queue(state.key, threshold))
    n_most = max(graph.n_regions - 1, 0)
    merges = np.zeros((n_most, 2), np.int32)
    merged_edges = np.zeros(n_most, np.int32)
    is_left = np.ones(graph.n_regions, np.bool_)
    n = _play_block(state, scorer, float(threshold), merges, merged_edges, is_left)
    merged_edges = merged_edges[:n]
    return Residue(
        *_left_of(state, residue, np.flatnonzero(is_left)),
        np.concatenate([residue.merges, graph.ids[merges[:n]]]),
        np.concatenate([residue.merge_ties, residue.tie[merged_edges]]),
        np.concatenate([residue.heights, state.key[merged_edges]]),
        residue.n_scores + int(state.counters[N_SCORES]),
    )


@njit(cache=True)
def _play_block(state, scorer, threshold, out_merges, out_edges, out_is_left):
    """Run a block; return how many merges there were."""
    n = 0
    while True:
        edge = best_edge(state, scorer, 0.0, np.uint64(0))
        if edge < 0 or state.key[edge] < threshold:
            return n
        u, v = state.links[2 * edge, NODE], state.links[2 * edge + 1, NODE]
        a, b = state.places[u, SMALLEST], state.places[v, SMALLEST]
        out_merges[n, 0], out_merges[n, 1] = min(a, b), max(a, b)
        out_edges[n] = edge
        n += 1
        _, gone = merge(state, edge)
        out_is_left[gone] = False


def _left_of(
    state: MergeState, residue: Residue, roots: npt.NDArray[np.intp]
) -> tuple[RegionGraph, npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.uint64]]:
    """Gather the clusters that are left, at the indices `roots`, and their contacts."""
    graph = residue.graph
    roots = roots[np.argsort(state.smallest[roots])]
    left = np.flatnonzero(state.status != GONE)
    ends = state.links[:, NODE].reshape(-1, 2)
    place = np.full(graph.n_regions, -1, np.int32)
    place[roots] = np.arange(len(roots))
    contacts = np.zeros((len(left), graph.contacts.shape[1]), np.int64)
    contacts[:, CONTACT_COLUMNS] = state.contacts[left]
    bins = contacts[:, st.CONTACT_HISTOGRAM : st.CONTACT_HISTOGRAM + st.N_BINS]
    bins[:, 0] = contacts[:, st.AREA] - bins.sum(1)
    if len(state.positions):
        contacts[:, st.CONTACT_POSITION : st.N_CONTACT_STATISTICS] = state.positions[left]
    if len(state.channels):
        contacts[:, st.N_CONTACT_STATISTICS :] = state.channels[left]
    stale = np.array([is_stale(state.links, state.places, edge) for edge in left], np.bool_)
    return (
        RegionGraph(
            graph.ids[state.smallest[roots]],
            state.regions[roots],
            np.sort(place[ends[left]], axis=1),
            contacts,
            graph.voxel_size_nm,
        ),
        state.key[left],
        stale,
        residue.tie[left],
    )
