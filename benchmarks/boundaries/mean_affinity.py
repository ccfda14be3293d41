"""Mean-affinity agglomeration of a volume at every threshold, and its VI.

All triples are z, y, x; affinities are c, z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.contingency import Contingency, contingency_table
from analysis.segmentation_scores import SegmentationScores, score_segmentation
from envs import statistics as st
from envs.affinity_graph import build_affinity_graph
from envs.mean_linkage import mean_linkage
from envs.merge_tree import MergeTree

TOLERANCE = 0.05
"""Bits of VI by which a threshold may be worse than the best one and still count as good."""

GRID = np.linspace(0, 1, 101)
"""Thresholds that are looked at for it."""


@dataclass(frozen=True, slots=True)
class MeanAffinity:
    """Superpixels merged by the mean affinity of their contacts, down to none.

    Attributes:
        tree: the merges, with heights in [0, 1].
        table: voxels of every pair of a superpixel and a truth label.
    """

    tree: MergeTree
    table: Contingency

    @classmethod
    def of_volume(
        cls,
        superpixels: npt.NDArray[np.uint64],
        affinities: npt.NDArray[np.float32],
        labels: npt.NDArray[np.integer],
    ) -> MeanAffinity:
        """Merge the superpixels of a volume.

        Args:
            superpixels: (z, y, x) uint64, none 0.
            affinities: (3, z, y, x) float32 in [0, 1], 1 = connected.
            labels: (z, y, x) integer, the truth, 0 = not counted.
        """
        graph = build_affinity_graph(superpixels, np.zeros(superpixels.shape, np.uint8), affinities)
        areas = graph.contacts[:, st.AREA]
        sums = 255 * areas - graph.contacts[:, st.FACE_MAX]
        merges, heights = mean_linkage(graph.edges, sums, areas, graph.n_regions, threshold=0)
        tree = MergeTree(graph.ids, merges, heights / 255)
        return cls(tree, contingency_table(superpixels, labels))

    def scores_at(self, threshold: float) -> SegmentationScores:
        """Score the segmentation in which all merges of at least a threshold are made."""
        clusters = self.tree.cut(threshold)
        of_segment = clusters[np.searchsorted(self.tree.ids, self.table.segments)]
        merged = Contingency.from_pairs(
            of_segment[self.table.rows], self.table.labels[self.table.cols], self.table.counts
        )
        return score_segmentation(merged)

    def best_threshold(self) -> float:
        """Return the highest threshold with the least VI: an oracle where it is also reported."""
        thresholds = separating_thresholds(self.tree.heights)
        return float(thresholds[np.argmin([self.scores_at(t).vi for t in thresholds])])

    def central_threshold(self) -> float:
        """Return the middle of the thresholds whose VI is within `TOLERANCE` of the least.

        The VI of a few sections is nearly flat over a wide range of thresholds, and where in it the
        least one lies is chance: it may lie beside a merge that ruins another part.
        """
        vis = np.array([self.scores_at(t).vi for t in GRID])
        return float(np.mean(GRID[vis <= vis.min() + TOLERANCE]))


def separating_thresholds(heights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return falling thresholds that make every cut of a tree once: between heights, and 0.

    Args:
        heights: (M,) float64, at least 0.
    """
    levels = np.unique(heights)[::-1]
    if not levels.size:
        return np.zeros(1)
    between = (levels[:-1] + levels[1:]) / 2
    # Of two neighbouring numbers the mean is one of them; only the higher one parts them.
    between = np.where(between > levels[1:], between, levels[:-1])
    return np.concatenate([[np.nextafter(levels[0], np.inf)], between, [0.0]])
