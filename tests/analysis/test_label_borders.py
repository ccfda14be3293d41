from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.segmentation import find_boundaries

from analysis.input_error import InputError
from analysis.label_borders import border_mask, drop_borders, interior_mask, membrane_mask

DRAWN = np.array([[1, 1, 2], [1, 1, 2], [0, 0, 2]])


def test_border_drawn_by_hand():
    assert border_mask(DRAWN).astype(int).tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1]]


def test_membrane_is_zero_and_both_sides_of_a_touch():
    assert membrane_mask(DRAWN).astype(int).tolist() == [[0, 1, 1], [0, 1, 1], [1, 1, 0]]


def test_interior_gives_up_the_side_of_larger_x_or_y():
    assert interior_mask(DRAWN).astype(int).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert interior_mask(DRAWN.T).astype(int).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_widened_membranes_leave_drawn_ones_alone():
    row = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0, 2]])
    assert interior_mask(row).astype(int).tolist() == [[1, 1, 1, 1, 0, 1, 1, 1, 0, 1]]
    assert interior_mask(row, widen_vox=1).astype(int).tolist() == [[1, 1, 1, 0, 0, 0, 1, 1, 0, 1]]


def test_in_plane_does_not_look_across_sections():
    stack = np.array([np.full((3, 3), 1), np.full((3, 3), 2)])
    assert border_mask(stack).all()
    assert not border_mask(stack, in_plane=True).any()
    assert membrane_mask(stack).all()
    assert not membrane_mask(stack, in_plane=True).any()
    assert interior_mask(stack).all()
    assert not drop_borders(stack, 1).any()
    np.testing.assert_array_equal(drop_borders(stack, 1, in_plane=True), stack)


def test_tolerance_drawn_by_hand():
    row = np.array([[1, 1, 1, 1, 2, 2, 2]])
    assert drop_borders(row, 0).tolist() == row.tolist()
    assert drop_borders(row, 1).tolist() == [[1, 1, 1, 0, 0, 2, 2]]
    assert drop_borders(row, 2).tolist() == [[1, 1, 0, 0, 0, 0, 2]]
    corner = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 2]])
    assert drop_borders(corner, 1).tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert drop_borders(corner, 2).tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_dropping_copies():
    row = np.array([[1, 2]])
    drop_borders(row, 1)
    assert row.tolist() == [[1, 2]]


VOLUMES = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)),
    elements=st.integers(0, 3),
)


@settings(max_examples=50, deadline=None)
@given(VOLUMES)
def test_borders_equal_scikit_image(labels):
    np.testing.assert_array_equal(
        border_mask(labels), find_boundaries(labels, connectivity=1, mode="thick")
    )


@settings(max_examples=50, deadline=None)
@given(VOLUMES, st.integers(0, 4), st.booleans())
def test_tolerance_equals_distances_to_other_labels(labels, n_vox, in_plane):
    spacing = (1e6, 1, 1) if in_plane else (1, 1, 1)
    expected = labels.copy()
    for label in np.unique(labels):
        others = labels != label
        if n_vox and others.any():
            distance = np.empty(labels.shape)
            ndimage.distance_transform_edt(~others, sampling=spacing, distances=distance)
            expected[(distance <= n_vox) & ~others] = 0
    np.testing.assert_array_equal(drop_borders(labels, n_vox, in_plane=in_plane), expected)


@settings(max_examples=50, deadline=None)
@given(VOLUMES)
def test_interiors_of_different_labels_never_touch(labels):
    interior = interior_mask(labels)
    assert not interior[labels == 0].any()
    for axis in (1, 2):
        first = np.moveaxis(interior * labels, axis, 0)[:-1]
        second = np.moveaxis(interior * labels, axis, 0)[1:]
        assert not ((first != second) & (first != 0) & (second != 0)).any()
    for n_steps in (1, 2):
        parting = (labels != 0) & ~interior
        diamond = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]])
        wide = np.asarray(ndimage.binary_dilation(parting, diamond, iterations=n_steps), bool)
        np.testing.assert_array_equal(
            interior_mask(labels, widen_vox=n_steps), (labels != 0) & ~wide
        )
    where_inside = ~membrane_mask(labels, in_plane=True)
    assert interior[where_inside].all()


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="widen_vox must not be negative, but is -2"):
        interior_mask(DRAWN, widen_vox=-2)
    with pytest.raises(InputError, match="n_vox must not be negative, but is -1"):
        drop_borders(DRAWN, -1)
    with pytest.raises(
        InputError, match="labels must hold integer labels, but its dtype is float64"
    ):
        border_mask(DRAWN.astype(float))
    with pytest.raises(InputError, match=r"labels must have axes .* \(2, 2, 2, 2\)"):
        interior_mask(np.ones((2, 2, 2, 2), int))
