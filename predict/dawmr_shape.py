"""Shape of the features of a DAWMR iteration: scales, patches and pools.

All triples are z, y, x.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.anisotropy import shrink_pattern, validate_voxel_size
from predict.box import Triple

PATCH_RADIUS = 2
"""Of the patches along the finest axis of every scale: 5 voxels."""

POOL_RADII = ((0, 1, 3), (0, 1), (0,))
"""Radii of the averaged boxes at scales 1, 2 and 4, along the finest axis."""

WIDE_POOL_RADII = ((0, 1, 3), (0, 1), (0, 1))
"""The same with a longer reach, for a first iteration."""


@dataclass(frozen=True, slots=True)
class ScaleConfig:
    """One scale of a feature stage.

    Attributes:
        factor: voxels of the image that are averaged to one voxel of this scale.
        patch: extent of the dictionary's patches, odd, in voxels of this scale.
        pools: radii of the boxes averaged over, in voxels of this scale; (0, 0, 0) is the centre.
    """

    factor: Triple
    patch: Triple
    pools: tuple[Triple, ...]

    def __post_init__(self) -> None:
        if min(self.factor) < 1:
            raise InputError(f"factor must be positive along each axis, got {self.factor}.")
        if not all(extent > 0 and extent % 2 == 1 for extent in self.patch):
            raise InputError(f"patch must be odd along each axis, got {self.patch}.")
        if math.prod(self.patch) == 1:
            raise InputError("patch must have more than one voxel, got (1, 1, 1).")
        if (
            not self.pools
            or len(set(self.pools)) < len(self.pools)
            or min(map(min, self.pools)) < 0
        ):
            raise InputError(f"pools must be different radii of at least 0, got {self.pools}.")

    @property
    def margin(self) -> Triple:
        """Return how many voxels of this scale a feature reaches to each side."""
        z, y, x = (
            extent // 2 + max(pool[axis] for pool in self.pools)
            for axis, extent in enumerate(self.patch)
        )
        return z, y, x


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """Shape of the features of one iteration.

    Attributes:
        scales: finest first.
        atoms: size of the dictionary of every input channel.
        threshold: responses below it give no feature.
        contrast_floor: added to the variance of a patch before its contrast is divided out.
    """

    scales: tuple[ScaleConfig, ...]
    atoms: tuple[int, ...]
    threshold: float = 0.5
    contrast_floor: float = 0.1

    def __post_init__(self) -> None:
        if not self.scales:
            raise InputError("scales must not be empty.")
        if not self.atoms or min(self.atoms) < 1:
            raise InputError(f"atoms must be positive, one a channel, got {self.atoms}.")
        if not (self.threshold >= 0 and self.contrast_floor > 0):
            raise InputError(
                "threshold must be at least 0 and contrast_floor positive, "
                f"got {self.threshold} and {self.contrast_floor}."
            )
        factors = [scale.factor for scale in self.scales]
        for coarse, fine in zip(factors[1:], factors[:-1], strict=True):
            if any(c % f for c, f in zip(coarse, fine, strict=True)):
                raise InputError(f"every factor must be a multiple of the one before: {factors}.")

    @classmethod
    def for_voxel_size(
        cls,
        voxel_size_nm: tuple[float, float, float],
        atoms: tuple[int, ...],
        *,
        two_dimensional: bool = False,
        wide: bool = False,
    ) -> FeatureConfig:
        """Return the shape whose field of view is about as long along each axis, in nanometres.

        The factors are those of `anisotropy.shrink_pattern`: a coarse axis waits until shrinking
        has made the others as coarse. At each scale the finest axis has patches of 5 voxels and
        the pools of `POOL_RADII`; along an axis whose voxels are k times as long there, these
        radii are divided by k and rounded, a half downwards. So patches have 5 voxels below
        k = 4/3, 3 below k = 4, and 1 from there on.

        Args:
            voxel_size_nm: z, y, x.
            atoms: size of the dictionary of every input channel.
            two_dimensional: every section alone.
            wide: with `WIDE_POOL_RADII`.
        """
        size = np.array(validate_voxel_size(voxel_size_nm))
        radii = WIDE_POOL_RADII if wide else POOL_RADII
        shrinks, _ = shrink_pattern(voxel_size_nm, len(radii) - 1, two_dimensional=two_dimensional)
        factor = np.ones(3, np.int64)
        scales = []
        for shrink, pools in zip(((1, 1, 1), *shrinks), radii, strict=True):
            factor = factor * np.array(shrink)
            there = size * factor
            finest = there[1:].min() if two_dimensional else there.min()
            share = finest / there
            if two_dimensional:
                share[0] = 0
            patch = 2 * _rounded(PATCH_RADIUS * share) + 1
            scales.append(
                ScaleConfig(
                    _triple(factor),
                    _triple(patch),
                    tuple(_triple(_rounded(radius * share)) for radius in pools),
                )
            )
        return cls(tuple(scales), atoms)

    @property
    def n_features(self) -> int:
        """Return the number of features of a voxel."""
        return self.n_maps * sum(len(scale.pools) for scale in self.scales)

    @property
    def n_maps(self) -> int:
        """Return the number of features of a scale and pool: two an atom, two a channel."""
        return sum(2 * n_atoms + 2 for n_atoms in self.atoms)

    @property
    def stride(self) -> Triple:
        """Return the period of the grid: the factors of the coarsest scale."""
        return self.scales[-1].factor

    @property
    def halo_vox(self) -> Triple:
        """Return how far features reach from a box on the grid, a multiple of the stride."""
        z, y, x = (
            -(-max(scale.margin[axis] * scale.factor[axis] for scale in self.scales) // stride)
            * stride
            for axis, stride in enumerate(self.stride)
        )
        return z, y, x

    @property
    def field_vox(self) -> Triple:
        """Return how many voxels of its input a feature vector sees along each axis."""
        return field_of_view((self,))

    @property
    def two_dimensional(self) -> bool:
        """Tell whether every section is looked at alone."""
        return self.halo_vox[0] == 0 and self.stride[0] == 1

    def seen(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """Return the first and last position that the features of first..last see."""
        firsts, lasts = [], []
        for scale in self.scales:
            factor, margin = scale.factor[axis], scale.margin[axis]
            firsts.append((first // factor - margin) * factor)
            lasts.append((last // factor + margin + 1) * factor - 1)
        return min(firsts), max(lasts)


def field_of_view(iterations: Sequence[FeatureConfig]) -> Triple:
    """Return how many voxels of the image the last of several iterations sees along each axis.

    Seen from the position in the grid that sees most.
    """
    extents = []
    for axis in range(3):
        longest = 1
        for position in range(iterations[-1].stride[axis]):
            first, last = position, position
            for config in reversed(iterations):
                first, last = config.seen(axis, first, last)
            longest = max(longest, last - first + 1)
        extents.append(longest)
    return _triple(extents)


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Round to the nearest integer, a half downwards."""
    return np.ceil(values - 0.5 - 1e-9).astype(np.int64)


def _triple(values: Iterable[int]) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x
