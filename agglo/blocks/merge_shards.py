"""The merges of all nodes, gathered into one merge tree where it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agglo.blocks.job import BlockJob
from agglo.blocks.shard import read_shard
from envs.merge_tree import MergeTree

LARGEST_TREE = 10_000_000
"""Superpixels up to which the merge tree is put into one file; it takes 1 GB to sort that."""


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """What was merged, counted.

    Attributes:
        n_superpixels: of the volume.
        n_segments: clusters at the threshold.
        n_scores: edges scored.
        clusters: for every level, the clusters that all its nodes had at the start.
        largest_graphs: for every level, the most clusters that a node of it had in memory.
    """

    n_superpixels: int
    n_segments: int
    n_scores: int
    clusters: list[int]
    largest_graphs: list[int]


def count_merges(job: BlockJob) -> MergeCounts:
    """Count without keeping anything."""
    n_made, n_scores = 0, 0
    clusters, largest = ([0] * job.tree.n_levels for _ in range(2))
    for level in range(job.tree.n_levels):
        for node in job.tree.nodes(level):
            made = read_shard(job.table("merges", node), "ids", "heights", "n_scores")
            clusters[level] += len(made["ids"])
            largest[level] = max(largest[level], len(made["ids"]))
            n_made += int(np.count_nonzero(made["heights"] >= job.threshold))
            n_scores += int(made["n_scores"])
    return MergeCounts(clusters[0], clusters[0] - n_made, n_scores, clusters, largest)


def gather_tree(job: BlockJob) -> MergeTree:
    """Put the merges of all nodes of a run together."""
    return joined_tree([job.table("merges", node) for node in range(job.tree.root + 1)])


def joined_tree(shards: Sequence[Path]) -> MergeTree:
    """Put the merges of all nodes into the order of one run over everything.

    Args:
        shards: the file of every node.

    Raises:
        InputError: where one is missing or damaged.
    """
    parts = [read_shard(path, "ids", "merges", "ties", "heights") for path in shards]
    merges, ties, heights = (
        np.concatenate([one[name] for one in parts]) for name in ("merges", "ties", "heights")
    )
    ids = np.unique(np.concatenate([one["ids"] for one in parts]))
    order = np.lexsort((ties[:, 1], ties[:, 0], -heights))
    return MergeTree(
        ids,
        np.searchsorted(ids, merges[order]).astype(np.int32),
        heights[order].astype(np.float64),
    )
