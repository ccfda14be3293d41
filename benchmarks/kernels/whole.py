"""From superpixels to a segmentation by mean affinity, beside waterz."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.contingency import contingency_table
from analysis.segmentation_scores import score_segmentation
from benchmarks.kernels.merging import THRESHOLD, mean_tree
from benchmarks.kernels.peers import Peers, silence
from benchmarks.kernels.race import OURS, Row
from benchmarks.kernels.volumes import BenchmarkVolume
from envs.merge_tree import relabel
from envs.region_graph import build_region_graph

GRAPH = "whole: region graph, statistics"
MERGE = "whole: merging and relabelling"
WHOLE = "whole: superpixels to segmentation"


class Stages(NamedTuple):
    """CPU seconds of one run, and its segmentation."""

    graph_s: float
    merge_s: float
    segmentation: npt.NDArray[np.uint64]


def race_whole(
    volume: BenchmarkVolume, peers: Peers, n_runs: int
) -> tuple[list[Row], float | None]:
    """Go the whole way in turn; return rows, and the VI in bits between the two segmentations.

    Both write over a copy of the superpixels. waterz sums nothing but the mean affinity; its
    merging cannot be told from its relabelling.
    """
    contenders = {OURS: lambda: segment(volume)}
    if peers.waterz:
        contenders["waterz"] = lambda: _waterz(volume, peers)
    best = dict.fromkeys(contenders, (np.inf, np.inf))
    segmentations = {}
    for _ in range(n_runs):
        for who, go in contenders.items():
            segmentations.pop(who, None)
            stages = go()
            best[who] = min(best[who][0], stages.graph_s), min(best[who][1], stages.merge_s)
            segmentations[who] = stages.segmentation
            del stages
    rows = [
        Row(volume.name, volume.n_voxels, task, who, cpu_s, volume.n_voxels / 1e6, "Mvoxel")
        for place, task in enumerate((GRAPH, MERGE, WHOLE))
        for who, seconds in best.items()
        for cpu_s in ([*seconds, sum(seconds)][place],)
    ]
    if not peers.waterz:
        return rows, None
    scores = score_segmentation(contingency_table(*segmentations.values()))
    return rows, scores.vi


def segment(volume: BenchmarkVolume) -> Stages:
    """Go our way: region graph with all statistics, average linkage, segmentation."""
    fragments = volume.superpixels.copy()
    start = time.process_time()
    graph = build_region_graph(fragments, volume.image, volume.boundaries)
    middle = time.process_time()
    tree = mean_tree(graph, THRESHOLD)
    segmentation = relabel(fragments, graph.ids, tree.cut(-np.inf), out=fragments)
    return Stages(middle - start, time.process_time() - middle, segmentation)


def _waterz(volume: BenchmarkVolume, peers: Peers) -> Stages:
    """Run waterz; nothing is below its first threshold, so that only the graph is built for it."""
    assert peers.waterz is not None
    fragments, affinities = volume.superpixels.copy(), volume.affinities
    with silence():
        start = time.process_time()
        segmentations = peers.waterz.agglomerate(
            affinities, [-1.0, 1 - THRESHOLD], fragments=fragments
        )
        next(segmentations)
        middle = time.process_time()
        segmentation = next(segmentations)
        end = time.process_time()
    return Stages(middle - start, end - middle, segmentation)
