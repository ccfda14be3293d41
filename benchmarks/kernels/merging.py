"""Average linkage on a region graph, and writing its segmentation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.kernels.peers import Peers
from benchmarks.kernels.race import OURS, Row, race
from benchmarks.kernels.volumes import BenchmarkVolume
from envs import statistics as st
from envs.mean_linkage import mean_linkage
from envs.merge_tree import MergeTree, relabel
from envs.region_graph import RegionGraph, build_region_graph

THRESHOLD = 0.5003
"""Mean affinity down to which is merged; not the mean of a few 8-bit numbers."""

LINKAGE = "average linkage"
LINKAGE_TO_ONE = "average linkage to one cluster"
RELABEL = "relabelling"


def mean_tree(graph: RegionGraph, threshold: float) -> MergeTree:
    """Merge by mean affinity, 1 less the larger boundary of the two voxels of a face."""
    areas = graph.contacts[:, st.AREA]
    sums = 255 * areas - graph.contacts[:, st.FACE_MAX]
    merges, heights = mean_linkage(
        graph.edges, sums, areas, graph.n_regions, threshold=255 * threshold
    )
    return MergeTree(graph.ids, merges, heights)


def race_merging(volume: BenchmarkVolume, peers: Peers, n_runs: int) -> tuple[list[Row], int, int]:
    """Merge to the same number of clusters and write them; return rows, regions, contacts.

    Graphs stand ready for all. Average linkage of the peer is its GASP with the mean, and its
    edge-weighted clustering.
    """
    graph = build_region_graph(volume.superpixels, volume.image, volume.boundaries)
    areas = graph.contacts[:, st.AREA].copy()
    sums = 255 * areas - graph.contacts[:, st.FACE_MAX]
    rows = []
    for task, threshold in ((LINKAGE, THRESHOLD), (LINKAGE_TO_ONE, -np.inf)):
        link = partial(
            mean_linkage, graph.edges, sums, areas, graph.n_regions, threshold=255 * threshold
        )
        n_merges = len(link()[0])
        contenders: dict[str, Callable[[], Any]] = {OURS: link}
        if peers.bioimage_cpp:
            n_left = graph.n_regions - n_merges
            contenders |= _linkages_of_peer(graph, sums / areas / 255, n_left, peers.bioimage_cpp)
        rows += [
            Row(volume.name, volume.n_voxels, task, who, cpu_s, n_merges / 1e6, "Mmerge")
            for who, cpu_s in race(contenders, 3 * n_runs)[0].items()
        ]
    rows += _race_relabelling(volume, mean_tree(graph, THRESHOLD), peers, n_runs)
    return rows, graph.n_regions, graph.n_edges


def _linkages_of_peer(
    graph: RegionGraph, affinities: npt.NDArray[np.float64], n_left: int, peer: ModuleType
) -> dict[str, Callable[[], Any]]:
    """Return its two kinds of average linkage, down to a number of clusters."""
    undirected = peer.graph.UndirectedGraph.from_unique_edges(
        graph.n_regions, graph.edges.astype(np.uint64)
    )
    undirected.freeze()
    sizes = graph.contacts[:, st.AREA].astype(np.float64)
    policies = peer.graph.agglomeration
    gasp = policies.GaspClusterPolicy(num_clusters_stop=n_left, linkage="mean")
    weighted = policies.EdgeWeightedClusterPolicy(num_clusters_stop=n_left, size_regularizer=0.0)
    positive, distances = 0.0001 + affinities, 1 - affinities  # GASP ends at weights of 0
    return {
        "bioimage-cpp GASP": lambda: gasp.optimize(undirected, positive, edge_sizes=sizes),
        "bioimage-cpp edge-weighted": lambda: weighted.optimize(
            undirected, distances, edge_sizes=sizes
        ),
    }


def _race_relabelling(
    volume: BenchmarkVolume, tree: MergeTree, peers: Peers, n_runs: int
) -> list[Row]:
    """Write the clusters of a tree; the peer takes them by superpixel id, from 0."""
    labels, clusters = volume.superpixels, tree.cut(-np.inf)
    contenders: dict[str, Callable[[], Any]] = {OURS: lambda: relabel(labels, tree.ids, clusters)}
    peer = peers.bioimage_cpp
    if peer:
        graph = peer.graph
        rag = graph.region_adjacency_graph(labels, number_of_threads=1)
        by_id = np.zeros(int(tree.ids[-1]) + 1, np.uint64)
        by_id[tree.ids.astype(np.int64)] = clusters
        contenders["bioimage-cpp"] = lambda: graph.project_node_labels_to_pixels(
            rag, labels, by_id, number_of_threads=1
        )
    return [
        Row(volume.name, volume.n_voxels, RELABEL, who, cpu_s, volume.n_voxels / 1e6, "Mvoxel")
        for who, cpu_s in race(contenders, n_runs)[0].items()
    ]
