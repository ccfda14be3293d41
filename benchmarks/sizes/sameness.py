"""Whether two segmentations and their merge trees are equal bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agglo.segmentation import load_tree, tree_path_of
from agglo.volumes import open_volume

SLAB = 64


def sameness(one: Path, other: Path) -> dict[str, bool]:
    """Compare both outputs, a slab at a time."""
    first, second = (open_volume(str(path), argument="--out") for path in (one, other))
    is_same = first.shape == second.shape and all(
        np.array_equal(first[z : z + SLAB], second[z : z + SLAB])
        for z in range(0, first.shape[0], SLAB)
    )
    trees = [load_tree(tree_path_of(str(path)), argument="--out") for path in (one, other)]
    is_same_tree = all(
        np.array_equal(*(getattr(tree, name) for tree in trees))
        for name in ("ids", "merges", "heights")
    )
    return {"is_same_segmentation": is_same, "is_same_tree": is_same_tree}
