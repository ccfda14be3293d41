"""What is kept of the superpixels of a volume for its error, block by block and put together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agglo.blocks.job import BlockJob
from agglo.blocks.shard import read_shard
from envs import statistics as st
from envs.region_graph import RegionGraph


class SuperpixelSizes(NamedTuple):
    """How large superpixels are, where, and how much of them is membrane.

    Attributes:
        ids: (R,) uint64, ascending.
        sizes: (R,) int64, voxels.
        positions: (R, 3) int64, sums of z, y and x over these voxels.
        boundary: (R,) int64, sums of their 8-bit boundary values.
    """

    ids: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    boundary: npt.NDArray[np.int64]


def sizes_of(graph: RegionGraph) -> SuperpixelSizes:
    """Take what is kept of the regions of a graph."""
    positions = graph.regions[:, st.REGION_POSITION : st.REGION_POSITION + 3]
    sizes, boundary = graph.regions[:, st.SIZE], graph.regions[:, st.BOUNDARY]
    return SuperpixelSizes(graph.ids, sizes, positions, boundary)


def gather_sizes(job: BlockJob) -> SuperpixelSizes:
    """Put the superpixels of all blocks together."""
    parts = [
        SuperpixelSizes(**read_shard(job.table("sizes", block)))  # type: ignore[arg-type]
        for block in job.tree.nodes(0)
    ]
    gathered = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    order = np.argsort(gathered[0])
    return SuperpixelSizes(*(array[order] for array in gathered))
