from __future__ import annotations

import numpy as np

from analysis.label_colours import label_colours


def test_a_label_has_one_colour_everywhere():
    few = label_colours(np.array([3, 0, 8]))
    many = label_colours(np.array([[8, 1], [3, 3]], np.uint64))
    np.testing.assert_array_equal(few[0], many[1, 0])
    np.testing.assert_array_equal(few[0], many[1, 1])
    np.testing.assert_array_equal(few[2], many[0, 0])
    assert few[1].tolist() == [0, 0, 0]


def test_colours_are_told_apart_and_never_dark():
    colours = label_colours(np.arange(1, 1001))
    assert colours.shape == (1000, 3)
    assert colours.dtype == np.float32
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert np.unique(np.round(colours * 32), axis=0).shape[0] > 900
    assert colours.mean(axis=1).min() > 0.35
    assert np.ptp(colours, axis=1).min() > 0.2


def test_large_labels_do_not_overflow():
    assert np.ptp(label_colours(np.array([2**64 - 1], np.uint64))) > 0.2
