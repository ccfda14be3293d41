"""Arrays from outside, checked once and given back in the few forms the kernels take."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError

Scalar = TypeVar("Scalar", bound=np.generic)
LabelArray = npt.NDArray[np.unsignedinteger]
"""uint32 or uint64."""

MapArray = npt.NDArray[np.floating]
"""float32 or float64."""


def checked_labels(array: npt.ArrayLike, name: str) -> LabelArray:
    """Check a label array and return it C-contiguous, unsigned and read-only.

    Args:
        array: any shape, any integer dtype or bool, not negative.
        name: what the array is called in a message.

    Returns:
        The same labels as uint32 where 32 bits hold the dtype, else as uint64; a view where one
        is possible. Kernels so compile for two dtypes, and for read-only input only.

    Raises:
        InputError: the array is empty, not of integers, or holds a negative label.
    """
    values = np.asarray(array)
    if values.size == 0:
        raise InputError(f"{name} is empty: its shape is {values.shape}.")
    if values.dtype.kind not in "biu":
        raise InputError(f"{name} must hold integer labels, but its dtype is {values.dtype}.")
    if values.dtype.kind == "i" and (smallest := int(values.min())) < 0:
        raise InputError(f"{name} must not hold negative labels, but its smallest is {smallest}.")
    width = np.uint64 if values.dtype.itemsize == 8 else np.uint32
    if values.dtype.itemsize < 4:
        values = values.astype(width)
    result = np.ascontiguousarray(values).view(width)
    result.flags.writeable = False
    return result


def checked_map(array: npt.ArrayLike, name: str) -> MapArray:
    """Check a map of values in [0, 1] and return it C-contiguous and read-only.

    Args:
        array: any shape, float, or integer or bool with no value but 0 and 1.
        name: what the array is called in a message.

    Returns:
        The same values as float64 where they came as float64, else as float32.

    Raises:
        InputError: the array is empty, not numeric, not finite, or leaves [0, 1].
    """
    values = np.asarray(array)
    if values.size == 0:
        raise InputError(f"{name} is empty: its shape is {values.shape}.")
    if values.dtype.kind not in "biuf":
        raise InputError(f"{name} must hold numbers in [0, 1], but its dtype is {values.dtype}.")
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        raise InputError(f"{name} must be finite, but {n_bad} of its values are NaN or infinite.")
    if low < 0 or high > 1:
        raise InputError(f"{name} must lie in [0, 1], but reaches from {low} to {high}.")
    width = np.float64 if values.dtype.kind == "f" and values.dtype.itemsize >= 8 else np.float32
    result = np.ascontiguousarray(values, dtype=width).view()
    result.flags.writeable = False
    return result


def check_same_shape(
    first: npt.NDArray[np.generic], first_name: str, second: npt.NDArray[np.generic], name: str
) -> None:
    """Check that two arrays have one shape.

    Raises:
        InputError: they have not.
    """
    if first.shape != second.shape:
        raise InputError(
            f"{first_name} and {name} must have the same shape, but theirs are "
            f"{first.shape} and {second.shape}."
        )


def as_sections(array: npt.NDArray[Scalar], name: str) -> npt.NDArray[Scalar]:
    """Return an array of shape (y, x) or (z, y, x) as (z, y, x).

    Raises:
        InputError: the array has another number of axes.
    """
    if array.ndim not in (2, 3):
        raise InputError(
            f"{name} must have axes (y, x) or (z, y, x), but its shape is {array.shape}."
        )
    return array if array.ndim == 3 else array[None]
