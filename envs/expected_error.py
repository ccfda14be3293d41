"""What a segmentation may be wrong by, told from its merge tree alone.

Every merge of a complete tree has a height, the logit of "the two are one neuron". Taken at its
word the tree describes a distribution over truths: go through the merges in order, and let the k-th
join the two clusters with probability p_k = σ(height_k). Truths are drawn from it and the
segmentation is measured against each, so the estimate adds up over chains of decisions and needs no
assumption of small errors. Superpixels are taken to be pure; what they mix up, and how far logits
may be trusted, is the business of a calibration on volumes with labels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.asking import bits_at_stake
from envs.merge_tree import MergeTree, joined_regions, n_made
from envs.rollout import Episode


class ExpectedError(NamedTuple):
    """Variation of information against drawn truths, in bits.

    Attributes:
        split: (n_samples,) float64, H(segmentation | truth) of every draw.
        merge: (n_samples,) float64, H(truth | segmentation).
    """

    split: npt.NDArray[np.float64]
    merge: npt.NDArray[np.float64]

    @property
    def vi(self) -> float:
        """The mean of the variation of information."""
        return float(self.split.mean() + self.merge.mean())

    @property
    def deviation(self) -> float:
        """Its standard deviation from truth to truth."""
        return float((self.split + self.merge).std())


class Doubts(NamedTuple):
    """Decisions of a segmentation, what weighs most first.

    Attributes:
        merge: (D,) int64, index of the merge in the tree.
        is_made: (D,) bool, whether the segmentation makes it.
        p_same: (D,) float64, probability that the two clusters are one neuron.
        stakes: (D,) float64, bits of VI between the right and the wrong decision on two pure
            clusters, see `envs.asking`.
        loss: (D,) float64, stakes times the probability that the decision is wrong.
        centre_vox: (D, 3) float64, z, y, x, centroid of the smaller of the two clusters.
    """

    merge: npt.NDArray[np.int64]
    is_made: npt.NDArray[np.bool_]
    p_same: npt.NDArray[np.float64]
    stakes: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]
    centre_vox: npt.NDArray[np.float64]


def expected_error(
    tree: MergeTree,
    sizes: npt.NDArray[np.integer],
    threshold: float,
    *,
    n_samples: int = 100,
    seed: int = 0,
) -> ExpectedError:
    """Measure the segmentation cut from a tree against truths drawn from it.

    A merge that joins in a draw joins the largest parts of the two clusters: where a cluster is
    itself in several parts, the logit spoke of the sums that its largest part dominates.

    Args:
        tree: complete, heights are logits.
        sizes: (R,) integer, voxels of every superpixel of `tree.ids`.
        threshold: where the segmentation is cut.
        n_samples: truths drawn.
        seed: of the draws.

    Raises:
        ValueError: sizes do not fit the tree or are not positive, or n_samples is less than 1.
    """
    voxels = _voxels_of(tree, sizes)
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}")
    rng = np.random.default_rng(seed)
    p_same = probabilities(tree.heights)
    segment = joined_regions(len(tree.ids), tree.merges[: n_made(tree.heights, threshold)])
    truth = np.empty(len(tree.ids), np.int64)
    split, merge = np.empty(n_samples), np.empty(n_samples)
    for k in range(n_samples):
        _draw_truth(tree.merges, rng.random(len(p_same)) < p_same, voxels, truth)
        split[k], merge[k] = _conditional_entropies(segment, truth, voxels)
    return ExpectedError(split, merge)


def rank_doubts(
    tree: MergeTree,
    sizes: npt.NDArray[np.integer],
    positions: npt.NDArray[np.integer],
    threshold: float,
) -> Doubts:
    """Rank the decisions of a segmentation by the error that each is expected to leave behind.

    Args:
        tree: complete, heights are logits.
        sizes: (R,) integer, voxels of every superpixel of `tree.ids`.
        positions: (R, 3) integer, sums of z, y and x over these voxels.
        threshold: where the segmentation is cut.

    Raises:
        ValueError: sizes or positions do not fit the tree, or a size is not positive.
    """
    voxels = _voxels_of(tree, sizes)
    if np.shape(positions) != (len(voxels), 3):
        raise ValueError(f"positions must have shape {(len(voxels), 3)}, got {np.shape(positions)}")
    stakes, centres = _stakes(tree.merges, voxels, np.array(positions, np.float64))
    p_same = probabilities(tree.heights)
    is_made = np.arange(len(p_same)) < n_made(tree.heights, threshold)
    loss = stakes * np.where(is_made, 1 - p_same, p_same)
    order = np.argsort(-loss, kind="stable")
    return Doubts(order, is_made[order], p_same[order], stakes[order], loss[order], centres[order])


def final_vi(episode: Episode, threshold: float) -> float:
    """Return the VI in bits of an episode that was played to the end, stopped at a threshold."""
    made = episode.gains_vi[: n_made(episode.heights, threshold)]
    return float(episode.vi[0] - made.sum())


def probabilities(heights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logistic of heights (M,)."""
    small = np.exp(-np.abs(heights))
    return np.where(heights >= 0, 1, small) / (1 + small)


