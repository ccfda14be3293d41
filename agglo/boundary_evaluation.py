"""Measure a boundary or affinity map on disk against labels, in numbers and pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agglo.cropped_part import require_same_part
from agglo.evaluation_result import (
    Evaluation,
    WarpingOptions,
    cluster_scores,
    is_sectioned,
    no_truth,
)
from agglo.volumes import Volume, VoxelSize, open_matching, require_volume
from analysis.affinity_scores import (
    AFFINITY_CONVENTION,
    boundaries_of_affinities,
    score_affinities,
)
from analysis.boundary_figures import precision_recall_figure, warping_figure
from analysis.boundary_scores import (
    BOUNDARY_CONVENTIONS,
    PIXEL_ERROR_CONVENTION,
    pixel_errors,
    precision_recall_at,
    score_boundaries,
)
from analysis.comparison_figures import MapColumn
from analysis.input_error import InputError
from analysis.label_borders import interior_mask, membrane_mask
from analysis.thinned_scores import THINNED_CONVENTIONS, score_thinned
from analysis.tolerant_scores import score_tolerant
from analysis.warping_clusters import mismatch_clusters
from analysis.warping_error import THRESHOLDS, warping_sweep
from predict.boundary_targets import boundary_targets, zero_means_membrane


def evaluate_boundaries(
    boundaries: str,
    labels: str,
    *,
    are_affinities: bool = False,
    image: str | None = None,
    threshold: float | None = None,
    localisation_tolerance: float = 2.0,
    warping: WarpingOptions | None = None,
    with_pictures: bool = False,
    section: int | None = None,
    voxel_size_nm: VoxelSize | None = None,
) -> Evaluation:
    """Measure a boundary map against labels whose 0 is membrane, or whose borders are.

    Args:
        boundaries: address of the map, 1 = boundary; or of affinities (3, z, y, x).
        labels: address of the labels.
        are_affinities: the map has three channels, 1 = connected to the neighbour one step back.
        image: address of the image, the ground of the pictures; the map itself if not given.
        threshold: membrane from this value on, for warping error and thinned scores; if not given
            each takes the best for this truth, and says so (oracle threshold).
        localisation_tolerance: voxels by which a boundary may be off in `best_f_tolerant`.
        warping: how to compute the warping error; by sections if not given, and never `none`.
        with_pictures: draw figures too.
        section: z of the section drawn beside others; else the one with most errors.
        voxel_size_nm: for volumes that state none.

    Raises:
        InputError: volumes cannot be read, do not fit, or hold nothing to measure.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold must lie in [0, 1], not {threshold}.")
    if not 0 <= localisation_tolerance < np.inf:
        raise InputError(
            f"--localisation-tolerance must not be negative, but is {localisation_tolerance}."
        )
    warping = warping or WarpingOptions()
    if warping.unit == "none":
        raise InputError(
            "--warping none is for --segmentation, the warping error of a map belongs to it."
        )
    argument = "--affinities" if are_affinities else "--boundaries"
    texts = {argument: boundaries, "--labels": labels, "--image": image}
    volumes, size = open_matching(texts, voxel_size_nm)
    require_same_part(volumes)
    warping.check_size(volumes["--labels"])
    in_plane = is_sectioned(size)
    given = require_volume(
        volumes[argument], argument, "affinities" if are_affinities else "boundaries"
    )
    truth = require_volume(volumes["--labels"], "--labels", "labels")
    if not truth.any():
        raise no_truth(volumes["--labels"])
    if threshold is None:
        _require_probabilities(given, volumes[argument])
    proposal = boundaries_of_affinities(given, in_plane=in_plane) if are_affinities else given
    membrane = membrane_mask(truth, in_plane=in_plane)
    interior = interior_mask(truth)
    scored = score_boundaries(proposal, membrane)
    tolerant = score_tolerant(
        proposal, membrane, tolerance_vox=localisation_tolerance, in_plane=in_plane
    )
    thresholds = THRESHOLDS if threshold is None else (threshold,)
    thinned = score_thinned(proposal, interior, thresholds)
    thick = score_thinned(proposal, interior, thresholds, thin_borders=False)
    warped_from = ~membrane_mask(truth) if warping.unit == "volume" else interior
    warped = warping_sweep(
        proposal,
        warped_from,
        thresholds,
        foreground=warping.foreground,
        mask=warping.mask(warped_from),
    )
    kind = "oracle threshold" if threshold is None else f"threshold {threshold:g}"
    of_warping = kind if threshold is not None else f"{kind} of warping_error"
    scores: dict[str, float | int] = {
        "auc": scored.auc,
        "average_precision": scored.average_precision,
        "best_f": scored.best_f,
        "best_f_tolerant": tolerant.best_f,
        "pixel_error": float(pixel_errors(proposal, interior, thresholds).min()),
        "warping_error": warped.minimum_error,
        "split_merge_error": warped.minimum_split_merge_error,
        **cluster_scores(mismatch_clusters(warped.best).counts),
        "v_rand_thinned": thinned.best_v_rand,
        "v_info_thinned": thinned.best_v_info,
        "v_rand": thick.best_v_rand,
        "v_info": thick.best_v_info,
        "threshold": thinned.best_v_rand_threshold,
    }
    conventions = {
        **BOUNDARY_CONVENTIONS,
        "best_f_tolerant": tolerant.convention,
        "pixel_error": f"{PIXEL_ERROR_CONVENTION} ({kind})",
        "warping_error": f"{warping.convention} ({kind})",
        "split_merge_error": f"{warping.split_merge_convention} ({kind})",
        **{name: f"{text} ({of_warping})" for name, text in warping.cluster_conventions.items()},
        **{name: f"{text} ({kind})" for name, text in THINNED_CONVENTIONS.items()},
        "threshold": "that of v_rand_thinned, best for this truth" if threshold is None else kind,
    }
    if are_affinities:
        conventions["auc"] += "; map: 1 - weakest affinity of a voxel to a face neighbour"
        _add_channels(scores, conventions, given, truth, in_plane)
    precision, recall = precision_recall_at(proposal, membrane, THRESHOLDS)
    curve = [
        {"threshold": at, "precision": float(p), "recall": float(r)}
        for at, p, r in zip(THRESHOLDS, precision, recall, strict=True)
    ]
    details = {"precision_recall": curve}
    if not with_pictures:
        return Evaluation(scores, conventions, details=details)
    ground: npt.NDArray = (
        require_volume(volumes["--image"], "--image", "image")
        if image is not None
        else 1 - proposal
    )
    worst = int(np.argmax(warped.best.section_errors))
    shown = worst if section is None else section
    figures = {
        "precision_recall": precision_recall_figure(
            scored, ground, proposal, section=worst, voxel_size_nm=size
        ),
        "warping_errors": warping_figure(
            warped.best,
            ground,
            section=worst,
            threshold=warped.best_threshold,
            voxel_size_nm=size,
        ),
    }
    column = MapColumn(
        scores=scored,
        numbers={
            name: float(scores[name])
            for name in ("pixel_error", "warping_error", "v_rand_thinned", "v_info_thinned")
        },
        section=shown,
        image=ground[shown],
        boundaries=proposal[shown],
        warped=warped.best.warped[shown],
        mismatches=warped.best.mismatches[shown],
    )
    return Evaluation(scores, conventions, figures, details, column=column, voxel_size_nm=size)


