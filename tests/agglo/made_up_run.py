"""Results of runs over blocks that nobody made, with costs that are known."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

from agglo.blocks.tree import BlockTree
from agglo.blocks.tree_growth import largest_shell, shell_of_level
from agglo.blocks.work import StageWork


def made_up(shape: tuple[int, int, int], *, warm: float = 3.0) -> dict[str, Any]:
    """Return the results of a run whose blocks and clusters cost the same everywhere.

    A voxel takes 1 µs in every stage on voxels, a cluster 1 ms; the shell is 10 voxels deep. A
    cluster that is left is written with 50 bytes and read again.
    """
    tree = BlockTree(shape, (64, 64, 64))
    n_voxels = math.prod(shape)
    clusters = [n_voxels // 1000]
    largest = [64**3 // 1000]
    for level in range(tree.n_levels - 1):
        clusters.append(round(shell_of_level(tree, level, 10.0) / 1000))
        largest.append(round(largest_shell(tree, level, 10.0) / 1000))

    def work(tasks: int, busy: float, peak_mb: float, voxels: int = 0) -> StageWork:
        first = 64**3 * 1e-6 + warm if voxels else 0.0
        busy += warm * bool(voxels)
        return StageWork(
            *(tasks, busy, busy, busy / 2, 100.0, peak_mb, voxels * 2, voxels * 4, voxels),
            *(int(bool(voxels)), first, first / 2, 64**3 * bool(voxels)),
        )

    blocks = {
        name: work(tree.n_blocks, n_voxels * 1e-6, 300.0, n_voxels)
        for name in ("superpixels", "sums", "routes", "segmentation")
    }
    levels = [work(tree.n_blocks, n_voxels * 1e-6, 200.0, n_voxels)] + [
        work(len(tree.nodes(level)), clusters[level] * 1e-3, 100 + 0.1 * largest[level])
        for level in range(1, tree.n_levels)
    ]
    following = [*clusters[1:], 0]
    levels = [
        replace(
            took,
            read_bytes=took.read_bytes + 50 * clusters[level] * (level > 0),
            written_bytes=took.written_bytes
            + 50 * following[level]
            + 2 * clusters[level] * (level > 0),
        )
        for level, took in enumerate(levels)
    ]
    nodes = work(tree.root + 1, 5.0, 250.0)
    stages = {
        "superpixels": blocks["superpixels"],
        "sums": blocks["sums"],
        "homes": work(1, 0.1, 120.0),
        "routes": blocks["routes"],
        "agglomeration": nodes,
        "names": work(tree.root + 1, sum(clusters) * 1e-4, 150.0),
        "segmentation": blocks["segmentation"],
    }
    smaller = [tree.shrunk(level) for level in (1, 2)]
    n_smaller = sum(math.prod(one.shape) for one in smaller)
    stages["pyramid"] = work(
        sum(one.n_blocks for one in smaller), n_smaller * 1e-6, 300.0, n_smaller
    )
    return {
        "shape": [*shape],
        "blocks": [64, 64, 64],
        "n_resolutions": 3,
        "clusters": clusters,
        "largest_graphs": largest,
        "stages": {name: asdict(took) for name, took in stages.items()},
        "levels": [asdict(took) for took in levels],
        "end_seconds": 1.0,
        "seconds": sum(took.seconds for took in stages.values()) + 1.0 + 8.0,
    }
