"""Which voxels around one an object mask looks at, and the integers their directions count as.

All triples are z, y, x.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.anisotropy import Spacing, validate_voxel_size, words_of_size
from predict.box import Triple

N_SHELLS = 3

STEPS_PER_RADIUS = 5.0
"""A ball five steps across its radius holds 4/3 π 5³ = 524 samples."""

LARGEST_SUM = 32767
"""Weighted sums have 16 bits."""

LONGEST_REACH_VOX = 256
"""What is read around a block grows with the cube of this."""

N_WEIGHTS = 8
"""Of a direction: d along z, y, x; its tensor's zz, yy, zy, zx, yx (xx is −zz −yy)."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskSamples:
    """Whole voxels at about equal distances in a ball, in shells of equal width; not its centre.

    Attributes:
        step_vox: from a sample to the next.
        offsets: (n, 3) int64, in steps; with each sample there are its mirror images.
        shells: (n,) int64, 0 the innermost; each has samples.
        directions: (n, 3) float64 unit vectors in nanometres.
    """

    step_vox: Triple
    offsets: npt.NDArray[np.int64]
    shells: npt.NDArray[np.int64]
    directions: npt.NDArray[np.float64]

    @classmethod
    def around(cls, radius_nm: float, voxel_size_nm: Spacing) -> MaskSamples:
        """Return the samples of a ball.

        A step along an axis is the fifth of the radius, rounded to whole voxels, one at least.
        Squares of distances are added without rounding between, so that mirror images and, of
        cubic voxels, permutations of an offset are in one shell.

        Raises:
            InputError: the radius is not positive, so small that a shell has no sample, or so large
                that it reaches beyond `LONGEST_REACH_VOX`.
        """
        edges = validate_voxel_size(voxel_size_nm)
        if not 0 < radius_nm < math.inf:
            raise InputError(f"the radius must be positive and finite, got {radius_nm} nm.")
        if max(radius_nm / edge for edge in edges) >= LONGEST_REACH_VOX + 1:
            raise InputError(
                f"the radius of {radius_nm:g} nm is more than {LONGEST_REACH_VOX} voxels of "
                f"{words_of_size(edges)} nm (z y x)."
            )
        z, y, x = (max(1, math.floor(radius_nm / STEPS_PER_RADIUS / e + 0.5)) for e in edges)
        steps_nm = [step * edge for step, edge in zip((z, y, x), edges, strict=True)]
        reach = [math.ceil(radius_nm / step) for step in steps_nm]
        offsets, shells, directions = [], [], []
        for offset in itertools.product(*(range(-r, r + 1) for r in reach)):
            place = [n * step for n, step in zip(offset, steps_nm, strict=True)]
            square = math.fsum(along * along for along in place)
            if any(offset) and square <= radius_nm * radius_nm:
                shares = [(k / N_SHELLS * radius_nm) ** 2 for k in range(1, N_SHELLS)]
                shells.append(sum(square > share for share in shares))
                offsets.append(offset)
                directions.append([along / math.sqrt(square) for along in place])
        for shell in range(N_SHELLS):
            if shell not in shells:
                raise InputError(
                    f"the radius of {radius_nm:g} nm is too small for voxels of "
                    f"{words_of_size(edges)} nm (z y x): there is none in shell {shell + 1} of "
                    f"{N_SHELLS} around a voxel."
                )
        return cls((z, y, x), np.array(offsets), np.array(shells), np.array(directions))

    @property
    def halo_vox(self) -> Triple:
        """Return how far the samples reach to each side."""
        z, y, x = (int(n) for n in self.offsets.max(axis=0) * self.step_vox)
        return z, y, x

    def weights(self) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
        """Return what each direction counts as, and the units this is in.

        A direction d counts as the integers nearest to unit · d. Its tensor d dᵀ − I/3 counts as
        2 A_z − A_y − A_x and the like on the diagonal, where A are the integers nearest to
        unit/3 · d², so that the trace is 0 and no axis is preferred, and as those nearest to
        unit · d_z d_y and the like beside it. Units are as large as sums of 16 bits permit.

        Returns:
            weights: (n, `N_WEIGHTS`) int16.
            units: (`N_SHELLS`, 2) float64, of d and of d dᵀ − I/3; whole numbers.
        """
        weights = np.zeros((len(self.offsets), N_WEIGHTS), np.int16)
        units = np.zeros((N_SHELLS, 2))
        for shell in range(N_SHELLS):
            mine = self.shells == shell
            d = self.directions[mine]
            products = d[:, [0, 0, 1]] * d[:, [1, 2, 2]]
            tensor = np.concatenate([d**2 - 1 / 3, products], axis=1)
            room = LARGEST_SUM - 2 * len(d)  # rounding moves a weight by 2 at most
            along, third = room // _most(d), room // (3 * _most(tensor))
            squares = np.rint(third * d**2)
            diagonal = 3 * squares[:, :2] - squares.sum(axis=1, keepdims=True)
            weights[mine] = np.concatenate(
                [np.rint(along * d), diagonal, np.rint(3 * third * products)], axis=1
            )
            units[shell] = along, 3 * third
        return weights, units

    def counts(self) -> npt.NDArray[np.int64]:
        """Return how many samples of each shell lie before a corner, for sums over any box.

        Returns:
            (`N_SHELLS`, …) int64, along each axis 2 reach + 2, corners from before the first
            offset to behind the last.
        """
        reach = self.offsets.max(axis=0)
        counts = np.zeros((N_SHELLS, *(2 * reach + 2)), np.int64)
        counts[(self.shells, *(self.offsets + reach + 1).T)] = 1
        for axis in (1, 2, 3):
            counts = counts.cumsum(axis=axis)
        return counts


def _most(numbers: npt.NDArray[np.float64]) -> float:
    """Return the largest absolute sum of a column of numbers (n, columns) that a mask can have."""
    return float(max(np.maximum(sign * numbers, 0).sum(axis=0).max() for sign in (1, -1)))
