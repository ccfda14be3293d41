from __future__ import annotations

import numpy as np
import pytest

from analysis.input_error import InputError
from envs.label_table import number_labels, plain_labels, replace_labels
from tests.envs.random_tissue import LABEL_TYPES

LABELS = np.array([0, 5, 5, 2, 0, 5, 9, 9], np.uint64)


def test_labels_are_numbered_as_they_come() -> None:
    index = np.empty(len(LABELS), np.int32)
    assert number_labels(LABELS, index).tolist() == [5, 2, 9]
    assert index.tolist() == [-1, 0, 0, 1, -1, 0, 2, 2]


@pytest.mark.parametrize("spread", [1, 2**32, 0x9E3779B97F4A7C15])
def test_table_grows_with_the_labels(spread: int) -> None:
    """More labels than there is room for at first, in an order that is not theirs."""
    rng = np.random.default_rng(0)
    few = rng.integers(0, 5000, 40_000, np.uint64)
    labels = few * np.uint64(spread)
    index = np.empty(len(labels), np.int32)
    ids = number_labels(labels, index)
    found, first = np.unique(labels[labels > 0], return_index=True)
    assert ids.tolist() == found[np.argsort(first)].tolist()
    np.testing.assert_array_equal(np.append(ids, np.uint64(0))[index], labels)


def test_labels_are_replaced_and_those_seen_are_told() -> None:
    ids, values = np.array([2, 5, 7, 9], np.uint64), np.array([20, 50, 70, 50], np.uint64)
    is_seen, out = np.zeros(4, np.bool_), np.empty(len(LABELS), np.uint64)
    assert replace_labels(LABELS, ids, values, is_seen, out) == -1
    assert out.tolist() == [0, 50, 50, 20, 0, 50, 50, 50]
    assert is_seen.tolist() == [True, True, False, True]
    assert replace_labels(LABELS, ids[:3], values[:3], is_seen[:3], out) == 6


@pytest.mark.parametrize("dtype", LABEL_TYPES)
def test_types_become_two(dtype: type) -> None:
    labels = np.arange(24).astype(dtype).reshape(2, 3, 4).transpose(2, 0, 1)
    plain = plain_labels(labels)
    assert plain.dtype in (np.uint32, np.uint64)
    assert plain.flags.c_contiguous
    assert not plain.flags.writeable
    np.testing.assert_array_equal(plain, labels)


def test_what_is_no_label_is_refused() -> None:
    with pytest.raises(InputError, match="superpixels must be integer labels, not float64"):
        plain_labels(np.zeros(3))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="superpixels must not be negative; seen -2"):
        plain_labels(np.array([1, -2], np.int16))
