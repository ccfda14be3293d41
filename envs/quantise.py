"""Turn images and boundary maps into the 8-bit integers that the statistics sum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError


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
    low, high = (boundaries.min(), boundaries.max()) if boundaries.size else (0.0, 0.0)
    if np.isnan(low) or low < 0 or high > 1:
        raise InputError(
            f"boundaries must be probabilities in [0, 1]; seen values from {low:g} to {high:g}"
        )
    return np.rint(boundaries.astype(np.float32, copy=False) * np.float32(255)).astype(np.uint8)


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
    low, high = (image.min(), image.max()) if image.size else (0.0, 0.0)
    if np.isnan(low) or low < 0 or high > 1:
        raise InputError(
            f"image must be integer, or float in [0, 1]; seen {image.dtype} values from {low:g} "
            f"to {high:g}"
        )
    return np.rint(image.astype(np.float32, copy=False) * np.float32(255)).astype(np.uint8)
