"""A volume as the methods take it: superpixels and boundary map, their region graph, the truth.

All triples are z, y, x. Every method gets the same superpixels, the same faces between them and the
same boundary values of 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.evaluation_result import is_sectioned
from agglo.training.volume_set import VolumeSet, load_channels
from agglo.volumes import Kind, open_volume, require_volume
from analysis.boundary_scores import score_boundaries
from analysis.contingency import Contingency, contingency_table
from analysis.label_borders import drop_borders, membrane_mask
from analysis.segmentation_scores import floor_scores, score_segmentation
from envs import statistics as st
from envs.channel_sums import with_channels
from envs.quantise import quantise_boundaries
from envs.region_graph import RegionGraph, build_region_graph
from envs.rollout import initial_decisions
from envs.scorers import MeanBoundary
from envs.truth_rows import TruthTable, truth_table

BORDER_TOLERANCE_VOX = 2
"""Truth within so many voxels of a true border is left out of the tolerant VI."""


@dataclass(frozen=True)
class Scene:
    """A labelled volume and what is computed of it where it is asked for.

    Attributes:
        volumes: addresses.
        superpixels: (z, y, x) uint64, 0 = none.
        boundaries: (z, y, x) uint8, 255 = boundary.
        labels: (z, y, x) uint64, the truth, 0 = not counted.
        graph: regions, contacts and their sums.
        table: voxels of every pair of a superpixel and a truth label.
        tolerant: the same without the voxels near a true border.
        truth: the table as the kernels take it.
    """

    volumes: VolumeSet
    superpixels: npt.NDArray[np.uint64]
    boundaries: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint64]
    graph: RegionGraph
    table: Contingency
    tolerant: Contingency
    truth: TruthTable

    @classmethod
    def read(cls, volumes: VolumeSet) -> Scene:
        """Read the volumes and build the graph."""
        superpixels = _read(volumes.superpixels, "superpixels")
        boundaries = quantise_boundaries(_read(volumes.boundaries, "boundaries"))
        labels = _read(volumes.labels, "labels")
        size = volumes.voxel_size_nm or (1.0, 1.0, 1.0)
        graph = build_region_graph(
            superpixels, _read(volumes.image, "image"), boundaries, voxel_size_nm=size
        )
        channels = load_channels(volumes)
        graph = with_channels(graph, superpixels, boundaries, channels)
        interior = drop_borders(labels, BORDER_TOLERANCE_VOX, in_plane=is_sectioned(size))
        return cls(
            volumes,
            superpixels,
            boundaries,
            labels,
            graph,
            contingency_table(superpixels, labels),
            contingency_table(superpixels, interior),
            truth_table(graph.ids, superpixels, labels),
        )

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """(E,) int64, faces of each contact."""
        return self.graph.contacts[:, st.AREA]

    @property
    def mean_boundary(self) -> npt.NDArray[np.float64]:
        """(E,) float64 in [0, 1], mean of the larger boundary value of the voxels of a face."""
        return self.graph.contacts[:, st.FACE_MAX] / (255.0 * self.areas)

    @cached_property
    def decisions(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Features (E, F) of the contacts before any merge, and what each would gain (E, 2)."""
        return initial_decisions(self.graph, self.truth, MeanBoundary(0.0))

    def map_numbers(self) -> dict[str, float]:
        """Score the boundary map, which all methods share."""
        in_plane = is_sectioned(self.volumes.voxel_size_nm)
        membrane = membrane_mask(self.labels, in_plane=in_plane)
        scored = score_boundaries(self.boundaries / np.float32(255), membrane)
        return {"map_auc": scored.auc, "map_average_precision": scored.average_precision}

    def numbers(self, clusters: npt.NDArray[np.uint64]) -> dict[str, float]:
        """Score a segmentation.

        Args:
            clusters: (R,) uint64, name of the cluster of each region, not 0.
        """
        scores = score_segmentation(merged_table(self.table, self.graph.ids, clusters))
        tolerant = score_segmentation(merged_table(self.tolerant, self.graph.ids, clusters))
        return _numbers(scores, tolerant)

    def floor(self) -> dict[str, float]:
        """Score what merging can reach: every superpixel has its majority label."""
        return _numbers(floor_scores(self.table), floor_scores(self.tolerant))


def merged_table(
    table: Contingency, ids: npt.NDArray[np.uint64], clusters: npt.NDArray[np.uint64]
) -> Contingency:
    """Join the rows of a table of superpixels; superpixel 0 stays a segment of its own.

    Args:
        table: voxels of superpixels by truth label.
        ids: (R,) uint64, ascending, superpixels other than 0.
        clusters: (R,) uint64, cluster of each, not 0.
    """
    names = np.zeros(table.segments.size, np.uint64)
    is_region = table.segments != 0
    names[is_region] = clusters[np.searchsorted(ids, table.segments[is_region])]
    return Contingency.from_pairs(names[table.rows], table.labels[table.cols], table.counts)


def _numbers(scores: Any, tolerant: Any) -> dict[str, float]:
    return {
        "vi_split": scores.vi_split,
        "vi_merge": scores.vi_merge,
        "vi": scores.vi,
        "vi_tolerant": tolerant.vi,
        "adapted_rand_error": scores.adapted_rand_error,
        "n_segments": scores.n_segments,
    }


def _read(text: str, kind: Kind) -> npt.NDArray[Any]:
    with open_volume(text, argument="--data-folder") as volume:
        return require_volume(volume, "--data-folder", kind)
