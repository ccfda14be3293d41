"""What the commands take: kinds of volumes, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agglo.volumes.volume import Volume
from analysis.input_error import InputError

Kind = Literal["image", "boundaries", "affinities", "channels", "labels", "superpixels"]

_ROUNDING = 1e-5
"""How far a probability may leave [0, 1]: sums of blending weights round. It is clipped."""


def require_volume(
    volume: Volume | npt.NDArray[Any], argument: str, kind: Kind
) -> npt.NDArray[Any]:
    """Read a volume and check that it is what an argument asks for.

    =============  ===============  ==========================================  =================
    kind           shape            taken                                       returned
    =============  ===============  ==========================================  =================
    `image`        (z, y, x)        any finite numbers                          integers as they
                                                                                are, else float32
    `boundaries`   (z, y, x)        floats in [0, 1], uint8 as 0–255, bool      float32 in [0, 1]
    `affinities`   (3, z, y, x)     as boundaries                               float32 in [0, 1]
    `channels`     (c, z, y, x)     as boundaries                               uint8 in 0–255
    `labels`       (z, y, x)        integers from 0                             uint64
    `superpixels`  (z, y, x)        integers from 0, two of them or more        uint64
    =============  ===============  ==========================================  =================

    Grey values are not scaled; models normalise for themselves.

    Raises:
        InputError: where it is not; the sentence names the argument and what was seen.
    """
    source = f"{argument}: {volume.address}" if isinstance(volume, Volume) else f"{argument}: array"
    _require_shape(tuple(volume.shape), source, kind)
    _require_type(np.dtype(volume.dtype), source, kind)
    array = volume.read() if isinstance(volume, Volume) else volume
    if kind == "image":
        return _image(array, source)
    if kind in ("boundaries", "affinities"):
        return _probabilities(array, source)
    if kind == "channels":
        return _channels(array, source)
    return _labels(array, source, kind)


def require_same_shape(volumes: Mapping[str, Volume | npt.NDArray[Any]]) -> None:
    """Check that volumes, given by argument, have the same size along z, y and x.

    Raises:
        InputError: where two differ; the sentence names both with their shapes.
    """
    shapes = {argument: tuple(volume.shape) for argument, volume in volumes.items()}
    first = next(iter(shapes), "")
    for argument, shape in shapes.items():
        if shape[-3:] != shapes[first][-3:]:
            raise InputError(
                f"{argument} has shape {shape} and {first} has shape {shapes[first]}, where the "
                f"sizes along z, y and x must be equal"
            )


def _require_shape(shape: tuple[int, ...], source: str, kind: Kind) -> None:
    if kind == "affinities":
        if len(shape) == 3:
            raise InputError(
                f"{source} has shape {shape}, which is that of a boundary map (z, y, x), where "
                f"affinities (3, z, y, x) are expected"
            )
        if len(shape) != 4 or shape[0] != 3:
            raise InputError(
                f"{source} has shape {shape}, where affinities (3, z, y, x) are expected"
            )
    elif kind == "channels":
        if len(shape) != 4:
            raise InputError(
                f"{source} has shape {shape}, where channels (c, z, y, x) are expected"
            )
    elif len(shape) == 4 and kind == "boundaries":
        raise InputError(
            f"{source} has shape {shape}, which is that of affinities (c, z, y, x), where "
            f"boundaries (z, y, x) are expected"
        )
    elif len(shape) != 3:
        raise InputError(f"{source} has shape {shape}, where the axes z, y, x are expected")
    if 0 in shape:
        raise InputError(f"{source} is empty: its shape is {shape}")


def _require_type(dtype: np.dtype[Any], source: str, kind: Kind) -> None:
    if kind in ("labels", "superpixels") and dtype.kind not in "iu":
        raise InputError(f"{source} has values of type {dtype}, where {kind} are integers")
    is_share = kind in ("boundaries", "affinities", "channels")
    if is_share and dtype.kind not in "fb" and dtype != np.uint8:
        raise InputError(
            f"{source} has values of type {dtype}, where {kind} are floats in [0, 1] or uint8"
        )


def _image(array: npt.NDArray[Any], source: str) -> npt.NDArray[Any]:
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    return _finite(array, source) if array.dtype.kind == "f" else array


def _probabilities(array: npt.NDArray[Any], source: str) -> npt.NDArray[np.float32]:
    if array.dtype.kind == "b":
        return array.astype(np.float32)
    if array.dtype == np.uint8:
        if array.max() == 1:
            raise InputError(
                f"{source} has the values 0 and 1 as uint8, where uint8 counts from 0 to 255; "
                f"store a mask as truth values or floats"
            )
        return array.astype(np.float32) / np.float32(255)
    values = _finite(array, source)
    low, high = float(values.min()), float(values.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InputError(
            f"{source} has values from {low:g} to {high:g}, where floats in [0, 1] are expected"
        )
    return np.clip(values, 0, 1) if low < 0 or high > 1 else values


def _channels(array: npt.NDArray[Any], source: str) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    return np.rint(_probabilities(array, source) * np.float32(255)).astype(np.uint8)


def _finite(array: npt.NDArray[Any], source: str) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        values = array.astype(np.float32, copy=False)
    n_bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if n_bad:
        raise InputError(
            f"{source} has {n_bad} of {values.size} values that are NaN or infinite in float32"
        )
    return values


def _labels(array: npt.NDArray[Any], source: str, kind: Kind) -> npt.NDArray[np.uint64]:
    if array.dtype.kind == "i" and array.min() < 0:
        raise InputError(
            f"{source} has negative values down to {array.min()}, where {kind} begin at 0"
        )
    labels = array.astype(np.uint64, copy=False)
    if kind == "superpixels":
        largest = labels.max()
        if np.all((labels == 0) | (labels == largest)):
            seen = f"one superpixel, {largest}, alone" if largest else "nothing but 0"
            raise InputError(f"{source} holds {seen}, where two superpixels or more are expected")
    return labels
