"""Agglomeration of a node of the tree of blocks: what does not depend on its outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.blocks.routes import Parcel
from envs.block_rule import Residue, agglomerate_block, joined_residue, unmerged_residue
from envs.graph_sum import SumTable, graph_of_tables, stacked
from envs.region_graph import RegionGraph
from envs.scorers import Policy


class OpenGraph(NamedTuple):
    """What is left of a node for its parent, without the merges that were made.

    Attributes:
        residue: clusters and contacts.
        reach: (R,) int64, level below which each region is frozen; of no meaning where that is
            past.
    """

    residue: Residue
    reach: npt.NDArray[np.int64]


class NodeMerges(NamedTuple):
    """The merges of a node.

    Attributes:
        ids: (R,) uint64 ascending, the clusters that there were, by their smallest superpixel.
        merges: (M, 2) uint64, clusters merged, the smaller name first.
        ties: (M, 2) uint64, tie numbers of the edges merged.
        heights: (M,) float32.
        n_scores: edges scored.
    """

    ids: npt.NDArray[np.uint64]
    merges: npt.NDArray[np.uint64]
    ties: npt.NDArray[np.uint64]
    heights: npt.NDArray[np.float32]
    n_scores: int


def leaf_graph(
    parcel: Parcel, policy: Policy, voxel_size_nm: tuple[float, float, float]
) -> OpenGraph:
    """Make the graph of a block of what came to it, added up, and score its contacts."""
    graph = graph_of_tables(parcel.regions, parcel.contacts, voxel_size_nm)
    return OpenGraph(unmerged_residue(graph, policy), parcel.reach)


def joined_graph(
    children: Sequence[OpenGraph],
    contacts: SumTable,
    policy: Policy,
    voxel_size_nm: tuple[float, float, float],
) -> OpenGraph:
    """Join the graphs of children and score the contacts between them.

    Args:
        children: what is left of each. Ends of `contacts` were frozen in them, so they are still
            superpixels.
        contacts: between different children, added up.
        policy: what scores them.
        voxel_size_nm: z, y, x.
    """
    ids = np.concatenate([child.residue.graph.ids for child in children])
    order = np.argsort(ids)
    ends = np.unique(contacts.keys)
    place = order[np.searchsorted(ids[order], ends)]
    regions = stacked([child.residue.graph.regions for child in children])
    between = graph_of_tables(SumTable(ends[:, None], regions[place]), contacts, voxel_size_nm)
    residue = joined_residue(
        [child.residue for child in children], unmerged_residue(between, policy)
    )
    return OpenGraph(residue, np.concatenate([child.reach for child in children])[order])


def agglomerate_node(
    graph: OpenGraph, policy: Policy, level: int, threshold: float = -np.inf
) -> tuple[NodeMerges, OpenGraph]:
    """Merge what is ready inside a node; return the merges, and what is left for the parent.

    What can never merge any more, as it touches nothing, is left out of that.

    Args:
        graph: of the node, without merges.
        policy: what scores edges.
        level: of the node.
        threshold: key below which nothing is merged.
    """
    ids = graph.residue.graph.ids
    left = agglomerate_block(graph.residue, policy, graph.reach > level, threshold=threshold)
    made = NodeMerges(ids, left.merges, left.merge_ties, left.heights, left.n_scores)
    none = np.empty((0, 2), np.uint64)
    left = left._replace(merges=none, merge_ties=none, heights=left.heights[:0], n_scores=0)
    reach = graph.reach[np.searchsorted(ids, left.graph.ids)]
    is_open = reach > level
    is_open[left.graph.edges] = True
    if not is_open.all():
        left, reach = left._replace(graph=_part_of(left.graph, is_open)), reach[is_open]
    return made, OpenGraph(left, reach)


def _part_of(graph: RegionGraph, is_kept: npt.NDArray[np.bool_]) -> RegionGraph:
    """Leave out regions without a contact."""
    number = np.cumsum(is_kept, dtype=np.int32) - np.int32(1)
    return RegionGraph(
        graph.ids[is_kept],
        graph.regions[is_kept],
        number[graph.edges],
        graph.contacts,
        graph.voxel_size_nm,
    )


def packed_graph(graph: OpenGraph) -> dict[str, npt.NDArray]:
    """Name the arrays of what is left, for a shard."""
    residue = graph.residue
    return {
        "ids": residue.graph.ids,
        "regions": residue.graph.regions,
        "edges": residue.graph.edges,
        "contacts": residue.graph.contacts,
        "key": residue.key,
        "is_stale": residue.is_stale,
        "tie": residue.tie,
        "reach": graph.reach,
    }


def unpacked_graph(
    arrays: dict[str, npt.NDArray], voxel_size_nm: tuple[float, float, float]
) -> OpenGraph:
    """Put what is left together from the arrays of a shard."""
    graph = RegionGraph(
        arrays["ids"], arrays["regions"], arrays["edges"], arrays["contacts"], voxel_size_nm
    )
    none = np.empty((0, 2), np.uint64)
    residue = Residue(
        graph,
        arrays["key"],
        arrays["is_stale"],
        arrays["tie"],
        merges=none,
        merge_ties=none,
        heights=np.empty(0, np.float32),
        n_scores=0,
    )
    return OpenGraph(residue, arrays["reach"])
