"""Small recordings: one drawn by hand, and random ones whose gains are counted from scratch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.contingency import contingency_table
from analysis.recording import Gains, Recording, View
from analysis.segmentation_scores import SegmentationScores, score_segmentation

Labels = npt.NDArray[np.uint64]


def scores_of(labels: Labels, truth: Labels) -> SegmentationScores:
    return score_segmentation(contingency_table(labels, truth, ignore_segmentation_zero=True))


def naive_clusters(n_regions: int, merges: npt.NDArray[np.int32]) -> list[int]:
    """Merge by going over all regions."""
    cluster = list(range(n_regions))
    for u, v in merges.tolist():
        cluster = [u if name == v else name for name in cluster]
    return cluster


def random_merges(rng: np.random.Generator, n_regions: int, n_left: int) -> npt.NDArray[np.int32]:
    """Merge any two clusters until some are left."""
    present = list(range(n_regions))
    merges = []
    while len(present) > n_left:
        u, v = sorted(rng.choice(present, 2, replace=False).tolist())
        merges.append((u, v))
        present.remove(v)
    return np.array(merges, np.int32).reshape(-1, 2)


def recording_of(
    superpixels: Labels,
    merges: npt.NDArray[np.int32],
    truth: Labels | None = None,
    **changes: Any,
) -> Recording:
    """Record merges over one section (y, x), every gain counted from scratch."""
    ids = np.unique(superpixels[superpixels != 0])
    index = np.where(superpixels == 0, -1, np.searchsorted(ids, superpixels)).astype(np.int32)
    grey = (np.arange(superpixels.size) % 251).reshape(superpixels.shape).astype(np.uint8)
    view = View(3, (0, 0), grey, (grey / 255).astype(np.float32), index, truth)
    gains = None
    if truth is not None:
        found = []
        for n in range(len(merges) + 1):
            cluster = np.array(naive_clusters(len(ids), merges[:n]))
            found.append(scores_of(np.append(ids[cluster], np.uint64(0))[index], truth))
        gains = Gains(
            -np.diff([scores.vi for scores in found]),
            np.diff([scores.rand_index for scores in found]),
            np.bincount(index[(index >= 0) & (truth != 0)], minlength=len(ids)),
            found[0].vi_split,
            found[0].vi_merge,
            found[0].rand_index,
        )
    values: dict[str, Any] = {
        "policy": "drawn policy",
        "ids": ids,
        "sizes_vox": np.bincount(index[index >= 0], minlength=len(ids)),
        "merges": merges,
        "heights": np.linspace(2.0, -1.0, len(merges)),
        "threshold": 0.0,
        "places_vox": np.tile([3.0, 1.0, 2.5], (len(merges), 1)),
        "contact_faces": np.full(len(merges), 4),
        "view": view,
        "close_ups": {merge: view for merge in range(len(merges))},
        "gains": gains,
        "voxel_size_nm": (40.0, 8.0, 8.0),
    }
    return Recording(**{**values, **changes})


def random_recording(seed: int, *, has_truth: bool = True, n_left: int = 2) -> Recording:
    """Draw superpixels with holes and sparse ids, neurons with unknown parts, and merges."""
    rng = np.random.default_rng(seed)
    n_regions = int(rng.integers(2, 12))
    names = np.sort(rng.choice(10_000, n_regions, replace=False)).astype(np.uint64) + np.uint64(1)
    superpixels = np.append(names, np.uint64(0))[rng.integers(0, n_regions + 1, (9, 11))]
    superpixels.flat[:n_regions] = names
    truth = rng.integers(0, 5, superpixels.shape).astype(np.uint64)
    truth.flat[0] = 1
    return recording_of(
        superpixels,
        random_merges(rng, n_regions, min(n_left, n_regions)),
        truth if has_truth else None,
    )


def drawn_recording() -> Recording:
    """Four superpixels of equal size, two to a neuron: 10 20 | 30 40.

    10 joins 20 and 30 joins 40 (both right), and then, below the threshold, everything.
    """
    superpixels = np.repeat(np.array([10, 20, 30, 40], np.uint64), 2)[None].repeat(4, 0)
    truth = np.repeat(np.array([7, 9], np.uint64), 4)[None].repeat(4, 0)
    merges = np.array([(0, 1), (2, 3), (0, 2)], np.int32)
    return recording_of(superpixels, merges, truth, heights=np.array([2.0, 0.5, -1.0]))
