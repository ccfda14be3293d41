"""Measure a segmentation or a boundary map on disk against labels, in numbers and pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from agglo.volumes import VoxelSize, open_matching, require_volume
from analysis.border_errors import worst_sections
from analysis.boundary_figures import precision_recall_figure, warping_figure
from analysis.boundary_scores import BOUNDARY_CONVENTIONS, score_boundaries
from analysis.contingency import contingency_table
from analysis.input_error import InputError
from analysis.label_borders import drop_borders, interior_mask, membrane_mask
from analysis.segmentation_figures import costs_figure, error_figure, overlay_figure
from analysis.segmentation_scores import (
    CONVENTIONS,
    floor_scores,
    score_segmentation,
    segment_costs,
)
from analysis.thinned_scores import THINNED_CONVENTIONS, score_thinned
from analysis.warping_error import THRESHOLDS, segmentation_warping_error, warping_sweep
from predict.anisotropy import is_strongly_anisotropic

WARPING_CONVENTION = (
    "pixels / section left after warping the truth by simple points (4/8), mean of sections"
)
SEGMENTATION_WARPING_CONVENTION = (
    f"{WARPING_CONVENTION}; both borders widened by one pixel, so that a shift of theirs is free"
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Numbers, how each is counted, and pictures by file name."""

    scores: dict[str, float | int]
    conventions: dict[str, str]
    figures: dict[str, Figure] = field(default_factory=dict)

    def save_pictures(self, folder: Path) -> None:
        """Write the pictures as PNG files.

        Raises:
            InputError: where the folder cannot be made or written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, figure in self.figures.items():
                figure.savefig(folder / f"{name}.png", dpi=120)
        except OSError as error:
            raise InputError(f"--pictures: {folder} cannot be written ({error}).") from error


def evaluate_segmentation(
    segmentation: str,
    labels: str,
    *,
    superpixels: str | None = None,
    image: str | None = None,
    border_tolerance: int = 0,
    ignore_segmentation_zero: bool = False,
    with_pictures: bool = False,
    voxel_size_nm: VoxelSize | None = None,
) -> Evaluation:
    """Measure a segmentation against true labels.

    Args:
        segmentation: address of the proposal.
        labels: address of the truth, 0 = not counted.
        superpixels: address of the superpixels, for their own VI and the floor.
        image: address of the image, the ground of the pictures; a blank one if not given.
        border_tolerance: drop truth voxels within so many voxels of a true border.
        ignore_segmentation_zero: drop voxels that the proposal leaves 0, else 0 is one segment.
        with_pictures: draw figures too.
        voxel_size_nm: for volumes that state none.
    """
    if border_tolerance < 0:
        raise InputError(f"--border-tolerance must not be negative, but is {border_tolerance}.")
    texts = {
        "--segmentation": segmentation,
        "--labels": labels,
        "--superpixels": superpixels,
        "--image": image,
    }
    volumes, size = open_matching(texts, voxel_size_nm)
    proposal = require_volume(volumes["--segmentation"], "--segmentation", "labels")
    truth = require_volume(volumes["--labels"], "--labels", "labels")
    _require_truth(truth, labels)
    counted = (
        drop_borders(truth, border_tolerance, in_plane=_is_sectioned(size))
        if border_tolerance
        else truth
    )
    if not counted.any():
        raise InputError(
            f"--border-tolerance: within {border_tolerance} voxels of a border lies all of "
            f"--labels."
        )
    table = contingency_table(proposal, counted, ignore_segmentation_zero=ignore_segmentation_zero)
    scored = score_segmentation(table)
    warped = segmentation_warping_error(proposal, truth, widen_vox=1)
    scores: dict[str, float | int] = {
        "vi_split": scored.vi_split,
        "vi_merge": scored.vi_merge,
        "vi": scored.vi,
        "adapted_rand_error": scored.adapted_rand_error,
        "rand_index": scored.rand_index,
        "warping_error": warped.error,
        "n_segments": scored.n_segments,
        "n_labels": scored.n_labels,
    }
    if superpixels is not None:
        pieces = require_volume(volumes["--superpixels"], "--superpixels", "labels")
        table_of_pieces = contingency_table(
            pieces, counted, ignore_segmentation_zero=ignore_segmentation_zero
        )
        scores["superpixel_vi"] = score_segmentation(table_of_pieces).vi
        scores["floor_vi"] = floor_scores(table_of_pieces).vi
    conventions = {**CONVENTIONS, "warping_error": SEGMENTATION_WARPING_CONVENTION}
    if border_tolerance:
        conventions["vi"] += f"; truth within {border_tolerance} voxels of a border dropped"
    figures: dict[str, Figure] = {}
    if with_pictures:
        ground = (
            require_volume(volumes["--image"], "--image", "image")
            if image is not None
            else np.zeros(truth.shape, np.uint8)
        )
        section = worst_sections(proposal, truth, 1)[0]
        figures = {
            "overlay": overlay_figure(
                ground, proposal, truth, section=section, scores=scored, voxel_size_nm=size
            ),
            "splits_and_mergers": error_figure(ground, proposal, truth, voxel_size_nm=size),
            "vi_per_segment": costs_figure(segment_costs(table)),
            "warping_errors": warping_figure(warped, ground, voxel_size_nm=size),
        }
    return Evaluation(scores, conventions, figures)


def evaluate_boundaries(
    boundaries: str,
    labels: str,
    *,
    image: str | None = None,
    threshold: float | None = None,
    with_pictures: bool = False,
    voxel_size_nm: VoxelSize | None = None,
) -> Evaluation:
    """Measure a boundary map against labels whose 0 is membrane, or whose borders are.

    Args:
        boundaries: address of the map, 1 = boundary.
        labels: address of the labels.
        image: address of the image, the ground of the pictures; the map itself if not given.
        threshold: membrane from this value on, for warping error and thinned scores; if not given
            each takes the best for this truth, and says so (oracle threshold).
        with_pictures: draw figures too.
        voxel_size_nm: for volumes that state none.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold must lie in [0, 1], not {threshold}.")
    texts = {"--boundaries": boundaries, "--labels": labels, "--image": image}
    volumes, size = open_matching(texts, voxel_size_nm)
    proposal = require_volume(volumes["--boundaries"], "--boundaries", "boundaries")
    truth = require_volume(volumes["--labels"], "--labels", "labels")
    _require_truth(truth, labels)
    membrane = membrane_mask(truth, in_plane=_is_sectioned(size))
    interior = interior_mask(truth)
    scored = score_boundaries(proposal, membrane)
    thresholds = THRESHOLDS if threshold is None else (threshold,)
    thinned = score_thinned(proposal, interior, thresholds)
    warped = warping_sweep(proposal, interior, thresholds)
    kind = "oracle threshold" if threshold is None else f"threshold {threshold:g}"
    scores: dict[str, float | int] = {
        "auc": scored.auc,
        "average_precision": scored.average_precision,
        "best_f": scored.best_f,
        "warping_error": warped.minimum_error,
        "split_merge_error": warped.minimum_split_merge_error,
        "v_rand_thinned": thinned.best_v_rand,
        "v_info_thinned": thinned.best_v_info,
        "threshold": thinned.best_v_rand_threshold,
    }
    conventions = {
        **BOUNDARY_CONVENTIONS,
        "warping_error": f"{WARPING_CONVENTION} ({kind})",
        "split_merge_error": f"share of pixels typed split or merge after warping ({kind})",
        **{name: f"{text} ({kind})" for name, text in THINNED_CONVENTIONS.items()},
        "threshold": "that of v_rand_thinned, best for this truth" if threshold is None else kind,
    }
    figures: dict[str, Figure] = {}
    if with_pictures:
        ground: npt.NDArray = (
            require_volume(volumes["--image"], "--image", "image")
            if image is not None
            else 1 - proposal
        )
        section = int(np.argmax(warped.best.section_errors))
        figures = {
            "precision_recall": precision_recall_figure(
                scored, ground, proposal, section=section, voxel_size_nm=size
            ),
            "warping_errors": warping_figure(
                warped.best,
                ground,
                section=section,
                threshold=warped.best_threshold,
                voxel_size_nm=size,
            ),
        }
    return Evaluation(scores, conventions, figures)


def _is_sectioned(voxel_size_nm: VoxelSize | None) -> bool:
    """Tell whether sections lie so far apart that borders are those within a section."""
    return voxel_size_nm is not None and is_strongly_anisotropic(voxel_size_nm)


def _require_truth(truth: npt.NDArray, text: str) -> None:
    """Refuse labels without a label."""
    if not truth.any():
        raise InputError(f"--labels: {text} of shape {truth.shape} is 0 everywhere: no truth.")


def rows_of(evaluation: Evaluation) -> list[tuple[Any, ...]]:
    """Return the rows of the printed table: name, value, convention."""
    return [
        (name, value, evaluation.conventions.get(name, ""))
        for name, value in evaluation.scores.items()
    ]
