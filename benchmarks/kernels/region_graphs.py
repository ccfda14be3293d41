"""Region graphs from voxels: bare, and with all statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.kernels.peers import Peers
from benchmarks.kernels.race import OURS, Row, race
from benchmarks.kernels.volumes import BenchmarkVolume
from envs.affinity_graph import build_affinity_graph
from envs.region_graph import build_region_graph, region_adjacency

BARE = "region graph, bare"
FULL = "region graph, statistics"
AFFINE = "region graph from affinities, statistics"

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def race_region_graphs(volume: BenchmarkVolume, peers: Peers, n_runs: int) -> list[Row]:
    """Build graphs; the peer's statistics are its 12 features of contacts."""
    labels, image, boundaries = volume.superpixels, volume.image, volume.boundaries
    bare: dict[str, Callable[[], Any]] = {OURS: lambda: region_adjacency(labels)}
    full: dict[str, Callable[[], Any]] = {
        OURS: lambda: build_region_graph(labels, image, boundaries)
    }
    affinities = volume.affinities
    affine: dict[str, Callable[[], Any]] = {
        OURS: lambda: build_affinity_graph(labels, image, affinities)
    }
    peer = peers.bioimage_cpp
    if peer:
        graph = peer.graph

        def with_features() -> object:
            rag = graph.region_adjacency_graph(labels, number_of_threads=1)
            return graph.features.edge_map_features_complex(
                rag, labels, boundaries, number_of_threads=1
            )

        def with_affinities() -> object:
            rag = graph.region_adjacency_graph(labels, number_of_threads=1)
            return graph.features.affinity_features_complex(
                rag, labels, affinities, OFFSETS, number_of_threads=1
            )

        affine["bioimage-cpp"] = with_affinities
        bare["bioimage-cpp"] = lambda: graph.region_adjacency_graph(labels, number_of_threads=1)
        full["bioimage-cpp"] = with_features
    return [
        Row(volume.name, volume.n_voxels, task, who, cpu_s, volume.n_voxels / 1e6, "Mvoxel")
        for task, contenders in ((BARE, bare), (FULL, full), (AFFINE, affine))
        for who, cpu_s in race(contenders, n_runs)[0].items()
    ]
