from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.boundary_scores import (
    BOUNDARY_CONVENTIONS,
    pixel_errors,
    precision_recall_at,
    score_boundaries,
)
from analysis.input_error import InputError


def test_drawn_by_hand():
    boundaries = np.array([[0.9, 0.8, 0.7], [0.6, 0.2, 0.1]], np.float32)
    membrane = np.array([[True, False, True], [True, False, False]])
    scores = score_boundaries(boundaries, membrane)
    assert scores.auc == pytest.approx(7 / 9, abs=1e-15)
    assert scores.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3, abs=1e-15)
    assert scores.best_f == pytest.approx(6 / 7, abs=1e-15)
    assert scores.best_f_threshold == np.float32(0.6)
    assert scores.membrane_fraction == 0.5
    np.testing.assert_allclose(scores.thresholds, [0.9, 0.7, 0.6, 0.1], atol=1e-7)
    np.testing.assert_allclose(scores.recall, [1 / 3, 2 / 3, 1, 1])
    np.testing.assert_allclose(scores.precision, [1, 2 / 3, 3 / 4, 1 / 2])


def test_a_constant_map_knows_nothing():
    membrane = np.array([True, False, False, False])
    scores = score_boundaries(np.full(4, 0.3), membrane)
    assert (scores.auc, scores.average_precision, scores.best_f) == (0.5, 0.25, 0.4)
    assert scores.best_f_threshold == 0.3


def test_a_binary_map_is_scored_like_any_other():
    membrane = np.array([True, True, False, False])
    perfect = score_boundaries(membrane.astype(np.uint8), membrane)
    assert (perfect.auc, perfect.average_precision, perfect.best_f) == (1.0, 1.0, 1.0)
    assert perfect.best_f_threshold == 1.0
    inverted = score_boundaries(~membrane, membrane)
    assert (inverted.auc, inverted.best_f) == (0.0, pytest.approx(2 / 3))


MAPS = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, -0.0, 0.1, 0.3, 1 / 3, 0.9, 1.0])),
        hnp.arrays(bool, n),
        st.sampled_from([np.float16, np.float32, np.float64]),
    )
)


@settings(max_examples=100, deadline=None)
@given(MAPS)
def test_equals_brute_force(drawn):
    values, membrane, dtype = drawn
    membrane[:2] = True, False
    boundaries = values.astype(dtype)
    scores = score_boundaries(boundaries, membrane)
    inside, outside = boundaries[membrane][:, None], boundaries[~membrane]
    auc = np.mean((inside > outside) + 0.5 * (inside == outside))
    assert scores.auc == pytest.approx(auc, abs=1e-12)
    average, recall_before, best = 0.0, 0.0, 0.0
    for threshold in sorted(set(boundaries.tolist()), reverse=True):
        called = boundaries >= threshold
        precision = (called & membrane).sum() / called.sum()
        recall = (called & membrane).sum() / membrane.sum()
        average += (recall - recall_before) * precision
        recall_before = recall
        best = max(best, 2 * (called & membrane).sum() / (called.sum() + membrane.sum()))
    assert scores.average_precision == pytest.approx(average, abs=1e-12)
    assert scores.best_f == pytest.approx(best, abs=1e-12)
    called = boundaries >= scores.best_f_threshold
    at_best = 2 * (called & membrane).sum() / (called.sum() + membrane.sum())
    assert at_best == pytest.approx(best, abs=1e-12)
    assert scores.recall[-1] == 1.0
    for threshold, precision in zip(scores.thresholds, scores.precision, strict=True):
        called = boundaries >= threshold
        assert precision == pytest.approx((called & membrane).sum() / called.sum(), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(MAPS, st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.9, 1.0]), max_size=4))
def test_at_given_thresholds_equals_counting(drawn, thresholds):
    values, membrane, _ = drawn
    membrane[:2] = True, False
    precision, recall = precision_recall_at(values, membrane, thresholds)
    errors = pixel_errors(values, ~membrane, thresholds)
    for i, threshold in enumerate(thresholds):
        called = values >= threshold
        hits = (called & membrane).sum()
        assert precision[i] == (hits / called.sum() if called.any() else 1.0)
        assert recall[i] == hits / membrane.sum()
        assert errors[i] == np.mean(called != membrane)
    assert len(precision) == len(recall) == len(errors) == len(thresholds)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_scikit_learn(dtype):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    membrane = rng.random((5, 60, 70)) < 0.2
    boundaries = np.clip(0.3 * membrane + 0.6 * rng.random(membrane.shape), 0, 1).astype(dtype)
    scores = score_boundaries(boundaries, membrane)
    truth, values = membrane.ravel(), boundaries.ravel()
    assert scores.auc == pytest.approx(metrics.roc_auc_score(truth, values), abs=1e-12)
    assert scores.average_precision == pytest.approx(
        metrics.average_precision_score(truth, values), abs=1e-12
    )
    precision, recall, _ = metrics.precision_recall_curve(truth, values)
    best = (2 * precision * recall / (precision + recall + 1e-300)).max()
    assert scores.best_f == pytest.approx(best, abs=1e-12)


def test_the_curve_is_kept_at_a_thousand_steps_of_recall():
    rng = np.random.default_rng(2)
    membrane = rng.random(50_000) < 0.5
    scores = score_boundaries(rng.random(50_000), membrane)
    assert 900 < scores.thresholds.size <= 1001
    assert np.all(np.diff(scores.thresholds) < 0)
    assert np.all(np.diff(scores.recall) >= 0)
    assert np.diff(scores.recall).max() < 0.0011


def test_read_only_input_is_left_as_it_is():
    boundaries = np.array([0.5, 0.25, 0.5], np.float32)
    membrane = np.array([True, False, False])
    boundaries.flags.writeable = membrane.flags.writeable = False
    assert score_boundaries(boundaries, membrane).auc == 0.75
    assert boundaries.tolist() == [0.5, 0.25, 0.5]


def test_every_number_has_a_convention():
    scores = score_boundaries(np.array([0.0, 1.0]), np.array([False, True]))
    assert all(hasattr(scores, name) for name in BOUNDARY_CONVENTIONS)


@pytest.mark.parametrize(
    ("boundaries", "membrane", "message"),
    [
        (np.array([0.5, np.nan]), [True, False], "boundaries must be finite, but 1 of its values"),
        (np.array([0.5, 1.5]), [True, False], r"boundaries must lie in \[0, 1\]"),
        (np.array([0.5, 0.5, 0.1]), [True, False], r"boundaries and membrane .* \(3,\) and \(2,\)"),
        (np.array([0.5, 0.5]), [1, 0], "membrane must be bool, but its dtype is int64"),
        (np.array([0.5, 0.5]), [True, True], "2 of 2 voxels are membrane"),
        (np.array([0.5, 0.5]), [False, False], "0 of 2 voxels are membrane"),
    ],
)
def test_wrong_input_is_refused(boundaries, membrane, message):
    with pytest.raises(InputError, match=message):
        score_boundaries(boundaries, np.array(membrane))
    with pytest.raises(InputError, match=message):
        precision_recall_at(boundaries, np.array(membrane), [0.5])
