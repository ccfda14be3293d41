"""A learned policy with default features and network, beside waterz with mean affinity."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from agglo.phantom import PhantomConfig, make_phantom
from agglo.training.learner import LearnerConfig
from agglo.training.network_fit import fit_network, standardisation
from benchmarks.kernels.race import OURS, Row
from benchmarks.kernels.volumes import BenchmarkVolume, phantom_volume
from benchmarks.kernels.whole import WHOLE
from envs.merge_network import MergeNetwork, average, mean_boundary_network
from envs.merge_tree import MergeTree, relabel
from envs.region_graph import RegionGraph, build_region_graph
from envs.rollout import initial_decisions, play_episode
from envs.truth_rows import truth_table

LEARNED = "learned policy: scoring and merging"
LEARNED_TO_ONE = "learned policy: scoring and merging to one cluster"
LEARNED_WHOLE = "learned policy: superpixels to segmentation"
_SIDE = 128
_ROUNDS = 3


@cache
def learned_policy(seed: int) -> MergeNetwork:
    """Train on a phantom: three rounds of on-policy sign classification, networks averaged."""
    volume = phantom_volume(_SIDE, seed)
    labels = make_phantom(PhantomConfig(seed=seed), (0, 0, 0), (_SIDE, _SIDE, _SIDE)).labels
    graph = build_region_graph(volume.superpixels, volume.image, volume.boundaries)
    truth = truth_table(graph.ids, volume.superpixels, labels)
    features, gains = initial_decisions(graph, truth, mean_boundary_network(0.0))
    mean, scale = standardisation(features)
    networks: list[MergeNetwork] = []
    for round_ in range(_ROUNDS):
        matters = gains[:, 0] != 0
        network, _ = fit_network(
            features[matters], gains[matters, 0] > 0, mean, scale, LearnerConfig(), seed + round_
        )
        networks.append(network)
        episode = play_episode(
            graph, network, truth=truth, record_floor=-1.0, noise=0.5, noise_seed=seed + round_
        )
        features = np.concatenate([features, episode.decisions])
        gains = np.concatenate([gains, episode.decision_gains])
    return average(networks)


def race_learned(volume: BenchmarkVolume, whole: list[Row], n_runs: int, seed: int) -> list[Row]:
    """Time a learned policy at its own threshold, first scoring included.

    Args:
        volume: what is agglomerated.
        whole: rows of `race_whole` on the same volume, for the time of waterz.
        n_runs: times it is measured.
        seed: of the training.
    """
    policy = learned_policy(seed)
    _segment(volume, policy)  # compiles
    seconds = np.full(4, np.inf)
    for _ in range(n_runs):
        graph, tree, stages = _segment(volume, policy)
        start = time.process_time()
        everything = play_episode(graph, policy, threshold=-np.inf)
        to_one_s = time.process_time() - start
        seconds = np.minimum(seconds, [*stages, to_one_s])
    merge_s, whole_s = seconds[1], seconds[:3].sum()
    rows = [
        Row(volume.name, volume.n_voxels, LEARNED, OURS, merge_s, len(tree.merges) / 1e6, "Mmerge"),
        Row(
            volume.name,
            volume.n_voxels,
            LEARNED_TO_ONE,
            OURS,
            seconds[3],
            len(everything.merges) / 1e6,
            "Mmerge",
        ),
        Row(
            volume.name,
            volume.n_voxels,
            LEARNED_WHOLE,
            OURS,
            whole_s,
            volume.n_voxels / 1e6,
            "Mvoxel",
        ),
    ]
    for row in whole:
        if row.task == WHOLE and row.who != OURS:
            who = f"{row.who}, mean affinity"
            rows.append(
                Row(row.volume, row.n_voxels, LEARNED_WHOLE, who, row.cpu_s, row.amount, row.unit)
            )
    return rows


def _segment(
    volume: BenchmarkVolume, policy: MergeNetwork
) -> tuple[RegionGraph, MergeTree, tuple[float, float, float]]:
    """Go the whole way; return graph, merge tree, CPU seconds of graph, policy, relabelling."""
    start = time.process_time()
    graph = build_region_graph(volume.superpixels, volume.image, volume.boundaries)
    built = time.process_time()
    tree = MergeTree.of_episode(graph.ids, play_episode(graph, policy))
    merged = time.process_time()
    relabel(volume.superpixels, graph.ids, tree.cut(0.0))
    return graph, tree, (built - start, merged - built, time.process_time() - merged)
