"""Where the partial sums of a block are added up: regions at home, contacts where both ends are.

The sums of a contact between two blocks are complete in the lowest node of the tree that holds the
homes of both. Until then its ends must wait: a region's reach is the highest level of a node that
adds up a contact of it, and below that level it is frozen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.blocks.tree import BlockTree
from envs.graph_sum import NO_CONTACTS, NO_REGIONS, SumTable, added_up
from envs.region_graph import RegionGraph


class Parcel(NamedTuple):
    """Partial sums on the way to a node.

    Attributes:
        regions: sums by id, for a block.
        reach: (R,) int64, the highest level of a node to which a contact of the region went.
        contacts: sums by the ids of the two ends.
    """

    regions: SumTable
    reach: npt.NDArray[np.int64]
    contacts: SumTable


NOTHING = Parcel(NO_REGIONS, np.empty(0, np.int64), NO_CONTACTS)


def parcels_of(
    graph: RegionGraph, homes: npt.NDArray[np.int64], tree: BlockTree
) -> dict[int, Parcel]:
    """Share out the sums of a block among nodes.

    Args:
        graph: the block's part of the region graph.
        homes: (R,) int64 block that each region belongs to.
        tree: of blocks.
    """
    u, v = graph.edges.T
    nodes, levels = tree.common(homes[u], homes[v])
    reach = np.zeros(graph.n_regions, np.int64)
    np.maximum.at(reach, u, levels)
    np.maximum.at(reach, v, levels)
    parcels = {}
    for node in np.union1d(homes, nodes).tolist():
        at_home, meets = homes == node, nodes == node
        parcels[node] = Parcel(
            SumTable(graph.ids[at_home, None], graph.regions[at_home]),
            reach[at_home],
            SumTable(graph.ids[graph.edges[meets]], graph.contacts[meets]),
        )
    return parcels


def added_parcels(parcels: Iterable[Parcel]) -> Parcel:
    """Add up what came to a node; regions and contacts come in ascending order."""
    parts = [NOTHING, *parcels]
    ids = np.concatenate([part.regions.keys[:, 0] for part in parts])
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.diff(ids[order], prepend=ids[order][:1] ^ np.uint64(1)))
    reach = np.concatenate([part.reach for part in parts])[order]
    return Parcel(
        added_up([part.regions for part in parts]),
        np.maximum.reduceat(reach, starts) if len(starts) else reach,
        added_up([part.contacts for part in parts]),
    )


def packed_parcels(parcels: dict[int, Parcel]) -> dict[str, npt.NDArray]:
    """Name the arrays of parcels by node, for a shard."""
    arrays: dict[str, npt.NDArray] = {}
    for node, parcel in parcels.items():
        for name, array in zip(_NAMES, _arrays(parcel), strict=True):
            arrays[f"{node}.{name}"] = array
    return arrays


def names_of_parcel(node: int) -> list[str]:
    """Return the names of the arrays of a node's parcel in a shard."""
    return [f"{node}.{name}" for name in _NAMES]


def unpacked_parcel(node: int, arrays: dict[str, npt.NDArray]) -> Parcel:
    """Put a node's parcel together from the arrays of a shard."""
    ids, sums, reach, ends, contacts = (arrays[name] for name in names_of_parcel(node))
    return Parcel(SumTable(ids, sums), reach, SumTable(ends, contacts))


_NAMES = ("ids", "sums", "reach", "ends", "contacts")


def _arrays(parcel: Parcel) -> tuple[npt.NDArray, ...]:
    return *parcel.regions, parcel.reach, *parcel.contacts
