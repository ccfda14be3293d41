"""Partial region graphs added up: the sums of blocks are exactly the sums of their volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from envs import statistics as st
from envs.region_graph import RegionGraph


class SumTable(NamedTuple):
    """Additive statistics by key; a key may come several times until they are added up.

    Attributes:
        keys: (N, K) uint64: an id, or the two ids of a contact, smaller first.
        sums: (N, S) int64.
    """

    keys: npt.NDArray[np.uint64]
    sums: npt.NDArray[np.int64]


def region_table(graph: RegionGraph) -> SumTable:
    """Return the regions of a graph by their ids."""
    return SumTable(graph.ids[:, None], graph.regions)


def contact_table(graph: RegionGraph) -> SumTable:
    """Return the contacts of a graph by the ids of their ends."""
    return SumTable(graph.ids[graph.edges], graph.contacts)


def added_up(tables: Sequence[SumTable]) -> SumTable:
    """Add up the rows of one key; keys come in ascending order.

    Args:
        tables: one at least, all of one width.
    """
    keys = np.concatenate([table.keys for table in tables])
    sums = stacked([table.sums for table in tables])
    order = np.lexsort(keys.T[::-1])
    keys = keys[order]
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    starts = np.flatnonzero(is_first)
    total = np.add.reduceat(sums[order], starts, axis=0) if len(starts) else sums
    return SumTable(keys[starts], total)


def stacked(sums: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Put rows of sums together; what has no row need not have the columns of the others.

    Args:
        sums: one at least.
    """
    return np.concatenate([one for one in sums if len(one)] or sums[:1])


def graph_of_tables(
    regions: SumTable, contacts: SumTable, voxel_size_nm: tuple[float, float, float]
) -> RegionGraph:
    """Build a graph from tables that are added up.

    Args:
        regions: every region that is an end of a contact, and perhaps more.
        contacts: ids of their ends.
        voxel_size_nm: edge lengths of a voxel.
    """
    ids = regions.keys[:, 0]
    edges = np.searchsorted(ids, contacts.keys).astype(np.int32).reshape(-1, 2)
    if not np.array_equal(ids[edges], contacts.keys):
        raise ValueError("a contact has an end that is not among the regions")
    return RegionGraph(ids, regions.sums, edges, contacts.sums, voxel_size_nm)


def sum_of_graphs(parts: Sequence[RegionGraph]) -> RegionGraph:
    """Add up the graphs of blocks that make up a volume, or a part of it.

    Args:
        parts: one at least, as `build_region_graph` makes them of a core with its rim.
    """
    return graph_of_tables(
        added_up([region_table(part) for part in parts]),
        added_up([contact_table(part) for part in parts]),
        parts[0].voxel_size_nm,
    )


NO_REGIONS = SumTable(np.empty((0, 1), np.uint64), np.empty((0, st.N_REGION_STATISTICS), np.int64))
NO_CONTACTS = SumTable(
    np.empty((0, 2), np.uint64), np.empty((0, st.N_CONTACT_STATISTICS), np.int64)
)
