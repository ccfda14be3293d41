from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agglo.volumes import Kind, open_volume, require_same_shape, require_volume
from analysis.input_error import InputError

SHAPE = (3, 4, 5)
VALUES = np.random.default_rng(3).random(SHAPE)
LABELS = np.random.default_rng(3).integers(0, 9, SHAPE)


def require(array: np.ndarray, kind: Kind) -> np.ndarray:
    return require_volume(array, f"--{kind}", kind)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        ((VALUES * 255).astype(np.uint8), "uint8"),
        ((VALUES * 60000).astype(np.uint16), "uint16"),
        (LABELS.astype(np.int32), "int32"),
        (VALUES.astype(np.float16), "float32"),
        (VALUES * 1e4, "float32"),
        (VALUES > 0.5, "uint8"),
    ],
)
def test_images_keep_their_values(array: np.ndarray, expected: str):
    image = require(array, "image")
    assert image.dtype == expected
    np.testing.assert_allclose(image, array, rtol=1e-6)


@pytest.mark.parametrize("kind", ["boundaries", "affinities"])
def test_maps_become_float32_between_0_and_1(kind: Kind):
    values = np.stack([VALUES] * 3) if kind == "affinities" else VALUES
    for array, expected in [
        (values, values),
        (values.astype(np.float16), values.astype(np.float16)),
        (np.rint(values * 255).astype(np.uint8), np.rint(values * 255) / 255),
        (values > 0.5, values > 0.5),
        (values * 0, values * 0),
        (np.where(values > 0.5, 1 + 1e-7, -1e-7), values > 0.5),
    ]:
        result = require(array, kind)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, atol=1e-6)
        assert result.min() >= 0
        assert result.max() <= 1


@pytest.mark.parametrize("kind", ["labels", "superpixels"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "uint64"])
def test_labels_become_uint64(kind: Kind, dtype: str):
    result = require(LABELS.astype(dtype), kind)
    assert result.dtype == np.uint64
    np.testing.assert_array_equal(result, LABELS)


def with_value(value: float, dtype: str = "float32") -> np.ndarray:
    array = VALUES.astype(dtype)
    array[1, 2, 3:] = value
    return array


@pytest.mark.parametrize(
    ("kind", "array", "seen"),
    [
        ("image", VALUES[0], r"has shape \(4, 5\), where the axes z, y, x are expected"),
        ("image", VALUES[None], r"has shape \(1, 3, 4, 5\)"),
        ("image", with_value(np.nan), "has 2 of 60 values that are NaN or infinite"),
        ("image", with_value(1e300, "float64"), "has 2 of 60 values that are NaN or infinite"),
        ("image", np.zeros((0, 4, 5)), r"is empty: its shape is \(0, 4, 5\)"),
        (
            "boundaries",
            np.stack([VALUES] * 3),
            r"has shape \(3, 3, 4, 5\), which is that of affinities .* boundaries .* are expected",
        ),
        ("boundaries", with_value(np.inf), "has 2 of 60 values that are NaN or infinite"),
        ("boundaries", with_value(np.nan, "float16"), "has 2 of 60 values that are NaN"),
        ("boundaries", with_value(200.5), r"has values from 0\.0\d* to 200\.5, where floats in"),
        ("boundaries", with_value(-0.25), r"has values from -0\.25 to 0\.9"),
        ("boundaries", LABELS, "has values of type int64, where boundaries are floats"),
        ("boundaries", LABELS.astype(np.uint16), "has values of type uint16"),
        ("boundaries", (VALUES > 0.5).astype(np.uint8), "has the values 0 and 1 as uint8"),
        ("boundaries", VALUES[:, :0], r"is empty: its shape is \(3, 0, 5\)"),
        (
            "affinities",
            VALUES,
            r"has shape \(3, 4, 5\), which is that of a boundary map .* where aff",
        ),
        ("affinities", np.stack([VALUES] * 2), r"has shape \(2, 3, 4, 5\), where affinities \(3,"),
        ("affinities", np.stack([with_value(np.nan)] * 3), "has 6 of 180 values that are NaN"),
        ("labels", VALUES, "has values of type float64, where labels are integers"),
        ("labels", VALUES > 0.5, "has values of type bool, where labels are integers"),
        ("labels", LABELS - 3, "has negative values down to -3, where labels begin at 0"),
        ("labels", np.zeros((3, 4, 0), int), "is empty"),
        ("labels", np.stack([LABELS] * 3), r"has shape \(3, 3, 4, 5\), where the axes z, y, x"),
        ("superpixels", VALUES, "has values of type float64, where superpixels are integers"),
        ("superpixels", LABELS * 0, "holds nothing but 0, where two superpixels or more"),
        ("superpixels", (LABELS > 4) * 7, "holds one superpixel, 7, alone"),
    ],
)
def test_what_an_argument_cannot_use_is_refused(kind: Kind, array: np.ndarray, seen: str):
    with pytest.raises(InputError, match=f"^--{kind}: array {seen}") as caught:
        require(array, kind)
    assert "\n" not in str(caught.value)


def test_the_sentence_names_the_file(tmp_path: Path):
    np.save(tmp_path / "a.npy", VALUES)
    with open_volume(f"{tmp_path / 'a.npy'}[1:]", argument="--labels") as volume:
        with pytest.raises(InputError, match=r"^--labels: .*a\.npy\[1:\] has values of type float"):
            require_volume(volume, "--labels", "labels")
        np.testing.assert_array_equal(
            require_volume(volume, "--image", "image"), VALUES[1:].astype(np.float32)
        )


def test_shapes_have_to_be_equal():
    require_same_shape({})
    require_same_shape({"--image": VALUES, "--affinities": np.zeros((3, *SHAPE))})
    with pytest.raises(
        InputError,
        match=r"^--labels has shape \(2, 4, 5\) and --image has shape \(3, 4, 5\), where",
    ):
        require_same_shape({"--image": VALUES, "--boundaries": VALUES, "--labels": VALUES[1:]})
