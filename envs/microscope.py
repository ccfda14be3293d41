"""Microscopes that take the boundary evidence of a volume anew, and bad imaging to use them on.

All triples are z, y, x. A second look is a whole boundary map of which `envs.actions` takes what
belongs to the regions that are imaged again: the region graph of the second map is the `clear` of
an `envs.instance.Instance`. What a microscope sees of a superpixel does not depend on what else is
looked at, so a part that is imaged alone agrees with the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import ndimage

from analysis.input_error import InputError
from envs.hashing import gaussian, uniform


class Microscope(Protocol):
    """Looks at superpixels a second time."""

    def look(
        self,
        superpixels: npt.NDArray[np.integer],
        boundaries: npt.NDArray[np.floating],
        *,
        origin_vox: tuple[int, int, int] = (0, 0, 0),
    ) -> npt.NDArray[np.float32]:
        """Return the boundary map of a second look at a part of a volume.

        Args:
            superpixels: (z, y, x) integer, 0 = none.
            boundaries: (z, y, x) float 0..1, the map without noise.
            origin_vox: position of the part's first voxel in the volume.
        """
        ...


@dataclass(frozen=True, slots=True)
class SimulatedMicroscope:
    """See the true evidence through noise of its own.

    Every voxel gets Gaussian noise that is a function of the seed, its superpixel and its position
    only; the sum is cut to 0..1.

    Attributes:
        noise: standard deviation.
        seed: of the noise.
    """

    noise: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.noise < np.inf:
            raise ValueError(f"noise must be finite and ≥ 0, not {self.noise}")

    def look(
        self,
        superpixels: npt.NDArray[np.integer],
        boundaries: npt.NDArray[np.floating],
        *,
        origin_vox: tuple[int, int, int] = (0, 0, 0),
    ) -> npt.NDArray[np.float32]:
        """Return the boundary map of a second look, see `Microscope`.

        Raises:
            InputError: shapes differ, superpixels are not integer, or values lie outside 0..1.
        """
        boundaries = _checked_map(boundaries, "boundaries")
        _check_superpixels(superpixels, boundaries)
        seen = np.empty(boundaries.shape, np.float32)
        _add_noise(
            np.ascontiguousarray(superpixels).astype(np.uint64),
            boundaries,
            np.array(_checked_origin(origin_vox), np.int64),
            float(self.noise),
            np.uint64(self.seed % 2**64),
            seen,
        )
        return seen


@dataclass(frozen=True, slots=True, eq=False)
class GivenMicroscope:
    """See what a second volume shows.

    Attributes:
        boundaries: (z, y, x) float 0..1, boundary map of the second imaging of the whole volume.
    """

    boundaries: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        _checked_map(self.boundaries, "boundaries of the second look")

    def look(
        self,
        superpixels: npt.NDArray[np.integer],
        boundaries: npt.NDArray[np.floating],
        *,
        origin_vox: tuple[int, int, int] = (0, 0, 0),
    ) -> npt.NDArray[np.float32]:
        """Return the part of the second volume, see `Microscope`.

        Raises:
            InputError: shapes differ, or the part lies outside the second volume.
        """
        _check_superpixels(superpixels, boundaries)
        origin = _checked_origin(origin_vox)
        part = self.boundaries[
            tuple(slice(o, o + n) for o, n in zip(origin, superpixels.shape, strict=True))
        ]
        if part.shape != superpixels.shape:
            raise InputError(
                f"superpixels of shape {superpixels.shape} at {origin} lie outside the second "
                f"look of shape {self.boundaries.shape}"
            )
        return np.array(part, np.float32)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bad imaging in a share of a volume: what `damaged` does to a boundary map.

    Attributes:
        share: of the blocks of the volume; in [0, 1].
        block_vox: size of a block.
        gap_share: of the cells of a block, where membranes vanish; in [0, 1].
        gap_vox: edge of a cell.
        blur_vox: standard deviation of the blur.
        noise: standard deviation of the noise of a voxel.
        grain_vox: standard deviation of the Gaussian that the noise is smoothed with.
        seed: of blocks, gaps and noise.
    """

    share: float = 0.3
    block_vox: tuple[int, int, int] = (64, 64, 64)
    gap_share: float = 0.4
    gap_vox: int = 12
    blur_vox: float = 2.0
    noise: float = 0.2
    grain_vox: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("share", "gap_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {getattr(self, name)}")
        for name in ("blur_vox", "noise", "grain_vox"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be finite and ≥ 0, not {getattr(self, name)}")
        if min(self.block_vox) < 1 or self.gap_vox < 1:
            raise ValueError(
                f"blocks and gaps must be of at least 1 voxel, not {self.block_vox} and "
                f"{self.gap_vox}"
            )


def damaged_blocks(shape: tuple[int, int, int], damage: Damage) -> npt.NDArray[np.bool_]:
    """Mark (z, y, x) the voxels that damage strikes: the share of all blocks with the lowest hash.

    Args:
        shape: of the volume.
        damage: which share, blocks and seed.
    """
    n_blocks = tuple(-(-n // b) for n, b in zip(shape, damage.block_vox, strict=True))
    drawn = np.empty(n_blocks, np.float64)
    _draw_cells(np.uint64(damage.seed % 2**64), 0, drawn)
    n_struck = round(damage.share * drawn.size)
    struck = np.zeros(drawn.size, np.bool_)
    struck[np.argsort(drawn, axis=None, kind="stable")[:n_struck]] = True
    return _spread(struck.reshape(n_blocks), damage.block_vox, shape)


def damaged(boundaries: npt.NDArray[np.floating], damage: Damage) -> npt.NDArray[np.float32]:
    """Return a boundary map (z, y, x) as bad imaging of a share of the volume would show it.

    In the blocks that `damaged_blocks` marks, membranes get gaps, are blurred, and noise is added;
    elsewhere nothing changes.

    Args:
        boundaries: (z, y, x) float 0..1.
        damage: what is done, and where.

    Raises:
        InputError: not three axes, or values outside 0..1.
    """
    boundaries = _checked_map(boundaries, "boundaries")
    shape = boundaries.shape
    is_struck = damaged_blocks(shape, damage)
    seed = np.uint64(damage.seed % 2**64)
    cell = (damage.gap_vox, damage.gap_vox, damage.gap_vox)
    drawn = np.empty(tuple(-(-n // damage.gap_vox) for n in shape), np.float64)
    _draw_cells(seed, 1, drawn)
    is_gap = _spread(drawn < damage.gap_share, cell, shape)
    worse = np.where(is_gap, np.float32(0), boundaries)
    if damage.blur_vox > 0:
        worse = np.asarray(ndimage.gaussian_filter(worse, damage.blur_vox), np.float32)
    if damage.noise > 0:
        worse = np.clip(worse + _smooth_noise(shape, damage), 0, 1)
    return np.where(is_struck, worse, boundaries).astype(np.float32)


def _smooth_noise(shape: tuple[int, int, int], damage: Damage) -> npt.NDArray[np.float32]:
    """Draw Gaussian noise with the grain and the standard deviation of damage."""
    noise = np.empty(shape, np.float32)
    _draw_noise(np.uint64(damage.seed % 2**64), noise)
    if damage.grain_vox > 0:
        noise = np.asarray(ndimage.gaussian_filter(noise, damage.grain_vox), np.float32)
        spread = float(noise.std())
        noise /= spread if spread > 0 else 1.0
    return np.float32(damage.noise) * noise


def _spread(
    cells: npt.NDArray[np.bool_], cell_vox: tuple[int, int, int], shape: tuple[int, int, int]
) -> npt.NDArray[np.bool_]:
    """Give every voxel the value of its cell."""
    for axis, n in enumerate(cell_vox):
        cells = np.repeat(cells, n, axis=axis)
    return np.ascontiguousarray(cells[: shape[0], : shape[1], : shape[2]])


@njit(cache=True)
def _draw_cells(seed, kind, out_drawn):
    """Draw a number in [0, 1) for every cell of a grid, a function of seed, kind and cell."""
    n_z, n_y, n_x = out_drawn.shape
    for z in range(n_z):
        for y in range(n_y):
            for x in range(n_x):
                out_drawn[z, y, x] = uniform(seed, kind, _position(z, y, x))


@njit(cache=True)
def _draw_noise(seed, out_noise):
    """Draw a standard normal number for every voxel, a function of seed and position."""
    n_z, n_y, n_x = out_noise.shape
    for z in range(n_z):
        for y in range(n_y):
            for x in range(n_x):
                out_noise[z, y, x] = gaussian(seed, 2, _position(z, y, x))


@njit(cache=True)
def _position(z, y, x):
    """Write three coordinates, each below 2^21, as one number."""
    return (np.int64(z) << 42) | (np.int64(y) << 21) | np.int64(x)


@njit(cache=True)
def _add_noise(superpixels, boundaries, origin, noise, seed, out_seen):
    """Write boundaries plus noise, within 0..1."""
    n_z, n_y, n_x = boundaries.shape
    for z in range(n_z):
        for y in range(n_y):
            for x in range(n_x):
                value = float(boundaries[z, y, x])
                if noise > 0.0:
                    at = _position(z + origin[0], y + origin[1], x + origin[2])
                    value += noise * gaussian(seed, superpixels[z, y, x], at)
                out_seen[z, y, x] = min(max(value, 0.0), 1.0)


def _checked_map(boundaries: npt.NDArray, name: str) -> npt.NDArray[np.float32]:
    """Return a boundary map as contiguous float32; refuse what is none."""
    if boundaries.ndim != 3 or boundaries.dtype.kind != "f":
        raise InputError(
            f"{name} must be a (z, y, x) float map, not {boundaries.dtype} of shape "
            f"{boundaries.shape}"
        )
    if boundaries.size and not (boundaries.min() >= 0 and boundaries.max() <= 1):
        raise InputError(
            f"{name} must lie in 0..1; seen {boundaries.min():g} to {boundaries.max():g}"
        )
    return np.ascontiguousarray(boundaries, np.float32)


def _check_superpixels(superpixels: npt.NDArray, boundaries: npt.NDArray) -> None:
    """Refuse superpixels that do not lie on the map."""
    if superpixels.dtype.kind not in "ui":
        raise InputError(f"superpixels must be integer labels, not {superpixels.dtype}")
    if superpixels.shape != boundaries.shape:
        raise InputError(
            f"boundaries has shape {boundaries.shape} but superpixels has shape {superpixels.shape}"
        )


def _checked_origin(origin_vox: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return an origin; refuse a negative one."""
    if min(origin_vox) < 0:
        raise InputError(f"origin_vox must not be negative; seen {tuple(origin_vox)}")
    return origin_vox
