"""Grey values to network input: one mean and one deviation for a whole volume, never per block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError

SAMPLE_VOXELS = 1_000_000
"""About so many voxels of a volume are looked at for its statistics."""

MAX_SHIFT = 2.0
"""A volume fits if its mean is within so many deviations of the model's mean …"""

MAX_SCALE = 2.5
"""… and its deviation is within this factor of the model's deviation."""


class Sliceable(Protocol):
    """A (z, y, x) array that can be cut: NumPy, h5py, zarr, or a lazy volume."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the extents."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Return the type of a voxel."""
        ...

    def __getitem__(self, key: tuple[slice, slice, slice], /) -> npt.NDArray:
        """Return the voxels of a box."""
        ...


@dataclass(frozen=True, slots=True)
class ImageNormalisation:
    """Subtract `mean` and divide by `deviation`."""

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and np.isfinite(self.deviation) and self.deviation > 0):
            raise InputError(
                "image normalisation needs a finite mean and a positive deviation, "
                f"got {self.mean} and {self.deviation}."
            )

    def apply(self, image: npt.NDArray) -> npt.NDArray[np.float32]:
        """Return the normalised grey values; refuse values that are not finite."""
        normalised = (image.astype(np.float32) - np.float32(self.mean)) / np.float32(self.deviation)
        if not np.isfinite(normalised).all():
            raise InputError("image has values that are not finite.")
        return normalised

    def fits(self, own: ImageNormalisation) -> bool:
        """Tell whether a volume with statistics `own` may be normalised with these."""
        shift = abs(own.mean - self.mean) / self.deviation
        scale = own.deviation / self.deviation
        return shift <= MAX_SHIFT and 1 / MAX_SCALE <= scale <= MAX_SCALE


def measure_normalisation(image: Sliceable) -> ImageNormalisation:
    """Measure mean and deviation of a volume.

    Whole sections at equal distances are read, about `SAMPLE_VOXELS` voxels, at least one section
    in sixteen and never fewer than sixteen sections, so the result depends on the volume alone.

    Args:
        image: (z, y, x) integer or float, anything that can be sliced.
    """
    require_image(image)
    depth, height, width = image.shape
    n_sections = min(depth, max(16, depth // 16, SAMPLE_VOXELS // (height * width)))
    sections = np.unique(np.linspace(0, depth - 1, n_sections).round().astype(int))
    count, total, squares = 0, 0.0, 0.0
    for z in sections:
        values = np.asarray(image[z : z + 1, 0:height, 0:width], np.float64)
        count += values.size
        total += float(values.sum())
        squares += float(np.square(values).sum())
    mean = total / count
    variance = squares / count - mean * mean
    if not np.isfinite(variance):
        raise InputError("image has values that are not finite.")
    if variance <= 1e-12 * max(1.0, mean * mean):
        raise InputError(f"image is constant: every voxel looked at is {mean:g}.")
    return ImageNormalisation(mean, float(np.sqrt(variance)))


def normalisation_for(image: Sliceable, model: ImageNormalisation) -> ImageNormalisation:
    """Return the model's normalisation if the volume fits it, else the volume's own.

    A crop is predicted like the volume it was cut from as long as the model's constants apply; a
    volume of another range (16 bits, 0 to 1, inverted exposure) is brought to mean 0 and
    deviation 1 by its own statistics.
    """
    own = measure_normalisation(image)
    return model if model.fits(own) else own


def require_image(image: Sliceable) -> None:
    """Refuse anything but a non-empty (z, y, x) array of numbers."""
    if len(image.shape) != 3 or min(image.shape) == 0:
        raise InputError(f"image must be a non-empty (z, y, x) array, got shape {image.shape}.")
    if not (np.issubdtype(image.dtype, np.integer) or np.issubdtype(image.dtype, np.floating)):
        raise InputError(f"image must be integers or floats, got dtype {image.dtype}.")
