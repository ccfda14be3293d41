from __future__ import annotations

import numpy as np
import pytest

from analysis.checked_arrays import as_sections, check_same_shape, checked_labels, checked_map
from analysis.input_error import InputError


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int32, np.uint32])
def test_narrow_labels_come_back_as_uint32(dtype):
    labels = checked_labels(np.array([[0, 1], [1, 0]], dtype=dtype), "labels")
    assert labels.dtype == np.uint32
    assert labels.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_wide_labels_keep_all_their_bits(dtype):
    largest = np.iinfo(dtype).max
    assert checked_labels(np.array([largest], dtype=dtype), "labels")[0] == largest


def test_labels_come_back_contiguous_read_only_and_leave_the_input_writable():
    given = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    turned = checked_labels(given.T, "labels")
    straight = checked_labels(given, "labels")
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, given.T)
    assert not turned.flags.writeable
    assert not straight.flags.writeable
    assert np.shares_memory(straight, given)
    assert given.flags.writeable


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 3)), r"truth is empty: its shape is \(0, 3\)\."),
        (np.ones(3, np.float32), "truth must hold integer labels, but its dtype is float32"),
        (np.array([4, -3]), "truth must not hold negative labels, but its smallest is -3"),
    ],
)
def test_wrong_labels_are_refused(array, message):
    with pytest.raises(InputError, match=message):
        checked_labels(array, "truth")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 0)), "boundaries is empty"),
        (np.array([0.5, np.nan, np.inf]), "2 of its values are NaN or infinite"),
        (np.array([0.0, 255.0]), r"must lie in \[0, 1\], but reaches from 0.0 to 255.0"),
        (np.array([3, 7], np.uint8), r"must lie in \[0, 1\], but reaches from 3 to 7"),
        (np.array([-0.25, 0.5]), r"reaches from -0.25 to 0.5"),
        (np.array(["a"]), "must hold numbers"),
    ],
)
def test_wrong_maps_are_refused(array, message):
    with pytest.raises(InputError, match=message):
        checked_map(array, "boundaries")


def test_maps_keep_float64_and_turn_the_rest_into_float32():
    assert checked_map(np.array([0.1, 1.0]), "boundaries").dtype == np.float64
    assert checked_map(np.array([0.1, 1.0], np.float16), "boundaries").dtype == np.float32
    assert checked_map(np.array([0, 1], np.uint8), "boundaries").tolist() == [0.0, 1.0]


def test_shapes_are_compared_and_sections_given_an_axis():
    with pytest.raises(InputError, match=r"a and b must have the same shape.*\(2,\) and \(3,\)"):
        check_same_shape(np.zeros(2), "a", np.zeros(3), "b")
    assert as_sections(np.zeros((4, 5)), "a").shape == (1, 4, 5)
    assert as_sections(np.zeros((2, 4, 5)), "a").shape == (2, 4, 5)
    with pytest.raises(InputError, match=r"a must have axes .* but its shape is \(7,\)"):
        as_sections(np.zeros(7), "a")
