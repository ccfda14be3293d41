from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.connectivity import (
    DUAL,
    Connectivity,
    checked_binary,
    label_components,
    neighbour_offsets,
    structuring_element,
)
from analysis.input_error import InputError
from tests.analysis.components import components

VOLUME_ORDER: dict[Connectivity, int] = {6: 1, 26: 3}
SECTION_ORDER: dict[Connectivity, int] = {4: 1, 8: 2}


def test_elements_hold_the_voxel_and_its_neighbours():
    for connectivity in DUAL:
        element = structuring_element(connectivity)
        assert element.sum() == connectivity + 1
        assert element[1, 1, 1]
        np.testing.assert_array_equal(element, element[::-1, ::-1, ::-1])
    assert structuring_element(4)[1].tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert not structuring_element(8)[[0, 2]].any()


def test_offsets_reach_the_neighbours_in_raster_order():
    assert neighbour_offsets((9, 5, 7), 4).tolist() == [-7, -1, 1, 7]
    assert neighbour_offsets((9, 5, 7), 8).tolist() == [-8, -7, -6, -1, 1, 6, 7, 8]
    assert neighbour_offsets((9, 5, 7), 6).tolist() == [-35, -7, -1, 1, 7, 35]
    assert neighbour_offsets((9, 5, 7), 26).size == 26


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_components_equal_scikit_image(image):
    for connectivity, order in VOLUME_ORDER.items():
        labels, n_labels = label_components(image, connectivity)
        expected = components(image, order)
        assert n_labels == expected.max()
        pairs = np.unique(np.stack((labels, expected)).reshape(2, -1), axis=1)
        assert pairs.shape[1] == np.unique(expected).size
    for connectivity, order in SECTION_ORDER.items():
        n_labels = label_components(image, connectivity)[1]
        assert n_labels == sum(int(components(section, order).max()) for section in image)


@pytest.mark.parametrize(
    ("shape", "dtype", "foreground", "message"),
    [
        ((2, 2), bool, 5, "foreground must be 4, 8, 6 or 26, but is 5"),
        ((2, 2), bool, 6, r"image must have axes \(z, y, x\) for foreground 6, .* \(2, 2\)"),
        ((4,), bool, 8, r"image must have axes \(y, x\) or \(z, y, x\) for foreground 8"),
        ((2, 2), np.uint8, 4, "image must be bool, but its dtype is uint8"),
        ((2, 0), bool, 4, r"image is empty: its shape is \(2, 0\)"),
    ],
)
def test_wrong_images_are_refused(shape, dtype, foreground, message):
    with pytest.raises(InputError, match=message):
        checked_binary(np.zeros(shape, dtype), "image", foreground)


@given(st.sampled_from([4, 8]))
def test_a_section_becomes_a_volume_of_one(foreground):
    assert checked_binary(np.ones((2, 3), bool), "image", foreground).shape == (1, 2, 3)
