"""Displacements of a training patch that move image and labels alike: elastic, and of sections.

All triples are z, y, x; sections are stacked along z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from predict.anisotropy import COARSE_AXIS, validate_voxel_size
from predict.box import Box, Triple

INJECTIVE = 0.40
"""A cubic B-spline in 3D folds nothing if its coefficients stay below this share of their distance.

Choi & Lee 2000, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions", Graphical
Models 62.
"""

TAPER = 3
"""Displacements shrink within so many times their reach of what may be read."""


class Displacement(NamedTuple):
    """Where every voxel of a box is taken from, relative to its own place.

    `reach_vox` bounds the smooth part along each axis, the shifts are whole voxels.
    """

    field: npt.NDArray[np.float32]  # (3, z, y, x), the smooth part, in voxels
    shifts: npt.NDArray[np.int64]  # (z, 2), of every section along y and x
    reach_vox: npt.NDArray[np.float32]  # (3,)


class Warped(NamedTuple):
    """A box after a displacement."""

    image: npt.NDArray[np.float32]  # (z, y, x), interpolated linearly
    index: npt.NDArray[np.int64]  # (z, y, x), of the nearest voxel in the flattened source


@dataclass(frozen=True, slots=True)
class Deformation:
    """How often and how far the voxels of a patch are displaced.

    The elastic part is a cubic B-spline of random coefficients. Where the data has sections, thick
    ones or such that stand alone, it moves voxels within them only.

    Misaligned is one section, or all from one on, by equal chance: the slip and the translation of
    Lee et al. 2017 (arXiv 1706.00120, data augmentation). In both the labels move with the image.
    The boundary and the affinities along y and x belong to the pixels of a section, wherever it
    lies, and an affinity along z joins two voxels that lie upon each other in the stack as it is:
    where a slip is wider than a neurite its affinity is cut, and so it will be in the prediction.

    Attributes:
        elastic_patches: share of the patches that are deformed. In short runs it makes the task
            harder and nothing better: a share of 0.5 lowered the average precision of a U-Net on
            unseen sections from 0.677 to 0.670 (FIB-25, 300 steps), from 0.640 to 0.623 (200
            steps) and from 0.895 to 0.893 (ISBI 2012, 300 steps); hence the small default.
        reach_nm: a patch's coefficients are bounded by a random number up to this, so no voxel
            moves further along an axis.
        spacing_nm: distance of the coefficients.
        misaligned_patches: share of the patches with a misalignment.
        slip_nm: furthest misalignment along y and x.
        in_plane: deform within sections only.
    """

    elastic_patches: float = 0.25
    reach_nm: float = 60.0
    spacing_nm: float = 200.0
    misaligned_patches: float = 0.0
    slip_nm: float = 60.0
    in_plane: bool = False

    def __post_init__(self) -> None:
        for name in ("elastic_patches", "misaligned_patches"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in 0..1, got {getattr(self, name)}.")
        for name in ("reach_nm", "slip_nm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}.")
        if not (math.isfinite(self.spacing_nm) and self.spacing_nm > 0):
            raise InputError(f"spacing_nm must be positive, got {self.spacing_nm}.")
        if self.reach_nm > INJECTIVE * self.spacing_nm:
            raise InputError(
                f"reach_nm must be at most {INJECTIVE} of spacing_nm ({self.spacing_nm:g}), "
                f"got {self.reach_nm:g}."
            )

    @classmethod
    def for_voxel_size(
        cls, voxel_size_nm: Sequence[float], *, two_dimensional: bool = False
    ) -> Deformation:
        """Return what suits the data: thick sections get misaligned, and deformed in plane only.

        Args:
            voxel_size_nm: z, y, x.
            two_dimensional: sections stand alone, so none can be misaligned.
        """
        z, y, x = validate_voxel_size(voxel_size_nm)
        thick = z >= COARSE_AXIS * min(y, x)
        return cls(
            misaligned_patches=0.1 if thick and not two_dimensional else 0.0,
            in_plane=thick or two_dimensional,
        )

    def draw(
        self, place: Box, allowed: Box, voxel_size_nm: Sequence[float], rng: np.random.Generator
    ) -> Displacement | None:
        """Draw the displacement of a box; None if it stays as it is.

        Args:
            place: the box.
            allowed: what may be read; sections are not shifted out of it.
            voxel_size_nm: z, y, x.
            rng: source of every random number.
        """
        is_elastic = rng.uniform() < self.elastic_patches
        is_misaligned = rng.uniform() < self.misaligned_patches and place.shape[0] > 1
        if not (is_elastic or is_misaligned):
            return None
        size = np.array(validate_voxel_size(voxel_size_nm))
        field = np.zeros((3, *place.shape), np.float32)
        shifts = np.zeros((place.shape[0], 2), np.int64)
        reach = np.zeros(3, np.float32)
        if is_elastic:
            axes = slice(1 if self.in_plane else 0, 3)
            reach[axes] = rng.uniform(0, self.reach_nm) / size[axes]
            field[axes] = reach[axes, None, None, None] * random_spline(
                3 - axes.start, place.shape, self.spacing_nm / size, rng
            )
        if is_misaligned:
            first = int(rng.integers(1, len(shifts)))
            last = first + 1 if rng.uniform() < 0.5 else len(shifts)
            for across in (0, 1):
                axis = across + 1
                furthest = int(self.slip_nm / size[axis])
                back = min(furthest, place.start[axis] - allowed.start[axis])
                on = min(furthest, allowed.stop[axis] - place.stop[axis])
                shifts[first:last, across] = rng.integers(-back, on + 1)
        return Displacement(field, shifts, reach)


def random_spline(
    n_components: int,
    shape: Triple,
    spacing_vox: Sequence[float] | npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Return cubic B-splines with coefficients drawn evenly from −1..1, which bound them.

    Args:
        n_components: number of splines.
        shape: z, y, x.
        spacing_vox: distance of the coefficients along each axis; where the grid begins is random.
        rng: source of every random number.

    Returns:
        (n_components, z, y, x) float32.
    """
    bases = [
        _basis(extent, spacing, rng.uniform())
        for extent, spacing in zip(shape, spacing_vox, strict=True)
    ]
    grid = tuple(basis.shape[1] for basis in bases)
    along_z, along_y, along_x = bases
    spline: npt.NDArray[np.float32] = rng.uniform(-1, 1, (n_components, *grid)).astype(np.float32)
    spline = spline @ along_x.T
    spline = along_y @ spline
    flat = along_z @ spline.reshape(n_components, grid[0], shape[1] * shape[2])
    return flat.reshape(n_components, *shape)


