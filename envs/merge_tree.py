"""The merge tree: a hierarchy of segmentations from which any threshold can be cut."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt
from numba import njit

from envs.label_table import plain_labels, read_only, replace_labels
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
        made = self.merges[: n_made(self.heights, threshold)]
        return self.ids[joined_regions(len(self.ids), made)]

    def linkage_matrix(self) -> npt.NDArray[np.float64]:
        """Return the tree as a linkage matrix of `scipy.cluster.hierarchy`.

        Leaf i is superpixel `ids[i]`; the distance of a merge is the first height less its own, so
        cutting at distance `heights[0] − t` is `cut(t)`. What never merged is joined at distance ∞,
        in order of smallest members.

        Returns:
            (R − 1, 4) float64: the two clusters, their distance, how many superpixels they hold.
        """
        n = len(self.ids)
        name, size = np.arange(n), np.ones(n, np.int64)
        roots = np.flatnonzero(np.bincount(self.merges[:, 1], minlength=n) == 0)
        others = np.column_stack([np.zeros(len(roots) - 1, np.int64), roots[1:]])
        others[:, 0] = roots[0]
        first = self.heights[0] if len(self.heights) else 0.0
        distances = np.concatenate([first - self.heights, np.full(len(others), np.inf)])
        linkage = np.zeros((n - 1, 4))
        for k, (u, v) in enumerate(np.concatenate([self.merges, others])):
            size[u] += size[v]
            linkage[k] = *sorted((name[u], name[v])), distances[k], size[u]
            name[u] = n + k
        return linkage

    def to_networkx(self) -> nx.DiGraph:
        """Return the tree as a directed graph from merged clusters to their parts.

        Leaves are superpixels, with attribute `superpixel`; node R + k is the k-th merge, with
        attribute `height`. Clusters that never merged are roots of trees of their own.
        """
        tree = nx.DiGraph()
        tree.add_nodes_from((i, {"superpixel": int(name)}) for i, name in enumerate(self.ids))
        node = np.arange(len(self.ids))
        for k, (u, v) in enumerate(self.merges):
            parent = len(self.ids) + k
            tree.add_node(parent, height=float(self.heights[k]))
            tree.add_edges_from([(parent, int(node[u])), (parent, int(node[v]))])
            node[u] = parent
        return tree

    def _are_merges_sound(self) -> bool:
        """Tell whether u < v are regions, and both still stand when they are merged."""
        u, v = self.merges.reshape(-1, 2).T
        if len(u) and (u.min() < 0 or v.max() >= len(self.ids) or (u >= v).any()):
            return False
        when = np.arange(len(u))
        gone_at = np.full(len(self.ids), len(u))
        gone_at[v[::-1]] = when[::-1]
        return bool((gone_at[v] == when).all() and (gone_at[u] > when).all())


def n_made(heights: npt.NDArray[np.float64], threshold: float) -> int:
    """Return how many merges a threshold makes: those of at least so much, of (M,) heights."""
    return int(np.searchsorted(-heights, -threshold, side="right"))


def joined_regions(n_regions: int, merges: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return for every region the smallest member of its cluster.

    Args:
        n_regions: how many there are.
        merges: (M, 2) int32, smallest members of two clusters, smaller first.
    """
    cluster = np.arange(n_regions)
    _join(merges, cluster)
    return cluster


@njit(cache=True)
def _join(merges, out_cluster):
    """Resolve chains of merges: u < v in every merge, so parents are final when reached."""
    for k in range(len(merges)):
        out_cluster[merges[k, 1]] = merges[k, 0]
    for i in range(len(out_cluster)):
        out_cluster[i] = out_cluster[out_cluster[i]]


def relabel(
    superpixels: npt.NDArray[np.integer],
    ids: npt.NDArray[np.uint64],
    clusters: npt.NDArray[np.uint64],
    *,
    out: npt.NDArray[np.uint64] | None = None,
) -> npt.NDArray[np.uint64]:
    """Give every voxel the cluster of its superpixel; 0 stays 0.

    Args:
        superpixels: (z, y, x) integer.
        ids: (R,) uint64, ascending, the ids that occur in `superpixels`.
        clusters: (R,) uint64, cluster of each.
        out: (z, y, x) uint64, contiguous, written to and returned; may be `superpixels` itself,
            which saves the time and memory of another volume.
    """
    if len(clusters) != len(ids):
        raise ValueError(f"there are {len(clusters)} clusters for {len(ids)} ids")
    if out is None:
        out = np.empty(superpixels.shape, np.uint64)
    elif out.dtype != np.uint64 or out.shape != superpixels.shape or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be contiguous uint64 of shape {superpixels.shape}, not {out.dtype} of shape "
            f"{out.shape}"
        )
    labels, is_seen = plain_labels(superpixels).reshape(-1), np.zeros(len(ids), np.bool_)
    unknown = replace_labels(labels, read_only(ids), read_only(clusters), is_seen, out.reshape(-1))
    if unknown >= 0:
        raise ValueError(
            f"superpixels hold the id {labels[unknown]}, which is not among the {len(ids)} given"
        )
    if not is_seen.all():
        n_unseen = np.count_nonzero(~is_seen)
        raise ValueError(f"{n_unseen} of the {len(ids)} ids given do not occur in superpixels")
    return out
