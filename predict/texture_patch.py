"""Which voxels around one a dictionary of texture looks at.

All triples are z, y, x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.anisotropy import Spacing
from predict.box import Box, Triple
from predict.dawmr_shape import FeatureConfig

CUBES: Spacing = (1.0, 1.0, 1.0)
"""Voxels whose size nobody knows are taken for cubes."""


@dataclass(frozen=True, slots=True)
class TexturePatch:
    """Voxels at equal distances around one.

    Attributes:
        extent: number of voxels along each axis, odd.
        dilation: from each to the next.

    Raises:
        InputError: one of these is not so.
    """

    extent: Triple
    dilation: Triple

    def __post_init__(self) -> None:
        if len(self.extent) != 3 or not all(n > 0 and n % 2 for n in self.extent):
            raise InputError(f"extent must be odd along z, y and x, got {self.extent}.")
        if len(self.dilation) != 3 or min(self.dilation) < 1:
            raise InputError(f"dilation must be positive along z, y and x, got {self.dilation}.")

    @classmethod
    def for_voxel_size(cls, voxel_size_nm: Spacing | None) -> TexturePatch:
        """Return the patch that is about as long along each axis, in nanometres.

        With cubic voxels 5 voxels along each axis of which the next is the second next, nine
        across: the patch of DAWMR's scale 2 (`FeatureConfig.for_voxel_size`), of single voxels in
        place of averages.

        Args:
            voxel_size_nm: z, y, x; `CUBES` if None.
        """
        scale = FeatureConfig.for_voxel_size(voxel_size_nm or CUBES, (1,)).scales[1]
        return cls(scale.patch, scale.factor)

    @property
    def n_voxels(self) -> int:
        """Return how many voxels a patch has."""
        return math.prod(self.extent)

    @property
    def halo_vox(self) -> Triple:
        """Return how far a patch reaches to each side."""
        z, y, x = (n // 2 * step for n, step in zip(self.extent, self.dilation, strict=True))
        return z, y, x

    def seen_from(self, block: Box) -> Box:
        """Return what the patches around all voxels of a block see."""
        (z0, y0, x0), (z1, y1, x1) = block
        z, y, x = self.halo_vox
        return Box((z0 - z, y0 - y, x0 - x), (z1 + z, y1 + y, x1 + x))

    def windows(self, seen: npt.NDArray) -> npt.NDArray:
        """Return a view of all patches that fit in.

        Args:
            seen: (z, y, x), what is seen from a block.

        Returns:
            (z, y, x, *extent) of the block.
        """
        span = tuple(2 * reach + 1 for reach in self.halo_vox)
        z, y, x = self.dilation
        return np.lib.stride_tricks.sliding_window_view(seen, span)[..., ::z, ::y, ::x]
