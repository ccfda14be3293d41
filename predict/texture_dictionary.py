"""Dictionaries of texture: what image and boundary map look like together around a voxel.

All triples are z, y, x. After Bogovic, Huang & Jain 2014 ("Learned versus hand-designed feature
representations for 3d agglomeration", ICLR, arXiv 1312.6159): a dictionary learned without labels
from patches of image and boundary map, whose thresholded responses, pooled over objects and over
the interface between two, tell whether these belong together. Pooling is left to whoever sums the
channels.

Filters are integers, so their products with 8-bit patches are too, and exact in whichever order
they are summed. What follows are single operations on one voxel, which IEEE 754 defines to the last
bit. So channels are the same on every machine and wherever a volume is cut.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from analysis.input_error import InputError
from predict.anisotropy import Spacing
from predict.blockwise import read_reflected
from predict.box import Box, whole
from predict.image_normalisation import Sliceable
from predict.texture_patch import TexturePatch

LARGEST_WEIGHT = 32767
"""Filters have 16 bits: a weight is less than a 10⁻⁴ of the largest away from what was learned."""

HIGHEST = 255


@dataclass(frozen=True, slots=True, eq=False)
class TextureDictionary:
    """Filters on patches of image and boundary map, and how their responses become channels.

    A patch around a voxel has n values g of the image and n values b of the boundary map. The
    response of an atom with the filters f and h is

        r = step · (f · (g − mean g) / sqrt(variance of g + contrast_floor)
                    + h · (b − mean b) / boundary_deviation)

    and its two channels are (r − threshold) · scale and (−r − threshold) · scale, rounded and
    clipped to 0..255: the soft threshold of Coates & Ng 2011 ("The importance of encoding versus
    training with sparse coding and vector quantization", ICML), one-sided. Means of image and
    boundary map themselves are summed elsewhere, so the response leaves them out.

    Attributes:
        patch: the voxels looked at.
        grey: (atoms, z, y, x) int16, f.
        boundary: (atoms, z, y, x) int16, h.
        step: positive, value of 1 in a filter.
        contrast_floor: positive, in squares of 8-bit grey values.
        boundary_deviation: positive, in 8-bit values.
        threshold: at least 0, responses up to it are 0 in both channels.
        scale: positive, 8-bit steps of a channel for a response of 1.
        voxel_size_nm: of the volume it was learned from, None if that was not known.

    Raises:
        InputError: one of these is not so, or sums would leave 32 bits.
    """

    patch: TexturePatch
    grey: npt.NDArray[np.int16]
    boundary: npt.NDArray[np.int16]
    step: float
    contrast_floor: float
    boundary_deviation: float
    threshold: float
    scale: float
    voxel_size_nm: Spacing | None = None

    def __post_init__(self) -> None:
        for name in ("grey", "boundary"):
            filters, wanted = getattr(self, name), (len(self.grey), *self.patch.extent)
            if filters.dtype != np.int16 or filters.shape != wanted or len(filters) == 0:
                raise InputError(
                    f"{name} must be int16 filters (atoms, z, y, x) of {self.patch.extent} voxels, "
                    f"got shape {filters.shape} and dtype {filters.dtype}."
                )
        for name in ("step", "contrast_floor", "boundary_deviation", "scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be positive and finite, got {getattr(self, name)}.")
        if not 0 <= self.threshold < math.inf:
            raise InputError(f"threshold must be at least 0 and finite, got {self.threshold}.")
        for filters in (self.grey, self.boundary):
            largest = np.abs(filters.astype(np.int64)).sum(axis=(1, 2, 3)).max()
            if HIGHEST * int(largest) >= 2**31:
                raise InputError(f"filters must sum to less than 2^31 / 255, got {largest}.")

    @property
    def n_channels(self) -> int:
        """Return the number of channels: two an atom."""
        return 2 * len(self.grey)

    def digest(self) -> str:
        """Return a hex digest of all that decides the channels."""
        whole_numbers = np.array([*self.grey.shape, *self.patch.dilation], "<i8")
        numbers = (self.step, self.contrast_floor, self.boundary_deviation)
        digest = hashlib.sha256(whole_numbers.tobytes())
        digest.update(np.array([*numbers, self.threshold, self.scale], "<f8").tobytes())
        for filters in (self.grey, self.boundary):
            digest.update(np.ascontiguousarray(filters, "<i2").tobytes())
        return digest.hexdigest()

    def channels(
        self, image: Sliceable, boundaries: Sliceable, block: Box | None = None
    ) -> npt.NDArray[np.uint8]:
        """Return the channels of a block; beyond the volume both arrays are mirrored.

        The block with its halo is read at once, and one section of it worked on at a time.

        Args:
            image: (z, y, x) uint8, anything that can be sliced.
            boundaries: (z, y, x) uint8, of the same shape.
            block: the whole volume if None.

        Returns:
            (2 · atoms, z, y, x) uint8, the channels of positive responses first.

        Raises:
            InputError: the arrays are not of one shape or not of 8 bits.
        """
        require_pair(image, boundaries)
        block = whole(image.shape) if block is None else block
        grey, edges = (
            np.ascontiguousarray(read_reflected(volume, self.patch.seen_from(block)))
            for volume in (image, boundaries)
        )
        squares = np.square(grey.astype(np.uint16))
        ones = np.ones((1, *self.patch.extent), np.int32)
        grey_filters = np.concatenate([self.grey, ones])
        edge_filters = np.concatenate([self.boundary, ones])
        channels = np.empty((self.n_channels, *block.shape), np.uint8)
        for z in range(block.shape[0]):
            near = slice(z, z + 2 * self.patch.halo_vox[0] + 1)
            response = self._response(
                self._sums(grey[near], grey_filters),
                self._sums(squares[near], ones)[0],
                self._sums(edges[near], edge_filters),
            )
            for part, signed in enumerate((response, -response)):
                steps = np.rint((signed - self.threshold) * self.scale)
                first = part * len(self.grey)
                channels[first : first + len(self.grey), z] = steps.clip(0, HIGHEST)
        return channels

    def _sums(
        self, sections: npt.NDArray[np.integer], filters: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.int64]:
        """Return the products of filters with the patches of one section, (filters, y, x)."""
        height, width = (
            extent - 2 * halo
            for extent, halo in zip(sections.shape[1:], self.patch.halo_vox[1:], strict=True)
        )
        sums = np.zeros((len(filters), height, width), np.int32)
        _add_products(sections, filters, np.array(self.patch.dilation), sums)
        return sums.astype(np.int64)

    def _response(
        self,
        grey: npt.NDArray[np.int64],
        squares: npt.NDArray[np.int64],
        edges: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.float64]:
        """Return r of every atom, (atoms, y, x), of sums whose last row is that of the patch.

        Multiplied by n, what becomes of a sum when a mean is subtracted is a whole number.
        """
        n = self.patch.n_voxels
        sides = []
        for filters, sums in ((self.grey, grey), (self.boundary, edges)):
            weights = filters.sum(axis=(1, 2, 3), dtype=np.int64)[:, None, None]
            sides.append((n * sums[:-1] - weights * sums[-1]).astype(np.float64))
        variance = n * squares - np.square(grey[-1])
        contrast = np.sqrt(variance.astype(np.float64) + n * n * self.contrast_floor)
        return (sides[0] / contrast + sides[1] / (n * self.boundary_deviation)) * self.step


def require_pair(image: Sliceable, boundaries: Sliceable) -> None:
    """Refuse anything but two non-empty (z, y, x) arrays of 8 bits and of one shape."""
    for name, volume in (("image", image), ("boundaries", boundaries)):
        if len(volume.shape) != 3 or min(volume.shape) == 0 or volume.dtype != np.uint8:
            raise InputError(
                f"{name} must be a non-empty (z, y, x) array of uint8, got shape {volume.shape} "
                f"and dtype {volume.dtype}."
            )
    if tuple(image.shape) != tuple(boundaries.shape):
        raise InputError(
            "image and boundaries must have one shape, "
            f"got {tuple(image.shape)} and {tuple(boundaries.shape)}."
        )


@njit(cache=True)
def _add_products(sections, filters, dilation, sums) -> None:
    """Add to every voxel of one section the products of its patch with all filters.

    The voxels of a row come last: a weight goes along it, which compiles to vector instructions.

    Args:
        sections: (z, y, x) uint8 or uint16, the section with its halo.
        filters: (filters, z, y, x) int32.
        dilation: (3,) int64.
        sums: (filters, y, x) int32.
    """
    n_filters, depth, height, width = filters.shape
    for y in range(sums.shape[1]):
        for i in range(depth):
            for j in range(height):
                row = sections[i * dilation[0], y + j * dilation[1]]
                for k in range(width):
                    seen = row[k * dilation[2] : k * dilation[2] + sums.shape[2]]
                    for f in range(n_filters):
                        weight = filters[f, i, j, k]
                        line = sums[f, y]
                        for x in range(sums.shape[2]):
                            line[x] += weight * seen[x]
