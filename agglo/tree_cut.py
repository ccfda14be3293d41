"""A segmentation at another threshold, from superpixels and merge tree alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import fastremap
import numpy as np
import numpy.typing as npt

from agglo.blocks.merge_shards import joined_tree
from agglo.progress import progress
from agglo.segmentation import load_tree
from agglo.volumes import ArrayLayout, BlockWriter, VoxelSize, open_volume, require_volume
from analysis.input_error import InputError
from envs.merge_tree import MergeTree, relabel

BLOCK_VOX = 256
"""Edge of what is read at a time: 300 MB with the result."""


def cut_tree(
    superpixels: str,
    merge_tree: str,
    out: str,
    *,
    threshold: float,
    voxel_size_nm: VoxelSize | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the segmentation that a policy would have left at a threshold; nothing is scored.

    Args:
        superpixels: address of the superpixels that were agglomerated.
        merge_tree: the tree that `agglo segment` wrote: a file, or above 10⁷ superpixels a folder.
        out: address of the segmentation.
        threshold: merges of at least this height are made.
        voxel_size_nm: for superpixels that state none.
        overwrite: replace an output that exists.

    Returns:
        `n_superpixels`, `n_segments` and `threshold`.

    Raises:
        InputError: where tree and superpixels do not belong together, one of them cannot be read,
            or the output not be written; nothing is left of it then.
    """
    if not np.isfinite(threshold):
        raise InputError(f"--threshold must be a finite number, not {threshold}.")
    with open_volume(superpixels, argument="--superpixels", voxel_size_nm=voxel_size_nm) as volume:
        if volume.ndim != 3 or 0 in volume.shape:
            require_volume(volume, "--superpixels", "superpixels")
        tree = _read_tree(Path(merge_tree))
        clusters = tree.cut(threshold)
        ranges = [
            [slice(begin, min(begin + BLOCK_VOX, size)) for begin in range(0, size, BLOCK_VOX)]
            for size in volume.shape
        ]
        boxes = list(itertools.product(*ranges))
        writer = BlockWriter(
            out,
            ArrayLayout(volume.shape, np.uint64),
            voxel_size_nm=volume.voxel_size_nm,
            overwrite=overwrite,
            attributes={"threshold": threshold},
        )
        with writer, progress("cut", len(boxes)) as bar:
            for box in boxes:
                read = require_volume(volume[box], f"--superpixels: {superpixels}", "labels")
                offset = tuple(part.start for part in box)
                writer.write(offset, _cut_block(read, tree, clusters, merge_tree))
                bar.advance()
    return {
        "n_superpixels": len(tree.ids),
        "n_segments": len(np.unique(clusters)),
        "threshold": threshold,
    }


def _cut_block(
    superpixels: npt.NDArray[np.integer],
    tree: MergeTree,
    clusters: npt.NDArray[np.uint64],
    named: str,
) -> npt.NDArray[np.uint64]:
    ids = fastremap.unique(superpixels).astype(np.uint64)
    ids = ids[ids != 0]
    rows = np.searchsorted(tree.ids, ids)
    known = rows < len(tree.ids)
    known[known] = tree.ids[rows[known]] == ids[known]
    if not known.all():
        raise InputError(
            f"--merge-tree: {named} does not know superpixel {ids[~known][0]}; it belongs to other "
            "superpixels."
        )
    return relabel(superpixels, ids, clusters[rows])


def _read_tree(path: Path) -> MergeTree:
    if not path.is_dir():
        return load_tree(path, argument="--merge-tree")
    shards = sorted(path.glob("*.npz"))
    if not shards:
        raise InputError(f"--merge-tree: {path} holds no merge tree.")
    try:
        return joined_tree(shards)
    except (InputError, ValueError) as error:
        raise InputError(f"--merge-tree: {path} holds no whole merge tree ({error})") from error
