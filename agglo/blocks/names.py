"""The final name of every cluster, looked up from the root of the tree of blocks downwards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.blocks.agglomeration import NodeMerges
from envs.merge_tree import joined_regions


class NameTable(NamedTuple):
    """Names.

    Attributes:
        ids: (R,) uint64 ascending, clusters at the start of a node.
        names: (R,) uint64, the smallest superpixel of the segment that each ends up in.
    """

    ids: npt.NDArray[np.uint64]
    names: npt.NDArray[np.uint64]

    def of(self, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Return the name of every id; an id that is not in the table is its own."""
        if len(self.ids) == 0:
            return ids
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, self.names[place], ids)


NO_NAMES = NameTable(np.empty(0, np.uint64), np.empty(0, np.uint64))


def names_of(made: NodeMerges, above: NameTable, threshold: float) -> NameTable:
    """Return the names of the clusters that there were at the start of a node.

    Heights never increase, so a cluster that took part in a merge below the threshold takes part in
    none of at least the threshold afterwards.

    Args:
        made: the merges of the node.
        above: names of the clusters at the start of its parent.
        threshold: lowest height that is merged.
    """
    merges = np.searchsorted(made.ids, made.merges[made.heights >= threshold])
    clusters = joined_regions(len(made.ids), merges.astype(np.int32).reshape(-1, 2))
    return NameTable(made.ids, above.of(made.ids[clusters]))
