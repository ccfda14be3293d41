from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from predict.box import Box, whole

corner = st.tuples(*[st.integers(0, 6)] * 3)
boxes = st.builds(Box, corner, corner)


def _mask(box: Box) -> np.ndarray:
    mask = np.zeros((8, 8, 8), bool)
    mask[box.slices] = True
    return mask


def test_box_of_a_volume():
    box = whole((2, 3, 4))
    assert box == Box((0, 0, 0), (2, 3, 4))
    assert box.n_voxels == 24
    assert box.along(1, 1, 2) == Box((0, 1, 0), (2, 2, 4))


@settings(max_examples=50, deadline=None)
@given(boxes, boxes)
def test_intersection_is_that_of_the_voxels(a: Box, b: Box):
    both = a.intersect(b)
    common = _mask(a) & _mask(b)
    assert both.n_voxels == common.sum()
    if both.n_voxels:
        np.testing.assert_array_equal(_mask(both), common)
