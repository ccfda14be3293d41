"""Object masks: how the object that a voxel belongs to lies around it, in a few numbers.

All triples are z, y, x. Bogovic, Huang & Jain 2014 ("Learned versus hand-designed feature
representations for 3d agglomeration", ICLR, arXiv 1312.6159) reduce the mask of an object around a
contact, {0, 1} for every voxel of a window, to a few numbers. Here it is reduced around every
voxel, so that it is pooled over objects and contacts as other channels are, and to numbers that do
not change when the tissue is turned: the mask is cut into spherical shells, and of each shell the
power in the degrees 0, 1 and 2 is kept (Kazhdan, Funkhouser & Rusinkiewicz 2003, "Rotation
invariant spherical harmonic representation of 3D shape descriptors", Symposium on Geometry
Processing).

Samples are counted in integers, so that channels are the same on every machine and wherever a
volume is cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import fastremap
import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from predict.anisotropy import Spacing, validate_voxel_size
from predict.box import Box, Triple, whole
from predict.image_normalisation import Sliceable
from predict.mask_samples import N_SHELLS, MaskSamples
from predict.mask_sums import HIGHEST, LINE, N_SUMS, fill_channels

RADIUS_NM = 160.0

N_CHANNELS = 3 * N_SHELLS

LARGEST_VECTOR = 1 / 4
"""Of a full sphere's mean mask · d: half of it is the object."""

LARGEST_TENSOR = math.sqrt(2) / 9
"""Norm of a full sphere's mean mask · (d dᵀ − I/3): the caps above cos² = 1/3, or all but these."""

MOST_LABELS = 2**16 - 1
"""Sixteen bits tell so many objects apart, and none; a block with more is cut in two."""

DIGITS = 6
"""Of a size in nanometres; units of files round beyond."""


@dataclass(frozen=True, slots=True)
class ObjectMask:
    """The mask of each voxel's own object in a ball around it, reduced to numbers of 8 bits.

    The ball is cut into three shells of equal width. A shell has n samples in the volume, the mask
    m of a sample is 1 if it has the label of the voxel in the middle and else 0, and d is the unit
    vector that leads to it. Its three channels are

        share   255 · mean m                            the whole shell is 255
        vector  255 · |mean m d| / (1/4)                half of a sphere is 255
        tensor  255 · |mean m (d dᵀ − I/3)| / (√2/9)    its two caps, or its belt, are 255

    with Frobenius' norm, rounded, clipped to 255. Around a voxel within an object they are 255, 0,
    0; at a flat face about 128, 255, 0; in a thin sheet the third is 2.6 times the first, in a rod
    5.2 times. What lies beyond the volume is left out of the means.

    Attributes:
        radius_nm: of the ball; six digits of it count.
        voxel_size_nm: z, y, x; likewise.

    Raises:
        InputError: one of these is not positive, or a shell has no voxel; see `MaskSamples.around`.
    """

    radius_nm: float
    voxel_size_nm: Spacing

    def __post_init__(self) -> None:
        validate_voxel_size(self.voxel_size_nm)
        self.samples()

    @property
    def halo_vox(self) -> Triple:
        """Return how far the ball reaches to each side."""
        return self.samples().halo_vox

    def samples(self) -> MaskSamples:
        """Return the samples around a voxel."""
        z, y, x = map(_rounded, self.voxel_size_nm)
        return _samples_around(_rounded(self.radius_nm), (z, y, x))

    def __str__(self) -> str:
        """Name all that decides the channels; equal masks alone have equal names."""
        size = " ".join(_written(edge) for edge in self.voxel_size_nm)
        return f"masks {_written(self.radius_nm)} nm in {N_SHELLS} shells, voxels of {size} nm"

    def channels(self, labels: Sliceable, block: Box | None = None) -> npt.NDArray[np.uint8]:
        """Return the channels of a block.

        Args:
            labels: (z, y, x) integers, anything that can be sliced; 0 is no object.
            block: the whole volume if None.

        Returns:
            (9, z, y, x) uint8: share, vector and tensor of the innermost shell, then of the next.
            0 where the label is 0.

        Raises:
            InputError: the labels are no integers, or there are none.
        """
        require_labels(labels)
        block = whole(labels.shape) if block is None else block
        samples = self.samples()
        near = _read(labels, block, samples.halo_vox)
        if near is None:
            axis = int(np.argmax(block.shape))
            begin, end = block.start[axis], block.stop[axis]
            cuts = (begin, (begin + end) // 2), ((begin + end) // 2, end)
            halves = [self.channels(labels, block.along(axis, *cut)) for cut in cuts]
            return np.concatenate(halves, axis=1 + axis)
        offsets, weights, begins, factors = _sorted(samples)
        first, last = _corners(samples, block, labels.shape)
        channels = np.zeros((N_CHANNELS, *block.shape), np.uint8)
        fill_channels(
            near,
            offsets * samples.step_vox,
            weights,
            begins,
            samples.counts(),
            first,
            last,
            factors,
            np.array([0, 1], np.int16),
            np.zeros(N_SUMS * LINE, np.int16),
            channels,
        )
        return channels


def require_labels(labels: Sliceable) -> None:
    """Refuse anything but a non-empty (z, y, x) array of integers."""
    if len(labels.shape) != 3 or min(labels.shape) == 0 or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels must be a non-empty (z, y, x) array of integers, got shape {labels.shape} "
            f"and dtype {labels.dtype}."
        )


