"""Measure a segmentation on disk against labels or along skeletons, in numbers and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from agglo.block_scores import LabelWarping, Sections, count_volumes, require_labels, warp_labels
from agglo.cropped_part import require_same_part
from agglo.evaluation_result import (
    Evaluation,
    WarpingOptions,
    cluster_scores,
    is_sectioned,
    no_truth,
)
from agglo.skeleton_evaluation import SKELETON_HEADER, SkeletonOptions, evaluate_skeletons
from agglo.volumes import Volume, VoxelSize, open_matching, require_volume
from analysis.border_errors import worst_sections
from analysis.boundary_figures import warping_figure
from analysis.comparison_figures import SegmentationColumn
from analysis.contingency import Contingency
from analysis.input_error import InputError
from analysis.segmentation_figures import costs_figure, error_figure, overlay_figure
from analysis.segmentation_scores import (
    CONVENTIONS,
    SegmentationScores,
    SegmentCosts,
    floor_scores,
    score_segmentation,
    segment_costs,
)
from analysis.worst_places import places_figure, worst_places

SegmentationZeros = Literal["one-segment", "singletons", "ignore"]
"""What becomes of voxels that a segmentation leaves 0."""

ZEROS_CONVENTIONS: dict[SegmentationZeros, str] = {
    "one-segment": "",
    "singletons": "; every voxel of segment 0 a segment by itself",
    "ignore": "; voxels of segment 0 dropped",
}

_WIDENED = "; both borders widened by one pixel, so that a shift of theirs is free"

_PLACES = 6
"""Crops in a figure of the worst mergers or splits."""


@dataclass(frozen=True, slots=True)
class SegmentationOptions:
    """How a segmentation is measured.

    Attributes:
        border_tolerance: drop truth voxels within so many voxels of a true border.
        segmentation_zeros: what becomes of voxels that the segmentation leaves 0.
        warping: how to compute the warping error, which takes longer than all the rest.
        n_worst: mergers and splits to list.
        skeletons: skeletons to measure along.
    """

    border_tolerance: int = 0
    segmentation_zeros: SegmentationZeros = "one-segment"
    warping: WarpingOptions = field(default_factory=WarpingOptions)
    n_worst: int = 10
    skeletons: SkeletonOptions = field(default_factory=SkeletonOptions)

    def __post_init__(self) -> None:
        if self.border_tolerance < 0:
            raise InputError(
                f"--border-tolerance must not be negative, but is {self.border_tolerance}."
            )
        if self.n_worst < 0:
            raise InputError(f"--worst must not be negative, but is {self.n_worst}.")


def evaluate_segmentation(
    segmentation: str,
    labels: str | None,
    *,
    superpixels: str | None = None,
    image: str | None = None,
    options: SegmentationOptions | None = None,
    with_pictures: bool = False,
    section: int | None = None,
    voxel_size_nm: VoxelSize | None = None,
) -> Evaluation:
    """Measure a segmentation against true labels, along skeletons, or both.

    Volumes are read block by block, so they need not fit into memory; what is warped as a whole,
    a section or the volume, must.

    Args:
        segmentation: address of the proposal.
        labels: address of the truth, 0 = not counted; None with skeletons alone.
        superpixels: address of the superpixels, for their own VI and the floor.
        image: address of the image, the ground of the pictures; a blank one if not given.
        options: how to measure; the defaults if not given.
        with_pictures: draw figures too.
        section: z of the section drawn beside others; else the one with most errors.
        voxel_size_nm: for volumes that state none.

    Raises:
        InputError: volumes cannot be read, do not fit, or hold nothing to measure.
    """
    options = options or SegmentationOptions()
    texts = {
        "--segmentation": segmentation,
        "--labels": labels,
        "--superpixels": superpixels,
        "--image": image,
    }
    volumes, size = open_matching(texts, voxel_size_nm)
    require_same_part(volumes)
    evaluation = Evaluation({}, {})
    if labels is not None:
        evaluation = _against_labels(volumes, size, options, with_pictures, section)
    if options.skeletons.files:
        proposal = volumes["--segmentation"]
        require_labels(proposal)
        along = evaluate_skeletons(proposal, options.skeletons)
        evaluation = replace(
            evaluation,
            scores=evaluation.scores | along.scores,
            conventions=evaluation.conventions | along.conventions,
            details=evaluation.details | along.details,
            skeleton_rows=[SKELETON_HEADER, *along.rows],
        )
    return evaluation


def _against_labels(
    volumes: Mapping[str, Volume],
    size: VoxelSize | None,
    options: SegmentationOptions,
    with_pictures: bool,
    section: int | None,
) -> Evaluation:
    """Measure a segmentation against labels."""
    proposals = {key: volumes[key] for key in ("--segmentation", "--superpixels") if key in volumes}
    truth = volumes["--labels"]
    for volume in (truth, *proposals.values()):
        require_labels(volume)
    options.warping.check_size(truth)
    tolerance = options.border_tolerance
    singletons = options.segmentation_zeros == "singletons"
    counts = count_volumes(
        proposals,
        truth,
        border_tolerance=tolerance,
        in_plane=is_sectioned(size),
        ignore_zero=options.segmentation_zeros == "ignore",
    )
    if not counts.is_labelled:
        raise no_truth(truth)
    table = counts.tables["--segmentation"]
    if not table.n_voxels:
        if options.segmentation_zeros == "ignore":
            raise InputError(
                "--segmentation: no voxel is left to count, since it is 0 wherever --labels is not."
            )
        raise InputError(
            f"--border-tolerance: within {tolerance} voxels of a border lies all of --labels."
        )
    scored = score_segmentation(table, zero_is_singletons=singletons)
    costs = segment_costs(table, zero_is_singletons=singletons)
    scores: dict[str, float | int] = {
        key: getattr(scored, key)
        for key in (
            *("vi_split", "vi_merge", "vi", "adapted_rand_error", "rand_precision", "rand_recall"),
            *("rand_index", "v_rand", "v_info"),
        )
    }
    proposal = volumes["--segmentation"]
    conventions = dict(CONVENTIONS)
    warped: LabelWarping | None = None
    if options.warping.unit != "none":
        warped = warp_labels(proposal, truth, options.warping)
        scores["warping_error"] = warped.error
        scores |= cluster_scores(warped.clusters)
        conventions["warping_error"] = options.warping.convention
        if options.warping.unit == "sections":
            conventions["warping_error"] += _WIDENED
        conventions |= options.warping.cluster_conventions
    scores |= {"n_segments": scored.n_segments, "n_labels": scored.n_labels}
    if "--superpixels" in counts.tables:
        scores |= _floor(counts.tables["--superpixels"], singletons)
    conventions["vi"] += ZEROS_CONVENTIONS[options.segmentation_zeros]
    if tolerance:
        conventions["vi"] += f"; truth within {tolerance} voxels of a border dropped"
    details = _worst_lists(costs, options.n_worst)
    if not with_pictures:
        return Evaluation(scores, conventions, details=details)
    ground: Any = np.broadcast_to(np.uint8(0), truth.shape)
    if "--image" in volumes:
        require_volume(volumes["--image"][:1], "--image", "image")
        ground = Sections(volumes["--image"])
    drawn: tuple[Any, Any, Any] = (ground, Sections(proposal), Sections(truth))
    sections = worst_sections(drawn[1], drawn[2], 2)
    shown = sections[0] if section is None else section
    figures = _segmentation_figures(
        drawn, sections, scored, costs, singletons, options.n_worst, size
    )
    if warped is not None:
        z = warped.worst_section
        figures["warping_errors"] = warping_figure(
            warped.worst,
            np.asarray(ground[z : z + 1]),
            section_errors=warped.section_errors,
            voxel_size_nm=size,
        )
    column = SegmentationColumn(
        scored, shown, np.asarray(ground[shown]), proposal[shown], truth[shown]
    )
    return Evaluation(scores, conventions, figures, details, column=column, voxel_size_nm=size)


def _floor(table: Contingency, singletons: bool) -> dict[str, float | int]:
    """Score superpixels themselves, and what merging them can reach."""
    return {
        "superpixel_vi": score_segmentation(table, zero_is_singletons=singletons).vi,
        "floor_vi": floor_scores(table, zero_is_singletons=singletons).vi,
    }


def _worst_lists(costs: SegmentCosts, n_worst: int) -> dict[str, Any]:
    """List the labels that are split worst and the segments that merge worst."""
    lists: dict[str, Any] = {}
    for key, noun, parts, ids, bits, counts in (
        ("worst_splits", "label", "segments", costs.labels, costs.split_bits, costs.n_pieces),
        ("worst_mergers", "segment", "labels", costs.segments, costs.merge_bits, costs.n_merged),
    ):
        order = np.argsort(-bits, kind="stable")[:n_worst]
        lists[key] = [
            {noun: int(ids[i]), "bits": float(bits[i]), parts: int(counts[i])}
            for i in order
            if bits[i] > 0
        ]
    return lists


def _segmentation_figures(
    drawn: tuple[Any, Any, Any],
    sections: list[int],
    scored: SegmentationScores,
    costs: SegmentCosts,
    singletons: bool,
    n_worst: int,
    size: VoxelSize | None,
) -> dict[str, Figure]:
    """Draw a segmentation and its errors on image, segmentation and truth."""
    mergers, splits = worst_places(
        *drawn[1:], costs, n_worst=min(n_worst, _PLACES), zero_is_singletons=singletons
    )
    return {
        "overlay": overlay_figure(*drawn, section=sections[0], scores=scored, voxel_size_nm=size),
        "splits_and_mergers": error_figure(*drawn, sections=sections, voxel_size_nm=size),
        "vi_per_segment": costs_figure(costs),
        "worst_mergers": places_figure(mergers, *drawn, voxel_size_nm=size),
        "worst_splits": places_figure(splits, *drawn, voxel_size_nm=size),
    }