def _add_channels(
    scores: dict[str, float | int],
    conventions: dict[str, str],
    affinities: npt.NDArray[np.float32],
    truth: npt.NDArray[np.uint64],
    in_plane: bool,
) -> None:
    """Add the scores of every channel of an affinity map."""
    targets = boundary_targets(
        truth, zero_is_membrane=zero_means_membrane(truth), in_section=in_plane
    )
    is_cut, is_known = targets.target[1:] == 0, targets.known[1:]
    for axis, channel in score_affinities(affinities, is_cut, is_known).items():
        for name in ("auc", "average_precision", "best_f"):
            scores[f"{name}_{axis}"] = getattr(channel, name)
            conventions[f"{name}_{axis}"] = AFFINITY_CONVENTION.format(axis=axis)


def _require_probabilities(values: npt.NDArray[np.float32], volume: Volume) -> None:
    """Refuse a map of one value or two: no threshold can be sought in it."""
    low, high = float(values.min()), float(values.max())
    if np.all((values == low) | (values == high)):
        seen = f"the values {low:g} and {high:g}" if high > low else f"the value {low:g}"
        raise InputError(
            f"{volume.argument}: {volume.address} holds only {seen}, where probabilities are "
            f"expected (a mask is measured with --threshold 0.5)."
        )
