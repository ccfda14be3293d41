from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from analysis.cut_pixels import mark_cut_pixels
from tests.analysis.components import n_components


def cut_pixels(image: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    cut = np.zeros(image.shape, bool)
    mark_cut_pixels(image, rows, cols, cut)
    return cut


def test_the_middle_of_a_bar_cuts_and_its_ends_do_not():
    image = np.array([[1, 1, 1, 0], [0, 0, 0, 1]], np.uint8)
    cut = cut_pixels(image, *np.nonzero(image))
    assert cut.astype(int).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]


def test_only_objects_named_by_a_pixel_are_searched():
    image = np.array([[1, 1, 1, 0, 1, 1, 1]], np.uint8)
    cut = cut_pixels(image, np.array([0, 0]), np.array([2, 3]))
    assert cut.astype(int).tolist() == [[0, 1, 0, 0, 0, 0, 0]]


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements={"min_value": 0, "max_value": 1},
    )
)
def test_equals_taking_every_pixel_out(image):
    rows, cols = np.nonzero(np.ones_like(image))
    cut = cut_pixels(image, rows[::-1].copy(), cols[::-1].copy())
    n_objects = n_components(image)
    for y, x in zip(*np.nonzero(image), strict=True):
        without = image.copy()
        without[y, x] = 0
        assert cut[y, x] == (n_components(without) > n_objects)
    assert not cut[image == 0].any()
