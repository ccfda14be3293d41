"""Which head predicts which part of a training volume, so that nothing predicts what it learned.

All triples are z, y, x. The input of a recursion's next iteration must look, on the volumes that
train it, as it will on volumes that nobody has labelled. Each training box is therefore cut into
`N_PARTS` pieces; for each piece there is a head that sees no label of it and predicts it, and one
more head sees all pieces, predicts everything else and is the one that is kept (stacked
generalisation, Wolpert 1992). From the second iteration on the heads read affinities whose
own heads saw the other pieces: labels of a piece reach its prediction only by that detour.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

from predict.box import Box, Triple, whole
from predict.folds import GAP_VOX

N_PARTS = 2
"""Pieces of every training box; one head leaves out each, another sees them all."""

Assignment = tuple[tuple[Box, int], ...]
"""Boxes that cover a volume without overlap, each with the number of the head that predicts it."""


def cut_training_boxes(boxes: Sequence[Box]) -> tuple[tuple[Box, ...], ...]:
    """Cut every box along its longest axis and return the boxes of each part.

    Args:
        boxes: training boxes of one volume.

    Returns:
        `N_PARTS` tuples, a piece of each box in each.
    """
    parts: list[list[Box]] = [[] for _ in range(N_PARTS)]
    for box in boxes:
        axis = max(range(3), key=lambda axis: box.shape[axis])
        start, extent = box.start[axis], box.shape[axis]
        cuts = [start + extent * part // N_PARTS for part in range(N_PARTS + 1)]
        for part, (first, last) in zip(parts, pairwise(cuts), strict=True):
            part.append(box.along(axis, first, last))
    return tuple(map(tuple, parts))


def examples_of(parts: Sequence[Sequence[Box]]) -> tuple[tuple[Box, ...], ...]:
    """Return the pieces without `GAP_VOX` voxels at their cut, where no example is taken.

    A target reads labels one voxel away, so examples beside the cut would tell of the other piece.

    Args:
        parts: of `cut_training_boxes`.
    """
    trimmed = [list(parts[0])]
    for before, part in pairwise(parts):
        pieces = []
        for left, box in zip(before, part, strict=True):
            axis = next(axis for axis in range(3) if left.stop[axis] == box.start[axis])
            pieces.append(box.along(axis, box.start[axis] + GAP_VOX, box.stop[axis]))
        trimmed.append(pieces)
    return tuple(tuple(box for box in part if box.n_voxels > 0) for part in trimmed)


def assign_heads(shape: Triple, parts: Sequence[Sequence[Box]]) -> Assignment:
    """Cover a volume with boxes and say which head predicts each.

    Args:
        shape: z, y, x, of the volume.
        parts: of `cut_training_boxes`; piece p is predicted by head p, all else by the last head.
    """
    boxes = [(box, head) for head, part in enumerate(parts) for box in part]
    corners = [
        sorted({0, shape[axis]} | {side[axis] for box, _ in boxes for side in box})
        for axis in range(3)
    ]
    cells = []
    for (z0, z1), (y0, y1), (x0, x1) in product(*(pairwise(along) for along in corners)):
        cell = Box((z0, y0, x0), (z1, y1, x1))
        heads = [head for box, head in boxes if cell.intersect(box).n_voxels > 0]
        cells.append((cell, heads[0] if heads else len(parts)))
    assert sum(cell.n_voxels for cell, _ in cells) == whole(shape).n_voxels
    return tuple(cells)
