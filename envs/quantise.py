"""Turn images and boundary maps into the 8-bit integers that the statistics sum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError

_VOXELS_AT_A_TIME = 2**17
"""As many as stay in the cache with all that is made of them."""


def quantise_boundaries(boundaries: npt.NDArray) -> npt.NDArray[np.uint8]:
    """Round a boundary map to 8 bits.

    Args:
        boundaries: (z, y, x) float in [0, 1], 1 = boundary, or uint8 in 0..255.

    Raises:
        InputError: where the map is not 3D, has NaN or lies outside [0, 1].
    """
    if boundaries.ndim != 3:
        raise InputError(
            f"boundaries must be a (z, y, x) map, not an array of shape {boundaries.shape}"
        )
    if boundaries.dtype == np.uint8:
        return np.ascontiguousarray(boundaries)
    if boundaries.dtype.kind != "f":
        raise InputError(f"boundaries must be float in [0, 1] or uint8, not {boundaries.dtype}")
    rounded = _rounded(boundaries)
    if rounded is None:
        raise InputError(
            "boundaries must be probabilities in [0, 1]; seen values from "
            f"{boundaries.min():g} to {boundaries.max():g}"
        )
    return rounded


def quantise_affinities(affinities: npt.NDArray) -> npt.NDArray[np.uint8]:
    """Round affinities to 8 bits.

    Args:
        affinities: (3, z, y, x) float in [0, 1], 1 = connected, or uint8 in 0..255.

    Raises:
        InputError: where they are not of this shape, have NaN or lie outside [0, 1].
    """
    if affinities.ndim != 4 or len(affinities) != 3:
        raise InputError(
            f"affinities must be a (3, z, y, x) map, not an array of shape {affinities.shape}"
        )
    if affinities.dtype == np.uint8:
        return np.ascontiguousarray(affinities)
    if affinities.dtype.kind != "f":
        raise InputError(f"affinities must be float in [0, 1] or uint8, not {affinities.dtype}")
    rounded = [_rounded(channel) for channel in affinities]
    if any(channel is None for channel in rounded):
        raise InputError(
            "affinities must be probabilities in [0, 1]; seen values from "
            f"{affinities.min():g} to {affinities.max():g}"
        )
    return np.stack([channel for channel in rounded if channel is not None])


def quantise_image(image: npt.NDArray) -> npt.NDArray[np.uint8]:
    """Bring grey values to 8 bits by their type alone, so that parts of a volume agree.

    Args:
        image: (z, y, x) uint8 (kept), another integer type (its whole range is mapped to 0..255),
            or float in [0, 1]. Other floats are refused: a scale guessed from the values of a part
            of a volume could be another one in the next part.

    Raises:
        InputError: where the image is not 3D, has NaN, or is float outside [0, 1].
    """
    if image.ndim != 3:
        raise InputError(f"image must be a (z, y, x) volume, not an array of shape {image.shape}")
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype.kind in "ui":
        limits = np.iinfo(image.dtype)
        scale = 255.0 / (float(limits.max) - float(limits.min))
        return np.rint((image.astype(np.float64) - float(limits.min)) * scale).astype(np.uint8)
    if image.dtype.kind != "f":
        raise InputError(f"image must be integer or float, not {image.dtype}")
    rounded = _rounded(image)
    if rounded is None:
        raise InputError(
            f"image must be integer, or float in [0, 1]; seen {image.dtype} values from "
            f"{image.min():g} to {image.max():g}"
        )
    return rounded


def _rounded(values: npt.NDArray) -> npt.NDArray[np.uint8] | None:
    """Map [0, 1] to 0..255, some sections at a time; None if a value lies outside or is NaN."""
    rounded = np.empty(values.shape, np.uint8)
    step = max(1, _VOXELS_AT_A_TIME // max(1, values[:1].size))
    for z in range(0, len(values), step):
        part = values[z : z + step]
        if part.size and not (part.min() >= 0 and part.max() <= 1):
            return None
        scaled = part.astype(np.float32, copy=False) * np.float32(255)
        rounded[z : z + step] = np.rint(scaled, out=scaled)
    return rounded
