from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from analysis.tolerant_scores import score_tolerant

MEMBRANE = np.zeros((1, 5, 9), bool)
MEMBRANE[:, :, 4] = True


def test_a_shifted_boundary_is_forgiven_up_to_the_tolerance():
    shifted = np.roll(MEMBRANE, 2, axis=2).astype(np.float32)
    assert score_tolerant(shifted, MEMBRANE, tolerance_vox=2).best_f == 1.0
    assert score_tolerant(shifted, MEMBRANE, tolerance_vox=1.9).best_f == pytest.approx(
        0.5
    )  # nothing better than calling everything: three of nine columns are near


def test_precision_and_recall_drawn_by_hand():
    boundaries = np.zeros((1, 5, 9), np.float32)
    boundaries[0, :3, 3] = 0.8  # three of five rows, one voxel beside
    boundaries[0, 0, 8] = 0.9  # far off
    scores = score_tolerant(boundaries, MEMBRANE, tolerance_vox=1)
    assert scores.best_f_threshold == np.float32(0.8)
    assert (scores.precision, scores.recall) == (3 / 4, 3 / 5)
    assert scores.best_f == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert "within 1 voxels" in scores.convention


def test_in_plane_does_not_look_across_sections():
    membrane = np.zeros((2, 3, 3), bool)
    membrane[0, 1] = True
    other = membrane[::-1].astype(np.float32)
    assert score_tolerant(other, membrane, tolerance_vox=1).best_f == 1.0
    blind = score_tolerant(other, membrane, tolerance_vox=1, in_plane=True)
    assert (blind.best_f_threshold, blind.precision, blind.recall) == (0.0, 0.5, 1.0)


SHAPES = st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6))


@settings(max_examples=60, deadline=None)
@given(st.data(), SHAPES, st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]), st.booleans())
def test_equals_distance_transforms_at_every_threshold(data, shape, tolerance, in_plane):
    membrane = data.draw(hnp.arrays(bool, shape))
    membrane[0, 0, 0] = True
    boundaries = data.draw(
        hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    )
    spacing = (1e6, 1, 1) if in_plane else (1, 1, 1)

    def near(mask):
        if not mask.any():
            return mask
        return np.asarray(ndimage.distance_transform_edt(~mask, spacing)) <= tolerance

    best, at = -1.0, 0.0
    for threshold in np.unique(boundaries)[::-1]:
        called = boundaries >= threshold
        precision, recall = near(membrane)[called].mean(), near(called)[membrane].mean()
        f = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        if f > best + 1e-12:
            best, at = f, float(threshold)
    scores = score_tolerant(boundaries, membrane, tolerance_vox=tolerance, in_plane=in_plane)
    assert scores.best_f == pytest.approx(best, abs=1e-12)
    assert scores.best_f_threshold == at
    if not tolerance and not membrane.all():
        assert scores.best_f == pytest.approx(score_boundaries(boundaries, membrane).best_f)


@pytest.mark.parametrize(
    ("boundaries", "membrane", "tolerance", "message"),
    [
        (np.zeros((1, 2)), np.ones((1, 2), bool), -1.0, "tolerance_vox must not be negative"),
        (np.zeros((1, 2)), np.ones((1, 2), bool), np.nan, "tolerance_vox must not be negative"),
        (np.zeros((1, 2)), np.zeros((1, 2), bool), 1.0, "labels must hold membrane"),
        (np.zeros((1, 2)), np.ones((2, 1), bool), 1.0, "must have the same shape"),
        (np.zeros((1, 2)), np.ones((1, 2)), 1.0, "membrane must be bool"),
        (np.full((1, 2), 2.0), np.ones((1, 2), bool), 1.0, r"must lie in \[0, 1\]"),
    ],
)
def test_wrong_input_is_refused(boundaries, membrane, tolerance, message):
    with pytest.raises(InputError, match=message):
        score_tolerant(boundaries, membrane, tolerance_vox=tolerance)
