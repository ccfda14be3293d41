"""How many clusters the nodes of a tree of blocks are left with, for a volume of any shape.

A node can merge what lies deep inside; what lies nearer than some depth to its open faces, those to
other nodes, waits for its parent. With one depth for a level, the share that is left is that of the
shell of this thickness: at small nodes all of them, at large ones as the surface.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from agglo.blocks.tree import BlockTree

Piece = tuple[int, int]
"""Extent of a node along an axis, voxels and open faces."""

_N_HALVINGS = 60


def shell_of_level(tree: BlockTree, level: int, depth_vox: float) -> float:
    """Return the voxels of all nodes of a level that lie within a depth of their open faces."""
    inside = math.prod(
        sum(_inside(piece, depth_vox) for piece in _pieces(tree, level, axis)) for axis in range(3)
    )
    return math.prod(tree.shape) - inside


def largest_shell(tree: BlockTree, level: int, depth_vox: float) -> float:
    """Return the voxels of `shell_of_level` that come together in one node of the level above."""
    along: list[set[tuple[Piece, ...]]] = []
    for axis in range(3):
        pieces = _pieces(tree, level, axis)
        along.append({tuple(pieces[at : at + 2]) for at in range(0, len(pieces), 2)})
    return max(
        math.prod(sum(length for length, _ in pair) for pair in pairs)
        - math.prod(sum(_inside(piece, depth_vox) for piece in pair) for pair in pairs)
        for pairs in itertools.product(*along)
    )


def depth_of_level(tree: BlockTree, level: int, share: float) -> float:
    """Return the depth at which the shell of a level has a share of the volume.

    Args:
        tree: of blocks.
        level: below the root.
        share: between 0 and 1; at 1, or above what is possible, the least depth that has all.
    """
    low, high = 0.0, float(max(tree.shape))
    wanted = share * math.prod(tree.shape)
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        if shell_of_level(tree, level, middle) < wanted:
            low = middle
        else:
            high = middle
    return high


def measured_depths(tree: BlockTree, clusters: Sequence[int]) -> list[float]:
    """Return the depth of every level below the root.

    Args:
        tree: of blocks.
        clusters: of all nodes of each level together, as they begin.
    """
    return [
        depth_of_level(tree, level, clusters[level + 1] / max(clusters[0], 1))
        for level in range(tree.n_levels - 1)
    ]


def _pieces(tree: BlockTree, level: int, axis: int) -> list[Piece]:
    """Return the nodes of a level along an axis."""
    size, edge = tree.shape[axis], tree.block_vox[axis] << level
    starts = range(0, size, edge)
    return [(min(edge, size - at), (at > 0) + (at + edge < size)) for at in starts]


def _inside(piece: Piece, depth_vox: float) -> float:
    """Return the voxels along an axis that are farther than a depth from its open faces."""
    length, n_open = piece
    return max(0.0, length - n_open * depth_vox)
