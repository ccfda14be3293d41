"""Random changes of a training patch that its labels survive.

All triples are z, y, x. Symmetries are applied to image and labels together and the targets are
derived afterwards, so an affinity always belongs to the neighbour it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from analysis.input_error import InputError
from predict.anisotropy import same_voxel_size, validate_voxel_size
from predict.box import Triple

BLUR_VOX = 2.0
"""Deviation of the Gaussian that blurs a section out of focus, along y and x."""


class Symmetry(NamedTuple):
    """Transpose the axes into `order`, then reverse those of `flips`."""

    order: Triple
    flips: tuple[bool, bool, bool]

    def apply(self, volume: npt.NDArray) -> npt.NDArray:
        """Return a view of a (z, y, x) array under this symmetry."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return volume.transpose(self.order)[steps]

    def source_shape(self, shape: Triple) -> Triple:
        """Return the shape of an array that this symmetry turns into one of `shape`."""
        source = [0, 0, 0]
        for to, origin in enumerate(self.order):
            source[origin] = shape[to]
        return source[0], source[1], source[2]


def symmetries(
    voxel_size_nm: Sequence[float], *, two_dimensional: bool = False
) -> tuple[Symmetry, ...]:
    """Return the symmetries of the grid: 48 if isotropic, 16 if only y and x are alike, else 8.

    Args:
        voxel_size_nm: z, y, x.
        two_dimensional: sections stand alone, so z is never exchanged with another axis.
    """
    size = validate_voxel_size(voxel_size_nm)
    found = []
    for z, y, x in permutations(range(3)):
        alike = same_voxel_size(size, (size[z], size[y], size[x]))
        if alike and not (two_dimensional and z != 0):
            for flip_z, flip_y, flip_x in product((False, True), repeat=3):
                found.append(Symmetry((z, y, x), (flip_z, flip_y, flip_x)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class IntensityChange:
    """How strongly the grey values of a patch are changed; the image has deviation 1.

    Attributes:
        scale: contrast is multiplied by up to e^±scale.
        shift: up to ±shift is added.
        gamma: the exponent of the grey curve lies within e^±gamma.
        noise: Gaussian noise of a deviation up to this.
        bad_patches: share of patches with bad sections.
        bad_sections: share of the sections of such a patch that are missing, have little contrast
            or are out of focus, by equal chance (the simulated defects of Lee et al. 2017, arXiv
            1706.00120).
    """

    scale: float = 0.2
    shift: float = 0.2
    gamma: float = 0.2
    noise: float = 0.15
    bad_patches: float = 0.1
    bad_sections: float = 0.08

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"{name} must be a number of at least 0, got {value}.")

    def apply(
        self, image: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Return a changed copy of a patch.

        Args:
            image: (z, y, x) float32, normalised, before any symmetry: sections lie along z.
            rng: source of every random number.
        """
        scale, gamma = np.exp(rng.uniform(-1, 1, 2) * (self.scale, self.gamma))
        shift, noise = rng.uniform(-1, 1) * self.shift, rng.uniform(0, 1) * self.noise
        low, high = float(image.min()), float(image.max())
        if high > low:
            image = low + (high - low) * ((image - low) / (high - low)) ** np.float32(gamma)
        image = image * np.float32(scale) + np.float32(shift)
        image += np.float32(noise) * rng.standard_normal(image.shape, np.float32)
        if rng.uniform() < self.bad_patches:
            bad = np.flatnonzero(rng.uniform(size=len(image)) < self.bad_sections)
            for section, defect in zip(bad, rng.integers(3, size=len(bad)), strict=True):
                if defect == 0:
                    image[section] = np.float32(low)
                elif defect == 1:
                    image[section] = image[section] * np.float32(0.3) + np.float32(0.7 * low)
                else:
                    image[section] = ndimage.gaussian_filter(image[section], BLUR_VOX)
        return image
