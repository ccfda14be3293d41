from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from skimage.metrics import variation_of_information

from analysis.input_error import InputError
from envs.synapse_rows import synapse_table
from envs.truth_rows import errors_of_rows, start_rows, truth_table
from tests.envs.random_tissue import SEEDS, Volume, random_labels, volumes

modest = settings(max_examples=40, deadline=None)


def test_drawn_synapses() -> None:
    superpixels = np.array([[[5, 5, 0], [9, 9, 12]]], np.uint64)
    labels = np.array([[[1, 1, 1], [3, 0, 3]]])
    points = np.array([[0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 2], [0, 1, 1], [0, 1, 2]])
    weights = np.array([2, 3, 4, 100, 100, 1])  # the fourth has no superpixel, the fifth no truth
    table = synapse_table(np.array([5, 9, 12], np.uint64), superpixels, points, labels, weights)
    assert list(zip(*(column.tolist() for column in table), strict=True)) == [
        (0, 0, 6),
        (1, 1, 3),
        (2, 1, 1),
    ]
    vi, _ = errors_of_rows(start_rows(table, 3))
    assert vi == pytest.approx(0.3 * np.log2(4 / 3) + 0.1 * np.log2(4))


@modest
@given(volumes(), SEEDS, hs.booleans())
def test_weights_are_points_counted_so_often(volume: Volume, seed: int, at_points: bool) -> None:
    superpixels = volume.superpixels
    rng = np.random.default_rng(seed)
    labels = random_labels(seed, superpixels.shape, 3)
    points = np.argwhere(np.ones(superpixels.shape, bool))
    points = points[rng.integers(len(points), size=20)]
    points[0] = np.argwhere(superpixels)[0]
    labels[tuple(points[0])] = 2
    weights = rng.integers(1, 6, 20)
    ids = volume.graph().ids
    truth = labels[tuple(points.T)] if at_points else labels
    table = synapse_table(ids, superpixels, points, truth, weights)
    segment = np.repeat(superpixels[tuple(points.T)], weights)
    label = np.repeat(labels[tuple(points.T)], weights)
    counted = (segment != 0) & (label != 0)
    assert table.counts.sum() == counted.sum()
    vi, _ = errors_of_rows(start_rows(table, len(ids)))
    dense = np.searchsorted(ids, segment[counted].astype(np.uint64))
    assert vi == pytest.approx(np.sum(variation_of_information(label[counted], dense)), abs=1e-9)


@modest
@given(volumes(), SEEDS)
def test_a_point_in_every_voxel_is_the_truth_table(volume: Volume, seed: int) -> None:
    superpixels = volume.superpixels
    labels = random_labels(seed, superpixels.shape, 3)
    labels[tuple(np.argwhere(superpixels)[0])] = 1
    ids = volume.graph().ids
    points = np.argwhere(np.ones(superpixels.shape, bool))
    ones = np.ones(len(points), np.uint8)
    table = synapse_table(ids, superpixels, points, labels, ones)
    for column, expected in zip(table, truth_table(ids, superpixels, labels), strict=True):
        np.testing.assert_array_equal(column, expected)
        assert column.dtype == expected.dtype


def test_wrong_synapses_are_told() -> None:
    arguments = {
        "ids": np.array([1, 2], np.uint64),
        "superpixels": np.array([[[1, 2, 0]]]),
        "points_vox": np.array([[0, 0, 0], [0, 0, 1]]),
        "labels": np.array([[[4, 4, 4]]]),
        "weights": np.array([1, 1]),
    }
    assert synapse_table(**arguments).counts.tolist() == [1, 1]
    for changed, message in (
        ({"points_vox": np.array([[0, 0, -1], [0, 0, 0]])}, r"points_vox holds \[0, 0, -1\], outs"),
        ({"points_vox": np.array([[0, 0, 3], [0, 0, 0]])}, r"outside the volume of shape \(1, 1, "),
        ({"points_vox": np.zeros((2, 3))}, r"points_vox must be integer z, y, x, not float64 of"),
        ({"points_vox": np.zeros((0, 3), int)}, "points_vox must hold at least one point"),
        ({"superpixels": np.array([[1, 2]])}, r"points_vox lie in a volume of shape \(1, 2\)"),
        ({"labels": np.array([4])}, r"labels has shape \(1,\) for 2 points"),
        ({"labels": np.array([[4, 4, 4]])}, r"labels has shape \(1, 3\) but superpixels has shape"),
        ({"labels": np.array([4, -1])}, "labels must not hold negative labels"),
        ({"labels": np.array([0, 0])}, "none of the 2 points lies in a superpixel with truth"),
        ({"weights": np.array([1])}, r"weights must be 2 integers, not int64 of shape \(1,\)"),
        ({"weights": np.array([1.0, 1.0])}, r"weights must be 2 integers, not float64 of shape"),
        ({"weights": np.array([1, 0])}, "weights must be positive; seen 0"),
        ({"ids": np.array([1, 3], np.uint64)}, "superpixels hold ids that are not among the 2"),
    ):
        with pytest.raises(InputError, match=message):
            synapse_table(**(arguments | changed))
