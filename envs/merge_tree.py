"""The merge tree: a hierarchy of segmentations from which any threshold can be cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.region_graph import dense_labels
from envs.rollout import Episode


@dataclass(frozen=True, slots=True)
class MergeTree:
    """Merges in the order they were made.

    Attributes:
        ids: (R,) uint64, superpixel ids, ascending.
        merges: (M, 2) int32, the smallest member (index into `ids`) of each of the two merged.
        heights: (M,) float64, keys at which they merged, never increasing.
    """

    ids: npt.NDArray[np.uint64]
    merges: npt.NDArray[np.int32]
    heights: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.merges) != len(self.heights) or len(self.merges) >= max(len(self.ids), 1):
            raise ValueError(
                f"{len(self.merges)} merges with {len(self.heights)} heights "
                f"cannot come from {len(self.ids)} regions"
            )
        if not (self.heights[1:] <= self.heights[:-1]).all() or np.isnan(self.heights).any():
            raise ValueError("heights must never increase along the merges")
        if not self._are_merges_sound():
            raise ValueError(
                f"merges must be pairs u < v of {len(self.ids)} regions, neither merged into "
                "another before"
            )

    @classmethod
    def of_episode(cls, ids: npt.NDArray[np.uint64], episode: Episode) -> MergeTree:
        """Take the tree from a rollout over the regions `ids`."""
        return cls(np.array(ids), episode.merges, episode.heights)

    def cut(self, threshold: float) -> npt.NDArray[np.uint64]:
        """Return for every superpixel the id of its cluster at a threshold.

        A cluster is named by its smallest superpixel id. All merges of at least the threshold are
        made; since heights never increase, that is the episode stopped there.
        """
        cluster = np.arange(len(self.ids))
        made = self.merges[: np.searchsorted(-self.heights, -threshold, side="right")]
        cluster[made[:, 1]] = made[:, 0]
        for i in range(len(cluster)):  # u < v in every merge, so parents are final when reached
            cluster[i] = cluster[cluster[i]]
        return self.ids[cluster]

    def _are_merges_sound(self) -> bool:
        """Tell whether u < v are regions, and both still stand when they are merged."""
        u, v = self.merges.reshape(-1, 2).T
        if len(u) and (u.min() < 0 or v.max() >= len(self.ids) or (u >= v).any()):
            return False
        when = np.arange(len(u))
        gone_at = np.full(len(self.ids), len(u))
        gone_at[v[::-1]] = when[::-1]
        return bool((gone_at[v] == when).all() and (gone_at[u] > when).all())


def relabel(
    superpixels: npt.NDArray[np.integer],
    ids: npt.NDArray[np.uint64],
    clusters: npt.NDArray[np.uint64],
) -> npt.NDArray[np.uint64]:
    """Give every voxel the cluster of its superpixel; 0 stays 0.

    Args:
        superpixels: (z, y, x) integer.
        ids: (R,) uint64, ascending, the ids that occur in `superpixels`.
        clusters: (R,) uint64, cluster of each.
    """
    if len(clusters) != len(ids):
        raise ValueError(f"there are {len(clusters)} clusters for {len(ids)} ids")
    seen, dense = dense_labels(superpixels)
    if not np.array_equal(seen, ids):
        raise ValueError(f"superpixels hold {len(seen)} ids that are not the {len(ids)} given")
    return np.concatenate([clusters, np.zeros(1, np.uint64)])[dense]
