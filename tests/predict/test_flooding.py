from __future__ import annotations

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


@settings(max_examples=200, deadline=None)
@given(
    shape=some.tuples(*[some.integers(1, 9)] * 3),
    n_heights=some.sampled_from([1, 2, 4, 1000]),
    density=some.sampled_from([0.02, 0.3, 0.9]),
    seed=some.integers(0, 2**32 - 1),
)
def test_labels_are_those_of_scikit_image(
    shape: tuple[int, int, int], n_heights: int, density: float, seed: int
) -> None:
    """With few heights nearly everything is a tie."""
    rng = np.random.default_rng(seed)
    landscape = (rng.integers(0, n_heights, shape) / n_heights).astype(np.float32)
    seeds = np.where(rng.random(shape) < density, rng.integers(1, 6, shape), 0)
    seeds.flat[rng.integers(seeds.size)] = 1
    flooded = flood(landscape, seeds)
    np.testing.assert_array_equal(flooded, watershed(landscape, seeds))
    assert flooded.min() > 0
    np.testing.assert_array_equal(flooded[seeds > 0], seeds[seeds > 0])


def test_zero_has_one_sign() -> None:
    landscape = np.array([[[0.0, -0.0, 0.5, -0.0, 0.0]]], np.float32)
    seeds = np.array([[[1, 0, 0, 0, 2]]])
    np.testing.assert_array_equal(flood(landscape, seeds), [[[1, 1, 1, 2, 2]]])


def test_a_volume_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flooding, "MAX_VOXELS", 100)
    with pytest.raises(InputError, match=r"boundaries of shape \(4, 4, 4\) has more voxels"):
        flood(np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), np.int32))
