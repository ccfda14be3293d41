"""The volumes that are measured on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from agglo.phantom import PhantomConfig, make_phantom
from predict.watershed import watershed_superpixels

LARGEST_TILE = 256
"""Phantoms with a longer side are put together from mirrored copies of one with this side."""


@dataclass(frozen=True, slots=True)
class BenchmarkVolume:
    """A volume as the kernels take it.

    Attributes:
        name: what it is called in the table.
        superpixels: (z, y, x) uint64.
        image: (z, y, x) uint8.
        boundaries: (z, y, x) float32 in [0, 1], multiples of 1/255.
        note: how it was made.
        affinities: (3, z, y, x) float32, 1 less the larger boundary of two voxels, as waterz takes
            them; made where it is asked for first.
    """

    name: str
    superpixels: npt.NDArray[np.uint64]
    image: npt.NDArray[np.uint8]
    boundaries: npt.NDArray[np.float32]
    note: str
    _affinities: list[npt.NDArray[np.float32]] = field(default_factory=list)

    @property
    def n_voxels(self) -> int:
        """Return the number of voxels."""
        return self.superpixels.size

    @property
    def affinities(self) -> npt.NDArray[np.float32]:
        """Return what waterz takes."""
        if not self._affinities:
            affinities = np.ones((3, *self.boundaries.shape), np.float32)
            for axis in range(3):
                value = np.moveaxis(self.boundaries, axis, 0)
                out = np.moveaxis(affinities[axis], axis, 0)[1:]
                np.subtract(1, np.maximum(value[:-1], value[1:]), out=out)
            self._affinities.append(affinities)
        return self._affinities[0]


def phantom_volume(side: int, seed: int) -> BenchmarkVolume:
    """Make a cube of a phantom with a boundary map as a simple detector gives it."""
    tile = min(side, LARGEST_TILE)
    phantom = make_phantom(PhantomConfig(seed=seed), (0, 0, 0), (tile, tile, tile))
    smooth = ndimage.gaussian_filter(phantom.image.astype(np.float32), 1.0)
    dark, light = np.percentile(smooth[::2, ::2, ::2], [2, 90])
    boundaries = np.clip((light - smooth) / (light - dark), 0, 1).astype(np.float32)
    superpixels = watershed_superpixels(boundaries)
    image, note = phantom.image, "own watershed"
    if side > tile:
        image, boundaries = _mirrored(image, side), _mirrored(boundaries, side)
        superpixels = _mirrored(superpixels, side)
        n = int(superpixels.max())
        counts = -(-side // tile)
        places = np.arange(side) // tile
        copy = (places[:, None, None] * counts + places[:, None]) * counts + places
        superpixels += copy.astype(np.uint64) * np.uint64(n)
        noise = np.random.default_rng(seed).standard_normal(boundaries.shape, np.float32)
        boundaries = np.clip(boundaries + np.float32(0.03) * noise, 0, 1)
        note = f"mirrored copies of {tile}³, each with its own ids and noise, or all would be ties"
    return BenchmarkVolume(f"phantom {side}³", superpixels, image, _in_8_bits(boundaries), note)


def labelled_volume(path: Path, seed: int) -> BenchmarkVolume:
    """Read the labels of an HDF5 file; image and boundaries are noise."""
    with h5py.File(path) as file:
        labels = np.asarray(file["labels"]).astype(np.uint64)
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, labels.shape, np.uint8)
    boundaries = rng.random(labels.shape, np.float32)
    name = f"{path.parent.name} {'×'.join(map(str, labels.shape))}"
    note = "labels as they are, image and boundaries noise"
    return BenchmarkVolume(name, labels, image, _in_8_bits(boundaries), note)


def _mirrored(tile: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Continue a cube by mirror images up to a side."""
    index = np.arange(side) % (2 * len(tile))
    index = np.minimum(index, 2 * len(tile) - 1 - index)
    return tile[np.ix_(index, index, index)]


def _in_8_bits(boundaries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round to multiples of 1/255, so that all contenders add up the same numbers."""
    return (np.rint(boundaries * np.float32(255)) / np.float32(255)).astype(np.float32)
