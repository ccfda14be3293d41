from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.border_errors import border_errors, worst_sections
from analysis.input_error import InputError

TRUTH = np.repeat([[1] * 6 + [2] * 6 + [3] * 8], 6, axis=0)


def columns(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask.any(axis=0)).tolist()


def test_a_merger_and_a_split_drawn_by_hand():
    proposal = np.where(TRUTH == 2, 1, TRUTH)
    proposal[:, 16:] = 9
    errors = border_errors(proposal, TRUTH)
    assert columns(errors.missed) == [6]
    assert columns(errors.agreed) == [12]
    assert columns(errors.extra) == [16]
    assert errors.n_wrong == 12


def test_a_border_shifted_within_the_tolerance_is_found():
    proposal = np.roll(TRUTH, 2, axis=1)
    proposal[:, :2] = 1
    assert border_errors(proposal, TRUTH).n_wrong == 0
    assert columns(border_errors(proposal, TRUTH, tolerance_vox=1).missed) == [6, 12]
    assert columns(border_errors(proposal, TRUTH, tolerance_vox=1).extra) == [8, 14]


def test_drawn_membranes_are_borders():
    membrane = TRUTH.copy()
    membrane[:, 5:8] = 0
    membrane[:, 11:14] = 0
    assert border_errors(TRUTH, membrane).n_wrong == 0
    assert border_errors(membrane, TRUTH).n_wrong == 0
    assert columns(border_errors(np.ones_like(TRUTH), membrane).missed) in ([6, 12], [7, 13])


def test_far_unlabelled_places_have_no_border():
    labels = np.zeros((6, 30), int)
    labels[:, :4] = 1
    labels[:, 26:] = 2
    assert border_errors(np.ones_like(labels), labels).n_wrong == 0
    assert border_errors(np.zeros_like(labels), np.zeros_like(labels)).n_wrong == 0


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(0, 3)
    ),
    st.permutations(range(1, 5)),
)
def test_equal_partitions_have_no_wrong_border(labels, names):
    errors = border_errors(np.array([0, *names])[labels], labels)
    assert errors.n_wrong == 0
    back = border_errors(labels, np.ones_like(labels))
    forth = border_errors(np.ones_like(labels), labels)
    np.testing.assert_array_equal(back.extra, forth.missed)


def test_worst_sections_come_first_and_apart():
    labels = np.stack([TRUTH] * 12)
    segmentation = labels.copy()
    segmentation[2] = 1
    segmentation[3] = 1
    segmentation[9][segmentation[9] == 2] = 1
    assert worst_sections(segmentation, labels) == [2]
    assert worst_sections(segmentation, labels, 2) == [2, 9]
    assert worst_sections(labels, labels, 2) == [0, 2]


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="segmentation and labels must have the same shape"):
        border_errors(TRUTH, TRUTH[:-1])
    with pytest.raises(InputError, match=r"segmentation must have axes \(y, x\)"):
        border_errors(TRUTH[None], TRUTH[None])
    with pytest.raises(InputError, match="labels must hold integer labels"):
        border_errors(TRUTH, TRUTH.astype(float))
    with pytest.raises(InputError, match=r"same shape \(z, y, x\)"):
        worst_sections(TRUTH, TRUTH)
