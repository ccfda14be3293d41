"""How much of a policy's error lies in its smallest superpixels: they are placed by the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agglo.policy_file import load_policy
from analysis.contingency import Contingency
from analysis.segmentation_scores import majority_assignment
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
        self.policy.train(trial)
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
    labels = truth.labels.astype(np.uint64)
    by_region = Contingency.from_pairs(truth.rows.astype(np.uint64), labels, truth.counts)
    by_label = Contingency.from_pairs(labels, clusters[truth.rows], truth.counts)
    regions, wanted = majority_assignment(by_region)
    known, home = majority_assignment(by_label)
    moved = is_placed[regions]
    placed = clusters.copy()
    placed[regions[moved]] = home[np.searchsorted(known, wanted[moved])]
    return placed