def source_of(place: Box, allowed: Box, displacement: Displacement) -> Box:
    """Return the part of `allowed` that a displaced box is made of.

    Args:
        place: the box, inside `allowed`.
        allowed: what may be read.
        displacement: of the box.
    """
    least, most = displacement.shifts.min(axis=0), displacement.shifts.max(axis=0)
    reach = np.ceil(displacement.reach_vox).astype(int)
    start = np.array(place.start) - reach + (0, *np.minimum(least, 0))
    stop = np.array(place.stop) + reach + (0, *np.maximum(most, 0))
    z0, y0, x0 = (int(voxel) for voxel in start)
    z1, y1, x1 = (int(voxel) for voxel in stop)
    return Box((z0, y0, x0), (z1, y1, x1)).intersect(allowed)


def warp(
    image: npt.NDArray[np.float32],
    source: Box,
    place: Box,
    allowed: Box,
    displacement: Displacement,
) -> Warped:
    """Displace a box: the grey values, and from where labels are to be taken.

    Near the border of `allowed` the smooth part shrinks with the distance to it, so nothing beyond
    is looked at.

    Args:
        image: (z, y, x) float32, the grey values of `source`.
        source: from `source_of`.
        place: the box.
        allowed: what may be read.
        displacement: of the box.
    """
    out_image = np.empty(place.shape, np.float32)
    out_index = np.empty(place.shape, np.int64)
    origin = np.array(source.start)
    _warp(
        image,
        displacement.field,
        displacement.shifts,
        np.array(place.start) - origin,
        np.array(allowed.start) - origin,
        np.array(allowed.stop) - 1 - origin,
        np.maximum(TAPER * displacement.reach_vox, 1).astype(np.float32),
        out_image,
        out_index,
    )
    return Warped(out_image, out_index)


def _basis(extent: int, spacing: float, offset: float) -> npt.NDArray[np.float32]:
    """Return how much each coefficient counts at each voxel, (extent, coefficients) float32."""
    position = np.arange(extent) / spacing + offset
    cell = position.astype(int)
    t = position - cell
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    basis: npt.NDArray[np.float32] = np.zeros((extent, int(cell[-1]) + 4), np.float32)
    for shift in range(4):
        basis[np.arange(extent), cell + shift] = weights[shift] / 6
    return basis


@njit(cache=True)
def _warp(image, field, shifts, start, low, high, taper, out_image, out_index):
    """Sample `image` at start + voxel + shift + tapered field, linearly and by its nearest voxel.

    Args:
        image: (Z, Y, X) float32.
        field: (3, z, y, x) float32.
        shifts: (z, 2) int64.
        start: (3,) int64, of the output in the image.
        low: (3,) int64, first voxel that may be read, perhaps outside the image.
        high: (3,) int64, last one.
        taper: (3,) float32, distance from `low` and `high` below which the field shrinks.
        out_image: (z, y, x) float32.
        out_index: (z, y, x) int64.
    """
    n_z, n_y, n_x = image.shape
    depth, height, width = out_image.shape
    for z in range(depth):
        base_z = start[0] + z
        weight_z = min(1.0, min(base_z - low[0], high[0] - base_z) / taper[0])
        for y in range(height):
            base_y = start[1] + y + shifts[z, 0]
            weight_y = min(1.0, min(base_y - low[1], high[1] - base_y) / taper[1])
            for x in range(width):
                base_x = start[2] + x + shifts[z, 1]
                weight_x = min(1.0, min(base_x - low[2], high[2] - base_x) / taper[2])
                at_z = min(max(base_z + weight_z * field[0, z, y, x], 0.0), n_z - 1.0)
                at_y = min(max(base_y + weight_y * field[1, z, y, x], 0.0), n_y - 1.0)
                at_x = min(max(base_x + weight_x * field[2, z, y, x], 0.0), n_x - 1.0)
                near = (int(at_z + 0.5) * n_y + int(at_y + 0.5)) * n_x + int(at_x + 0.5)
                z0, y0, x0 = int(at_z), int(at_y), int(at_x)
                z1, y1, x1 = min(z0 + 1, n_z - 1), min(y0 + 1, n_y - 1), min(x0 + 1, n_x - 1)
                f_z, f_y, f_x = at_z - z0, at_y - y0, at_x - x0
                upper = (image[z0, y0, x0] * (1 - f_x) + image[z0, y0, x1] * f_x) * (1 - f_y) + (
                    image[z0, y1, x0] * (1 - f_x) + image[z0, y1, x1] * f_x
                ) * f_y
                lower = (image[z1, y0, x0] * (1 - f_x) + image[z1, y0, x1] * f_x) * (1 - f_y) + (
                    image[z1, y1, x0] * (1 - f_x) + image[z1, y1, x1] * f_x
                ) * f_y
                out_image[z, y, x] = upper * (1 - f_z) + lower * f_z
                out_index[z, y, x] = near
