"""How much of a policy's error lies in its smallest superpixels: they are placed by the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agglo.policy_file import load_policy
from benchmarks.accuracy.learned import Trained
from benchmarks.accuracy.trial import Numbers, Trial
from envs import statistics as st
from envs.merge_tree import MergeTree
from envs.rollout import play_episode
from envs.truth_rows import TruthTable


@dataclass(frozen=True, slots=True)
class SmallByTruth:
    """A policy's segmentation with every small superpixel where the truth would have it.

    Attributes:
        policy: what is trained, or was.
        share: superpixels with less than this share of the voxels are small.
    """

    policy: Trained
    share: float

    def __call__(self, trial: Trial) -> Numbers:
        """Apply the policy, and let the truth place what is small."""
        self.policy(trial)
        policy = load_policy(str(trial.folder / self.policy.name), argument="--out")
        graph = trial.test.graph
        episode = play_episode(graph, policy.network, threshold=-np.inf)
        clusters = MergeTree.of_episode(graph.ids, episode).cut(policy.threshold)
        sizes = graph.regions[:, st.SIZE]
        is_small = sizes < self.share * sizes.sum()
        placed = placed_by_truth(clusters, is_small, trial.test.truth)
        share_of_voxels = float(sizes[is_small].sum() / sizes.sum())
        return {
            **trial.test.numbers(placed),
            "n_small": int(is_small.sum()),
            "share_of_voxels": share_of_voxels,
        }


def placed_by_truth(
    clusters: npt.NDArray[np.uint64], is_placed: npt.NDArray[np.bool_], truth: TruthTable
) -> npt.NDArray[np.uint64]:
    """Give some regions to the cluster that holds most voxels of their majority label.

    Args:
        clusters: (R,) uint64, name of the cluster of each region.
        is_placed: (R,) bool, which of them; one without truth stays where it is.
        truth: voxels of every pair of a region and a label.

    Returns:
        (R,) uint64; ties are won by the lower label and the lower name.
    """
    names, cluster = np.unique(clusters, return_inverse=True)
    n_labels = int(truth.labels.max()) + 1 if len(truth.labels) else 0
    held = np.zeros((len(names), n_labels), np.int64)
    np.add.at(held, (cluster[truth.rows], truth.labels), truth.counts)
    voxels = np.zeros((len(clusters), n_labels), np.int64)
    voxels[truth.rows, truth.labels] = truth.counts
    placed = clusters.copy()
    moved = np.flatnonzero(is_placed & voxels.any(axis=1))
    if len(moved):
        placed[moved] = names[held.argmax(axis=0)[voxels[moved].argmax(axis=1)]]
    return placed
