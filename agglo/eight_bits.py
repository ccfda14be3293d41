"""Volumes read as the 8 bits that are summed over regions and contacts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agglo.volumes import Kind, Volume, require_volume
from envs.quantise import quantise_boundaries, quantise_image


@dataclass(frozen=True, slots=True)
class EightBits:
    """A volume read as the 8 bits that region graphs are summed in; pickles as its address.

    Attributes:
        volume: (z, y, x).
        kind: image or boundaries.
    """

    volume: Volume
    kind: Kind

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the extents."""
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype:
        """Return the type of what is read."""
        return np.dtype(np.uint8)

    def __getitem__(self, box: tuple[slice, slice, slice]) -> npt.NDArray[np.uint8]:
        """Read a box.

        Raises:
            InputError: where it cannot be read, or values are not those of its kind.
        """
        values = self.volume[box]
        if values.dtype == np.uint8:  # whether a map is a mask of 0 and 1 shows in the whole only
            return values
        name = f"{self.volume.argument}: {self.volume.address}"
        values = require_volume(values, name, self.kind)
        return quantise_image(values) if self.kind == "image" else quantise_boundaries(values)
