"""A volume cut into blocks, and the tree over them.

All triples are z, y, x, in voxels or in blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.box import Box, Triple, whole

CHUNK_VOX = (16, 128)
"""Edges of chunks between which a block is cut into equal ones; 64 where that is possible."""


@dataclass(frozen=True, slots=True)
class BlockTree:
    """Blocks on a grid from the volume's origin, and nodes that join up to two of them an axis.

    Nodes are numbered level by level, those of a level in raster order: 0, 1, … are the blocks
    themselves, the last is the root, which is the whole volume.

    Attributes:
        shape: of the volume.
        block_vox: of a block; the last one along an axis may be shorter.
    """

    shape: Triple
    block_vox: Triple

    def __post_init__(self) -> None:
        if min(self.block_vox) < 1:
            raise InputError(f"--blocks: {self.block_vox} voxels make no block.")

    @property
    def n_blocks(self) -> int:
        """Return the number of blocks."""
        return math.prod(self.grid(0))

    @property
    def n_levels(self) -> int:
        """Return the number of levels, from blocks to root."""
        return 1 + max((n - 1).bit_length() for n in self.grid(0))

    @property
    def root(self) -> int:
        """Return the last node."""
        return self.nodes(self.n_levels - 1)[-1]

    def grid(self, level: int) -> Triple:
        """Return the number of nodes along each axis."""
        z, y, x = (
            math.ceil(size / block / 2**level)
            for size, block in zip(self.shape, self.block_vox, strict=True)
        )
        return z, y, x

    def nodes(self, level: int) -> range:
        """Return the nodes of a level."""
        first = sum(math.prod(self.grid(below)) for below in range(level))
        return range(first, first + math.prod(self.grid(level)))

    def level(self, node: int) -> int:
        """Return the level of a node."""
        return next(level for level in range(self.n_levels) if node in self.nodes(level))

    def box(self, block: int) -> Box:
        """Return the voxels of a block."""
        z, y, x = (
            int(place) * edge
            for place, edge in zip(
                np.unravel_index(block, self.grid(0)), self.block_vox, strict=True
            )
        )
        dz, dy, dx = self.block_vox
        return Box((z, y, x), (z + dz, y + dy, x + dx)).intersect(whole(self.shape))

    def shrunk(self, level: int) -> BlockTree:
        """Return the blocks of the volume at a resolution, each half the one before.

        They are as many as the nodes of that level.
        """
        z, y, x = (-(-size // 2**level) for size in self.shape)
        return BlockTree((z, y, x), self.block_vox)

    def blocks_of(self, voxels: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return (N,) int64 the block of every voxel.

        Args:
            voxels: (N,) uint64, places in the volume in raster order, counted from 0.
        """
        places = np.unravel_index(voxels.astype(np.int64), self.shape)
        on_grid = tuple(at // edge for at, edge in zip(places, self.block_vox, strict=True))
        return np.ravel_multi_index(on_grid, self.grid(0)).astype(np.int64)

    def parent(self, node: int) -> int:
        """Return the node above; the root has none."""
        level = self.level(node)
        place = np.unravel_index(node - self.nodes(level)[0], self.grid(level))
        above = tuple(int(at) // 2 for at in place)
        return self.nodes(level + 1)[int(np.ravel_multi_index(above, self.grid(level + 1)))]

    def children(self, node: int) -> list[int]:
        """Return the nodes below, ascending; a block has none."""
        level = self.level(node)
        if level == 0:
            return []
        place = np.unravel_index(node - self.nodes(level)[0], self.grid(level))
        below = self.grid(level - 1)
        z, y, x = (
            np.arange(2 * at, min(2 * at + 2, n)) for at, n in zip(place, below, strict=True)
        )
        numbers = np.ravel_multi_index(tuple(np.meshgrid(z, y, x, indexing="ij")), below)
        return (self.nodes(level - 1)[0] + numbers.ravel()).tolist()

    def common(
        self, first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the lowest nodes that hold two blocks each.

        Args:
            first: (N,) int64 blocks.
            second: (N,) int64 blocks.

        Returns:
            (N,) int64 nodes, and (N,) int64 their levels.
        """
        places = np.stack(np.unravel_index(first, self.grid(0)))
        others = np.stack(np.unravel_index(second, self.grid(0)))
        n_bits = np.frexp((places ^ others).astype(np.float64))[1]  # 0 for 0
        levels = n_bits.max(axis=0, initial=0).astype(np.int64)
        nodes = np.empty(len(first), np.int64)
        for level in np.unique(levels).tolist():
            here = levels == level
            above = np.ravel_multi_index(tuple(places[:, here] >> level), self.grid(level))
            nodes[here] = self.nodes(level)[0] + above
        return nodes, levels

    def chunk_vox(self) -> Triple:
        """Return the chunk of outputs: a block is cut into whole ones.

        Raises:
            InputError: where a block's edge has no divisor that makes sense.
        """
        z, y, x = (
            _chunk_edge(edge, size) for edge, size in zip(self.block_vox, self.shape, strict=True)
        )
        return z, y, x


def _chunk_edge(edge: int, size: int) -> int:
    """Return how long chunks are along an axis."""
    if edge >= size:  # one block; the array's end cuts its last chunk
        return 64
    if edge % 64 == 0:
        return 64
    low, high = CHUNK_VOX
    for chunk in range(min(high, edge), 0, -1):
        if edge % chunk == 0 and (chunk >= low or chunk == edge):
            return chunk
    raise InputError(
        f"--blocks: {edge} voxels cannot be cut into equal chunks of {low} to {high}; "
        "take a multiple of 64."
    )
