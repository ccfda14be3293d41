"""Scores of a boundary map: thresholds are chosen on one part and applied to another.

All triples are z, y, x; affinities are c, z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.boundary_scores import score_boundaries
from analysis.label_borders import interior_mask, membrane_mask
from analysis.segmentation_scores import floor_scores, score_segmentation
from analysis.thinned_scores import score_thinned
from analysis.warping_error import warping_sweep
from benchmarks.boundaries.mean_affinity import MeanAffinity
from envs.merge_tree import relabel
from predict.watershed import WatershedConfig, watershed_superpixels

THRESHOLDS: tuple[float, ...] = tuple(
    round(float(1 / (1 + np.exp(-logit))), 5) for logit in np.arange(-8, 8.25, 0.25)
)
"""Thresholds of a boundary map that are tried on the validation part, at equal steps in logits."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a volume with what was predicted and what is true.

    Attributes:
        boundaries: (z, y, x) float32 in [0, 1], 1 = boundary.
        affinities: (3, z, y, x) float32 in [0, 1], 1 = connected.
        labels: (z, y, x) integer, the truth.
    """

    boundaries: npt.NDArray[np.float32]
    affinities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.integer]


def voxel_scores(report: Part, *, in_plane: bool) -> dict[str, float]:
    """Score voxels of membrane, which need no threshold.

    Args:
        report: the part that is reported.
        in_plane: labels touch within a section only.
    """
    scored = score_boundaries(report.boundaries, membrane_mask(report.labels, in_plane=in_plane))
    return {"auc": scored.auc, "average_precision": scored.average_precision}


def section_scores(validation: Part, report: Part) -> dict[str, float]:
    """Score the regions of sections: V-Rand and V-Info thinned, and the warping error.

    All are taken at the threshold with the best V-Rand thinned of the validation part. The least
    warping error would choose badly: a map that is membrane all over costs one pixel an object.

    Args:
        validation: the part that chooses the threshold.
        report: the part that is reported.
    """
    chosen_by, interior = interior_mask(validation.labels), interior_mask(report.labels)
    of_validation = score_thinned(validation.boundaries, chosen_by, THRESHOLDS)
    threshold = of_validation.best_v_rand_threshold
    thinned = score_thinned(report.boundaries, interior, THRESHOLDS)
    at = THRESHOLDS.index(threshold)
    warped = warping_sweep(report.boundaries, interior, (threshold,))
    return {
        "v_rand_thinned": float(thinned.v_rand[at]),
        "v_info_thinned": float(thinned.v_info[at]),
        "v_rand_thinned_oracle": thinned.best_v_rand,
        "v_rand_thinned_validation": of_validation.best_v_rand,
        "warping_error": warped.minimum_error,
        "split_merge_error": warped.minimum_split_merge_error,
        "threshold": threshold,
        "oracle_threshold": thinned.best_v_rand_threshold,
    }


def volume_scores(
    validation: Part, report: Part, voxel_size_nm: tuple[float, float, float]
) -> tuple[dict[str, float], dict[str, npt.NDArray[np.uint64]]]:
    """Score superpixels, and what mean-affinity agglomeration makes of them.

    Args:
        validation: the part that chooses the threshold, `MeanAffinity.central_threshold`.
        report: the part that is reported.
        voxel_size_nm: edges of a voxel.

    Returns:
        scores by name, and the volumes of the report part, (z, y, x) uint64, by name.
    """
    config = WatershedConfig()
    chosen_by = MeanAffinity.of_volume(
        watershed_superpixels(validation.boundaries, voxel_size_nm, config),
        validation.affinities,
        validation.labels,
    )
    superpixels = watershed_superpixels(report.boundaries, voxel_size_nm, config)
    merged = MeanAffinity.of_volume(superpixels, report.affinities, report.labels)
    threshold, oracle = chosen_by.central_threshold(), merged.best_threshold()
    scored = merged.scores_at(threshold)
    numbers = {
        "floor_vi": floor_scores(merged.table).vi,
        "superpixel_vi": score_segmentation(merged.table).vi,
        "vi_split": scored.vi_split,
        "vi_merge": scored.vi_merge,
        "vi": scored.vi,
        "vi_oracle": merged.scores_at(oracle).vi,
        "vi_validation": chosen_by.scores_at(threshold).vi,
        "n_superpixels": len(merged.tree.ids),
        "n_segments": scored.n_segments,
        "threshold": threshold,
        "oracle_threshold": oracle,
    }
    segmentation = relabel(superpixels, merged.tree.ids, merged.tree.cut(threshold))
    return numbers, {"superpixels": superpixels, "segmentation": segmentation}
