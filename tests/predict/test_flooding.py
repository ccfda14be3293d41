from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from skimage.segmentation import watershed

from analysis.input_error import InputError
from predict import flooding
from predict.flooding import flood


def test_a_drawn_landscape() -> None:
    """The ridge goes to the lower basin, which stands at it first; what lies behind does not."""
    landscape = np.array([[[1, 1, 5, 2, 2], [1, 1, 4, 3, 2], [1, 1, 5, 2, 2]]], np.float32)
    seeds = np.zeros(landscape.shape, np.int32)
    seeds[0, 0, 0], seeds[0, 0, 4] = 7, 3
    expected = [[[7, 7, 7, 3, 3], [7, 7, 7, 3, 3], [7, 7, 7, 3, 3]]]
    np.testing.assert_array_equal(flood(landscape, seeds), expected)


def _flood_by_hand(landscape: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Keep all voxels that were reached in one sorted queue: by height, then by arrival."""
    labels = np.array(seeds)
    waiting = [(landscape[at], i, at) for i, at in enumerate(zip(*np.nonzero(seeds), strict=True))]
    heapq.heapify(waiting)
    n_arrived = len(waiting)
    while waiting:
        height, _, at = heapq.heappop(waiting)
        for axis, step in itertools.product(range(3), (-1, 1)):
            beside = tuple(at[i] + step * (i == axis) for i in range(3))
            inside = all(0 <= i < n for i, n in zip(beside, labels.shape, strict=True))
            if inside and labels[beside] == 0:
                labels[beside] = labels[at]
                heapq.heappush(waiting, (max(landscape[beside], height), n_arrived, beside))
                n_arrived += 1
    return labels


@settings(max_examples=200, deadline=None)
@given(
    shape=some.tuples(*[some.integers(1, 9)] * 3),
    n_heights=some.sampled_from([1, 2, 4, 1000]),
    density=some.sampled_from([0.02, 0.3, 0.9]),
    seed=some.integers(0, 2**32 - 1),
)
def test_labels_are_those_of_a_sorted_queue(
    shape: tuple[int, int, int], n_heights: int, density: float, seed: int
) -> None:
    """With few heights nearly everything is a tie."""
    rng = np.random.default_rng(seed)
    landscape = (rng.integers(0, n_heights, shape) / n_heights).astype(np.float32)
    seeds = np.where(rng.random(shape) < density, rng.integers(1, 6, shape), 0)
    seeds.flat[rng.integers(seeds.size)] = 1
    flooded = flood(landscape, seeds)
    np.testing.assert_array_equal(flooded, _flood_by_hand(landscape, seeds))
    assert flooded.min() > 0
    np.testing.assert_array_equal(flooded[seeds > 0], seeds[seeds > 0])


@settings(max_examples=100, deadline=None)
@given(
    shape=some.tuples(*[some.integers(1, 12)] * 3),
    n_seeds=some.integers(1, 30),
    spread=some.sampled_from([1e-30, 1.0, 1e30]),
    seed=some.integers(0, 2**32 - 1),
)
def test_labels_are_those_of_scikit_image(
    shape: tuple[int, int, int], n_seeds: int, spread: float, seed: int
) -> None:
    """Every height once, over many powers of two."""
    rng = np.random.default_rng(seed)
    n_voxels = int(np.prod(shape))
    heights = np.cumsum(rng.random(n_voxels) ** 8 + 1e-3)
    landscape = rng.permutation(heights * spread).reshape(shape).astype(np.float32)
    seeds = np.zeros(shape, np.int32)
    at = rng.choice(n_voxels, min(n_seeds, n_voxels), replace=False)
    seeds.flat[at] = rng.integers(1, 6, len(at))
    np.testing.assert_array_equal(flood(landscape, seeds), watershed(landscape, seeds))


def test_more_heights_than_fit_the_first_table() -> None:
    rng = np.random.default_rng(3)
    landscape = rng.permutation(24**3).reshape(24, 24, 24).astype(np.float32)
    seeds = np.zeros(landscape.shape, np.int32)
    seeds.flat[rng.choice(seeds.size, 50, replace=False)] = np.arange(1, 51)
    np.testing.assert_array_equal(flood(landscape, seeds), watershed(landscape, seeds))


def test_zero_has_one_sign() -> None:
    landscape = np.array([[[0.0, -0.0, 0.5, -0.0, 0.0]]], np.float32)
    seeds = np.array([[[1, 0, 0, 0, 2]]])
    np.testing.assert_array_equal(flood(landscape, seeds), [[[1, 1, 1, 2, 2]]])


def test_a_volume_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flooding, "MAX_VOXELS", 100)
    with pytest.raises(InputError, match=r"boundaries of shape \(4, 4, 4\) has more voxels"):
        flood(np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), np.int32))