def _voxels_of(tree: MergeTree, sizes: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return sizes as floats; refuse those that do not fit a tree."""
    if np.shape(sizes) != tree.ids.shape:
        raise ValueError(f"sizes must have shape {tree.ids.shape}, got {np.shape(sizes)}")
    if len(sizes) and np.min(sizes) < 1:
        raise ValueError(f"sizes must be positive, got {np.min(sizes)}")
    return np.asarray(sizes, np.float64)


@njit(cache=True)
def _draw_truth(merges, is_same, voxels, out_truth):
    """Join superpixels along the merges that are true in a draw; write a name for every part.

    A cluster is known by its smallest member; `largest` is the root of its largest part.
    """
    part_voxels = voxels.copy()
    largest = np.arange(len(voxels))
    for i in range(len(out_truth)):
        out_truth[i] = i
    for k in range(len(merges)):
        u, v = merges[k, 0], merges[k, 1]
        a, b = largest[u], largest[v]
        if part_voxels[a] < part_voxels[b]:
            a, b = b, a
        if is_same[k]:
            out_truth[b] = a
            part_voxels[a] += part_voxels[b]
        largest[u] = a
    for i in range(len(out_truth)):
        root = i
        while out_truth[root] != root:
            root = out_truth[root]
        at = i
        while out_truth[at] != root:
            out_truth[at], at = root, out_truth[at]


@njit(cache=True)
def _stakes(merges, voxels, positions):
    """Return what every merge is about: stakes (M,) and centroid of the smaller cluster (M, 3)."""
    cluster, where = voxels.copy(), positions.copy()
    n = voxels.sum()
    stakes, centres = np.empty(len(merges)), np.empty((len(merges), 3))
    for k in range(len(merges)):
        u, v = merges[k, 0], merges[k, 1]
        a, b = cluster[u], cluster[v]
        stakes[k] = bits_at_stake(a, b, n)
        centres[k] = where[u] / a if a < b else where[v] / b
        cluster[u] = a + b
        where[u] += where[v]
    return stakes, centres


def _conditional_entropies(
    segment: npt.NDArray[np.int64], truth: npt.NDArray[np.int64], voxels: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Return H(segment | truth) and H(truth | segment) in bits, of names (R,) below R."""
    n = len(voxels)
    _, pair = np.unique(segment * n + truth, return_inverse=True)
    joint = _entropy(np.bincount(pair, voxels))
    given_truth = joint - _entropy(np.bincount(truth, voxels, n))
    return max(0.0, given_truth), max(0.0, joint - _entropy(np.bincount(segment, voxels, n)))


def _entropy(voxels: npt.NDArray[np.number]) -> float:
    """Return the entropy of parts with so many voxels, in bits."""
    share = voxels[voxels > 0] / voxels.sum()
    return float(-(share @ np.log2(share)))
