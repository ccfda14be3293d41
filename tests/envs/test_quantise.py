from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from hypothesis.extra import numpy as hnp

from analysis.input_error import InputError
from envs.quantise import quantise_boundaries, quantise_image

modest = settings(max_examples=60, deadline=None)
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=4)
BYTES = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
FLOATS = (np.float16, np.float32, np.float64)


def volume_of(*values: float, dtype: type = np.float32) -> npt.NDArray:
    return np.array(values, dtype).reshape(1, 1, -1)


@pytest.mark.parametrize("quantise", [quantise_boundaries, quantise_image])
def test_bytes_are_kept(quantise: Callable[[npt.NDArray], npt.NDArray]) -> None:
    turned = BYTES.transpose(2, 0, 1)
    result = quantise(turned)
    np.testing.assert_array_equal(result, turned)
    assert result.flags.c_contiguous


@pytest.mark.parametrize("dtype", FLOATS)
def test_shares_of_255_come_back_exactly(dtype: type) -> None:
    shares = (BYTES / 255).astype(dtype)
    np.testing.assert_array_equal(quantise_boundaries(shares), BYTES)
    np.testing.assert_array_equal(quantise_image(shares), BYTES)


@modest
@given(hnp.arrays(np.float64, SHAPES, elements=hs.floats(0, 1)))
def test_boundaries_are_rounded_to_the_nearest(boundaries: npt.NDArray[np.float64]) -> None:
    result = quantise_boundaries(boundaries)
    assert result.dtype == np.uint8
    assert (np.abs(result - 255 * boundaries) <= 0.5 + 1e-4).all()


def test_drawn_boundaries() -> None:
    values = volume_of(0, 0.05, 0.5, 0.998, 0.9981, 1)
    assert quantise_boundaries(values).ravel().tolist() == [0, 13, 128, 254, 255, 255]


@modest
@given(hnp.arrays(np.float64, SHAPES, elements=hs.floats(0, 1)))
def test_float_images_are_rounded_to_the_nearest(image: npt.NDArray[np.float64]) -> None:
    result = quantise_image(image)
    assert result.dtype == np.uint8
    assert (np.abs(result - 255 * image) <= 0.5 + 1e-4).all()


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]
)
def test_integer_images_are_scaled_by_their_type(dtype: type) -> None:
    limits = np.iinfo(dtype)
    low, high = int(limits.min), int(limits.max)
    step = (high - low) // 255
    values = [low, low + step, low + 100 * step, high - step, high]
    image = np.array(values, dtype).reshape(1, 1, -1)
    assert quantise_image(image).ravel().tolist() == [0, 1, 100, 254, 255]
    # A part without the extremes has the values it has in the whole.
    assert quantise_image(image[..., 1:4]).ravel().tolist() == [1, 100, 254]


def test_nothing_is_quantised_to_nothing() -> None:
    for dtype in (np.uint8, np.uint16, np.float32):
        assert quantise_image(np.zeros((0, 2, 2), dtype)).shape == (0, 2, 2)
    assert quantise_boundaries(np.zeros((0, 2, 2))).dtype == np.uint8


@pytest.mark.parametrize(
    ("boundaries", "message"),
    [
        (np.zeros((2, 2)), r"boundaries must be a \(z, y, x\) map, not an array of shape \(2, 2\)"),
        (np.zeros((3, 1, 1, 1)), r"of shape \(3, 1, 1, 1\)"),
        (volume_of(0.2, -0.1), r"in \[0, 1\]; seen values from -0.1 to 0.2"),
        (volume_of(0.2, 1.5), r"in \[0, 1\]; seen values from 0.2 to 1.5"),
        (volume_of(0.2, np.nan), "values from nan to nan"),
        (volume_of(0.2, np.inf), "seen values from 0.2 to inf"),
        (volume_of(0, 1, dtype=np.uint16), "must be float in .* or uint8, not uint16"),
        (volume_of(0, 1, dtype=np.bool_), "must be float in .* or uint8, not bool"),
    ],
)
def test_wrong_boundaries_are_told(boundaries: npt.NDArray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantise_boundaries(boundaries)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2)), r"image must be a \(z, y, x\) volume, not an array of shape \(2, 2\)"),
        (volume_of(-1, 3), "values from -1 to 3"),
        (volume_of(0, 256), "values from 0 to 256"),
        (volume_of(0, np.nan), "values from nan to nan"),
        (volume_of(0, np.inf), "values from 0 to inf"),
        (volume_of(0, 1, dtype=np.bool_), "image must be integer or float, not bool"),
        (volume_of(0, 1, dtype=np.complex64), "image must be integer or float, not complex64"),
    ],
)
def test_wrong_images_are_told(image: npt.NDArray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantise_image(image)