@lru_cache(maxsize=1)
def _samples_around(radius_nm: float, voxel_size_nm: Spacing) -> MaskSamples:
    """Return the samples, which every block of a volume needs again."""
    return MaskSamples.around(radius_nm, voxel_size_nm)


def _rounded(size_nm: float) -> float:
    return float(f"{size_nm:.{DIGITS}g}")


def _written(size_nm: float) -> str:
    return f"{size_nm:.{DIGITS}g}"


def _read(labels: Sliceable, block: Box, halo: Triple) -> npt.NDArray[np.int16] | None:
    """Read a block with its halo, of whole lines, renumbered; 0 beyond the volume.

    Returns:
        (z, y, x), of which equality alone has a meaning; None if there are too many labels.
    """
    depth, height, width = block.shape
    (z0, y0, x0), (z1, y1, x1) = block
    z, y, x = halo
    outer = Box((z0 - z, y0 - y, x0 - x), (z1 + z, y1 + y, x1 + x))
    seen = outer.intersect(whole(labels.shape))
    inside = np.ascontiguousarray(labels[seen.slices])
    if block.n_voxels == 1:
        own = inside[block.slices_in(seen)]
        inside = ((inside == own) & (own != 0)).astype(np.uint8)
    renumbered, _ = fastremap.renumber(inside, preserve_zero=True)
    if renumbered.max() > MOST_LABELS:
        return None
    near = np.zeros((depth + 2 * z, height + 2 * y, -(-width // LINE) * LINE + 2 * x), np.int16)
    near.view(np.uint16)[seen.slices_in(outer)] = renumbered
    return near


def _sorted(samples: MaskSamples) -> tuple[npt.NDArray, ...]:
    """Return what `fill_channels` takes of the samples: one of each set of mirror images."""
    weights, units = samples.weights()
    is_taken = (samples.offsets >= 0).all(axis=1)
    offsets, weights = samples.offsets[is_taken], weights[is_taken]
    n_axes = np.count_nonzero(offsets, axis=1)
    kinds = 3 * samples.shells[is_taken] + 3 - n_axes
    order = np.argsort(kinds, kind="stable")
    ends = np.searchsorted(kinds[order], np.arange(3 * N_SHELLS + 1))
    begins = np.stack([ends[shell * 3 : shell * 3 + 4] for shell in range(N_SHELLS)])
    largest = units * (LARGEST_VECTOR, LARGEST_TENSOR)
    factors = HIGHEST / np.concatenate([np.ones((N_SHELLS, 1)), largest], axis=1)
    return offsets[order], weights[order], begins, factors


def _corners(
    samples: MaskSamples, block: Box, shape: tuple[int, ...]
) -> tuple[tuple[npt.NDArray[np.int64], ...], tuple[npt.NDArray[np.int64], ...]]:
    """Return, along each axis, between which corners of `MaskSamples.counts` the volume lies."""
    reach = samples.offsets.max(axis=0)
    first, last = [], []
    for axis, step in enumerate(samples.step_vox):
        at = np.arange(block.start[axis], block.stop[axis])
        first.append(reach[axis] - np.minimum(at // step, reach[axis]))
        behind = np.minimum((shape[axis] - 1 - at) // step, reach[axis])
        last.append(reach[axis] + behind + 1)
    return tuple(first), tuple(last)
