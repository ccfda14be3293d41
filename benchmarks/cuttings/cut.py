"""Blocks that cut a volume into so many parts along each axis."""

from __future__ import annotations

import numpy as np

from agglo.blocks.tree import BlockTree
from analysis.input_error import InputError
from predict.box import Triple


def parse_cutting(text: str) -> Triple:
    """Read `3x1x5`: parts along z, y and x.

    Raises:
        InputError: it says something else.
    """
    words = text.split("x")
    if len(words) != 3 or not all(word.isdigit() and int(word) for word in words):
        raise InputError(f"--cuttings: parts along z, y, x as in 3x1x5 are expected, not {text}.")
    z, y, x = map(int, words)
    return z, y, x


def blocks_of(shape: Triple, parts: Triple) -> Triple:
    """Return the smallest block of which there are so many along each axis.

    Raises:
        InputError: no block that can be written cuts an axis so.
    """
    z, y, x = (_edge(size, n) for size, n in zip(shape, parts, strict=True))
    return z, y, x


def random_blocks(shape: Triple, rng: np.random.Generator) -> Triple:
    """Draw a block of an eighth of the volume to the whole of it along each axis."""
    while True:
        z, y, x = (int(rng.integers(max(1, size // 8), size + 1)) for size in shape)
        try:
            BlockTree(shape, (z, y, x)).chunk_vox()
        except InputError:
            continue
        return z, y, x


def _edge(size: int, n_parts: int) -> int:
    for edge in range(-(-size // n_parts), size + 1):
        if -(-size // edge) != n_parts:
            break
        try:
            BlockTree((size, 1, 1), (edge, 1, 1)).chunk_vox()
        except InputError:
            continue
        return edge
    raise InputError(f"--cuttings: {size} voxels cannot be cut into {n_parts} blocks.")
