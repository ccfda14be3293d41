"""What the first call of every kernel costs."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.kernels.merging import mean_tree
from envs.merge_tree import relabel
from envs.region_graph import build_region_graph, region_adjacency


def compile_kernels() -> dict[str, float]:
    """Call all kernels on a few voxels; return the CPU seconds, compilation or loading."""
    labels = np.arange(64, dtype=np.uint64).reshape(4, 4, 4) // np.uint64(8) + np.uint64(1)
    grey = np.zeros(labels.shape, np.uint8)
    ids = np.unique(labels)
    seconds = {}
    for name, call in {
        "region graph": lambda: region_adjacency(labels),
        "average linkage": lambda: mean_tree(build_region_graph(labels, grey, grey), 0.0),
        "relabelling": lambda: relabel(labels, ids, ids),
    }.items():
        start = time.process_time()
        call()
        seconds[name] = time.process_time() - start
    return seconds
