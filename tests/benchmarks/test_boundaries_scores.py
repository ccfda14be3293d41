from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from analysis.label_borders import interior_mask
from analysis.thinned_scores import score_thinned
from analysis.warping_error import warping_error
from benchmarks.boundaries.scores import THRESHOLDS, Part, section_scores, volume_scores


def cells(seed: int, contrast: float, shape: tuple[int, int, int] = (2, 40, 40)) -> Part:
    """Draw cells by nearest seed, with a noisy map of their borders of a given contrast."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int64)
    points = rng.integers(0, shape, (24, 3))
    grid = np.moveaxis(np.indices(shape), 0, -1)[..., None, :]
    labels = ((grid - points) ** 2 * [0.01, 1, 1]).sum(-1).argmin(-1) + 1
    noise = ndimage.gaussian_filter(rng.random(shape), (0, 1, 1))
    boundaries = np.clip(contrast * (~interior_mask(labels) + noise - 0.3), 0, 1).astype(np.float32)
    affinities = np.repeat(1 - boundaries[None], 3, axis=0)
    return Part(boundaries, affinities, labels)


def test_thresholds_of_sections_come_from_the_validation_part() -> None:
    validation, report = cells(0, 1.0), cells(1, 0.5)
    numbers = section_scores(validation, report)
    chosen = score_thinned(validation.boundaries, interior_mask(validation.labels), THRESHOLDS)
    assert numbers["threshold"] == chosen.best_v_rand_threshold
    interior = interior_mask(report.labels)
    own = score_thinned(report.boundaries, interior, THRESHOLDS)
    assert own.best_v_rand_threshold != numbers["threshold"]
    at = score_thinned(report.boundaries, interior, (numbers["threshold"],))
    assert (numbers["v_rand_thinned"], numbers["v_info_thinned"]) == (
        at.best_v_rand,
        at.best_v_info,
    )
    assert numbers["v_rand_thinned"] < numbers["v_rand_thinned_oracle"] == own.best_v_rand
    warped = warping_error(report.boundaries, interior, numbers["threshold"])
    assert numbers["warping_error"] == pytest.approx(warped.section_errors.mean())


def test_the_threshold_of_a_volume_comes_from_the_validation_part() -> None:
    shape = (8, 32, 32)
    validation, report = cells(0, 1.0, shape), cells(1, 0.6, shape)
    numbers, volumes = volume_scores(validation, report, (1.0, 1.0, 1.0))
    again, _ = volume_scores(report, report, (1.0, 1.0, 1.0))
    other, _ = volume_scores(validation, validation, (1.0, 1.0, 1.0))
    assert numbers["threshold"] == other["threshold"] != again["threshold"]
    assert numbers["vi_oracle"] == again["vi_oracle"] <= min(again["vi"], numbers["vi"])
    assert numbers["vi"] == pytest.approx(numbers["vi_split"] + numbers["vi_merge"])
    assert numbers["n_segments"] == len(np.unique(volumes["segmentation"]))
    assert numbers["n_superpixels"] == len(np.unique(volumes["superpixels"]))
    assert numbers["floor_vi"] <= numbers["superpixel_vi"]
